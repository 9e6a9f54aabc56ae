"""Whether a model fits a GPU, summed up before anything is loaded.

Weights, and 2 (K and V) x layers x KV heads x head size x bytes for each token of the cache. Of a
GPU's memory a share is left for activations, graphs and the driver. Calculated; nobody here has
measured it on a GPU.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from agentkit.engine._server_profile import Memory, ServerOptions, ServerProfile
from agentkit.errors import EngineError

GIB = 1024**3
_LARGER_SHARE = 0.9
_LEAST_RESERVE = int(2.3 * GIB)  # for activations of 2,048 tokens at once and graphs of 8 to 16
_LEAST_CONTEXT = 16_384  # below, an agent with tools is not worth starting
_ROOMY = 2  # conversations of full length in the cache: for a choice that nobody made by hand
_STEP = 1024  # tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU, or what is said of one.

    Attributes:
        total: bytes of memory.
        free: what other programs leave of it.
    """

    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a profile fits the GPUs.

    Attributes:
        profile: as it would be started: with a larger share of the memory, a smaller cache or a
            shorter context, where only that fits.
        tokens: that the KV cache holds.
        changes: what was changed to make it fit.
        reason: why it does not fit; empty where it does.
        has_full_context: whether it fits with the context of its profile.
    """

    profile: ServerProfile
    tokens: int
    changes: tuple[str, ...] = ()
    reason: str = ""
    has_full_context: bool = False

    @property
    def fits(self) -> bool:
        """Whether it can be started."""
        return not self.reason

    @property
    def is_roomy(self) -> bool:
        """Whether it fits as it is, with more than one conversation of full length."""
        wanted = _ROOMY * self.profile.server.context_tokens
        return self.fits and not self.changes and self.tokens >= wanted


def read_gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs of this machine; none where there is no driver or no nvidia-ml-py.

    Blocks for some milliseconds.
    """
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        count: int = nvml.nvmlDeviceGetCount()
        return tuple(_gpu(nvml, index) for index in _visible(count, os.environ))
    except nvml.NVMLError:
        return ()
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def gpus_of(gib: float, count: int = 1) -> tuple[Gpu, ...]:
    """Return GPUs of that many GiB, for a machine that is elsewhere."""
    size = int(gib * GIB)
    return tuple(Gpu(name=f"a GPU of {gib:g} GB", total=size, free=size) for _ in range(count))


def fit(profile: ServerProfile, gpus: Sequence[Gpu]) -> Fit:
    """Return how the profile fits the GPUs, changed as little as possible.

    Tried in this order: as it is, with a larger share of the memory, with a KV cache of eight
    bits, with a shorter context.
    """
    memory, options = profile.memory, profile.server
    if memory is None:
        return Fit(profile=profile, tokens=options.context_tokens, has_full_context=True)
    if len(gpus) < profile.gpus:
        have = f"{len(gpus)} {'is' if len(gpus) == 1 else 'are'} here" if gpus else "none is here"
        wanted = f"{profile.gpus} GPUs" if profile.gpus > 1 else "a GPU"
        return Fit(profile=profile, tokens=0, reason=f"It needs {wanted}, and {have}.")
    smallest = min(gpu.free for gpu in gpus[: profile.gpus])
    for share, kv in _ways(options, smallest):
        tokens = _tokens(memory, options, smallest, share, kv)
        if tokens >= options.context_tokens:
            return _changed(profile, tokens, share, kv, options.context_tokens)
    share, kv = _ways(options, smallest)[-1]
    tokens = _tokens(memory, options, smallest, share, kv)
    if tokens >= _LEAST_CONTEXT and options.yarn_factor is None:
        return _changed(profile, tokens, share, kv, tokens // _STEP * _STEP)
    return Fit(profile=profile, tokens=max(0, tokens), reason=_why_not(memory, options, smallest))


def choose(profiles: Sequence[ServerProfile], gpus: Sequence[Gpu]) -> Fit | None:
    """Return the best that fits; `None`: none does.

    The larger model wins; of one model, the variant with room for two conversations of full length
    wins over one of more bits that has none; a shortened context is the last resort.
    """
    fits = [fit(one, gpus) for one in profiles if one.choice is not None]
    for model in dict.fromkeys(one.profile.model for one in fits):
        variants = [one for one in fits if one.profile.model == model and one.has_full_context]
        if variants:
            return next((one for one in variants if one.is_roomy), variants[0])
    return next((one for one in fits if one.fits), None)


def check_fit(profile: ServerProfile, gpus: Sequence[Gpu], among: Sequence[ServerProfile]) -> Fit:
    """Return how the profile fits.

    Raises:
        EngineError: it does not; with the nearest profile that does.
    """
    found = fit(profile, gpus)
    if found.fits:
        return found
    nearest = choose(among, gpus)
    raise EngineError(
        f"{profile.name} does not fit. {found.reason}",
        hint=f"The nearest that fits: {nearest.profile.name}, {nearest.profile.server.context_tokens:,}"
        " tokens of context."
        if nearest
        else "No profile of a server fits here: use the embedded engine (AGENTKIT_ENGINE=embedded).",
    )


def _visible(count: int, environ: Mapping[str, str]) -> list[int]:
    """Return the GPUs that CUDA may use; names that are no numbers are not looked into.

    >>> _visible(4, {"CUDA_VISIBLE_DEVICES": "2,0"}), _visible(2, {}), _visible(1, {"CUDA_VISIBLE_DEVICES": ""})
    ([2, 0], [0, 1], [])
    """
    said = environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return list(range(count))
    words = [word.strip() for word in said.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        return list(range(count))
    return [int(word) for word in words if int(word) < count]


def _gpu(nvml: Any, index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name, memory = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetMemoryInfo(handle)
    return Gpu(
        name=name.decode() if isinstance(name, bytes) else str(name),
        total=int(memory.total),
        free=int(memory.free),
    )


def _ways(options: ServerOptions, size: int) -> list[tuple[float, int]]:
    """Return shares of the memory and bits of the KV cache, in the order in which to try them."""
    shares = [options.memory_share]
    if options.memory_share < _LARGER_SHARE and size * (1 - _LARGER_SHARE) >= _LEAST_RESERVE:
        shares.append(_LARGER_SHARE)
    bits = [8] if options.kv_cache == "fp8_e4m3" else [16, 8]
    return [(share, bits[0]) for share in shares] + [(shares[-1], 8)] * (len(bits) - 1)


def _tokens(memory: Memory, options: ServerOptions, size: int, share: float, kv: int) -> int:
    """Return how many tokens the KV cache of one GPU, or of those that share a model, holds."""
    pool = size * share - memory.weights_bytes / options.tensor_parallel
    return int(pool / (memory.kv_bytes(kv) / options.tensor_parallel))


def _changed(
    profile: ServerProfile, tokens: int, share: float, kv: int, context_tokens: int
) -> Fit:
    options, changes = profile.server, list[str]()
    kv_cache = options.kv_cache if kv == 16 else "fp8_e4m3"
    if share != options.memory_share:
        changes.append(f"{share:.0%} of the memory")
    if kv_cache != options.kv_cache:
        changes.append("KV cache of 8 bits")
    if context_tokens != options.context_tokens:
        changes.append(f"context of {context_tokens:,} tokens")
    update = {"memory_share": share, "kv_cache": kv_cache, "context_tokens": context_tokens}
    started = profile.model_copy(update={"server": options.model_copy(update=update)})
    return Fit(
        profile=started,
        tokens=tokens,
        changes=tuple(changes),
        has_full_context=context_tokens == options.context_tokens,
    )


def _why_not(memory: Memory, options: ServerOptions, size: int) -> str:
    weights = memory.weights_bytes / options.tensor_parallel / GIB
    context = options.context_tokens * memory.kv_bytes(8) / options.tensor_parallel / GIB
    return (
        f"Weights take {weights:.1f} GiB and {options.context_tokens:,} tokens of context at least "
        f"{context:.1f} GiB{' on each GPU' if options.tensor_parallel > 1 else ''}; "
        f"{size / GIB:.1f} GiB are free, of which {1 - options.memory_share:.0%} must stay so."
    )
