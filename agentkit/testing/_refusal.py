"""Which requests SGLang refuses, and in which words."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from agentkit.testing._prompt import prompt_of, size_of

_NOT_NULL = (
    "n",
    "stream",
    "parallel_tool_calls",
    "presence_penalty",
    "frequency_penalty",
    "separate_reasoning",
    "stream_reasoning",
    "ignore_eos",
    "continue_final_message",
)
_TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
_UNKNOWN_KEYWORDS = ("contains", "if", "then", "else", "not", "dependentSchemas")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error the server answers with.

    Attributes:
        message: the words.
        kind: the `type` of the error body.
        code: HTTP status, and `code` of the error body.
        late: found only after admission, so that a stream carries it inside a 200.
    """

    message: str
    kind: str = "BadRequestError"
    code: int = 400
    late: bool = False

    def body(self) -> bytes:
        """Return the flat JSON body of an error that is not streamed."""
        return json.dumps(self._fields(self.kind), separators=(",", ":")).encode()

    def event(self) -> bytes:
        """Return the SSE event of an error inside a stream."""
        names = {400: "BAD_REQUEST", 500: "INTERNAL_SERVER_ERROR", 503: "SERVICE_UNAVAILABLE"}
        fields = self._fields(names.get(self.code, self.kind))
        return b"data: " + json.dumps({"error": fields}).encode() + b"\n\n"

    def _fields(self, kind: str) -> dict[str, Any]:
        return {
            "object": "error",
            "message": self.message,
            "type": kind,
            "param": None,
            "code": self.code,
        }


def refusal_of(body: object, model: str, context_tokens: int) -> Refusal | None:
    """Return why the server would refuse this chat request, or None if it would not."""
    malformed = _malformed(body)
    if malformed is not None:
        return malformed
    request = cast("dict[str, Any]", body)
    return (
        _bad_tools(request)
        or _too_much_asked(request, context_tokens)
        or _bad_history(request)
        or _adapter(request, model)
        or _overflow(request, context_tokens)
        or _bad_schema(request)
    )


def _malformed(body: object) -> Refusal | None:
    if not isinstance(body, dict):
        return _invalid("body", "Input should be a valid dictionary", None)
    request = cast("dict[str, Any]", body)
    messages = request.get("messages")
    if not isinstance(messages, list):
        return _invalid("messages", "Field required", None)
    roles = {"system", "developer", "user", "assistant", "tool"}
    for number, message in enumerate(cast("list[object]", messages)):
        entry = cast("dict[str, Any]", message) if isinstance(message, dict) else {}
        if entry.get("role") not in roles:
            return _invalid(f"messages.{number}", "Input should be a valid message", None)
    for name in _NOT_NULL:
        if name in request and request[name] is None:
            return _invalid(name, "Input should not be null", None)
    return None


def _invalid(field: str, what: str, value: object) -> Refusal:
    location = ("body", *field.split("."))
    detail = {"type": "value_error", "loc": location, "msg": what, "input": value}
    message = f'1 validation error:\n  {detail}\n\n  File "sglang/srt/entrypoints/http_server.py"'
    return Refusal(message, kind="Bad Request")


def _bad_tools(request: dict[str, Any]) -> Refusal | None:
    tools: list[dict[str, Any]] = request.get("tools") or []
    choice = request.get("tool_choice")
    if choice == "required" and not tools:
        return Refusal("Tools cannot be empty if tool choice is set to required.")
    if isinstance(choice, dict):
        name = cast("dict[str, Any]", choice).get("function", {}).get("name")
        if name not in {tool["function"]["name"] for tool in tools}:
            return Refusal(f"Tool '{name}' not found in tools list.")
    for number, tool in enumerate(tools):
        problem = _schema_problem(json.dumps(tool["function"].get("parameters")))
        if problem:
            return Refusal(f"Tool {number} function has invalid 'parameters' schema: {problem}")
    return None


@lru_cache(maxsize=1024)
def _schema_problem(text: str) -> str:
    """Return what is wrong with a schema; remembered, for a client sends it with every request."""
    schema = json.loads(text)
    if schema is None:
        return ""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return str(error.message)
    return ""


def _too_much_asked(request: dict[str, Any], context_tokens: int) -> Refusal | None:
    asked = _asked(request)
    if asked is None or asked <= context_tokens:
        return None
    return Refusal(
        f"max_completion_tokens is too large: {asked}."
        f"This model supports at most {context_tokens} completion tokens."
    )


def _asked(request: dict[str, Any]) -> int | None:
    return request.get("max_completion_tokens") or request.get("max_tokens")


def _bad_history(request: dict[str, Any]) -> Refusal | None:
    for message in request["messages"]:
        for item in message.get("tool_calls") or ():
            try:
                arguments: object = json.loads(item["function"]["arguments"])
            except ValueError:
                text = "Assistant tool call function.arguments must be valid JSON."
                return Refusal(text, kind="BadRequest")
            if not isinstance(arguments, dict):
                text = "Assistant tool call function.arguments must be a JSON object."
                return Refusal(text, kind="BadRequest")
    return None


def _adapter(request: dict[str, Any], model: str) -> Refusal | None:
    asked = str(request.get("model") or "")
    if ":" not in asked or asked == model:
        return None
    adapter = asked.partition(":")[2]
    return Refusal(
        f"LoRA adapter '{adapter}' was requested, but LoRA is not enabled. "
        "Please launch the server with --enable-lora."
    )


def _overflow(request: dict[str, Any], context_tokens: int) -> Refusal | None:
    size, asked = size_of(prompt_of(request)), _asked(request) or 0
    if size >= context_tokens:
        return Refusal(
            f"The input ({size} tokens) is longer than the model's context length "
            f"({context_tokens} tokens)."
        )
    if size + asked > context_tokens:
        return Refusal(
            f"Requested token count exceeds the model's maximum context length of "
            f"{context_tokens} tokens. You requested a total of {size + asked} tokens: {size} "
            f"tokens from the input messages and {asked} tokens for the completion. Please reduce "
            "the number of tokens in the input messages or the completion to fit within the limit."
        )
    return None


def _bad_schema(request: dict[str, Any]) -> Refusal | None:
    if request.get("regex"):
        try:
            re.compile(request["regex"])
        except re.error as error:
            return Refusal(f"Failed to compile regex grammar: {error}", late=True)
    wanted = cast("dict[str, Any]", request.get("response_format") or {})
    if wanted.get("type") != "json_schema":
        return None
    problem = _grammar_problem(wanted["json_schema"].get("schema"))
    if not problem:
        return None
    place = "[21:08:29] /project/cpp/json_schema_converter.cc:4175"
    return Refusal(f"Failed to compile json grammar: {place}: {problem}\n", late=True)


def _grammar_problem(schema: object) -> str:
    if isinstance(schema, list):
        problems = [_grammar_problem(item) for item in cast("list[object]", schema)]
        return next(filter(None, problems), "")
    if not isinstance(schema, dict):
        return ""
    entry = cast("dict[str, Any]", schema)
    for keyword in _UNKNOWN_KEYWORDS:
        if keyword in entry:
            return f'Unsupported keyword "{keyword}"'
    kind: object = entry.get("type")
    if isinstance(kind, str) and kind not in _TYPES:
        return f'Unsupported type "{kind}"'
    inner: list[object] = [entry.get("items"), entry.get("additionalProperties")]
    inner += list(cast("dict[str, object]", entry.get("properties") or {}).values())
    inner += [entry.get(name) for name in ("anyOf", "oneOf", "allOf", "prefixItems")]
    return _grammar_problem(inner)
