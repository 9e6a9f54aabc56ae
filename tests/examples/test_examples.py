"""Every example runs by itself, calls real tools and prints what it promises."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agentkit.testing import Answer, Fault

if TYPE_CHECKING:
    from tests.examples.conftest import RunExample, Serve

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.timeout(300)  # for a busy machine; alone each takes seconds
TOKYO = r"\w+day \d{4}-\d\d-\d\d \d\d:\d\d:\d\d in Asia/Tokyo \(UTC\+09:00, JST\)"
CLOCK = Answer(calls=[("clock", {"zone": "Asia/Tokyo"})])


def results(messages: list[dict[str, Any]]) -> list[str]:
    """Return what the tools have told the model."""
    return [message["content"] for message in messages if message["role"] == "tool"]


def test_the_index_names_every_example_and_no_other() -> None:
    index = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([^`]+)` \|", index, re.MULTILINE)
    assert sorted(named) == sorted(path.name for path in EXAMPLES.glob("*.py"))


def test_every_example_has_a_test_of_its_own() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    assert not [path.name for path in EXAMPLES.glob("*.py") if f'("{path.name}"' not in tests]


def test_the_quickstart_answers_from_a_real_clock(
    serve: "Serve", run_example: "RunExample"
) -> None:
    server = serve([CLOCK, "It is morning in Tokyo."])
    done = run_example("quickstart.py")
    assert (done.returncode, done.stderr) == (0, "")
    answer, figures = done.stdout.splitlines()
    assert answer == "It is morning in Tokyo."
    assert re.fullmatch(r"\[done: 2 steps, \d+ tokens\]", figures)
    assert re.fullmatch(TOKYO, results(server.requests[1].messages)[0])


def test_own_tools_are_called_with_the_model_s_arguments(
    serve: "Serve", run_example: "RunExample"
) -> None:
    calls = [("stock", {"fruit": "apple"}), ("stock", {"fruit": "fig"}), ("stock", {"fruit": 1})]
    server = serve([Answer(calls=calls), "Three apples."])
    done = run_example("own_tools.py")
    assert (done.returncode, done.stderr) == (0, "")
    *steps, answer = done.stdout.splitlines()
    refused = "Wrong arguments for 'stock': fruit: Input should be a valid string."
    assert steps[0] == f"<- {refused}", "a call that does not fit is refused before any runs"
    assert sorted(steps[1:]) == [
        "-> stock {'fruit': 'apple'}",
        "-> stock {'fruit': 'fig'}",
        "<- 3",
        "<- No 'fig' here. The shop sells: apple, pear.",
    ]
    assert answer == "Three apples."
    described = server.requests[0].body["tools"][0]["function"]
    assert described["description"] == "Count the fruit in the shop."
    fruit = described["parameters"]["properties"]["fruit"]
    assert fruit == {"type": "string", "description": "singular, in English."}


def test_the_assistant_names_its_servers_and_works_with_those_that_are_up(
    serve: "Serve", run_example: "RunExample"
) -> None:
    call = ("get_current_time", {"timezone": "Asia/Tokyo"})
    server = serve([Answer(calls=[call]), "It is morning in Tokyo."])
    done = run_example("mcp_assistant.py")
    assert (done.returncode, done.stdout) == (0, "It is morning in Tokyo.\n")
    up, down = done.stderr.splitlines()
    assert up == "time: ready"
    assert down.startswith("missing: failed its command 'no-such-server' was not found")
    begin, _, rest = results(server.requests[1].messages)[0].partition("\n")
    assert begin.startswith("[data ")
    told = json.loads(rest.rpartition("\n")[0])
    assert told["timezone"] == "Asia/Tokyo"
    assert told["datetime"].endswith("+09:00")


def test_the_plan_is_shown_revised_after_a_failure_and_the_answer_checked(
    serve: "Serve", run_example: "RunExample"
) -> None:
    needs = [
        {"need": "time in Tokyo", "tool": "clock"},
        {"need": "6 * 7", "tool": "code_interpreter"},
    ]
    server = serve(
        [
            json.dumps({"steps": needs}),
            Answer(calls=[("clock", {"zone": "Tokio Town"})]),
            json.dumps({"steps": [{"need": "time in Asia/Tokyo", "tool": "clock"}, needs[1]]}),
            Answer(calls=[CLOCK.calls[0], ("code_interpreter", {"code": "6 * 7"})]),
            "It is morning in Tokyo.",
            json.dumps({"complete": False, "missing": "what 6 * 7 is"}),
            "It is morning in Tokyo, and 6 * 7 is 42.",
            json.dumps({"complete": True, "missing": ""}),
        ]
    )
    done = run_example("planning.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "The plan:",
        "1. time in Tokyo (clock)",
        "2. 6 * 7 (code_interpreter)",
        "The plan, revision 1:",
        "1. time in Asia/Tokyo (clock)",
        "2. 6 * 7 (code_interpreter)",
        "The check found something missing: what 6 * 7 is",
        "It is morning in Tokyo, and 6 * 7 is 42.",
    ]
    refused, time, product = results(server.requests[-1].messages)
    assert "Tokio Town" in refused
    assert re.fullmatch(TOKYO, time)
    assert product == "42"


def test_a_conversation_continues_and_keeps_no_thinking(
    serve: "Serve", run_example: "RunExample"
) -> None:
    server = serve([Answer(thinking="A name.", text="Hello, Ada."), "Your name is Ada."])
    done = run_example("conversation.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "> My name is Ada.",
        "Hello, Ada.",
        "> What is my name?",
        "Your name is Ada.",
        "[4 messages kept]",
    ]
    first, second = (request.messages for request in server.requests)
    said = [(message["role"], message["content"]) for message in second]
    assert said[: len(first)] == [(message["role"], message["content"]) for message in first]
    assert said[len(first) :] == [("assistant", "Hello, Ada."), ("user", "What is my name?")]
    assert not any(message.get("reasoning_content") for message in second)


def test_the_cron_job_prints_the_answer_and_nothing_else(
    serve: "Serve", run_example: "RunExample"
) -> None:
    serve([CLOCK, "It is morning in Tokyo."])
    done = run_example("cron_job.py")
    assert (done.returncode, done.stdout, done.stderr) == (0, "It is morning in Tokyo.\n", "")


def test_the_cron_job_says_when_there_is_no_model_server(
    run_example: "RunExample", monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setenv("AGENTKIT_BASE_URL", f"http://127.0.0.1:{unused_tcp_port}/v1")
    done = run_example("cron_job.py")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("not started: No answer from the model server at http://")


def test_the_cron_job_says_when_the_run_failed(serve: "Serve", run_example: "RunExample") -> None:
    serve([CLOCK, Answer(fault=Fault("status", status=400))])
    done = run_example("cron_job.py")
    assert (done.returncode, done.stdout) == (4, "")
    assert re.match(r"failed: Model server .* answered 400.* \(trace [0-9a-f]{32}\)", done.stderr)


def test_the_cron_job_says_when_a_limit_ended_the_run(
    serve: "Serve", run_example: "RunExample"
) -> None:
    serve(CLOCK)  # the same call for ever
    done = run_example("cron_job.py")
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith("loop: The calls of clock went in circles")


def test_many_tasks_give_every_outcome_in_order(serve: "Serve", run_example: "RunExample") -> None:
    cities = {"Tokyo": "Asia/Tokyo", "Paris": "Europe/Paris", "Lima": "America/Lima"}
    script: dict[str, Any] = {
        f"What time is it in {city}?": [
            Answer(calls=[("clock", {"zone": zone})]),
            f"It is day in {city}.",
        ]
        for city, zone in cities.items()
    }
    script["What time is it in Lagos?"] = Answer(fault=Fault("status", status=400))
    server = serve(script)
    done = run_example("many_tasks.py")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Tokyo", "Paris", "Lagos", "Lima"]
    assert lines[0] == "Tokyo: done: It is day in Tokyo."
    assert lines[2].startswith("Lagos: failed: Model server ")
    told = [result for request in server.requests for result in results(request.messages)]
    assert sorted(text.split(" in ")[1].split(" ")[0] for text in told) == sorted(cities.values())


@pytest.mark.embedded
@pytest.mark.timeout(900)
def test_a_plan_is_carried_out_by_the_real_model(
    weights: Path, run_example: "RunExample", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_WEIGHTS", str(weights))
    done = run_example("planning.py", seconds=850)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"\d\d?:\d\d", done.stdout), f"no time of day in {done.stdout!r}"
    assert "42" in done.stdout


def test_a_server_is_started_beside_the_runtime(
    run_example: "RunExample", monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Path(__file__).parents[1] / "sglang" / "programs"  # stands for SGLang
    monkeypatch.setenv("AGENTKIT_ENGINE", "qwen3-scripted")
    monkeypatch.setenv("AGENTKIT_SERVER_PYTHON", sys.executable)
    monkeypatch.setenv("AGENTKIT_WEIGHTS", str(programs))
    monkeypatch.setenv("PYTHONPATH", str(programs))
    done = run_example("own_server.py")
    assert (done.returncode, done.stderr) == (0, "")
    first, *stages, answer = done.stdout.splitlines()
    assert (first, stages[-1]) == ("load", "ready")
    assert "load KV cache" in stages
    assert answer == "Hello! How can I help you today?"


def test_a_letter_becomes_a_value(serve: "Serve", run_example: "RunExample") -> None:
    invoice = {"number": "A-1077", "sender": "Hill & Sons", "total": 480, "currency": "EUR"}
    wrong = json.dumps({**invoice, "currency": "Euro"})
    server = serve([wrong, json.dumps(invoice)])
    done = run_example("typed_answer.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "A-1077: 480.00 EUR to Hill & Sons\n"
    assert "currency: String should have at most 3" in server.requests[1].messages[-1]["content"]


def test_a_refund_waits_for_a_person(serve: "Serve", run_example: "RunExample") -> None:
    asked = Answer(calls=[("refund", {"order": 17})])
    server = serve({"Refund order 17.": [asked, "It is refunded."]})
    done = run_example("approval.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "waiting for a yes or a no: refund {'order': 17}\n"
    done = run_example("approval.py", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "It is refunded.\n"
    assert results(server.requests[-1].messages) == ["Order 17 is refunded."]


def test_code_calls_a_tool_five_times_and_the_model_reads_one_number(
    serve: "Serve", run_example: "RunExample"
) -> None:
    fruits = ["apple", "pear", "fig", "plum", "kiwi"]
    code = f"print(sum(price(fruit)['euros'] for fruit in {fruits}))"
    server = serve([Answer(calls=[("code_interpreter", {"code": code})]), "They cost 3.60 euros."])
    done = run_example("code_mode.py")
    assert (done.returncode, done.stderr) == (0, "")
    *inner, outer, answer = done.stdout.splitlines()
    assert inner[0] == '  price: {"fruit":"apple","euros":0.5}'
    assert [line[:8] for line in inner] == ["  price:"] * 5
    assert outer.startswith("code_interpreter: 3.")
    assert answer == "They cost 3.60 euros."
    (read,) = results(server.requests[1].messages)
    assert round(float(read), 2) == 3.6
    described = server.requests[0].body["tools"][0]["function"]["description"]
    assert described.splitlines()[1:] == ["price(fruit)"]


def test_an_agent_asks_another(serve: "Serve", run_example: "RunExample") -> None:
    serve(
        {
            "Are there apples today?": [
                Answer(calls=[("keeper", {"task": "How many apples?"})]),
                "Yes, three.",
            ],
            "How many apples?": [Answer(calls=[("stock", {"fruit": "apple"})]), "There are 3."],
        }
    )
    done = run_example("helpers.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "keeper: There are 3.\ndesk: Yes, three.\n"
