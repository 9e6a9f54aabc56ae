"""Names for tools: fit for every model server, unique, and the same in each run."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from agentkit.mcp._config import ServerConfig

_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST = 64
_DIGEST = 8


def fit(name: str) -> str:
    """Return `name` in at most 64 letters, digits, `_` and `-`.

    A name that had to be cut ends in a digest of the whole, so that it stays distinct.

    >>> fit("files.read"), len(fit("x" * 100))
    ('files_read', 64)
    """
    plain = _UNFIT.sub("_", name)
    if len(plain) <= _LONGEST:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:_DIGEST]
    return f"{plain[: _LONGEST - _DIGEST - 1]}_{digest}"


def log_of(folder: Path, server: str) -> Path:
    """Return the file in `folder` where the server of that name leaves what it says.

    >>> log_of(Path("logs"), "a/b").name
    'a_b.log'
    """
    return folder / f"{fit(server)}.log"


def pins_of(folder: Path, config: ServerConfig) -> Path:
    """Return the file in `folder` that says what is approved of a server.

    It belongs to the name and to what is started or spoken to: another command under the same name
    is another server.
    """
    digest = hashlib.sha256(config.identity.encode("utf-8", "replace")).hexdigest()
    return folder / f"{fit(config.name)}-{digest[:_DIGEST]}.json"


def choose_names(
    offers: Sequence[tuple[ServerConfig, Sequence[str]]],
    taken: Iterable[str],
    given: Mapping[tuple[str, str], str] | None = None,
    servers: Iterable[str] = (),
) -> list[dict[str, str]]:
    """Return, server by server, what each of its tools is called; by the server's own names.

    A name that two servers offer, be it in other letters of the same, or that is taken, or that
    begins as those of another of the `servers` do, gets its server in front in every case: no tool
    shadows another, whichever server came first. What was `given` to a server's tool before stays
    its own.

    >>> one, two = ServerConfig(name="one"), ServerConfig(name="two", prefix=True)
    >>> choose_names([(one, ["a", "b"]), (two, ["c"])], taken=["b"])
    [{'a': 'a', 'b': 'one__b'}, {'c': 'two__c'}]
    """
    kept = given or {}
    used = {name.casefold() for name in (*taken, *kept.values())}
    often = Counter(
        fit(tool).casefold() for config, tools in offers if not config.prefix for tool in tools
    )
    fronts = {fit(f"{name}__").casefold(): name for name in servers}
    result: list[dict[str, str]] = []
    for config, tools in offers:
        names: dict[str, str] = {}
        for tool in sorted(tools):
            if (config.name, tool) in kept:
                names[tool] = kept[config.name, tool]
                continue
            plain = fit(tool)
            low = plain.casefold()
            borrowed = any(
                low.startswith(front) for front, name in fronts.items() if name != config.name
            )
            clear = not (config.prefix or borrowed) and often[low] == 1 and low not in used
            names[tool] = plain if clear else _unused(f"{config.name}__{tool}", used)
            used.add(names[tool].casefold())
        result.append(names)
    return result


def _unused(wanted: str, used: set[str]) -> str:
    name, number = fit(wanted), 1
    while name.casefold() in used:
        number += 1
        name = fit(f"{wanted}_{number}")
    return name
