"""A model of a hundred kilobytes, and a look at the processes behind an engine."""

import os
import random
import select
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from anyio import to_thread

from agentkit.engine import Profile, find_profile

_GGUF_UINT32, _GGUF_INT32, _GGUF_FLOAT32, _GGUF_STRING, _GGUF_ARRAY = 4, 5, 6, 8, 9
_BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
_TOKENS = ["<unk>", "<s>", "</s>", *_BYTE_TOKENS, "\u2581", "a", "b"]
_TOKEN_TYPES = [2, 3, 3, *([6] * 256), 1, 1, 1]  # unknown, control, bytes, normal
_WIDTH = 32


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return real weights that llama.cpp loads in milliseconds; they write nonsense."""
    path = tmp_path_factory.mktemp("weights") / "tiny.gguf"
    path.write_bytes(make_gguf())
    return path


@pytest.fixture
def tiny(tiny_gguf: Path) -> Profile:
    return find_profile(str(tiny_gguf))


def make_gguf() -> bytes:
    """Return a llama of one layer with random weights and a vocabulary of bytes."""
    tensors = _tensors()
    rng = random.Random(0)
    entries, data = b"", b""
    for name, shape in tensors:
        entries += _string(name) + struct.pack(
            f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data)
        )
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        numbers = [1.0 if "norm" in name else rng.gauss(0, 0.05) for _ in range(count)]
        data += struct.pack(f"<{count}f", *numbers)
    metadata = _metadata()
    head = (
        b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata) + entries
    )
    return head + b"\0" * (-len(head) % 32) + data


def _tensors() -> list[tuple[str, tuple[int, ...]]]:
    square = (_WIDTH, _WIDTH)
    vocabulary = (_WIDTH, len(_TOKENS))
    layer = {
        "attn_norm": (_WIDTH,),
        **{f"attn_{part}": square for part in ("q", "k", "v", "output")},
        "ffn_norm": (_WIDTH,),
        **{f"ffn_{part}": square for part in ("gate", "up", "down")},
    }
    return [
        ("token_embd.weight", vocabulary),
        ("output_norm.weight", (_WIDTH,)),
        ("output.weight", vocabulary),
        *((f"blk.0.{name}.weight", shape) for name, shape in layer.items()),
    ]


def _metadata() -> list[bytes]:
    numbers = {
        "llama.context_length": 8192,
        "llama.embedding_length": _WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": _WIDTH,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.rope.dimension_count": _WIDTH // 2,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    floats = [struct.pack("<f", 0.0) for _ in _TOKENS]
    types = [struct.pack("<i", kind) for kind in _TOKEN_TYPES]
    return [
        _pair("general.architecture", _GGUF_STRING, _string("llama")),
        _pair("tokenizer.ggml.model", _GGUF_STRING, _string("llama")),
        *(_pair(name, _GGUF_UINT32, struct.pack("<I", value)) for name, value in numbers.items()),
        _pair("llama.attention.layer_norm_rms_epsilon", _GGUF_FLOAT32, struct.pack("<f", 1e-5)),
        _list("tokenizer.ggml.tokens", _GGUF_STRING, [_string(token) for token in _TOKENS]),
        _list("tokenizer.ggml.scores", _GGUF_FLOAT32, floats),
        _list("tokenizer.ggml.token_type", _GGUF_INT32, types),
    ]


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _pair(name: str, kind: int, value: bytes) -> bytes:
    return _string(name) + struct.pack("<I", kind) + value


def _list(name: str, kind: int, items: list[bytes]) -> bytes:
    return _pair(name, _GGUF_ARRAY, struct.pack("<IQ", kind, len(items)) + b"".join(items))


@dataclass(frozen=True)
class Watched:
    """A process that is not our child, held so that its end can be waited for."""

    pid: int
    command: str
    handle: int

    @property
    def is_engine(self) -> bool:
        return "run_llamacpp" in self.command

    async def wait_until_gone(self) -> None:
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        ended = await to_thread.run_sync(poll.poll, 20_000)
        assert ended, f"process {self.pid} lives on: {self.command}"


class Processes:
    """The guard and the engine that belong to a state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._open: list[int] = []

    def now(self) -> list[Watched]:
        """Return guard and engine, in this order."""
        guards = list(
            self._find(
                lambda pid, command: "guard_engine" in command and str(self._state_dir) in command
            )
        )
        families = {str(guard.pid) for guard in guards}
        engines = self._find(
            lambda pid, command: "run_llamacpp" in command and _parent(pid) in families
        )
        return [*guards, *engines]

    def close(self) -> None:
        for handle in self._open:
            os.close(handle)

    def _find(self, wanted: Callable[[int, str], bool]) -> Iterable[Watched]:
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if wanted(pid, command) and _state(pid) != "Z":
                    handle = os.pidfd_open(pid)
                    self._open.append(handle)
                    yield Watched(pid, command, handle)
            except OSError:
                continue  # it ended meanwhile


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]


def _parent(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def processes(state_dir: Path) -> Iterable[Processes]:
    found = Processes(state_dir)
    yield found
    found.close()
