"""What a server may ask of us: a person's answer, and which folders it is about; nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from mcp.client.context import ClientRequestContext
from mcp.client.session import ElicitationFnT, ListRootsFnT
from mcp.types import (
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
)
from pydantic import FileUrl

from agentkit.mcp._config import ServerConfig
from agentkit.mcp._state import Answerer, Question
from agentkit.mcp._text import one_line

_LONGEST = 1000


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

    async def __call__(
        self,
        context: ClientRequestContext,  # noqa: ARG002 - so the SDK calls it
        params: ElicitRequestParams,
    ) -> ElicitResult:
        """Have a question answered."""
        is_form = isinstance(params, ElicitRequestFormParams)
        question = Question(
            server=self._server,
            message=one_line(params.message, _LONGEST),
            schema=dict(params.requested_schema) if is_form else {},
            url="" if is_form else one_line(params.url, _LONGEST),
        )
        answer = await self._answerer(question)
        if answer is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content=answer if is_form else None)


class _Roots:
    def __init__(self, folders: Sequence[Path]) -> None:
        roots = [Root(uri=FileUrl(folder.as_uri()), name=folder.name) for folder in folders]
        self._result = ListRootsResult(roots=roots)

    async def __call__(self, context: ClientRequestContext) -> ListRootsResult:  # noqa: ARG002
        """Name the folders."""
        return self._result
