"""A URL as it is meant: one spelling for each host, checked before anyone is asked."""

import re
import socket
from ipaddress import ip_address

import httpx2

from agentkit.errors import ToolInputError

URL_CHARS = 8_000
"""Longest URL that is taken."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")
# The rule of browsers: a host whose last label is a number is an IPv4 address or nothing.
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")


def read_url(text: str) -> httpx2.URL:
    """Return the URL, without its fragment, with its host in ASCII and in one spelling.

    >>> str(read_url("http://0x7f.1:80/a#b")), read_url("http://EXAMPLE.com./").host
    ('http://127.0.0.1/a', 'example.com')

    Raises:
        ToolInputError: not an absolute http or https URL, one with a password, or a trick.
    """
    bare = text.strip()
    if len(bare) > URL_CHARS:
        raise ToolInputError(f"The URL has {len(bare)} characters; {URL_CHARS} at most.")
    if "\\" in bare:  # some programs read it as a slash, and the host ends elsewhere for them
        raise ToolInputError("A URL with a backslash is refused: write it with %5C.")
    try:
        url = httpx2.URL(bare)
    except httpx2.InvalidURL as error:
        raise ToolInputError(f"{bare[:200]!r} is not a URL: {error}") from error
    if url.scheme not in _DEFAULT_PORTS or not url.host:
        looks_bare = "." in text and not any(mark in bare for mark in ": ")
        advice = f"Write https://{bare}" if looks_bare else "Write it as https://host/path."
        raise ToolInputError(f"{bare[:200]!r} is not an absolute http or https URL. {advice}")
    if url.port is not None and not 0 < url.port < 65536:
        raise ToolInputError(f"Port {url.port} does not exist.")
    if url.userinfo:
        raise ToolInputError("A URL with a user name or password is refused.")
    return url.copy_with(host=_host(url.raw_host.decode("ascii").lower()), fragment=None)


def port_of(url: httpx2.URL) -> int:
    """Return the port, also where the URL leaves it to the scheme."""
    return url.port or _DEFAULT_PORTS[url.scheme]


def _host(given: str) -> str:
    if "%" in given:
        raise ToolInputError(f"The host {given!r} has a zone or percent codes: refused.")
    if ":" in given:
        try:
            return str(ip_address(given))
        except ValueError as error:
            raise ToolInputError(f"{given!r} is not an IPv6 address.") from error
    host = given.removesuffix(".")
    if _NUMBER.fullmatch(host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))  # decimal, hexadecimal, octal, short
        except OSError as error:
            raise ToolInputError(f"{given!r} is not an IPv4 address.") from error
    if not _NAME.fullmatch(host):
        raise ToolInputError(f"{given!r} is not a host name.")
    return host
