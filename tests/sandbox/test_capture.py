"""Output is bounded and safe to show, whatever it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentkit.sandbox._capture import Capture, clean


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(2, 60))
def test_head_and_tail_are_kept_however_the_output_is_cut_into_pieces(
    pieces: list[bytes], keep: int
) -> None:
    capture = Capture(keep)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    assert capture.total == len(whole)
    one = Capture(keep)
    one.add(whole)
    assert capture.text() == one.text()
    if len(whole) <= keep // 2 * 2:
        assert "left out" not in capture.text()


@given(st.text())
def test_nothing_that_moves_a_cursor_or_hides_text_is_left(text: str) -> None:
    left = clean(text)
    assert not {"\x1b", "\x00", "\x9b", "\r", "\x08", "\u202e", "\u2066"} & set(left)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("10%\r50%\r100%\n", "100%\n"),
        ("windows\r\nlines\r\n", "windows\nlines\n"),
        ("\x1b[1;31mbold\x1b[0m", "bold"),
        ("\x1b]0;unfinished title", ""),
        ("tab\tand\nnewline", "tab\tand\nnewline"),
    ],
)
def test_text_looks_as_a_terminal_would_leave_it(raw: str, shown: str) -> None:
    assert clean(raw) == shown
