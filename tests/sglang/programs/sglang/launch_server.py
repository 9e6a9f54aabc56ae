"""Its options, its words in the log, its processes and its signals; the answers are FakeSGLang's.

`FAKE_SGLANG` makes it go wrong: "die" (with the traceback in `FAKE_SGLANG_SAYS`), or "hang" (it
answers for a while, and then no more). It stays in each stage while the file `FAKE_SGLANG_HOLD`
names that stage.
"""

import argparse
import mmap
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
import yaml

from agentkit.testing import FakeSGLang

_CHILD = "import time; time.sleep(3600)"
_STAGES = {
    "weights": "Load weight begin. avail mem=20.95 GB",
    "KV cache": "KV Cache is allocated. dtype: torch.float32, #tokens: 32768",
    "graph capture": "Capture cuda graph begin. This can take up to several minutes.",
    "warm-up": "Engine startup timings (s): load_weight=0.10, kv_cache_allocation=0.39",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("config", "model-path", "host", "port", "served-model-name", "context-length"):
        parser.add_argument(f"--{name}")
    options, _ = parser.parse_known_args()
    key = yaml.safe_load(Path(options.config).read_text(encoding="utf-8"))["api-key"]
    say(f"server_args={{'model_path': '{options.model_path}', 'api_key': '{key}'}}")
    tempfile.mkstemp()  # SGLang leaves sockets and a folder for its metrics
    tempfile.mkdtemp()
    # As the detokenizer while it imports: a child that does not know yet that it is to die.
    subprocess.Popen([sys.executable, "-c", _CHILD])
    for stage, line in _STAGES.items():
        say(line)
        if stage == "KV cache" and os.environ.get("FAKE_SGLANG") == "die":
            say(os.environ["FAKE_SGLANG_SAYS"])
            sys.exit(1)
        wait_while_held(stage)
    shared = keep_in_shared_memory()
    anyio.run(serve, options, key)
    shared.close()


def keep_in_shared_memory() -> mmap.mmap:
    """Make what SGLang's schedulers tell their load by, and leaves behind."""
    path = Path("/dev/shm" if Path("/dev/shm").is_dir() else tempfile.gettempdir())
    path /= f"sglang_loads_{os.getpid()}.shm"
    path.write_bytes(bytes(64))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 64)


def wait_while_held(stage: str) -> None:
    hold = Path(os.environ.get("FAKE_SGLANG_HOLD", "/nonexistent"))
    while hold.is_file() and stage in hold.read_text(encoding="utf-8"):
        time.sleep(0.02)


async def serve(options: argparse.Namespace, key: str) -> None:
    server = FakeSGLang(
        model=options.served_model_name,
        context_tokens=int(options.context_length),
        api_key=key,
        port=int(options.port),
        state="warming",
    )
    async with server:
        await server.become("ready")
        say("The server is fired up and ready to roll!")
        if os.environ.get("FAKE_SGLANG") == "hang":
            await server.wait_until(lambda fake: fake.hits["/v1/models"] > 0)
            os.kill(os.getpid(), 19)  # SIGSTOP
        await anyio.sleep_forever()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
