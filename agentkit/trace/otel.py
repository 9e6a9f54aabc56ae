"""Runs as OpenTelemetry spans, named by the GenAI conventions; every name stands in this module.

The conventions are in development and move: https://github.com/open-telemetry/semantic-conventions-genai
"""

import importlib.util
import json
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from anyio.to_thread import run_sync

from agentkit.errors import ConfigurationError
from agentkit.events import (
    CallFinished,
    CallStarted,
    Event,
    RetryScheduled,
    RunEnded,
    RunStarted,
    StepStarted,
    UsageReported,
)
from agentkit.messages import Usage

if TYPE_CHECKING:  # an extra: loaded when an observer is made
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanKind, TracerProvider

_LOG = logging.getLogger("agentkit.trace")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_FLUSH_SECONDS = 5.0
_MOST_NAME = 128  # characters of a name that a model made up
_SERVICE = "agentkit"

_OPERATION = "gen_ai.operation.name"
_AGENT = "gen_ai.agent.name"
_CONVERSATION = "gen_ai.conversation.id"
_PROVIDER = "gen_ai.provider.name"
_MODEL = "gen_ai.request.model"
_FINISH = "gen_ai.response.finish_reasons"
_TOKENS_IN = "gen_ai.usage.input_tokens"
_TOKENS_OUT = "gen_ai.usage.output_tokens"
_TOKENS_CACHED = "gen_ai.usage.cache_read.input_tokens"
_TOKENS_REASONING = "gen_ai.usage.reasoning.output_tokens"
_TOOL = "gen_ai.tool.name"
_TOOL_TYPE = "gen_ai.tool.type"
_CALL_ID = "gen_ai.tool.call.id"
_CALL_ARGUMENTS = "gen_ai.tool.call.arguments"
_CALL_RESULT = "gen_ai.tool.call.result"
_INPUT = "gen_ai.input.messages"
_OUTPUT = "gen_ai.output.messages"
_ERROR = "error.type"
_RUN_ID = "agentkit.run.id"
_STOP = "agentkit.run.stop"
_STEPS = "agentkit.run.steps"
_STEP = "agentkit.step"
_PHASE = "agentkit.step.phase"
_RETRY = "agentkit.retry"
_RETRY_ATTEMPT = "agentkit.retry.attempt"
_RETRY_DELAY = "agentkit.retry.delay_seconds"

_CallKey: TypeAlias = tuple[int, str, str]


@dataclass(slots=True)
class _Open:
    """The spans of a run that have not ended."""

    run: "Span"
    model: str
    backend: str
    chat: "Span | None" = None
    calls: dict[_CallKey, "Span"] = field(default_factory=dict[_CallKey, "Span"])


class OtelObserver:
    """Turns each run into a tree of spans: the agent, its model calls, its tool calls.

    The tree hangs below the span that is current where the run begins. What is said is left out:
    a collector is seldom meant to read it, and nothing takes secrets out of it on this way.

    Args:
        provider: makes the spans; exporting them is its own business.
        content: record the task, the answer, arguments and results as well.
    """

    def __init__(self, provider: "TracerProvider", *, content: bool = False) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(_SERVICE)
        self._content = content
        self._runs: dict[str, _Open] = {}
        self._warned = False

    def observe(self, run_id: str, event: Event) -> None:
        """Open, fill or end the span that the event belongs to; never blocks, never raises."""
        try:
            if isinstance(event, RunStarted):
                self._runs[run_id] = self._begin(event)
            elif run_id in self._runs:
                self._take(self._runs[run_id], event)
                if isinstance(event, RunEnded):
                    del self._runs[run_id]
        except Exception as error:  # the border to span processors that are not ours
            self._warn(f"{type(error).__name__}: {error}")

    async def aclose(self) -> None:
        """End what is open and hand it out; waits for a slow collector, but not for ever."""
        for run_id in tuple(self._runs):
            self._end_all(self._runs.pop(run_id), "interrupted")
        with anyio.move_on_after(_FLUSH_SECONDS, shield=True) as scope:
            # `abandon`: a thread that waits for a dead collector must not hold the program.
            await run_sync(self._flush, abandon_on_cancel=True)
        if scope.cancelled_caught:
            await self._give_up()

    def _flush(self) -> None:
        flush = getattr(self._provider, "force_flush", None)  # the SDK's providers have it
        if flush is not None:
            flush(int(_FLUSH_SECONDS * 1000))

    async def _give_up(self) -> None:
        self._warn(f"the collector took longer than {_FLUSH_SECONDS:g} s")

    def _take(self, spans: _Open, event: Event) -> None:
        match event:
            case StepStarted():
                self._ask(spans, event)
            case RetryScheduled() if spans.chat is not None:
                retry = {_RETRY_ATTEMPT: event.attempt, _RETRY_DELAY: event.delay_seconds}
                spans.chat.add_event(_RETRY, retry)
            case UsageReported():
                self._answered(spans, event)
            case CallStarted():
                self._call(spans, event)
            case CallFinished():
                self._called(spans, event)
            case RunEnded():
                self._end(spans, event)
            case _:
                pass

    def _begin(self, event: RunStarted) -> _Open:
        from opentelemetry.trace import SpanKind

        attributes = {
            _OPERATION: "invoke_agent",
            _AGENT: _clean(event.agent),
            _CONVERSATION: event.conversation_id,
            _PROVIDER: event.backend,
            _MODEL: event.model,
            _RUN_ID: event.run_id,
            _INPUT: _said("user", event.task) if self._content else "",
        }
        span = self._start(f"invoke_agent {event.agent}", SpanKind.INTERNAL, attributes)
        return _Open(span, event.model, event.backend)

    def _ask(self, spans: _Open, event: StepStarted) -> None:
        from opentelemetry.trace import SpanKind

        self._end_chat(spans, "unknown")
        attributes = {
            _OPERATION: "chat",
            _PROVIDER: spans.backend,
            _MODEL: spans.model,
            _STEP: event.step,
            _PHASE: event.phase,
        }
        spans.chat = self._start(f"chat {spans.model}", SpanKind.CLIENT, attributes, spans.run)

    def _answered(self, spans: _Open, event: UsageReported) -> None:
        if spans.chat is None:
            return
        spans.chat.set_attributes({**_tokens(event.usage), _FINISH: (event.finish,)})
        spans.chat.end()
        spans.chat = None

    def _call(self, spans: _Open, event: CallStarted) -> None:
        key = (event.step, event.call_id, event.name)
        if key in spans.calls:  # two calls of one id: the first can no longer be told apart
            spans.calls.pop(key).end()
        arguments = json.dumps(event.arguments, default=str) if self._content else ""
        spans.calls[key] = self._tool(spans, event, arguments)

    def _called(self, spans: _Open, event: CallFinished) -> None:
        """End the span of a call; a call that was refused has none yet, and gets one."""
        span = spans.calls.pop((event.step, event.call_id, event.name), None)
        error = "" if event.ok else "tool_error"
        if span is None:
            span, error = self._tool(spans, event), "refused"
        if self._content:
            span.set_attribute(_CALL_RESULT, _clean(event.text, None))
        _end_span(span, error)

    def _tool(self, spans: _Open, event: CallStarted | CallFinished, arguments: str = "") -> "Span":
        from opentelemetry.trace import SpanKind

        attributes = {
            _OPERATION: "execute_tool",
            _TOOL: _clean(event.name),
            _TOOL_TYPE: "function",
            _CALL_ID: _clean(event.call_id),
            _CALL_ARGUMENTS: arguments,
            _STEP: event.step,
        }
        outer = (span for (_, call_id, _), span in spans.calls.items() if call_id == event.within)
        parent = next(outer, spans.run) if event.within else spans.run
        return self._start(f"execute_tool {event.name}", SpanKind.INTERNAL, attributes, parent)

    def _end(self, spans: _Open, event: RunEnded) -> None:
        values: dict[str, str | int] = {
            **_tokens(event.usage),
            _STOP: event.stop,
            _STEPS: event.steps,
        }
        if self._content:
            values[_OUTPUT] = _said("assistant", event.text, event.stop)
        spans.run.set_attributes(values)
        self._end_all(spans, "" if event.stop in {"done", "cancelled"} else event.stop, event.stop)

    def _end_all(self, spans: _Open, error: str, stop: str = "") -> None:
        """End the spans of a run, those first that something cut short."""
        for span in spans.calls.values():
            _end_span(span, stop or error)
        self._end_chat(spans, stop or error)
        _end_span(spans.run, error)

    def _end_chat(self, spans: _Open, error: str) -> None:
        if spans.chat is not None:
            _end_span(spans.chat, error)
            spans.chat = None

    def _start(
        self,
        name: str,
        kind: "SpanKind",
        attributes: Mapping[str, str | int],
        parent: "Span | None" = None,
    ) -> "Span":
        from opentelemetry.trace import set_span_in_context

        return self._tracer.start_span(
            _clean(name.strip()),
            context=None if parent is None else set_span_in_context(parent),
            kind=kind,
            attributes={key: value for key, value in attributes.items() if value != ""},
        )

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning("Spans are incomplete: %s. Runs go on without them.", reason)


class _Exporting(OtelObserver):
    """An observer with a provider and an exporter of its own, which end with it."""

    def __init__(self, provider: "SdkTracerProvider", exporter: "SpanExporter") -> None:
        super().__init__(provider)
        self._own = provider
        self._exporter = exporter

    def _flush(self) -> None:
        self._own.shutdown()

    async def _give_up(self) -> None:
        await super()._give_up()
        # A closed exporter tries nothing again, so the threads that wait for it end soon.
        with anyio.move_on_after(1, shield=True):
            await run_sync(self._exporter.shutdown, abandon_on_cancel=True)


def otel_observer() -> OtelObserver | None:
    """Return an observer that sends spans to the collector of the OTEL_* variables, if they name one.

    Spans are sent over OTLP/HTTP by a thread of their own. Imports and reads files: not for a loop.

    Raises:
        ConfigurationError: a collector is named, but the extra `otel` is missing, or a variable is
            wrong.
    """
    variable = _endpoint_variable()
    if variable is None:
        return None
    parts = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
    if not all(_installed(part) for part in parts):
        raise ConfigurationError(
            f"{variable} is set, but the extra 'otel' is not installed.",
            hint=f"pip install 'qwen-agentkit[otel]', or unset {variable}.",
        )
    try:
        return _exporting()
    except ValueError as error:
        raise ConfigurationError(
            f"OpenTelemetry does not take its settings: {error}",
            hint="They are the OTEL_* variables of the environment.",
        ) from error


@asynccontextmanager
async def open_otel() -> AsyncGenerator[OtelObserver | None]:
    """Open what `otel_observer` gives; spans have been sent, or given up, when the block ends.

    Raises:
        ConfigurationError: as `otel_observer` does.
    """
    observer = await run_sync(otel_observer) if _endpoint_variable() else None
    try:
        yield observer
    finally:
        if observer is not None:
            await observer.aclose()


def _endpoint_variable() -> str | None:
    return next((name for name in _ENDPOINTS if os.environ.get(name)), None)


def _exporting() -> OtelObserver:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    told = any(os.environ.get(name) for name in _TIMEOUTS)
    exporter = OTLPSpanExporter(timeout=None if told else _FLUSH_SECONDS)
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create({} if named else {"service.name": _SERVICE})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return _Exporting(provider, exporter)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a parent is missing
        return False


def _end_span(span: "Span", error: str) -> None:
    if error:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute(_ERROR, error)
        span.set_status(Status(StatusCode.ERROR))
    span.end()


def _tokens(usage: Usage) -> dict[str, str | int]:
    return {
        _TOKENS_IN: usage.prompt_tokens,
        _TOKENS_OUT: usage.completion_tokens,
        _TOKENS_CACHED: usage.cached_tokens,
        _TOKENS_REASONING: usage.reasoning_tokens,
    }


def _said(role: str, text: str, stop: str = "") -> str:
    message: dict[str, Any] = {"role": role, "parts": [{"type": "text", "content": text}]}
    return json.dumps([{**message, "finish_reason": stop} if stop else message])


def _clean(text: str, most: int | None = _MOST_NAME) -> str:
    r"""Return text that UTF-8 can carry: half a surrogate would cost a whole batch of spans.

    >>> _clean("a\ud800b"), _clean("abc", 2)
    ('a?b', 'ab')
    """
    return text[:most].encode(errors="replace").decode()
