"""Which addresses a login may lead to: a server must not have us ask our own network."""

import ipaddress
from urllib.parse import urlsplit

from agentkit.mcp._oauth_file import origin_of


def is_for_a_login(server: str, url: str) -> bool:
    """Say whether a server's login may lead to that address.

    It may stay where the server is. Else it must be encrypted, and may lead from a public place to
    a public one only; a server on this machine may lead to another one on it.

    >>> is_for_a_login("https://a.org/mcp", "https://login.b.org/token")
    True
    >>> is_for_a_login("https://a.org/mcp", "https://10.0.0.1/token")
    False
    >>> is_for_a_login("http://127.0.0.1:1/mcp", "http://127.0.0.1:2/token")
    True
    """
    try:
        parts = urlsplit(url)
        same = origin_of(server) == origin_of(url)
        here, there = is_loopback(server), is_loopback(url)
    except ValueError:  # half an IPv6 address, or a port that is none
        return False
    if same or (here and there):
        return parts.scheme in {"http", "https"}
    inwards = _is_public(server) and not _is_public(url)
    return parts.scheme == "https" and not there and not inwards


def is_loopback(url: str) -> bool:
    """Say whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_public(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".localhost", ".local", ".internal"))
