from urllib.request import urlopen

from agentkit import Agent, Limits, Policy
from agentkit.models import open_pool
from agentkit.protocols import Model
from agentkit.testing import EchoTool, FakeSGLang, ScriptedModel, call
from agentkit.toolkit import Registry
from bench.checks import number, says
from bench.pages import serve_pages
from bench.tasks import do_task
from bench.taskset import Task

TASK = Task("arithmetic", "sum", "What is 20 + 22?", says(number(42)), ("echo",))


def agent_with(model: Model, limits: Limits) -> Agent:
    policy = Policy(limits=limits)
    return Agent(name="bench", model=model, registry=Registry([EchoTool("echo")]), policy=policy)


async def test_a_run_is_scored_by_its_answer_its_steps_and_its_tools() -> None:
    with ScriptedModel([call("ecko", text="42"), call("echo", text="42"), "It is 42."]) as model:
        score, events = await do_task(agent_with(model, Limits()), "guided", TASK)
    assert (score.right, score.problem, score.answer) == (True, "", "It is 42.")
    assert (score.steps, score.refused, score.unusable) == (3, 1, 1)
    assert score.used == score.expected == ("echo",)
    assert events[-1].kind == "end"


async def test_a_call_that_the_server_left_in_the_text_is_counted_as_rescued() -> None:
    fenced = '```json\n{"name": "echo", "arguments": {"text": "42"}}\n```'
    async with FakeSGLang([fenced, "It is 42."]) as server, open_pool() as pool:
        model = await pool.connect(server.base_url)
        score, _ = await do_task(agent_with(model, Limits()), "native", TASK)
    assert (score.right, score.rescued, score.unusable) == (True, 1, 0)


async def test_an_answer_of_a_run_that_stopped_early_does_not_count() -> None:
    with ScriptedModel([call("echo", text="42"), "42"]) as model:
        score, _ = await do_task(agent_with(model, Limits(steps=1)), "guided", TASK)
    assert (score.right, score.problem, score.stop) == (False, "stopped: limit", "limit")


def test_pages_are_served_while_the_block_lasts() -> None:
    with serve_pages() as site, urlopen(f"{site}/kettle", timeout=5) as page:
        assert b"47.80 euros" in page.read()
