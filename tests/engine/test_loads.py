"""How busy a server is, in the words of each kind of server."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import httpx2
from aiohttp import web

from agentkit.engine import Loads, read_loads
from agentkit.testing import Answer, FakeSGLang, Fault

VLLM = """# HELP vllm:num_requests_running Number of requests
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 1.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 200.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 150.0
"""


@asynccontextmanager
async def serving(
    path: str, answer: Callable[[web.Request], Awaitable[web.Response]]
) -> AsyncGenerator[str]:
    app = web.Application()
    app.router.add_get(path, answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def saying(text: str) -> AbstractAsyncContextManager[str]:
    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(text=text)

    return serving("/metrics", metrics)


async def test_sglang_says_what_it_works_at() -> None:
    loads = Loads()
    slow = Answer(text="one two three", fault=Fault("stall", after=1))
    async with FakeSGLang(slow, api_key="k") as server, httpx2.AsyncClient(verify=False) as client:
        assert (await read_loads(server.url, "k")).running == 0
        assert (await read_loads(server.url, "wrong")).queued == 0  # /metrics asks for no key
        async with anyio.create_task_group() as group:
            body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
            url, headers = f"{server.base_url}/chat/completions", {"Authorization": "Bearer k"}

            async def ask() -> None:
                await client.post(url, json=body, headers=headers)

            group.start_soon(ask)
            await server.wait_until(lambda fake: bool(fake.running))
            loads = await read_loads(server.url, "k")
            server.release()
    assert (loads.running, loads.queued, loads.cache_tokens) == (1, 0, 32_768)


async def test_vllm_says_it_in_its_metrics() -> None:
    async with saying(VLLM) as url:
        loads = await read_loads(url)
    assert loads == Loads(running=3, queued=1, token_usage=0.25, cache_hit_rate=0.75)


async def test_a_server_that_says_nothing_is_no_error() -> None:
    async with saying("nonsense") as url:
        assert await read_loads(url) == Loads()
    assert await read_loads("http://127.0.0.1:9") == Loads()


async def test_a_gateway_names_the_servers_that_know() -> None:
    async with FakeSGLang() as one, FakeSGLang() as two:

        async def workers(_request: web.Request) -> web.Response:
            return web.json_response({"workers": [{"url": one.url}, {"url": two.url}]})

        async with serving("/workers", workers) as url:
            loads = await read_loads(url)
    assert (loads.running, loads.cache_tokens, loads.token_usage) == (0, 65_536, 0.0)
