"""The watch over the prefix of a conversation."""

import pytest

from agentkit.models._prefix import PrefixWatch, Prompt

TOOLS = b',"tools":[1]'


def prompt(*messages: bytes, tools: bytes = TOOLS) -> Prompt:
    return Prompt.of(tools, messages)


def test_a_conversation_that_grows_is_never_spoken_of() -> None:
    watch = PrefixWatch()
    messages: list[bytes] = []
    for number in range(5):
        messages.append(b"message %d" % number)
        assert watch.look("c", prompt(*messages)) == ""


def test_conversations_have_nothing_to_do_with_each_other() -> None:
    watch = PrefixWatch()
    assert watch.look("a", prompt(b"one", b"two")) == ""
    assert watch.look("b", prompt(b"three", b"four")) == ""


@pytest.mark.parametrize(
    ("then", "begins", "where"),
    [
        (prompt(b"system X", b"user", b"turn", b"more"), 12 + 7, "message 1"),
        (prompt(b"system 1", b"used", b"turn", b"more"), 12 + 8 + 3, "message 2"),
        (prompt(b"system 1"), 12 + 8, "message 2"),
        (prompt(b"system 1", b"user", b"turn", tools=b',"tools":[2]'), 10, "the tools"),
    ],
)
def test_a_change_is_said_with_its_bytes(then: Prompt, begins: int, where: str) -> None:
    watch = PrefixWatch()
    first = prompt(b"system 1", b"user", b"turn")
    assert watch.look("c", first) == ""
    said = watch.look("c", then)
    assert f"from byte {begins} to {first.size}, in {where}" in said


def test_a_question_aside_breaks_nothing() -> None:
    watch = PrefixWatch()
    assert watch.look("c", prompt(b"system", b"user")) == ""
    assert watch.look("c", prompt(b"system", b"user", b"Is it complete?")) == ""
    assert watch.look("c", prompt(b"system", b"user", b"turn")) == ""


def test_a_bound_grows_by_bytes_from_what_was_counted() -> None:
    watch = PrefixWatch()
    first, second = prompt(b"a" * 1000), prompt(b"a" * 1000, b"b" * 50)
    assert watch.at_most("c", first) == first.size
    watch.counted("c", first, 200)
    assert watch.at_most("c", first) == 200
    assert watch.at_most("c", second) == 250
    assert watch.at_most("c", prompt(b"z" * 1000)) == 1000 + len(TOOLS)


def test_the_oldest_conversations_are_forgotten_for_room() -> None:
    watch = PrefixWatch(most_bytes=1000)
    for number in range(20):
        for length in (1, 2):
            watch.look(str(number), prompt(*[b"m" * 50] * length))
            watch.counted(str(number), prompt(*[b"m" * 50] * length), 10)
    assert len(watch) == 1000 // (len(TOOLS) + 100)
    assert watch.at_most("19", prompt(b"m" * 50, b"m" * 50)) == 10
    assert watch.at_most("0", prompt(b"m" * 50, b"m" * 50)) == len(TOOLS) + 100
