"""The clocks in virtual time: what a server does is scripted, waiting costs nothing."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest

from agentkit.errors import ModelTimeoutError
from agentkit.messages import ModelTurn, UserMessage
from agentkit.models._client import Sampling, ServerModel
from agentkit.models._dialects import SGLANG
from agentkit.models._endpoint import Endpoint
from agentkit.policies import Timeouts
from agentkit.protocols import ModelProfile, ModelRequest

Virtual = Callable[[Callable[[], Awaitable[object]]], object]
PATIENT = Timeouts(connect=None, first_token=None, idle=None, model=None)


class Scripted(httpx2.AsyncBaseTransport, httpx2.AsyncByteStream):
    """Answers each request with pieces, each after some seconds."""

    def __init__(self, *steps: tuple[float, str]) -> None:
        self.steps = steps
        self.closed = 0
        self.aborted: list[str] = []
        self.rid = ""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        if request.url.path == "/abort_request":
            self.aborted.append(json.loads(body)["rid"])
            return httpx2.Response(200)
        self.rid = json.loads(body)["rid"]
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for seconds, text in self.steps:
            await anyio.sleep(seconds)
            yield piece(text)

    async def aclose(self) -> None:
        self.closed += 1


def piece(text: str) -> bytes:
    if text.startswith(":"):
        return f"{text}\n\n".encode()
    finish = text if text in {"stop", "length"} else None
    fields = {} if finish else {"content": text}
    chunk: dict[str, Any] = {"choices": [{"delta": fields, "finish_reason": finish}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _silent(_kind: str, _text: str, /) -> None:
    """Emit nothing."""


async def asked(transport: Scripted, **clocks: float | None) -> tuple[float, ModelTurn | str]:
    """Return the virtual seconds a request took, and its turn or the text of its timeout."""
    steps = transport.steps
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as http:
        endpoint = Endpoint(http, "http://h/v1", None)
        model = ServerModel(endpoint, ModelProfile(name="m"), SGLANG, Sampling())
        transport.steps = ((0, "stop"),)
        # the SDK looks at the platform in a thread once, which virtual time does not wait for
        await model.ask(ModelRequest(messages=[UserMessage("x")], timeouts=PATIENT), _silent)
        transport.steps = steps
        transport.closed = 0
        start = anyio.current_time()
        timeouts = Timeouts(**({"connect": None} | clocks))
        request = ModelRequest(messages=[UserMessage("x")], timeouts=timeouts)
        try:
            outcome: ModelTurn | str = await model.ask(request, _silent)
        except ModelTimeoutError as error:
            outcome = str(error)
        return anyio.current_time() - start, outcome


def test_the_first_token_may_take_its_own_time(virtual_time: Virtual) -> None:
    async def run() -> None:
        slow = Scripted((170, "a"), (1, "stop"))
        took, turn = await asked(slow, first_token=180, idle=10, model=900)
        assert took == pytest.approx(171)
        assert isinstance(turn, ModelTurn)
        assert turn.text == "a"

    virtual_time(run)


@pytest.mark.parametrize(
    ("steps", "clock", "seconds"),
    [
        ([(181, "a")], "first_token", 180),
        ([(100, ": ping"), (100, ": ping")], "first_token", 180),  # a ping is no token
        ([(1, "a"), (70, "b")], "idle", 60),
        ([(1, "a"), (50, "b"), (70, "c")], "idle", 60),
        ([(1, "a"), (40, ": ping"), (40, ": ping")], "idle", 60),
        ([(50, "a")] * 30, "model", 900),
        ([(1, "a")] * 2000, "model", 900),
    ],
)
def test_the_clock_that_ran_out_is_named_and_the_stream_closed(
    steps: list[tuple[float, str]], clock: str, seconds: int, virtual_time: Virtual
) -> None:
    async def run() -> None:
        transport = Scripted(*steps)
        took, said = await asked(transport, first_token=180, idle=60, model=900)
        assert isinstance(said, str)
        assert f"within {seconds} s (clock '{clock}')" in said
        assert transport.closed
        assert transport.aborted == [transport.rid]
        whole = (
            900
            if clock == "model"
            else sum(s for s, text in steps[:-1] if text[0] != ":") + seconds
        )
        if clock == "first_token":
            whole = seconds
        assert whole <= took <= whole + 0.021 * seconds

    virtual_time(run)


def test_tokens_keep_a_stream_alive_for_as_long_as_the_whole_may_take(
    virtual_time: Virtual,
) -> None:
    async def run() -> None:
        steady = Scripted(*[(9.9, "a")] * 80, (9.9, "stop"))
        took, turn = await asked(steady, first_token=10, idle=10, model=900)
        assert took == pytest.approx(81 * 9.9)
        assert isinstance(turn, ModelTurn)
        assert len(turn.text) == 80

    virtual_time(run)


def test_after_the_reason_to_stop_only_a_short_wait_is_left(virtual_time: Virtual) -> None:
    async def run() -> None:
        transport = Scripted((1, "a"), (1, "stop"), (3600, ": the server forgot to close"))
        took, turn = await asked(transport, first_token=180, idle=600, model=None)
        assert isinstance(turn, ModelTurn)
        assert turn.text == "a"
        assert took == pytest.approx(7)
        assert transport.closed

    virtual_time(run)


def test_no_clock_means_no_limit(virtual_time: Virtual) -> None:
    async def run() -> None:
        patient = Scripted((1e6, "a"), (1e6, "stop"))
        took, turn = await asked(patient, first_token=None, idle=None, model=None)
        assert isinstance(turn, ModelTurn)
        assert took == pytest.approx(2e6)

    virtual_time(run)


def test_a_deadline_around_the_call_is_not_taken_for_a_clock(virtual_time: Virtual) -> None:
    async def run() -> None:
        transport = Scripted((100, "a"))
        with anyio.move_on_after(5) as scope:
            await asked(transport, first_token=180, idle=60, model=900)
        assert scope.cancelled_caught
        assert transport.closed

    virtual_time(run)
