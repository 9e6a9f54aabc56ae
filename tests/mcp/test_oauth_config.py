"""`oauth` in an entry of `mcp_servers.json`."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentkit.mcp import OAuthConfig, ServerConfig, read_config


def read(tmp_path: Path, entry: dict[str, Any]) -> tuple[ServerConfig, tuple[str, ...]]:
    path = tmp_path / "mcp_servers.json"
    path.write_text(json.dumps({"a": entry}), encoding="utf-8")
    config = read_config(path, {"ID": "me-myself", "KEY": "s3cr3t-value"})
    return config.servers[0], config.warnings


def test_an_entry_says_how_to_log_in(tmp_path: Path) -> None:
    server, _ = read(tmp_path, {"url": "http://h/mcp", "auth": "oauth"})
    assert server.oauth == OAuthConfig()
    oauth = {
        "clientId": "${ID}",
        "clientSecret": "${KEY}",
        "scopes": ["a", "b"],
        "callbackPort": 8080,
        "grant": "client_credentials",
        "other": 1,
    }
    server, warnings = read(tmp_path, {"url": "http://h/mcp", "oauth": oauth})
    assert server.oauth == OAuthConfig(
        client_id="me-myself",
        client_secret="s3cr3t-value",
        scope="a b",
        callback_port=8080,
        grant="client_credentials",
    )
    assert "s3cr3t-value" in server.secrets
    assert "s3cr3t" not in repr(server)
    assert warnings == ("server 'a': 'oauth.other' has no effect.",)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"command": "x", "auth": "oauth"}, "'oauth' is for servers with a 'url'"),
        ({"url": "http://h/mcp", "auth": "basic"}, "'auth' is 'basic'"),
        ({"url": "http://h/mcp", "oauth": []}, "'oauth' must be an object"),
        ({"url": "http://h/mcp", "oauth": {"clientId": 1}}, "oauth.clientId must be a text"),
        ({"url": "http://h/mcp", "oauth": {"scopes": "a"}}, "oauth.scopes must be a list"),
        ({"url": "http://h/mcp", "oauth": {"scopes": [1]}}, "oauth.scopes must be a list"),
        ({"url": "http://h/mcp", "oauth": {"callbackPort": 0}}, "oauth.callbackPort"),
        ({"url": "http://h/mcp", "oauth": {"grant": "x"}}, "oauth.grant is 'x'"),
        ({"url": "http://h/mcp", "oauth": {"issuer": "h"}}, "oauth.issuer is not an http"),
        ({"url": "http://h/mcp", "oauth": {"clientId": "${NO}"}}, "oauth.clientId: the variable"),
        (
            {"url": "http://h/mcp", "oauth": {"grant": "client_credentials"}},
            "oauth.clientId is missing",
        ),
        (
            {"url": "http://h/mcp", "oauth": {"grant": "client_credentials", "clientId": "x"}},
            "oauth.clientSecret is missing",
        ),
    ],
)
def test_an_entry_that_makes_no_sense_disables_its_server_alone(
    tmp_path: Path, entry: dict[str, Any], problem: str
) -> None:
    server, _ = read(tmp_path, entry)
    assert problem in server.problem
    assert server.hint
