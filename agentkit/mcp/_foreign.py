"""The MCP servers of other hosts: whose file it is, and where in it the servers are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from agentkit.errors import ConfigurationError
from agentkit.mcp._foreign_entry import Foreign, Kind, entry_of
from agentkit.mcp._foreign_texts import EditorTexts, PlainTexts, Texts, dollar_texts, same_texts
from agentkit.mcp._json import read_json

KINDS: tuple[Kind, ...] = ("claude", "vscode", "cursor", "gemini", "qwen-agent")

_FOLDERS: dict[str, Kind] = {
    ".vscode": "vscode",
    ".cursor": "cursor",
    ".gemini": "gemini",
    ".qwen": "gemini",  # Qwen Code comes from Gemini CLI
    "Claude": "claude",
}
_MAC = "Library/Application Support"
_AT_HOME: dict[Kind, tuple[str, ...]] = {
    "claude": (
        ".claude.json",
        ".config/Claude/claude_desktop_config.json",
        f"{_MAC}/Claude/claude_desktop_config.json",
    ),
    "vscode": tuple(
        f"{folder}/{edition}/User/{file}"
        for edition in ("Code", "Code - Insiders")
        for folder in (".config", _MAC)
        for file in ("mcp.json", "settings.json")
    ),
    "cursor": (".cursor/mcp.json",),
    "gemini": (".gemini/settings.json",),
    "qwen-agent": (),
}
_HERE: dict[Kind, tuple[str, ...]] = {
    "claude": (".mcp.json",),
    "vscode": (".vscode/mcp.json", ".vscode/settings.json"),
    "cursor": (".cursor/mcp.json",),
    "gemini": (".gemini/settings.json",),
    "qwen-agent": (),
}


def known_files(kind: Kind, home: Path, cwd: Path) -> list[Path]:
    """Return where a host keeps its servers, on Linux and macOS; of the same name, the first wins.

    Qwen-Agent is told in the program that uses it, and keeps no file.

    >>> [str(path) for path in known_files("cursor", Path("/home/me"), Path("/project"))]
    ['/project/.cursor/mcp.json', '/home/me/.cursor/mcp.json']
    """
    every = [*(cwd / file for file in _HERE[kind]), *(home / file for file in _AT_HOME[kind])]
    return list(dict.fromkeys(every))


def foreign_servers(
    path: Path, kind: Kind | None = None, *, home: Path | None = None, cwd: Path | None = None
) -> Foreign:
    """Return the servers in the file of another host, as entries of `mcp_servers.json`.

    No secret of an `envFile` is taken over, only the file's name.

    Args:
        path: the file; comments and trailing commas are passed over.
        kind: whose it is; seen from its path and content otherwise.
        home: of the person; ours otherwise.
        cwd: the folder that is worked in; ours otherwise.

    Raises:
        ConfigurationError: it cannot be read, or is not such a file.
    """
    root = read_json(path, comments=True)
    kind = kind or _kind_of(path, root)
    file = _File(path, kind, home or Path.home(), cwd or Path.cwd())
    found = dict(file.servers(root))
    notes: list[str] = []
    texts = file.texts(root, notes)
    servers: dict[str, dict[str, Any]] = {}
    for name, given in found.items():
        if not name.strip() or not isinstance(given, dict):
            notes.append(f"server {name!r}: left out, since it has no settings or no name.")
            continue
        settings = cast("dict[str, Any]", given)
        servers[name] = entry_of(kind, name, settings, texts, file.project, notes)
    if kind == "gemini":
        _disable(servers, root)
    return Foreign(kind, servers, tuple(dict.fromkeys(notes)))


@dataclass(frozen=True, slots=True)
class _File:
    """Where the servers of a file are, and what it knows of its surroundings."""

    path: Path
    kind: Kind
    home: Path
    cwd: Path

    @property
    def project(self) -> Path | None:
        """The folder the file speaks for; `None` if it is for the person, wherever they work."""
        folder = self.path.absolute().parent
        if self.path.name == ".mcp.json":
            return folder
        inside = folder.name in _FOLDERS and folder.name.startswith(".")
        return folder.parent if inside and folder.parent != self.home else None

    def texts(self, root: object, notes: list[str]) -> Texts:
        """Return what translates the texts of the file."""
        if self.kind in {"vscode", "cursor"}:
            project = self.project
            inputs = dict(_inputs(root))
            workspace = project or self.cwd
            return EditorTexts(self.home, workspace, project is not None, inputs, notes)
        if self.kind == "gemini":
            return dollar_texts
        return PlainTexts(notes) if self.kind == "qwen-agent" else same_texts

    def servers(self, root: object) -> Iterator[tuple[str, object]]:
        """Yield each server; of the same name, the last counts."""
        if self.kind == "qwen-agent":
            for one in _nested(root):
                yield from self._map(one, "mcpServers")
            return
        if not isinstance(root, dict):
            raise ConfigurationError(
                f"{self.path}: must hold a JSON object, not {type(root).__name__}.",
                hint="Name the file that holds the MCP servers.",
            )
        top = cast("dict[str, Any]", root)
        if self.kind == "vscode":
            yield from self._map(_object(top, "mcp"), "servers")
            yield from self._map(top, "mcp.servers")
            yield from self._map(top, "servers")
        yield from self._map(top, "mcpServers")
        if self.kind == "claude":
            yield from self._of_claude(top)

    def _of_claude(self, top: dict[str, Any]) -> Iterator[tuple[str, object]]:
        projects = _object(top, "projects")
        for folder in dict.fromkeys((str(self.cwd.resolve()), str(self.cwd))):
            yield from self._map(_object(projects, folder), "mcpServers")
        if "mcpServers" not in top and top and all(map(_is_server, top.values())):
            yield from top.items()  # a bare map, as plugins have it

    def _map(self, holder: Mapping[str, Any], key: str) -> Iterator[tuple[str, object]]:
        found: object = holder.get(key, {})
        if not isinstance(found, dict):
            raise ConfigurationError(
                f"{self.path}: {key!r} must map the names of servers to their settings.",
                hint="Correct it there, or name another file.",
            )
        yield from cast("dict[str, object]", found).items()


def _kind_of(path: Path, root: object) -> Kind:
    folder = path.absolute().parent.name
    if path.name.lower().lstrip(".").startswith("claude"):
        return "claude"
    return _FOLDERS.get(folder) or _kind_of_content(root)


def _kind_of_content(root: object) -> Kind:
    if not isinstance(root, dict):
        return "qwen-agent"
    top = cast("dict[str, Any]", root)
    if "servers" in top or "mcp.servers" in top or "servers" in _object(top, "mcp"):
        return "vscode"
    keys = {key for one in _object(top, "mcpServers").values() for key in _keys(one)}
    if "httpUrl" in keys:
        return "gemini"
    nested = "mcpServers" not in top and any(_nested(top)) and "projects" not in top
    return "qwen-agent" if nested or "sse_read_timeout" in keys else "claude"


def _nested(value: object) -> Iterator[dict[str, Any]]:
    """Yield every object that holds servers, however deep in lists and objects."""
    waiting = [value]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, list):
            waiting.extend(cast("list[object]", one))
        elif isinstance(one, dict):
            held = cast("dict[str, object]", one)
            if isinstance(held.get("mcpServers"), dict):
                yield held
            else:
                waiting.extend(held.values())


def _inputs(root: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    top = cast("dict[str, Any]", root)
    for found in (top.get("inputs"), _object(top, "mcp").get("inputs"), top.get("mcp.inputs")):
        for one in cast("list[object]", found) if isinstance(found, list) else ():
            if isinstance(one, dict):
                known = cast("dict[str, Any]", one)
                yield str(known.get("id", "")), known


def _disable(servers: dict[str, dict[str, Any]], root: object) -> None:
    """Disable what Gemini CLI leaves alone by its lists, the new ones or the old."""
    top = cast("dict[str, Any]", root)
    lists = _object(top, "mcp")
    allowed: object = lists.get("allowed", top.get("allowMCPServers"))
    excluded: object = lists.get("excluded", top.get("excludeMCPServers"))
    for name, entry in servers.items():
        unwanted = isinstance(excluded, list) and name in excluded
        if unwanted or (isinstance(allowed, list) and name not in allowed):
            entry["disabled"] = True


def _object(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    found: object = holder.get(key)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _keys(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from cast("dict[str, object]", value)


def _is_server(value: object) -> bool:
    return not {"command", "url"}.isdisjoint(_keys(value))
