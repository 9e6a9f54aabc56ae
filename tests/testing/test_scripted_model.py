import contextlib

import anyio
import pytest
import trio
from trio.testing import MockClock

from agentkit.errors import ModelUnavailableError
from agentkit.messages import ModelTurn, ToolResult, Usage, UserMessage
from agentkit.protocols import Model, ModelRequest
from agentkit.testing import ScriptedModel, call, step

QUESTION = ModelRequest(messages=[UserMessage("What time is it?")])


def quiet(kind: str, text: str) -> None:
    """Throw the piece away."""


async def test_steps_may_be_turns_texts_calls_and_functions() -> None:
    with ScriptedModel(
        [
            ModelTurn(text="one", thinking="hm"),
            "two",
            call("now", zone="UTC"),
            (call("now", zone="UTC"), call("later")),
            lambda request: f"{len(request.messages)} messages",
        ]
    ) as model:
        seam: Model = model
        turns = [await seam.ask(QUESTION, quiet) for _ in range(5)]
    assert [turn.text for turn in turns] == ["one", "two", "", "", "1 messages"]
    assert [item.name for item in turns[3].tool_calls] == ["now", "later"]
    assert [turn.finish for turn in turns] == ["stop", "stop", "tool_calls", "tool_calls", "stop"]


async def test_a_repeated_call_gets_an_id_of_its_own() -> None:
    model = ScriptedModel([call("now"), call("now")])
    ids = [(await model.ask(QUESTION, quiet)).tool_calls[0].id for _ in range(2)]
    assert ids == [call("now").id, call("now").id + "_2"]


async def test_thinking_and_text_come_in_pieces_that_join_to_the_turn() -> None:
    seen: list[tuple[str, str]] = []
    model = ScriptedModel([ModelTurn(text="It is noon.", thinking="Look at the clock.")])
    await model.ask(QUESTION, lambda kind, text: seen.append((kind, text)))
    assert "".join(text for kind, text in seen if kind == "thinking") == "Look at the clock."
    assert "".join(text for kind, text in seen if kind == "text") == "It is noon."
    assert len(seen) > 2
    assert [kind for kind, _ in seen] == sorted((kind for kind, _ in seen), reverse=True)


async def test_an_exception_in_the_script_is_raised_after_its_partial_text() -> None:
    seen: list[str] = []
    model = ScriptedModel([step(ModelUnavailableError("later"), partial="It is")])
    with pytest.raises(ModelUnavailableError, match="later"):
        await model.ask(QUESTION, lambda kind, text: seen.append(text))
    assert "".join(seen) == "It is"
    model.assert_finished()


async def test_asking_beyond_the_script_names_the_step_and_the_last_message() -> None:
    model = ScriptedModel(["one"])
    await model.ask(QUESTION, quiet)
    with pytest.raises(AssertionError, match=r"1 steps.*step 2.*What time"):
        await model.ask(QUESTION, quiet)


async def test_a_swallowed_failure_comes_back_at_the_end() -> None:
    model = ScriptedModel([])
    with contextlib.suppress(AssertionError):
        await model.ask(QUESTION, quiet)
    with pytest.raises(AssertionError, match="step 1 was asked for"), model:
        pass


async def test_an_unexpected_request_fails() -> None:
    model = ScriptedModel([step("noon", expect=lambda request: len(request.tools) == 1)])
    with pytest.raises(AssertionError, match="did not expect"):
        await model.ask(QUESTION, quiet)


def test_unused_steps_fail_and_are_named() -> None:
    with pytest.raises(AssertionError, match=r"2 of 2 .*'one'"), ScriptedModel(["one", "two"]):
        pass


def test_an_error_inside_the_block_is_not_hidden_by_unused_steps() -> None:
    with pytest.raises(KeyError), ScriptedModel(["one"]):
        raise KeyError("own")


async def test_requests_are_kept_as_they_were() -> None:
    messages: list[UserMessage | ModelTurn | ToolResult] = [UserMessage("Hi")]
    model = ScriptedModel(["Hello!"])
    await model.ask(ModelRequest(messages=messages), quiet)
    messages.append(UserMessage("More"))
    assert model.requests[0].messages == (UserMessage("Hi"),)


async def test_usage_counts_the_known_prefix_as_cached() -> None:
    model = ScriptedModel(["one", "two"])
    first = await model.ask(QUESTION, quiet)
    longer = ModelRequest(messages=[*QUESTION.messages, first, UserMessage("And now?")])
    second = await model.ask(longer, quiet)
    assert first.usage.requests == 1
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens == first.usage.prompt_tokens
    assert second.usage.prompt_tokens > first.usage.prompt_tokens


async def test_a_given_usage_is_kept() -> None:
    usage = Usage(prompt_tokens=7, requests=1)
    model = ScriptedModel([ModelTurn(text="x", usage=usage)])
    assert (await model.ask(QUESTION, quiet)).usage == usage


def test_delays_and_hangs_cost_no_real_time() -> None:
    async def main() -> tuple[float, bool]:
        model = ScriptedModel([step("late", delay=3600), step("never", hang=True)])
        await model.ask(QUESTION, quiet)
        after = anyio.current_time() - start
        with anyio.move_on_after(86_400) as scope:
            await model.ask(QUESTION, quiet)
        return after, scope.cancelled_caught

    clock = MockClock(autojump_threshold=0)
    start = clock.current_time()
    assert trio.run(main, clock=clock) == (3600, True)
