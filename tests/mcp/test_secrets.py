"""What no server inherits, and what no message shows."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agentkit.mcp import ServerConfig, read_config
from agentkit.mcp._environment import (
    child_environment,
    handed_on,
    is_secret_name,
    named_in_args,
    secrets_in,
)

ENVIRON = {
    "PROXY_OF_MINE": "http://me:s3cr3t-value@proxy:80",
    "HTTPS_PROXY": "http://me:s3cr3t-value@proxy:80",
    "HTTP_PROXY": "me:s3cr3t-value@proxy:80",
    "ALL_PROXY": "http://open-proxy:80",
    "XDG_PAT": "s3cr3t-value",
}


def read(tmp_path: Path, **entry: Any) -> ServerConfig:
    path = tmp_path / "mcp_servers.json"
    path.write_text(json.dumps({"a": entry}), encoding="utf-8")
    (server,) = read_config(path, ENVIRON).servers
    assert server.problem == ""
    return server


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_PAT", "DB_PASS", "PGPASSWORD", "MYSQL_PWD", "SSH_PASSPHRASE", "KEY", "API_KEYS"),
        *("OPENAI_API_KEY", "apikey", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "TOKEN_2"),
        *("GITHUBTOKEN", "authToken", "SENTRY_DSN", "GOOGLE_CREDENTIALS", "NPM_CONFIG__AUTH"),
        *("npm_config_//registry.example.org/:_authToken", "SESSION_COOKIE", "PRIVATE_REPO"),
        *("Authorization", "Cookie", "X-Api-Key", "Proxy-Authorization", "--api-key", "--pat"),
    ],
)
def test_a_name_of_a_secret_is_known(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "KEYBOARD", "MONKEY", "COMPASS", "PATTERN", "AUTHOR", "TOKENIZERS_PARALLELISM"),
        *("PWD", "OLDPWD", "UV_KEYRING_PROVIDER", "PASSIVE", "--tokenizer", "--path", "Accept"),
    ],
)
def test_a_word_that_only_holds_such_a_name_is_none(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("name", "value", "handed_on"),
    [
        ("PIP_INDEX_URL", "https://me:pw@host/simple", "https://host/simple"),
        ("UV_INDEX_URL", "https://t0k3n@host:8080/simple", "https://host:8080/simple"),
        ("UV_DEFAULT_INDEX", "a=https://me:pw@host/simple", "a=https://host/simple"),
        ("UV_INDEX", "https://me:pw@a/s https://me:pw@b/s", "https://a/s https://b/s"),
        ("HTTPS_PROXY", "http://me:pw@proxy:80", "http://proxy:80"),
        ("https_proxy", "http://me@corp.example:p@w@proxy:80", "http://proxy:80"),
        ("HTTP_PROXY", "me:pw@proxy:80", "proxy:80"),
        ("PIP_PROXY", "me:p/w@proxy:80", "proxy:80"),
        ("ALL_PROXY", "socks5h://me:p/w#?@[::1]:80/", "socks5h://[::1]:80/"),
        ("ALL_PROXY", "http://[::1]:8080/a@b", "http://[::1]:8080/a@b"),
        ("NPM_CONFIG_REGISTRY", "https://host:80/@scope/a:b@1", "https://host:80/@scope/a:b@1"),
        ("LC_ALL", "de_DE@euro", "de_DE@euro"),
        ("NO_PROXY", "localhost,10.0.0.0/8", "localhost,10.0.0.0/8"),
        ("XDG_CACHE_HOME", "/home/me/.cache", "/home/me/.cache"),
    ],
)
def test_an_address_is_handed_on_without_user_and_password(
    name: str, value: str, handed_on: str
) -> None:
    assert child_environment({name: value}, {}) == {name: handed_on}


@pytest.mark.parametrize(
    "name",
    [
        *("XDG_PAT", "XDG_SESSION_ID", "LC_TOKEN", "PIP_PASSWORD", "UV_INDEX_MINE_PASSWORD"),
        *("NPM_CONFIG__AUTH", "npm_config_//host/:_authToken", "UV_PAT", "PIP_KEY"),
    ],
)
def test_a_variable_with_a_harmless_beginning_may_be_a_secret(name: str) -> None:
    assert child_environment({name: "x"}, {}) == {}


def test_what_the_entry_gives_is_handed_on_as_it_is() -> None:
    given = {"HTTPS_PROXY": "http://me:pw@proxy:80", "GITHUB_PAT": "x"}
    assert child_environment({"HTTPS_PROXY": "http://other"}, given) == given


@pytest.mark.parametrize(
    "args",
    [
        ["--token", "s3cr3t-value"],
        ["--api-key=s3cr3t-value"],
        ["--password", "s3cr3t-value", "--verbose"],
        ["run", "-e", "GITHUB_PAT=s3cr3t-value", "image"],
        ["--env=DB_PASS=s3cr3t-value"],
        ["https://host/sse", "--header", "Authorization: Bearer s3cr3t-value"],
        ["--header=Authorization:Bearer s3cr3t-value"],
        ["postgresql://me:s3cr3t-value@host/db"],
        ["--url", "https://host/mcp?a=1&api_key=s3cr3t-value"],
        ["https://s3cr3t-value@host/mcp"],
        ["--proxy", "${PROXY_OF_MINE}"],
        ["--proxy", "${HTTPS_PROXY}"],
        ["--proxy", "${HTTP_PROXY}"],
        ["${XDG_PAT}"],
    ],
)
def test_a_secret_among_the_arguments_is_never_shown(tmp_path: Path, args: list[str]) -> None:
    server = read(tmp_path, command="server", args=args)
    assert "s3cr3t-value" in " ".join(server.args)
    assert "s3cr3t" not in server.target + server.identity + repr(server)
    assert server.redact("refused: s3cr3t-value!") == "refused: ***!"
    assert server.target.startswith("server ")


@pytest.mark.parametrize(
    "token",
    [
        "ghp_0123456789abcdefghij",
        "github_pat_0123456789abcdefghij",
        "sk-proj-0123456789abcdefghij",
        "glpat-0123456789abcdefghij",
    ],
)
def test_a_token_of_a_known_shape_is_hidden_wherever_it_stands(tmp_path: Path, token: str) -> None:
    server = read(tmp_path, command="server", args=["serve", token], env={"WHO": f"me {token}"})
    assert server.target == "server serve ***"


@pytest.mark.parametrize(
    "args",
    [
        ["--verbose", "--token-less", "-y", "@scope/server-keyboard@1.2.3"],
        ["--no-auth", "server.js"],
        ["--directory", "/srv/docs", "--port=8080", "http://127.0.0.1:8080/a@b"],
        ["--tokenizer", "qwen/qwen3", "sk-learn-like-name-of-a-server"],
    ],
)
def test_arguments_without_a_secret_stay_readable(tmp_path: Path, args: list[str]) -> None:
    assert read(tmp_path, command="server", args=args).target == " ".join(("server", *args))


@pytest.mark.parametrize(
    ("env", "said", "shown"),
    [
        ({"GITHUB_PAT": "s3cr3t-value"}, "bad s3cr3t-value", "bad ***"),
        ({"DB_PASS": "s3cr3t-value"}, "bad s3cr3t-value", "bad ***"),
        (
            {"DB_URL": "postgres://me:s3cr3t-value@host/db"},
            "cannot reach postgres://me:s3cr3t-value@host/db",
            "cannot reach postgres://me:***@host/db",
        ),
        ({"DB_URL": "postgres://me:p%40ssw0rd@host/db"}, "no p@ssw0rd", "no ***"),
        ({"HOOK": "https://host/x?token=s3cr3t-value"}, "at token=s3cr3t-value", "at token=***"),
        ({"HTTPS_PROXY": "${HTTPS_PROXY}"}, "407 for me:s3cr3t-value", "407 for me:***"),
        ({"HTTP_PROXY": "me:s3cr3t-value@proxy"}, "407 for me:s3cr3t-value", "407 for me:***"),
        ({"LOG_LEVEL": "warning", "ALL_PROXY": "${ALL_PROXY}"}, "warning: x", "warning: x"),
        ({"ALL_PROXY": "${ALL_PROXY}"}, "no http://open-proxy:80", "no http://open-proxy:80"),
        ({"DB_URL": "postgres://postgres@host/db"}, "postgres is down", "postgres is down"),
    ],
)
def test_a_secret_of_the_environment_is_never_shown(
    tmp_path: Path, env: dict[str, str], said: str, shown: str
) -> None:
    assert read(tmp_path, command="server", env=env).redact(said) == shown


@pytest.mark.parametrize(
    "url",
    [
        "https://me:s3cr3t-value@host/mcp",
        "https://s3cr3t-value@host/mcp",
        "https://host/mcp?key=s3cr3t-value",
        "https://host/mcp?a=1&access_token=s3cr3t-value#x",
        "https://host/mcp?apiKey=s3cr3t%2Dvalue",
    ],
)
def test_a_secret_in_an_address_is_never_shown(tmp_path: Path, url: str) -> None:
    server = read(tmp_path, url=url)
    assert server.target == "https://host/mcp"
    assert server.redact(f"cannot open {url}: s3cr3t-value").count("***") == 2


def test_a_secret_that_holds_another_is_hidden_whole(tmp_path: Path) -> None:
    args = ["--token", "abcdef", "--password", "abcdefghij"]
    server = read(tmp_path, command="server", args=args, env={"A_KEY": "12345"})
    assert server.secrets == ("abcdefghij", "abcdef")
    assert server.target == "server --token *** --password ***"
    assert server.redact("12345 apples") == "12345 apples"


@pytest.mark.parametrize(
    "unit", ["a", "://a:", "a=1&", "?a", "sk-", "a:", "user@", "1:", "--key=", "_pwd", "a_pwd"]
)
def test_a_long_text_is_looked_through_quickly(unit: str) -> None:
    text = unit * (100_000 // len(unit))
    began = time.process_time()
    secrets_in(text)
    is_secret_name(text)
    handed_on("HTTPS_PROXY", text)
    list(named_in_args([text, f"--{text}"]))
    assert time.process_time() - began < 2
