"""A person logs in to a server: where it leads, who comes back, and what is kept of it."""

from pathlib import Path

import httpx2
import pytest

from agentkit.errors import McpServerError
from agentkit.mcp import log_in
from agentkit.policies import Timeouts
from tests.mcp.authority import Authority, files, follow, logged_in, shut
from tests.mcp.test_http import real_server, serving


@pytest.fixture(name="folder")
def where_logins_are_kept(tmp_path: Path) -> Path:
    return tmp_path / "state" / "oauth"


@pytest.fixture(name="authority")
def an_authority() -> Authority:
    return Authority()


async def test_a_client_of_ones_own_logs_a_person_in(
    authority: Authority, folder: Path, unused_tcp_port: int
) -> None:
    comes_back = f"http://127.0.0.1:{unused_tcp_port}/callback"
    authority.clients["me"] = {"redirect_uris": [comes_back]}
    async with serving(authority.app(real_server())) as url:
        server = shut(url, client_id="me", callback_port=unused_tcp_port, scope="read write")
        (shown,) = await logged_in(server, folder)
    assert httpx2.URL(shown).params["scope"] == "read write"
    assert authority.asked("/register") == []


async def test_a_second_login_uses_the_same_registration(
    authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        await logged_in(shut(url), folder)
        await logged_in(shut(url), folder)
    assert len(authority.asked("/register")) == 1


@pytest.mark.parametrize(
    "place", ["http://169.254.169.254", "http://example.org", "https://127.0.0.1"]
)
async def test_a_login_leads_neither_to_our_network_nor_past_encryption(
    authority: Authority, folder: Path, place: str
) -> None:
    authority.named = place
    async with serving(authority.app(real_server())) as url:
        with pytest.raises(McpServerError):
            await logged_in(shut(url), folder)
    assert authority.said == []


async def test_a_person_who_is_refused_is_told(authority: Authority, folder: Path) -> None:
    def deny(url: str) -> None:
        state = httpx2.URL(url).params["state"]
        back = httpx2.URL(url).params["redirect_uri"]
        authority.answer = {"error": "access_denied", "state": state}
        assert follow(f"{back}?code=x&state=guessed").status_code == 404
        assert follow(f"{back}x?code=x&state={state}").status_code == 404
        assert "not logged in" in follow(url).text

    async with serving(authority.app(real_server())) as url:
        with pytest.raises(McpServerError, match="the login was refused: access_denied"):
            await logged_in(shut(url), folder, deny)
    assert files(folder) == []


async def test_a_person_who_does_not_come_back_is_not_waited_for(
    authority: Authority, folder: Path
) -> None:
    async with serving(authority.app(real_server())) as url:
        with pytest.raises(McpServerError, match="nobody has logged in within") as caught:
            await logged_in(shut(url), folder, lambda _: None, seconds=0.05)
    assert "browser" in caught.value.hint
    assert files(folder) == []


async def test_an_answer_of_another_issuer_is_refused(authority: Authority, folder: Path) -> None:
    def mix_up(url: str) -> None:
        state = httpx2.URL(url).params["state"]
        authority.answer = {"code": "x", "state": state, "iss": "https://somebody.else.example"}
        follow(url)

    async with serving(authority.app(real_server())) as url:
        with pytest.raises(McpServerError, match="iss mismatch"):
            await logged_in(shut(url), folder, mix_up)
    assert authority.asked("/token") == []


async def test_a_port_that_is_taken_is_named(authority: Authority, folder: Path) -> None:
    async with serving(authority.app(real_server())) as url:
        port = httpx2.URL(url).port
        with pytest.raises(McpServerError, match=f"port {port} of this machine is not free"):
            await logged_in(shut(url, callback_port=port), folder)


async def test_a_server_that_asks_for_no_login_is_said_to(folder: Path) -> None:
    async with serving(real_server()) as url:
        state, has_come = await log_in(
            shut(url), oauth_dir=folder, timeouts=Timeouts(), show=lambda _: None
        )
    assert (state.status, has_come) == ("ready", False)
