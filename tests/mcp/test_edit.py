"""`mcp_servers.json`, changed: nothing else in it moves, and it is whole at any moment."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentkit.errors import ConfigurationError
from agentkit.mcp import read_config, read_raw, servers_of, write_raw


def test_what_is_written_keeps_order_and_everything_else(tmp_path: Path) -> None:
    path = tmp_path / "mcp_servers.json"
    path.write_text('{"z": 1, "servers": {"b": {"command": "é"}}, "a": [1.5]}', encoding="utf-8")
    root = read_raw(path)
    servers_of(root)["a"] = {"url": "http://h/mcp"}
    write_raw(path, root)
    assert path.read_text("utf-8") == (
        '{\n  "z": 1,\n  "servers": {\n    "b": {\n      "command": "é"\n    },\n'
        '    "a": {\n      "url": "http://h/mcp"\n    }\n  },\n  "a": [\n    1.5\n  ]\n}\n'
    )
    assert [server.name for server in read_config(path, {}).servers] == ["b", "a"]


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        ({"mcpServers": {"a": {}}}, {"mcpServers": {"a": {}, "new": {}}}),
        ({"servers": {"a": {}}}, {"servers": {"a": {}, "new": {}}}),
        ({"a": {}}, {"a": {}, "new": {}}),
        ({}, {"mcpServers": {"new": {}}}),
    ],
)
def test_servers_go_where_the_others_are(root: dict[str, Any], expected: dict[str, Any]) -> None:
    servers_of(root)["new"] = {}
    assert root == expected


def test_what_is_no_map_of_servers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'servers' must map"):
        servers_of({"servers": []})


def test_a_file_that_is_not_there_has_no_servers(tmp_path: Path) -> None:
    assert read_raw(tmp_path / "none.json") == {"mcpServers": {}}


def test_a_new_file_is_for_its_owner_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("{}", encoding="utf-8")
    old.chmod(0o644)
    for path in (new, old):
        write_raw(path, {"mcpServers": {}})
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o600, 0o644]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link, real = tmp_path / "mcp_servers.json", tmp_path / "real" / "servers.json"
    link.symlink_to(real)  # which is not there yet
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_raw(link)
    write_raw(link, {"a": {"command": "x"}})
    assert link.is_symlink()
    assert json.loads(real.read_text("utf-8")) == {"a": {"command": "x"}}


def test_what_could_not_be_read_back_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "mcp_servers.json"
    path.write_text('{"a": {"command": "x"}}', encoding="utf-8")
    with pytest.raises(ConfigurationError, match="'mcpServers' must map") as caught:
        write_raw(path, {"mcpServers": []})
    assert str(path) in str(caught.value)
    assert path.read_text("utf-8") == '{"a": {"command": "x"}}'
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written") as caught:
        write_raw(tmp_path / "none" / "mcp_servers.json", {})
    assert caught.value.hint
