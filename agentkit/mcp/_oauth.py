"""Logs in to a server by the SDK's own means, unattended where that is possible.

The SDK's flow has one lock around each request until the answer begins, asks the wrong address for
a refresh after a restart, and never refreshes a token that the server has taken back. So it is
entered only where a token is missing or refused, remembers what it has discovered, and a refused
token is refreshed once before anything else is tried.
"""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx2
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider, OAuthFlowError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.auth.utils import extract_field_from_www_auth, issuers_match
from mcp.shared.auth import OAuthClientMetadata

from agentkit.mcp._config import ServerConfig
from agentkit.mcp._http import IN_A_LOGIN, Refusal, note_refusal
from agentkit.mcp._oauth_account import Account
from agentkit.mcp._oauth_address import is_for_a_login
from agentkit.mcp._oauth_config import OAuthConfig
from agentkit.mcp._oauth_file import origin_of
from agentkit.mcp._surroundings import Visitor
from agentkit.mcp._text import one_line

_NO_TOKEN = 401
_NO_SCOPE = 403
_REFUSED = frozenset({_NO_TOKEN, _NO_SCOPE})
_BASIC, _POST = "client_secret_basic", "client_secret_post"
_TOO_MANY = 429
_BROKEN = 500
_CLOCKS = httpx2.Timeout(30.0).as_dict()
_ERRORS = (OAuthFlowError, ValueError, httpx2.InvalidURL, httpx2.StreamError)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Keep what a server has answered out of logs: there may be tokens in it."""
    record.exc_info = record.exc_text = None
    return True


for _name in ("mcp.client.auth.oauth2", "mcp.client.auth.extensions.client_credentials"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).addFilter(_without_traceback)


class _NobodyThereError(Exception):
    """A person would have to log in."""


_ENDS = (StopAsyncIteration, _NobodyThereError, *_ERRORS)


class _FixedScope(OAuthClientMetadata):
    """What we say of ourselves where the entry names the scopes: no other is asked for."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "scope":
            super().__setattr__(name, value)


class Provider(OAuthClientProvider):
    """The SDK's provider, with a memory, and careful whom it asks."""

    _account: Account
    _on_refusal: Callable[[], None]

    def attach(self, account: Account, on_refusal: Callable[[], None]) -> None:
        """Serve an account; `on_refusal` is called where a message is refused for good."""
        self._account, self._on_refusal = account, on_refusal
        account.context = self.context

    async def _initialize(self) -> None:
        await super()._initialize()
        login = self._account.login
        if login is not None and self.context.current_tokens is not None:
            self.context.token_expiry_time = login.expires_at
            self.context.oauth_metadata = login.authority
            self.context.protected_resource_metadata = login.resource
            self._choose_method()

    def _expected_issuer(self) -> str:
        named, bound = super()._expected_issuer(), self._account.bound_to
        if bound and not issuers_match(named, bound):
            raise OAuthFlowError(f"its client belongs to {bound}, and the server names {named}")
        return named

    async def _perform_authorization(self) -> httpx2.Request:
        self._choose_method()
        return await super()._perform_authorization()

    def _choose_method(self) -> None:
        """Send the secret of the entry in the way that the authorization server takes it."""
        client, authority = self.context.client_info, self.context.oauth_metadata
        if client is None or authority is None or not self._account.oauth.client_secret:
            return
        taken = authority.token_endpoint_auth_methods_supported or [_BASIC]
        if _BASIC not in taken and _POST in taken:
            client.token_endpoint_auth_method = _POST

    async def _auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        request.extensions[IN_A_LOGIN] = False
        answer: httpx2.Response | None = None
        if self._initialized and self.context.is_token_valid():
            self._add_auth_header(request)
            answer = yield request
            if answer.status_code not in _REFUSED:
                return
        else:
            self._initialized = False  # another process may have refreshed it
        flow, outgoing = self._refreshing(request, answer), request
        refusal: Refusal | None = None
        try:
            outgoing = await anext(flow)
            while True:
                answer = yield self._made_safe(outgoing, request)
                outgoing = await flow.asend(answer)
        except _ENDS as error:
            refusal = self._explained(error, answer)
        finally:
            await flow.aclose()
        if refusal is not None and outgoing is not request:
            request.headers.pop("Authorization", None)
            answer = yield request  # the last answer was not one to the caller
        self._end(answer, refusal)

    async def _refreshing(
        self, request: httpx2.Request, refused: httpx2.Response | None
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Go through the SDK's flow, but refresh a refused token once, and ask nobody who is not there.

        Args:
            request: what is wanted.
            refused: its answer, where it was sent already.
        """
        sent, refreshed = request.headers.get("Authorization"), False
        flow = super()._auth_flow(request)
        try:
            outgoing = await anext(flow)
            while True:
                if refused is not None and request.headers.get("Authorization") == sent:
                    answer = refused
                else:
                    answer = yield outgoing
                refused = None
                if outgoing is request and answer.status_code == _NO_TOKEN and not refreshed:
                    refreshed, sent = True, request.headers.get("Authorization")
                    if (renewal := await self._renewal()) is not None:
                        renewed = yield renewal
                        await self._renew(renewed)
                    if self._has_another_than(sent):
                        self._add_auth_header(request)
                        answer = yield request
                self._look_at(outgoing, request, answer)
                outgoing = await flow.asend(answer)
        except StopAsyncIteration:
            return
        finally:
            await flow.aclose()

    async def _renewal(self) -> httpx2.Request | None:
        """Return what refreshes the token; `None` where that cannot be, or was done by another."""
        before = self.context.current_tokens
        await self._initialize()
        if self.context.current_tokens != before or not self.context.can_refresh_token():
            return None
        return await self._refresh_token()

    async def _renew(self, answer: httpx2.Response) -> None:
        _check_is_well(answer)
        if not await self._handle_refresh_response(answer):
            await self._initialize()  # another process may have been quicker

    def _has_another_than(self, sent: str | None) -> bool:
        tokens = self.context.current_tokens
        known = tokens is not None and self.context.is_token_valid()
        return known and tokens is not None and sent != f"Bearer {tokens.access_token}"

    def _look_at(
        self, outgoing: httpx2.Request, request: httpx2.Request, answer: httpx2.Response
    ) -> None:
        if outgoing is not request:
            _check_is_well(answer)
        elif self._account.is_alone and (answer.status_code == _NO_TOKEN or _scope_of(answer)):
            raise _NobodyThereError

    def _made_safe(self, outgoing: httpx2.Request, request: httpx2.Request) -> httpx2.Request:
        """Return a request with what the client would give it if it came from its caller."""
        if outgoing is request:
            return outgoing
        url = str(outgoing.url)
        if not is_for_a_login(self.context.server_url, url):
            raise OAuthFlowError(f"it leads to {origin_of(url)}, which is not asked")
        outgoing.extensions = {**outgoing.extensions, "timeout": _CLOCKS, IN_A_LOGIN: True}
        outgoing.headers["Accept-Encoding"] = "identity"
        return outgoing

    def _explained(self, error: Exception, answer: httpx2.Response | None) -> Refusal | None:
        if isinstance(error, StopAsyncIteration):
            return None
        if isinstance(error, _NobodyThereError):
            return self._wish("" if answer is None else _scope_of(answer))
        hint = "Check 'oauth' of this server."
        if self._account.oauth.is_attended:
            hint = f"Check 'oauth' of this server, or log in anew: {self._account.hint}"
        what = one_line(self._account.redact(_told(error)))
        refusal = Refusal(_NO_TOKEN, why=f"its login failed: {what}", hint=hint)
        self._account.refusal = refusal if self._account.visitor is not None else None
        return refusal

    def _wish(self, scope: str) -> Refusal:
        if self._account.refusal is not None:
            return self._account.refusal
        hint = self._account.hint
        if scope:
            why = f"it wants a login with the scope {one_line(scope, 100)!r}"
            return Refusal(_NO_SCOPE, why=why, hint=f"Add it to 'scopes' in 'oauth', then: {hint}")
        notes = "".join(f"; {note}" for note in self._account.notes)
        return Refusal(_NO_TOKEN, why=f"it wants a login{notes}", hint=hint)

    def _end(self, answer: httpx2.Response | None, refusal: Refusal | None) -> None:
        if answer is not None and answer.status_code in _REFUSED:
            note_refusal(refusal or Refusal(answer.status_code))
            if answer.request.method == "POST":
                self._on_refusal()


class _CredentialsProvider(Provider, ClientCredentialsOAuthProvider):
    """The same for a client that logs in by itself."""

    def expect(self, oauth: OAuthConfig) -> None:
        """Ask for what the entry says, of the issuer that it says: of any for the first time."""
        self._issuer = oauth.issuer or None
        if oauth.scope:
            said = self.context.client_metadata.model_dump()
            self.context.client_metadata = _FixedScope.model_validate(said)


def provider_for(
    config: ServerConfig, account: Account, on_refusal: Callable[[], None] = lambda: None
) -> Provider:
    """Return what logs in to a server with an account.

    Args:
        config: the server.
        account: where its login is kept.
        on_refusal: called where a message is refused for good.
    """
    oauth, url = account.oauth, config.url
    provider: Provider
    if oauth.is_attended:
        provider = Provider(url, _metadata(account), account, *_handlers(config, account.visitor))
    else:
        # An issuer has to be named to make one; which it is, is known only once one was found.
        provider = _CredentialsProvider(
            url,
            account,
            oauth.client_id,
            oauth.client_secret,
            scope=oauth.scope or None,
            issuer=oauth.issuer or origin_of(url),
        )
        provider.expect(oauth)
    provider.attach(account, on_refusal)
    return provider


def _metadata(account: Account) -> OAuthClientMetadata:
    """Return what we say of ourselves: a public client, as a program on a desk is."""
    oauth, visitor = account.oauth, account.visitor
    return (_FixedScope if oauth.scope else OAuthClientMetadata).model_validate(
        {
            "client_name": "agentkit",
            "redirect_uris": None if visitor is None else [visitor.redirect_uri],
            "token_endpoint_auth_method": _BASIC if oauth.client_secret else "none",
            "scope": oauth.scope or None,
        }
    )


def _handlers(
    config: ServerConfig, visitor: Visitor | None
) -> tuple[
    Callable[[str], Awaitable[None]] | None,
    Callable[[], Awaitable[AuthorizationCodeResult]] | None,
]:
    if visitor is None:
        return None, None

    async def send(url: str) -> None:
        if not is_for_a_login(config.url, url):
            raise OAuthFlowError(f"it leads to {origin_of(url)}, which is not opened")
        await visitor.send(url)

    async def wait() -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(await visitor.wait())

    return send, wait


def _check_is_well(answer: httpx2.Response) -> None:
    """Raise where an authorization server cannot say yes or no: nobody needs to log in for that."""
    broken = answer.status_code >= _BROKEN or answer.status_code == _TOO_MANY
    if broken and answer.request.method == "POST":
        where = origin_of(str(answer.request.url))
        raise OAuthFlowError(f"{where} answered HTTP {answer.status_code}")


def _scope_of(answer: httpx2.Response) -> str:
    """Return the scope that an answer asks for in place of the one there is; empty if it does not."""
    if answer.status_code != _NO_SCOPE:
        return ""
    if extract_field_from_www_auth(answer, "error") != "insufficient_scope":
        return ""
    return extract_field_from_www_auth(answer, "scope") or "?"


def _told(error: Exception) -> str:
    said = str(error)
    if isinstance(error, OAuthFlowError) and said.startswith("Invalid"):
        return said.partition(":")[0]  # it goes on with what was answered, and tokens may be in it
    if isinstance(error, (OAuthFlowError, httpx2.StreamError)):
        return said
    return "what its authorization server says makes no sense"
