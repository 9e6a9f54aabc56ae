"""What confined code cannot reach, what still works, and what is said about it.

Each attack is first made without confinement where it then works, so that a refusal is the
confinement's own.
"""

import importlib.util
import os
import re

import _kernel
import pytest

from tests.sandbox.confined import Room, fill, make_room

pytestmark = pytest.mark.skipif(
    not _kernel.landlock_version() or not _kernel.available()["seccomp"],
    reason="this kernel has no Landlock, or no seccomp",
)

REFUSED = [
    # what is tried, the code, its answer; an attack that works without confinement has a star
    ("*reading a file", "attempt(open, {secret!r})", "EACCES"),
    ("*listing a folder", "attempt(os.listdir, {outside!r})", "EACCES"),
    ("*a link to a file", "os.symlink({secret!r}, 'link'); attempt(open, 'link')", "EACCES"),
    ("*writing a file", "attempt(open, {outside!r} + '/new', 'w')", "EACCES"),
    ("*truncating a file", "attempt(os.truncate, {outside!r} + '/victim', 0)", "EACCES"),
    ("*removing a file", "attempt(os.remove, {outside!r} + '/victim')", "EACCES"),
    ("*making a folder", "attempt(os.mkdir, {outside!r} + '/made')", "EACCES"),
    (
        "*moving a file out",
        "open('mine', 'w').close(); attempt(os.rename, 'mine', {outside!r} + '/mine')",
        "EACCES",
    ),
    (
        "*a second name for a file",
        "attempt(os.link, {outside!r} + '/victim', 'mine')",
        "EACCES|EXDEV",
    ),
    ("*a file by way of the root", "attempt(open, '/proc/self/root' + {secret!r})", "EACCES"),
    ("reading /etc/passwd", "attempt(open, '/etc/passwd')", "EACCES"),
    ("*the host's memory", "attempt(open, f'/proc/{{os.getppid()}}/mem', 'rb')", "EACCES"),
    ("*the host's environment", "attempt(open, f'/proc/{{os.getppid()}}/environ')", "EACCES"),
    ("*its own environment at start", "attempt(open, '/proc/self/environ')", "EACCES"),
    ("shared memory", "attempt(open, '/dev/shm/agentkit-test', 'w')", "EACCES"),
    ("a device file", "attempt(os.mknod, 'disk', 0o060666, os.makedev(7, 0))", "EACCES|EPERM"),
    ("*TCP", "attempt(socket.create_connection, ('127.0.0.1', {port}))", "EACCES"),
    ("*TCP of version 6", "attempt(socket.create_connection, ('::1', {port6}))", "EACCES"),
    ("*a TCP server", "attempt(socket.create_server, ('127.0.0.1', 0))", "EACCES"),
    (
        "*UDP",
        "attempt(lambda: socket.socket(2, 2).sendto(b'x', ('127.0.0.1', 9)))",
        "EACCES",
    ),
    (
        "*a unix socket without a file",
        "attempt(lambda: socket.socket(socket.AF_UNIX).connect({abstract!r}))",
        "EACCES",
    ),
    (
        "*a unix socket with a file, as docker's",
        "attempt(lambda: socket.socket(socket.AF_UNIX).connect({listener!r}))",
        "EACCES",
    ),
    ("*datagrams to unix sockets", "attempt(socket.socketpair, 1, 2)", "EACCES"),
    (
        "another end for a socket of a pair",
        "a, b = socket.socketpair(); b.close(); attempt(a.connect, {listener!r})",
        "EISCONN",
    ),
    (
        "a message from a pair to elsewhere",
        "a, b = socket.socketpair(); attempt(a.sendmsg, [b'x'], [], 0, {listener!r})",
        "EISCONN",
    ),
    ("*netlink", "attempt(socket.socket, socket.AF_NETLINK, 3)", "EACCES"),
    ("vsock", "attempt(socket.socket, socket.AF_VSOCK, 1)", "EACCES"),
    ("raw packets", "attempt(socket.socket, socket.AF_PACKET, 3)", "EACCES"),
    ("*tracing", "attempt(call, 'ptrace', 0x4206, os.getppid(), None, None)", "EPERM"),
    ("*signalling", "attempt(os.kill, os.getppid(), 0)", "EPERM"),
    ("*signalling everyone", "attempt(os.kill, -1, 0)", "EPERM"),
    ("*the host's limits", "attempt(call, 'prlimit64', os.getppid(), 7, None, None)", "EPERM"),
    (
        "*the host's priority",
        "attempt(os.setpriority, 0, os.getppid(), os.getpriority(0, os.getppid()))",
        "EPERM",
    ),
    ("the user's priority", "attempt(os.setpriority, 2, 0, 0)", "EPERM"),
    (
        "*the host's cores",
        "attempt(os.sched_setaffinity, os.getppid(), os.sched_getaffinity(os.getppid()))",
        "EPERM",
    ),
    (
        "*the host's memory by call",
        "attempt(call, 'process_vm_readv', os.getppid(), None, 0, None, 0, 0)",
        "EPERM",
    ),
    ("*a user namespace", "attempt(call, 'unshare', 0x10000000)", "EPERM"),
    ("entering a namespace", "attempt(call, 'setns', 0, 0)", "EPERM"),
    ("cloning into a namespace", "attempt(call, 'clone', 0x10000011)", "EPERM"),
    ("the newer clone", "attempt(call, 'clone3', None, 0)", "ENOSYS"),
    ("mounting", "attempt(call, 'mount', b'none', b'.', b'tmpfs', 0, None)", "EPERM"),
    ("opening a tree of mounts", "attempt(call, 'open_tree', -100, b'/', 1)", "EPERM"),
    ("chroot", "attempt(os.chroot, '.')", "EPERM"),
    ("bpf", "attempt(call, 'bpf', 0, None, 0)", "EPERM"),
    ("io_uring", "attempt(call, 'io_uring_setup', 1, bytes(120))", "EPERM"),
    ("keys", "attempt(call, 'keyctl', 0, -3, 0)", "EPERM"),
    ("perf events", "attempt(call, 'perf_event_open', bytes(120), 0, -1, -1, 0)", "EPERM"),
    ("userfaultfd", "attempt(call, 'userfaultfd', 1)", "EPERM"),
    ("files by handle", "attempt(call, 'open_by_handle_at', -100, bytes(16), 0)", "EPERM"),
    ("*a session", "os.fork() and (os.wait(), os._exit(0)); attempt(os.setsid)", "EPERM"),
    (
        "*a process group",
        "os.fork() and (os.wait(), os._exit(0)); attempt(os.setpgid, 0, 0)",
        "EPERM",
    ),
    ("*living longer than the janitor", "attempt(_kernel.prctl, 1, 0)", "EPERM"),
    ("calls by x32 numbers", "_kernel.number = lambda _: 0x40000027; attempt(call, 'x')", "EPERM"),
    ("typing into a terminal", "attempt(call, 'ioctl', 0, 0x5412, b'x')", "EPERM"),
    ("*signals by way of files", "attempt(call, 'fcntl', 0, 8, os.getpid())", "EPERM"),
    ("System V memory", "attempt(call, 'shmget', 0, 4096, 0o1600)", "EPERM"),
    ("message queues", "attempt(call, 'msgget', 0, 0o1600)", "EPERM"),
    ("POSIX queues", "attempt(call, 'mq_open', b'agentkit', 0o102, 0o600, None)", "EPERM"),
    ("*memory files", "attempt(os.memfd_create, 'x')", "EPERM"),
    ("*attributes of files", "attempt(os.chown, {outside!r} + '/victim', -1, -1)", "EPERM"),
    ("*news of files", "attempt(call, 'inotify_add_watch', {inotify}, b'/etc', 0x100)", "EPERM"),
    ("*another personality", "attempt(call, 'personality', 0x0040000)", "EPERM"),
    ("the clock", "import time; attempt(time.clock_settime, 0, 0)", "EPERM"),
]

WORKS = [
    ("threads", "t = threading.Thread(target=print, args=(7,)); t.start(); t.join()", "7"),
    (
        "programs",
        (
            "import subprocess, sys\n"
            "print(subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True).stdout)"
        ),
        "b'7\\n'",
    ),
    ("a shell", "import subprocess; print(subprocess.getoutput('echo 7 | cat'))", "7"),
    ("time zones", "import zoneinfo; print(zoneinfo.ZoneInfo('Asia/Tokyo'))", "Asia/Tokyo"),
    (
        "temporary files",
        "import tempfile\nwith tempfile.TemporaryDirectory() as d: print(os.path.dirname(d))",
        "{folder}",
    ),
    (
        "a database",
        (
            "import sqlite3\n"
            "with sqlite3.connect('db') as d: d.execute('pragma journal_mode=wal'); "
            "d.execute('create table t(x)'); d.execute('insert into t values(7)'); "
            "print(d.execute('select x from t').fetchone()[0])"
        ),
        "7",
    ),
    (
        "processes that talk by pipes",
        (
            "import multiprocessing\nc = multiprocessing.get_context('fork')\na, b = c.Pipe()\n"
            "p = c.Process(target=b.send, args=(7,)); p.start(); print(a.recv()); p.join()"
        ),
        "7",
    ),
    (
        "ending a process",
        "import subprocess; p = subprocess.Popen(['sleep', '50']); p.kill(); print(p.wait())",
        "-9",
    ),
    ("signalling itself", "signal.signal(10, lambda *_: print(7)); os.kill(os.getpid(), 10)", "7"),
    (
        "asyncio",
        (
            "import asyncio\nasync def main():\n"
            "  p = await asyncio.create_subprocess_exec('echo', '7', stdout=-1)\n"
            "  return (await p.communicate())[0]\nprint(asyncio.run(main()))"
        ),
        "b'7\\n'",
    ),
    ("TLS", "import ssl; print(ssl.create_default_context().check_hostname)", "True"),
    ("random numbers", "import random; print(len(random.randbytes(3) + os.urandom(4)))", "7"),
    ("the random device", "print(len(open('/dev/urandom', 'rb').read(7)))", "7"),
    ("nowhere", "print(open('/dev/null', 'w').write('1234567'))", "7"),
    ("mapped memory", "import mmap; m = mmap.mmap(-1, 9); m[0] = 7; print(m[0])", "7"),
    ("types of files", "import mimetypes; print(mimetypes.guess_type('a.png')[0])", "image/png"),
    ("the number of cores", "print(os.cpu_count() == {cores})", "True"),
    ("memory of the machine", "print('MemTotal' in open('/proc/meminfo').read())", "True"),
    ("the platform", "import platform; print(platform.machine() != '')", "True"),
    (
        "copies with their times and modes",
        (
            "import shutil; open('a', 'w').write('7'); shutil.copy2('a', 'b'); shutil.copy('a', 'c'); "
            "print(open('b').read())"
        ),
        "7",
    ),
    (
        "touching",
        (
            "import pathlib; pathlib.Path('t').touch(); pathlib.Path('t').touch(); "
            "print(pathlib.Path('t').exists())"
        ),
        "True",
    ),
    (
        "folders, links, pipes and moves between folders",
        (
            "os.makedirs('d/e'); os.symlink('d', 'l'); os.mkfifo('f'); open('x', 'w').close(); "
            "os.rename('x', 'd/e/x'); os.link('d/e/x', 'y'); os.remove('y'); print(os.listdir('l/e'))"
        ),
        "['x']",
    ),
    (
        "archives",
        (
            "import shutil; os.makedirs('z'); open('z/a', 'w').write('7'); "
            "shutil.make_archive('k', 'gztar', 'z'); shutil.unpack_archive('k.tar.gz', 'u', 'gztar'); "
            "print(open('u/a').read())"
        ),
        "7",
    ),
    ("nicer priority", "print(os.nice(1) >= 1)", "True"),
    ("its own limits", "import resource; resource.setrlimit(7, (64, 64)); print(7)", "7"),
]


@pytest.mark.parametrize(
    ("code", "answer"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_confined_code_is_refused(
    room: Room, listening: dict[str, object], code: str, answer: str
) -> None:
    assert re.fullmatch(answer, room.answer(fill(code, room, listening)))
    assert room.secret.read_text(encoding="ascii") == "canary-7301"
    assert {path.name for path in room.outside.iterdir()} == {"victim"}
    assert (room.outside / "victim").read_text(encoding="ascii") == "alive"


@pytest.mark.parametrize(
    "code",
    [row[1] for row in REFUSED if row[0][0] == "*"],
    ids=[r[0] for r in REFUSED if r[0][0] == "*"],
)
def test_the_same_succeeds_where_nothing_is_confined(
    own_room: Room, listening: dict[str, object], code: str
) -> None:
    assert own_room.answer(fill(code, own_room, listening), confined=False) == "done"


@pytest.mark.parametrize(("code", "answer"), [row[1:] for row in WORKS], ids=[r[0] for r in WORKS])
def test_confined_code_still_has(
    room: Room, listening: dict[str, object], code: str, answer: str
) -> None:
    assert room.answer(fill(code, room, listening)) == answer.format(folder=room.folder)


@pytest.mark.parametrize("user", ["same", "dropped"])
@pytest.mark.parametrize(
    ("package", "code"),
    [
        ("numpy", "print(numpy.linalg.inv(numpy.eye(300)).sum())"),
        ("pandas", "print(pandas.DataFrame({'a': [100.0, 200.0]}).a.sum())"),
        (
            "matplotlib",
            (
                "import matplotlib.pyplot as p; p.plot([1]); p.savefig('p.png'); "
                "print(300.0 * (os.path.getsize('p.png') > 999))"
            ),
        ),
    ],
)
def test_confined_code_has_the_packages_of_science(user: str, package: str, code: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    if user == "dropped" and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with make_room(user) as room:
        assert room.answer(f"import os, {package}\n{code}") == "300.0"


def test_what_confined_code_starts_is_confined_too(room: Room) -> None:
    code = f"import subprocess; print(subprocess.run(['cat', {str(room.secret)!r}]).returncode)"
    assert room.answer(code, confined=False) == "canary-73011"[:-1] + "0"
    assert room.answer(code) == "1"


def test_modes_are_answered_as_changed_and_stay(own_room: Room) -> None:
    own_room.secret.chmod(0o600)
    (own_room.folder / "mine").touch(0o600)
    code = (
        f"import os; os.chmod({str(own_room.secret)!r}, 0o666); os.chmod('mine', 0o700); print(7)"
    )
    assert own_room.answer(code) == "7"
    assert own_room.secret.stat().st_mode & 0o777 == 0o600
    assert (own_room.folder / "mine").stat().st_mode & 0o777 == 0o600


def test_a_user_that_owns_nothing_outside_changes_modes(room: Room) -> None:
    code = (
        "import os, subprocess; open('s', 'w').write('#!/bin/sh\\necho 7\\n')\n"
        "os.chmod('s', 0o700); print(subprocess.run(['./s'], capture_output=True).stdout)"
    )
    assert room.answer(code, own_user=True) == "b'7\\n'"


def test_a_network_that_is_allowed_is_only_tcp_and_udp(
    room: Room, listening: dict[str, object]
) -> None:
    code = (
        "attempt(socket.create_connection, ('127.0.0.1', {port}))\n"
        "attempt(socket.create_connection, ('localhost', {port}))\n"
        "attempt(lambda: socket.socket(2, 2).sendto(b'x', ('127.0.0.1', 9)))\n"
        "attempt(socket.socket, socket.AF_UNIX)\n"
        "attempt(socket.socket, socket.AF_NETLINK, 3)\n"
        "attempt(socket.socket, 2, 3, 1)\n"
        "attempt(open, {secret!r})\n"
    )
    answers = room.answer(fill(code, room, listening), network=True).split()
    assert answers == ["done", "done", "done", "EACCES", "EACCES", "EACCES", "EACCES"]
