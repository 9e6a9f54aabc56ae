"""A model behind a server: asks once, streams, and reads what comes back with suspicion."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from agentkit.errors import ContextOverflowError, ModelRequestError, TruncatedStreamError
from agentkit.messages import Finish, JsonObject, ModelTurn, ToolCall, Usage
from agentkit.models._calls import as_written, read_calls
from agentkit.models._dialects import Dialect
from agentkit.models._identity import Habit
from agentkit.models._kit import ToolMemo, schemas_by_name
from agentkit.models._prefix import PrefixWatch, Prompt
from agentkit.models._presets import SMALL, Mode, mode_of, sampling_of
from agentkit.models._rescue import is_leftover, rescue, tidy
from agentkit.models._turn import TurnBuilder
from agentkit.models._wire import Encoder, written_by_model
from agentkit.protocols import Emit, ModelProfile, ModelRequest

if TYPE_CHECKING:
    from agentkit.models._endpoint import Endpoint

_MARGIN = 8  # tokens, between what is counted here and what the server may add
_LOST_TOKENS, _LOST_SHARE = 4, 20  # tags, spaces and escapes that a server writes in its own way
_ENDING = (0, 1)  # the token that ends a turn is counted and not seen; where effects are at stake

_FINISHES: dict[str, Finish] = {
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "abort": "abort",
    "content_filter": "abort",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What decides how a model is sampled.

    Attributes:
        habit: whether the model thinks.
        qwen: whether Qwen's presets apply.
        quantised: whether the weights are, which asks for a presence penalty.
        small: little variety, but where a request asks for it or the model thinks.
        overrides: fields that win over the preset.
    """

    habit: Habit = "switch"
    qwen: bool = True
    quantised: bool = False
    small: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class _Asked:
    request: ModelRequest
    mode: Mode
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class _Reading:
    turn: ModelTurn
    lost: bool = False
    notice: str = ""


class ServerModel:
    """A model that a server offers, asked with the server's own tool calls."""

    def __init__(
        self, endpoint: "Endpoint", profile: ModelProfile, dialect: Dialect, sampling: Sampling
    ) -> None:
        self._endpoint = endpoint
        self._profile = profile
        self._dialect = dialect
        self._sampling = sampling
        self._encoder = Encoder(dialect, profile.name)
        self._watch = PrefixWatch()
        self._counts = bool(dialect.counts_at)
        self._schemas: ToolMemo[dict[str, Mapping[str, Any]]] = ToolMemo(schemas_by_name)
        self._presets = {
            (thinks, varied): self._preset(thinks=thinks, varied=varied)
            for thinks in (True, False)
            for varied in (True, False)
        }

    @property
    def profile(self) -> ModelProfile:
        """What the loop may know about this model."""
        return self._profile

    async def ask(self, request: ModelRequest, emit: Emit) -> ModelTurn:
        """Ask once, streaming pieces to `emit`; see `agentkit.protocols.Model`.

        Raises:
            ContextOverflowError: the prompt does not fit; nothing was sent.
        """
        mode = self._mode(request)
        prompt = self._encoder.prompt(request)
        grows = bool(request.tools and request.conversation_id)  # else it is a question by itself
        if grows and (broken := self._watch.look(request.conversation_id, prompt)):
            emit("notice", broken)
        asked = _Asked(await self._fitted(request, mode, prompt), mode, prompt)
        builder = TurnBuilder(emit, self._endpoint.base_url)
        await self._send(asked, builder, streams=True)
        if builder.finish == "abort":
            raise TruncatedStreamError(
                f"Model server {self._endpoint.base_url} aborted the answer after "
                f"{len(builder.text) + len(builder.thinking)} characters."
            )
        reading = self._read(builder, request)
        if usage := reading.turn.usage.prompt_tokens:
            self._watch.counted(request.conversation_id, prompt, usage)
        if reading.lost or await self._is_short(asked, builder, reading.turn):
            return await self._ask_whole(asked, reading.turn, emit)
        if reading.notice:
            emit("notice", reading.notice)
        return reading.turn

    async def _fitted(self, request: ModelRequest, mode: Mode, prompt: Prompt) -> ModelRequest:
        """Return the request with no more tokens for the answer than the context has left.

        A server refuses what might not fit. Its tokens are counted, by the server, where their
        number of bytes leaves a doubt.

        Raises:
            ContextOverflowError: there is no room for an answer.
        """
        context, wanted = self._profile.context_tokens, request.max_tokens
        if context is None or wanted is None:
            return request
        if self._watch.at_most(request.conversation_id, prompt) + wanted <= context:
            return request
        tokens = await self._count(self._encoder.counting(prompt, mode))
        if tokens is None:
            return request  # the server will say
        self._watch.counted(request.conversation_id, prompt, tokens)
        room = context - tokens - _MARGIN
        if room < min(wanted, request.least_tokens):
            raise ContextOverflowError(
                f"The prompt has {tokens:,} tokens; {self._profile.name} has room for {context:,}, "
                "the answer included.",
                hint="Start a new conversation, shorten tool results or start the server with more.",
            )
        return request if wanted <= room else replace(request, max_tokens=room)

    async def _is_short(self, asked: _Asked, builder: TurnBuilder, turn: ModelTurn) -> bool:
        """Tell whether arguments were lost on the way although what came of them can be read.

        SGLang's parser completes what it cannot read: `{"text": "a⏎b"}`, with a bare newline, came
        as `{"text": "a"}`, finished like any call. Where no grammar forbids such JSON, what came is
        counted and held to what the model wrote.
        """
        written = turn.usage.completion_tokens
        doubtful = self._dialect.loses_arguments and turn.tool_calls and turn.finish == "tool_calls"
        if not doubtful or not written or self._encoder.is_held(asked.request.tools):
            return False
        calls = [(call.name, call.arguments) for call in builder.calls]
        text = written_by_model(builder.thinking, builder.text, calls)
        came = await self._count(self._encoder.counting_text(text))
        if came is None:
            return False
        pure = {tool.name for tool in asked.request.tools if tool.effect == "pure"}
        if all(name in pure for name, _ in calls):
            return written - came > _LOST_TOKENS + written // _LOST_SHARE
        return written - came not in _ENDING

    async def _count(self, body: bytes) -> int | None:
        """Return the tokens that the server counts; `None` if it does not, or not now."""
        if not self._counts:
            return None
        try:
            return await self._endpoint.count(self._dialect.counts_at, body)
        except ModelRequestError:
            self._counts = False  # it is not asked again
            return None

    async def _send(self, asked: _Asked, builder: TurnBuilder, *, streams: bool) -> None:
        request = asked.request
        rid = uuid4().hex if self._dialect.aborts else ""  # of one length: a prefix aborts too
        body = self._encoder.body(
            request,
            asked.mode,
            self._presets[asked.mode.thinks, request.varied],
            prompt=asked.prompt,
            rid=rid,
            stream=streams,
        )
        await self._endpoint.ask(
            body,
            builder,
            request.timeouts,
            routing_key=request.conversation_id if self._dialect.routing_header else "",
            rid=rid,
            streams=streams,
            last=self._dialect.one_answer_a_connection,
        )

    async def _ask_whole(self, asked: _Asked, cut: ModelTurn, emit: Emit) -> ModelTurn:
        """Ask the same again without streaming, where the server's parser sees the whole text."""
        emit("notice", "The server lost the arguments of a call while streaming; asked again.")
        builder = TurnBuilder(_silent, self._endpoint.base_url)
        await self._send(asked, builder, streams=False)
        reading = self._read(builder, asked.request)
        usage = cut.usage + reading.turn.usage
        if reading.turn.tool_calls:
            return replace(reading.turn, usage=usage)
        if reading.turn.text:
            emit("text", reading.turn.text)
            return replace(reading.turn, usage=usage)
        return replace(_without_calls(cut), usage=usage)

    def _read(self, builder: TurnBuilder, request: ModelRequest) -> _Reading:
        finish = self._finish(builder, request)
        if finish in {"length", "abort"}:
            return _Reading(_turn(builder, finish, as_written(builder.calls)))
        schemas = self._schemas.get(request.tools)
        read = read_calls(builder.calls, schemas)
        if read.calls or read.problem:
            kind: Finish = "tool_calls" if read.calls else "stop"
            turn = _turn(builder, kind, read.calls, read.problem)
            if is_leftover(turn.text):
                turn = replace(turn, text="")
            return _with_stranded(turn, schemas, lost=read.lost)
        offered = schemas if request.tool_choice != "none" and request.schema is None else {}
        return _rescued(_turn(builder, "stop"), offered)

    def _finish(self, builder: TurnBuilder, request: ModelRequest) -> Finish:
        finish = _FINISHES.get(builder.finish, "stop")
        if self._dialect.hides_length and request.max_tokens is not None:
            return "length" if builder.usage.completion_tokens >= request.max_tokens else finish
        return finish

    def _mode(self, request: ModelRequest) -> Mode:
        thinking = request.thinking
        if thinking == "auto" and request.schema is not None:
            # Grammars begin after the thought, and a thought that never ends leaves no answer.
            thinking = False
        return mode_of(self._sampling.habit, thinking, request.messages)

    def _preset(self, *, thinks: bool, varied: bool) -> JsonObject:
        # A thought that is sampled with little variety goes round in circles.
        settled = SMALL if self._sampling.small and not varied and not thinks else {}
        return sampling_of(
            self._dialect,
            thinks=thinks,
            quantised=self._sampling.quantised,
            qwen=self._sampling.qwen,
            overrides={**settled, **self._sampling.overrides},
        )


def _turn(
    builder: TurnBuilder, finish: Finish, calls: tuple[ToolCall, ...] = (), problem: str = ""
) -> ModelTurn:
    return ModelTurn(
        text=builder.text,
        thinking=builder.thinking,
        tool_calls=calls,
        finish=finish,
        usage=_with_thinking(builder, calls),
        problem=problem,
    )


def _with_thinking(builder: TurnBuilder, calls: tuple[ToolCall, ...]) -> Usage:
    """Return the usage; where the server does not tell the tokens of the thinking, by its share."""
    usage, thought = builder.usage, len(builder.thinking)
    if usage.reasoning_tokens or not thought:
        return usage
    said = len(builder.text) + sum(len(call.name) + len(call.arguments) for call in calls)
    share = usage.completion_tokens * thought // (thought + said)
    return replace(usage, reasoning_tokens=share)


def _without_calls(turn: ModelTurn) -> ModelTurn:
    """Return a turn whose calls came without all of their arguments, and could not be had whole."""
    if not turn.tool_calls:
        return turn
    names = ", ".join(call.name for call in turn.tool_calls)
    return replace(
        turn,
        tool_calls=(),
        finish="stop",
        problem=f"The arguments of {names} could not be read as JSON. Nothing was run. Write the "
        "call again, with every quote and newline escaped.",
    )


def _rescued(turn: ModelTurn, schemas: Mapping[str, Mapping[str, Any]]) -> _Reading:
    """Return the turn with calls that the server's parser left in the text."""
    text, thinking = tidy(turn.text, turn.thinking)
    turn = replace(turn, text=text, thinking=thinking)
    blank = not text.strip()
    found = rescue(thinking if blank else text, schemas)
    if found is None:
        return _Reading(turn)
    if blank and not found.calls:  # a thought may be about calls; only one that reads counts
        return _Reading(turn)
    text, thinking = ("", found.rest) if blank else (found.rest, thinking)
    turn = replace(turn, text=text, thinking=thinking, problem=found.problem)
    if not found.calls:
        return _Reading(turn)
    names = ", ".join(call.name for call in found.calls)
    notice = f"Found a call of {names} in the model's text; the server had not recognised it."
    return _Reading(replace(turn, tool_calls=found.calls, finish="tool_calls"), notice=notice)


def _with_stranded(
    turn: ModelTurn, schemas: Mapping[str, Mapping[str, Any]], *, lost: bool
) -> _Reading:
    """Return a turn with the calls that the parser has left in the text beside those it has read."""
    found = rescue(turn.text, schemas) if turn.tool_calls else None
    if found is None:
        return _Reading(turn, lost)
    known = {(call.name, call.arguments) for call in turn.tool_calls}
    more = tuple(call for call in found.calls if (call.name, call.arguments) not in known)
    problem = " ".join(part for part in (turn.problem, found.problem) if part)
    turn = replace(turn, text=found.rest, tool_calls=(*turn.tool_calls, *more), problem=problem)
    names = ", ".join(call.name for call in more)
    notice = f"Found a call of {names} in the model's text, beside others." if more else ""
    return _Reading(turn, lost, notice)


def _silent(_kind: str, _text: str, /) -> None:
    """Emit nothing."""
