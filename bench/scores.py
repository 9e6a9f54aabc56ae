"""How runs of tasks went, counted by category and mode."""

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PAGE = """\
# Small models: how often a task is done right

Tasks of `bench/taskset.py`, done by the embedded Qwen2.5-Coder-1.5B-Instruct (Q4_K_M, llama.cpp) with
the built-in tools, each answer held by program to a value that the script computes itself. The
sampling is the model's preset, so a repetition may turn out otherwise. *native* leaves calls to the
server's own parser, *guided* asks for one JSON object a step, *planned* has the loop decide which facts
are needed, get one at a time and then answer (`tool_calls="guided"`, `plan=True`; what `auto` takes here).

Measured {date} on {cores} shared cores, Python {python}, {versions}; {runs} runs.

```
python -m bench.tasks --repeat {repeat} --write      # this page; see --help for a part
```

{table}
A step is one question to the model. A step is unusable where what the model wrote could neither be
read as a call nor as an answer and it had to be asked again; a rescued one had calls that the server's
parser had left in the text; a refused call was read, but its arguments did not fit and it was not run.

## Tasks that failed

{failures}
"""


@dataclass(frozen=True, kw_only=True)
class Score:
    """One run of one task."""

    mode: str
    category: str
    name: str
    right: bool
    problem: str
    answer: str
    stop: str
    reason: str
    steps: int
    unusable: int
    rescued: int
    refused: int
    used: tuple[str, ...]
    expected: tuple[str, ...]
    seconds: float
    prompt_tokens: int
    completion_tokens: int


def table(scores: Sequence[Score]) -> str:
    """Return a Markdown table: categories down, modes across, totals below."""
    modes = list(dict.fromkeys(score.mode for score in scores))
    by_mode = {mode: [score for score in scores if score.mode == mode] for mode in modes}
    lines = [_row("category", modes), _row("---", ["---:"] * len(modes))]
    for category in dict.fromkeys(score.category for score in scores):
        cells = [_right(s for s in by_mode[mode] if s.category == category) for mode in modes]
        lines.append(_row(category, cells))
    for title, cell in _TOTALS.items():
        lines.append(_row(f"**{title}**", [cell(by_mode[mode]) for mode in modes]))
    return "\n".join(lines) + "\n"


def _row(first: str, cells: Iterable[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _right(scores: Iterable[Score]) -> str:
    counted = list(scores)
    return f"{sum(score.right for score in counted)}/{len(counted)}"


def _share(scores: Sequence[Score]) -> str:
    return f"{_right(scores)} = {100 * sum(s.right for s in scores) / len(scores):.0f} %"


def _unusable(scores: Sequence[Score]) -> str:
    return f"{sum(s.unusable for s in scores)} of {sum(s.steps for s in scores)}"


def _tools_as_expected(scores: Sequence[Score]) -> str:
    return f"{sum(set(s.used) == set(s.expected) for s in scores)}/{len(scores)}"


_TOTALS: Mapping[str, Callable[[Sequence[Score]], str]] = {
    "right": _share,
    "steps, mean": lambda scores: f"{statistics.mean(s.steps for s in scores):.1f}",
    "seconds, median": lambda scores: f"{statistics.median(s.seconds for s in scores):.0f}",
    "unusable steps": _unusable,
    "rescued steps": lambda scores: str(sum(s.rescued for s in scores)),
    "refused calls": lambda scores: str(sum(s.refused for s in scores)),
    "stopped early": lambda scores: str(sum(s.stop != "done" for s in scores)),
    "exactly the expected tools": _tools_as_expected,
}


def failures(scores: Sequence[Score]) -> str:
    """Return one line for each task and mode that failed at least once."""
    lines: list[str] = []
    for mode, name in dict.fromkeys((s.mode, s.name) for s in scores if not s.right):
        runs = [s for s in scores if (s.mode, s.name) == (mode, name)]
        why = "; ".join(dict.fromkeys(s.problem for s in runs if not s.right))
        lines.append(f"- {mode}, {name}: {_right(runs)} right ({why})")
    return "\n".join(lines) or "None."


def print_scores(scores: Sequence[Score]) -> None:
    print(f"\n{table(scores)}\n{failures(scores)}")


def write_page(scores: Sequence[Score], path: Path) -> None:
    """Write the table with the machine and the versions it belongs to."""
    runs = {(s.mode, s.name): 0 for s in scores}
    path.write_text(
        _PAGE.format(
            date=datetime.now(UTC).date(),
            cores=os.cpu_count(),
            python=platform.python_version(),
            versions=f"xllamacpp {version('xllamacpp')}",
            runs=len(scores),
            repeat=max(1, len(scores) // len(runs)),
            table=table(scores),
            failures=failures(scores),
        ),
        encoding="utf-8",
    )
