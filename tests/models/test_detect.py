from typing import Any

import anyio
import pytest
from aiohttp import web

from agentkit.errors import (
    ConfigurationError,
    ModelRequestError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from agentkit.models import open_pool
from agentkit.models._guided import GuidedModel
from agentkit.testing import FakeSGLang


def is_guided(model: Any) -> bool:
    return isinstance(model, GuidedModel) and model.always


async def test_sglang_says_what_it_is(connect: Any) -> None:
    async with FakeSGLang([]) as server, connect(server) as model:
        assert model.profile.backend == "sglang"
        assert model.profile.name == server.model
        assert model.profile.context_tokens == 8192
        assert not is_guided(model)


@pytest.mark.parametrize(
    ("owner", "pages", "backend", "context"),
    [
        ("vllm", {}, "vllm", None),
        ("me", {"/version": {"version": "0.33.0"}}, "vllm", None),
        (
            "llamacpp",
            {"/props": {"default_generation_settings": {"n_ctx": 4096}}},
            "llamacpp",
            4096,
        ),
        ("me", {"/props": {"default_generation_settings": {"n_ctx": 4096}}}, "llamacpp", 4096),
        ("me", {"/model_info": {"model_path": "/m/Qwen3-14B"}}, "sglang", None),
        (
            "self_hosted",
            {"/workers": {"workers": [{"models": [{"id": "m", "context_length": 8192}]}]}},
            "sglang",
            8192,
        ),
        ("me", {}, "openai", None),
        ("openai", {}, "openai", None),
    ],
)
async def test_a_server_is_known_by_its_owner_or_its_pages(
    owner: str, pages: Any, backend: str, context: int | None, serve: Any, connect: Any
) -> None:
    async with serve(owner=owner) as server:
        server.pages = pages
        async with connect(server) as model:
            assert (model.profile.backend, model.profile.context_tokens) == (backend, context)


@pytest.mark.parametrize(
    ("template", "small", "guided"),
    [
        ("{% if enable_thinking %}", False, False),
        ("{% if enable_thinking %}", True, True),
        ("{{ messages }}", False, True),
    ],
)
async def test_llama_cpp_guides_the_models_whose_calls_it_cannot_read(
    template: str, small: bool, guided: bool, serve: Any, connect: Any
) -> None:
    async with serve(owner="llamacpp") as server:
        server.model = "model.gguf"
        server.pages = {"/props": {"default_generation_settings": {}, "chat_template": template}}
        async with connect(server, small=small) as model:
            assert is_guided(model) is guided
            assert model.profile.small is small
        async with connect(server, tool_calls="native") as model:
            assert not is_guided(model)
        async with connect(server, tool_calls="guided") as model:
            assert is_guided(model)


async def test_an_unlisted_model_names_the_listed_ones(connect: Any) -> None:
    async with FakeSGLang([], model="qwen3-14b") as server:
        with pytest.raises(ModelRequestError, match=r"no model 'gpt'\. It lists: qwen3-14b"):
            async with connect(server, model="gpt"):
                pass
        with pytest.raises(ModelRequestError) as caught:
            async with connect(server, model="qwen3:14b"):
                pass
        assert "LoRA" in caught.value.hint
        async with connect(server, model="qwen3-14b") as model:
            assert model.profile.name == "qwen3-14b"


async def test_nothing_listening_is_one_clear_error() -> None:
    async with FakeSGLang([], state="refused") as server, open_pool() as pool:
        with pytest.raises(
            ModelUnavailableError, match="No answer from the model server"
        ) as caught:
            await pool.connect(server.base_url)
        assert caught.value.retryable
        assert "running" in caught.value.hint


async def _page(body: str, kind: str, status: int, seconds: float = 0.0) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        await anyio.sleep(seconds)
        return web.Response(text=body, content_type=kind, status=status)

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


@pytest.mark.parametrize(
    ("body", "kind", "status", "error", "said"),
    [
        ("<!doctype html><p>hi", "text/html", 200, ModelUnavailableError, "HTML"),
        ("<html>", "text/html", 503, ModelUnavailableError, "HTML"),
        ("{}", "application/json", 200, ModelUnavailableError, "lists no models"),
        ('{"data": [3]}', "application/json", 200, ModelUnavailableError, "lists no models"),
        ('{"detail": "Not Found"}', "application/json", 404, ModelRequestError, "Not Found"),
        ("hello", "text/plain", 200, ModelUnavailableError, "'hello'"),
        ('{"error": {"code": 503, "message": "Loading model"}}', "application/json", 503,
         ModelUnavailableError, "Loading model"),
    ],
)  # fmt: skip
async def test_something_that_is_no_model_server_is_told_as_such(
    body: str, kind: str, status: int, error: type[Exception], said: str
) -> None:
    runner = await _page(body, kind, status)
    try:
        async with open_pool() as pool:
            with pytest.raises(error, match=said) as caught:
                await pool.connect(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
        assert type(caught.value) is error
    finally:
        await runner.cleanup()


async def test_a_server_that_only_listens_runs_into_the_connect_time() -> None:
    runner = await _page("", "text/plain", 200, seconds=30)
    try:
        async with open_pool() as pool:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            with pytest.raises(ModelTimeoutError, match=r"within 0\.1 s"):
                await pool.connect(url, connect_seconds=0.1)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("url", ["", "localhost:8000/v1", "ftp://x/v1", "http://", "/v1"])
async def test_a_base_url_that_is_none_is_a_configuration_error(url: str) -> None:
    async with open_pool() as pool:
        with pytest.raises(ConfigurationError, match="not an HTTP address"):
            await pool.connect(url)


async def test_a_backend_or_key_that_makes_no_sense_is_a_configuration_error() -> None:
    async with open_pool() as pool:
        with pytest.raises(ConfigurationError, match="Known backends: sglang, vllm"):
            await pool.connect("http://127.0.0.1:9/v1", backend="tgi")
        with pytest.raises(ConfigurationError, match="API key"):
            await pool.connect("http://127.0.0.1:9/v1", api_key="a\nb")
