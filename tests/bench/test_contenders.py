import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.contenders import CONTENDERS
from bench.server import Scenario, serve


@pytest.fixture
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    server = await serve(Scenario.parse(request.param))
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@pytest.mark.parametrize("url", ["k3-m5"], indirect=True)
@pytest.mark.parametrize("name", ["bare", "bare-stream"])
async def test_every_contender_ends_in_the_same_answer(name: str, url: str, tmp_path: Path) -> None:
    scenario = Scenario.parse("k3-m5")
    async with CONTENDERS[name](url, scenario.name, tmp_path) as run:
        assert await run() == (scenario.answer, 3)
        assert await asyncio.gather(run(), run()) == [(scenario.answer, 3)] * 2
