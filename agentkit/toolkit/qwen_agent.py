"""Tools of qwen-agent as agentkit tools; the extra `qwen-agent` brings the library."""

import inspect
import json
import re
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from jsonschema import Draft202012Validator, SchemaError
from jsonschema.exceptions import ValidationError

from agentkit.errors import ConfigurationError, ToolError, ToolInputError
from agentkit.messages import JsonObject, ToolSpec
from agentkit.protocols import Tool
from agentkit.toolkit._function import as_text
from agentkit.toolkit._threads import Threads

if TYPE_CHECKING:  # an extra that takes seconds to load
    from qwen_agent.tools.base import BaseTool

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_ERRORS = 8
_MAX_MESSAGE = 200
# What people write in the list form, where qwen-agent itself checks no types.
_TYPES: Mapping[str, str] = {
    **dict.fromkeys(("str", "text"), "string"),
    **dict.fromkeys(("int", "long"), "integer"),
    **dict.fromkeys(("float", "double"), "number"),
    **dict.fromkeys(("bool",), "boolean"),
    **dict.fromkeys(("list", "tuple"), "array"),
    **dict.fromkeys(("dict", "json"), "object"),
}
_ENTRY_ONLY = frozenset({"name", "required"})  # of the list form, said elsewhere in a JSON schema


def from_qwen_agent(
    tool: "BaseTool | type[BaseTool] | str", *, timeout_seconds: float | None = None
) -> Tool:
    """Return a tool that calls a tool of qwen-agent, in a thread.

    The first import of qwen-agent takes seconds: make its tools before the loop starts. Tools that
    keep files, such as its `storage`, keep them in the folder QWEN_AGENT_DEFAULT_WORKSPACE, which is
    `workspace` in the working folder where that variable is not set.

    Args:
        tool: a tool, its class, or the name under which it is registered with qwen-agent. A class
            is made without configuration.
        timeout_seconds: limit of one call; the run's policy where not given. Past it the thread
            is abandoned, for nothing can interrupt it.

    Raises:
        ConfigurationError: the extra is missing, the tool is none of these, cannot be made, or its
            parameters are no JSON schema.
    """
    return _QwenAgentTool(_instance(tool), timeout_seconds)


class _QwenAgentTool:
    """Checks arguments before the tool sees them; what it raises becomes a `ToolError`."""

    def __init__(self, tool: "BaseTool", timeout_seconds: float | None) -> None:
        if not _NAME.fullmatch(tool.name):
            raise ConfigurationError(
                f"{tool.name!r} cannot be the name of a tool.",
                hint=f"Set {type(tool).__name__}.name: 1 to 64 letters, digits, _ or -.",
            )
        self._tool = tool
        self._threads = Threads()
        self.spec = ToolSpec(
            name=tool.name,
            description=" ".join(tool.description.split()),
            parameters=_schema(tool),
            timeout_seconds=timeout_seconds,
        )
        self._validator = Draft202012Validator(self.spec.parameters)

    def __repr__(self) -> str:
        return f"<{type(self._tool).__name__} of qwen-agent {self.spec.name!r}>"

    def validate(self, arguments: JsonObject) -> JsonObject:
        """Return the arguments, held to the schema.

        Raises:
            ToolInputError: they do not fit; the message lists what to mend.
        """
        found = cast("Iterable[ValidationError]", self._validator.iter_errors(arguments))  # pyright: ignore[reportUnknownMemberType] - untyped
        errors = [error for error, _ in zip(found, range(_MAX_ERRORS), strict=False)]
        if errors:
            raise ToolInputError(_explain(self.spec, errors))
        return arguments

    async def call(self, arguments: JsonObject) -> str:
        """Call the tool with its arguments as JSON text, as qwen-agent does.

        Raises:
            ToolError: the tool raised.
        """
        call = cast("Callable[[str], object]", self._tool.call)
        text = json.dumps(arguments, ensure_ascii=False)
        try:
            value = await self._threads.run(partial(call, text))
        except ToolError:
            raise
        except (Exception, SystemExit) as error:  # the border to code that is not ours
            raise ToolError(f"{type(error).__name__}: {str(error).strip()}") from error
        return _text_of(value)


def _instance(tool: "BaseTool | type[BaseTool] | str") -> "BaseTool":
    base, registry = _load(by_name=isinstance(tool, str))
    found = registry.get(tool) if isinstance(tool, str) else tool
    if found is None:
        raise ConfigurationError(
            f"qwen-agent knows no tool named {tool!r}.",
            hint=f"It knows: {', '.join(sorted(registry))}.",
        )
    if isinstance(found, base):
        return found
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise ConfigurationError(
            f"{found!r} is no tool of qwen-agent.",
            hint="Give a BaseTool, its class or the name under which it is registered.",
        )
    try:
        return found()
    except Exception as error:  # the border to code that is not ours
        raise ConfigurationError(
            f"{found.__name__} of qwen-agent cannot be made: {error}",
            hint="Make it yourself, with the configuration it needs, and give the instance.",
        ) from error


def _load(*, by_name: bool) -> "tuple[type[BaseTool], dict[str, type[BaseTool]]]":
    """Return the base of qwen-agent's tools and its registry, which its package fills."""
    look_up = socket.getaddrinfo
    try:
        if by_name:
            import qwen_agent.tools  # pyright: ignore[reportUnusedImport] # noqa: F401 - registers
        from qwen_agent.tools import base
    except ImportError as error:
        raise ConfigurationError(
            f"qwen-agent cannot be loaded: {error}.",
            hint="pip install 'qwen-agentkit[qwen-agent]'",
        ) from error
    finally:
        # One of its tools replaces this for the whole process, by a look-up without IPv6.
        socket.getaddrinfo = look_up
    return base.BaseTool, cast("dict[str, type[BaseTool]]", base.TOOL_REGISTRY)


def _schema(tool: "BaseTool") -> dict[str, Any]:
    given = cast("list[dict[str, Any]] | dict[str, Any]", tool.parameters)
    try:
        schema = dict(given) if isinstance(given, dict) else schema_of_list(given)
        Draft202012Validator.check_schema(schema)
    except (KeyError, TypeError, AttributeError, ValueError, SchemaError) as error:
        reason = error.message if isinstance(error, SchemaError) else repr(error)
        raise ConfigurationError(
            f"The parameters of {type(tool).__name__} of qwen-agent cannot be read: {reason}",
            hint="Write them as a JSON schema of an object, or as a list of "
            '{"name": …, "type": …, "description": …, "required": …}.',
        ) from error
    return schema


def schema_of_list(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the JSON schema of parameters in qwen-agent's older form, a list.

    >>> schema_of_list([{"name": "n", "type": "int", "required": True}])["properties"]
    {'n': {'type': 'integer'}}
    """
    properties: dict[str, Any] = {}
    required: list[str] = []
    for entry in entries:
        name = str(entry["name"])
        one = {key: value for key, value in entry.items() if key not in _ENTRY_ONLY}
        if isinstance(kind := one.get("type"), str):
            one["type"] = _TYPES.get(kind.lower(), kind.lower())
        properties[name] = one
        if entry.get("required"):
            required.append(name)
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _explain(spec: ToolSpec, errors: Iterable[ValidationError]) -> str:
    lines = [f"The arguments of {spec.name} do not fit its schema:"]
    for error in errors:
        where = ".".join(str(part) for part in error.absolute_path)
        lines.append(f"- {f'{where}: ' if where else ''}{error.message[:_MAX_MESSAGE]}")
    known: Mapping[str, Any] = spec.parameters.get("properties", {})
    lines.append(f"Arguments: {', '.join(known) or 'none'}.")
    return "\n".join(lines)


def _text_of(value: object) -> str:
    """Return a result as text; pictures and sounds are named, for they are not sent to models."""
    if isinstance(value, list):
        items = cast("list[object]", value)
        if items and all(hasattr(item, "get_type_and_value") for item in items):
            return "\n".join(_item(cast("Any", item)) for item in items)
    return as_text(cast("object", value))


def _item(item: Any) -> str:
    kind, value = item.get_type_and_value()
    if kind == "text":
        return str(value)
    shown = "inline" if str(value).startswith("data:") else str(value)[:_MAX_MESSAGE]
    return f"[{kind}: {shown}]"
