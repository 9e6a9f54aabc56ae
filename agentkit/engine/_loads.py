"""What a model server is busy with: asked of the server, in its own way."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
from anyio import to_thread

_SECONDS = 5.0
_METRIC = re.compile(r"^(?:sglang|vllm|smg)[:_]([\w:]+?)(?:\{[^}]*\})? ([-+.\deE]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """How busy a server is; `None` where it does not say.

    Attributes:
        running: requests that are being answered.
        queued: requests that wait.
        token_usage: share of the KV cache that is in use, 0 to 1.
        cache_hit_rate: share of the prompt tokens of late that the prefix cache served, 0 to 1.
        throughput: tokens a second that are being written.
        cache_tokens: that the KV cache holds.
    """

    running: int | None = None
    queued: int | None = None
    token_usage: float | None = None
    cache_hit_rate: float | None = None
    throughput: float | None = None
    cache_tokens: int | None = None


async def read_loads(url: str, api_key: str = "") -> Loads:
    """Ask the server at `url`, which has no `/v1`; what it does not say is `None`.

    SGLang has `/v1/loads`, a gateway names the servers behind it, others have `/metrics`, where it
    is switched on.
    """
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    make = partial(httpx2.AsyncClient, timeout=_SECONDS, headers=headers, trust_env=False)
    try:
        async with await to_thread.run_sync(make) as client:  # it reads certificates from disk
            answer = await client.get(f"{url}/v1/loads", params={"include": "core"})
            if answer.is_success:
                return _from_loads(answer.json())
            answer = await client.get(f"{url}/workers")
            if answer.is_success:  # a gateway: its servers know
                loads = [await read_loads(one["url"]) for one in answer.json()["workers"]]
                return _together(loads)
            answer = await client.get(f"{url}/metrics")
            return _from_metrics(answer.text) if answer.is_success else Loads()
    except (httpx2.HTTPError, ValueError, LookupError, TypeError):
        return Loads()


def _from_loads(answer: Mapping[str, Any]) -> Loads:
    """Add up the ranks of a server: each has a cache of its own."""
    return _together(
        Loads(
            running=int(rank["num_running_reqs"]),
            queued=int(rank["num_waiting_reqs"]),
            token_usage=float(rank["token_usage"]),
            cache_hit_rate=float(rank["cache_hit_rate"]),
            throughput=float(rank["gen_throughput"]),
            cache_tokens=int(rank["max_total_num_tokens"]),
        )
        for rank in answer["loads"]
    )


def _together(loads: Iterable[Loads]) -> Loads:
    """Return the loads of some caches as one: sums, and the fullest cache."""
    parts = list(loads)

    def known(name: str) -> list[Any]:
        return [value for part in parts if (value := getattr(part, name)) is not None]

    sums = {
        name: sum(known(name)) if known(name) else None
        for name in ("running", "queued", "throughput", "cache_tokens")
    }
    most = {name: max(known(name), default=None) for name in ("token_usage", "cache_hit_rate")}
    return Loads(**sums, **most)


def _from_metrics(text: str) -> Loads:
    found = {name: float(value) for name, value in _METRIC.findall(text)}

    def first(*names: str) -> float | None:
        return next((found[name] for name in names if name in found), None)

    running, queued = (
        first("num_running_reqs", "num_requests_running"),
        first("num_queue_reqs", "num_requests_waiting"),
    )
    queries, hits = first("prefix_cache_queries_total"), first("prefix_cache_hits_total")
    rate = hits / queries if queries and hits is not None else first("cache_hit_rate")
    tokens = first("max_total_num_tokens")
    return Loads(
        running=None if running is None else int(running),
        queued=None if queued is None else int(queued),
        token_usage=first("token_usage", "kv_cache_usage_perc", "gpu_cache_usage_perc"),
        cache_hit_rate=rate,
        throughput=first("gen_throughput"),
        cache_tokens=None if tokens is None else int(tokens),
    )
