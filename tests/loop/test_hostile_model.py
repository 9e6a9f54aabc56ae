"""Every bad turn that Qwen3 and SGLang's parsers are known for, through the whole loop.

Each row is what the model writes (`Raw`, read by the parsers of the fake SGLang, which are held to
the real ones), or what arrives (`Answer` with a fault). The rule for all of them: never run with
other arguments than were written, never dropped without a word, never a history that a server
refuses (the fake answers that with a 400, and the run would fail).
"""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from agentkit import Agent, Policy, Result, Retry, tool
from agentkit.errors import InvalidOutputError, ModelError
from agentkit.events import NoticeGiven, RetryScheduled
from agentkit.messages import ModelTurn, SystemMessage, ToolResult
from agentkit.models import open_pool
from agentkit.testing import Answer, FakeSGLang, Fault, Raw
from agentkit.toolkit import Registry

ARGUMENTS = '{"q": "line1"}'
FOUND = ("search", "line1")
SEARCH = ("search", {"q": "line1"})
DONE = Answer(text="Done.")
AGAIN = Answer(calls=[SEARCH])


def call(arguments: str = ARGUMENTS, name: str = "search", end: str = "}") -> str:
    return f'{{"name": "{name}", "arguments": {arguments}{end}'


def block(inside: str) -> str:
    return f"<tool_call>\n{inside}\n</tool_call>"


GOOD = block(call())


@dataclass(frozen=True)
class Row:
    """One bad turn, and what becomes of it.

    Attributes:
        first: what the model says first; then it says `then`.
        ran: the calls that are run because of it.
        told: what the model is told of it, or the trace.
        text: the answer in the end.
        error: what the run ends with, where it does.
        same: it says `first` again whenever it is asked the same.
    """

    first: Any
    ran: list[Any] = field(default_factory=list[Any])
    told: str = ""
    text: str = "Done."
    then: tuple[Any, ...] = (DONE,)
    error: type[Exception] | None = None
    thinking: Any = "auto"
    same: bool = False


def written(text: str, **more: Any) -> Row:
    return Row(Raw(text), thinking=False, **more)


THOUGHTS = {
    "thought and call": Row(Raw(f"<think>\np\n</think>\n\n{GOOD}"), [FOUND]),
    "thought and text": Row(Raw("<think>\np\n</think>\n\nHello."), text="Hello."),
    "text without a thought, so all of it counts as one": Row(
        Raw("plain text"), told="neither an answer nor a call", text="Done."
    ),
    "call without a thought": Row(Raw(GOOD), [FOUND]),
    "call inside a thought, then an answer": Row(
        Raw(f"<think>a\n{GOOD}\n</think>\n\nDone."),
        told="The server lost the arguments of a call while streaming; asked again.",
        same=True,
    ),
    "call inside a thought, and the same after it": Row(
        Raw(f"<think>a\n{GOOD}\n</think>\n\n{GOOD}"), [FOUND]
    ),
    "thought that mentions the tag": Row(
        Raw("<think>use <tool_call> now\n</think>\n\nok"), text="ok"
    ),
    "unclosed thought, then a call": Row(Raw(f"<think>a\n{GOOD}"), [FOUND], same=True),
    "thought cut by the token limit": Row(
        Raw("<think>a b", finish="length"), told="neither an answer nor a call"
    ),
    "second thought": Row(Raw("<think>a</think>\n\nx<think>b</think>"), text="x"),
}
WRITTEN = {
    "good": written(GOOD, ran=[FOUND]),
    "no newline after the tag": written(f"<tool_call>{call()}\n</tool_call>", ran=[FOUND]),
    "no newline before the closing tag": written(f"<tool_call>\n{call()}</tool_call>", ran=[FOUND]),
    "missing brace": written(block(call(end="")), ran=[FOUND]),
    "trailing comma": written(block(call('{"q": "line1",}')), ran=[FOUND]),
    "extra brace": written(block(call(end="}}")), ran=[FOUND]),
    "raw newline in a string": written(
        block(call('{"q": "line1\nline2"}')),
        ran=[("search", "line1\nline2")],  # not "line1", as it was streamed
        told="The arguments of search could not be read as JSON. Nothing was run.",
        same=True,
    ),
    "bad escape": written(
        block(call('{"q": "line1\\d+"}')),
        told="The arguments of search could not be read as JSON. Nothing was run.",
        then=(Raw(block(call('{"q": "line1\\d+"}'))), DONE),  # asked again, not streamed
    ),
    "single quotes": written(
        block("{'name': 'search', 'arguments': {'q': 'line1'}}"),
        told="neither an answer nor a call",
    ),
    "XML": written(
        block("<function=search>\n<parameter=q>\nline1\n</parameter>\n</function>"),
        told="neither an answer nor a call",
    ),
    "doubled tag": written(f"<tool_call>\n{GOOD}", told="neither an answer nor a call"),
    "two objects in one block": written(
        block(call() + call("{}", "noop")), ran=[FOUND, ("noop",)], told="beside others"
    ),
    "list in one block": written(
        block(f"[{call()}, {call('{}', 'noop')}]"), told="neither an answer nor a call"
    ),
    "arguments as a string": written(block(call('"{\\"q\\": \\"line1\\"}"')), ran=[FOUND]),
    "missing arguments that are required": written(
        block('{"name": "search"}'), told="Field required", same=True
    ),
    "missing arguments that are not": written(
        block('{"name": "noop"}'), ran=[("noop",)], same=True
    ),
    "null arguments": written(block(call("null", "noop")), ran=[("noop",)], same=True),
    "arguments of the wrong type": written(
        block(call('{"q": 1}')), told="q: Input should be a valid string"
    ),
    "an argument too many": written(
        block(call('{"q": "line1", "x": 1}')), told="x: Extra inputs are not permitted"
    ),
    "unknown tool": written(
        block(call('{"x": 1}', "gone")), told="Known tools: search, noop. Nothing was run."
    ),
    "bare JSON": written(call(), ran=[FOUND], told="Found a call of search"),
    "fenced JSON": written(f"```json\n{call()}\n```", ran=[FOUND], told="Found a call of search"),
    "cut by the token limit": Row(
        Raw('<tool_call>\n{"name": "search", "arguments": {"q": "li', finish="length"),
        told="Not run: the answer was cut off",
        thinking=False,
    ),
    "ended in the middle of a string": written(
        '<tool_call>\n{"name": "search", "arguments": {"q": "li',
        told="could not be read as JSON. Nothing was run.",
        then=(Raw('<tool_call>\n{"name": "search", "arguments": {"q": "li'), DONE),
    ),
    "ended before the arguments": written(
        '<tool_call>\n{"name": "sea', told="neither an answer nor a call"
    ),
    "text after the call": written(f"{GOOD}\nThat was it.", ran=[FOUND], same=True),
    "text before two equal calls": written(f"Look.\n{GOOD}\n{GOOD}", ran=[FOUND]),
    "Chinese, escaped and not": written(
        block(call('{"q": "北京 \\u5317 🕐"}')), ran=[("search", "北京 北 🕐")], same=True
    ),
}
ARRIVED = {
    "arguments lost in the stream": Row(
        Answer(calls=[SEARCH], fault="lost_args"), [FOUND], same=True
    ),
    "arguments cut short, at the token limit": Row(
        Answer(calls=[SEARCH], fault="truncated_args", finish="length"), told="was cut off"
    ),
    "an empty turn": Row(Answer(text="x", fault="empty"), told="neither an answer nor a call"),
    "an empty turn for ever": Row(
        Answer(text="x", fault="empty"),
        then=(Answer(text="x", fault="empty"),) * 3,
        text="",
        error=InvalidOutputError,
    ),
    "an answer that arrives as reasoning": Row(
        Answer(text="The answer.", thinking="Hm.", fault="all_reasoning"),
        told="neither an answer nor a call",
    ),
    "a stray end of thinking": Row(
        Answer(text="The answer.", fault="stray_think"), text="The answer."
    ),
    "each call twice": Row(Answer(calls=[SEARCH], fault="duplicate_call"), [FOUND]),
    "a call as text": Row(
        Answer(calls=[SEARCH], fault="raw_call"), [FOUND], told="Found a call of search"
    ),
    "arguments as a JSON string": Row(Answer(calls=[SEARCH], fault="string_args"), [FOUND]),
    "arguments that are a number": Row(
        Answer(calls=[SEARCH], fault="scalar_args"), told="must be one JSON object, not 2"
    ),
    "an answer aborted by the server": Row(
        Answer(text="half of an answer", fault="abort"), told="aborted the answer"
    ),
    "a call aborted by the server": Row(
        Answer(calls=[SEARCH], finish="abort"), told="aborted the answer"
    ),
    "a full queue": Row(Answer(fault=Fault("status", status=503)), told="answered 503"),
    "a full queue, said inside a 200": Row(Answer(text="x", fault="busy"), told="503"),
    "an error 500 inside a stream": Row(
        Answer(text="abc def", fault=Fault("sse_error", status=500, after=2)), told="answered 500"
    ),
    "an error 400 inside a stream": Row(
        Answer(text="abc def", fault=Fault("sse_error", status=400, after=2)),
        text="abc",
        error=ModelError,
    ),
    "no finish reason": Row(
        Answer(text="abc def ghi", fault=Fault("truncate", after=3)), told="broke the stream off"
    ),
    "no finish reason after a call": Row(
        Answer(calls=[SEARCH], fault=Fault("truncate", after=4)), told="broke the stream off"
    ),
    "cut inside a character": Row(
        Answer(text="北京北京", fault=Fault("cut", at="utf8")), told="closed the stream"
    ),
    "cut inside a line": Row(
        Answer(text="abc def", fault=Fault("cut", at="line")), told="the stream"
    ),
    "cut inside the arguments": Row(
        Answer(calls=[SEARCH], fault=Fault("cut", at="arguments")), told="broke the stream off"
    ),
    "reset before the first byte": Row(
        Answer(text="abc", fault=Fault("drop", after=0)), told="No answer from the model server"
    ),
    "reset after the first chunk": Row(
        Answer(text="abc", fault=Fault("drop", after=1)), told="closed the stream"
    ),
    "byte by byte": Row(Answer(text="abc", fault="drip"), text="abc"),
    "no usage": Row(Answer(text="abc", fault="no_usage"), text="abc"),
    "null for the cached tokens": Row(Answer(text="abc", fault="null_cached"), text="abc"),
    "a web page in place of an answer": Row(
        Answer(fault=Fault("html", status=502)), told="HTML page"
    ),
    "a key that is refused": Row(
        Answer(fault=Fault("status", status=401)), text="", error=ModelError
    ),
}
ROWS = THOUGHTS | WRITTEN | ARRIVED


async def go(row: Row) -> tuple[Result, list[Any], list[str], FakeSGLang]:
    """Return what became of a run, the calls that ran, what was told, and the server."""
    ran: list[Any] = []

    @tool
    async def search(q: str) -> str:
        """Search."""
        ran.append(("search", q))
        return "found"

    @tool
    async def noop() -> str:
        """Do nothing."""
        ran.append(("noop",))
        return "ok"

    turns = [row.first, *row.then]
    script: Any = {"Go": turns} if row.same else turns
    async with FakeSGLang(script) as server, open_pool() as pool:
        # Without a grammar: with one, SGLang lets no such arguments come up.
        model = await pool.connect(server.base_url, strict_tools=False)
        agent = Agent(
            name="test",
            model=model,
            registry=Registry([search, noop]),
            policy=Policy(retry=Retry(first_delay=0)),
            plan=False,
        )
        async with agent.start("Go", thinking=row.thinking) as run:
            events = [event async for event in run]
        result = await run.result()
    told = [entry.text for entry in result.transcript if isinstance(entry, SystemMessage)]
    told += [entry.text for entry in result.transcript if isinstance(entry, ToolResult)]
    told += [event.text for event in events if isinstance(event, NoticeGiven)]
    told += [event.reason for event in events if isinstance(event, RetryScheduled)]
    return result, ran, told, server


@pytest.mark.parametrize("name", ROWS)
async def test_a_bad_turn(name: str) -> None:
    row = ROWS[name]
    result, ran, told, server = await go(row)
    assert ran == row.ran
    if row.told:
        assert any(row.told in text for text in told), told
    if row.error is None:
        assert (result.stop, result.text) == ("done", row.text), result.reason
    else:
        assert result.stop == "failed"
        assert isinstance(result.error, row.error)
        assert result.error.run_id == result.run_id
        assert result.text == row.text
    assert_legal(result)
    for request in server.requests:
        assert_legal_on_the_wire(request.body["messages"])


def assert_legal(result: Result) -> None:
    """Each call has one result, in order, before anything else is said."""
    open_calls: list[str] = []
    for entry in result.transcript:
        if isinstance(entry, ToolResult):
            assert open_calls.pop(0) == entry.call_id
            continue
        assert not open_calls
        if isinstance(entry, ModelTurn):
            open_calls = [call.id for call in entry.tool_calls]
    assert not open_calls


def assert_legal_on_the_wire(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        for one in message.get("tool_calls") or ():
            assert isinstance(json.loads(one["function"]["arguments"]), dict)


async def test_what_is_wrong_for_ever_ends_by_name_with_the_last_output() -> None:
    broken = Raw(block("{'name': 'search'}"))
    row = Row(broken, then=(broken,) * 5, thinking=False)
    result, ran, _, server = await go(row)
    assert ran == []
    assert isinstance(result.error, InvalidOutputError)
    assert "{'name': 'search'}" in result.error.output
    assert "not one of the allowed JSON objects" in result.error.problem
    assert len(server.requests) == 4
    first, second, third, last = (request.body for request in server.requests)
    assert first["messages"] == second["messages"]
    assert third["chat_template_kwargs"] == {"enable_thinking": False}
    assert last["response_format"]["type"] == "json_schema"
