import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agentkit.models._sse import SseSplitter

TEXTS = ["北京 ☀️", 'a "quoted"\nline', "data: not a field", "\r\n\r\n", ""]
PAYLOADS = [json.dumps({"t": text}, ensure_ascii=False).encode() for text in TEXTS] + [b"[DONE]"]
BODY = b": ping\n\n" + b"".join(b"event: x\ndata: " + p + b"\r\n\r\n" for p in PAYLOADS)


@given(st.lists(st.integers(0, len(BODY)), max_size=40))
def test_payloads_are_the_same_wherever_the_network_cuts(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(BODY)]
    splitter = SseSplitter()
    pieces = [BODY[start:end] for start, end in pairwise(edges)]
    found = [payload for piece in pieces for payload in splitter.feed(piece)]
    assert found + splitter.close() == PAYLOADS


def test_a_body_of_single_bytes_is_read_whole() -> None:
    splitter = SseSplitter()
    assert [p for byte in BODY for p in splitter.feed(bytes([byte]))] == PAYLOADS


def test_the_last_line_needs_no_line_end() -> None:
    splitter = SseSplitter()
    assert splitter.feed(b"data: 1") == []
    assert splitter.close() == [b"1"]
    assert splitter.close() == []


def test_comments_and_other_fields_carry_nothing() -> None:
    assert SseSplitter().feed(b": keep-alive\nid: 1\nretry: 3\nevent: message\n\n") == []
