"""Numbers of system calls, and what reaching them costs."""

import re
import subprocess
import sys
from pathlib import Path

import _kernel
import pytest

from tests.sandbox.confined import SANDBOX, Room


@pytest.mark.parametrize(
    ("header", "column"),
    [("x86_64-linux-gnu/asm/unistd_64.h", 0), ("asm-generic/unistd.h", 1)],
)
def test_the_numbers_of_calls_are_those_of_the_headers(header: str, column: int) -> None:
    path = Path("/usr/include") / header
    if not path.exists():
        pytest.skip("the headers of the kernel are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text(encoding="ascii"))
    numbers = {name: int(number) for name, number in found}
    ours = {name: row[column] for name, row in _kernel.NUMBERS.items()}
    newer = {name for name, number in ours.items() if number is not None and number > 450}
    assert {name: numbers.get(name) for name in ours.keys() - newer} == {
        name: number for name, number in ours.items() if name not in newer
    }
    assert all(numbers.get(name, ours[name]) == ours[name] for name in newer)


def test_confining_imports_little(own_room: Room) -> None:
    """The worker starts in milliseconds, and none of them are for this."""
    code = f"import sys; sys.path.insert(0, {str(SANDBOX)!r}); import _confine; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not {"agentkit", "pathlib", "subprocess", "asyncio", "inspect"} & loaded
