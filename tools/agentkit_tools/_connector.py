"""Where connections are made: one look-up, every address checked, and the peer once more."""

import socket
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, cast

import anyio
import httpcore2
from anyio import to_thread
from anyio.lowlevel import RunVar

from agentkit.errors import ToolError
from agentkit_tools._rules import Rules

AT_ONCE = 2
"""Requests to one host at the same time, of all runs together."""

_MOST_DIALLED = 4


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Looks a name up once, checks every address, and dials one that was checked."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        # The cast: a checker sees the stand-in for an anyio that is not installed.
        self._dialler = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self._rules.check_place(host, port)
        addresses = await _look_up(host, port)
        self._rules.check_addresses(host, port, addresses)
        failure: Exception | None = None
        for address in addresses[:_MOST_DIALLED]:
            try:
                stream = await self._dialler.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = failure or error
                continue
            if _peer(stream) != _plain(address):
                await stream.aclose()
                raise ToolError(f"{host} is refused: {address} was dialled, another answered.")
            return stream
        raise failure or httpcore2.ConnectError("no address")


def _peer(stream: httpcore2.AsyncNetworkStream) -> str:
    """Return the address at the other end, as the system says; empty if it does not."""
    found: Any = stream.get_extra_info("server_addr")
    return _plain(str(found[0])) if found else ""


def _plain(address: str) -> str:
    plain = ip_address(address.partition("%")[0])
    return str(getattr(plain, "ipv4_mapped", None) or plain)


async def _look_up(host: str, port: int) -> list[str]:
    """Return the addresses of a name, in the order of the system.

    Raises:
        ToolError: there are none.
    """
    with suppress(ValueError):  # an address needs no looking up
        return [str(ip_address(host.strip("[]")))]

    def look_up() -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    try:
        return await to_thread.run_sync(look_up, abandon_on_cancel=True)
    except (OSError, UnicodeError) as error:
        raise ToolError(f"The name {host!r} cannot be resolved: {error}") from error


@dataclass(slots=True)
class _Turnstile:
    places: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(AT_ONCE))
    users: int = 0


_turnstiles: RunVar[dict[str, _Turnstile]] = RunVar("agentkit fetch hosts")


@asynccontextmanager
async def one_of_few(host: str) -> AsyncGenerator[None]:
    """Wait until fewer than `AT_ONCE` others ask this host."""
    hosts = _turnstiles.get(None)
    if hosts is None:
        hosts = dict[str, _Turnstile]()
        _turnstiles.set(hosts)
    turnstile = hosts.setdefault(host, _Turnstile())
    turnstile.users += 1
    try:
        async with turnstile.places:
            yield
    finally:
        turnstile.users -= 1
        if not turnstile.users:  # else hosts would be remembered for ever
            del hosts[host]
