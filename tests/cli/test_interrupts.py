"""Ctrl-C at any moment: one line, the code of the signal, and nothing left behind."""

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentkit.testing import FakeSGLang

if TYPE_CHECKING:
    import subprocess

Start = Callable[..., "subprocess.Popen[str]"]
Serve = Callable[..., FakeSGLang]

PATIENCE = 120.0  # seconds; a process needs one or two to start, where nothing else runs
pytestmark = pytest.mark.timeout(2 * PATIENCE)


@pytest.fixture
def sign(empty_folder: Path) -> Path:
    """Return a pipe on which a command tells how far it is."""
    path = empty_folder / "sign"
    os.mkfifo(path)
    return path


def interrupted(process: "subprocess.Popen[str]", number: int = signal.SIGINT) -> tuple[int, str]:
    """Send a signal; return the exit code and what stderr has."""
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE)
    assert "Traceback" not in stderr
    return process.returncode, stderr


def test_ctrl_c_while_the_command_still_loads(start: Start, sign: Path, tmp_path: Path) -> None:
    slow = f"import time\nwith open({str(sign)!r}, 'w') as sign:\n    sign.write('up')\ntime.sleep(600)\n"
    (tmp_path / "typer.py").write_text(slow, encoding="utf-8")
    process = start("version", env={"PYTHONPATH": str(tmp_path)})
    sign.read_text(encoding="utf-8")
    assert interrupted(process) == (130, "✗ Interrupted (SIGINT).\n")


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["mcp", "test"], signal.SIGINT, 130),
        (["doctor"], signal.SIGINT, 130),
        (["chat"], signal.SIGINT, 130),
        (["run", "hello"], signal.SIGTERM, 143),
    ],
)
def test_a_signal_while_a_server_starts(
    start: Start, serve: Serve, sign: Path, arguments: list[str], number: int, code: int
) -> None:
    serve([])
    mute = {"command": "sh", "args": ["-c", f"echo $$ > {sign}; exec sleep 600"]}
    Path("mcp_servers.json").write_text(json.dumps({"mute": mute}), encoding="utf-8")
    process = start(*arguments)
    server = int(sign.read_text(encoding="utf-8"))
    exit_code, stderr = interrupted(process, number)
    assert exit_code == code
    assert f"Interrupted ({signal.Signals(number).name})" in stderr
    assert not Path(f"/proc/{server}").exists()


def test_ctrl_c_in_a_tool_that_is_called_by_hand(start: Start, sign: Path) -> None:
    code = (
        f"import os, time\nopen({str(sign)!r}, 'w').write(str(os.getpid()))\n"
        "print('up')\ntime.sleep(600)"
    )
    process = start(
        "tools",
        "call",
        "code_interpreter",
        json.dumps({"code": code}),
        env={"AGENTKIT_CODE_ISOLATION": "process"},  # it gives a sign outside its folder
    )
    worker = int(sign.read_text(encoding="utf-8"))
    exit_code, stderr = interrupted(process)
    assert exit_code == 130
    assert "Interrupted (SIGINT)" in stderr
    assert not Path(f"/proc/{worker}").exists()


def test_ctrl_c_in_a_download(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hub:
        cache = tmp_path / "cache"
        process = start(
            "models",
            "pull",
            env={
                "HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}",
                "AGENTKIT_CACHE_DIR": str(cache),
            },
        )
        connection, _ = hub.accept()  # it asks now, and gets no answer
        with connection:
            exit_code, stderr = interrupted(process)
            assert exit_code == 130
            assert "Interrupted (SIGINT)" in stderr
            while connection.recv(65_536):  # until the process that asked is gone
                pass
    assert not [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]
