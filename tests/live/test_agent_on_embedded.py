"""The main job on the embedded engine with its real weights: two facts, two real tools."""

import re
from pathlib import Path

import pytest
from anyio import to_thread

from agentkit import CallFinished, PlanMade, Runtime, read_settings

TASK = "What time is it in Tokyo, and what is 2 to the power of 100?"
SERVERS = Path(__file__).parents[2] / "mcp_servers.json"


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_a_small_model_plans_calls_two_tools_among_those_of_servers_and_answers(
    tmp_path: Path, weights: Path
) -> None:
    settings = await to_thread.run_sync(
        lambda: read_settings(
            # The likeliest words each time: whether a small model is lucky is not what is tested.
            sampling={"temperature": 0},
            engine="embedded",
            weights=str(weights),
            state_dir=tmp_path,
            mcp_servers=SERVERS,
        )
    )
    async with Runtime.open(settings) as runtime:
        assert {state.name for state in runtime.servers} == {"time", "fetch"}
        async with runtime.agent().start(TASK) as run:
            events = [event async for event in run]
        result = await run.result()
    (plan,) = [event for event in events if isinstance(event, PlanMade)]
    done = [event for event in events if isinstance(event, CallFinished)]
    assert [step.tool for step in plan.steps] == ["clock", "code_interpreter"]
    assert [(event.name, event.ok) for event in done] == [
        ("clock", True),
        ("code_interpreter", True),
    ]
    (moment,) = re.findall(r"\d\d:\d\d:\d\d", done[0].text)
    assert (result.stop, result.calls) == ("done", 2)
    assert str(2**100) in result.text
    assert moment in result.text


@pytest.mark.embedded
@pytest.mark.timeout(600)
async def test_a_plot_of_a_small_model_is_a_file_that_the_trace_names(
    tmp_path: Path, weights: Path
) -> None:
    pytest.importorskip("matplotlib")
    settings = await to_thread.run_sync(
        lambda: read_settings(
            sampling={"temperature": 0},
            engine="embedded",
            weights=str(weights),
            state_dir=tmp_path,
            tools=["code_interpreter"],
        )
    )
    async with Runtime.open(settings, with_mcp=False) as runtime:
        result = await runtime.agent().run(
            "Draw a line plot of the squares of the numbers 1 to 10 with matplotlib."
        )
    (plot,) = await to_thread.run_sync(lambda: list(tmp_path.glob("results/*/files/plot-*.png")))
    assert (await to_thread.run_sync(plot.read_bytes)).startswith(b"\x89PNG\r\n")
    traces = await to_thread.run_sync(
        lambda: [path.read_text(encoding="utf-8") for path in settings.trace_dir.glob("*.jsonl")]
    )
    assert any(str(plot) in text and "isolation: " in text for text in traces)
    assert result.stop == "done"
