"""Whether gVisor can run anything here: an installed program need not be one that works."""

import functools
import shutil
import subprocess
import tempfile


@functools.cache
def why_no_gvisor() -> str:
    """Return why gVisor cannot run a program of this machine, empty if it can."""
    path = shutil.which("runsc")
    if path is None:
        return "runsc is not installed"
    with tempfile.TemporaryDirectory() as state:
        done = subprocess.run(
            [
                *(path, "--rootless", f"--root={state}", "--network=none", "--ignore-cgroups"),
                *("do", "true"),
            ],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    return f"runsc cannot run anything here: {done.stderr[-500:]}" if done.returncode else ""
