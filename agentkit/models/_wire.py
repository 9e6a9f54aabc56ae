"""Writes requests as bytes; what was written once is kept as long as its message lives."""

from collections.abc import Mapping, Sequence
from itertools import chain
from json import dumps
from typing import Any

from jiter import from_json

from agentkit.messages import (
    JsonObject,
    Message,
    ModelTurn,
    SystemMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from agentkit.models._dialects import Dialect
from agentkit.models._kit import ToolMemo
from agentkit.models._memo import IdentityMemo
from agentkit.models._presets import Mode
from agentkit.models._schemas import for_grammar, grammar_holds
from agentkit.protocols import ModelRequest

_STREAM = b',"stream":true,"stream_options":{"include_usage":true}'
_ROLES = {SystemMessage: "system", UserMessage: "user"}


def to_bytes(value: object) -> bytes:
    """Return compact JSON; text that is no Unicode (a lone surrogate) becomes a question mark."""
    return dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class Encoder:
    """Writes the request bodies for one model.

    The cost of a turn does not grow with the length of its history but for one look-up and one
    copy of the bytes per message.
    """

    def __init__(self, dialect: Dialect, model: str) -> None:
        self._dialect = dialect
        self._head = b'{"model":' + to_bytes(model) + b',"messages":['
        self._tools = ToolMemo(self._write_tools)
        self._plain: IdentityMemo[Message, bytes] = IdentityMemo(self._write_plain)
        self._thoughtful: IdentityMemo[Message, bytes] = IdentityMemo(self._write_thoughtful)

    def body(
        self, request: ModelRequest, mode: Mode, sampling: JsonObject, *, stream: bool = True
    ) -> bytes:
        """Return the body of a request; fields that are not set are left out, never null."""
        parts = [self._head, b",".join(self._messages(request.messages)), b"]"]
        if request.tools:
            parts.append(self._tools.get(request.tools))
        if stream:
            parts.append(_STREAM)
        parts.append(_fields(sampling))
        parts.append(_fields(self._options(request, mode)))
        parts.append(b"}")
        return b"".join(parts)

    def _messages(self, messages: Sequence[Message]) -> chain[bytes]:
        # Qwen's template shows thinking only after the last user message; sending it for earlier
        # turns would be bytes for nothing, leaving it out here would break the prefix cache.
        start = _after_last_user(messages)
        return chain(
            self._plain.many(messages[:start]),
            self._thoughtful.many(messages[start:]),
        )

    def _options(self, request: ModelRequest, mode: Mode) -> JsonObject:
        options: JsonObject = {}
        if request.max_tokens is not None:
            options["max_tokens"] = request.max_tokens
        if mode.switch is not None and self._dialect.template_switch:
            options["chat_template_kwargs"] = {"enable_thinking": mode.switch}
        if request.schema is not None:
            options["response_format"] = self._dialect.response_format(for_grammar(request.schema))
        elif request.tools and _sends_choice(request, self._dialect):
            options["tool_choice"] = request.tool_choice
        return options

    def _write_plain(self, message: Message) -> bytes:
        return to_bytes(_as_wire(message, None))

    def _write_thoughtful(self, message: Message) -> bytes:
        field = self._dialect.reasoning_field
        if field is None or not isinstance(message, ModelTurn) or not message.thinking:
            return self._plain.one(message)
        return to_bytes(_as_wire(message, field))

    def _write_tools(self, tools: tuple[ToolSpec, ...]) -> bytes:
        return b',"tools":' + to_bytes([self._tool(tool) for tool in tools])

    def _tool(self, tool: ToolSpec) -> JsonObject:
        function: JsonObject = {
            "name": tool.name,
            "description": tool.description,
            "parameters": dict(tool.parameters),
        }
        if self._dialect.strict_tools and grammar_holds(tool.parameters):
            function["strict"] = True
        return {"type": "function", "function": function}


def _sends_choice(request: ModelRequest, dialect: Dialect) -> bool:
    if request.tool_choice == "none":
        return dialect.sends_none
    return request.tool_choice == "required"  # "auto" is every server's default


def _after_last_user(messages: Sequence[Message]) -> int:
    for index in range(len(messages) - 1, -1, -1):
        if isinstance(messages[index], UserMessage):
            return index + 1
    return 0


def _as_wire(message: Message, reasoning_field: str | None) -> JsonObject:
    if isinstance(message, ToolResult):
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.text}
    if isinstance(message, ModelTurn):
        return _turn_as_wire(message, reasoning_field)
    return {"role": _ROLES[type(message)], "content": message.text}


def _turn_as_wire(turn: ModelTurn, reasoning_field: str | None) -> JsonObject:
    wire: JsonObject = {"role": "assistant", "content": turn.text.strip("\n")}
    if reasoning_field is not None:
        wire[reasoning_field] = turn.thinking.strip("\n")
    if turn.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": legal_arguments(call.arguments)},
            }
            for call in turn.tool_calls
        ]
    return wire


def legal_arguments(text: str) -> str:
    """Return the arguments as they are if a server takes them in a history, else `{}`.

    >>> legal_arguments('{"q":  1}'), legal_arguments('{"q": '), legal_arguments("2")
    ('{"q":  1}', '{}', '{}')
    """
    try:
        value: Any = from_json(text.encode("utf-8", "replace"), allow_inf_nan=False)
    except ValueError:
        return "{}"
    return text if isinstance(value, dict) else "{}"


def _fields(values: Mapping[str, Any]) -> bytes:
    """Return the fields as the rest of an object: each with a comma before it."""
    return b"," + to_bytes(values)[1:-1] if values else b""
