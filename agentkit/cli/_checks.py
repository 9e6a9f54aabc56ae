"""What `agentkit doctor` looks at: each check says what it found and how to mend it."""

import os
import platform
import re
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Literal, TypeAlias

from anyio.to_thread import run_sync

from agentkit.cli._exit import Exit, exit_of_error
from agentkit.errors import AgentkitError, ConfigurationError, EngineError
from agentkit.trace.words import plural

if TYPE_CHECKING:
    from agentkit.engine import Profile, ServerProfile
    from agentkit.mcp import ServerState
    from agentkit.protocols import Tool
    from agentkit.settings import Settings

Status: TypeAlias = Literal["ok", "warn", "fail"]

_LITTLE_ROOM = 1_000_000_000  # bytes
_USER = re.compile(r"(?<=//)[^/]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What was found.

    Attributes:
        group: what it is about.
        fix: how to mend it; empty where nothing is wrong.
        code: what the program exits with if this failed.
    """

    group: str
    name: str
    status: Status
    message: str
    fix: str = ""
    code: Exit = Exit.OK


async def checks(
    settings: "Settings | None" = None, *, probe: bool = False
) -> AsyncGenerator[Check]:
    """Give one check after the other; those that need settings only if they can be read.

    With `probe`, the model server is asked small questions too.
    """
    yield _python()
    if settings is None:
        try:
            settings = await run_sync(_read_settings)
        except ConfigurationError as error:
            yield _failed("settings", "settings", error)
            return
    yield _sources()
    async for check in _model(settings):
        yield check
    if probe:
        async for check in _probes(settings):
            yield check
    async for check in _tools(settings):
        yield check
    async for check in _servers(settings):
        yield check
    yield await run_sync(_room, "traces", settings.trace_dir)


def _read_settings() -> "Settings":
    from agentkit.settings import read_settings

    return read_settings()


def _python() -> Check:
    text = f"agentkit {version('qwen-agentkit')}, Python {platform.python_version()}"
    return _ok("package", "versions", f"{text}, {platform.system()} {platform.machine()}")


def _sources() -> Check:
    from platformdirs import user_config_path

    found = sorted(name for name in os.environ if name.startswith("AGENTKIT_"))
    files = (Path("agentkit.toml"), user_config_path("agentkit") / "config.toml")
    found += [str(path) for path in files if path.is_file()]
    return _ok("settings", "sources", ", ".join(found) or "defaults only")


async def _model(settings: "Settings") -> AsyncGenerator[Check]:
    if settings.base_url is not None and settings.engine in {"auto", "url"}:
        for url in settings.base_urls:
            yield await _server(settings, url)
        return
    if settings.engine == "url":
        error = ConfigurationError(
            "engine is 'url', but there is no base_url.",
            hint="Set AGENTKIT_BASE_URL, for example http://127.0.0.1:30000/v1.",
        )
        yield _failed("model", "server", error)
        return
    from agentkit.engine import ServerProfile
    from agentkit.runtime import engine_of

    try:
        engine = await run_sync(engine_of, settings)
    except AgentkitError as error:
        yield _failed("model", "engine", error)
        return
    if isinstance(engine, ServerProfile):
        for check in await run_sync(_own_server, settings, engine):
            yield check
        return
    yield _engine()
    yield await run_sync(_weights, settings, engine)


async def _server(settings: "Settings", base_url: str) -> Check:
    from agentkit.models import open_pool

    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        async with open_pool() as pool:
            model = await pool.connect(base_url, api_key=key, model=settings.model)
    except AgentkitError as error:
        return _failed("model", "server", error)
    profile = model.profile
    context = profile.context_tokens
    size = f"{context:,} tokens of context" if context else "context size unknown"
    where = _USER.sub("", base_url)
    return _ok("model", "server", f"{profile.name} on {profile.backend} at {where}, {size}")


async def _probes(settings: "Settings") -> AsyncGenerator[Check]:
    if settings.base_url is None or settings.engine not in {"auto", "url"}:
        message = "only a server with a base_url is asked; one of ours: agentkit server env"
        yield _ok("probes", "skipped", message)
        return
    for url in settings.base_urls:
        async for check in _probes_of(settings, url):
            yield check


async def _probes_of(settings: "Settings", url: str) -> AsyncGenerator[Check]:
    from agentkit.models import open_pool

    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        async with open_pool() as pool:
            probes = pool.probe(url, api_key=key, model=settings.model)
            async with aclosing(probes):
                async for found in probes:
                    status = "ok" if found.status == "skipped" else found.status
                    yield Check(
                        group="probes",
                        name=found.name,
                        status=status,
                        message=f"not asked: {found.seen}"
                        if found.status == "skipped"
                        else found.seen,
                        fix=found.cure,
                        code=Exit.MODEL,
                    )
    except AgentkitError as error:
        yield _failed("probes", "server", error)


def _engine() -> Check:
    from agentkit.engine import embedded_available

    missing = embedded_available()
    if missing:
        hint = "Set AGENTKIT_BASE_URL to a server you run, or install qwen-agentkit[local]."
        return _failed("model", "embedded engine", EngineError(missing, hint=hint))
    return _ok("model", "embedded engine", "xllamacpp is installed; no base_url is set")


def _own_server(settings: "Settings", profile: "ServerProfile") -> list[Check]:
    """Look at what a server of ours needs: that it fits is known by now."""
    from agentkit.engine import find_sglang, find_snapshot

    context = f"{profile.server.context_tokens:,} tokens of context"
    found = [_ok("model", "profile", f"{profile.name}: {profile.model}, {context}")]
    try:
        python = find_sglang(settings.server_python, settings.data_dir)
    except AgentkitError as error:
        return [*found, _failed("model", "environment", error)]
    if python is None:
        missing = EngineError("no model server is installed", hint="agentkit server install")
        found.append(_failed("model", "environment", missing))
    else:
        found.append(_ok("model", "environment", str(python)))
    weights = find_snapshot(profile, settings.cache_dir)
    if weights is not None:
        return [*found, _ok("model", "weights", str(weights))]
    message = f"the weights of {profile.name} are not here yet; the first start fetches them"
    fix = f"agentkit server pull {profile.name}"
    lack = Check(group="model", name="weights", status="warn", message=message, fix=fix)
    return [*found, lack]


def _weights(settings: "Settings", profile: "Profile") -> Check:
    from agentkit.cli._view import megabytes

    weights = profile.weights
    path = weights.path or settings.cache_dir / "weights" / weights.file
    if path.is_file():
        if damage := _damage(path, weights.size):
            hint = f"Remove it; then: agentkit models pull {profile.name}"
            return _failed("model", "weights", EngineError(f"{path} {damage}.", hint=hint))
        return _ok("model", "weights", f"{profile.name}: {megabytes(path.stat().st_size)}, {path}")
    free = _free(settings.cache_dir)
    size = weights.size or 0
    if free < size * 1.1:
        message = f"{profile.name} takes {megabytes(size)}, {megabytes(free)} are free"
        hint = "Make room, or set AGENTKIT_CACHE_DIR to a disk that has it."
        return _failed(
            "model", "weights", EngineError(f"{message} in {settings.cache_dir}.", hint=hint)
        )
    return Check(
        group="model",
        name="weights",
        status="warn",
        message=f"{profile.name} is not here yet; the first run fetches {megabytes(size)}",
        fix=f"agentkit models pull {profile.name}",
    )


def _damage(path: Path, size: int | None) -> str:
    """Return what is wrong with weights, as far as a look can tell; "" if nothing is."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"has {found:,} bytes, but {size:,} were expected"
    with path.open("rb") as file:
        return "" if file.read(4) == b"GGUF" else "is no GGUF file"


async def _tools(settings: "Settings") -> AsyncGenerator[Check]:
    from agentkit.toolkit import builtin_tools

    try:
        tools = await run_sync(builtin_tools, settings.tools)
    except AgentkitError as error:
        yield _failed("tools", "built in", error)
        return
    names = ", ".join(tool.spec.name for tool in tools)
    yield _ok("tools", "built in", names or "none")
    for tool in tools:
        if tool.spec.name == "code_interpreter":
            yield await _interpreter(tool)


async def _interpreter(tool: "Tool") -> Check:
    """Run a cell, and say what holds it and what that does not hold."""
    from agentkit.protocols import CURRENT_CALL, CallContext

    said: list[str] = []
    context = CallContext(
        run_id="", call_id="", key="", report=lambda _done, _total, text: said.append(text)
    )
    reset = CURRENT_CALL.set(context)
    try:
        answer = await tool.call(tool.validate({"code": "6 * 7"}))
    except AgentkitError as error:
        return _failed("tools", "code_interpreter", error, code=Exit.TOOL)
    finally:
        CURRENT_CALL.reset(reset)
    held = f"; {'; '.join(said)}" if said else ""
    return _ok("tools", "code_interpreter", f"6 * 7 gives {answer.strip()}{held}")


async def _servers(settings: "Settings") -> AsyncGenerator[Check]:
    from agentkit.cli.mcp import read_servers
    from agentkit.errors import RequiredToolError
    from agentkit.mcp import open_servers

    try:
        config = await run_sync(read_servers, settings)
        if config is None or not config.servers:
            yield _ok("mcp", "servers", "none configured")
            return
        required = {one.name for one in config.servers if one.required}
        logs = settings.state_dir / "logs"
        async with open_servers(
            config, timeouts=settings.timeouts, log_dir=logs, oauth_dir=settings.oauth_dir
        ) as opened:
            states = opened.states
    except RequiredToolError as error:
        yield _failed("mcp", "servers", error)
        return
    except AgentkitError as error:
        yield _failed("mcp", "file", error)
        return
    for warning in config.warnings:
        yield Check(group="mcp", name="file", status="warn", message=warning)
    for state in states:
        yield _state(state, is_required=state.name in required)


def _state(state: "ServerState", *, is_required: bool) -> Check:
    if state.status == "failed":
        return Check(
            group="mcp",
            name=state.name,
            status="fail" if is_required else "warn",
            message=state.error,
            fix=state.hint,
            code=Exit.TOOL,
        )
    if state.status == "disabled":
        return _ok("mcp", state.name, "disabled")
    return _ok("mcp", state.name, f"{plural(len(state.tools), 'tool')}, {state.seconds:.1f} s")


def _room(name: str, folder: Path) -> Check:
    from agentkit.cli._view import megabytes

    existing = _existing(folder)
    if not _can_write(existing):
        return Check(
            group="disk",
            name=name,
            status="warn",
            message=f"{folder} cannot be written: runs leave no trace",
            fix="Set AGENTKIT_STATE_DIR to a folder you own.",
        )
    free = _free(folder)
    if free < _LITTLE_ROOM:
        return Check(
            group="disk",
            name=name,
            status="warn",
            message=f"only {megabytes(free)} free in {folder}",
            fix="Make room, or set AGENTKIT_STATE_DIR to another disk.",
        )
    return _ok("disk", name, f"{folder}, {megabytes(free)} free")


def _can_write(folder: Path) -> bool:
    try:
        with TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _free(folder: Path) -> int:
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _ok(group: str, name: str, message: str) -> Check:
    return Check(group=group, name=name, status="ok", message=message)


def _failed(group: str, name: str, error: AgentkitError, *, code: Exit | None = None) -> Check:
    return Check(
        group=group,
        name=name,
        status="fail",
        message=str(error),
        fix=error.hint,
        code=exit_of_error(error) if code is None else code,
    )
