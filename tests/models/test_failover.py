"""Several servers that stand for each other."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
import pytest

from agentkit.errors import ConfigurationError, ModelUnavailableError, TruncatedStreamError
from agentkit.messages import ModelTurn, UserMessage
from agentkit.models import open_pool
from agentkit.models._failover import FailoverModel, Member
from agentkit.protocols import Emit, ModelProfile, ModelRequest
from agentkit.testing import Answer, FakeSGLang, Fault

IDS = [f"{number:032x}" for number in range(40)]


def request(conversation: str = IDS[0]) -> ModelRequest:
    return ModelRequest(messages=[UserMessage("Hi")], conversation_id=conversation)


async def test_conversations_spread_and_each_stays_on_its_server(heard: Any) -> None:
    async with FakeSGLang("a") as one, FakeSGLang("b") as two, open_pool() as pool:
        model = await pool.connect_all([one.base_url, two.base_url])
        first = [(await model.ask(request(name), heard)).text for name in IDS]
        again = [(await model.ask(request(name), heard)).text for name in IDS]
    assert first == again
    assert 8 < first.count("a") < 32  # 20, give or take


async def test_a_server_that_is_gone_is_replaced_in_the_same_question(heard: Any) -> None:
    async with FakeSGLang("a") as one, open_pool() as pool:
        async with FakeSGLang("b") as two:
            model = await pool.connect_all([one.base_url, two.base_url])
            texts = {name: (await model.ask(request(name), heard)).text for name in IDS}
            mine = next(name for name, text in texts.items() if text == "b")
        assert heard.all("notice") == ""
        assert (await model.ask(request(mine), heard)).text == "a"
        assert f"{two.base_url} does not answer" in heard.all("notice")
        said = len(heard.pieces)
        assert (await model.ask(request(mine), heard)).text == "a"  # it rests: no word of it
        assert "notice" not in {kind for kind, _ in heard.pieces[said:]}


async def test_a_server_that_breaks_off_is_not_replaced_silently(heard: Any) -> None:
    broken = Answer(text="one two three four", fault=Fault("drop", after=3))
    async with FakeSGLang(broken) as one, FakeSGLang(broken) as two, open_pool() as pool:
        model = await pool.connect_all([one.base_url, two.base_url])
        with pytest.raises(TruncatedStreamError):
            await model.ask(request(), heard)
        assert len(one.requests) + len(two.requests) == 1


async def test_a_server_that_is_down_at_first_joins_later(heard: Any) -> None:
    late = FakeSGLang("b", state="refused")
    async with FakeSGLang("a") as one, late as two, open_pool() as pool:
        model = await pool.connect_all([one.base_url, two.base_url])
        assert {(await model.ask(request(name), heard)).text for name in IDS} == {"a"}
        await two.become("ready")
        await anyio.sleep(1.1)  # its rest
        assert {(await model.ask(request(name), heard)).text for name in IDS} == {"a", "b"}


async def test_none_that_answers_is_the_error_of_the_first() -> None:
    async with open_pool() as pool:
        with pytest.raises(ModelUnavailableError, match=r"127\.0\.0\.1:9/"):
            await pool.connect_all(["http://127.0.0.1:9/v1", "http://127.0.0.1:7/v1"])


async def test_servers_of_different_models_are_refused() -> None:
    async with FakeSGLang(model="a") as one, FakeSGLang(model="b") as two, open_pool() as pool:
        with pytest.raises(ConfigurationError, match="different models: a, b"):
            await pool.connect_all([one.base_url, two.base_url])


async def test_the_smallest_context_counts() -> None:
    async with (
        FakeSGLang(context_tokens=4096) as one,
        FakeSGLang(context_tokens=8192) as two,
        open_pool() as pool,
    ):
        model = await pool.connect_all([two.base_url, one.base_url])
    assert model.profile.context_tokens == 4096


class Switched:
    """A model that answers, or does not."""

    profile = ModelProfile(name="m")

    def __init__(self) -> None:
        self.works = True
        self.asked = 0
        self.gate = anyio.Event()
        self.gate.set()

    async def ask(self, request: ModelRequest, emit: Emit) -> ModelTurn:
        self.asked += 1
        await self.gate.wait()
        if not self.works:
            raise ModelUnavailableError("down.")
        return ModelTurn(text="yes")


def test_one_question_alone_finds_out_whether_a_server_is_back(
    virtual_time: Callable[[Callable[[], Awaitable[object]]], object], heard: Any
) -> None:
    async def run() -> None:
        one, two = Switched(), Switched()
        members = [Member("one", _as(one), one), Member("two", _as(two), two)]
        model = FailoverModel(members)
        mine = next(name for name in IDS if model._choose(name, []) is members[0])
        one.works = False
        for seconds in (1.0, 2.0, 4.0, 8.0):  # each rest is twice as long
            before = one.asked
            await model.ask(request(mine), heard)
            assert one.asked == before + 1
            await anyio.sleep(seconds - 0.1)
            await model.ask(request(mine), heard)
            assert one.asked == before + 1  # it still rests
            await anyio.sleep(0.2)
        one.works, one.gate = True, anyio.Event()
        async with anyio.create_task_group() as group:
            before = one.asked
            for _ in range(5):
                group.start_soon(partial(model.ask, request(mine), heard))
            await anyio.sleep(0.1)
            assert one.asked == before + 1
            one.gate.set()
        assert members[0].failures == 0

    virtual_time(run)


def _as(model: Switched) -> Callable[[], Awaitable[Any]]:
    async def connect() -> Switched:
        return model

    return connect
