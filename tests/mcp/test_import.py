"""The package is light until a server is wanted."""

import subprocess
import sys


def test_importing_the_package_loads_neither_the_sdk_nor_a_validator() -> None:
    code = (
        "import sys, agentkit.mcp; "
        "print([name for name in ('mcp', 'jsonschema', 'httpx2') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == "[]"
