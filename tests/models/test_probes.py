"""What `doctor --probe` finds out about a server, and what it says to do."""

from typing import TYPE_CHECKING, Any

import pytest

from agentkit.models import Probe, open_pool
from agentkit.testing import Answer, FakeSGLang, Fault

if TYPE_CHECKING:
    from agentkit.models import ModelPool

NAMES = [
    *("tool call, streamed", "tool call, whole", "parallel calls", "thinking", "thinking off"),
    *("schema", "strict arguments", "token count", "cache report", "abort"),
]


async def probed(server: Any, **options: Any) -> dict[str, Probe]:
    async with open_pool() as pool:
        return await _all(pool, server, **options)


async def _all(pool: "ModelPool", server: Any, **options: Any) -> dict[str, Probe]:
    return {found.name: found async for found in pool.probe(server.base_url, **options)}


async def test_a_server_that_does_everything_is_found_to() -> None:
    async with FakeSGLang() as server:
        found = await probed(server)
    assert list(found) == NAMES
    assert found["tool call, streamed"].seen == 'get_current_time({"timezone": "Asia/Tokyo"})'
    assert found["parallel calls"].seen == "2 calls in one turn"
    good = [name for name, probe in found.items() if probe.status == "ok"]
    # The fake has no grammar, and counts about.
    assert set(NAMES) - set(good) <= {"schema", "strict arguments", "token count"}


@pytest.mark.parametrize(
    ("answer", "name", "status", "cure"),
    [
        (
            Answer(text='<tool_call>\n{"name": "get_current_time", "arguments": {}}\n</tool_call>'),
            "tool call, streamed",
            "fail",
            "--tool-call-parser qwen",
        ),
        ("It is noon.", "tool call, whole", "warn", "--tool-call-parser qwen"),
        (Answer(text="<think>Hm.</think>Hello"), "thinking", "fail", "--reasoning-parser qwen3"),
        (Answer(text="Hello"), "thinking", "warn", "--reasoning-parser qwen3"),
        (Answer(thinking="Hm."), "thinking", "warn", "--reasoning-parser qwen3"),
        ("Tokyo", "schema", "fail", "--grammar-backend xgrammar"),
        (
            Answer(calls=[("get_current_time", {"timezone": "Asia/Tokyo"})]),
            "strict arguments",
            "warn",
            "SGLANG_TOOL_STRICT_LEVEL=2",
        ),
        (
            Answer(calls=[("get_current_time", {"timezone": "Europe/Paris"})]),
            "strict arguments",
            "ok",
            "",
        ),
        (Answer(calls=[("now", {"a": 1})]), "parallel calls", "warn", ""),
        (Answer(text='{"city": "Tokyo", "country": "Japan"}'), "schema", "ok", ""),
    ],
)
async def test_what_is_missing_is_said_with_the_option_that_cures_it(
    answer: Any, name: str, status: str, cure: str
) -> None:
    async with FakeSGLang(answer) as server:
        found = (await probed(server))[name]
    assert (found.status, cure in found.cure) == (status, True)
    assert bool(found.cure) == bool(cure)


async def test_a_server_without_a_cache_report_is_told_the_option() -> None:
    async with FakeSGLang("Hello", cache_report=False) as server:
        found = (await probed(server))["cache report"]
    assert (found.status, "--enable-cache-report" in found.cure) == ("warn", True)


async def test_a_probe_that_fails_stops_no_other() -> None:
    broken = Answer(fault=Fault("drop"))
    async with FakeSGLang(broken) as server:
        found = await probed(server)
    assert list(found) == NAMES
    assert found["tool call, streamed"].status == "fail"
    assert "reset by peer" in found["tool call, streamed"].seen


async def test_a_model_that_never_thinks_is_not_asked_to() -> None:
    async with FakeSGLang("Hello", model="qwen2.5-7b-instruct") as server:
        found = await probed(server)
    assert found["thinking"].status == found["thinking off"].status == "skipped"


async def test_a_model_that_no_parser_reads_is_not_blamed_on_the_server() -> None:
    fenced = '```json\n{"name": "get_current_time", "arguments": {}}\n```'
    async with FakeSGLang(fenced, model="qwen2.5-coder-1.5b-instruct") as server:
        found = (await probed(server))["tool call, streamed"]
    assert (found.status, found.cure) == ("warn", "")
    assert "under a schema instead" in found.seen
