"""A server that wants a login, and the authorization server that gives it, to test against."""

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlencode
from uuid import uuid4

import httpx2
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from agentkit.mcp import OAuthConfig, ServerConfig, log_in
from agentkit.policies import Timeouts

HINT = "agentkit mcp login shut"

App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]


class Authority:
    """Registers clients, lets everybody in who comes with PKCE, and takes notes of what it is told.

    Attributes:
        issuer: what it calls itself; where it is, if empty.
        named: the authorization server that the MCP server names; itself, if empty.
        seconds: for which a token is good.
        said: what it was asked, each with its path, its form and its headers.
        good: access tokens that the MCP server takes.
        renewable: refresh tokens that are good.
        status: in place of any answer of the token endpoint; 0 is none.
        methods: in which it takes the secret of a client.
        missing: a scope that the MCP server wants.
        answer: what a browser comes back with; the usual, if `None`.
    """

    def __init__(self) -> None:
        self.issuer = self.named = self.missing = ""
        self.seconds = 3600
        self.said: list[tuple[str, dict[str, str], Mapping[str, str]]] = []
        self.good: set[str] = set()
        self.renewable: set[str] = set()
        self.clients: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.status = 0
        self.methods = ["none", "client_secret_basic", "client_secret_post"]
        self.answer: dict[str, str] | None = None

    def app(self, inner: Starlette) -> Starlette:
        """Return an application with both, the MCP server behind a check of its tokens."""
        routes = [
            Route("/.well-known/oauth-protected-resource/mcp", self._resource),
            Route("/.well-known/oauth-authorization-server", self._metadata),
            Route("/register", self._register, methods=["POST"]),
            Route("/authorize", self._authorize),
            Route("/token", self._token, methods=["POST"]),
        ]
        check = Middleware(_Check, self)
        outer = Starlette(routes=routes, middleware=[check], lifespan=inner.router.lifespan_context)
        outer.router.routes.extend(inner.routes)
        return outer

    def asked(self, path: str) -> list[dict[str, str]]:
        """Return the forms that came to a path."""
        return [form for at, form, _ in self.said if at == path]

    def issue(self, scope: str = "") -> dict[str, Any]:
        """Return new tokens."""
        access, refresh = f"access-{uuid4().hex}", f"refresh-{uuid4().hex}"
        self.good.add(access)
        self.renewable.add(refresh)
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": self.seconds,
            "refresh_token": refresh,
            **({"scope": scope} if scope else {}),
        }

    async def _resource(self, request: Request) -> Response:
        here = str(request.base_url).rstrip("/")
        return JSONResponse(
            {
                "resource": f"{here}/mcp",
                "authorization_servers": [self.named or here],
                "scopes_supported": ["read"],
            }
        )

    async def _metadata(self, request: Request) -> Response:
        here = str(request.base_url).rstrip("/")
        return JSONResponse(
            {
                "issuer": self.issuer or here,
                "authorization_endpoint": f"{here}/authorize",
                "token_endpoint": f"{here}/token",
                "registration_endpoint": f"{here}/register",
                "code_challenge_methods_supported": ["S256"],
                "token_endpoint_auth_methods_supported": self.methods,
            }
        )

    async def _register(self, request: Request) -> Response:
        wish = await request.json()
        self.said.append(("/register", wish, request.headers))
        client = {**wish, "client_id": f"client-{uuid4().hex}"}
        self.clients[client["client_id"]] = client
        return JSONResponse(client, status_code=201)

    async def _authorize(self, request: Request) -> Response:
        wish = dict(request.query_params)
        self.said.append(("/authorize", wish, request.headers))
        client = self.clients.get(wish["client_id"])
        if client is None or wish["redirect_uri"] not in client["redirect_uris"]:
            return Response("no such client", status_code=400)
        code = uuid4().hex
        self.codes[code] = wish
        back = {"code": code, "state": wish["state"]} if self.answer is None else self.answer
        return RedirectResponse(f"{wish['redirect_uri']}?{urlencode(back)}", status_code=302)

    async def _token(self, request: Request) -> Response:
        form = {
            name: values[0] for name, values in parse_qs((await request.body()).decode()).items()
        }
        self.said.append(("/token", form, request.headers))
        if self.status:
            return JSONResponse({"error": "invalid_grant"}, status_code=self.status)
        check = {
            "authorization_code": self._with_code,
            "refresh_token": self._with_refresh_token,
            "client_credentials": self._with_secret,
        }[form["grant_type"]]
        if not check(form, request):
            error = {"error": "invalid_grant", "error_description": f"bad: {form}"}
            return JSONResponse(error, status_code=400)
        return JSONResponse(self.issue(form.get("scope", "")))

    def _with_code(self, form: dict[str, str], _: Request) -> bool:
        wish = self.codes.pop(form["code"], {})
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return wish.get("code_challenge") == challenge

    def _with_refresh_token(self, form: dict[str, str], _: Request) -> bool:
        if form["refresh_token"] not in self.renewable:
            return False
        self.renewable.remove(form["refresh_token"])  # each is good for once
        return True

    def _with_secret(self, form: dict[str, str], request: Request) -> bool:
        scheme, _, told = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic" and "client_secret_basic" in self.methods:
            identity, _, secret = base64.b64decode(told).decode().partition(":")
        else:
            identity, secret = form.get("client_id", ""), form.get("client_secret", "")
        client = self.clients.get(unquote(identity), {})
        return bool(secret) and client.get("client_secret") == unquote(secret)


class _Check:
    def __init__(self, inner: App, authority: Authority) -> None:
        self._inner = inner
        self._authority = authority

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/mcp":
            request = Request(scope)
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in self._authority.good:
                where = f"{request.base_url}.well-known/oauth-protected-resource/mcp"
                headers = {"WWW-Authenticate": f'Bearer resource_metadata="{where}"'}
                await Response(status_code=401, headers=headers)(scope, receive, send)
                return
            if self._authority.missing:
                wish = f'Bearer error="insufficient_scope", scope="{self._authority.missing}"'
                await Response(status_code=403, headers={"WWW-Authenticate": wish})(
                    scope, receive, send
                )
                return
        await self._inner(scope, receive, send)


def follow(url: str) -> httpx2.Response:
    """Do what a browser does, with a person who agrees to everything."""
    with httpx2.Client(follow_redirects=True, trust_env=False) as browser:
        return browser.get(url)


def shut(url: str, **oauth: Any) -> ServerConfig:
    return ServerConfig(name="shut", url=url, oauth=OAuthConfig(**oauth))


async def logged_in(
    server: ServerConfig, folder: Path, browse: Callable[[str], object] = follow, **options: Any
) -> list[str]:
    """Log in, and return the addresses that a person was shown."""
    shown: list[str] = []
    state, has_come = await log_in(
        server,
        oauth_dir=folder,
        timeouts=Timeouts(),
        show=shown.append,
        browse=browse,
        **options,
    )
    assert (state.status, has_come) == ("ready", True)
    assert "add" in state.tools
    return shown


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


def kept(folder: Path) -> dict[str, Any]:
    (path,) = files(folder)
    return json.loads(path.read_text("utf-8"))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def change(folder: Path, **changes: Any) -> None:
    (path,) = files(folder)
    path.write_text(json.dumps({**kept(folder), **changes}), "utf-8")
