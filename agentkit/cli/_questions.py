"""Asks at the terminal what an MCP server wants to know of a person."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from agentkit.cli._stdin import is_typed
from agentkit.cli._terminal import note
from agentkit.cli._view import View
from agentkit.trace.words import printable

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

    from agentkit.mcp import Answerer, Question
    from agentkit.messages import JsonObject

_YES = {"y", "yes", "true"}
_NO = {"n", "no", "false"}


def answerer_for(view: View, *, asks: bool) -> "Answerer | None":
    """Return who answers: nobody where no person is there."""
    if not (asks and is_typed() and sys.stderr.isatty()):
        return None
    return _Form(view).answer


class _Form:
    """Asks field by field on stderr, while nothing moves there; Ctrl-D declines."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def answer(self, question: "Question") -> "JsonObject | None":
        """Return what the person has said."""
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output import create_output

        self._view.stop()
        try:
            note(printable(f"The MCP server {question.server!r} asks: {question.message}"))
            note("Do not tell it passwords or keys. Ctrl-D declines.")
            session: PromptSession[str] = PromptSession(output=create_output(stdout=sys.stderr))
            if question.url:
                note(printable(f"It wants you to visit {question.url}"))
                said = await session.prompt_async("Have you? [y/N] ")
                return {} if said.strip().lower() in _YES else None
            return await _fill_in(session, question.schema)
        except (EOFError, KeyboardInterrupt):
            return None
        finally:
            self._view.__enter__()


async def _fill_in(session: "PromptSession[str]", schema: Mapping[str, Any]) -> "JsonObject":
    properties = cast("dict[str, dict[str, Any]]", schema.get("properties") or {})
    required = set(cast("list[str]", schema.get("required") or []))
    answers: JsonObject = {}
    for name, rule in properties.items():
        while True:
            said = await session.prompt_async(described(name, rule, needed=name in required))
            if not said.strip() and name not in required:
                break
            try:
                answers[name] = value_of(said.strip(), rule)
                break
            except ValueError as error:
                note(f"  {error}")
    return answers


def described(name: str, rule: Mapping[str, Any], *, needed: bool) -> str:
    """Return how a field is asked for.

    >>> described("tone", {"type": "string", "enum": ["kind", "short"]}, needed=False)
    'tone (kind, short; may be empty): '
    """
    hints = [", ".join(map(str, _choices(rule))) or str(rule.get("description") or "")]
    if rule.get("type") == "boolean":
        hints.append("y or n")
    if not needed:
        hints.append("may be empty")
    told = "; ".join(hint for hint in hints if hint)
    return printable(f"{rule.get('title') or name}{f' ({told})' if told else ''}: ")


def value_of(said: str, rule: Mapping[str, Any]) -> Any:
    """Return the value that a person has typed.

    >>> value_of("3", {"type": "integer"}), value_of("y", {"type": "boolean"})
    (3, True)

    Raises:
        ValueError: it is not what the field takes; the text says what is.
    """
    kind = rule.get("type")
    if kind == "boolean":
        if said.lower() not in _YES | _NO:
            raise ValueError("Say y or n.")
        return said.lower() in _YES
    if kind in {"integer", "number"}:
        try:
            return int(said) if kind == "integer" else float(said)
        except ValueError:
            raise ValueError(f"{said!r} is no {kind}.") from None
    if kind == "array":
        return [part.strip() for part in said.split(",") if part.strip()]
    choices = _choices(rule)
    if choices and said not in choices:
        raise ValueError(f"Say one of {', '.join(map(str, choices))}.")
    return said


def _choices(rule: Mapping[str, Any]) -> list[Any]:
    """Return what may be said, in either of the ways in which a schema lists it."""
    titled = cast("list[dict[str, Any]]", rule.get("oneOf") or [])
    return list(rule.get("enum") or [one.get("const") for one in titled])
