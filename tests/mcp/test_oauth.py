"""Servers that want a login: who is asked, what is kept, and what is never told."""

import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import pytest
from anyio import to_thread
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError as ToldError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from agentkit.errors import McpServerError, ToolError
from agentkit.mcp import forget_logins
from agentkit.mcp._oauth_file import file_of
from tests.mcp.authority import HINT, Authority, change, files, kept, logged_in, mode, shut
from tests.mcp.test_http import real_server, serving

Opened = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(name="folder")
def where_logins_are_kept(tmp_path: Path) -> Path:
    return tmp_path / "state" / "oauth"


@pytest.fixture(name="authority")
def an_authority() -> Authority:
    return Authority()


async def test_who_has_logged_in_is_not_asked_again(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        (shown,) = await logged_in(shut(url), folder)
        assert httpx2.URL(shown).params["code_challenge_method"] == "S256"
        assert httpx2.URL(shown).params["redirect_uri"].startswith("http://127.0.0.1:")
        async with opened(shut(url), oauth_dir=folder) as session:
            assert session.states["shut"].error == ""
            assert await session.call("add", a=2, b=3) == "5"
    assert [form["grant_type"] for form in authority.asked("/token")] == ["authorization_code"]


async def test_a_login_is_kept_for_its_owner_alone(authority: Authority, folder: Path) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        (path,) = files(folder)
        assert [mode(one) for one in (path, folder)] == [0o600, 0o700]
        for other in (f"{url}/other", url.replace("127.0.0.1", "127.0.0.2")):
            assert await to_thread.run_sync(forget_logins, folder, other) == 0
        assert await to_thread.run_sync(forget_logins, folder, f"{url}?key=1") == 1
    assert files(folder) == []


async def test_without_a_person_a_server_that_wants_a_login_has_failed(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with (
        serving(authority.app(real_server())) as url,
        opened(shut(url), oauth_dir=folder) as session,
    ):
        state = session.states["shut"]
        assert (state.status, state.error, state.hint) == ("failed", "it wants a login.", HINT)
    assert authority.said == []  # nothing was registered either
    assert files(folder) == []


async def test_a_token_that_has_expired_is_refreshed_by_itself(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        before = kept(folder)["tokens"]
        authority.good.clear()
        change(folder, expires_at=1.0)
        async with opened(shut(url), oauth_dir=folder) as session:
            assert await session.call("add", a=2, b=3) == "5"
        after = kept(folder)["tokens"]
        assert {before["access_token"], before["refresh_token"]}.isdisjoint(after.values())
        async with opened(shut(url), oauth_dir=folder) as session:
            assert session.states["shut"].status == "ready"
    assert authority.asked("/token")[1]["refresh_token"] == before["refresh_token"]
    assert len(authority.asked("/token")) == 2


async def test_a_token_that_is_taken_back_during_a_run_is_refreshed_once(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        async with opened(shut(url), oauth_dir=folder) as session:
            authority.good.clear()
            async with anyio.create_task_group() as tasks:
                for number in range(5):
                    tasks.start_soon(lambda n=number: session.call("add", a=n, b=1))
            assert len(authority.asked("/token")) == 2
            authority.good.clear()
            authority.renewable.clear()
            with pytest.raises(ToolError, match=rf"it wants a login\. {HINT}"):
                await session.call("add", a=2, b=3)
            await logged_in(shut(url), folder)  # beside the run, in another process
            assert await session.call("add", a=2, b=3) == "5"


async def test_what_another_process_has_refreshed_is_used(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        async with opened(shut(url), oauth_dir=folder) as session:
            authority.good.clear()
            authority.renewable.clear()
            change(folder, tokens=authority.issue())
            assert await session.call("add", a=2, b=3) == "5"
    assert len(authority.asked("/token")) == 1


async def test_an_authorization_server_that_is_broken_costs_no_login(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        async with opened(shut(url), oauth_dir=folder) as session:
            authority.good.clear()
            authority.status = 503
            with pytest.raises(ToolError, match=r"its login failed: http://.* answered HTTP 503"):
                await session.call("add", a=2, b=3)
            authority.status = 0
            assert await session.call("add", a=2, b=3) == "5"


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"]])
async def test_a_client_with_a_secret_logs_in_by_itself(
    opened: Opened, authority: Authority, folder: Path, methods: list[str]
) -> None:
    authority.methods = methods
    authority.clients["me"] = {"client_secret": "s3cr3t-value"}
    oauth = {"client_id": "me", "client_secret": "s3cr3t-value", "grant": "client_credentials"}
    async with serving(authority.app(real_server())) as url:
        server = shut(url, **oauth, scope="read write")
        for _ in range(2):
            async with opened(server, oauth_dir=folder) as session:
                assert session.states["shut"].error == ""
                assert await session.call("add", a=2, b=3) == "5"
        assert len(authority.asked("/token")) == 1
        assert authority.asked("/token")[0]["scope"] == "read write"
        assert "s3cr3t" not in json.dumps(kept(folder))
        async with opened(server) as session:  # it needs no folder
            assert await session.call("add", a=2, b=3) == "5"


async def test_a_damaged_login_counts_as_none_and_is_named(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        (path,) = files(folder)
        for damage in ("{", "[]", '{"tokens": {}}', ""):
            path.write_text(damage, "utf-8")
            async with opened(shut(url), oauth_dir=folder) as session:
                state = session.states["shut"]
                assert state.error == f"it wants a login; its login, kept in {path}, is damaged."
        await logged_in(shut(url), folder)
        async with opened(shut(url), oauth_dir=folder) as session:
            assert session.states["shut"].status == "ready"


async def test_metadata_of_another_issuer_is_refused(authority: Authority, folder: Path) -> None:
    authority.issuer = "https://somebody.else.example"
    async with serving(authority.app(real_server())) as url:
        with pytest.raises(McpServerError, match="metadata issuer mismatch"):
            await logged_in(shut(url), folder)
    assert authority.said == []
    assert files(folder) == []


async def test_a_secret_is_not_sent_to_another_issuer(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    other = Authority()
    authority.clients["me"] = {"client_secret": "s3cr3t-value"}
    oauth = {"client_id": "me", "client_secret": "s3cr3t-value", "grant": "client_credentials"}
    async with (
        serving(other.app(real_server())) as elsewhere,
        serving(authority.app(real_server())) as url,
    ):
        here = url.removesuffix("/mcp")
        async with opened(shut(url, **oauth), oauth_dir=folder) as session:
            assert session.states["shut"].status == "ready"
        authority.good.clear()
        authority.renewable.clear()
        authority.named = elsewhere.removesuffix("/mcp")
        for server in (shut(url, **oauth), shut(url, **oauth, issuer=here)):
            async with opened(server, oauth_dir=folder) as session:
                state = session.states["shut"]
                assert f"its client belongs to {here}, and the server names" in state.error
    assert other.said == []


async def test_what_was_registered_with_one_issuer_is_not_told_to_another(
    authority: Authority, folder: Path
) -> None:
    other = Authority()
    async with (
        serving(other.app(real_server())) as elsewhere,
        serving(authority.app(real_server())) as url,
    ):
        await logged_in(shut(url), folder)
        mine = kept(folder)["client"]["client_id"]
        authority.named = elsewhere.removesuffix("/mcp")
        other.good = authority.good
        await logged_in(shut(url), folder)
        assert len(files(folder)) == 2
    assert len(other.asked("/register")) == 1
    assert mine not in str(other.said)


async def test_no_token_follows_a_redirect_to_another_origin(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    came: list[str | None] = []

    async def take(request: Request) -> Response:
        came.append(request.headers.get("authorization"))
        return Response(status_code=401)

    thief = Starlette(routes=[Route("/mcp", take, methods=["GET", "POST", "DELETE"])])
    async with (
        serving(thief) as elsewhere,
        serving(authority.app(real_server())) as url,
    ):
        await logged_in(shut(url), folder)

        async def lead_away(request: Request) -> Response:
            return RedirectResponse(elsewhere, status_code=307)

        away = Starlette(routes=[Route("/mcp", lead_away, methods=["GET", "POST", "DELETE"])])
        async with serving(authority.app(away)) as bad:
            (path,) = files(folder)
            content = {**kept(folder), "server": bad}
            path.rename(file_of(folder, bad, bad.removesuffix("/mcp")))
            change(folder, **content)
            async with opened(shut(bad), oauth_dir=folder) as session:
                assert session.states["shut"].status == "failed"
    assert came == []


def telling(authority: Authority) -> Starlette:
    server = MCPServer("telling")

    @server.tool()
    def add(fail: bool) -> str:
        """Tell each token that is good."""
        if fail:
            raise ToldError(" ".join(authority.good))
        return " ".join(authority.good)

    assert add
    return server.streamable_http_app()


async def test_no_token_is_told(
    opened: Opened, authority: Authority, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serving(authority.app(telling(authority))) as url:
            await logged_in(shut(url), folder)
            change(folder, expires_at=1.0)
            async with opened(shut(url), oauth_dir=folder) as session:
                tokens = [*kept(folder)["tokens"].values(), *authority.good, *authority.renewable]
                secrets = [one for one in tokens if str(one).startswith(("access", "refresh"))]
                assert not [one for one in secrets if one in caplog.text]
                caplog.set_level(logging.CRITICAL)  # the server, which is here too, tells its own
                assert await session.call("add", fail=False) == "*** ***"
                with pytest.raises(ToolError, match=r"\*\*\* \*\*\*"):
                    await session.call("add", fail=True)


async def test_what_an_authorization_server_repeats_of_a_secret_is_not_told(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    oauth = {"client_id": "me", "client_secret": "s3cr3t-value", "grant": "client_credentials"}
    authority.methods = ["client_secret_post"]
    async with serving(authority.app(real_server())) as url:
        server = shut(url, **oauth)
        async with opened(replace(server, secrets=("s3cr3t-value",)), oauth_dir=folder) as session:
            state = session.states["shut"]
            assert "Token exchange failed (400)" in state.error
            assert "'client_secret': '***'" in state.error
            assert "s3cr3t" not in state.error + state.hint + repr(server)


async def test_a_long_call_holds_up_no_other(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        async with (
            opened(shut(url), oauth_dir=folder) as session,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(session.call, "wait")
            await anyio.wait_all_tasks_blocked()
            assert await session.call("add", a=2, b=3) == "5"
            tasks.cancel_scope.cancel()


@pytest.mark.parametrize("transport", ["http", "sse", ""])
async def test_a_login_is_wanted_however_a_server_is_spoken_to(
    opened: Opened, authority: Authority, transport: Literal["http", "sse", ""]
) -> None:
    async with (
        serving(authority.app(real_server())) as url,
        opened(replace(shut(url), transport=transport)) as session,
    ):
        assert session.states["shut"].error == "it wants a login."


async def test_a_scope_that_is_missing_is_named(
    opened: Opened, authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        async with opened(shut(url), oauth_dir=folder) as session:
            authority.missing = "write"
            with pytest.raises(ToolError, match=r"with the scope 'write'\. Add it to 'scopes'"):
                await session.call("add", a=2, b=3)
            authority.missing = ""
            assert await session.call("add", a=2, b=3) == "5"
