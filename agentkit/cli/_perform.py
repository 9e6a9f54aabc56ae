"""One task from beginning to end: open, run, show, answer, close."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import anyio
from anyio.to_thread import run_sync

from agentkit.cli._exit import Exit, exit_of_result, exit_of_signal
from agentkit.cli._options import Choice
from agentkit.cli._outcome import as_document, as_error, error_document, print_json, print_result
from agentkit.cli._signals import Stopper, until_signalled
from agentkit.cli._view import View, view_for
from agentkit.errors import AgentkitError, InvalidTaskError
from agentkit.events import Event, as_record
from agentkit.trace.words import plural, tokens

if TYPE_CHECKING:
    from agentkit.loop import Result, Run
    from agentkit.mcp import ServerState
    from agentkit.protocols import Model
    from agentkit.runtime import Runtime
    from agentkit.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A task, with whom it goes to and how its end is told.

    Attributes:
        model: used instead of the one of the settings.
    """

    task: str
    choice: Choice = field(default_factory=Choice)
    instructions: str = ""
    output: Literal["text", "json", "jsonl"] = "text"
    quiet: bool = False
    verbose: bool = False
    model: "Model | None" = None


def perform(order: Order) -> Exit:
    """Do the task and return the exit code.

    Raises:
        AgentkitError: it could not begin.
    """
    view = view_for(quiet=order.quiet, verbose=order.verbose)
    began: list[str] = []
    try:
        settings = order.choice.settings()

        async def work(stopper: Stopper) -> Exit:
            return await _perform(order, settings, view, stopper, began)

        with view:
            code = anyio.run(until_signalled, work, view.note)
    except AgentkitError as error:
        if not began:
            _tell_error(error, order, stop="failed")
        raise
    if not began:
        _tell_error(AgentkitError("Interrupted before the run began."), order, stop="cancelled")
    return code


def _tell_error(error: AgentkitError, order: Order, *, stop: str) -> None:
    """Tell programs why there is no run; people read it on stderr."""
    if order.output == "json":
        print_json(error_document(error, stop=stop))
    elif order.output == "jsonl":
        print_json({"event": "error", **as_error(error)})


async def _perform(
    order: Order, settings: "Settings", view: View, stopper: Stopper, began: list[str]
) -> Exit:
    async with open_runtime(
        settings, view, model=order.model, with_mcp=order.choice.with_mcp
    ) as runtime:
        agent = runtime.agent(instructions=order.instructions, policy=order.choice.policy(settings))
        async with agent.start(order.task) as run:
            began.append(run.run_id)
            result = await _follow(run, order, view, stopper)
        view.stop()
        await _tell(result, order, runtime, view)
        return exit_code(result, stopper)


@asynccontextmanager
async def open_runtime(
    settings: "Settings", view: View, *, with_mcp: bool, model: "Model | None" = None
) -> AsyncGenerator["Runtime"]:
    """Open a runtime, showing how it gets ready."""
    from agentkit.runtime import Runtime

    async with Runtime.open(
        settings, model=model, with_mcp=with_mcp, progress=view.progress
    ) as runtime:
        show_servers(runtime.servers, view)
        yield runtime


def show_servers(servers: "Sequence[ServerState]", view: View) -> None:
    """Name the servers that are missing: a run goes on without them, but not silently."""
    for state in servers:
        if state.status == "failed":
            fix = f" Fix: {state.hint}" if state.hint else ""
            view.note(f"✗ MCP {state.name!r}: {state.error}{fix}")


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
        f" · {result.seconds:.1f} s"
    )


async def _follow(run: "Run", order: Order, view: View, stopper: Stopper) -> "Result":
    stopper.begin(run)
    try:
        async for event in run:
            view.event(event)
            if order.output == "jsonl":
                _print_event(event)
        return await run.result()
    finally:
        stopper.over()


def _print_event(event: Event) -> None:
    print_json(as_record(event))


async def _tell(result: "Result", order: Order, runtime: "Runtime", view: View) -> None:
    trace = await _trace_of(runtime, result.run_id)
    if order.output == "json":
        print_json(as_document(result, trace=trace, servers=runtime.servers))
        return
    if order.output == "text":
        print_result(result)
    shown = f"\nagentkit trace view {result.run_id[:8]}" if trace is not None else ""
    view.summary(f"{figures(result)}{shown}")


async def _trace_of(runtime: "Runtime", run_id: str) -> Path | None:
    from agentkit.trace import TraceWriter, find_trace

    for observer in runtime.observers:
        if isinstance(observer, TraceWriter):
            await observer.flush()
    if not runtime.settings.trace:
        return None
    try:
        return await run_sync(find_trace, runtime.settings.trace_dir, run_id)
    except InvalidTaskError:  # the disk is full or the folder not ours: a warning has said so
        return None
