"""Refuses the system calls that no calculation needs, by a seccomp filter: for good.

The filter is a program of the kernel's packet filter (linux/bpf_common.h), assembled here. It
sees numbers, not what pointers point to, so it refuses by call and by numeric argument.
"""

import ctypes
import errno
import struct
from collections.abc import Iterable, Sequence

import _kernel

LOAD, AND, RETURN = 0x20, 0x54, 0x06  # linux/bpf_common.h: a 32-bit word, with constants
EQUAL, AT_LEAST, ANY_BIT = 0x15, 0x35, 0x45

KILL_PROCESS, ALLOW = 0x80000000, 0x7FFF0000  # linux/seccomp.h
SET_MODE_FILTER, TSYNC = 1, 1
NUMBER_AT, MACHINE_AT, ARGUMENTS_AT = 0, 4, 16

X32 = 0x40000000
"""Set in the numbers of the x32 interface, which reaches the same calls by other numbers."""

NEW_NAMESPACES = 0x7E020000  # CLONE_NEW* of linux/sched.h but CLONE_NEWTIME, which clone lacks
PERSONALITY_QUERY = 0xFFFFFFFF
PR_SET_PDEATHSIG = 1
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10  # linux/socket.h; the module would cost a start 4 ms
SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET = 1, 2, 5
TYPE_OF_SOCKET = 0xF  # the bits beside flags
F_SETOWN, F_SETSIG, F_SETOWN_EX = 8, 10, 15  # linux/fcntl.h; other systems lack names for them
IOCTLS = (
    0x5412,  # TIOCSTI types into the terminal
    0x541C,  # TIOCLINUX does so on a console
    0x541D,  # TIOCCONS takes the console's output
    0x8901,  # FIOSETOWN and SIOCSPGRP send signals, as F_SETOWN does
    0x8902,
    0x40086602,  # FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR change files that can only be read
    0x401C5820,
)

KERNEL = (
    "unshare setns mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen "
    "fsconfig fsmount fspick mount_setattr statmount listmount "
    "bpf perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd "
    "keyctl add_key request_key kexec_load kexec_file_load init_module finit_module delete_module "
    "quotactl quotactl_fd swapon swapoff reboot sethostname setdomainname settimeofday "
    "clock_settime adjtimex clock_adjtime syslog acct iopl ioperm modify_ldt vhangup "
    "lookup_dcookie nfsservctl uselib sysfs"
)
"""What changes the machine, or is a large part of the kernel's faults."""

PROCESSES = (
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd"
)
"""Reaching into other processes."""

LEAVING = "setsid setpgid"
"""A daemon that leaves its process group survives when the group is killed."""

FILES = (
    "open_by_handle_at name_to_handle_at chown fchown lchown fchownat file_setattr "
    "setxattr lsetxattr fsetxattr setxattrat removexattr lremovexattr fremovexattr removexattrat "
    "fanotify_init fanotify_mark inotify_add_watch"
)
"""Files that Landlock lets pass: by handle, their owners and attributes, news of their names."""

KEPT_IN_KERNEL = (
    "shmget shmat shmctl semget semop semtimedop semctl msgget msgsnd msgrcv msgctl "
    "mq_open mq_unlink memfd_create memfd_secret"
)
"""Memory that outlives a process, that others of the user share, or that no limit counts."""

MODES = "chmod fchmod fchmodat fchmodat2"
OF_OTHERS = (
    "prlimit64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler "
    "migrate_pages move_pages"
)
"""Their first argument is a process; 0 is the caller, and any other is refused."""

SIGNALS = "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open"


def install(
    *,
    network: bool,
    protect: Sequence[int],
    own_user: bool,
    landlock: int,
) -> None:
    """Filter the system calls of this process and its children, for good.

    Args:
        network: allow sockets of TCP and UDP.
        protect: processes to which no signal is sent.
        own_user: the user owns nothing outside, so that modes of files may be changed.
        landlock: the version in force; below some, the filter refuses what it does not know.

    Raises:
        OSError: the kernel or the machine does not know this filter.
    """
    machine = _kernel.audit_machine()
    if machine is None:
        raise OSError(errno.ENOSYS, "seccomp: not known on this machine")
    program = _assemble(
        machine,
        (
            *_refusals(own_user=own_user, landlock=landlock),
            *_by_argument(),
            *_sockets(network=network),
            *_signals(protect, scoped=landlock >= 6),
        ),
    )
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))  # struct sock_fprog
    if _kernel.call("seccomp", SET_MODE_FILTER, TSYNC, header, step="seccomp: the filter"):
        raise OSError(errno.EBUSY, "seccomp: a thread of this process cannot be filtered")


def _assemble(machine: int, blocks: Iterable[bytes]) -> bytes:
    return b"".join(
        (
            _plain(LOAD, MACHINE_AT),
            _jump(EQUAL, machine, 1, 0),
            _plain(RETURN, KILL_PROCESS),  # 32-bit calls have other numbers
            _plain(LOAD, NUMBER_AT),
            _jump(AT_LEAST, X32, 0, 1),
            _refuse(errno.EPERM),
            *blocks,
            _plain(RETURN, ALLOW),
        )
    )


def _refusals(*, own_user: bool, landlock: int) -> Iterable[bytes]:
    names = f"{KERNEL} {PROCESSES} {LEAVING} {FILES} {KEPT_IN_KERNEL}"
    if landlock < 3:  # truncates by name what may not be opened for writing
        names += " truncate"
    for name in names.split():
        yield _when(name, _refuse(errno.EPERM))
    # The C library then asks with clone, whose flags can be seen.
    yield _when("clone3", _refuse(errno.ENOSYS))
    if not own_user:
        # Landlock would let any file of the user be opened to the world, or closed to him. An
        # error would break shutil.copy, which sets the mode of its copy; so nothing happens.
        for name in MODES.split():
            yield _when(name, _refuse(0))


def _by_argument() -> Iterable[bytes]:
    denied, fine = _refuse(errno.EPERM), _plain(RETURN, ALLOW)
    yield _when("clone", _argument(0), _jump(ANY_BIT, NEW_NAMESPACES, 0, 1), denied, fine)
    yield _when("personality", _argument(0), _unless((0, PERSONALITY_QUERY), denied), fine)
    yield _when("ioctl", _argument(1), _if(IOCTLS, denied), fine)
    # The worker ends with its janitor; and a signal by way of a file is a signal as well.
    yield _when("prctl", _argument(0), _if((PR_SET_PDEATHSIG,), denied), fine)
    yield _when("fcntl", _argument(1), _if((F_SETOWN, F_SETSIG, F_SETOWN_EX), denied), fine)
    for name in OF_OTHERS.split():
        yield _when(name, _argument(0), _unless((0,), denied), fine)
    for name, process in (("setpriority", 0), ("ioprio_set", 1)):  # PRIO_ and IOPRIO_WHO_PROCESS
        yield _when(
            name,
            _argument(0),
            _unless((process,), denied),
            _argument(1),
            _unless((0,), denied),
            fine,
        )


def _sockets(*, network: bool) -> Iterable[bytes]:
    """Allow pairs, which asyncio and pipes use; and TCP and UDP if asked.

    A socket of the file system is not bounded by Landlock, and docker's is as good as root: so
    there is none to connect. A pair of datagram sockets could still send to any.
    """
    denied, fine = _refuse(errno.EACCES), _plain(RETURN, ALLOW)
    families = (AF_INET, AF_INET6) if network else ()
    for name, known, kinds in (
        ("socket", families, (SOCK_STREAM, SOCK_DGRAM)),
        ("socketpair", (AF_UNIX,), (SOCK_STREAM, SOCK_SEQPACKET)),
    ):
        yield _when(
            name,
            _argument(0),
            _unless(known, denied),
            _argument(1),
            _plain(AND, TYPE_OF_SOCKET),
            _unless(tuple(map(int, kinds)), denied),
            fine,
        )


def _signals(protect: Sequence[int], *, scoped: bool) -> Iterable[bytes]:
    """Refuse signals to everyone and to the protected; to groups where Landlock knows none."""
    denied, fine = _refuse(errno.EPERM), _plain(RETURN, ALLOW)
    everyone = 2**32 - 1
    targets = {everyone, *protect, *(-pid % 2**32 for pid in protect)}
    groups = b"" if scoped else _jump(ANY_BIT, 1 << 31, 0, 1) + denied
    for name in SIGNALS.split():
        yield _when(name, _argument(0), _if(sorted(targets), denied), groups, fine)


def _plain(code: int, constant: int) -> bytes:
    return _jump(code, constant, 0, 0)


def _jump(code: int, constant: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, constant)


def _refuse(error: int) -> bytes:
    return _plain(RETURN, _kernel.SECCOMP_RET_ERRNO | error)


def _argument(index: int) -> bytes:
    """Load the lower half of an argument: all that the kernel reads of those we look at."""
    return _plain(LOAD, ARGUMENTS_AT + 8 * index)


def _when(name: str, *body: bytes) -> bytes:
    """Do the body, which returns, for this call; nothing on machines that have no such call."""
    number = _kernel.number(name)
    if number is None:
        return b""
    code = b"".join(body)
    return _jump(EQUAL, number, 0, len(code) // 8) + code


def _if(values: Sequence[int], answer: bytes) -> bytes:
    return b"".join(_jump(EQUAL, value, 0, 1) + answer for value in values)


def _unless(values: Sequence[int], answer: bytes) -> bytes:
    after = len(values)  # the last comparison jumps over the answer alone
    tests = (_jump(EQUAL, value, after - n, 0) for n, value in enumerate(values))
    return b"".join(tests) + answer
