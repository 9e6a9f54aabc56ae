"""`agentkit mcp login` and `logout`: a person logs in, and the login is kept or forgotten."""

import json
import signal
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal

from tests.mcp.authority import Authority, follow
from tests.mcp.test_http import real_server, serving

Cli = Callable[..., Any]
HINT = "agentkit mcp login shut"


@pytest.fixture(name="authority")
def a_server_that_wants_a_login(portal: BlockingPortal, empty_folder: Path) -> Iterator[Authority]:
    authority = Authority()
    with portal.wrap_async_context_manager(serving(authority.app(real_server()))) as url:
        entries = {
            "shut": {"url": url, "auth": "oauth"},
            "open": {"url": url},
            "machine": {
                "url": url,
                "oauth": {"grant": "client_credentials", "clientId": "a", "clientSecret": "b"},
            },
            "half": {"url": url, "oauth": {"grant": "client_credentials"}},
        }
        (empty_folder / "mcp_servers.json").write_text(json.dumps({"mcpServers": entries}))
        yield authority


@pytest.fixture(name="opened")
def what_the_browser_opens(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a person agree to everything, in a browser that takes note of it."""
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return follow(url).is_success

    monkeypatch.setattr(webbrowser, "open", browse)
    return opened


def test_a_person_logs_in_once_and_out_again(
    cli: Cli, authority: Authority, opened: list[str]
) -> None:
    before = cli("mcp", "test", "shut")
    assert before.code == 5
    assert "it wants a login" in before.stdout + before.stderr
    assert HINT in before.stdout + before.stderr
    assert opened == []

    outcome = cli("mcp", "login", "shut")
    assert outcome.code == 0, outcome.stderr
    assert outcome.stdout.splitlines() == [*opened, "✓ shut: 2 tools: add, wait"]
    assert cli("mcp", "test", "shut", "--call", "add", "--arguments", '{"a": 1, "b": 2}').code == 0
    assert len(opened) == 1

    assert cli("mcp", "logout", "shut").stdout == "✓ shut: its login is forgotten\n"
    assert cli("mcp", "logout", "shut").stdout == "• shut: there was no login\n"
    assert cli("mcp", "test", "shut").code == 5
    assert len(authority.asked("/token")) == 1


def test_the_address_is_only_printed_if_no_browser_is_wanted(
    start: Callable[..., Any], authority: Authority, opened: list[str]
) -> None:
    process = start("mcp", "login", "shut", "--no-browser")
    url = process.stdout.readline().strip()
    assert url, process.stderr.read()
    assert follow(url).is_success
    assert process.wait() == 0
    assert process.stdout.read() == "✓ shut: 2 tools: add, wait\n"
    assert opened == []
    assert len(authority.asked("/token")) == 1


def test_ctrl_c_leaves_nothing_behind(
    start: Callable[..., Any], authority: Authority, home: Path
) -> None:
    process = start("mcp", "login", "shut", "--no-browser")
    assert process.stdout.readline().startswith("http")
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    said = process.stderr.read()
    assert "Interrupted" in said
    assert "Traceback" not in said
    assert not (home / "state" / "oauth").exists()
    assert authority.asked("/token") == []


@pytest.mark.usefixtures("authority", "opened")
@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("open", 2, "says nothing of a login"),
        ("machine", 2, "is logged in to without a person"),
        ("half", 3, "oauth.clientId is missing"),
        ("none", 2, "No MCP server named 'none'"),
    ],
)
def test_where_nobody_can_log_in_it_is_said(cli: Cli, name: str, code: int, said: str) -> None:
    outcome = cli("mcp", "login", name)
    assert outcome.code == code
    assert said in outcome.stderr


def test_a_login_that_is_refused_is_said(cli: Cli, authority: Authority, opened: list[str]) -> None:
    authority.status = 400
    outcome = cli("mcp", "login", "shut")
    assert outcome.code == 5
    assert "its login failed: Token exchange failed (400)" in outcome.stderr
    assert len(opened) == 1
