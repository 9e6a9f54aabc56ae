"""What a server may ask of us: a person's answer, and which folders it is about; nothing else."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict, cast

import anyio
from anyio.lowlevel import RunVar
from mcp.client.context import ClientRequestContext
from mcp.client.session import ElicitationFnT, ListRootsFnT
from mcp.types import (
    INVALID_REQUEST,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ErrorData,
    ListRootsResult,
    Root,
)
from pydantic import FileUrl

from agentkit.mcp._config import ServerConfig
from agentkit.mcp._state import Answerer, Question
from agentkit.mcp._text import one_line

_LONGEST = 1000
_MOST = 20
"""Questions of one connection: a person is not there to be asked without end."""

_WORDS = frozenset({"title", "description"})
"""Keys of a schema whose texts are for people."""

_TURNS: RunVar[dict[int, anyio.Lock]] = RunVar("agentkit_turns")
"""One lock for each answerer that is asked just now."""


class Callbacks(TypedDict, total=False):
    """What the SDK's client is given; it refuses the rest, and says beforehand that it will."""

    elicitation_callback: ElicitationFnT
    list_roots_callback: ListRootsFnT


def callbacks_for(config: ServerConfig, answerer: Answerer | None) -> Callbacks:
    """Return what a server may ask: to sample from a model is not among it."""
    found = Callbacks()
    if answerer is not None:
        found["elicitation_callback"] = _Asking(config.name, answerer)
    if config.roots:
        found["list_roots_callback"] = _Roots(config.roots)
    return found


class _Asking:
    def __init__(self, server: str, answerer: Answerer) -> None:
        self._server = server
        self._answerer = answerer
        self._asked = 0

    async def __call__(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - so the SDK calls it
        params: ElicitRequestParams,
    ) -> ElicitResult | ErrorData:
        """Have a question answered, once those that came before are.

        It ends with its call: the SDK cancels this where the server takes its question back, which
        the protocol has it do when we give up the call, and where the connection ends.
        """
        self._asked += 1
        if self._asked > _MOST:
            return _refusal(f"there were {_MOST} questions already, and nobody is asked any more")
        is_form = isinstance(params, ElicitRequestFormParams)
        schema = dict(params.requested_schema) if is_form else {}
        if not _can_be_asked(schema):
            return _refusal("its fields or choices cannot be shown as they are")
        question = Question(
            server=self._server,
            message=one_line(params.message, _LONGEST),
            schema=cast("dict[str, Any]", _shown(schema)),
            url="" if is_form else one_line(params.url, _LONGEST),
        )
        async with _turn(self._answerer):
            answer = await self._answerer(question)
        if answer is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content=answer if is_form else None)


@asynccontextmanager
async def _turn(answerer: Answerer) -> AsyncGenerator[None]:
    """Wait until nobody else asks: whoever answers, of whichever server, has one question at a time."""
    turns = _TURNS.get(dict[int, anyio.Lock]())
    _TURNS.set(turns)
    key = id(answerer)  # it is there as long as somebody waits for it
    lock = turns.setdefault(key, anyio.Lock())
    try:
        async with lock:
            yield
    finally:
        if not lock.locked():
            turns.pop(key, None)


def _refusal(why: str) -> ErrorData:
    return ErrorData(code=INVALID_REQUEST, message=f"The question was not asked: {why}.")


def _shown(part: object) -> object:
    """Return a schema whose words for people are clean lines; what an answer says stays."""
    if isinstance(part, list):
        return [_shown(one) for one in cast("list[object]", part)]
    if not isinstance(part, dict):
        return part
    found: dict[str, object] = {}
    for key, value in cast("dict[str, object]", part).items():
        if key in _WORDS and isinstance(value, str):
            found[key] = one_line(value)
        elif key == "enumNames" and isinstance(value, list):
            found[key] = [one_line(str(one)) for one in cast("list[object]", value)]
        else:
            found[key] = _shown(value)
    return found


def _can_be_asked(schema: Mapping[str, Any]) -> bool:
    """Tell whether a person would see the fields and choices as they go back to the server."""
    properties: object = schema.get("properties") or {}
    if not isinstance(properties, dict):
        return False
    rules = cast("dict[str, object]", properties)
    are_rules = all(isinstance(rule, dict) for rule in rules.values())
    return are_rules and all(map(_is_clear, (*rules, *_choices(list(rules.values())))))


def _choices(parts: Sequence[object]) -> list[object]:
    """Return what may be said, however deep in the parts of a schema it is listed."""
    found: list[object] = []
    for part in parts:
        for key, value in cast("dict[str, object]", part if isinstance(part, dict) else {}).items():
            several = cast("list[object]", value) if isinstance(value, list) else [value]
            found += several if key in {"const", "enum"} else _choices(several)
    return found


def _is_clear(value: object) -> bool:
    return not isinstance(value, str) or one_line(value) == value


class _Roots:
    def __init__(self, folders: Sequence[Path]) -> None:
        roots = [Root(uri=FileUrl(folder.as_uri()), name=folder.name) for folder in folders]
        self._result = ListRootsResult(roots=roots)

    async def __call__(self, context: ClientRequestContext) -> ListRootsResult:  # noqa: ARG002
        """Name the folders."""
        return self._result
