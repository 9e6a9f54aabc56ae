"""`envFile`: variables of a server that are kept out of `mcp_servers.json`."""

import json
from pathlib import Path
from typing import Any

import pytest

from agentkit.mcp import ServerConfig, read_config


def read(tmp_path: Path, text: str, **entry: Any) -> ServerConfig:
    (tmp_path / "my.env").write_text(text, encoding="utf-8")
    path = tmp_path / "mcp_servers.json"
    given = {"command": "x", "envFile": "my.env", **entry}
    path.write_text(json.dumps({"a": given, "b": {"command": "y"}}), encoding="utf-8")
    config = read_config(path, {"NAME": "my", "HOME": "/home/me"})
    assert config.warnings == ()
    assert config.servers[1].problem == ""  # it is another one's trouble
    return config.servers[0]


def test_its_variables_are_those_of_the_server_and_env_goes_first(tmp_path: Path) -> None:
    server = read(tmp_path, "A=1\nB=2\n", env={"B": "3"}, envFile="${NAME}.env")
    assert (server.env, server.problem) == ({"A": "1", "B": "3"}, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("\ufeff# a comment\n\n  export A = some words  # and why\r\n", {"A": "some words"}),
        ("A=x#y\nB=#z\nC=\nD= # none", {"A": "x#y", "B": "#z", "C": "", "D": ""}),
        ("A='it is ${B} # \\n'\n", {"A": "it is ${B} # \\n"}),
        ('A="a \\"b\\"\\n\\$c" # d\n', {"A": 'a "b"\n$c'}),
        ('KEY="-----BEGIN\nQUJD\n-----END"\nB=1', {"KEY": "-----BEGIN\nQUJD\n-----END", "B": "1"}),
        ("A='b' c\nB=d'e\n", {"A": "'b' c", "B": "d'e"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("", {}),
    ],
)
def test_lines_are_read_as_elsewhere(tmp_path: Path, text: str, expected: dict[str, str]) -> None:
    server = read(tmp_path, text)
    assert (server.env, server.problem) == (expected, "")


def test_what_its_name_calls_a_secret_is_never_shown(tmp_path: Path) -> None:
    server = read(tmp_path, "API_KEY=s3cr3t-value\nZONE=europe-west\n")
    assert server.redact("s3cr3t-value in europe-west") == "*** in europe-west"
    assert "s3cr3t" not in repr(server)


def test_a_file_that_is_not_there_disables_its_server_alone(tmp_path: Path) -> None:
    server = read(tmp_path, "", envFile="gone.env")
    assert (
        server.problem
        == f"envFile: {tmp_path / 'gone.env'}: cannot be read: No such file or directory."
    )
    assert server.hint


def test_a_line_that_is_something_else_is_named_but_not_shown(tmp_path: Path) -> None:
    server = read(tmp_path, "A=1\n# b\ns3cr3t-value\n")
    assert server.problem == f"envFile: {tmp_path / 'my.env'}:3: this line is not NAME=VALUE."


def test_half_an_address_disables_its_server_alone(tmp_path: Path) -> None:
    server = read(tmp_path, "", url="http://[", command="")
    assert "not an http or https address" in server.problem
