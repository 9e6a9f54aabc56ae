"""What a Python program has to read on Linux, and nothing more; imports nothing of agentkit."""
# ruff: noqa: PTH118 - the child imports this as well, where pathlib would double the start

import os
from collections.abc import Sequence

PARTS_OF_PREFIX = (
    "bin",
    "include",
    "lib",
    "lib64",
    "libexec",
    "share",
    "ssl",
    "etc/fonts",
    "pyvenv.cfg",
)
"""Not the prefix itself: a virtual environment may be made in a project, and hold its secrets."""

SYSTEM = (
    "/usr",
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/sbin",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/os-release",
    # mimetypes and OpenSSL take a file that is there for one that can be read, and fail else.
    "/etc/mime.types",
    "/etc/apache2/mime.types",
    "/etc/httpd/mime.types",
    "/etc/httpd/conf/mime.types",
    "/etc/nginx/conf/mime.types",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
    "/dev/null",
    "/dev/zero",
    "/dev/random",
    "/dev/urandom",
    # How many cores and how much memory; /proc as a whole would show the host's environment.
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
)

NAMES = (
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
)
"""For finding hosts by name. Links are followed, so a resolver that keeps its file elsewhere works."""


def readable_paths(executable: str, prefixes: Sequence[str], *, network: bool = False) -> list[str]:
    """Return the files and folders that this Python has to read, for `confine(read=...)`.

    Neither `/etc`, `/proc` nor anyone's home is among them; folders of `sys.path` outside the
    prefixes are for the caller to add. Some need not exist.

    Args:
        executable: the interpreter.
        prefixes: `sys.prefix`, `sys.base_prefix`, and other places of packages with the same
            parts; the root folder is left out, for it holds everything.
        network: add what names of hosts are looked up with.
    """
    paths = [*SYSTEM, *(NAMES if network else ()), executable]
    for prefix in dict.fromkeys(prefixes):
        if prefix and os.path.realpath(prefix) != "/":
            paths += (os.path.join(prefix, part) for part in PARTS_OF_PREFIX)
    return list(dict.fromkeys(paths))
