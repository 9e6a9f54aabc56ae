"""Takes a person through a login: out to a browser, and back to a port of this machine."""

import webbrowser
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from secrets import compare_digest
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio import to_thread
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.stapled import MultiListener

from agentkit.errors import McpServerError
from agentkit.mcp._config import McpConfig, ServerConfig
from agentkit.mcp._oauth_config import OAuthConfig
from agentkit.mcp._oauth_file import DamagedLoginError, files_of, read_login
from agentkit.mcp._servers import open_servers
from agentkit.mcp._state import ServerState
from agentkit.mcp._text import one_line
from agentkit.policies import Timeouts
from agentkit.resilience import deadline

LOGIN_SECONDS = 300.0
_HOST = "127.0.0.1"
_PATH = "/callback"
_LONGEST_REQUEST = 16 * 1024
_REQUEST_SECONDS = 10.0
_PAGE = """<!doctype html><meta charset="utf-8"><title>agentkit</title><p>{}</p>"""
_DONE = "You are logged in, and may close this page."
_REFUSED = "You are not logged in, and may close this page."
_STRANGE = "Nobody here has asked for this."
_NOT_OURS = "404 Not Found"
_WORDS = 3  # of the first line: what to do, with what, in which version


async def log_in(
    server: ServerConfig,
    *,
    oauth_dir: Path,
    timeouts: Timeouts,
    show: Callable[[str], None],
    browse: Callable[[str], object] | None = None,
    seconds: float = LOGIN_SECONDS,
) -> tuple[ServerState, bool]:
    """Log in to a server anew, list its tools, and return what became of it.

    Args:
        server: one that has `oauth`.
        oauth_dir: folder where the login is kept.
        timeouts: the usual clocks.
        show: told the address where a person logs in.
        browse: opens that address in a browser; called in a thread.
        seconds: for a person to log in.

    Returns:
        Its state, and whether it has asked for a login at all.

    Raises:
        McpServerError: nobody has logged in, or the server cannot be used.
    """
    oauth = server.oauth or OAuthConfig()
    ports = await to_thread.run_sync(_ports, server, oauth, oauth_dir)
    async with _listening(ports) as listener:
        browser = Browser(listener, show, browse, seconds)
        usual = timeouts.mcp_connect if server.connect_seconds is None else server.connect_seconds
        patient = replace(server, required=False, connect_seconds=seconds + (usual or 0.0))
        async with open_servers(
            McpConfig(servers=(patient,)), timeouts=timeouts, oauth_dir=oauth_dir, visitor=browser
        ) as opened:
            (state,) = opened.states
        if state.status != "ready":
            raise McpServerError(f"MCP server {server.name!r}: {state.error}", hint=state.hint)
        return state, browser.has_come


class Browser:
    """Sends a person to a login and waits for the return; see `Visitor`."""

    def __init__(
        self,
        listener: MultiListener[SocketStream],
        show: Callable[[str], None],
        browse: Callable[[str], object] | None,
        seconds: float,
    ) -> None:
        self._listener = listener
        self._show = show
        self._browse = browse
        self._seconds = seconds
        self._url = ""
        self._answer: dict[str, str] = {}
        self._back = anyio.Event()
        self.has_come = False

    @property
    def redirect_uri(self) -> str:
        """Where the browser comes back to."""
        port = self._listener.extra(SocketAttribute.local_port)  # noqa: S610 - not Django's
        return f"http://{_HOST}:{port}{_PATH}"

    async def send(self, url: str) -> None:
        """Show the address; it is opened once somebody listens for the return."""
        self._url, self._answer, self._back = url, {}, anyio.Event()
        self._show(url)

    async def wait(self) -> Mapping[str, str]:
        """Return what the browser has come back with.

        Raises:
            McpServerError: it does not come back in time, or the person was refused.
        """
        late = McpServerError(
            f"nobody has logged in within {self._seconds / 60:g} minutes.",
            hint="Open the address in a browser on this machine.",
        )
        with deadline(self._seconds, late):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listener.serve, self._serve)
                tasks.start_soon(self._open)
                await self._back.wait()
                tasks.cancel_scope.cancel()
        if "code" not in self._answer:
            why = self._answer.get("error_description") or self._answer.get("error", "no code")
            raise McpServerError(f"the login was refused: {one_line(why)}.")
        return self._answer

    async def _open(self) -> None:
        if self._browse is not None:
            # A browser that stays in front, in a terminal, must not keep us from ending.
            with suppress(OSError, webbrowser.Error):  # the person has the address anyway
                await to_thread.run_sync(self._browse, self._url, abandon_on_cancel=True)

    async def _serve(self, stream: SocketStream) -> None:
        async with stream:
            with anyio.move_on_after(_REQUEST_SECONDS):
                try:
                    given = _query_of(await _head(stream))
                    status, words = self._judged(given)
                    await stream.send(_page(status, words))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return  # the browser has gone
                if status != _NOT_OURS:
                    self._answer = dict(given or {})
                    self._back.set()

    def _judged(self, given: Mapping[str, str] | None) -> tuple[str, str]:
        """Return how to answer what came: anybody on this machine may knock here."""
        wanted = parse_qs(urlsplit(self._url).query).get("state", [""])[0]
        state = given.get("state", "") if given is not None else ""
        if given is None or not wanted or not compare_digest(state.encode(), wanted.encode()):
            return _NOT_OURS, _STRANGE
        return "200 OK", _DONE if "code" in given else _REFUSED


@asynccontextmanager
async def _listening(ports: tuple[int, ...]) -> AsyncGenerator[MultiListener[SocketStream]]:
    """Listen at the first of the ports that is free.

    Raises:
        McpServerError: none is.
    """
    for port in ports:
        try:
            listener = await anyio.create_tcp_listener(local_host=_HOST, local_port=port)
        except OSError:
            continue
        async with listener:
            yield listener
        return
    raise McpServerError(
        f"the port {ports[0]} of this machine is not free, and the login comes back to it.",
        hint="End what listens there, or change 'callbackPort'.",
    )


def _ports(server: ServerConfig, oauth: OAuthConfig, folder: Path) -> tuple[int, ...]:
    """Return where to listen: where the entry says, or where the client that is registered did."""
    if oauth.callback_port is not None:
        return (oauth.callback_port,)
    for path in files_of(folder, server.url):
        try:
            client: Any = (read_login(path) or {})["client"]
            port = urlsplit(str(client["redirect_uris"][0])).port
        except (DamagedLoginError, LookupError, TypeError, ValueError):
            continue
        if port:
            return (port, 0)
    return (0,)


async def _head(stream: SocketStream) -> bytes:
    """Return what a browser asks; a longer request is cut."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _LONGEST_REQUEST:
        try:
            head += await stream.receive()
        except anyio.EndOfStream:
            break
    return head


def _query_of(head: bytes) -> dict[str, str] | None:
    """Return what a request for our page brings; `None` for any other."""
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    path, _, query = words[1].partition("?") if len(words) == _WORDS else ("", "", "")
    if words[0] != "GET" or path != _PATH:
        return None
    return {name: values[0] for name, values in parse_qs(query).items()}


def _page(status: str, words: str) -> bytes:
    body = _PAGE.format(words).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n"
        "Referrer-Policy: no-referrer\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
