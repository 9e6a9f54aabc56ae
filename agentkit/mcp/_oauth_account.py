"""What is known of the login at one server: read from its file, and written when it changes."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread
from mcp.client.auth.utils import issuers_match
from mcp.shared.auth import (
    OAuthClientInformationFull,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from pydantic import BaseModel, Field, ValidationError

from agentkit.errors import McpServerError
from agentkit.mcp._config import ServerConfig
from agentkit.mcp._oauth_config import OAuthConfig
from agentkit.mcp._oauth_file import (
    DamagedLoginError,
    file_of,
    files_of,
    origin_of,
    read_login,
    server_of,
    write_login,
)
from agentkit.mcp._surroundings import Visitor
from agentkit.mcp._variables import SHORTEST_SECRET

if TYPE_CHECKING:
    from mcp.client.auth.oauth2 import OAuthContext

    from agentkit.mcp._http import Refusal


class Login(BaseModel):
    """A login as it is kept.

    Attributes:
        server: origin and path of the server.
        issuer: the authorization server.
        client_id: who has logged in.
        client: the registration, where it was made by us.
        expires_at: of the access token, in seconds since 1970.
        authority: addresses of the authorization server.
        resource: what the server says of itself.
    """

    server: str
    issuer: str
    grant: str
    client_id: str
    client: OAuthClientInformationFull | None = Field(default=None, repr=False)
    tokens: OAuthToken = Field(repr=False)
    expires_at: float | None = None
    authority: OAuthMetadata | None = None
    resource: ProtectedResourceMetadata | None = None


class Account:
    """Keeps the login at one server, as the SDK's `TokenStorage`.

    Attributes:
        oauth: how it is logged in to.
        visitor: takes a person through a login; `None` where nobody is there.
        context: of the provider that it serves.
        login: what is known of it now.
        notes: what is wrong with its file.
        refusal: why a person has logged in in vain; nobody is asked twice.
    """

    def __init__(
        self, config: ServerConfig, oauth: OAuthConfig, folder: Path | None, visitor: Visitor | None
    ) -> None:
        self._config = config
        self._folder = folder
        self._secrets: set[str] = set()
        self.oauth = oauth
        self.visitor = visitor
        self.context: OAuthContext | None = None
        self.login: Login | None = None
        self.notes: tuple[str, ...] = ()
        self.refusal: Refusal | None = None

    @property
    def is_alone(self) -> bool:
        """Whether a person would have to log in, and none is there, or was there in vain."""
        gone = self.visitor is None or self.refusal is not None
        return self.oauth.is_attended and gone

    @property
    def hint(self) -> str:
        """The command by which a person logs in."""
        return f"agentkit mcp login {shlex.quote(self._config.name)}"

    @property
    def bound_to(self) -> str:
        """The only issuer that may see the credentials of the entry; empty if none is known."""
        kept = self.login.issuer if self.login is not None and self.oauth.client_id else ""
        return self.oauth.issuer or kept

    def redact(self, text: str) -> str:
        """Return `text` without any secret of the server and any token of the login."""
        text = self._config.redact(text)
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    async def get_tokens(self) -> OAuthToken | None:
        """Read the file anew, and return the tokens; none for a person who logs in anew."""
        if self._folder is not None:
            found = await to_thread.run_sync(self._read, self._folder)
            self.login = found.login
            self.notes = found.notes
        if self.login is None:
            return None
        self._learn(self.login)
        return None if self.visitor is not None and not self._has_come() else self.login.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep the tokens, and all that is needed to refresh them.

        Raises:
            McpServerError: a person has logged in, and it cannot be written down.
        """
        self.login = self._login(tokens)
        self._learn(self.login)
        if self.visitor is not None:
            self.visitor.has_come = True
        if self._folder is None:
            return
        path = file_of(self._folder, self._config.url, self.login.issuer)
        content = self.login.model_dump(mode="json", exclude_none=True)
        try:
            await to_thread.run_sync(write_login, path, content)
        except OSError as error:
            what = f"its login cannot be kept in {path}: {error.strerror}"
            self._folder = None  # what is there is older
            self.notes = (what,)
            if self.visitor is not None:
                raise McpServerError(f"{what}.", hint="Make room for it.") from error

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """Return the client of the entry, or the one that was registered before."""
        if self.oauth.client_id:
            return self._client_of_entry()
        client = self.login.client if self.login is not None else None
        if client is None or self.visitor is None or self._is_fit(client, self.visitor):
            return client
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Take note of a new registration; it is written with the first tokens."""
        self._secrets |= _worth_hiding(client_info.client_secret)

    def _client_of_entry(self) -> OAuthClientInformationFull:
        visitor, secret = self.visitor, self.oauth.client_secret or None
        return OAuthClientInformationFull.model_validate(
            {
                "client_id": self.oauth.client_id,
                "client_secret": secret,
                "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
                "redirect_uris": None if visitor is None else [visitor.redirect_uri],
            }
        )

    def _is_fit(self, client: OAuthClientInformationFull, visitor: Visitor) -> bool:
        over = client.client_secret_expires_at or 0
        known = [str(one) for one in client.redirect_uris or ()]
        return visitor.redirect_uri in known and not 0 < over < time.time()

    def _has_come(self) -> bool:
        return self.visitor is not None and self.visitor.has_come

    def _login(self, tokens: OAuthToken) -> Login:
        context = self.context
        client = context.client_info if context is not None else None
        authority = context.oauth_metadata if context is not None else None
        issuer = str(authority.issuer) if authority is not None else origin_of(self._config.url)
        return Login(
            server=server_of(self._config.url),
            issuer=issuer,
            grant=self.oauth.grant,
            client_id=client.client_id if client is not None else "",
            client=None if self.oauth.client_id else client,
            tokens=tokens,
            expires_at=None if tokens.expires_in is None else time.time() + tokens.expires_in,
            authority=authority,
            resource=context.protected_resource_metadata if context is not None else None,
        )

    def _learn(self, login: Login) -> None:
        tokens, client = login.tokens, login.client
        self._secrets |= _worth_hiding(tokens.access_token, tokens.refresh_token)
        self._secrets |= _worth_hiding(client.client_secret if client is not None else None)

    def _read(self, folder: Path) -> "_Found":
        """Return the login that was written last, of those that this entry may use."""
        notes: list[str] = []
        for path in files_of(folder, self._config.url):
            try:
                login = Login.model_validate(read_login(path))
            except (DamagedLoginError, ValidationError):
                notes.append(f"its login, kept in {path}, is damaged")
            else:
                if self._may_use(login):
                    return _Found(login, tuple(notes))
        return _Found(None, tuple(notes))

    def _may_use(self, login: Login) -> bool:
        mine = not self.oauth.client_id or self.oauth.client_id == login.client_id
        kind = bool(self.oauth.client_id) == (login.client is None)
        issuer = not self.oauth.issuer or issuers_match(self.oauth.issuer, login.issuer)
        here = login.server == server_of(self._config.url)
        return mine and kind and issuer and here and login.grant == self.oauth.grant


@dataclass(frozen=True, slots=True)
class _Found:
    login: Login | None
    notes: tuple[str, ...]


def account_of(
    config: ServerConfig, folder: Path | None, visitor: Visitor | None
) -> Account | None:
    """Return the account at a server; `None` if it wants no login."""
    return None if config.oauth is None else Account(config, config.oauth, folder, visitor)


def _worth_hiding(*secrets: str | None) -> set[str]:
    return {one for one in secrets if one is not None and len(one) >= SHORTEST_SECRET}
