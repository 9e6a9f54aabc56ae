"""Small real requests that show whether a server does what agents need of it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
from jiter import from_json

from agentkit.errors import AgentkitError, ModelRequestError, ModelTimeoutError
from agentkit.messages import JsonObject
from agentkit.models._detect import Server
from agentkit.models._dialects import Dialect
from agentkit.models._identity import fences_calls, habit_of
from agentkit.models._json import is_object
from agentkit.models._turn import TurnBuilder
from agentkit.models._wire import to_bytes
from agentkit.policies import Timeouts
from agentkit.resilience import deadline

if TYPE_CHECKING:
    from agentkit.models._endpoint import Endpoint

Status: TypeAlias = Literal["ok", "warn", "fail", "skipped"]

_TOKENS = 512
_LONG_TOKENS = 4096
_IDLE_SECONDS = 5.0  # for a server to notice that nobody waits any more
_POLL_SECONDS = 0.1
_SHOWN = 80
_TOKYO = "What time is it in Tokyo?"
_HELLO = "Hello!"


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a probe found.

    Attributes:
        seen: what the server did.
        cure: the option that mends it; empty where nothing is wrong.
    """

    name: str
    status: Status
    seen: str
    cure: str = ""


_PARSER = {
    "sglang": "Start it with --tool-call-parser qwen.",
    "vllm": "Start it with --enable-auto-tool-choice --tool-call-parser hermes.",
    "llamacpp": "Start it with --jinja and a template that knows tools.",
}
_REASONING = {
    "sglang": "Start it with --reasoning-parser qwen3.",
    "vllm": "Start it with --reasoning-parser qwen3.",
    "llamacpp": "Start it with --reasoning-format deepseek.",
}
_GRAMMAR = {
    "sglang": "Start it with --grammar-backend xgrammar.",
    "vllm": "Structured outputs need a newer vLLM.",
    "llamacpp": "A newer llama.cpp holds answers to a schema.",
}
_STRICT = {
    "sglang": "Start it with SGLANG_TOOL_STRICT_LEVEL=2 and --grammar-backend xgrammar.",
    "vllm": "Start it with VLLM_ENFORCE_STRICT_TOOL_CALLING=1.",
}
_CACHE = {
    "sglang": "Start it with --enable-cache-report, and without --disable-radix-cache.",
    "vllm": "Start it with --enable-prompt-tokens-details.",
}
_ELSEWHERE = "Look for the like of it in the server's documentation."


def _tool(name: str, description: str, parameter: str, **schema: Any) -> JsonObject:
    properties = {parameter: {"type": "string", **schema}}
    parameters = {"type": "object", "properties": properties, "required": [parameter]}
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


_CLOCK = _tool("get_current_time", "Get the current time in a time zone", "timezone")
_TOOLS = [
    _CLOCK,
    _tool("code_interpreter", "Run Python code", "code"),
    _tool("fetch", "Fetch a URL", "url"),
]
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "country": {"type": "string"}},
    "required": ["city", "country"],
    "additionalProperties": False,
}


async def probe_server(
    endpoint: "Endpoint", server: Server, dialect: Dialect, seconds: float
) -> AsyncGenerator[Probe]:
    """Give one finding after the other; one that goes wrong says so and stops nothing.

    Args:
        endpoint: of the server.
        server: what it says of itself.
        dialect: how it is spoken to.
        seconds: for each probe.
    """
    prober = _Prober(endpoint, server, dialect)
    probes: Mapping[str, Callable[[], Awaitable[Probe]]] = {
        "tool call, streamed": prober.call_streamed,
        "tool call, whole": prober.call_whole,
        "parallel calls": prober.parallel_calls,
        "thinking": prober.thinking,
        "thinking off": prober.thinking_off,
        "schema": prober.schema,
        "strict arguments": prober.strict,
        "token count": prober.count,
        "cache report": prober.cache,
        "abort": prober.abort,
    }
    for name, look in probes.items():
        late = ModelTimeoutError(f"no answer within {seconds:g} s")
        try:
            with deadline(seconds, late):
                found = await look()
        except AgentkitError as error:
            found = Probe(name=name, status="fail", seen=str(error), cure=error.hint)
        yield found


class _Prober:
    def __init__(self, endpoint: "Endpoint", server: Server, dialect: Dialect) -> None:
        self._endpoint = endpoint
        self._server = server
        self._dialect = dialect
        self._prompt_tokens = 0

    async def call_streamed(self) -> Probe:
        turn = await self._ask(_TOKYO, tools=_TOOLS)
        self._prompt_tokens = turn.usage.prompt_tokens
        return self._called("tool call, streamed", turn)

    async def call_whole(self) -> Probe:
        return self._called("tool call, whole", await self._ask(_TOKYO, stream=False, tools=_TOOLS))

    async def parallel_calls(self) -> Probe:
        name = "parallel calls"
        turn = await self._ask("What time is it in Tokyo and in Paris?", tools=_TOOLS)
        calls = len(list(turn.calls))
        if calls > 1:
            return Probe(name=name, status="ok", seen=f"{calls} calls in one turn")
        found = self._called(name, turn)
        if found.status != "ok":
            return found
        seen = "one call where two were asked for: the model, or its parser, makes one at a time"
        return Probe(name=name, status="warn", seen=seen)

    async def thinking(self) -> Probe:
        name = "thinking"
        if habit_of(self._server.identity) == "never":
            return Probe(name=name, status="skipped", seen="this model does not think")
        turn = await self._ask(_HELLO, thinking=True)
        if "</think>" in turn.text or "<think>" in turn.text:
            seen = f"the thinking came as text: {_shown(turn.text)}"
            return Probe(name=name, status="fail", seen=seen, cure=self._cure(_REASONING))
        if turn.thinking and turn.text:
            seen = f"{len(turn.thinking)} characters of thinking, apart from the answer"
            return Probe(name=name, status="ok", seen=seen)
        what = "thinking and no answer" if turn.thinking else f"no thinking: {_shown(turn.text)}"
        return Probe(name=name, status="warn", seen=what, cure=self._cure(_REASONING))

    async def thinking_off(self) -> Probe:
        name = "thinking off"
        if habit_of(self._server.identity) != "switch" or not self._dialect.template_switch:
            return Probe(name=name, status="skipped", seen="this model has no switch for it")
        turn = await self._ask(_HELLO, thinking=False)
        if turn.text and not turn.thinking and "<think>" not in turn.text:
            return Probe(name=name, status="ok", seen=f"an answer at once: {_shown(turn.text)}")
        seen = f"it thought all the same: {_shown(turn.thinking or turn.text)}"
        cure = "Its chat template must know enable_thinking, as Qwen3's does: leave --chat-template out."
        return Probe(name=name, status="fail", seen=seen, cure=cure)

    async def schema(self) -> Probe:
        name = "schema"
        question = "Return the city and its country as JSON."
        wanted = self._dialect.response_format(_SCHEMA)
        turn = await self._ask(question, thinking=False, response_format=wanted)
        value = _parsed(turn.text)
        if set(value) == {"city", "country"}:
            return Probe(name=name, status="ok", seen=f"held to the schema: {_shown(turn.text)}")
        seen = f"not held to the schema: {_shown(turn.text)}"
        return Probe(name=name, status="fail", seen=seen, cure=self._cure(_GRAMMAR))

    async def strict(self) -> Probe:
        """Ask for Tokyo where the schema allows Paris only: a grammar leaves no choice."""
        name = "strict arguments"
        tool = _tool("get_current_time", "Get the current time", "timezone", enum=["Europe/Paris"])
        tool["function"]["strict"] = True
        turn = await self._ask(_TOKYO, thinking=False, tools=[tool], tool_choice="required")
        written = [call.arguments for call in turn.calls]
        if not written:
            return Probe(name=name, status="warn", seen=f"no call came: {_shown(turn.text)}")
        if all(_parsed(text) == {"timezone": "Europe/Paris"} for text in written):
            return Probe(name=name, status="ok", seen="a grammar holds arguments to their schema")
        seen = f"arguments against their schema: {_shown(written[0])}; agentkit refuses such calls"
        return Probe(name=name, status="warn", seen=seen, cure=self._cure(_STRICT))

    async def count(self) -> Probe:
        name = "token count"
        if not self._dialect.counts_at:
            return Probe(name=name, status="skipped", seen="this kind of server counts for nobody")
        body = self._body(_TOKYO, {"tools": _TOOLS})
        try:
            counted = await self._endpoint.count(self._dialect.counts_at, to_bytes(body))
        except ModelRequestError:
            counted = None
        if counted is None:
            seen = (
                f"{self._dialect.counts_at} does not count: prompts are fitted after a refusal only"
            )
            return Probe(name=name, status="warn", seen=seen, cure="A newer server may have it.")
        if counted != self._prompt_tokens:
            seen = f"{counted} counted, {self._prompt_tokens} used: about right, not exact"
            return Probe(name=name, status="warn", seen=seen)
        return Probe(
            name=name, status="ok", seen=f"exact: {counted} tokens, template and tools too"
        )

    async def cache(self) -> Probe:
        name = "cache report"
        turn = await self._ask(_TOKYO, tools=_TOOLS)  # for at least the second time
        cached, tokens = turn.usage.cached_tokens, turn.usage.prompt_tokens
        if cached:
            seen = f"{cached} of {tokens} prompt tokens came from the prefix cache"
            return Probe(name=name, status="ok", seen=seen)
        seen = "the same prompt again, and no cached tokens were reported"
        return Probe(name=name, status="warn", seen=seen, cure=self._cure(_CACHE))

    async def abort(self) -> Probe:
        name = "abort"
        if await self._running() is None:
            return Probe(
                name=name, status="skipped", seen="the server does not say what it works at"
            )
        await self._ask_and_leave("Count from 1 to 1000 in words, each on a line of its own.")
        for _ in range(int(_IDLE_SECONDS / _POLL_SECONDS)):
            if not await self._running():
                return Probe(name=name, status="ok", seen="a request that nobody waits for ends")
            await anyio.sleep(_POLL_SECONDS)
        seen = f"a request went on for {_IDLE_SECONDS:g} s after its stream was closed"
        cure = "Is it busy with other requests? Else a proxy in between keeps the connection open."
        return Probe(name=name, status="warn", seen=seen, cure=cure)

    def _called(self, name: str, turn: TurnBuilder) -> Probe:
        calls = list(turn.calls)
        if calls:
            shown = f"{calls[0].name}({_shown(calls[0].arguments)})"
            if _parsed(calls[0].arguments):
                return Probe(name=name, status="ok", seen=shown)
            seen = f"a call without its arguments: {shown}"
            return Probe(name=name, status="fail", seen=seen, cure=self._cure(_PARSER))
        if "<tool_call>" in turn.text or '"arguments"' in turn.text:
            seen = f"the call came as text: {_shown(turn.text)}"
            if fences_calls(self._server.identity):
                seen += " No parser reads this model; agentkit asks it under a schema instead."
                return Probe(name=name, status="warn", seen=seen)
            return Probe(name=name, status="fail", seen=seen, cure=self._cure(_PARSER))
        seen = f"no call: {_shown(turn.text or turn.thinking)}"
        cure = f"If it never calls a tool: {self._cure(_PARSER)}"
        return Probe(name=name, status="warn", seen=seen, cure=cure)

    async def _ask(
        self, question: str, *, stream: bool = True, thinking: bool | None = None, **fields: Any
    ) -> TurnBuilder:
        builder = TurnBuilder(_silent, self._endpoint.base_url)
        more: JsonObject = {**fields, "max_tokens": _TOKENS, "temperature": 0}
        if thinking is not None and self._dialect.template_switch:
            more["chat_template_kwargs"] = {"enable_thinking": thinking}
        if stream:
            more |= {"stream": True, "stream_options": {"include_usage": True}}
        body = to_bytes(self._body(question, more))
        last = self._dialect.one_answer_a_connection
        await self._endpoint.ask(body, builder, Timeouts(), streams=stream, last=last)
        return builder

    async def _ask_and_leave(self, question: str) -> None:
        """Ask for something long, and leave as soon as it begins.

        Raises:
            ModelError: it does not begin.
        """
        body = to_bytes(self._body(question, {"max_tokens": _LONG_TOKENS, "stream": True}))
        with anyio.CancelScope() as scope:

            def leave(_kind: str, _text: str, /) -> None:
                scope.cancel()

            await self._endpoint.ask(body, TurnBuilder(leave, self._endpoint.base_url), Timeouts())

    def _body(self, question: str, more: JsonObject) -> JsonObject:
        messages = [{"role": "user", "content": question}]
        return {"model": self._server.model, "messages": messages, **more}

    async def _running(self) -> int | None:
        """Return how many requests the server works at; `None` if it does not say."""
        root = self._endpoint.base_url.rstrip("/").removesuffix("/v1")
        answer = await self._endpoint.get(f"{root}/v1/loads?include=core")
        if not answer.is_success:
            return None
        try:
            return sum(int(rank["num_running_reqs"]) for rank in answer.json()["loads"])
        except (ValueError, LookupError, TypeError):
            return None

    def _cure(self, cures: Mapping[str, str]) -> str:
        return cures.get(self._dialect.backend, _ELSEWHERE)


def _parsed(text: str) -> JsonObject:
    try:
        value: Any = from_json(text.encode("utf-8", "replace"))
    except ValueError:
        return {}
    return value if is_object(value) else {}


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _silent(_kind: str, _text: str, /) -> None:
    """Emit nothing."""
