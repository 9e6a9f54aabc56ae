"""Calls of the Linux kernel that Python has no name for, and what this kernel offers.

Runs in the process that runs model-written code, like all that confines it: it imports nothing
of agentkit and little of the standard library, and can be imported by path as well.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys

TYPE_CHECKING = False  # the module that defines it would cost a start 3 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # name: the number on x86_64, the number on aarch64
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "chmod": (90, None),
    "chown": (92, None),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fcntl": (72, 25),
    "file_setattr": (469, 469),
    "finit_module": (313, 273),
    "fremovexattr": (199, 16),
    "fsconfig": (431, 431),
    "fsetxattr": (190, 7),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "getpid": (39, 172),
    "init_module": (175, 105),
    "inotify_add_watch": (254, 27),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "landlock_add_rule": (445, 445),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
    "lchown": (94, None),
    "listmount": (458, 458),
    "lookup_dcookie": (212, 18),
    "lremovexattr": (198, 15),
    "lsetxattr": (189, 6),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "msgctl": (71, 187),
    "msgget": (68, 186),
    "msgrcv": (70, 188),
    "msgsnd": (69, 189),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "removexattr": (197, 14),
    "removexattrat": (466, 466),
    "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "seccomp": (317, 277),
    "semctl": (66, 191),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "setpgid": (109, 154),
    "setpriority": (141, 140),
    "setsid": (112, 157),
    "settimeofday": (164, 170),
    "setxattr": (188, 5),
    "setxattrat": (463, 463),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "statmount": (457, 457),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "sysfs": (139, None),
    "tgkill": (234, 131),
    "tkill": (200, 130),
    "truncate": (76, 45),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
"""From asm/unistd_64.h and asm-generic/unistd.h; those above 423 are the same everywhere."""

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""By machine: its column above, and its name in linux/audit.h."""

SECCOMP_GET_ACTION_AVAIL = 2  # linux/seccomp.h
SECCOMP_RET_ERRNO = 0x00050000
LANDLOCK_CREATE_RULESET_VERSION = 1  # linux/landlock.h


def audit_machine() -> int | None:
    """Return how filters of system calls name this machine; None if its calls are not known."""
    known = MACHINES.get(os.uname().machine) if sys.platform == "linux" else None
    # A 32-bit program on a 64-bit kernel has other numbers.
    return known[1] if known and sys.maxsize > 2**32 and sys.byteorder == "little" else None


@functools.cache
def number(name: str) -> int | None:
    """Return the number of a system call on this machine; None if it has no such call."""
    if audit_machine() is None:
        return None
    return NUMBERS[name][MACHINES[os.uname().machine][0]]


@functools.cache
def _function() -> Callable[..., int]:
    function: Any = ctypes.CDLL(None, use_errno=True).syscall
    function.restype = ctypes.c_long
    # Pointers are as wide as the registers that the kernel reads; an int would be cut.
    function.argtypes = [ctypes.c_long] + [ctypes.c_void_p] * 6
    return function


def call(name: str, *arguments: object, step: str = "") -> int:
    """Make a system call: its arguments are integers, bytes, ctypes arrays or None.

    Raises:
        OSError: it failed; `step`, or its name, begins the message.
    """
    called = number(name)
    if called is None:
        raise OSError(38, f"{step or name}: no such call on this machine")  # ENOSYS
    result = _function()(called, *arguments, *[None] * (6 - len(arguments)))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{step or name}: {os.strerror(code)}")
    return result


def prctl(option: int, *arguments: object, step: str = "") -> int:
    """Make an operation on this process; arguments that are not given are 0.

    Raises:
        OSError: it failed; `step` begins the message.
    """
    return call("prctl", option, *arguments, *[None] * (4 - len(arguments)), step=step or "prctl")


def landlock_version() -> int:
    """Return the version of Landlock's interface, 0 where there is none."""
    try:
        return call("landlock_create_ruleset", None, None, LANDLOCK_CREATE_RULESET_VERSION)
    except OSError:
        return 0


def available() -> dict[str, object]:
    """Return what this kernel has for confining: Landlock's version (0: none), and seccomp."""
    action = ctypes.c_uint32(SECCOMP_RET_ERRNO)
    try:
        call("seccomp", SECCOMP_GET_ACTION_AVAIL, None, ctypes.byref(action))
    except OSError:
        return {"landlock": landlock_version(), "seccomp": False}
    return {"landlock": landlock_version(), "seccomp": True}
