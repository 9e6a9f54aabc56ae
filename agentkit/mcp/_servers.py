"""Opens all servers of a configuration side by side and offers their tools."""

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import anyio
from anyio import to_thread

from agentkit.mcp._config import McpConfig
from agentkit.mcp._guard import guarded
from agentkit.mcp._media import Media
from agentkit.mcp._state import Answerer, McpServers, ServerState
from agentkit.mcp._surroundings import Surroundings, Visitor
from agentkit.policies import Timeouts

_CLOSE_SECONDS = 15.0
"""Every wait in closing is bounded by itself; this is for what nobody has thought of."""


@asynccontextmanager
async def open_servers(
    config: McpConfig,
    *,
    timeouts: Timeouts,
    taken_names: Iterable[str] = (),
    log_dir: Path | None = None,
    pins_dir: Path | None = None,
    media_dir: Path | None = None,
    oauth_dir: Path | None = None,
    answerer: Answerer | None = None,
    visitor: Visitor | None = None,
    on_state: Callable[[ServerState], None] | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncGenerator[McpServers]:
    """Start or reach all servers at once; on leaving, end them with all they have started.

    Args:
        config: which servers.
        timeouts: the clocks `mcp_connect` and `mcp_call` apply, where a server has none of its own.
        taken_names: names that no tool may have.
        log_dir: folder for what each server writes on stderr, `NAME.log`.
        pins_dir: folder for the definitions of tools that are approved; without one, servers are
            believed whatever they say.
        media_dir: folder for images and the like in results; without one they are left out.
        oauth_dir: folder for logins at servers; without one they are forgotten at the end.
        answerer: answers what servers ask a person; without one they are told no.
        visitor: takes a person through a login; without one a server that wants one has failed.
        on_state: told of each server as soon as it is known what became of it, and again if it comes up
            later.
        environ: our environment; the real one if left out.

    Raises:
        RequiredToolError: a server that is `required` cannot be used.
    """
    # The SDK takes a second to import, so it waits until a server is wanted, and then in a thread.
    await to_thread.run_sync(import_module, "agentkit.mcp._opening")
    from agentkit.mcp._opening import Opened

    around = Surroundings(
        timeouts=timeouts,
        environ=os.environ if environ is None else environ,
        log_dir=log_dir,
        pins_dir=pins_dir,
        media=None if media_dir is None else Media(media_dir),
        oauth_dir=oauth_dir,
        answerer=answerer,
        visitor=visitor,
    )
    slowest = max((one.close_seconds or 0.0 for one in config.servers), default=0.0)
    starts = any(one.command and not one.disabled and not one.problem for one in config.servers)
    try:
        async with guarded(wanted=starts) as session, anyio.create_task_group() as tasks:
            around = replace(around, session=session)
            opened = Opened(config, around, tasks, tuple(taken_names), on_state or _ignore)
            try:
                await opened.open()
                yield opened
            finally:
                # Cancelled or not, no server may stay behind; each ends within its own bounds.
                with anyio.move_on_after(_CLOSE_SECONDS + 2 * slowest, shield=True):
                    await opened.close()
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # The owner tasks raise nothing, so there is one error in it: what the block has raised.
        if len(group.exceptions) != 1:
            raise
        error: BaseException = group.exceptions[0]
        raise error from error.__cause__


def _ignore(_: ServerState) -> None:
    """Nobody wants to know."""
