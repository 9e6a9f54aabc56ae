import os
import pty
import re
import select
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agentkit.testing import Answer, Fault

if TYPE_CHECKING:
    import subprocess

PATIENCE = 120.0  # seconds; a process needs one or two to start, where nothing else runs
pytestmark = pytest.mark.timeout(2 * PATIENCE)

Start = Callable[..., "subprocess.Popen[str]"]
Serve = Callable[..., Any]

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """The other end of a terminal."""

    def __init__(self, ours: int) -> None:
        self._ours = ours
        self.raw = ""
        self._seen = 0

    @property
    def text(self) -> str:
        return _ESCAPES.sub("", self.raw).replace("\r", "")

    def read_until(self, what: str) -> None:
        """Read on until `what` comes; nothing that came before counts."""
        while (at := self.text.find(what, self._seen)) < 0:
            assert self._read(), f"{what!r} never came, but: {self.text[self._seen :]}"
        self._seen = at + len(what)

    def read_rest(self) -> None:
        """Read until the program has ended."""
        while self._read():
            pass

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], PATIENCE)
        assert ready, f"nothing comes any more after: {self.text}"
        try:
            piece = os.read(self._ours, 65_536)
        except OSError:  # the program has ended
            return False
        self.raw += piece.decode(errors="replace")
        return bool(piece)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())


@contextmanager
def _screen() -> Generator[tuple[Screen, int]]:
    ours, theirs = pty.openpty()
    try:
        yield Screen(ours), theirs
    finally:
        os.close(ours)


@pytest.fixture
def on_terminal(start: Start) -> Iterator[Callable[..., tuple[Any, Screen]]]:
    """Start a command on a terminal of its own; stdout may go elsewhere."""
    with _screen() as (screen, theirs):

        def launch(*arguments: str, **options: Any) -> tuple[Any, Screen]:
            streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs} | options
            process = start(*arguments, start_new_session=True, **streams)
            os.close(theirs)
            return process, screen

        yield launch


def test_a_terminal_sees_steps_as_they_happen_and_the_answer_below(
    serve: Serve, on_terminal: Any
) -> None:
    serve(
        [
            Answer(thinking="I look at the clock.", calls=[("clock", {"zone": "Asia/Tokyo"})]),
            Answer(text="It is \x1b]0;late\x07."),
        ]
    )
    process, screen = on_terminal("run", "What time is it?")
    screen.read_until("agentkit trace view")
    screen.read_rest()
    assert process.wait(PATIENCE) == 0
    assert "◆ thought" in screen.text
    assert '▸ clock(zone="Asia/Tokyo")' in screen.text
    assert "2 steps · 1 call" in screen.text
    assert "\nIt is ]0;late.\n\n2 steps" in screen.text  # an answer cannot steer the terminal
    assert "\x1b]0;" not in screen.raw
    assert screen.raw.count("\x1b[?25l") == screen.raw.count("\x1b[?25h")  # the cursor is back


def test_ctrl_c_on_a_terminal_leaves_it_as_it_was(serve: Serve, on_terminal: Any) -> None:
    server = serve(Answer(text="one two three four", fault=Fault("stall", after=3)))
    process, screen = on_terminal("run", "count")
    screen.read_until("one")  # what it writes is shown while it writes
    process.send_signal(signal.SIGINT)
    screen.read_until("Press Ctrl-C again")
    process.send_signal(signal.SIGINT)
    screen.read_rest()
    assert process.wait(PATIENCE) == 130
    assert "Stopping now." in screen.text
    assert "✗ Cancelled." in screen.text
    assert server.disconnects == 1
    assert screen.raw.count("\x1b[?25l") == screen.raw.count("\x1b[?25h")


def test_a_conversation_at_the_prompt(serve: Serve, on_terminal: Any) -> None:
    serve([Answer(text="Hello Ada."), Answer(text="You are Ada.")])
    process, screen = on_terminal("chat", env={"PROMPT_TOOLKIT_NO_CPR": "1"})
    screen.read_until("to leave.")
    screen.read_until(">")
    screen.type("I am Ada\r")
    screen.read_until("Hello Ada.\n")
    screen.read_until(">")  # what is typed before may be lost
    screen.type("/usage\r")
    screen.read_until("1 request,")
    screen.read_until(">")
    screen.type("Who am I?\r")
    screen.read_until("You are Ada.\n")
    screen.read_until(">")
    screen.type("\x04")
    screen.read_rest()
    assert process.wait(PATIENCE) == 0


def test_ctrl_c_in_an_answer_and_at_the_prompt_of_a_chat_goes_on(
    serve: Serve, on_terminal: Any, tmp_path: Path
) -> None:
    server = serve([Answer(text="one two three", fault=Fault("stall", after=2)), "Hello."])
    state = tmp_path / "state"
    more = {"PROMPT_TOOLKIT_NO_CPR": "1", "AGENTKIT_STATE_DIR": str(state)}
    process, screen = on_terminal("chat", env=more)
    screen.read_until("to leave.")
    screen.read_until(">")
    screen.type("count\r")
    screen.read_until("one")
    process.send_signal(signal.SIGINT)
    screen.read_until("Stopping after this step")
    process.send_signal(signal.SIGINT)
    screen.read_until("Cancelled.")
    screen.read_until(">")
    screen.type("hello\r")
    screen.read_until("Hello.\n")
    screen.read_until(">")
    screen.type("never mind\x03")  # that line is given up
    screen.read_until("never mind")
    screen.read_until(">")
    screen.type("\x04")
    screen.read_rest()
    assert process.wait(PATIENCE) == 0
    assert len(server.requests) == 2
    history = (state / "chat_history").read_text(encoding="utf-8").splitlines()
    assert [line for line in history if line.startswith("+")] == ["+count", "+hello"]


@pytest.mark.parametrize("arguments", [["run", "hello"], ["models", "list"], ["demo"]])
def test_no_color_sends_neither_colour_nor_bold(
    serve: Serve, on_terminal: Any, arguments: list[str]
) -> None:
    serve(["Hello."])
    process, screen = on_terminal(*arguments, env={"NO_COLOR": "1"})
    screen.read_rest()
    assert process.wait(PATIENCE) == 0
    assert screen.text
    assert "\x1b[" not in screen.raw
