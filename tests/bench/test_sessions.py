import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bench import run
from bench.report import Figure, write_page
from bench.sessions import sessions

ROOT = Path(__file__).parents[2]


def measured(contender: str, folder: Path) -> dict[str, float]:
    """What a worker says of a contender, in a process of its own."""
    options = json.dumps({"contender": contender, "folder": str(folder), "cells": 3})
    command = [sys.executable, "-m", "bench.worker", "sessions", options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def test_two_sessions_and_cells_of_the_code_interpreter_are_measured(tmp_path: Path) -> None:
    got = await sessions(contender="agentkit", folder=str(tmp_path), cells=3)
    assert sorted(got) == ["cell_ms", "cold_ms", "memory_mb", "warm_ms"]
    assert min(got.values()) > 0


@pytest.mark.skipif(not find_spec("ipykernel"), reason="no ipykernel: pip install --group bench")
def test_ipykernel_is_measured_in_the_same_way_and_leaves_its_files_in_the_folder(
    tmp_path: Path,
) -> None:
    got = measured("ipykernel", tmp_path)
    assert sorted(got) == ["cell_ms", "cold_ms", "memory_mb", "warm_ms"]
    assert min(got.values()) > 0
    assert not list(tmp_path.glob("kernel-*"))


def test_without_ipykernel_the_figures_are_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def not_found(_: str) -> None:
        """Whatever is installed here."""

    monkeypatch.setattr(run, "find_spec", not_found)
    bench = run.Bench(rounds=1)
    run.interpreter(bench)
    assert bench.figures == []
    assert "skipped interpreter: ipykernel is not installed" in capsys.readouterr().out
    page = tmp_path / "page.md"
    write_page([Figure("turn", "ms", [9], [2], below=3)], page, bench.skipped)
    text = page.read_text(encoding="utf-8")
    assert "| turn | 9.00 ms | 2.00 ms | 0.22 | <= 3 ms | met |" in text
    assert "Not measured, interpreter: ipykernel is not installed" in text
