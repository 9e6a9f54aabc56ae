"""`agentkit mcp import`: the servers of other hosts, into `mcp_servers.json`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from agentkit.cli._mcp_edit import RESERVED
from agentkit.cli._terminal import note, say
from agentkit.errors import ConfigurationError, InvalidTaskError
from agentkit.mcp import (
    KINDS,
    Foreign,
    Kind,
    McpConfig,
    config_of,
    foreign_servers,
    known_files,
    read_config,
    read_raw,
    servers_of,
    write_raw,
)
from agentkit.trace.words import plural

Sources = Sequence[tuple[Path, Foreign]]


def find_sources(source: str, kind: Kind | None, target: Path) -> Sources:
    """Return each file that `source` means, with its servers; the first has precedence.

    Args:
        source: a file, or the name of a host.
        kind: whose file it is, where the command line says so.
        target: our own file, which is no source.

    Raises:
        InvalidTaskError: the command line contradicts itself.
        ConfigurationError: there is no file, or none with servers that can be read.
    """
    if source in KINDS:
        if kind not in {None, source}:
            raise InvalidTaskError(
                f"SOURCE is {source!r}, but --from is {kind!r}.",
                hint="Leave --from out, or name a file.",
            )
        return _of_host(source)
    path = Path(source)
    if not path.exists():
        raise ConfigurationError(
            f"{source}: there is no such file.", hint=f"Name a file, or one of {', '.join(KINDS)}."
        )
    if target.exists() and path.samefile(target):
        raise InvalidTaskError(
            f"{source} is the file that servers are taken over into.",
            hint="Name the file of another host, or another --file.",
        )
    foreign = foreign_servers(path, kind)
    if not foreign.servers:
        _tell(foreign.notes)
        raise ConfigurationError(
            f"{source}: there are no MCP servers in it, read as a file of {foreign.kind}.",
            hint=f"Name another file, or say whose it is: --from {'|'.join(KINDS)}.",
        )
    return [(path, foreign)]


def import_servers(sources: Sources, target: Path, *, dry_run: bool, replace: bool) -> None:
    """Write the servers of `sources` into `target`, and say what a person should know.

    Args:
        sources: files with their servers; of the same name, the first counts.
        target: a server file, which need not be there.
        dry_run: say it, and write nothing.
        replace: take over also what has the same name as a server of `target`.

    Raises:
        ConfigurationError: `target` cannot be read or written.
    """
    root = read_raw(target)
    merged = _merge(servers_of(root), sources, replace=replace)
    if merged.taken and not dry_run:
        write_raw(target, root)
    for name, path in merged.taken.items():
        say(f"{'•' if dry_run else '✓'} {name}  from {path}")
    _tell(merged.notes)
    if not merged.taken:
        note("Nothing was taken over.")
        return
    config = config_of(root, os.environ) if dry_run else read_config(target, os.environ)
    _tell_problems(config, merged.taken)
    count = plural(len(merged.taken), "server")
    if dry_run:
        note(f"Nothing was written: without --dry-run, {count} would go into {target}.")
    else:
        note(f"Took over {count} into {target}. To try: agentkit mcp test")


@dataclass(frozen=True, slots=True)
class _Merged:
    taken: dict[str, Path] = field(default_factory=dict[str, Path])
    notes: list[str] = field(default_factory=list[str])


def _merge(servers: dict[str, Any], sources: Sources, *, replace: bool) -> _Merged:
    merged = _Merged()
    ours = frozenset(servers)
    for path, foreign in sources:
        left: list[str] = []
        for name, entry in foreign.servers.items():
            if name.strip() in RESERVED:
                left.append(name)
                merged.notes.append(
                    f"server {name!r} of {path} left out: no server can be called that."
                )
            elif name in merged.taken or (name in ours and not replace):
                left.append(name)
                whose = f"that of {merged.taken[name]}" if name in merged.taken else "yours"
                how = "" if name in merged.taken else " Use --replace to take it over."
                merged.notes.append(f"server {name!r} of {path} left out: {whose} stays.{how}")
            else:
                servers[name] = entry
                merged.taken[name] = path
        of_left = tuple(f"server {name!r}: " for name in left)
        merged.notes.extend(words for words in foreign.notes if not words.startswith(of_left))
    return merged


def _of_host(source: str) -> Sources:
    kind = cast("Kind", source)
    looked = known_files(kind, Path.home(), Path.cwd())
    found: list[tuple[Path, Foreign]] = []
    for path in looked:
        if not path.is_file():
            continue
        try:
            foreign = foreign_servers(path, kind)
        except ConfigurationError as error:  # another of its files may do
            note(f"• {error}")
            continue
        if foreign.servers:
            found.append((path, foreign))
        else:
            _tell(foreign.notes)
    if not found:
        places = f"looked for {', '.join(map(str, looked))}" if looked else "it keeps no file"
        raise ConfigurationError(
            f"No MCP servers of {kind} were found: {places}.",
            hint=f"Name the file: agentkit mcp import FILE --from {kind}.",
        )
    return found


def _tell(notes: Sequence[str]) -> None:
    for words in notes:
        note(f"• {words}")


def _tell_problems(config: McpConfig, taken: dict[str, Path]) -> None:
    for server in config.servers:
        if server.name in taken and server.problem:
            note(f"• server {server.name!r} cannot be used yet: {server.problem}")
            if server.hint:
                note(f"  Fix: {server.hint}")
