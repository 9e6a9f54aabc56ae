import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import agentkit.cli._view

Start = Callable[..., "subprocess.Popen[str]"]
Cli = Callable[..., Any]

PATIENCE = 120.0  # seconds; a process needs one or two to start, where nothing else runs
pytestmark = pytest.mark.timeout(2 * PATIENCE)

_HEAVY = ("openai", "mcp", "httpx2", "rich.console", "prompt_toolkit", "pydantic_settings", "anyio")
_PROBE = """
import sys
from agentkit.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["trace", "-h"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(heavy=_HEAVY), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Usage: agentkit" in done.stdout
    assert done.stderr.strip() == ""


def test_help_names_every_command(cli: Cli) -> None:
    shown = cli("--help").stdout
    for name in ("run", "chat", "demo", "tools", "mcp", "models", "trace", "doctor", "version"):
        assert f"\n  {name} " in shown


def test_a_module_run_is_the_command(start: Start) -> None:
    process = start("version")
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("agentkit ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["trace", "nonsense"], ["run", "--nonsense"]])
def test_an_unknown_command_is_a_usage_error(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments).code == 2


def test_the_demo_uses_real_tools_and_says_that_there_is_no_model(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agentkit.cli import demo

    quick = demo.scripted_model(pause=0)

    def scripted_model(*, pause: float) -> object:
        assert pause > 0
        return quick

    monkeypatch.setattr(demo, "scripted_model", scripted_model)
    outcome = cli("demo")
    assert outcome.code == 0
    assert "1267650600228229401496703205376, a number of 31 digits" in outcome.stdout
    assert "Asia/Tokyo" in outcome.stdout
    assert "no language model is used" in outcome.stderr
    assert "result: code_interpreter ok" in outcome.stderr


def test_sizes_are_told_in_words() -> None:
    assert agentkit.cli._view.megabytes(397_000_000) == "397.0 MB"
