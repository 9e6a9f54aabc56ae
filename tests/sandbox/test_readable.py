"""Which files and folders a Python is given to read."""

import sys
from pathlib import Path

import _readable


def test_only_parts_of_a_prefix_are_readable(tmp_path: Path) -> None:
    paths = _readable.readable_paths("/opt/python/bin/python", [str(tmp_path), "/", "/opt/python"])
    assert "/opt/python/bin/python" in paths
    assert {f"{tmp_path}/lib", f"{tmp_path}/bin", "/opt/python/lib"} <= set(paths)
    assert not {"/", "/etc", "/proc", "/proc/self", "/dev", "/home", "/tmp", str(tmp_path)} & set(
        paths
    )
    assert all(Path(path) not in Path.home().parents for path in paths)


def test_names_of_hosts_are_looked_up_only_with_a_network() -> None:
    assert "/etc/resolv.conf" not in _readable.readable_paths(sys.executable, [sys.prefix])
    assert "/etc/resolv.conf" in _readable.readable_paths(
        sys.executable, [sys.prefix], network=True
    )
