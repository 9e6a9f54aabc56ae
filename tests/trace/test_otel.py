import importlib.util
import logging
import threading
from collections.abc import Sequence
from typing import Any, Self

import anyio
import pytest
from aiohttp import web
from anyio import to_thread
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from agentkit import Runtime, Settings, ToolError, tool
from agentkit.agent import Agent
from agentkit.errors import ConfigurationError, ModelRequestError, ModelUnavailableError
from agentkit.events import Event, RunEnded, RunStarted, StepStarted
from agentkit.messages import ToolCall, Usage
from agentkit.policies import Limits, Policy, Retry
from agentkit.protocols import ModelRequest, current_call
from agentkit.testing import ScriptedModel, call
from agentkit.toolkit import Registry
from agentkit.trace import otel
from agentkit.trace.otel import OtelObserver, open_otel, otel_observer

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(autouse=True)
def no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)


class Spans:
    """Spans that ended, by name."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def __getitem__(self, name: str) -> ReadableSpan:
        (span,) = [one for one in self.all() if one.name == name]
        return span

    def all(self) -> Sequence[ReadableSpan]:
        return self.exporter.get_finished_spans()

    def said(self) -> str:
        return " ".join(one.to_json() for one in self.all())


@pytest.fixture
def spans() -> Spans:
    return Spans()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@tool
async def weigh(fruit: str) -> str:
    """Weigh a fruit."""
    if fruit == "pear":
        raise ToolError("No secret pear here.")
    return f"a secret {fruit} weighs 80 g"


@tool
async def slow() -> None:
    """Never end."""
    await anyio.sleep_forever()


def an_agent(model: ScriptedModel, *observers: OtelObserver, **options: Any) -> Agent:
    tools = [weigh, *options.pop("tools", ())]
    policy = options.pop("policy", Policy())
    return Agent(
        name="grocer", model=model, registry=Registry(tools), policy=policy, observers=observers
    )


async def test_a_run_is_a_tree_of_spans_with_the_names_of_the_conventions(spans: Spans) -> None:
    observer = OtelObserver(spans.provider)
    model = ScriptedModel([call("weigh", fruit="apple"), "80 g."])
    result = await an_agent(model, observer).run("How heavy is a secret apple?")
    await observer.aclose()
    run, used = spans["invoke_agent grocer"], spans["execute_tool weigh"]
    chats = [one for one in spans.all() if one.name == f"chat {model.profile.name}"]
    assert [run.kind, used.kind, *(one.kind for one in chats)] == [
        SpanKind.INTERNAL,
        SpanKind.INTERNAL,
        SpanKind.CLIENT,
        SpanKind.CLIENT,
    ]
    assert run.parent is None
    assert run.context is not None
    assert {one.parent.span_id for one in (used, *chats) if one.parent} == {run.context.span_id}
    assert {one.context.trace_id for one in spans.all() if one.context} == {run.context.trace_id}
    assert attributes(run) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "grocer",
        "gen_ai.conversation.id": result.run_id,
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": model.profile.name,
        "gen_ai.usage.input_tokens": result.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": result.usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": result.usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": result.usage.reasoning_tokens,
        "agentkit.run.id": result.run_id,
        "agentkit.run.stop": "done",
        "agentkit.run.steps": 2,
    }
    first = attributes(chats[0])
    assert first["gen_ai.operation.name"] == "chat"
    assert first["gen_ai.provider.name"] == "scripted"
    assert first["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert attributes(chats[1])["gen_ai.response.finish_reasons"] == ("stop",)
    total = sum(attributes(one)["gen_ai.usage.input_tokens"] for one in chats)
    assert total == result.usage.prompt_tokens
    assert attributes(used) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weigh",
        "gen_ai.tool.type": "function",
        "gen_ai.tool.call.id": attributes(used)["gen_ai.tool.call.id"],
        "agentkit.step": 1,
    }
    assert all(one.status.status_code is StatusCode.UNSET for one in spans.all())


async def test_a_call_that_a_tool_has_made_hangs_below_its_call(spans: Spans) -> None:
    @tool
    async def shop() -> str:
        """Weigh an apple."""
        context = current_call()
        assert context is not None
        return await context.call_tool("weigh", {"fruit": "apple"})

    model = ScriptedModel([call("shop"), "80 g."])
    await an_agent(model, OtelObserver(spans.provider), tools=[shop]).run("How heavy?")
    outer, inner = spans["execute_tool shop"], spans["execute_tool weigh"]
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


async def test_what_is_said_is_recorded_only_on_request(spans: Spans) -> None:
    script = [call("weigh", fruit="pear"), call("weigh", fruit="apple"), "A secret."]
    await an_agent(ScriptedModel(script), OtelObserver(spans.provider)).run("A secret apple?")
    assert "secret" not in spans.said()
    assert "apple" not in spans.said()
    spans.exporter.clear()
    observer = OtelObserver(spans.provider, content=True)
    await an_agent(ScriptedModel(script[1:]), observer).run("A secret apple?")
    used, run = attributes(spans["execute_tool weigh"]), attributes(spans["invoke_agent grocer"])
    assert used["gen_ai.tool.call.arguments"] == '{"fruit": "apple"}'
    assert used["gen_ai.tool.call.result"] == "a secret apple weighs 80 g"
    assert "A secret apple?" in run["gen_ai.input.messages"]
    assert "A secret." in run["gen_ai.output.messages"]


async def test_calls_that_failed_or_were_refused_are_errors_and_the_run_is_not(
    spans: Spans,
) -> None:
    made_up = "pe\ud800ar" + "x" * 500  # half a surrogate cannot be sent
    script = [[call("weigh", fruit="pear"), ToolCall("c", made_up, "{}")], "No."]
    await an_agent(ScriptedModel(script), OtelObserver(spans.provider)).run("How heavy is a pear?")
    failed = spans["execute_tool weigh"]
    (refused,) = [one for one in spans.all() if one.name.startswith("execute_tool pe?ar")]
    assert len(refused.name) <= 128
    assert (failed.status.status_code, refused.status.status_code) == (StatusCode.ERROR,) * 2
    assert attributes(failed)["error.type"] == "tool_error"
    assert attributes(refused)["error.type"] == "refused"
    assert spans["invoke_agent grocer"].status.status_code is StatusCode.UNSET


async def test_a_run_that_fails_names_its_stop_as_the_error(spans: Spans) -> None:
    model = ScriptedModel([ModelRequestError("The secret prompt is refused.")])
    result = await an_agent(model, OtelObserver(spans.provider)).run("Anything?")
    assert result.stop == "failed"
    for name in ("invoke_agent grocer", f"chat {model.profile.name}"):
        assert spans[name].status.status_code is StatusCode.ERROR
        assert attributes(spans[name])["error.type"] == "failed"
    assert "secret" not in spans.said()


async def test_a_limit_is_an_error_with_its_name(spans: Spans) -> None:
    model = ScriptedModel([call("weigh", fruit="apple"), "As far as I know, 80 g."])
    agent = an_agent(model, OtelObserver(spans.provider), policy=Policy(limits=Limits(steps=1)))
    assert (await agent.run("How heavy?")).stop == "limit"
    assert attributes(spans["invoke_agent grocer"])["error.type"] == "limit"


async def test_a_cancelled_run_ends_its_spans_and_is_no_error(spans: Spans) -> None:
    model = ScriptedModel([call("slow")])
    observer = OtelObserver(spans.provider)
    agent = an_agent(model, observer, tools=[slow])
    async with agent.start("Wait.") as run:
        async for event in run:
            if event.kind == "call":
                run.cancel()
    stop = attributes(spans["invoke_agent grocer"])
    assert stop["agentkit.run.stop"] == "cancelled"
    assert "error.type" not in stop
    assert attributes(spans["execute_tool slow"])["error.type"] == "cancelled"


async def test_runs_side_by_side_have_trees_of_their_own(spans: Spans) -> None:
    observer = OtelObserver(spans.provider)

    async def one() -> None:
        await an_agent(ScriptedModel([call("weigh", fruit="fig"), "Light."]), observer).run("Fig?")

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one)
    trees: dict[int, list[str]] = {}
    for span in spans.all():
        assert span.context is not None
        trees.setdefault(span.context.trace_id, []).append(span.name.split()[0])
    assert [sorted(tree) for tree in trees.values()] == [
        ["chat", "chat", "execute_tool", "invoke_agent"]
    ] * 5


async def test_a_run_hangs_below_the_span_of_the_program_that_starts_it(spans: Spans) -> None:
    agent = an_agent(ScriptedModel(["Yes."]), OtelObserver(spans.provider))
    with spans.provider.get_tracer("app").start_as_current_span("request") as request:
        await agent.run("Yes?")
    parent = spans["invoke_agent grocer"].parent
    assert parent is not None
    assert parent.span_id == request.get_span_context().span_id


async def test_a_retry_is_an_event_of_its_model_call(spans: Spans) -> None:
    class Flaky(ScriptedModel):
        failed = False

        async def ask(self, request: ModelRequest, emit: Any) -> Any:
            if not self.failed:
                self.failed = True
                raise ModelUnavailableError("A secret reason.", retry_after=0.001)
            return await super().ask(request, emit)

    policy = Policy(retry=Retry(first_delay=0.001))
    agent = an_agent(Flaky(["Yes."]), OtelObserver(spans.provider), policy=policy)
    assert (await agent.run("Yes?")).stop == "done"
    chat = next(one for one in spans.all() if one.name.startswith("chat"))
    (retry,) = chat.events
    assert retry.name == "agentkit.retry"
    assert "secret" not in spans.said()


class _Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise OSError("the disk is gone")


async def test_a_broken_processor_costs_spans_and_not_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Broken())
    observer = OtelObserver(provider)
    agent = an_agent(ScriptedModel([call("weigh", fruit="fig"), "Light."]), observer)
    assert (await agent.run("Fig?")).stop == "done"
    assert [r.getMessage() for r in caplog.records if r.name == "agentkit.trace"] == [
        "Spans are incomplete: OSError: the disk is gone. Runs go on without them."
    ]


async def test_what_was_going_on_when_the_program_closed_is_ended(spans: Spans) -> None:
    observer = OtelObserver(spans.provider)
    begun: tuple[Event, ...] = (
        RunStarted(run_id="r", task="t", model="m", tools=()),
        StepStarted(step=1),
    )
    for event in begun:
        observer.observe("r", event)
    await observer.aclose()
    assert {one.name: attributes(one)["error.type"] for one in spans.all()} == {
        "invoke_agent": "interrupted",
        "chat m": "interrupted",
    }
    ended = RunEnded(run_id="r", stop="done", text="", steps=1, usage=Usage(), seconds=0.0)
    observer.observe("r", ended)  # of a run that nobody knows any more
    assert len(spans.all()) == 2


def test_without_a_collector_there_is_no_observer() -> None:
    assert otel_observer() is None


async def test_a_collector_without_the_extra_is_a_mistake_that_says_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str, package: str | None = None) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(ConfigurationError, match=f"{ENDPOINT} is set, but the extra 'otel'") as got:
        async with open_otel():
            pass
    assert "qwen-agentkit[otel]" in got.value.hint


def test_a_variable_that_opentelemetry_refuses_is_a_mistake_in_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(ConfigurationError, match="OpenTelemetry does not take its settings"):
        otel_observer()


class Collector:
    """A receiver of OTLP over HTTP on a free port of loopback."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.hang = anyio.Event()
        self.hang.set()
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hang.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        await self.hang.wait()
        assert request.content_type == "application/x-protobuf"
        self.requests.append(ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(content_type="application/x-protobuf")


async def test_a_runtime_sends_its_runs_to_the_collector_that_the_environment_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Collector() as collector:
        monkeypatch.setenv(ENDPOINT, collector.url)
        model = ScriptedModel([call("weigh", fruit="apple"), "80 g."])
        settings = await to_thread.run_sync(lambda: Settings(trace=False, tools=()))
        async with Runtime.open(settings, model=model, with_mcp=False) as runtime:
            result = await runtime.agent(name="grocer", tools=[weigh]).run("How heavy?")
            assert [one for one in threading.enumerate() if one.name.startswith("OtelBatch")]
    (request,) = collector.requests
    (resource,) = request.resource_spans
    service = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert service["service.name"] == "agentkit"
    got = [span for scope in resource.scope_spans for span in scope.spans]
    assert sorted(span.name for span in got) == sorted(
        [
            "invoke_agent grocer",
            f"chat {model.profile.name}",
            "execute_tool weigh",
            f"chat {model.profile.name}",
        ]
    )
    ids = {one.key: one.value.string_value for span in got for one in span.attributes}
    assert ids["agentkit.run.id"] == result.run_id


async def test_a_collector_that_never_answers_holds_up_neither_a_run_nor_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "_FLUSH_SECONDS", 0.2)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "30")
    async with Collector() as collector:
        collector.hang = anyio.Event()
        monkeypatch.setenv(ENDPOINT, collector.url)
        async with open_otel() as observer:
            assert observer is not None
            await an_agent(ScriptedModel(["Yes."]), observer).run("Yes?")
        assert "the collector took longer than 0.2 s" in caplog.text


async def test_a_collector_that_is_not_there_is_logged_and_costs_no_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(otel, "_FLUSH_SECONDS", 0.2)
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        async with open_otel() as observer:
            assert observer is not None
            result = await an_agent(ScriptedModel(["Yes."]), observer).run("Yes?")
    assert result.stop == "done"
    assert "export" in caplog.text
