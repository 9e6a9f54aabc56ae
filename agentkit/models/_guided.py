"""Calls under a JSON schema, for models whose calls no parser can be trusted with.

The tools stand in the system message, the answer is one JSON object: a call or the answer.
"""

from dataclasses import dataclass, replace
from json import dumps
from typing import Any, Literal

from jiter import from_json

from agentkit.messages import (
    JsonObject,
    Message,
    ModelTurn,
    SystemMessage,
    ToolCall,
    ToolResult,
    ToolSpec,
    UserMessage,
)
from agentkit.models._answer_stream import AnswerStream
from agentkit.models._calls import new_call_id
from agentkit.models._json import is_object, members
from agentkit.models._kit import ToolMemo, schemas_by_name
from agentkit.models._memo import IdentityMemo
from agentkit.models._rescue import rescue
from agentkit.models._schemas import for_grammar
from agentkit.models._turn import Channel
from agentkit.protocols import Emit, Model, ModelProfile, ModelRequest, ToolChoice

# Placeholders in angle brackets: a small model answered with the word that stood in their place.
_HOW = """\
Reply with exactly one JSON object and nothing else. To use a tool, whose result comes next:
{"name": <name of the tool>, "arguments": <its arguments>}
When you have what you need: {"answer": <your answer to the user>}
Never make up what a tool can tell you."""


_CALL = "<tool_call>"  # in Qwen's own way, where the server does not hold answers to a schema


class GuidedModel:
    """Asks another model for one JSON object a step, and reads calls and answers from it.

    Attributes:
        always: else only where a request says so, and all others go to the model as they are.
    """

    def __init__(self, model: Model, *, always: bool = True) -> None:
        self._model = model
        self.always = always
        self._kits = ToolMemo(_Kit)
        self._as_steps: IdentityMemo[Message, Message] = IdentityMemo(_as_step)
        self._as_text: IdentityMemo[Message, Message] = IdentityMemo(_as_text)

    @property
    def profile(self) -> ModelProfile:
        """What the loop may know about this model."""
        return self._model.profile

    async def ask(self, request: ModelRequest, emit: Emit) -> ModelTurn:
        """Ask once, streaming pieces to `emit`; see `agentkit.protocols.Model`."""
        if not (self.always or request.guided):
            return await self._model.ask(request, emit)
        if request.schema is not None or not request.tools:
            messages = tuple(self._as_text.many(request.messages))
            plain = replace(request, messages=messages, tools=(), tool_choice="auto")
            return await self._model.ask(plain, emit)
        kit = self._kits.get(request.tools)
        guided = replace(
            request,
            messages=kit.introduced(self._as_steps.many(request.messages)),
            tools=(),
            tool_choice="auto",
            schema=kit.schema(request.tool_choice),
        )
        shown = _Shown(emit)
        turn = await self._model.ask(guided, shown)
        return _read(turn, kit, shown.text)


class _Kit:
    """What is said to the model about a tuple of tools."""

    def __init__(self, tools: tuple[ToolSpec, ...]) -> None:
        self.schemas = schemas_by_name(tools)
        calls: list[JsonObject] = [_call_schema(tool) for tool in tools]
        answer = _object({"answer": {"type": "string"}})
        self._branches: dict[ToolChoice, list[JsonObject]] = {
            "auto": [*calls, answer],
            "required": calls,
            "none": [answer],
        }
        self._text = "\n".join(["You can use these tools:", *map(_described, tools), "", _HOW])
        self._alone = SystemMessage(self._text)
        self._joined: IdentityMemo[Message, Message] = IdentityMemo(self._join)

    def schema(self, choice: ToolChoice) -> JsonObject:
        """Return the schema of one step."""
        branches = self._branches[choice]
        return branches[0] if len(branches) == 1 else {"anyOf": branches}

    def introduced(self, messages: list[Message]) -> tuple[Message, ...]:
        """Return the messages with the tools told in the first."""
        if messages and isinstance(messages[0], SystemMessage):
            return (self._joined.one(messages[0]), *messages[1:])
        return (self._alone, *messages)

    def _join(self, message: Message) -> Message:
        text = message.text if isinstance(message, SystemMessage) else ""
        return SystemMessage(f"{text}\n\n{self._text}")


@dataclass(slots=True)
class _Shown:
    """Lets thinking through, and of the text only the answer."""

    emit: Emit
    stream: AnswerStream
    channel: Channel

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.stream = AnswerStream()
        self.channel = Channel()

    def __call__(self, kind: Literal["thinking", "text", "notice"], text: str, /) -> None:
        if kind != "text":
            self.emit(kind, text)
            return
        shown = self.channel.push(self.stream.feed(text))
        if shown:
            self.emit("text", shown)

    @property
    def text(self) -> str:
        return self.channel.text


def _read(turn: ModelTurn, kit: _Kit, shown: str) -> ModelTurn:
    """Return the step that the model wrote: a call, an answer, or what is wrong with it."""
    if turn.finish in {"length", "abort"}:
        return replace(turn, text=shown, tool_calls=())
    step = _parsed(turn.text)
    answer: Any = step.get("answer")
    if isinstance(answer, str):
        return replace(turn, text=answer.strip("\n"))
    name: Any = step.get("name")
    arguments: Any = step.get("arguments")
    if isinstance(name, str) and is_object(arguments):
        call = ToolCall(new_call_id(), name, dumps(arguments, ensure_ascii=False))
        return replace(turn, text="", tool_calls=(call,), finish="tool_calls")
    found = rescue(turn.text, kit.schemas)
    if found is not None and found.calls:
        return replace(turn, text=found.rest, tool_calls=found.calls, finish="tool_calls")
    if not (turn.text.lstrip().startswith("{") or _CALL in turn.text):
        return turn  # the server does not hold answers to a schema: plain text is an answer
    problem = f"Your reply is not one of the allowed JSON objects: {turn.text[:200]}. {_HOW}"
    return replace(turn, problem=problem)


def _parsed(text: str) -> JsonObject:
    try:
        value: Any = from_json(text.encode("utf-8", "replace"), allow_inf_nan=False)
    except ValueError:
        return {}
    return value if is_object(value) else {}


def _as_step(message: Message) -> Message:
    if isinstance(message, ModelTurn) and not message.tool_calls:
        return ModelTurn(text=dumps({"answer": message.text}, ensure_ascii=False))
    return _as_text(message)


def _as_text(message: Message) -> Message:
    if isinstance(message, ToolResult):
        return UserMessage(
            f"{'Result' if message.ok else 'Error'} of {message.name}: {message.told}"
        )
    if isinstance(message, ModelTurn) and message.tool_calls:
        return ModelTurn(text="\n".join(map(_call_text, message.tool_calls)))
    return message


def _call_text(call: ToolCall) -> str:
    return dumps({"name": call.name, "arguments": _parsed(call.arguments)}, ensure_ascii=False)


def _call_schema(tool: ToolSpec) -> JsonObject:
    arguments = {"type": "object", **for_grammar(tool.parameters)}
    return _object({"name": {"const": tool.name}, "arguments": arguments})


def _object(properties: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _described(tool: ToolSpec) -> str:
    properties: Any = tool.parameters.get("properties")
    required = members(tool.parameters.get("required"))
    parameters = [
        f"{name}{'' if name in required else '?'}: {_kind(schema)}"
        for name, schema in (properties if is_object(properties) else {}).items()
    ]
    return f"- {tool.name}({', '.join(parameters)}): {tool.description}"


def _kind(schema: object) -> str:
    if not is_object(schema):
        return "any"
    choices = members(schema.get("enum"))
    union = [_kind(part) for part in (*members(schema.get("anyOf")), *members(schema.get("oneOf")))]
    kinds = [str(kind) for kind in members(schema.get("type"))]
    kind = "|".join(map(dumps, choices) if choices else union or kinds) or str(
        schema.get("type", "any")
    )
    note = str(schema.get("description") or "")
    return f"{kind} ({note})" if note else kind
