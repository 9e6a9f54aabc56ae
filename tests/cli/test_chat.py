import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentkit.cli import app
from agentkit.testing import Answer, Fault

Talk = Callable[..., tuple[int, str, str]]
Serve = Callable[..., Any]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    """Send lines through a pipe; return the code, stdout and stderr."""

    def send(*lines: str, end: str = "\n") -> tuple[int, str, str]:
        ours, theirs = os.pipe()
        os.write(theirs, ("\n".join(lines) + end).encode())
        os.close(theirs)
        with os.fdopen(ours) as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            with pytest.raises(SystemExit) as ended:
                app(["chat"])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return send


def test_each_line_of_a_pipe_is_a_turn_of_one_conversation(serve: Serve, talk: Talk) -> None:
    server = serve([Answer(text="Hello Ada.", thinking="A name."), Answer(text="You are Ada.")])
    code, stdout, _ = talk("I am Ada", "", "Who am I?")
    assert (code, stdout) == (0, "Hello Ada.\nYou are Ada.\n")
    said = [(one["role"], one["content"]) for one in server.requests[1].body["messages"]]
    assert said[0][0] == "system"  # what `fetch` gives is untrusted
    assert said[1:] == [("user", "I am Ada"), ("assistant", "Hello Ada."), ("user", "Who am I?")]
    assert "A name." not in json.dumps(server.requests[1].body)


def test_commands_are_answered_on_stderr(serve: Serve, talk: Talk) -> None:
    serve([])
    code, stdout, stderr = talk("/help", "/tools", "/usage", "/think", "/nonsense", "/save")
    assert (code, stdout) == (0, "")
    for piece in (
        "/quit",
        "clock: ",
        "0 requests",
        "Thinking is auto. Write /think on",
        "There is no /nonsense",
    ):
        assert piece in stderr


def test_thinking_is_switched_for_the_turns_that_follow(serve: Serve, talk: Talk) -> None:
    server = serve(Answer(text="Yes."))
    talk("/think off", "one", "/think on", "two", "/quit", "three")
    asked = [one.body["chat_template_kwargs"]["enable_thinking"] for one in server.requests]
    assert asked == [False, True]


def test_a_conversation_can_be_kept(serve: Serve, talk: Talk, empty_folder: Path) -> None:
    call = ("clock", {"zone": "Asia/Tokyo"})
    serve([Answer(calls=[call]), Answer(text="It is late.")])
    code, _, stderr = talk(
        "What time is it?", "/save talk.md", "/save talk.json", "/save /no/such/folder/x"
    )
    assert code == 0
    text = (empty_folder / "talk.md").read_text(encoding="utf-8")
    assert text.startswith("## What time is it?\n")
    assert "- `clock(" in text
    assert text.endswith("It is late.\n")
    kept = json.loads((empty_folder / "talk.json").read_text(encoding="utf-8"))
    kinds = [entry["kind"] for entry in kept]
    assert kinds == ["UserMessage", "ModelTurn", "ToolResult", "ModelTurn"]
    assert "cannot be written" in stderr
    (empty_folder / "mine.md").write_text("precious", encoding="utf-8")
    _, _, stderr = talk("/save mine.md")
    assert "mine.md is there already" in stderr
    assert (empty_folder / "mine.md").read_text(encoding="utf-8") == "precious"


def test_a_task_may_begin_with_a_path(serve: Serve, talk: Talk) -> None:
    server = serve([Answer(text="Your machine's names.")])
    _, stdout, _ = talk("/etc/hosts has what?")
    assert stdout == "Your machine's names.\n"
    assert server.requests[0].messages[-1]["content"] == "/etc/hosts has what?"


def test_the_first_turn_that_failed_decides_the_code(serve: Serve, talk: Talk) -> None:
    serve([Answer(fault=Fault("status", status=400)), Answer(text="Better.")])
    code, stdout, stderr = talk("one", "two")
    assert (code, stdout) == (4, "Better.\n")
    assert "✗ " in stderr


def test_a_last_line_without_its_end_counts(serve: Serve, talk: Talk) -> None:
    serve([Answer(text="Yes.")])
    code, stdout, _ = talk("one", end="")
    assert (code, stdout) == (0, "Yes.\n")


def test_a_file_can_be_the_conversation(
    serve: Serve, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    serve([Answer(text="Yes.")])
    (empty_folder / "lines").write_text("one\n", encoding="utf-8")
    with (empty_folder / "lines").open(encoding="utf-8") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        with pytest.raises(SystemExit):
            app(["chat"])
    assert capsys.readouterr().out == "Yes.\n"


def test_an_empty_device_is_an_empty_conversation(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve([])
    with Path(os.devnull).open(encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(SystemExit) as ended:
            app(["chat"])
    assert (ended.value.code, capsys.readouterr().out) == (0, "")


def test_a_closed_stdin_is_an_empty_conversation(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve([])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SystemExit) as ended:
        app(["chat"])
    assert ended.value.code == 0
