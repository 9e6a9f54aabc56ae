"""`agentkit mcp login` and `logout`: a person logs in to a server in a browser."""

import webbrowser
from pathlib import Path

import anyio

from agentkit.cli._exit import Exit
from agentkit.cli._mcp_open import find, only
from agentkit.cli._signals import Stopper, until_signalled
from agentkit.cli._terminal import note, say
from agentkit.cli.mcp import must_read_servers
from agentkit.errors import ConfigurationError, InvalidTaskError
from agentkit.mcp import ServerConfig, forget_logins, log_in
from agentkit.settings import read_settings
from agentkit.trace.words import plural, printable


def log_in_to(file: Path | None, name: str, *, browser: bool) -> Exit:
    """Show a person where to log in, wait for the return, and list the server's tools.

    Raises:
        ConfigurationError: the entry of the server is wrong.
        InvalidTaskError: there is no such server, or nobody can log in to it.
        McpServerError: nobody has logged in, or the server cannot be used.
    """
    settings = read_settings()
    (server,) = only(must_read_servers(settings, file), name).servers
    _check(server)

    async def main(_: Stopper) -> Exit:
        state, has_come = await log_in(
            server,
            oauth_dir=settings.oauth_dir,
            timeouts=settings.timeouts,
            show=lambda url: _show(url, browser=browser),
            browse=webbrowser.open if browser else None,
        )
        if not has_come:
            note(f"• {name} has not asked for a login.")
        tools = ", ".join(map(printable, state.names))
        say(f"✓ {name}: {plural(len(state.tools), 'tool')}" + (f": {tools}" if tools else ""))
        return Exit.OK

    return anyio.run(until_signalled, main, note)


def log_out_of(file: Path | None, name: str) -> None:
    """Forget the login at a server.

    Raises:
        ConfigurationError: its file cannot be removed.
        InvalidTaskError: there is no such server.
    """
    settings = read_settings()
    server = find(must_read_servers(settings, file), name)
    try:
        count = forget_logins(settings.oauth_dir, server.url) if server.url else 0
    except OSError as error:
        raise ConfigurationError(
            f"The login in {settings.oauth_dir} cannot be removed: {error.strerror}.",
            hint="Remove it by hand.",
        ) from error
    say(f"✓ {name}: its login is forgotten" if count else f"• {name}: there was no login")


def _check(server: ServerConfig) -> None:
    if server.problem:
        raise ConfigurationError(f"MCP server {server.name!r}: {server.problem}", hint=server.hint)
    if server.oauth is None:
        raise InvalidTaskError(
            f"The entry of the MCP server {server.name!r} says nothing of a login.",
            hint='Give it "auth": "oauth", beside its "url".',
        )
    if not server.oauth.is_attended:
        raise InvalidTaskError(
            f"The MCP server {server.name!r} is logged in to without a person.",
            hint=f"agentkit mcp test {server.name}",
        )


def _show(url: str, *, browser: bool) -> None:
    opened = " It is opened in a browser now." if browser else ""
    note(f"Log in here; Ctrl-C gives up.{opened}")
    say(url)
