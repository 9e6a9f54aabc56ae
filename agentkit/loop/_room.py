"""Makes room for the next turn, before a server refuses the prompt or after it has."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from agentkit.errors import ModelError
from agentkit.loop._context import as_lines
from agentkit.loop._state import RunState, pointed
from agentkit.messages import Message, ModelTurn, ToolResult, UserMessage
from agentkit.text import capped

LEAST_ANSWER = 64
"""Tokens; with less room an answer is not worth asking for."""

Ask: TypeAlias = Callable[[RunState, Sequence[Message]], Awaitable[ModelTurn]]
"""Asks for a summary."""

_RESERVED_SHARE = 4  # of the context at least a quarter may be prompt only
_LEAST_SHARE = 8  # of the context
_SHRUNK_SHARE = 8  # so many long results fit beside the rest
_CHARS_A_TOKEN = 3
_LINE_CHARS = 1_500
_GIST = 120  # characters of a cleared result that stay
_SUMMARY = "My notes of what came before, which I do not see any more:\n{text}"
_NO_SUMMARY = "I do not see what came before any more, for lack of room."
_PROMPT = """\
Notes of the work on a task so far:

{notes}

Write a summary that lets the work go on without these notes: every fact that was found (numbers, \
names and addresses exactly as they stand), what was done, what failed and why, and what is still \
open. At most 300 words, no introduction."""


async def make_room(state: RunState, ask: Ask) -> None:
    """Show less before a prompt gets too long."""
    if await _clear(state) and fits(state):
        return
    await _summarise(state, ask)


async def make_more_room(state: RunState, ask: Ask) -> bool:
    """Show less after a server has refused the prompt; return whether that was possible."""
    return await _clear(state) or await _summarise(state, ask) or await _shrink(state)


def least_answer(state: RunState) -> int:
    """Return the room for a thought and an answer that is worth making room for."""
    context = state.model.profile.context_tokens
    return LEAST_ANSWER if context is None else max(LEAST_ANSWER, context // _LEAST_SHARE)


def fits(state: RunState) -> bool:
    """Tell whether the prompt fits; by an estimate that the server's counts correct."""
    context = state.model.profile.context_tokens
    if context is None:
        return True
    reserved = min(state.policy.limits.answer_tokens, context // _RESERVED_SHARE)
    tokens = state.context.tokens(state.shown(), state.specs)
    return tokens + reserved <= context


async def _clear(state: RunState) -> bool:
    places = state.context.clearable(state.transcript)
    for at in places:
        result = state.transcript[at]
        if isinstance(result, ToolResult):
            handle = await state.keep_whole(result.text, result.source)
            left_out = f"[{len(result.text) - _GIST} characters were left out to save room.]"
            text = pointed(f"{result.text[:_GIST]}\n{left_out}", handle)
            state.context.clear(at, replace(result, text=text))
    if places:
        state.context.forget_count()
        state.notice(f"To save room, {len(places)} old results are shown no more.")
    return bool(places)


async def _summarise(state: RunState, ask: Ask) -> bool:
    until, old = state.context.summarisable(state.transcript)
    if not old:
        return False
    context = state.model.profile.context_tokens or 8_192
    notes = capped(as_lines(old, _LINE_CHARS), context * _CHARS_A_TOKEN // 2)
    try:
        turn = await ask(state, [UserMessage(_PROMPT.format(notes=notes))])
        text = turn.text.strip()
    except ModelError as error:
        state.notice(f"No summary: {error}")
        text = ""
    state.context.summarise(until, _SUMMARY.format(text=text) if text else _NO_SUMMARY)
    state.context.forget_count()
    state.notice("To save room, what is old is shown as a summary.")
    return True


async def _shrink(state: RunState) -> bool:
    """Show less of the last results: each the same share of the context."""
    context = state.model.profile.context_tokens or 8_192
    most = context * _CHARS_A_TOKEN // _SHRUNK_SHARE
    shrunk = False
    for at in range(state.context.until, len(state.transcript)):
        result = state.context.cleared.get(at) or state.transcript[at]
        if isinstance(result, ToolResult) and len(result.text) > most + most // 2:
            handle = await state.keep_whole(result.text, result.source)
            text = pointed(capped(result.text, most), handle)
            state.context.clear(at, replace(result, text=text))
            shrunk = True
    if shrunk:
        state.context.forget_count()
        state.notice("To save room, less of the last results is shown.")
    return shrunk
