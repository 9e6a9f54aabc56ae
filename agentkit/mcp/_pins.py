"""Definitions of tools that were approved, by their hashes: a server may not change them unseen.

A tool that read the weather yesterday may ask for keys today, under the same name. So what a tool
is, its name, description, schemas and annotations, is written down when it is first approved, and
what is not as it was then is withheld until a person has looked at it.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast
from uuid import uuid4

from agentkit.mcp._config import ServerConfig
from agentkit.mcp._listing import Listing
from agentkit.mcp._names import pins_of
from agentkit.mcp._state import Difference


def fingerprint(name: str, definition: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a tool's definition in one spelling.

    >>> fingerprint("t", {"a": 1, "b": 2}) == fingerprint("t", {"b": 2, "a": 1})
    True
    """
    spelled = json.dumps([name, definition], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(spelled.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Pin:
    sha256: str
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Tools that are withheld, each with the reason, and what else is to be said."""

    withheld: Mapping[str, str]
    note: str = ""


class UnreadablePinsError(Exception):
    """The file of the pins is there, and says nothing that could be trusted."""


class Pins:
    """What is approved of one server, in a file of its own."""

    def __init__(self, folder: Path, config: ServerConfig) -> None:
        self._config = config
        self.path = pins_of(folder, config)
        self._seen: dict[str, _Pin] | None = None

    def judge(self, listing: Listing) -> Verdict:
        """Return which tools are withheld, and why; pins what is seen first. Looks at the disk.

        A file that cannot be read withholds all. Where none can be written, what was seen first
        counts for as long as we run.
        """
        if self._config.pins == "off":
            return Verdict({})
        now = _prints(listing)
        try:
            known = self._read()
        except UnreadablePinsError as error:
            return Verdict(dict.fromkeys(listing.tools, f"{error}; all of its tools are withheld"))
        note = ""
        if known is None and self._config.pins == "first-use":
            known, note = self._first_use(now)
        found = _compare(known or {}, now)
        why = {one.name: _WHY[one.kind] for one in found if one.kind != "gone"}
        deep = {name: "it is nested too deeply" for name in listing.tools if name not in now}
        return Verdict(why | deep, note)

    def _first_use(self, now: dict[str, _Pin]) -> tuple[dict[str, _Pin], str]:
        if self._seen is None:
            self._seen = now
        try:
            self._write(self._seen)
        except OSError as error:
            return self._seen, f"its tools are not pinned: {self.path}: {error.strerror}"
        return self._seen, ""

    def differences(self, listing: Listing) -> tuple[Difference, ...]:
        """Return what is not as it was approved, by name."""
        try:
            known = self._read() or {}
        except UnreadablePinsError:
            known = {}
        return _compare(known, _prints(listing))

    def approve(self, listing: Listing) -> None:
        """Approve all that the server offers now.

        Raises:
            OSError: it cannot be written down.
        """
        self._write(_prints(listing))

    def _write(self, pins: Mapping[str, _Pin]) -> None:
        tools = {
            name: {"sha256": pin.sha256, "definition": pin.definition}
            for name, pin in sorted(pins.items())
        }
        content = {
            "server": self._config.name,
            "target": self._config.target,
            "approved": datetime.now(UTC).isoformat(timespec="seconds"),
            "tools": tools,
        }
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{uuid4().hex}")
        fresh.touch(mode=0o600)
        try:
            fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)

    def _read(self) -> dict[str, _Pin] | None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise UnreadablePinsError(f"its approvals in {self.path} cannot be read") from error
        try:
            content: Any = json.loads(text)
            return {
                str(name): _Pin(str(pin["sha256"]), cast("dict[str, Any]", pin["definition"]))
                for name, pin in content["tools"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UnreadablePinsError(f"its approvals in {self.path} are damaged") from error


_WHY: Mapping[Literal["new", "changed"], str] = {
    "new": "it is new since the server was approved",
    "changed": "its definition is not the one that was approved",
}


def _prints(listing: Listing) -> dict[str, _Pin]:
    """Return the fingerprints of what is offered; what is nested too deeply is never offered."""
    found: dict[str, _Pin] = {}
    for name, tool in listing.tools.items():
        with suppress(RecursionError):
            found[name] = _Pin(fingerprint(name, tool.definition), tool.definition)
    return found


def _compare(known: Mapping[str, _Pin], now: Mapping[str, _Pin]) -> tuple[Difference, ...]:
    every = ((name, known.get(name), now.get(name)) for name in sorted({*known, *now}))
    return tuple(
        Difference(
            name=name,
            kind="new" if before is None else "gone" if after is None else "changed",
            before=before.definition if before else None,
            after=after.definition if after else None,
        )
        for name, before, after in every
        if before is None or after is None or before.sha256 != after.sha256
    )
