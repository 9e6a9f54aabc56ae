"""Recordings of SGLang 0.5.23: the fake answers so, and the real one still does."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from agentkit.testing import FakeSGLang, Raw

if TYPE_CHECKING:
    from tests.sglang.conftest import Served

WIRE = Path(__file__).parents[1] / "testing" / "wire"
RECORDINGS = sorted(path.name for path in WIRE.glob("*.*.json"))

# What the recorded toy model wrote here came of its weights, not of its dialogue.
REQUIRED = (
    "<think>\nThe user wants the current time in Tokyo. I should call get_current_time.\n</think>"
    '<tool_call>\n{"name": "code_interpreter", "arguments": 1.2870000000067637e-06'
)


def load(name: str) -> dict[str, Any]:
    return json.loads((WIRE / name).read_text(encoding="utf-8"))


def nulls(value: Any) -> Any:
    """Keys in order, and which values are null."""
    if isinstance(value, dict):
        return {key: nulls(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [nulls(item) for item in cast("list[Any]", value)[:1]]
    return value if value is None else "…"


def without_numbers(text: str) -> str:
    return re.sub(r"\(\d+ tokens\)", "(N tokens)", re.sub(r"\[[\d:]+\]", "[T]", text))


def summary(body: str) -> dict[str, Any]:
    """What an answer that is not streamed says, and its keys."""
    value = json.loads(body)
    if "choices" not in value:
        return {"error": without_numbers(body)}
    choice = value["choices"][0]
    message = choice["message"]
    return {
        "keys": json.dumps(nulls(value)),
        "text": message["content"],
        "thinking": message["reasoning_content"],
        "calls": [item["function"] for item in message.get("tool_calls", [])],
        "indexes": [item["index"] for item in message.get("tool_calls", [])],
        "finish": choice["finish_reason"],
        "stop": choice["matched_stop"],
    }


def streamed(body: str) -> dict[str, Any]:
    """What a stream says, and the keys of its chunks, repetitions left out."""
    assert body.endswith("\n\n")
    shapes: list[str] = []
    said: dict[str, str] = {"text": "", "thinking": ""}
    calls: dict[int, dict[str, str]] = {}
    ends: list[Any] = []
    for event in body.split("\n\n")[:-1]:
        data = event.removeprefix("data: ")
        if data == "[DONE]":
            shapes.append(data)
            continue
        chunk = json.loads(data)
        shape = json.dumps(nulls(chunk)) if "error" not in chunk else without_numbers(data)
        if shape not in shapes[-1:]:
            shapes.append(shape)
        for choice in chunk.get("choices", ()):
            delta = choice["delta"]
            said["text"] += delta.get("content") or ""
            said["thinking"] += delta.get("reasoning_content") or ""
            for item in delta.get("tool_calls", ()):
                merged = calls.setdefault(item["index"], {"name": "", "arguments": ""})
                merged["name"] += item["function"]["name"] or ""
                merged["arguments"] += item["function"]["arguments"]
            if choice["finish_reason"]:
                ends.append((choice["finish_reason"], choice["matched_stop"]))
    return {"shapes": shapes, **said, "calls": calls, "ends": ends}


def script_for(name: str) -> Any:
    if name.startswith("required"):
        return [Raw(REQUIRED, finish="length")]
    if name.startswith("endless"):
        thought = summary(load("endless-thinking.json.json")["body"])["thinking"]
        return [Raw(f"<think>{thought}", finish="length")]
    return None


@pytest.mark.parametrize("name", RECORDINGS)
async def test_the_fake_answers_as_the_recorded_server_did(name: str) -> None:
    async with FakeSGLang(script_for(name)) as server:
        await hold_to(load(name), server.base_url, {})


@pytest.mark.sglang
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", RECORDINGS)
async def test_the_real_server_still_answers_as_recorded(name: str, real: "Served") -> None:
    if name.startswith(("required", "endless")):
        pytest.skip("what the toy model writes there comes of rounding, not of its dialogue")
    await hold_to(load(name), real.base_url, real.headers)


async def hold_to(recording: dict[str, Any], base_url: str, headers: dict[str, str]) -> None:
    async with aiohttp.ClientSession(headers=headers) as session:
        url = f"{base_url}/chat/completions"
        async with session.post(url, json=recording["request"]) as response:
            body = (await response.read()).decode()
            assert response.status == recording["status"]
            assert response.headers["Content-Type"] == recording["content_type"]
    read = streamed if body.startswith("data:") else summary
    assert read(body) == read(recording["body"])


@pytest.mark.parametrize("name", ["one-call", "parallel-calls", "plain-answer", "cut-call"])
async def test_token_counts_are_near_those_of_the_real_tokenizer(name: str) -> None:
    recording = load(f"{name}.json.json")
    real = json.loads(recording["body"])["usage"]
    async with FakeSGLang() as server, aiohttp.ClientSession() as session:
        url = f"{server.base_url}/chat/completions"
        async with session.post(url, json=recording["request"]) as response:
            usage = (await response.json())["usage"]
    assert usage["prompt_tokens"] == pytest.approx(real["prompt_tokens"], rel=0.2)
    assert usage["completion_tokens"] == pytest.approx(real["completion_tokens"], rel=0.2)
    assert usage["reasoning_tokens"] == pytest.approx(real["reasoning_tokens"], rel=0.2)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("recorded", "path"),
    [("v1_models", "/v1/models"), ("model_info", "/model_info"), ("v1_loads", "/v1/loads")],
)
async def test_information_has_the_recorded_fields(
    recorded: str, path: str, server: "Served"
) -> None:
    recording = load(f"{recorded}.json")
    async with (
        aiohttp.ClientSession(headers=server.headers) as session,
        session.get(server.url + path) as response,
    ):
        found = await response.json()
    # The fake leaves out what nobody needs; the real one has all of it.
    known = [key for key in recording if key in found or server.is_real]
    assert [key for key in found if key in recording] == known
    for key in ("data", "loads"):
        if key in recording:
            assert set(recording[key][0]) >= {k for k in found[key][0] if not server.is_real}
    for key in ("reasoning_parser", "tool_call_parser", "version", "model_type"):
        assert found.get(key) == recording.get(key)
