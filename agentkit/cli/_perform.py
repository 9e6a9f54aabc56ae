"""One task from beginning to end: open, run, show, answer, close."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio
from anyio.to_thread import run_sync

from agentkit.cli._approval import approver_for, keep
from agentkit.cli._exit import Exit, exit_of_result, exit_of_signal
from agentkit.cli._options import Choice
from agentkit.cli._outcome import (
    as_document,
    as_error,
    error_document,
    lost_document,
    print_json,
    print_result,
)
from agentkit.cli._questions import answerer_for
from agentkit.cli._signals import Stopper, until_signalled
from agentkit.cli._view import View, view_for
from agentkit.errors import AgentkitError, InvalidTaskError
from agentkit.events import as_record
from agentkit.trace.words import plural, tokens

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.loop import PausedRun, Result, Run
    from agentkit.mcp import ServerState
    from agentkit.messages import Decision, Image
    from agentkit.protocols import Model
    from agentkit.runtime import Runtime
    from agentkit.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task, with whom it goes to and how its end is told.

    Attributes:
        model: used instead of the one of the settings.
        images: shown to the model with the task.
        yes: every call that wants approval gets it.
        paused: a run to go on with, instead of a new one.
        decision: about the calls that it waits for.
    """

    task: str
    choice: Choice = field(default_factory=Choice)
    instructions: str = ""
    output: Literal["text", "json", "jsonl"] = "text"
    quiet: bool = False
    verbose: bool = False
    model: "Model | None" = None
    images: "tuple[Image, ...]" = ()
    yes: bool = False
    paused: "PausedRun | None" = None
    decision: "Decision" = False


@dataclass(slots=True)
class _Story:
    """How far the telling has come.

    Attributes:
        run_id: of the run, once it has begun.
        result: what it has come to, or what there was when it was taken away.
        told: whether a program that reads stdout has it.
    """

    run_id: str | None = None
    result: "Result | None" = None
    told: bool = False

    def end(self, result: "Result") -> None:
        """Keep what a run has come to."""
        self.result = result


def perform(order: Order) -> Exit:
    """Do the task and return the exit code.

    Raises:
        AgentkitError: it could not begin, or what it stands on was lost.
    """
    view = view_for(quiet=order.quiet, verbose=order.verbose)
    story = _Story()
    try:
        settings = order.choice.settings()

        async def work(stopper: Stopper) -> Exit:
            return await _perform(order, settings, view, stopper, story)

        with view:
            code = anyio.run(until_signalled, work, view.note)
    except AgentkitError as error:
        _tell_error(error, order, story, stop="failed")
        raise
    when = "before the run ended" if story.run_id else "before the run began"
    _tell_error(AgentkitError(f"Interrupted {when}."), order, story, stop="cancelled")
    return code


def _tell_error(error: AgentkitError, order: Order, story: _Story, *, stop: str) -> None:
    """Tell programs why there is no result, unless they have one; people read it on stderr."""
    if story.told:
        return
    if order.output == "json":
        print_json(_document_of(error, order, story, stop))
    elif order.output == "jsonl":
        run = {"run_id": story.run_id} if story.run_id else {}
        print_json({"event": "error", **run, **as_error(error)})


def _document_of(error: AgentkitError, order: Order, story: _Story, stop: str) -> dict[str, Any]:
    if story.result is None:
        return error_document(error, stop=stop, run_id=story.run_id)
    trace = _find_trace(order.choice.settings(), story.result.run_id)
    return lost_document(error, story.result, trace=trace, stop=stop)


async def _perform(
    order: Order, settings: "Settings", view: View, stopper: Stopper, story: _Story
) -> Exit:
    asks = order.output == "text"
    async with open_runtime(
        settings, view, model=order.model, with_mcp=order.choice.with_mcp, asks=asks
    ) as runtime:
        agent = runtime.agent(
            instructions=order.instructions,
            policy=order.choice.policy(settings),
            approver=approver_for(view, yes=order.yes, asks=asks),
        )
        async with _started(agent, order, story) as run:
            story.run_id = run.run_id
            result = await _follow(run, order, view, stopper)
        view.stop()
        await _tell(result, order, runtime, view, story)
        return exit_code(result, stopper)


def _started(agent: "Agent", order: Order, story: _Story) -> "AbstractAsyncContextManager[Run]":
    if order.paused is None:
        return agent.start(order.task, when_done=story.end, images=order.images)
    decisions = {request.call_id: order.decision for request in order.paused.waiting}
    return agent.start_resumed(order.paused, decisions, when_done=story.end)


@asynccontextmanager
async def open_runtime(
    settings: "Settings",
    view: View,
    *,
    with_mcp: bool,
    model: "Model | None" = None,
    asks: bool = False,
) -> AsyncGenerator["Runtime"]:
    """Open a runtime, showing how it gets ready; `asks` lets MCP servers ask the person."""
    from agentkit.runtime import Runtime

    async with Runtime.open(
        settings,
        model=model,
        with_mcp=with_mcp,
        answerer=answerer_for(view, asks=asks),
        progress=view.progress,
    ) as runtime:
        show_servers(runtime.servers, view)
        yield runtime


def show_servers(servers: "Sequence[ServerState]", view: View) -> None:
    """Name the servers that are missing: a run goes on without them, but not silently."""
    for state in servers:
        if state.status == "failed":
            fix = f" Fix: {state.hint}" if state.hint else ""
            view.note(f"✗ MCP {state.name!r}: {state.error}{fix}")
        if state.withheld:
            names = ", ".join(state.withheld)
            see = f"agentkit mcp trust {state.name} shows what has changed"
            view.note(f"• MCP {state.name!r} withholds {names}: {see}")


def exit_code(result: "Result", stopper: Stopper) -> Exit:
    """Return the code of a run: that of the signal, where one ended it."""
    if result.stop == "cancelled" and stopper.heard:
        return exit_of_signal(stopper.heard)
    return exit_of_result(result)


def figures(result: "Result") -> str:
    """Return what a run took, in a line."""
    used = {
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "cached_tokens": result.usage.cached_tokens,
        "reasoning_tokens": result.usage.reasoning_tokens,
    }
    return (
        f"{plural(result.steps, 'step')} · {plural(result.calls, 'call')} · {tokens(used)}"
        f" · {result.seconds:.1f} s{_held_back(result)}"
    )


def _held_back(result: "Result") -> str:
    if not result.held_back:
        return ""
    names = ", ".join(dict.fromkeys(result.held_back))
    calls = plural(len(result.held_back), "call")
    return f"\n{calls} not made after reading {', '.join(result.untrusted)}: {names}"


async def _follow(run: "Run", order: Order, view: View, stopper: Stopper) -> "Result":
    stopper.begin(run)
    try:
        async for event in run:
            view.event(event)
            if order.output == "jsonl":
                print_json(as_record(event))
        return await run.result()
    finally:
        stopper.over()


async def _tell(
    result: "Result", order: Order, runtime: "Runtime", view: View, story: _Story
) -> None:
    trace = await _trace_of(runtime, result.run_id)
    if result.paused is not None:
        await run_sync(keep, result.paused, runtime.settings.state_dir)
    if order.output == "json":
        print_json(as_document(result, trace=trace, servers=runtime.servers))
    elif order.output == "text":
        print_result(result)
    story.told = True
    if order.output == "json":
        return
    shown = f"\nagentkit trace view {result.run_id[:8]}" if trace is not None else ""
    view.summary(f"{figures(result)}{shown}")


async def _trace_of(runtime: "Runtime", run_id: str) -> Path | None:
    from agentkit.trace import TraceWriter

    for observer in runtime.observers:
        if isinstance(observer, TraceWriter):
            await observer.flush()
    return await run_sync(_find_trace, runtime.settings, run_id)


def _find_trace(settings: "Settings", run_id: str) -> Path | None:
    from agentkit.trace import find_trace

    if not settings.trace:
        return None
    try:
        return find_trace(settings.trace_dir, run_id)
    except InvalidTaskError:  # the disk is full or the folder not ours: a warning has said so
        return None
