"""Writes requests as bytes; what was written once is kept as long as its message lives."""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from json import dumps, loads
from typing import Any

from jiter import from_json

from agentkit.messages import (
    Image,
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
from agentkit.models._prefix import Prompt
from agentkit.models._presets import Mode
from agentkit.models._schemas import for_grammar, grammar_holds
from agentkit.protocols import ModelRequest
from agentkit.text import defused, defused_turns

_COMPACT = (",", ":")
_ESCAPED = re.compile(r"\\u00[2-7]")  # of what could stand there as it is
_STREAM = b',"stream":true,"stream_options":{"include_usage":true}'


def to_bytes(value: object) -> bytes:
    """Return compact JSON; text that is no Unicode (a lone surrogate) becomes a question mark."""
    return dumps(value, ensure_ascii=False, separators=_COMPACT).encode("utf-8", "replace")


class Encoder:
    """Writes the request bodies for one model.

    The cost of a turn does not grow with the length of its history but for one look-up and one
    copy of the bytes per message.
    """

    def __init__(self, dialect: Dialect, model: str) -> None:
        self._dialect = dialect
        self._head = b'{"model":' + to_bytes(model) + b',"messages":['
        self._tools = ToolMemo(self._write_tools)
        self._lines: IdentityMemo[Message, bytes] = IdentityMemo(self._write)

    def prompt(self, request: ModelRequest) -> Prompt:
        """Return what becomes the prompt; within a conversation these bytes only grow.

        Thinking goes back with every turn. Qwen's template shows that of the turns after the last
        user message, which is what the prefix cache needs, and leaves out the rest by itself.
        """
        tools = self._tools.get(request.tools) if request.tools else b""
        return Prompt.of(tools, self._lines.many(request.messages))

    def body(
        self,
        request: ModelRequest,
        mode: Mode,
        sampling: JsonObject,
        *,
        prompt: Prompt | None = None,
        rid: str = "",
        stream: bool = True,
    ) -> bytes:
        """Return the body of a request; fields that are not set are left out, never null."""
        prompt = prompt or self.prompt(request)
        parts = [self._head, b",".join(prompt.messages), b"]", prompt.tools]
        if stream:
            parts.append(_STREAM)
        if rid:
            parts.append(b',"rid":"%s"' % rid.encode())
        parts.append(_fields(sampling))
        parts.append(_fields(self._options(request, mode)))
        parts.append(b"}")
        return b"".join(parts)

    def counting(self, prompt: Prompt, mode: Mode) -> bytes:
        """Return the body of a request to count the tokens of a prompt."""
        parts = [self._head, b",".join(prompt.messages), b"]", prompt.tools]
        return b"".join([*parts, _fields(self._template_options(mode)), b"}"])

    def counting_text(self, text: str) -> bytes:
        """Return the body of a request to count the tokens of a text as it is."""
        return self._head.partition(b',"messages"')[0] + b',"prompt":' + to_bytes(text) + b"}"

    def is_held(self, tools: tuple[ToolSpec, ...]) -> bool:
        """Tell whether a grammar makes sure that calls of these tools are JSON.

        SGLang holds all calls to JSON as soon as one tool is strict.
        """
        return self._dialect.strict_tools and any(grammar_holds(tool.parameters) for tool in tools)

    def _options(self, request: ModelRequest, mode: Mode) -> JsonObject:
        options: JsonObject = {}
        if request.max_tokens is not None:
            options["max_tokens"] = request.max_tokens
        options |= self._template_options(mode)
        if request.thinking_tokens is not None and mode.thinks and self._dialect.thinking_budget:
            options["custom_params"] = {"thinking_budget": request.thinking_tokens}
        if request.schema is not None:
            options["response_format"] = self._dialect.response_format(for_grammar(request.schema))
        elif request.tools and _sends_choice(request, self._dialect):
            options["tool_choice"] = request.tool_choice
        return options

    def _template_options(self, mode: Mode) -> JsonObject:
        if mode.switch is None or not self._dialect.template_switch:
            return {}
        return {"chat_template_kwargs": {"enable_thinking": mode.switch}}

    def _write(self, message: Message) -> bytes:
        return to_bytes(_as_wire(message, self._dialect.reasoning_field))

    def _write_tools(self, tools: tuple[ToolSpec, ...]) -> bytes:
        # Descriptions come from MCP servers too, and templates print them as they are.
        text = dumps([self._tool(tool) for tool in tools], ensure_ascii=False, separators=_COMPACT)
        return b',"tools":' + defused(text).encode("utf-8", "replace")

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


def _as_wire(message: Message, reasoning_field: str | None) -> JsonObject:
    """Return a message as it travels; nothing in it can become a control token of the template.

    Standing instructions may speak of tags, but begin and end no turn either.
    """
    match message:
        case ToolResult():
            text = defused(message.told)
            return {"role": "tool", "tool_call_id": message.call_id, "content": text}
        case ModelTurn():
            return _turn_as_wire(message, reasoning_field)
        case SystemMessage():
            return {"role": "system", "content": defused_turns(message.text)}
        case UserMessage():
            return {"role": "user", "content": _user_content(message)}


def _user_content(message: UserMessage) -> str | list[JsonObject]:
    text = defused(message.text)
    if not message.images:
        return text
    pictures: list[JsonObject] = [
        {"type": "image_url", "image_url": {"url": image.url or _data_url(image)}}
        for image in message.images
    ]
    return [*pictures, {"type": "text", "text": text}]


def _data_url(image: Image) -> str:
    return f"data:{image.media_type};base64,{b64encode(image.data).decode()}"


def _turn_as_wire(turn: ModelTurn, reasoning_field: str | None) -> JsonObject:
    wire: JsonObject = {"role": "assistant", "content": defused(turn.text.strip("\n"))}
    if reasoning_field is not None and turn.thinking:
        wire[reasoning_field] = defused(turn.thinking.strip("\n"))
    if turn.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": defused(call.name),
                    "arguments": _harmless(legal_arguments(call.arguments)),
                },
            }
            for call in turn.tool_calls
        ]
    return wire


def written_by_model(thinking: str, text: str, calls: Iterable[tuple[str, str]]) -> str:
    r"""Return a turn as a Qwen3 writes it: thinking, text, and calls by name and arguments.

    >>> written_by_model("Hm.", "Yes.", [])
    '<think>\nHm.\n</think>\n\nYes.'
    """
    written = [
        f'<tool_call>\n{{"name": {dumps(name)}, "arguments": {arguments}}}\n</tool_call>'
        for name, arguments in calls
    ]
    thought = f"<think>\n{thinking}\n</think>\n\n" if thinking else ""
    return thought + "\n".join([*([text] if text else []), *written])


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


def _harmless(arguments: str) -> str:
    """Return arguments that no template can print a control token of, escaped or not."""
    if _ESCAPED.search(arguments):
        arguments = dumps(loads(arguments, strict=False), ensure_ascii=False)
    return defused(arguments)


def _fields(values: Mapping[str, Any]) -> bytes:
    """Return the fields as the rest of an object: each with a comma before it."""
    return b"," + to_bytes(values)[1:-1] if values else b""
