"""The same work done twice: a hand-written loop over the openai client, and agentkit."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from unittest.mock import patch

if TYPE_CHECKING:
    from agentkit import Agent

TASK = "Look the numbers up, one after the other, then answer."
INSTRUCTIONS = "You look numbers up with the tool."

Run: TypeAlias = Callable[[], Awaitable[tuple[str, int]]]
"""Does one run; returns the answer and the number of tool calls."""


async def lookup(number: int) -> str:
    """Look a number up.

    Args:
        number: which one.
    """
    on_call(number)
    return f"value-{number}."


def on_call(number: int) -> None:
    """Do nothing; the benchmark replaces this to read the clock at each call."""


LOOKUP_SCHEMA = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Look a number up.",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "integer", "description": "which one."}},
            "required": ["number"],
        },
    },
}


async def _bare_loop(client: Any, model: str) -> tuple[str, int]:
    """The loop everybody writes first."""
    messages: list[Any] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": TASK},
    ]
    calls = 0
    while True:
        answer = await client.chat.completions.create(
            model=model, messages=messages, tools=[LOOKUP_SCHEMA]
        )
        message = answer.choices[0].message
        if not message.tool_calls:
            return message.content, calls
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = await lookup(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
            calls += 1


async def _bare_stream_loop(client: Any, model: str) -> tuple[str, int]:
    """The same, streamed."""
    messages: list[Any] = [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": TASK},
    ]
    done = 0
    while True:
        text, calls = await _bare_turn(client, model, messages)
        if not calls:
            return text, done
        messages.append({"role": "assistant", "content": text, "tool_calls": calls})
        for call in calls:
            result = await lookup(**json.loads(call["function"]["arguments"]))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
            done += 1


async def _bare_turn(client: Any, model: str, messages: list[Any]) -> tuple[str, list[Any]]:
    stream = await client.chat.completions.create(
        model=model,
        messages=messages,
        tools=[LOOKUP_SCHEMA],
        stream=True,
        stream_options={"include_usage": True},
    )
    parts: list[str] = []
    calls: list[Any] = []
    async for chunk in stream:
        if not chunk.choices:
            continue
        delta = chunk.choices[0].delta
        if delta.content:
            parts.append(delta.content)
        for piece in delta.tool_calls or ():
            if piece.id:
                function = {"name": piece.function.name, "arguments": ""}
                calls.append({"id": piece.id, "type": "function", "function": function})
            calls[piece.index]["function"]["arguments"] += piece.function.arguments or ""
    return "".join(parts), calls


@asynccontextmanager
async def bare(base_url: str, model: str, _folder: Path) -> AsyncGenerator[Run]:
    """Open the openai client with its own defaults, retries off."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=600) as client:
        yield lambda: _bare_loop(client, model)


@asynccontextmanager
async def bare_stream(base_url: str, model: str, _folder: Path) -> AsyncGenerator[Run]:
    """Open the openai client with its own defaults, retries off; answers are streamed."""
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0, timeout=600) as client:
        yield lambda: _bare_stream_loop(client, model)


@asynccontextmanager
async def _agent(base_url: str, model: str, folder: Path) -> "AsyncGenerator[Agent]":
    from agentkit import Limits, Runtime, read_settings, tool

    settings = read_settings(
        base_url=base_url, model=model, state_dir=folder, limits=Limits(steps=500, calls=500)
    )
    async with Runtime.open(settings, with_mcp=False) as runtime:
        yield runtime.agent(instructions=INSTRUCTIONS, tools=[tool(lookup)], builtin=False)


@asynccontextmanager
async def agentkit(base_url: str, model: str, folder: Path) -> AsyncGenerator[Run]:
    """Open a runtime as it comes: events, policies, validation, a trace file for each run."""
    async with _agent(base_url, model, folder) as agent:

        async def run() -> tuple[str, int]:
            result = await agent.run(TASK)
            return result.unwrap(), result.calls

        yield run


@asynccontextmanager
async def agentkit_events(base_url: str, model: str, folder: Path) -> AsyncGenerator[Run]:
    """Do the same, and look at every event as it happens."""
    from agentkit import TextDelta

    async with _agent(base_url, model, folder) as agent:

        async def run() -> tuple[str, int]:
            async with agent.start(TASK) as running:
                text = [event.text async for event in running if isinstance(event, TextDelta)]
                result = await running.result()
            if "".join(text) != result.unwrap():
                raise RuntimeError("the events do not add up to the answer")
            return result.text, result.calls

        yield run


@asynccontextmanager
async def agentkit_unguarded(base_url: str, model: str, folder: Path) -> AsyncGenerator[Run]:
    """Do the same without what guards a run: to see what that costs."""
    with _without_guards():
        async with agentkit(base_url, model, folder) as run:
            yield run


@contextmanager
def _without_guards() -> Generator[None]:
    """Take out: tasks of their own for tools, circles, cuts, announcements, room, queue, tokens."""
    from agentkit.loop import CURRENT_RUN
    from agentkit.resilience import Outcome, TrafficControl

    async def here(work: Callable[[], Awaitable[Any]], *_: Any, **__: Any) -> Outcome[Any]:
        outcome = Outcome(await work())
        CURRENT_RUN.set(None)  # a task of its own would have kept it to itself
        return outcome

    def no(*_: Any) -> bool:
        return False

    def no_verdict(*_: Any) -> str:
        return ""

    def skip(*_: Any) -> None:
        pass

    def yes(*_: Any) -> bool:
        return True

    def admitted(_: TrafficControl) -> Any:
        return nullcontext()

    patches: dict[str, Any] = {
        "agentkit.loop._call.run_apart": here,
        "agentkit.loop._plan.fits": yes,
        "agentkit.loop._plan.Watch.take": no,
        "agentkit.loop._pursue.announces_call": no,
        "agentkit.loop._guard.Guard.observe": no_verdict,
        "agentkit.loop._context.Context.counted": skip,
        "agentkit.resilience.TrafficControl.admitted": admitted,
        "agentkit.models._wire.defused": str,
    }
    with ExitStack() as stack:
        for name, replacement in patches.items():
            stack.enter_context(patch(name, replacement))
        yield


CONTENDERS = {
    "bare": bare,
    "bare-stream": bare_stream,
    "agentkit": agentkit,
    "agentkit-events": agentkit_events,
    "agentkit-unguarded": agentkit_unguarded,
}
