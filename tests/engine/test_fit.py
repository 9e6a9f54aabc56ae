"""What fits a GPU: sums, held to figures that were worked out apart from the code."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from agentkit.engine import (
    Engine,
    ServerProfile,
    check_fit,
    choose,
    choose_engine,
    find_server_profile,
    fit,
    gpus_of,
    read_gpus,
    read_server_profiles,
)
from agentkit.engine._fit import Gpu
from agentkit.errors import EngineError

GIB = 1024**3
ALL = read_server_profiles()


@pytest.mark.parametrize(
    ("gib", "name", "changes"),
    [
        (8, "qwen3-1.7b", ()),
        (12, "qwen3-8b-awq", ()),
        (16, "qwen3-14b-awq", ("KV cache of 8 bits",)),
        (24, "qwen3-14b-awq", ()),
        (32, "qwen3-14b-fp8", ()),
        (48, "qwen3-14b", ()),
        (80, "qwen3-14b", ()),
    ],
)
def test_the_right_profile_is_chosen(gib: float, name: str, changes: tuple[str, ...]) -> None:
    best = choose(ALL, gpus_of(gib))
    assert best is not None
    assert (best.profile.name, best.changes) == (name, changes)
    assert best.tokens >= best.profile.server.context_tokens


def test_two_gpus_hold_what_one_does_not() -> None:
    best = choose(ALL, gpus_of(24, 2))
    assert best is not None
    assert best.profile.name == "qwen3-14b-tp2"


def test_nothing_fits_no_gpu() -> None:
    assert choose(ALL, ()) is None
    assert fit(find_server_profile("qwen3-14b"), ()).reason == "It needs a GPU, and none is here."


@pytest.mark.parametrize(
    ("name", "gib", "tokens"),
    [  # (share of the memory - weights) / KiB a token
        ("qwen3-14b-awq", 24, (24 * GIB * 0.85 - 10.0e9) / (160 * 1024)),
        ("qwen3-14b", 48, (48 * GIB * 0.85 - 29.5e9) / (160 * 1024)),
        ("qwen3-14b-fp8", 32, (32 * GIB * 0.85 - 16.3e9) / (160 * 1024)),
        ("qwen3-30b-a3b", 48, (48 * GIB * 0.85 - 32.0e9) / (96 * 1024)),
    ],
)
def test_the_cache_holds_what_weights_leave(name: str, gib: float, tokens: float) -> None:
    assert fit(find_server_profile(name), gpus_of(gib)).tokens == int(tokens)


def test_memory_that_others_use_is_not_counted() -> None:
    busy = Gpu(name="busy", total=24 * GIB, free=12 * GIB)
    best = choose(ALL, [busy])
    assert best is not None
    assert best.profile.name == "qwen3-8b-awq"


def test_what_is_changed_to_make_it_fit_is_said_and_started() -> None:
    found = fit(find_server_profile("qwen3-14b-awq"), gpus_of(16))
    assert found.changes == ("KV cache of 8 bits",)
    assert found.profile.server.kv_cache == "fp8_e4m3"
    assert found.has_full_context


def test_a_context_is_shortened_last() -> None:
    found = fit(find_server_profile("qwen3-14b-awq"), gpus_of(13))
    assert found.fits
    assert not found.has_full_context
    assert 16_384 <= found.profile.server.context_tokens < 32_768
    assert found.profile.server.context_tokens % 1024 == 0


def test_a_long_context_is_never_shortened_without_a_word() -> None:
    assert not fit(find_server_profile("qwen3-14b-128k"), gpus_of(24)).fits


def test_what_cannot_fit_is_refused_with_the_nearest_that_can() -> None:
    with pytest.raises(
        EngineError, match=r"qwen3-14b does not fit. Weights take 27\.5 GiB"
    ) as caught:
        check_fit(find_server_profile("qwen3-14b"), gpus_of(24), ALL)
    assert "qwen3-14b-awq, 32,768 tokens" in caught.value.hint


def chosen(name: str, folder: Path, port: int | None = None) -> Engine:
    return choose_engine(name, weights=None, python=None, data_dir=folder, port=port)


def test_a_start_that_cannot_fit_this_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.engine._choice.read_gpus", lambda: gpus_of(24))
    with pytest.raises(EngineError, match="does not fit"):
        chosen("qwen3-14b", tmp_path)
    profile = chosen("qwen3-14b-awq", tmp_path, 31_000)
    assert isinstance(profile, ServerProfile)
    assert (profile.name, profile.server.port) == ("qwen3-14b-awq", 31_000)


def test_auto_takes_sglang_where_it_is_installed_and_a_gpu_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentkit.engine._choice.read_gpus", lambda: gpus_of(24))
    assert chosen("auto", tmp_path).name == "qwen2.5-coder-1.5b"
    (tmp_path / "sglang-0.5.23").mkdir()
    (tmp_path / "sglang-0.5.23" / "installed.json").touch()
    assert chosen("auto", tmp_path).name == "qwen3-14b-awq"
    monkeypatch.setattr("agentkit.engine._choice.read_gpus", lambda: ())
    assert chosen("auto", tmp_path).name == "qwen2.5-coder-1.5b"


class NvmlError(Exception):
    """What NVIDIA's library raises."""


class Nvml(ModuleType):
    """NVIDIA's library as it answers on a machine with two GPUs."""

    def __init__(self, *, works: bool = True) -> None:
        super().__init__("pynvml")
        self.works, self.is_open = works, False
        self.NVMLError = NvmlError
        self.nvmlInit, self.nvmlShutdown = self._open, self._close
        self.nvmlDeviceGetCount = lambda: 2
        self.nvmlDeviceGetHandleByIndex = int
        self.nvmlDeviceGetName = (b"NVIDIA A100", "NVIDIA L4").__getitem__  # bytes: older bindings
        sizes = [(80, 79), (24, 20)]
        memory = [SimpleNamespace(total=size * GIB, free=free * GIB) for size, free in sizes]
        self.nvmlDeviceGetMemoryInfo = memory.__getitem__

    def _open(self) -> None:
        if not self.works:
            raise NvmlError("Driver Not Loaded")
        self.is_open = True

    def _close(self) -> None:
        self.is_open = False


def test_gpus_are_read_with_what_is_free_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = read_gpus()
    assert first == Gpu(name="NVIDIA A100", total=80 * GIB, free=79 * GIB)
    assert second == Gpu(name="NVIDIA L4", total=24 * GIB, free=20 * GIB)
    assert not nvml.is_open
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.name for gpu in read_gpus()] == ["NVIDIA L4"]


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(works=False))
    assert read_gpus() == ()
    monkeypatch.setitem(sys.modules, "pynvml", None)  # the extra is not installed
    assert read_gpus() == ()
