"""Agent: instructions, tools and a model, ready to be given tasks."""

import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Unpack, cast
from uuid import uuid4

import anyio
from anyio import from_thread

from agentkit.agent._conversation import Conversation, without_thinking
from agentkit.agent._delegate import AgentTool, HandOver
from agentkit.agent._options import RunOptions
from agentkit.agent._output import output_of
from agentkit.errors import AgentkitError, InvalidTaskError
from agentkit.events import Event
from agentkit.loop import (
    CURRENT_RUN,
    STANDING,
    PausedRun,
    Result,
    Run,
    RunState,
    Successor,
    Taint,
    run_to_end,
)
from agentkit.loop import OutputT as T
from agentkit.messages import Decision, Message, SystemMessage, UserMessage
from agentkit.policies import PhasedThinking, Plan, Policy
from agentkit.protocols import Approver, Model, Observer, Tool, ToolSource
from agentkit.toolkit import FunctionTool, Registry, Shelf, schema_tokens

_DEEPEST = 5  # agents that use agents
_USUAL_CONTEXT = 32_768  # tokens: Qwen3's own, where a server does not say
_MISSING = "Some tools cannot be used at the moment; do without them, and say so where it matters:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What a run needs: a model, tools and how to behave. Made by `Runtime.agent`.

    An agent holds nothing open and keeps nothing between runs; any number may go on at once.

    Attributes:
        thinking: "auto", True or False, or one of them for each phase; each run can have its own.
        plan: "auto" plans first where the model is small.
        observers: see every event of every run.
        approver: asks a person about calls that want it; without one, a run with such a call
            stops with "approval", and `resume` goes on.
        results_dir: where tool results are kept whole that are too long to be shown; the model
            reads on in them with a tool. Without one they are cut.
        description: what it is good for, where another agent uses it.
        handoffs: agents that it may hand a run over to.
        source: more tools, which come and go: a run has those that are there when it begins.
        schema_share: of the model's context; where the tools of `source` take up more of it, the
            model finds them with a search tool.
    """

    name: str
    model: Model
    registry: Registry
    instructions: str = ""
    policy: Policy
    thinking: PhasedThinking = "auto"
    plan: Plan = "auto"
    observers: tuple[Observer, ...] = ()
    approver: Approver | None = None
    results_dir: Path | None = None
    description: str = ""
    handoffs: tuple["Agent", ...] = ()
    source: ToolSource | None = None
    schema_share: float = 0.1
    call_in_loop: Callable[..., Any] | None = None
    _made: dict[int, Registry] = field(
        default_factory=dict[int, Registry], repr=False, compare=False
    )

    async def run(
        self, task: str, *, output_type: type[T] | None = None, **options: Unpack[RunOptions]
    ) -> Result[T]:
        """Do a task and return how it ended; failing is a result too, not an exception.

        Args:
            task: what to do, in words.
            output_type: a pydantic model, or any type that pydantic knows: `Result.output` holds
                the answer as one, checked.
            options: see `RunOptions`.

        Raises:
            InvalidTaskError: the task is empty.
            ConfigurationError: `output_type` has no JSON schema.
        """
        state = self._begin(task, output_type, options)
        result = await run_to_end(state, plan=self._plans(options.get("plan")))
        return cast("Result[T]", result)  # what the type has parsed

    @asynccontextmanager
    async def start(
        self,
        task: str,
        *,
        output_type: type[Any] | None = None,
        when_done: Callable[[Result[Any]], None] = lambda _: None,
        **options: Unpack[RunOptions],
    ) -> AsyncGenerator[Run]:
        """Begin a task in the background of this block; leaving the block early cancels it.

        Takes what `run` takes; `when_done` is told the result once.

        Raises:
            InvalidTaskError: the task is empty.
            ConfigurationError: `output_type` has no JSON schema.
        """
        state = self._begin(task, output_type, options)
        run = Run(state, plan=self._plans(options.get("plan")))
        async with _in_background(run, when_done):
            yield run

    async def resume(
        self,
        paused: PausedRun,
        decisions: Mapping[str, Decision],
        *,
        policy: Policy | None = None,
        thinking: PhasedThinking | None = None,
        plan: Plan | None = None,
    ) -> Result:
        """Go on with a run that has stopped with "approval", in this process or another.

        Calls that no decision is about wait on: the run pauses again.

        Args:
            paused: `Result.paused`, or what `PausedRun.from_json` has read.
            decisions: by the id of the call: True, False, or why not.
            policy: overrides the agent's; its time begins anew.
            thinking: overrides the agent's.
            plan: overrides the agent's.

        Raises:
            InvalidTaskError: a decision is about a call that does not wait, or the run is of
                another agent.
        """
        state = self._resumed(paused, decisions, policy, thinking)
        return await run_to_end(state, plan=self._plans(plan))

    @asynccontextmanager
    async def start_resumed(
        self,
        paused: PausedRun,
        decisions: Mapping[str, Decision],
        *,
        policy: Policy | None = None,
        thinking: PhasedThinking | None = None,
        plan: Plan | None = None,
        when_done: Callable[[Result], None] = lambda _: None,
    ) -> AsyncGenerator[Run]:
        """Go on with a run in the background of this block, as `start` does.

        Raises:
            InvalidTaskError: as `resume` does.
        """
        state = self._resumed(paused, decisions, policy, thinking)
        async with _in_background(Run(state, plan=self._plans(plan)), when_done) as run:
            yield run

    def run_sync(self, task: str, **options: Any) -> Result:
        """Do a task from code that is not async, in a notebook as well; takes what `run` takes.

        The agent's runtime must live elsewhere than the calling thread: open it with
        `Runtime.open_sync()`, or call this from a worker thread of the runtime's loop.

        Raises:
            AgentkitError: called in the thread of the runtime's own loop, which it would block.
        """
        job = partial(self.run, task, **options)
        if self.call_in_loop is not None:
            return self.call_in_loop(job)
        try:
            return from_thread.run(job)
        except RuntimeError as error:
            raise AgentkitError(
                f"run_sync cannot run in {threading.current_thread().name}: the runtime's event "
                "loop lives there, or in no thread that can be reached from it.",
                hint="Use `await agent.run(...)`, or open the runtime with Runtime.open_sync().",
            ) from error

    def conversation(self) -> Conversation:
        """Return a conversation that keeps its turns."""
        return Conversation(self)

    def as_tool(self, *, name: str = "", description: str = "") -> AgentTool:
        """Return a tool that gives this agent a task and returns its answer.

        The run it makes ends with the deadline of the call, its tokens and calls count to the run
        that has called it, and its events are seen there as `NestedEvent`.

        Args:
            name: the agent's where not given.
            description: the agent's where not given.

        Raises:
            ConfigurationError: the name cannot be that of a tool.
        """
        return AgentTool(self, name or self.name, description or self.description)

    def hand_over(self) -> Successor:
        """Return what a run needs to go on with this agent instead of its own."""
        return Successor(
            standing=tuple(self._standing()),
            policy=self.policy,
            thinking=self.thinking,
            observe=self.observers,
            description=self.description,
            **self._equipment(),
        )

    def _plans(self, plan: Plan | None) -> bool:
        wanted = self.plan if plan is None else plan
        if wanted != "auto":
            return wanted
        tools = self._tools()
        few = len(tools) > 0 and not tools.deferred  # what it has to search for, it cannot plan
        return self.model.profile.small and few and not self.handoffs

    def _begin(self, task: str, output_type: type[Any] | None, options: RunOptions) -> RunState:
        images = tuple(options.get("images") or ())
        if not task.strip() and not images:
            raise InvalidTaskError("The task is empty.", hint="Say what to do, in words.")
        run_id = uuid4().hex
        conversation_id = options.get("conversation_id") or run_id
        history = options.get("history") or ()
        past = [entry for entry in history if not isinstance(entry, SystemMessage)]
        thinking = options.get("thinking")
        return RunState(
            run_id=run_id,
            conversation_id=conversation_id,
            task=task,
            **self._equipment(),
            policy=options.get("policy") or self.policy,
            thinking=self.thinking if thinking is None else thinking,
            transcript=[
                *self._standing(),
                *without_thinking(past),
                UserMessage(task, images=images),
            ],
            emit=_to_observers(run_id, self.observers),
            shelf=self._shelf(conversation_id),
            output=None if output_type is None else output_of(output_type),
            taint=Taint(sources=list(options.get("untrusted", ()))),
            **_inherited(),
        )

    def _equipment(self) -> dict[str, Any]:
        """Return what a run has of its agent, and takes over where it is handed over."""
        return {
            "agent": self.name,
            "model": self.model,
            "registry": self._tools(),
            "approver": self.approver,
        }

    def _tools(self) -> Registry:
        """Return the tools of a run that begins now: the same object as long as they are the same."""
        version = -1 if self.source is None else self.source.version
        if version not in self._made:
            self._made.clear()
            self._made[version] = self._registry()
        return self._made[version]

    def _registry(self) -> Registry:
        own: list[Tool] = [*self.registry, *(HandOver(one.hand_over()) for one in self.handoffs)]
        taken = {tool.spec.name for tool in own}
        there = () if self.source is None else self.source.tools
        shared = [tool for tool in there if tool.spec.name not in taken]
        context = self.model.profile.context_tokens or _USUAL_CONTEXT
        if schema_tokens(tool.spec for tool in shared) > self.schema_share * context:
            return Registry(own, deferred=shared)
        return Registry([*own, *shared])

    def _standing(self) -> list[Message]:
        missing = "" if self.source is None else self.source.missing
        told = f"{_MISSING}\n{missing}" if missing else ""
        fenced = STANDING if any(tool.spec.untrusted for tool in self._tools()) else ""
        text = "\n\n".join(part for part in (self.instructions, fenced, told) if part)
        return [SystemMessage(text)] if text else []

    def _shelf(self, conversation_id: str) -> Shelf | None:
        if self.results_dir is None:
            return None
        return Shelf(self.results_dir, conversation_id)

    def _resumed(
        self,
        paused: PausedRun,
        decisions: Mapping[str, Decision],
        policy: Policy | None,
        thinking: PhasedThinking | None,
    ) -> RunState:
        if paused.agent != self.name:
            raise InvalidTaskError(
                f"The run waits for the agent {paused.agent!r}; this one is {self.name!r}."
            )
        strange = set(decisions) - {request.call_id for request in paused.waiting}
        if strange:
            raise InvalidTaskError(f"No call {min(strange)!r} waits for a decision.")
        return RunState(
            run_id=paused.run_id,
            conversation_id=paused.conversation_id,
            task=paused.task,
            **self._equipment(),
            policy=policy or self.policy,
            thinking=self.thinking if thinking is None else thinking,
            transcript=list(paused.transcript),
            emit=_to_observers(paused.run_id, self.observers),
            decisions=dict(decisions),
            shelf=self._shelf(paused.conversation_id),
            finished={result.call_id: result for result in paused.finished},
            usage=paused.usage,
            steps=paused.steps,
            calls=paused.calls,
            keys=paused.keys,
            plan=paused.plan,
            source=paused.source,
            found=list(paused.found),
            taint=Taint(sources=list(paused.untrusted)),
            earlier_seconds=paused.seconds,
            resumed=True,
            **_inherited(),
        )


@asynccontextmanager
async def _in_background(run: Run, when_done: Callable[[Result], None]) -> AsyncGenerator[Run]:
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(run.drive, when_done)
            try:
                yield run
            finally:
                run.cancel()  # without effect on a run that is over
    except BaseExceptionGroup as problems:
        if len(problems.exceptions) == 1:  # a group of one says no more than its member
            only = problems.exceptions[0]
            raise only from only.__cause__
        raise


def as_tools(tools: Iterable[Tool | Callable[..., Any]]) -> list[Tool]:
    """Return tools; plain functions become tools as `@tool` makes them.

    Raises:
        ConfigurationError: a function has a parameter without a type.
    """
    return [entry if hasattr(entry, "spec") else FunctionTool(entry) for entry in tools]  # pyright: ignore[reportArgumentType, reportReturnType] - told apart by their spec


def _to_observers(run_id: str, observers: tuple[Observer, ...]) -> Callable[[Event], None]:
    if len(observers) == 1:
        return partial(observers[0].observe, run_id)

    def emit(event: Event) -> None:
        for observer in observers:
            observer.observe(run_id, event)

    return emit


def _inherited() -> dict[str, Any]:
    """Return what a run has of the run whose tool has begun it, if one has."""
    parent = CURRENT_RUN.get()
    if parent is None:
        return {}
    if parent.depth >= _DEEPEST:
        raise InvalidTaskError(
            f"Agents that use agents are {_DEEPEST} deep: no further run begins."
        )
    return {"parent": parent, "depth": parent.depth + 1}
