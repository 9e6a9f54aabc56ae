"""The launch profiles that ship, held to the options that the real SGLang knows."""

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from agentkit.engine import read_server_profiles
from agentkit.engine._commands import command_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sglang.conftest import Installed

SERVERS = [profile for profile in read_server_profiles() if profile.server.kind == "sglang"]
_PARSE = """
import argparse, json, sys
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
known = [vars(parser.parse_args(words)) for words in json.load(sys.stdin)]
print(json.dumps([[known["context_length"], known["tp_size"]] for known in known]))
"""


@pytest.mark.sglang
@pytest.mark.timeout(120)
async def test_sglang_knows_every_option_of_every_profile(
    real_installed: "Callable[[], Installed]",
) -> None:
    installed = await to_thread.run_sync(real_installed)
    words = [_options(list(command_of(one, Path("p"), Path("w")).words)) for one in SERVERS]
    python = await to_thread.run_sync(installed.python_itself)
    done = await anyio.run_process(
        [str(python), "-c", _PARSE],
        input=json.dumps(words).encode(),
        env=installed.profile.server.environment,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    known: list[Any] = json.loads(done.stdout.decode().splitlines()[-1])
    assert known == [[one.server.context_tokens, one.server.tensor_parallel] for one in SERVERS]


def _options(words: list[str]) -> list[str]:
    """Return the words after the program and the file with the key."""
    return [word.replace("{port}", "30000") for word in words[5:]]
