"""What agentkit costs beside a hand-written loop over the openai client, in the same run.

    python -m bench.run                     every figure, about ten minutes
    python -m bench.run cpu growth --quick  some of them, fewer rounds
    python -m bench.run interpreter         a Python session beside ipykernel, where it is
                                            installed: pip install --group bench
    python -m bench.run --write             and write docs/benchmarks.md

Each figure is measured in turn (bare, agentkit, bare, agentkit, …), each time in a new process,
and each round gives a ratio: absolute times belong to the machine, ratios travel.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from bench.report import Figure, print_figures, write_page

_ROOT = Path(__file__).parent.parent
_CONTENDERS = ("bare", "bare-stream", "agentkit", "agentkit-events")


@dataclass
class Bench:
    """Runs workers and collects figures."""

    rounds: int
    scale: float = 1.0
    figures: list[Figure] = field(default_factory=list[Figure])
    skipped: list[str] = field(default_factory=list[str])

    def count(self, number: int) -> int:
        """Return how often to repeat, fewer times when in a hurry."""
        return max(1, round(number * self.scale))

    def add(self, figure: Figure) -> None:
        """Take a figure and show it."""
        self.figures.append(figure)
        print_figures([figure])

    def skip(self, part: str, reason: str) -> None:
        """Measure a part not, and say why."""
        self.skipped.append(f"{part}: {reason}")
        print(f"skipped {part}: {reason}", flush=True)

    def side_by_side(
        self,
        kind: str,
        scenario: str | None,
        contenders: Sequence[str] = _CONTENDERS,
        rounds: int | None = None,
        **options: object,
    ) -> dict[str, dict[str, list[float]]]:
        """Measure the contenders in turn, several rounds; return each value, round by round."""
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
        with _server(scenario) as given:
            for _ in range(rounds or self.rounds):
                for name in contenders:
                    seen[name].append(_work(kind, {"contender": name, **given, **options}))
        return {
            name: {key: [one[key] for one in values] for key in values[0]}
            for name, values in seen.items()
        }


def _work(kind: str, options: dict[str, object]) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.worker", kind, json.dumps(options)]
    done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{kind} {options} failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def _server(scenario: str | None) -> Generator[dict[str, object]]:
    """Play a scenario in a process of its own; yields the options that name it."""
    if scenario is None:
        yield {}
        return
    command = [sys.executable, "-m", "bench.server", scenario]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield {"url": f"http://127.0.0.1:{port}/v1", "model": scenario}
        finally:
            process.kill()


def cpu(bench: Bench) -> None:
    """CPU of one run with 1 and with 8 calls."""
    for calls, goal in ((1, None), (8, 0.4)):
        got = bench.side_by_side("runs", f"k{calls}-m20", runs=bench.count(60), warm=5)
        for bare, how in (("bare", "not streamed"), ("bare-stream", "streamed")):
            name = f"CPU of a run with {calls} call{'s' * (calls > 1)}, bare {how}"
            pair = got[bare]["cpu_ms"], got["agentkit"]["cpu_ms"]
            bench.add(Figure(name, "ms", *pair, at_most=goal))
            pair = got[bare]["cpu_ms"], got["agentkit-events"]["cpu_ms"]
            bench.add(Figure(f"{name}, events iterated", "ms", *pair))


def guards(bench: Bench) -> None:
    """CPU of what guards a run: the same run with and without."""
    names = ("agentkit-unguarded", "agentkit")
    rounds = max(7, bench.rounds)  # a small difference
    for calls in (1, 8):
        scenario = f"k{calls}-m20"
        got = bench.side_by_side("runs", scenario, names, rounds, runs=bench.count(200), warm=20)
        pair = got["agentkit-unguarded"]["cpu_ms"], got["agentkit"]["cpu_ms"]
        name = f"CPU of a run with {calls} call{'s' * (calls > 1)}, bare: without the guards"
        bench.add(Figure(name, "ms", *pair, at_most=1.1))


def tokens(bench: Bench) -> None:
    """CPU of one streamed token, all in one write and one a millisecond."""
    for scenario, how, repeat in (("k0-m2000", "in a burst", 10), ("k0-m1000-p1", "paced", 3)):
        count = 2000 if "2000" in scenario else 1000
        names = ("bare-stream", "agentkit", "agentkit-events")
        got = bench.side_by_side("runs", scenario, names, runs=bench.count(repeat), warm=1)
        bare, ours, events = (
            [value * 1000 / count for value in got[name]["cpu_ms"]] for name in names
        )
        name = f"CPU of a streamed token, {how}"
        bench.add(Figure(name, "us", bare, ours, at_most=0.15))
        bench.add(Figure(f"{name}, events iterated", "us", bare, events))


def together(bench: Bench) -> None:
    """Rate, latency and memory of 1, 100 and 1,000 runs side by side."""
    for width, runs in ((1, 10), (100, 400), (1000, 2000)):
        got = bench.side_by_side(
            "runs",
            "k1-m20-d50",
            ("bare", "agentkit"),
            rounds=min(bench.rounds, 3),
            runs=max(width, bench.count(runs) // width * width),
            side_by_side=width,
        )
        bare, ours = got["bare"], got["agentkit"]
        where = f"{width:,} run{'s' * (width > 1)} side by side, 50 ms to the first token"
        rate = (bare["runs_per_s"], ours["runs_per_s"])
        bench.add(Figure(f"{where}: rate", "/s", *rate, at_least=3.0 if width == 1000 else None))
        for key, what, unit in (
            ("p50_ms", "median latency", "ms"),
            ("p99_ms", "99th percentile", "ms"),
            ("cpu_ms", "CPU of a run", "ms"),
            ("rss_mb", "memory before", "MB"),
            ("peak_mb", "memory at the peak", "MB"),
        ):
            bench.add(Figure(f"{where}: {what}", unit, bare[key], ours[key]))


def growth(bench: Bench) -> None:
    """CPU of turn 10, 100 and 300 of one conversation."""
    turns = [10, 100, 300]
    rounds = min(bench.rounds, 3)
    names = ("bare", "agentkit")
    got = bench.side_by_side("growth", "k306-m20", names, rounds=rounds, turns=turns)
    for turn in turns:
        key, goal = f"turn_{turn}", 3.0 if turn == 300 else None
        pair = got["bare"][key], got["agentkit"][key]
        bench.add(Figure(f"CPU of turn {turn} of a conversation", "ms", *pair, below=goal))


def mcp(bench: Bench) -> None:
    """One call of an MCP tool over stdio, and many at once."""
    rounds = max(7, bench.rounds)  # short and sensitive to what else the machine does
    names = ("bare", "agentkit")
    got = bench.side_by_side("mcp", None, names, rounds, calls=bench.count(1000))
    bare, ours = got["bare"], got["agentkit"]
    pair = bare["wall_us"], ours["wall_us"]
    bench.add(Figure("MCP call over stdio, round trip, bare: mcp.Client", "us", *pair, at_most=1.2))
    pair = bare["cpu_us"], ours["cpu_us"]
    bench.add(Figure("MCP call over stdio, CPU, bare: mcp.Client", "us", *pair))
    got = bench.side_by_side("mcp", None, names, rounds, calls=500, concurrency=50)
    pair = got["bare"]["cpu_us"], got["agentkit"]["cpu_us"]
    name = "500 MCP calls over stdio at concurrency 50, CPU of a call, bare: mcp.Client"
    bench.add(Figure(name, "us", *pair, at_most=1.2))


def interpreter(bench: Bench) -> None:
    """A Python session beside ipykernel: its first result, that of a second one, a cell, memory."""
    if find_spec("ipykernel") is None:
        bench.skip("interpreter", "ipykernel is not installed: pip install --group bench")
        return
    names = ("ipykernel", "agentkit")
    with tempfile.TemporaryDirectory() as folder:
        # Its first start ever makes its folders and its history.
        bench.side_by_side("sessions", None, names[:1], 1, folder=folder, cells=1)
        got = bench.side_by_side("sessions", None, names, folder=folder, cells=bench.count(300))
    for key, what, unit, goal in (
        ("cold_ms", "start to first result, cold", "ms", 50),
        ("warm_ms", "start to first result, warm", "ms", 10),
        ("cell_ms", "one cell `1+1`, round trip", "ms", 1),
        ("memory_mb", "resident memory", "MB", None),
    ):
        pair = got["ipykernel"][key], got["agentkit"][key]
        bench.add(Figure(f"Python session, {what}, bare: ipykernel", unit, *pair, below=goal))


def start(bench: Bench) -> None:
    """Time until `agentkit --help` is printed and `agentkit` is imported."""
    python = sys.executable
    commands = {
        "nothing": [python, "-c", "pass"],
        "openai": [python, "-c", "import openai"],
        "agentkit": [python, "-c", "import agentkit"],
        "help": [str(Path(python).with_name("agentkit")), "--help"],
    }
    seen: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(max(5, bench.rounds * 2)):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, cwd=_ROOT, capture_output=True, check=True)
            seen[name].append((time.perf_counter() - started) * 1000)
    name = "`import agentkit`, bare: `import openai`"
    bench.add(Figure(name, "ms", seen["openai"], seen["agentkit"]))
    name = "`agentkit --help`, bare: an empty Python"
    bench.add(Figure(name, "ms", seen["nothing"], seen["help"], below=300))


PARTS: dict[str, Callable[[Bench], None]] = {
    "cpu": cpu,
    "guards": guards,
    "tokens": tokens,
    "together": together,
    "growth": growth,
    "mcp": mcp,
    "interpreter": interpreter,
    "start": start,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all where none is given")
    parser.add_argument("--quick", action="store_true", help="two rounds of a quarter of the runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    given = parser.parse_args()
    if unknown := set(given.parts) - set(PARTS):
        parser.error(f"no part named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    bench = Bench(2, 0.25) if given.quick else Bench(given.rounds)
    for name in given.parts or PARTS:
        PARTS[name](bench)
    if given.write:
        write_page(bench.figures, _ROOT / "docs" / "benchmarks.md", bench.skipped)
    missed = [figure for figure in bench.figures if figure.met is False]
    print(f"{len(missed)} goals missed" if missed else "every goal met", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
