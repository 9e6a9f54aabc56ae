"""`mcp_servers.json`: what is read, what is refused, and what is never shown."""

import json
from pathlib import Path

import pytest

from agentkit.errors import ConfigurationError
from agentkit.mcp import ServerConfig, read_config

ENVIRON = {"KEY": "s3cr3t-value", "EMPTY": "", "NESTED": "${KEY}", "HOME": "/home/me"}


def read(tmp_path: Path, text: str) -> tuple[ServerConfig, ...]:
    return read_all(tmp_path, text).servers


def read_all(tmp_path: Path, text: str):
    path = tmp_path / "mcp_servers.json"
    path.write_text(text, encoding="utf-8")
    return read_config(path, ENVIRON)


@pytest.mark.parametrize(
    "text",
    [
        '{"mcpServers": {"a": {"command": "x", "args": ["1"]}}}',
        '{"servers": {"a": {"command": "x", "args": ["1"], "type": "stdio"}}}',
        '\ufeff{"a": {"command": "x", "args": ["1"]}}',
    ],
)
def test_the_three_usual_roots_are_understood(tmp_path: Path, text: str) -> None:
    (server,) = read(tmp_path, text)
    assert (server.name, server.command, server.args) == ("a", "x", ("1",))


def test_variables_are_replaced_once_and_never_shown(tmp_path: Path) -> None:
    text = """{"a": {"url": "http://host/mcp?key=${KEY}", "headers":
        {"Authorization": "Bearer ${env:KEY}", "X-None": "${NO:-none}", "X-E": "${EMPTY:-e}",
         "X-Nested": "${NESTED}", "X-Bare": "$KEY"}}}"""
    (server,) = read(tmp_path, text)
    assert server.headers == {
        "Authorization": "Bearer s3cr3t-value",
        "X-None": "none",
        "X-E": "e",
        "X-Nested": "${KEY}",
        "X-Bare": "$KEY",
    }
    assert "s3cr3t" not in repr(server) + server.target
    assert server.redact("it said s3cr3t-value!") == "it said ***!"


def test_an_unset_variable_disables_its_server_alone_and_is_named(tmp_path: Path) -> None:
    text = '{"a": {"command": "x", "env": {"T": "${GONE}"}}, "b": {"command": "y"}}'
    config = read_all(tmp_path, text)
    assert config.problems == (("a", "env.T: the variable GONE is not set"),)
    assert [server.name for server in config.servers if not server.problem] == ["b"]


def test_other_hosts_names_for_the_same_thing_are_understood(tmp_path: Path) -> None:
    text = """{"a": {"httpUrl": "https://h/mcp", "transport": "streamableHttp", "timeout": 90000,
        "includeTools": ["x", "y"], "disabledTools": ["y"], "enabled": false, "required": true,
        "prefix": true, "connectTimeout": 7, "maxResultChars": 10}}"""
    (server,) = read(tmp_path, text)
    assert (server.url, server.call_seconds, server.connect_seconds) == ("https://h/mcp", 90, 7)
    assert (server.disabled, server.required, server.prefix) == (True, True, True)
    assert [server.wants(tool) for tool in "xyz"] == [True, False, False]
    assert server.max_result_chars == 10


def test_what_has_no_effect_is_said(tmp_path: Path) -> None:
    text = '{"mcpServers": {"a": {"command": "x", "timeout": 30, "odd": 1}}, "inputs": []}'
    config = read_all(tmp_path, text)
    assert config.servers[0].call_seconds is None
    warnings = "\n".join(config.warnings)
    assert "'timeout' is in milliseconds" in warnings
    assert 'Write "30s".' in warnings
    assert "'odd' has no effect" in warnings
    assert "'inputs' has no effect" in warnings


def test_relative_paths_are_seen_from_the_file(tmp_path: Path) -> None:
    (server,) = read(tmp_path, '{"a": {"command": "./run.sh", "cwd": "sub"}}')
    assert server.cwd == tmp_path / "sub"
    assert server.command == str(tmp_path / "sub" / "run.sh")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": {"command": "x"},\n}', r"mcp_servers\.json:2:1: not valid JSON"),
        ("[]", "must hold a JSON object, not list"),
        ('{"mcpServers": []}', "'mcpServers' must map"),
        ('{"a": {"command": "x"}, "a": {"command": "y"}}', "'a' appears twice"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
    ],
)
def test_a_broken_file_is_refused_with_place_and_fix(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        read(tmp_path, text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('"a": {}', "needs either 'command' or 'url'"),
        ('"a": {"command": "x", "url": "http://h"}', "needs either 'command' or 'url'"),
        ('"a": {"command": ["x"]}', "'command' must be a text, not list"),
        ('"a": {"command": "x", "args": [1]}', "'args' must be a list of texts"),
        ('"a": {"command": "x", "env": {"P": 1}}', "env.P must be a text"),
        ('"a": {"command": "x", "disabled": "no"}', "'disabled' must be true or false"),
        ('"a": {"command": "x", "callSeconds": 0}', "must be more than 0"),
        ('"a": {"url": "ftp://h/x"}', "not an http or https address"),
        ('"a": {"url": "http://h/x", "type": "stdio"}', "'type' is 'stdio'"),
        ('"a": {"url": "http://h/mcp", "type": "ws"}', "'type' is 'ws'"),
        ('"a": {"command": "x", "type": "sse"}', "'type' is 'sse', and 'command' starts a program"),
        ('"a": {"command": "x", "maxMessageBytes": 1}', "'maxMessageBytes' is 1, which is too few"),
        ('"": {"command": "x"}', "a server needs a name"),
        ('"a": "x"', "must be an object"),
    ],
)
def test_an_entry_that_is_wrong_disables_its_server_alone_and_says_how_to_mend_it(
    tmp_path: Path, entry: str, expected: str
) -> None:
    broken, good = read(tmp_path, f'{{{entry}, "b": {{"command": "y"}}}}')
    assert expected in broken.problem
    assert broken.hint
    assert (good.name, good.problem) == ("b", "")


@pytest.mark.parametrize(
    ("entry", "flags"),
    [
        ('{"required": true}', (True, False)),
        ('{"disabled": true, "args": 1}', (False, True)),
        ('{"enabled": false, "required": 1}', (False, True)),
        ("7", (False, False)),
    ],
)
def test_an_entry_that_is_wrong_is_still_required_or_disabled(
    tmp_path: Path, entry: str, flags: tuple[bool, bool]
) -> None:
    (server,) = read(tmp_path, f'{{"mcpServers": {{"a": {entry}}}}}')
    assert (server.required, server.disabled) == flags


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_config(tmp_path / "gone.json", {})
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ConfigurationError, match="byte 0 is not UTF-8"):
        read_config(tmp_path / "binary.json", {})


def test_values_too_short_to_be_secret_leave_messages_readable(tmp_path: Path) -> None:
    text = """{"a": {"url": "http://h/mcp", "headers": {"X-Api-Version": "1",
        "Accept-Language": "e", "Authorization": "Bearer abc-123-xyz"}}}"""
    (server,) = read(tmp_path, text)
    assert server.redact("HTTP 401: access refused") == "HTTP 401: access refused"
    assert server.redact("got Bearer abc-123-xyz") == "got ***"
    assert server.redact("no such token: abc-123-xyz") == "no such token: ***"


def test_a_key_of_many_lines_is_found_line_by_line(tmp_path: Path) -> None:
    key = {"PRIVATE_KEY": "-----BEGIN-----\nQUJDREVGRw==\n"}
    (server,) = read(tmp_path, json.dumps({"a": {"command": "x", "env": key}}))
    assert server.redact("line 2 is QUJDREVGRw==, it said") == "line 2 is ***, it said"


@pytest.mark.parametrize(
    ("entry", "call", "connect"),
    [
        ('"timeout": "30s"', 30.0, None),
        ('"timeout": "1500ms", "connectTimeout": "2m"', 1.5, 120.0),
        ('"callSeconds": "0.5 h", "connectSeconds": 3', 1800.0, 3.0),
        ('"timeoutMs": "20s"', 20.0, None),
    ],
)
def test_a_time_may_say_its_unit(
    tmp_path: Path, entry: str, call: float, connect: float | None
) -> None:
    (server,) = read(tmp_path, f'{{"a": {{"command": "x", {entry}}}}}')
    assert (server.call_seconds, server.connect_seconds, server.problem) == (call, connect, "")


@pytest.mark.parametrize("text", ["soon", "0s", "-1s", "5 days", "s", ""])
def test_what_is_no_time_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    (server,) = read(tmp_path, f'{{"a": {{"command": "x", "timeout": "{text}"}}}}')
    assert "is no time" in server.problem
    assert '"30s"' in server.hint


@pytest.mark.parametrize(
    ("entry", "transport"),
    [
        ('"url": "http://h/mcp"', ""),
        ('"url": "http://h/sse"', "sse"),
        ('"url": "http://h/mcp", "type": "sse"', "sse"),
        ('"url": "http://h/sse", "type": "streamable-http"', "http"),
    ],
)
def test_how_a_server_is_spoken_to_is_told_or_seen(
    tmp_path: Path, entry: str, transport: str
) -> None:
    (server,) = read(tmp_path, f'{{"a": {{{entry}}}}}')
    assert (server.transport, server.problem) == (transport, "")


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("approvl", "always", "approval"),
        ("Approval", "always", "approval"),
        ("disable", True, "disabled"),
        ("enable", False, "enabled"),
        ("exclude_tools", ["pay"], "excludeTools"),
        ("excluded", ["pay"], "exclude"),
        ("disabled_tools", ["pay"], "disabledTools"),
        ("denyList", ["pay"], "excludeTools"),
        ("includeTool", ["look"], "includeTools"),
        ("enabled_tools", ["look"], "includeTools"),
        ("pin", "approved", "pins"),
        ("require", True, "required"),
        ("trust", False, "trusted"),
    ],
)
def test_a_server_is_not_started_where_a_misspelt_key_was_to_restrict_it(
    tmp_path: Path, key: str, value: object, meant: str
) -> None:
    config = read_all(tmp_path, json.dumps({"a": {"command": "x", key: value}}))
    assert config.problems == (("a", f"{key!r} has no effect. Did you mean {meant!r}?"),)
    assert config.servers[0].hint == f"Correct {key!r}, or remove it."
    assert config.warnings == ()


def test_of_two_keys_of_the_same_meaning_none_is_passed_over(tmp_path: Path) -> None:
    text = '{"a": {"command": "x", "excludeTools": ["pay"], "disabledTools": ["send"]}}'
    (server,) = read(tmp_path, text)
    assert server.problem == "'disabledTools' has no effect beside another key of the same meaning."


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('"prefx": true', "'prefx' has no effect. Did you mean 'prefix'?"),
        ('"auto_approve": []', "'auto_approve' has no effect. Did you mean 'autoApprove'?"),
        ('"odd": 1', "'odd' has no effect."),
        ('"name": "x", "description": "y"', "'name' has no effect."),
        ('"disabled": true, "approvl": 1', "'approvl' has no effect. Did you mean 'approval'?"),
        ('"callSeconds": 1, "callTimeout": 2', "'callTimeout' has no effect beside another key"),
    ],
)
def test_a_misspelt_key_that_restricts_nothing_is_said_with_what_was_meant(
    tmp_path: Path, entry: str, said: str
) -> None:
    config = read_all(tmp_path, f'{{"a": {{"command": "x", {entry}}}}}')
    assert config.problems == ()
    (warning,) = config.warnings
    assert said in warning


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mcpserver", "mcpServers"),
        ("mcp_servers", "mcpServers"),
        ("MCPServers", "mcpServers"),
        ("mcp.servers", "mcpServers"),
        ("server", "servers"),
    ],
)
@pytest.mark.parametrize("target", ['"command": "x"', '"url": "http://h/mcp"'])
def test_a_misspelt_root_is_no_server(tmp_path: Path, name: str, meant: str, target: str) -> None:
    with pytest.raises(ConfigurationError, match=f"Did you mean '{meant}'") as caught:
        read(tmp_path, f'{{"{name}": {{"time": {{{target}}}}}}}')
    assert caught.value.hint == f"Write {meant!r} in place of {name!r}."


def test_a_server_may_have_a_name_that_is_nearly_a_root(tmp_path: Path) -> None:
    text = '{"server": {"command": "x", "env": {"A": "b"}}, "mcp-server": {"url": "http://h/mcp"}}'
    config = read_all(tmp_path, text)
    assert [server.name for server in config.servers] == ["server", "mcp-server"]
    assert config.problems == ()


def test_the_least_size_of_a_message_is_taken(tmp_path: Path) -> None:
    (server,) = read(tmp_path, '{"a": {"command": "x", "maxMessageBytes": 1024}}')
    assert (server.max_message_bytes, server.problem) == (1024, "")


def test_the_same_program_in_two_folders_is_two_servers(tmp_path: Path) -> None:
    node = {"command": "node", "args": ["server.js", "--token", "t0k3n-value"]}
    servers = {name: {**node, "cwd": name} for name in ("one", "two")}
    everywhere = {"three": node, "wiki": {"url": "http://h/mcp", "cwd": "one"}}
    one, two, three, wiki = read(tmp_path, json.dumps({**servers, **everywhere}))
    assert one.target == two.target == three.target == three.identity
    assert len({server.identity for server in (one, two, three)}) == 3
    assert str(tmp_path / "one") in one.identity
    assert "t0k3n" not in one.identity
    assert wiki.identity == wiki.target


def test_a_folder_that_holds_a_secret_does_not_show_it(tmp_path: Path) -> None:
    (server,) = read(tmp_path, '{"a": {"command": "x", "cwd": "/srv/${KEY}"}}')
    assert server.identity == "x\n/srv/***"
