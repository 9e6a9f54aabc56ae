"""Files of five other hosts: what is taken over works here, and the rest is said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from anyio import to_thread

from agentkit.errors import ConfigurationError
from agentkit.mcp import (
    KINDS,
    Foreign,
    Kind,
    McpConfig,
    ServerConfig,
    foreign_servers,
    known_files,
    open_servers,
    read_config,
    write_raw,
)
from agentkit.policies import Timeouts

Hostile = Callable[..., ServerConfig]


class Desk:
    """A person's folders, and what is read out of a file there."""

    def __init__(self, tmp_path: Path) -> None:
        self.home, self.work = tmp_path / "home", tmp_path / "work"
        self.ours = tmp_path / "mcp_servers.json"
        self.home.mkdir()
        self.work.mkdir()

    def put(self, path: Path, content: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    def read(self, path: Path, content: object, kind: Kind | None = None) -> Foreign:
        return foreign_servers(self.put(path, content), kind, home=self.home, cwd=self.work)

    def settle(self, foreign: Foreign, **environ: str) -> McpConfig:
        """Write it as our own file, and read that."""
        write_raw(self.ours, {"mcpServers": dict(foreign.servers)})
        config = read_config(self.ours, environ)
        assert (config.problems, config.warnings) == ((), ())
        return config


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def program(hostile: Hostile) -> dict[str, Any]:
    """Return what starts a server that works, as each host writes it."""
    good = hostile()
    return {"command": good.command, "args": list(good.args)}


async def echo(config: McpConfig, tool: str = "echo") -> str:
    async with open_servers(config, timeouts=Timeouts()) as opened:
        assert [state.error for state in opened.states if state.status == "failed"] == []
        (found,) = (one for one in opened.tools if one.spec.name == tool)
        return await found.call(found.validate({"text": "taken over"}))


def only_stdio(config: McpConfig) -> McpConfig:
    return McpConfig(servers=tuple(one for one in config.servers if one.command))


async def test_servers_of_claude_work_here(desk: Desk, program: dict[str, Any]) -> None:
    def take_over() -> McpConfig:
        token = {"Authorization": "Bearer ${TOKEN}", "X-Zone": "${ZONE:-eu}"}
        servers = {
            "local": {"type": "stdio", **program, "env": {"PORT": 8080, "DEBUG": True}},
            "wiki": {"type": "http", "url": "https://wiki.example.org/mcp", "headers": token},
            "old": {"type": "sse", "url": "https://old.example.org/events"},
        }
        foreign = desk.read(desk.work / ".mcp.json", {"mcpServers": servers})
        assert (foreign.kind, foreign.notes) == ("claude", ())
        return desk.settle(foreign, TOKEN="s3cr3t-value")

    config = await to_thread.run_sync(take_over)
    local, wiki, old = config.servers
    assert local.env == {"PORT": "8080", "DEBUG": "true"}
    assert wiki.headers == {"Authorization": "Bearer s3cr3t-value", "X-Zone": "eu"}
    assert (wiki.transport, old.transport) == ("http", "sse")
    assert await echo(only_stdio(config)) == "taken over"


async def test_servers_of_vscode_work_here(desk: Desk, program: dict[str, Any]) -> None:
    def take_over() -> tuple[Foreign, McpConfig]:
        text = """{
            // asked for once, and kept by the editor
            "inputs": [
                {"type": "promptString", "id": "github-token", "password": true,
                 "description": "GitHub Token (https://github.com/settings)",},
                {"type": "pickString", "id": "path", "options": ["a", "b"], "default": "a"},
            ],
            "servers": {
                "local": {"type": "stdio", "command": COMMAND, "args": ARGS, /* in a workspace */
                          "env": {"FOLDER": "${workspaceFolder}/src", "HERE": "${userHome}",
                                  "GITHUB_TOKEN": "${input:github-token}", "KIND": "${input:path}",
                                  "GONE": null, "LANG_OF_MINE": "${env:MINE}"},
                          "envFile": "${workspaceFolder}/.env", "dev": {"watch": "src/**"}},
                "wiki": {"type": "http", "url": "https://wiki.example.org/mcp",
                         "headers": {"Authorization": "Bearer ${input:github-token}"},},
            },
        }"""
        for name, value in (("COMMAND", program["command"]), ("ARGS", program["args"])):
            text = text.replace(name, json.dumps(value))
        desk.put(desk.work / ".env", "PASSWORD='from the file'\n")
        foreign = desk.read(desk.work / ".vscode" / "mcp.json", text)
        return foreign, desk.settle(foreign, GITHUB_TOKEN="s3cr3t-value", MINE="de")

    foreign, config = await to_thread.run_sync(take_over)
    local, wiki = config.servers
    assert foreign.kind == "vscode"
    assert local.env == {
        "FOLDER": f"{desk.work}/src",
        "HERE": str(desk.home),
        "GITHUB_TOKEN": "s3cr3t-value",
        "KIND": "a",
        "LANG_OF_MINE": "de",
        "PASSWORD": "from the file",
    }
    assert wiki.transport == ""  # as there: SSE, where a server refuses streamable HTTP
    assert wiki.headers == {"Authorization": "Bearer s3cr3t-value"}
    assert foreign.notes == (
        "server 'local': 'dev' left out: agentkit has nothing like it.",
        "Set the variable GITHUB_TOKEN, a password: GitHub Token (https://github.com/settings).",
        (
            "Set the variable INPUT_PATH, what is asked for as 'path'; one of a, b."
            " Without it, the default is taken."
        ),
    )
    assert "from the file" not in json.dumps(foreign.servers)
    assert await echo(only_stdio(config)) == "taken over"


async def test_servers_of_cursor_work_here(desk: Desk, program: dict[str, Any]) -> None:
    def take_over() -> tuple[Foreign, McpConfig]:
        servers = {
            "local": {**program, "env": {"ROOT": "${workspaceFolder}${/}a"}, "envFile": ".env"},
            "wiki": {
                "url": "${env:WIKI}/mcp",
                "headers": {"Authorization": "Bearer abc-123-xyz", "X-API-Key": "${env:KEY}"},
                "auth": {"CLIENT_ID": "me"},
            },
        }
        desk.put(desk.work / ".env", "# of the server\nexport A=1 # one\n")
        foreign = desk.read(desk.work / ".cursor" / "mcp.json", {"mcpServers": servers})
        return foreign, desk.settle(foreign, WIKI="https://wiki.example.org", KEY="k")

    foreign, config = await to_thread.run_sync(take_over)
    local, wiki = config.servers
    assert foreign.kind == "cursor"
    assert local.env == {"A": "1", "ROOT": f"{desk.work}/a"}
    assert wiki.url == "https://wiki.example.org/mcp"
    assert foreign.notes == (
        'server \'wiki\': its login left out: write "auth": "oauth", then agentkit mcp login wiki.',
        (
            "server 'wiki': headers.Authorization holds a secret in clear; "
            "better write Bearer ${WIKI_TOKEN}."
        ),
    )
    assert await echo(only_stdio(config)) == "taken over"


async def test_servers_of_gemini_work_here(desk: Desk, program: dict[str, Any]) -> None:
    def take_over() -> tuple[Foreign, McpConfig]:
        settings = {
            "theme": "Default",
            "mcp": {"excluded": ["off"]},
            "mcpServers": {
                "local": {
                    **program,
                    "env": {"API_KEY": "$MY_KEY", "OTHER": "${GONE}"},
                    "timeout": 600_000,
                    "trust": True,
                    "includeTools": ["echo", "crash"],
                    "excludeTools": ["crash"],
                },
                "http": {"httpUrl": "https://h.example.org/mcp", "timeout": 1500, "trust": True},
                "both": {"url": "https://h.example.org/x", "trust": True},
                "off": {"url": "https://$HOST/events", "type": "sse", "timeout": 30},
            },
        }
        foreign = desk.read(desk.home / ".gemini" / "settings.json", settings)
        return foreign, desk.settle(foreign, MY_KEY="s3cr3t-value", HOST="h.example.org")

    foreign, config = await to_thread.run_sync(take_over)
    local, http, both, off = config.servers
    assert foreign.kind == "gemini"
    assert local.env == {"API_KEY": "s3cr3t-value", "OTHER": ""}
    assert (local.call_seconds, http.call_seconds) == (600, 1.5)
    assert foreign.servers["local"]["callTimeout"] == "600s"
    assert (local.approval, local.wants("echo"), local.wants("crash")) == ("never", True, False)
    assert (http.transport, both.transport, off.transport) == ("http", "", "sse")
    assert (local.disabled, off.disabled, off.url) == (False, True, "https://h.example.org/events")
    assert foreign.notes == (
        "server 'off': 'timeout' left out: 30 ms are too few for a call.",
        (
            "server 'off': Gemini CLI asks before each call. "
            'Write "approval": "always" to be asked here.'
        ),
    )
    assert await echo(only_stdio(config)) == "taken over"


async def test_servers_of_qwen_agent_work_here(desk: Desk, program: dict[str, Any]) -> None:
    def take_over() -> tuple[Foreign, McpConfig]:
        servers = {
            "local": {**program, "env": {"ZONE": "eu"}},
            "old": {"url": "http://127.0.0.1:8000/events", "sse_read_timeout": 300},
            "new": {"type": "streamable-http", "url": "http://127.0.0.1:8000/mcp"},
        }
        bot = {"llm": {"model": "qwen3"}, "function_list": [{"mcpServers": servers}, "web_search"]}
        foreign = desk.read(desk.work / "bot.json", bot)
        return foreign, desk.settle(foreign)

    foreign, config = await to_thread.run_sync(take_over)
    _, old, new = config.servers
    assert (foreign.kind, foreign.notes) == ("qwen-agent", ())
    assert (old.transport, old.call_seconds, new.transport) == ("sse", 300, "http")
    assert await echo(only_stdio(config)) == "taken over"


def test_every_kind_is_known() -> None:
    assert get_args(Kind) == KINDS


NONE: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("file", "content", "kind"),
    [
        (".vscode/mcp.json", {"servers": NONE}, "vscode"),
        (".vscode/settings.json", {"editor.tabSize": 4}, "vscode"),
        ("User/settings.json", {"mcp": {"servers": NONE}}, "vscode"),
        ("User/settings.json", {"mcp.servers": NONE}, "vscode"),
        (".cursor/mcp.json", {"mcpServers": NONE}, "cursor"),
        (".gemini/settings.json", NONE, "gemini"),
        (".qwen/settings.json", {"mcpServers": NONE}, "gemini"),
        ("mine.json", {"mcpServers": {"a": {"httpUrl": "http://h/mcp"}}}, "gemini"),
        ("claude_desktop_config.json", {"mcpServers": NONE}, "claude"),
        (".mcp.json", {"mcpServers": {"a": {"command": "x"}}}, "claude"),
        ("mine.json", [{"mcpServers": NONE}], "qwen-agent"),
        ("mine.json", {"tools": [{"mcpServers": NONE}]}, "qwen-agent"),
        ("mine.json", {"mcpServers": {"a": {"sse_read_timeout": 1}}}, "qwen-agent"),
    ],
)
def test_whose_file_it_is_is_seen_from_its_path_or_its_content(
    desk: Desk, file: str, content: object, kind: Kind
) -> None:
    assert desk.read(desk.work / file, content).kind == kind


def test_what_is_said_of_a_file_goes_before_what_is_seen(desk: Desk) -> None:
    servers = {"mcpServers": {"a": {"url": "http://h/x"}}}
    foreign = desk.read(desk.work / ".cursor" / "mcp.json", servers, "qwen-agent")
    assert (foreign.kind, foreign.servers["a"]["type"]) == ("qwen-agent", "sse")


def test_claude_has_servers_for_the_person_and_for_the_folder(desk: Desk) -> None:
    there = {"mcpServers": {"other": {"command": "x"}}}
    here = {"mcpServers": {"a": {"command": "here"}, "b": {"command": "b"}}}
    settings = {
        "mcpServers": {"a": {"command": "everywhere"}},
        "projects": {str(desk.work): here, "/somewhere/else": there},
    }
    foreign = desk.read(desk.home / ".claude.json", settings)
    assert {name: one["command"] for name, one in foreign.servers.items()} == {
        "a": "here",
        "b": "b",
    }


def test_settings_of_vscode_hold_servers_and_inputs_deeper(desk: Desk) -> None:
    servers = {"a": {"command": "x", "args": ["${input:apiKey}"]}}
    inputs = [{"id": "apiKey", "type": "promptString", "default": "none"}]
    settings = {"editor.tabSize": 4, "mcp": {"servers": servers, "inputs": inputs}}
    foreign = desk.read(desk.work / ".vscode" / "settings.json", settings)
    assert foreign.servers["a"]["args"] == ["${API_KEY:-none}"]
    assert desk.read(desk.work / "s.json", {"mcp.servers": servers}).servers.keys() == {"a"}


def test_what_only_an_editor_knows_is_said(desk: Desk) -> None:
    args = ["${config:a.b}", "${file}", "${workspaceFolder}", "${HOME}"]
    path = desk.home / ".cursor" / "mcp.json"
    foreign = desk.read(path, {"mcpServers": {"a": {"command": "x", "args": args}}})
    assert foreign.servers["a"]["args"] == [*args[:2], str(desk.work), "${HOME}"]
    assert foreign.notes == (
        "server 'a': args holds ${config:a.b}: write what it stands for.",
        "server 'a': args holds ${file}: write what it stands for.",
        f"server 'a': args: ${{workspaceFolder}} is taken to be {desk.work}.",
    )


def test_two_inputs_never_share_a_variable(desk: Desk) -> None:
    servers = {"a": {"command": "x", "args": ["${input:api-key}", "${input:apiKey}"]}}
    foreign = desk.read(desk.work / "mcp.json", {"servers": servers})
    assert foreign.servers["a"]["args"] == ["${API_KEY}", "${API_KEY_2}"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"env": {"TOKEN": "abc"}}, "env.TOKEN holds a secret in clear; better write ${TOKEN}."),
        ({"args": ["--api-key", "abc"]}, "args, at --api-key, holds"),
        ({"args": ["--access-token=abc"]}, "better write ${ACCESS_TOKEN}"),
        ({"url": "http://h/mcp?a=1&key=abc"}, "better write key=${A_KEY}"),
        ({"url": "http://me:abc@h/mcp"}, "better write ${A_PASSWORD}"),
        ({"args": ["-e", "GITHUB_PAT=abc"]}, "args, at GITHUB_PAT, holds"),
        ({"args": ["-H", "Authorization: Bearer abc"]}, "better write Bearer ${AUTHORIZATION}"),
        ({"args": ["postgres://me:abc@h/db"]}, "args holds a secret in clear"),
        ({"env": {"DB_URL": "postgres://me:abc@h/db"}}, "env.DB_URL holds a secret in clear"),
        ({"headers": {"X-API-Key": "abc"}}, "better write ${A_API_KEY}"),
    ],
)
def test_a_secret_in_clear_is_kept_and_said(
    desk: Desk, entry: dict[str, Any], expected: str
) -> None:
    foreign = desk.read(desk.work / "a.json", {"mcpServers": {"a": entry}})
    assert "abc" in json.dumps(foreign.servers)
    (said,) = foreign.notes
    assert expected in said
    assert "abc" not in said


@pytest.mark.parametrize(
    "entry",
    [
        {"env": {"TOKEN": "${TOKEN}", "MAX_TOKENS": "4096", "PATH": "/bin"}},
        {"args": ["--token", "--verbose", "-e", "API_TOKEN", "plain", "--api-key"]},
        {"args": ["-e", "TOKEN=${TOKEN}", "postgres://me:${PW}@h/db", "--no-auth", "x"]},
        {"args": list[str](), "env": dict[str, str](), "headers": dict[str, str]()},
        {"url": "http://h/mcp?key=${KEY}", "headers": {"Authorization": "Bearer ${KEY}"}},
    ],
)
def test_what_is_no_secret_in_clear_is_not_said(desk: Desk, entry: dict[str, Any]) -> None:
    assert desk.read(desk.work / "a.json", {"mcpServers": {"a": entry}}).notes == ()


def test_a_server_that_needs_its_folder_is_started_there(desk: Desk) -> None:
    desk.put(desk.work / "server.py", "")
    servers = {
        "script": {"command": "python", "args": ["server.py"]},
        "program": {"command": "./run.sh"},
        "sub": {"command": "node", "args": ["index.js"], "cwd": "sub"},
        "anywhere": {"command": "npx", "args": ["-y", "a-server", "x" * 5000, "\0"]},
    }
    foreign = desk.read(desk.work / ".mcp.json", {"mcpServers": servers})
    folders = {name: one.get("cwd") for name, one in foreign.servers.items()}
    assert folders == {
        "script": str(desk.work),
        "program": str(desk.work),
        "sub": str(desk.work / "sub"),
        "anywhere": None,
    }


def test_only_what_gemini_allows_is_enabled(desk: Desk) -> None:
    servers = {name: {"command": name, "trust": True} for name in ("a", "b")}
    settings = {"mcpServers": servers, "allowMCPServers": ["b"]}
    foreign = desk.read(desk.work / ".gemini" / "settings.json", settings)
    assert [one.get("disabled") for one in foreign.servers.values()] == [True, None]


def test_what_qwen_agent_passes_on_as_it_is_would_be_a_variable_here(desk: Desk) -> None:
    servers = {"a": {"command": "x", "args": ["${A}"]}}
    foreign = desk.read(desk.work / "a.json", [{"mcpServers": servers}])
    assert foreign.notes == ("server 'a': args holds ${A}, which is a variable from now on.",)


def test_what_is_no_server_is_left_out(desk: Desk) -> None:
    servers = {"a": "x", " ": {"command": "x"}, "b": {"command": "x"}}
    foreign = desk.read(desk.work / "a.json", {"mcpServers": servers})
    assert list(foreign.servers) == ["b"]
    assert len(foreign.notes) == 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"command": ["x"], "args": "y", "env": ["z"], "headers": 1, "cwd": 2},
        {"command": None, "args": [None, 1], "env": {"A": ["b"]}, "timeout": "soon"},
        {"url": "http://[", "type": 3, "timeout": True, "sse_read_timeout": "x"},
        {"httpUrl": 1, "url": 2, "envFile": [], "includeTools": "x"},
    ],
)
def test_a_server_that_is_wrong_is_taken_over_wrong_and_named_when_it_is_read(
    desk: Desk, kind: Kind, entry: dict[str, Any]
) -> None:
    root = {"servers" if kind == "vscode" else "mcpServers": {"a": entry, "b": {"command": "x"}}}
    foreign = desk.read(desk.work / "a.json", root, kind)
    write_raw(desk.ours, {"mcpServers": dict(foreign.servers)})
    wrong, right = read_config(desk.ours, {}).servers
    assert wrong.problem
    assert right.problem == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"servers": {\n  // one\n  "a" 1}}', r"mcp\.json:3:7: not valid JSON"),
        ('{"servers": []}', "'servers' must map"),
        ("[]", "must hold a JSON object, not list"),
        ('{"servers": {"a": {}, "a": {}}}', "'a' appears twice"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_place_and_fix(
    desk: Desk, content: str, expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        desk.read(desk.work / ".vscode" / "mcp.json", content)
    assert caught.value.hint


def test_what_looks_like_a_comment_in_a_text_is_none(desk: Desk) -> None:
    text = '{"servers": {"a": {"url": "http://h/*/mcp",}, "b": {"command": "x,]", "args": [","]}}}'
    foreign = desk.read(desk.work / "a.json", text)
    assert foreign.servers["a"]["url"] == "http://h/*/mcp"
    assert foreign.servers["b"] == {"command": "x,]", "args": [","]}


def test_each_host_keeps_its_files_where_it_is_known_to(desk: Desk) -> None:
    def files(kind: Kind) -> list[str]:
        found = known_files(kind, desk.home, desk.work)
        return [str(path.relative_to(desk.work.parent)) for path in found]

    assert files("cursor") == ["work/.cursor/mcp.json", "home/.cursor/mcp.json"]
    assert files("gemini") == ["work/.gemini/settings.json", "home/.gemini/settings.json"]
    assert files("claude")[:2] == ["work/.mcp.json", "home/.claude.json"]
    assert "home/Library/Application Support/Claude/claude_desktop_config.json" in files("claude")
    assert files("vscode")[0] == "work/.vscode/mcp.json"
    assert "home/.config/Code/User/mcp.json" in files("vscode")
    assert files("qwen-agent") == []
    assert known_files("cursor", desk.home, desk.home) == [desk.home / ".cursor" / "mcp.json"]
