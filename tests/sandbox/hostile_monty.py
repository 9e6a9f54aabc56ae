"""The same programs in Monty, where most of what they stand on is missing: each way is tried.

What is not here means the same in Monty as anywhere, and runs as it is.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import anyio

from agentkit.errors import ToolError
from agentkit.sandbox import WorkerLimits
from tests.sandbox.hostile import CANARY, Attack, Case, stays_awake

IN_MONTY: dict[int, Attack] = {}
"""By the number of the program."""

_WORDS = {
    "AttributeError": "no such function",
    "ModuleNotFoundError": "no such module",
    "NameError": "no such name",
    "RuntimeError": "not supported",
}
_ERROR = re.compile(r"^(?:\w+\.)*(\w+(?:Error|Exception))\b", re.MULTILINE)


def in_monty(number: int) -> Callable[[Attack], Attack]:
    def add(attack: Attack) -> Attack:
        IN_MONTY[number] = attack
        return attack

    return add


async def refused(case: Case, *cells: str) -> str:
    """Run cells, each of which must end with an error that tells no secret; return which."""
    await case.run("kept = 1")
    seen: set[str] = set()
    for cell in cells:
        outcome = await case.run(cell)
        found = _ERROR.search(outcome.error)
        assert found, (cell, outcome)
        assert (outcome.value, outcome.timed_out, outcome.killed_by) == (None, False, ""), outcome
        assert CANARY not in outcome.error + outcome.stdout + outcome.stderr
        seen.add(_WORDS.get(found[1], found[1]))
    assert (await case.run("kept")).value == "1"
    return ", ".join(sorted(seen))


async def stopped(case: Case, *cells: str) -> None:
    """Run cells that must be stopped, and cost no variable."""
    await case.run("kept = 1")
    for cell in cells:
        outcome = await case.run(f"kept = 0\n{cell}", 0.2)
        assert (outcome.timed_out, outcome.restarted) == (True, False), (cell, outcome)
        assert outcome.stderr.endswith("Variables are as they were before this cell.")
    assert (await case.run("kept")).value == "1"


def missing(*modules: str) -> list[str]:
    return [f"import {name}" for name in modules]


def calls(*expressions: str) -> list[str]:
    return [f"import os, sys\n{expression}" for expression in expressions]


@in_monty(1)
async def _key(case: Case) -> str:
    key = str(case.world.home / ".ssh" / "id_rsa")
    return await refused(
        case, f"open({key!r}).read()", f"import pathlib\npathlib.Path({key!r}).read_text()"
    )


@in_monty(2)
async def _environment(case: Case) -> str:
    return await refused(case, *calls("list(os.environ.values())", "os.getenv('SECRET_TOKEN')"))


@in_monty(3)
async def _proc(case: Case) -> str:
    files = [f"/proc/{pid}/{name}" for pid in (os.getpid(), "self") for name in ("environ", "mem")]
    return await refused(case, *(f"open({file!r}, 'rb').read(1)" for file in files))


@in_monty(4)
async def _tcp(case: Case) -> str:
    port = case.world.ports[0]
    seen = await refused(
        case,
        f"import asyncio\nawait asyncio.open_connection('127.0.0.1', {port})",
        f"__import__('socket').create_connection(('127.0.0.1', {port}))",
        *missing("socket", "http.client"),
    )
    assert case.world.heard() == []
    return seen


@in_monty(5)
async def _udp(case: Case) -> str:
    seen = await refused(case, *missing("socket", "_socket", "ctypes"))
    assert case.world.heard() == []
    return seen


@in_monty(6)
async def _unix(case: Case) -> str:
    path = str(case.world.local_path)
    seen = await refused(
        case,
        f"import asyncio\nawait asyncio.open_unix_connection({path!r})",
        f"open({path!r}, 'w').write('x')",
        *missing("socket"),
    )
    assert case.world.heard() == []
    return seen


@in_monty(7)
async def _metadata(case: Case) -> str:
    return await refused(case, *missing("socket", "urllib.request", "http.client"))


@in_monty(8)
async def _ptrace(case: Case) -> str:
    return await refused(case, *missing("ctypes", "cffi", "_ctypes"))


@in_monty(9)
async def _kill(case: Case) -> str:
    kills = calls(f"os.kill({os.getpid()}, 15)", "os.kill(os.getppid(), 9)", "os.kill(-1, 9)")
    return await refused(case, *kills, *missing("signal", "subprocess"))


@in_monty(10)
async def _write(case: Case) -> str:
    code = Path(sys.modules["agentkit.sandbox"].__file__ or "").parent / "_worker.py"
    target = case.world.home / "made"
    before = code.read_bytes()
    seen = await refused(
        case,
        *(f"open({str(one)!r}, 'ab').write(b'x')" for one in (target, code, "made")),
        f"import pathlib\npathlib.Path({str(target)!r}).write_text('x')",
    )
    assert code.read_bytes() == before
    assert not target.exists()
    return seen


@in_monty(11)
async def _links(case: Case) -> str:
    secret = str(case.world.home / ".ssh" / "id_rsa")
    seen = await refused(
        case,
        *calls(f"os.symlink({secret!r}, 'plot.png')", f"os.link({secret!r}, 'hard')"),
        *calls("os.mkfifo('pipe')", "open('good', 'w')"),
    )
    for name in ("plot.png", "hard", secret, "."):
        try:
            await case.interpreter.read_file(name)
        except ToolError:
            continue
        raise AssertionError(name)
    return seen


@in_monty(12)
async def _inherited(case: Case) -> str:
    fd = case.world.inherited
    return await refused(case, *calls(f"os.pread({fd}, 100, 0)", f"open({fd}, 'rb').read()"))


@in_monty(13)
async def _loop(case: Case) -> str:
    await stopped(case, "while True: pass")
    return "stopped, variables kept"


@in_monty(14)
async def _deaf(case: Case) -> str:
    await refused(case, *missing("signal"))
    await stopped(
        case,
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException: pass",
    )
    return "stopped, variables kept"


@in_monty(15)
async def _in_rust(case: Case) -> str:
    await stopped(case, "sum(range(10**11))", "str(7**10**7)")
    assert await refused(case, "10**10**9") == "MemoryError"
    outcome = await case.run("import re\nre.match('(a+)+$', 'a' * 60 + 'b')")
    assert (outcome.error, outcome.timed_out) == ("", False)  # this engine does not go back
    return "stopped, variables kept; or refused, or soon done"


@in_monty(16)
async def _forks(case: Case) -> str:
    return await refused(case, *calls("os.fork()"), *missing("multiprocessing", "subprocess"))


@in_monty(17)
async def _daemon(case: Case) -> str:
    return await refused(case, *calls("os.fork()", "os.setsid()", "os.posix_spawn('sh', [], {})"))


@in_monty(18)
async def _memory(case: Case) -> str:
    cells = ("b'x' * (8 << 30)", "[0] * 10**10", "'x' * 10**12", "list(range(10**9))")
    assert await refused(case, *cells) == "MemoryError"
    case.with_limits(WorkerLimits(memory_bytes=32 << 20))
    await case.run("kept = 1")
    outcome = await case.run("kept = []\nwhile True: kept.append('x' * 1000 + str(len(kept)))")
    assert "MemoryError" in outcome.error, outcome
    assert (await case.run("kept")).value == "1"
    return "MemoryError, variables kept; there is one process"


@in_monty(19)
async def _disk(case: Case) -> str:
    fill = "for n in range(100_000): open(f'{n}', 'wb').write(b'x')"
    return await refused(case, fill, "open('big', 'wb').write(b'x' * (8 << 20))")


@in_monty(20)
async def _flood(case: Case) -> str:
    case.with_limits(WorkerLimits(output_bytes=8 << 20))
    for code in (
        "while True: print('y' * 65536)",
        "print('y' * (100 << 20))",
        "import sys\nwhile True: print('z' * 65536, file=sys.stderr)",
    ):
        outcome = await case.run(code)
        assert "printed more than" in outcome.error, outcome
        assert len(outcome.stdout) + len(outcome.stderr) < 30_000
    return "stopped; head and tail kept"


@in_monty(22)
async def _bombs(case: Case) -> str:
    return await refused(case, *missing("zlib", "gzip", "zipfile", "lzma", "bz2"))


@in_monty(23)
async def _ends(case: Case) -> str:
    seen = await refused(
        case,
        *calls("os._exit(0)", "os.abort()", "sys.exit()"),
        *missing("ctypes", "faulthandler"),
        "f'{0:{10**9}.{10**9}f}'",
    )
    assert (await case.run("raise SystemExit")).killed_by == ""
    return seen


@in_monty(24)
async def _deep(case: Case) -> str:
    nested = "deep = []\nfor _ in range(100_000): deep = [deep]\nimport json\n"
    await refused(
        case,
        *calls("sys.setrecursionlimit(10**9)"),
        "def f(): f()\nf()",
        "(" * 100_000 + ")" * 100_000,
        "-" * 100_000 + "1",
        "eval('[' * 100_000)",
        "import json\njson.loads('[' * 200_000 + ']' * 200_000)",
        f"{nested}json.dumps(deep)",
        f"{nested}deep == [[deep]]",
    )
    outcome = await case.run(f"{nested}deep")
    assert (outcome.value or "").startswith("[[[["), outcome
    assert len(outcome.value or "") < 10_000
    return "an error at the limit"


@in_monty(25)
async def _ends_late(case: Case) -> str:
    seen = await refused(case, *missing("atexit", "threading", "weakref"))
    kept = "class D:\n    def __del__(self):\n        while True: pass\nkept = D()\nkept = 1"
    assert (await case.run(kept)).value == "1"
    with anyio.fail_after(20):
        await case.interpreter.aclose()
    case.with_limits(WorkerLimits())
    return f"{seen}; closed without them"


@in_monty(26)
async def _forge(case: Case) -> str:
    writes = calls("os.write(1, b'\\xff' * 4)", "os.fdopen(1, 'wb')", "sys.stdout.buffer")
    return await refused(case, *writes, "open('/dev/fd/1', 'wb').write(b'x')")


@in_monty(28)
async def _rights(case: Case) -> str:
    return await refused(case, *calls("os.setuid(0)", "os.chroot('/')"), *missing("ctypes"))


@in_monty(29)
async def _tty(case: Case) -> str:
    files = ("/dev/tty", "/dev/console", "/dev/stdin")
    return await refused(case, *(f"open({one!r}, 'w')" for one in files), *missing("fcntl", "tty"))


@in_monty(30)
async def _exhaust(case: Case) -> str:
    await stopped(
        case,
        "import asyncio\nasync def f():\n    await asyncio.gather(f(), f())\nawait f()",
    )
    opens = "files = []\nwhile True: files.append(open('/dev/null'))"
    return await refused(case, opens, *missing("threading", "multiprocessing", "mmap"))


@in_monty(31)
async def _patch(case: Case) -> str:
    seen = await refused(
        case,
        *calls("sys.stdout = sys.stderr = None", "sys.modules.clear()", "os.close(1)"),
        *missing("builtins"),
        "import json\njson.dumps = None",
    )
    await case.run("repr = len = type = None")
    outcome = await case.run("print('still here')\n[1]")
    assert (outcome.stdout, outcome.value) == ("still here\n", "[1]")
    return seen


@in_monty(32)
async def _processor(case: Case) -> str:
    await refused(case, *missing("threading", "multiprocessing"))
    return await stays_awake(case, "while True: pass")
