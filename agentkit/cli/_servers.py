"""What `agentkit server` does and shows."""

import time
from dataclasses import asdict
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.to_thread import run_sync

from agentkit.cli._exit import Exit
from agentkit.cli._outcome import print_json
from agentkit.cli._terminal import note, say, stdout_console
from agentkit.cli._view import View, megabytes
from agentkit.engine import (
    Fit,
    Gpu,
    Loads,
    Profile,
    Running,
    ServerProfile,
    choose,
    ensure_snapshot,
    find_running,
    find_server_profile,
    find_sglang,
    fit,
    gpus_of,
    install_sglang,
    log_of_latest,
    read_gpus,
    read_loads,
    read_profiles,
    read_server_profiles,
    stop_running,
)
from agentkit.errors import ConfigurationError, EngineError, InvalidTaskError
from agentkit.settings import Settings, read_settings

if TYPE_CHECKING:
    from rich.table import Table

_GIB = 1024**3
_POLL_SECONDS = 0.5
_NAMES = {"sglang": "SGLang", "vllm": "vLLM", "smg": "SGLang behind smg"}


def show_profiles(*, as_json: bool) -> None:
    """Show every launch profile."""
    servers, embedded = read_server_profiles(), read_profiles()
    if as_json:
        every: list[Profile | ServerProfile] = [*servers, *embedded]
        print_json([one.model_dump(mode="json") for one in every])
        return
    table = _table("profile", "server", "model", "weights", "context", "why")
    for one in servers:
        size = f"{one.memory.weights_bytes / _GIB:.1f} GiB" if one.memory else "given"
        kind = _NAMES[one.server.kind] + (" on the CPU" if one.server.device == "cpu" else "")
        _row(table, one.name, kind, one.model, size, f"{one.server.context_tokens:,}", one.why)
    for one in embedded:
        size = megabytes(one.weights.size) if one.weights.size else "?"
        context = f"{one.engine.context_tokens:,}"
        _row(table, one.name, "embedded llama.cpp", one.model, size, context, one.why)
    stdout_console().print(table)


def show_plan(name: str | None, vram: float | None, count: int, *, as_json: bool) -> Exit:
    """Show what fits, and say whether it does."""
    servers = read_server_profiles()
    gpus = read_gpus() if vram is None else gpus_of(vram, count)
    best = choose(servers, gpus)
    wanted = (
        [profile_of(name)] if name is not None else [p for p in servers if p.memory is not None]
    )
    fits = [fit(one, gpus) for one in wanted]
    if as_json:
        print_json(_plan_as_json(gpus, fits, best))
    else:
        _say_gpus(gpus)
        _show_fits(fits)
        _say_choice(best)
    return Exit.OK if name is None or fits[0].fits else Exit.MODEL


def profile_of(name: str) -> ServerProfile:
    """Return the profile of a name on the command line.

    Raises:
        InvalidTaskError: there is none of that name.
    """
    try:
        return find_server_profile(name)
    except ConfigurationError as error:
        raise InvalidTaskError(str(error), hint=error.hint) from error


async def install_server(view: View) -> Exit:
    """Install SGLang, and print its python."""
    settings = await run_sync(read_settings)
    python = await install_sglang(settings.data_dir, view.progress)
    view.stop()
    say(str(python))
    return Exit.OK


async def pull_weights(name: str | None, view: View) -> Exit:
    """Fetch the weights of a profile, and print their folder."""
    settings = await run_sync(read_settings)
    profile = await run_sync(_wanted, name, settings)
    folder = await ensure_snapshot(profile, settings.cache_dir, view.progress, hub=settings.hub)
    view.stop()
    say(str(folder))
    return Exit.OK


async def start_server(name: str | None, port: int | None, view: View) -> Exit:
    """Start a server, leave it running and print its base URL."""
    from agentkit.runtime import engine_of, open_server_of

    settings = await run_sync(read_settings)
    wanted = await run_sync(_wanted, name, settings)
    settings = settings.model_copy(
        update={
            "engine": name or wanted.name,
            "server_port": settings.server_port if port is None else port,
        }
    )
    profile = await run_sync(engine_of, settings)
    if not isinstance(profile, ServerProfile):  # pragma: no cover - _wanted gives none of these
        raise EngineError(f"{profile.name} is no model server.")
    async with open_server_of(profile, settings, view.progress, keep_alive=inf) as endpoint:
        view.stop()
    say(endpoint.base_url)
    asked = profile.server.port
    if asked and f":{asked}/" not in endpoint.base_url:
        view.note("It was running already, at another port than the one asked for.")
    use = f"AGENTKIT_ENGINE={name or profile.name} uses it."
    view.note(f"It goes on until `agentkit server stop {profile.name}`; {use}")
    return Exit.OK


async def stop_servers(
    name: str | None, view: View, *, every: bool = False, must_run: bool = True
) -> Exit:
    """Stop the server of that name, the only one, or all; wait until they are gone."""
    settings = await run_sync(read_settings)
    running = await find_running(settings.state_dir)
    if name is not None:
        name = Path(name).stem if name.endswith(".toml") else name
    wanted = list(running) if every else [one for one in running if name in {None, one.profile}]
    if not every and name is None and len(wanted) > 1:
        raise InvalidTaskError(
            f"{len(wanted)} engines run: {', '.join(one.profile for one in wanted)}.",
            hint="Name one of them, or say --all.",
        )
    if not wanted and must_run and not every:
        what = f"{name} is not running." if name else "No engine of yours is running."
        raise InvalidTaskError(what, hint="agentkit server status shows what is.")
    for one in wanted:
        view.note(f"stopping {one.profile} ({one.url or 'not yet listening'})")
        await stop_running(one)
    return Exit.OK


async def show_status(*, as_json: bool) -> Exit:
    """Show the engines that run, and the servers of others that the settings name."""
    settings = await run_sync(read_settings)
    running = [*await find_running(settings.state_dir), *_of_others(settings)]
    loads = [await read_loads(one.url, one.api_key) if one.url else Loads() for one in running]
    if as_json:
        print_json([_status_as_json(one, load) for one, load in zip(running, loads, strict=True)])
        return Exit.OK
    if not running:
        say("No engine of yours is running. Start one: agentkit server start [PROFILE]")
        return Exit.OK
    table = _table(
        *("profile", "state", "url", "pid", "up", "running", "queued", "cache in use"),
        *("cache hits", "tokens/s"),
    )
    for one, load in zip(running, loads, strict=True):
        state = f"{one.state}, {one.stage}" if one.state == "loading" and one.stage else one.state
        _row(
            table,
            *(one.profile, state + (f", died {one.deaths}x" if one.deaths else ""), one.url or "-"),
            *(str(one.pid or "-"), _duration(time.time() - one.since) if one.since else "-"),
            *(_count(load.running), _count(load.queued), _share(load.token_usage)),
            *(_share(load.cache_hit_rate), _count(load.throughput)),
        )
    stdout_console().print(table)
    return Exit.OK


def _of_others(settings: Settings) -> list[Running]:
    """Return the servers of `base_url` as if they were engines: nobody here owns them."""
    from agentkit.models import check_base_url

    key = settings.api_key.get_secret_value() if settings.api_key else ""
    found: list[Running] = []
    for url in settings.base_urls:
        parts = check_base_url(url)
        plain = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        found.append(
            Running(
                profile="base_url",
                state="of others",
                stage="",
                port=parts.port or 0,
                url=plain.rstrip("/").removesuffix("/v1"),
                api_key=key,
                pid=0,
                since=0.0,
                deaths=0,
                log=Path(),
                socket=Path(),
            )
        )
    return found


async def show_logs(name: str | None, lines: int, *, follow: bool) -> Exit:
    """Show the end of a log, and go on as it grows."""
    settings = await run_sync(read_settings)
    running = [one for one in await find_running(settings.state_dir) if name in {None, one.profile}]
    log = running[0].log if running else await run_sync(log_of_latest, settings.state_dir, name)
    if log is None:
        raise InvalidTaskError(
            f"{name or 'No engine'} has left no log.",
            hint="agentkit server status shows what runs.",
        )
    note(f"{log}")
    at = await run_sync(_say_tail, log, lines)
    while follow:
        await anyio.sleep(_POLL_SECONDS)
        at = await run_sync(_say_from, log, at)
    return Exit.OK


async def find_one(name: str | None) -> Running:
    """Return the server of that name that answers, or the only one.

    Raises:
        InvalidTaskError: there is none, or more than one.
    """
    settings = await run_sync(read_settings)
    running = [one for one in await find_running(settings.state_dir) if name in {None, one.profile}]
    if len(running) == 1 and running[0].url:
        return running[0]
    names = ", ".join(one.profile for one in running) or "none"
    raise InvalidTaskError(
        f"There is not one server {'that answers' if name is None else name} but: {names}.",
        hint="agentkit server status shows what runs.",
    )


def _wanted(name: str | None, settings: Settings) -> ServerProfile:
    """Return the profile that is named, or that the settings name, or that fits best."""
    if name is not None:
        return profile_of(name)
    if settings.engine not in {"auto", "embedded", "url"}:
        return find_server_profile(settings.engine)
    found = choose(read_server_profiles(), read_gpus())
    if found is None:
        raise EngineError(
            "No GPU that a profile fits was found, so there is nothing to choose.",
            hint="Name a profile; `agentkit server plan` says why none fits.",
        )
    return found.profile


def _say_gpus(gpus: tuple[Gpu, ...]) -> None:
    for gpu in gpus:
        used = gpu.total - gpu.free
        taken = f", {used / _GIB:.1f} GiB of it in use" if used > _GIB // 10 else ""
        say(f"{gpu.name}: {gpu.total / _GIB:.1f} GiB{taken}")
    if not gpus:
        say("No GPU found (nvidia-ml-py and the driver tell of them). Try one: --vram 24")


def _show_fits(fits: list[Fit]) -> None:
    table = _table("profile", "fits", "weights", "a token", "cache holds", "context", "")
    for one in fits:
        memory, options = one.profile.memory, one.profile.server
        bits = 8 if options.kv_cache == "fp8_e4m3" else 16
        _row(
            table,
            one.profile.name,
            "yes" if one.fits else "no",
            f"{memory.weights_bytes / _GIB:.1f} GiB" if memory else "-",
            f"{memory.kv_bytes(bits) // 1024} KiB" if memory else "-",
            f"{one.tokens:,} tokens" if one.fits else "-",
            f"{options.context_tokens:,}",
            one.reason or ("with " + ", ".join(one.changes) if one.changes else ""),
        )
    stdout_console().print(table)


def _say_choice(best: Fit | None) -> None:
    if best is None:
        say("auto: the embedded engine, as no server fits")
        return
    profile, with_ = best.profile, f" with {', '.join(best.changes)}" if best.changes else ""
    say(
        f"auto: {profile.name}{with_}; {profile.server.context_tokens:,} tokens of context, "
        f"{best.tokens:,} in the cache"
    )
    if find_sglang(read_settings().server_python, read_settings().data_dir) is None:
        say("SGLang is not installed yet: agentkit server install")


def _plan_as_json(gpus: tuple[Gpu, ...], fits: list[Fit], best: Fit | None) -> dict[str, Any]:
    return {
        "gpus": [asdict(gpu) for gpu in gpus],
        "profiles": [
            {
                "profile": one.profile.name,
                "fits": one.fits,
                "context_tokens": one.profile.server.context_tokens,
                "cache_tokens": one.tokens,
                "changes": list(one.changes),
                "reason": one.reason,
            }
            for one in fits
        ],
        "auto": best.profile.name if best else "embedded",
    }


def _status_as_json(one: Running, load: Loads) -> dict[str, Any]:
    told = {key: value for key, value in asdict(one).items() if key not in {"api_key", "socket"}}
    return {**told, "log": str(one.log) if one.pid else "", **asdict(load)}


def _say_tail(log: Path, lines: int) -> int:
    data = log.read_bytes()
    say("\n".join(data.decode(errors="replace").splitlines()[-lines:]))
    return len(data)


def _say_from(log: Path, at: int) -> int:
    with log.open("rb") as file:
        file.seek(at if log.stat().st_size >= at else 0)  # it begins anew at 64 MB
        say(file.read().decode(errors="replace"), end="")
        return file.tell()


def _table(*columns: str) -> "Table":
    from rich.table import Table

    return Table(*columns, box=None)


def _row(table: "Table", *cells: str) -> None:
    from rich.text import Text

    table.add_row(Text(cells[0], "cyan"), *(Text(cell) for cell in cells[1:]))


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _duration(seconds: float) -> str:
    """Return seconds in words.

    >>> _duration(59), _duration(3_700), _duration(90_000)
    ('59 s', '62 min', '25 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
