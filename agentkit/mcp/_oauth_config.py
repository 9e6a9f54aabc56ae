"""How a server that is reached by its address is logged in to, as its entry says it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn, TypeAlias, cast
from urllib.parse import urlsplit

Grant: TypeAlias = Literal["authorization_code", "client_credentials"]
Expand: TypeAlias = Callable[[str, str], str]
Fail: TypeAlias = Callable[[str, str], NoReturn]

_GRANTS: tuple[Grant, ...] = ("authorization_code", "client_credentials")
_TEXTS = ("clientId", "clientSecret", "scope", "grant", "issuer")
_KEYS = frozenset((*_TEXTS, "scopes", "callbackPort"))
_LAST_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthConfig:
    """How a server is logged in to.

    Attributes:
        client_id: of a client that is registered already; "" registers one.
        client_secret: what goes with it; "" is a public client.
        scope: what is asked for, separated by spaces; "" is what the server names.
        callback_port: where on 127.0.0.1 the browser comes back to; `None` takes a free one.
        grant: whether a person logs in, or the client by itself.
        issuer: the only authorization server that is spoken to; "" is the one that the server
            names, and for a client that is registered already the first one it has named.
    """

    client_id: str = field(default="", repr=False)
    client_secret: str = field(default="", repr=False)
    scope: str = ""
    callback_port: int | None = None
    grant: Grant = "authorization_code"
    issuer: str = ""

    @property
    def is_attended(self) -> bool:
        """Whether a person has to log in."""
        return self.grant == "authorization_code"

    @property
    def missing(self) -> str:
        """The field without which its grant cannot be had; empty if all is there.

        >>> OAuthConfig(grant="client_credentials", client_id="me").missing
        'oauth.clientSecret'
        """
        if self.is_attended:
            return "oauth.clientId" if self.client_secret and not self.client_id else ""
        if not self.client_id:
            return "oauth.clientId"
        return "" if self.client_secret else "oauth.clientSecret"


def read_oauth(given: Mapping[str, Any], expand: Expand, fail: Fail) -> OAuthConfig:
    """Return what the object `oauth` of an entry says.

    Args:
        given: the object.
        expand: replaces the references in the text of a field.
        fail: told what is wrong, and how to mend it.

    Raises:
        ConfigurationError: what `fail` raises.
    """
    texts = {key: _text(given, key, expand, fail) for key in _TEXTS}
    grant = texts["grant"] or _GRANTS[0]
    if grant not in _GRANTS:
        fail(f"oauth.grant is {grant!r}", f"Write one of {', '.join(map(repr, _GRANTS))}.")
    if texts["issuer"] and urlsplit(texts["issuer"]).scheme not in {"http", "https"}:
        fail("oauth.issuer is not an http or https address", "Write https://host.")
    return OAuthConfig(
        client_id=texts["clientId"],
        client_secret=texts["clientSecret"],
        scope=" ".join((*texts["scope"].split(), *_scopes(given, expand, fail))),
        callback_port=_port(given, fail),
        grant=_GRANTS[_GRANTS.index(grant)],
        issuer=texts["issuer"],
    )


def unknown_in(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the fields that have no effect."""
    return tuple(key for key in given if key not in _KEYS)


def _text(given: Mapping[str, Any], key: str, expand: Expand, fail: Fail) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        fail(f"oauth.{key} must be a text", "Put the value in quotes.")
    return expand(f"oauth.{key}", value)


def _scopes(given: Mapping[str, Any], expand: Expand, fail: Fail) -> list[str]:
    values = given.get("scopes", [])
    if not isinstance(values, list):
        fail("oauth.scopes must be a list of texts", 'Write ["read", "write"].')
    scopes: list[str] = []
    for value in cast("list[object]", values):
        if not isinstance(value, str):
            fail("oauth.scopes must be a list of texts", "Put each entry in quotes.")
        scopes.append(expand("oauth.scopes", value))
    return scopes


def _port(given: Mapping[str, Any], fail: Fail) -> int | None:
    port = given.get("callbackPort")
    if port is None:
        return None
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= _LAST_PORT:
        fail("oauth.callbackPort must be a port", f"Leave it out, or write 1 to {_LAST_PORT}.")
    return port
