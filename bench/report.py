"""Figures side by side: as lines on a terminal and as a page of the documentation."""

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

_PAGE = """\
# What agentkit costs

The whole runtime (events, policies, validation, a trace file for each run) beside a hand-written
loop over `openai.AsyncOpenAI` ("bare"), both against the same scripted server on loopback, one
after the other in the same session, medians of several rounds, each in a new process. agentkit
always streams; the bare loop is measured both ways. Every run's answer and its number of calls
are checked. CPU is user and system time of the client process. A ratio is agentkit / bare, the
median over the rounds. A goal is a ratio, or a bound of agentkit's own value.

A Python session is the code interpreter's, its processes and its memory; "bare" there is ipykernel
by way of jupyter_client, over ipc, which is sent its first cell as soon as it answers. Warm is a
second session in the same process. Memory is with the session that waits for the next run, and with
numpy, pandas and matplotlib in it; a kernel has none of them loaded.

Measured {date} on {machine}, Python {python}, {versions}. The machine is shared: trust the ratios.

```
python -m bench.run --write      # this page; add names (cpu, tokens, …) or --quick for a part
```

| figure | bare | agentkit | ratio | goal | |
|---|---:|---:|---:|---:|---|
{rows}
{skipped}
What is left is mostly below agentkit. Of the CPU of a run with 8 calls, two thirds belong to the HTTP
client and the event loop (`AsyncOpenAI.post` over aiohttp, without the typed layer), an eighth to
the trace and a fifth to the loop and the model layer. A paced token costs a wake-up of the event
loop, a read and a walk through the HTTP client's iterators, whoever reads it: that alone, with
nothing of agentkit, was measured at 0.21x of what a token costs the bare loop: see decision 7.
"""


@dataclass(frozen=True)
class Figure:
    """One value of both contenders in every round, and the goal it is held to, if any.

    Attributes:
        bares: round by round, as is `agentkits`.
        at_most: goal for agentkit / bare.
        at_least: goal for agentkit / bare, where more is better.
        below: goal for agentkit's value itself.
    """

    name: str
    unit: str
    bares: Sequence[float]
    agentkits: Sequence[float]
    at_most: float | None = None
    at_least: float | None = None
    below: float | None = None

    @property
    def bare(self) -> float:
        """The median of the bare loop."""
        return median(self.bares)

    @property
    def agentkit(self) -> float:
        """The median of agentkit."""
        return median(self.agentkits)

    @property
    def ratio(self) -> float:
        """What agentkit takes for each unit that bare takes: the median of the rounds' ratios.

        A busy machine slows both sides of a round alike, but not all rounds.
        """
        return median(a / b for a, b in zip(self.agentkits, self.bares, strict=True))

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, `None` where there is none.

        >>> Figure("CPU", "ms", [10], [3], at_most=0.4).met, Figure("CPU", "ms", [10], [3]).met
        (True, None)
        """
        if self.at_most is not None:
            return self.ratio <= self.at_most
        if self.at_least is not None:
            return self.ratio >= self.at_least
        return None if self.below is None else self.agentkit <= self.below

    @property
    def goal(self) -> str:
        """The goal in words."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}x"
        if self.at_least is not None:
            return f">= {self.at_least:g}x"
        return "" if self.below is None else f"<= {self.below:g} {self.unit}"

    @property
    def verdict(self) -> str:
        """One word."""
        return {True: "met", False: "MISSED", None: ""}[self.met]


def print_figures(figures: Sequence[Figure]) -> None:
    for one in figures:
        values = f"{one.bare:>10,.2f} {one.agentkit:>10,.2f} {one.unit:<3}{one.ratio:>7.3f}x"
        print(f"{one.name:<72}{values}  {one.goal:<10} {one.verdict}", flush=True)


def write_page(figures: Sequence[Figure], path: Path, skipped: Sequence[str] = ()) -> None:
    """Write the figures with the machine and the versions they belong to, and what was skipped."""
    rows = "\n".join(
        f"| {one.name} | {one.bare:,.2f} {one.unit} | {one.agentkit:,.2f} {one.unit} "
        f"| {one.ratio:.2f} | {one.goal} | {one.verdict} |"
        for one in figures
    )
    path.write_text(
        _PAGE.format(
            date=datetime.now(UTC).date(),
            machine=f"{os.cpu_count()} cores ({_processor()})",
            python=platform.python_version(),
            versions=", ".join(_versions()),
            rows=rows,
            skipped="".join(f"\nNot measured, {one}.\n" for one in skipped),
        ),
        encoding="utf-8",
    )


def _versions() -> list[str]:
    found: list[str] = []
    for name in ("openai", "aiohttp", "httpx2", "mcp", "anyio", "pydantic", "ipykernel"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
