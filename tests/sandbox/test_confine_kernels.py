"""Confining on older kernels, on those that lack a part, and what is said about it."""

import json
import os
import signal

import _confine
import _kernel
import _landlock
import pytest

from tests.sandbox.confined import Room, fill

pytestmark = pytest.mark.skipif(
    not _kernel.landlock_version() or not _kernel.available()["seccomp"],
    reason="this kernel has no Landlock, or no seccomp",
)


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_an_older_landlock_is_completed_by_the_filter(
    own_room: Room, listening: dict[str, object], version: int
) -> None:
    """The rules of an older kernel, in force on this one."""
    code = (
        "attempt(open, {secret!r})\n"
        "attempt(open, {outside!r} + '/victim', 'a')\n"
        "attempt(os.truncate, {outside!r} + '/victim', 0)\n"
        "attempt(socket.create_connection, ('127.0.0.1', {port}))\n"
        "attempt(lambda: open('mine', 'w').write('7'))\n"
        f"attempt(os.kill, {os.getpid()}, 0)\n"
        f"attempt(os.kill, -{os.getpid()}, 0)\n"
        "attempt(os.kill, -os.getpgid(os.getppid()), 0)\n"
        "attempt(os.kill, -1, 0)\n"
        "attempt(os.kill, 0, 0)\n"
        "attempt(os.kill, os.getpid(), 0)\n"
        "print(*report['not_enforced'], sep=';')"
    )
    patch = f"_kernel.landlock_version = lambda: {version}"
    lines = own_room.answer(
        fill(code, own_room, listening), patch=patch, protect=[os.getpid()]
    ).splitlines()
    truncated = "EPERM" if version < 3 else "EACCES"
    assert lines[:5] == ["EACCES", "EACCES", truncated, "EACCES", "done"]
    assert lines[5:11] == ["EPERM", "EPERM", "EPERM", "EPERM", "done", "done"]
    assert "no signals to processes outside (needs Landlock 6" in lines[11]
    assert ("(needs Landlock 3" in lines[11]) == (version < 3)
    assert (own_room.outside / "victim").read_text(encoding="ascii") == "alive"


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("_kernel.landlock_version = lambda: 0", "Landlock: this kernel has none"),
        ("_kernel.available = lambda: {'seccomp': False}", "seccomp: this kernel has none"),
        ("_kernel.audit_machine = lambda: None", "seccomp: not known on this machine"),
        ("import _seccomp; _seccomp.LOAD = 0x99", "seccomp: the filter"),
        ("import _landlock; _landlock.WRITING = 0", "Landlock: allowing"),
        (
            (
                "import threading; e = threading.Event(); "
                "threading.Thread(target=e.wait, daemon=True).start()"
            ),
            "Landlock: 2 threads run",
        ),
    ],
)
def test_what_cannot_be_confined_says_which_step_failed(
    own_room: Room, patch: str, message: str
) -> None:
    done = own_room.run("print('ran')", patch=patch)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout == ""


def test_the_report_says_what_is_in_force(own_room: Room) -> None:
    report = json.loads(own_room.answer("import json; print(json.dumps(report))"))
    assert report["landlock"] == _kernel.landlock_version()
    assert report["seccomp"] is True
    assert "no network" in report["enforced"]
    assert "files are read below the given folders only" in report["enforced"]
    assert "names, sizes and times of files outside can be seen" in report["not_enforced"]
    root = "the number of processes: limits of a user do not hold root"
    assert (root in report["not_enforced"]) == (os.geteuid() == 0)
    assert _confine.available() == {"landlock": report["landlock"], "seccomp": True}


def test_a_32_bit_call_ends_the_process(own_room: Room) -> None:
    code = (
        "import ctypes, mmap\n"
        "m = mmap.mmap(-1, 4096, prot=7)\n"
        r"m.write(b'\xb8\x14\x00\x00\x00\xcd\x80\xc3')  # mov eax, getpid; int 0x80; ret"
        "\nctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()"
    )
    if os.uname().machine != "x86_64" or own_room.run(code, confined=False).returncode:
        pytest.skip("this kernel runs no 32-bit calls")
    assert own_room.run(code).returncode == -signal.SIGSYS


def test_every_right_of_each_version_is_handled() -> None:
    assert [_landlock.handled_files(n).bit_count() for n in range(1, 8)] == [
        13,
        14,
        15,
        15,
        16,
        16,
        16,
    ]
    assert not _landlock.WRITING & (_landlock.MAKE_CHAR | _landlock.MAKE_BLOCK)
