"""How often a small model gets a task right: native calls, guided calls, planned runs.

    python -m bench.tasks --weights MODEL.gguf                  every task in every mode
    python -m bench.tasks --modes planned --only tokyo gcd      some of them
    python -m bench.tasks --repeat 3 --json runs.json --write   keep runs, write the page

The answer of a run is held to a value that this script computes itself. The tools that a task is
expected to use are reported, not required. Sampling is the model's own preset, never greedy.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from agentkit import CallFinished, CallStarted, Event, Limits, NoticeGiven, Runtime, read_settings
from agentkit.agent import Agent
from agentkit.errors import EngineError, ModelUnavailableError
from agentkit.events import as_record
from agentkit.models import open_pool
from bench.checks import Answer
from bench.pages import serve_pages
from bench.scores import Score, print_scores, write_page
from bench.taskset import Task, all_tasks

if TYPE_CHECKING:
    from agentkit.protocols import Model

_STEPS = 10  # of a run; no task needs more than seven, and one that wanders must end
_RESCUED = "the server had not recognised it"  # the notice of a call that was found in the text
_TOKENS = 512  # of a step; no answer or script needs more, and one that repeats itself must end

MODES: dict[str, dict[str, object]] = {
    "native": {"tool_calls": "native", "plan": False},
    "guided": {"tool_calls": "guided", "plan": False},
    "planned": {"tool_calls": "guided", "plan": True},
}


@dataclass
class Bench:
    """What to run and what has come of it."""

    given: argparse.Namespace
    scores: list[Score] = field(default_factory=list[Score])
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def run_mode(self, mode: str, tasks: Sequence[Task]) -> None:
        """Do every task in one mode, a few at once."""
        async with _agent(mode, self.given) as agent:
            limiter = anyio.CapacityLimiter(self.given.jobs)
            async with anyio.create_task_group() as group:
                for task in tasks:
                    for _ in range(self.given.repeat):
                        group.start_soon(self._run_one, agent, mode, task, limiter)

    async def _run_one(
        self, agent: Agent, mode: str, task: Task, limiter: anyio.CapacityLimiter
    ) -> None:
        async with limiter:
            score, events = await do_task(agent, mode, task)
        self.scores.append(score)
        self.records.append(
            {"task": task.text, **asdict(score), "events": [as_record(event) for event in events]}
        )
        if self.given.json is not None:  # after each run: a long session may be cut short
            text = json.dumps(self.records, ensure_ascii=False, indent=1)
            await anyio.Path(self.given.json).write_text(text, encoding="utf-8")
        mark = "right" if score.right else f"WRONG ({score.problem})"
        print(
            f"{mode:<8}{task.category:<11}{task.name:<18}{score.steps:>3} steps"
            f"{score.seconds:>6.0f} s  {mark}  {score.answer[:100]!r}",
            flush=True,
        )


async def do_task(agent: Agent, mode: str, task: Task) -> tuple[Score, list[Event]]:
    """Do a task once; return how it went, and its events."""
    began, clock = datetime.now(UTC), time.monotonic()
    async with agent.start(task.text) as run:
        events = [event async for event in run]
        result = await run.result()
    if isinstance(result.error, (EngineError, ModelUnavailableError)):
        raise result.error  # the server is gone: that says nothing about the model
    answer = Answer(result.text, began, datetime.now(UTC))
    problem = f"stopped: {result.stop}" if result.stop != "done" else task.check(answer)
    begun = {event.call_id: event.name for event in events if isinstance(event, CallStarted)}
    notices = [event.text for event in events if isinstance(event, NoticeGiven)]
    rescued = sum(_RESCUED in text for text in notices)
    refused = [e for e in events if isinstance(e, CallFinished) and e.call_id not in begun]
    return Score(
        mode=mode,
        category=task.category,
        name=task.name,
        right=not problem,
        problem=problem,
        answer=result.text,
        stop=result.stop,
        reason=result.reason,
        steps=result.steps,
        unusable=len(notices) - rescued,
        rescued=rescued,
        refused=len(refused),
        used=tuple(begun.values()),
        expected=task.tools,
        seconds=time.monotonic() - clock,
        prompt_tokens=result.usage.prompt_tokens,
        completion_tokens=result.usage.completion_tokens,
    ), events


@asynccontextmanager
async def _agent(mode: str, given: argparse.Namespace) -> AsyncGenerator[Agent]:
    async with AsyncExitStack() as stack:
        settings = read_settings(
            engine="embedded",
            weights=given.weights,
            allow_tools=("code_interpreter",),  # some tasks compute with what stands on a page
            limits=Limits(steps=_STEPS, answer_tokens=_TOKENS),
            state_dir=Path(stack.enter_context(tempfile.TemporaryDirectory())),
            **MODES[mode],
        )
        model: Model | None = None
        if given.base_url is not None:
            pool = await stack.enter_async_context(open_pool())
            model = await pool.connect(
                given.base_url, tool_calls=settings.tool_calls, small=True, quantised=True
            )
        opening = Runtime.open(settings, model=model, with_mcp=False)
        runtime = await stack.enter_async_context(opening)
        yield runtime.agent(instructions=given.instructions)


async def _main(given: argparse.Namespace) -> Bench:
    bench = Bench(given)
    with serve_pages() as site:
        tasks = [task for task in all_tasks(site) if _wanted(task, given.only)]
        for mode in given.modes:
            await bench.run_mode(mode, tasks)
    return bench


def _wanted(task: Task, only: Sequence[str]) -> bool:
    return not only or task.name in only or task.category in only


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--only", nargs="+", default=[], help="names or categories of tasks")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each task and mode")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--weights", help="a GGUF file; the default weights where not given")
    parser.add_argument("--base-url", help="of a server that runs a small model already")
    parser.add_argument("--instructions", default="", help="system prompt of the agent")
    parser.add_argument("--json", type=Path, help="keep every run with its events here")
    parser.add_argument("--write", action="store_true", help="write docs/small-models.md")
    given = parser.parse_args()
    os.environ["AGENTKIT_FETCH_ALLOW"] = "127.0.0.1"  # the pages are on this machine
    bench = anyio.run(partial(_main, given))
    print_scores(bench.scores)
    if given.write:
        write_page(bench.scores, Path(__file__).parent.parent / "docs" / "small-models.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
