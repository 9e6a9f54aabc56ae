"""Frames: whole ones in order, and nothing else is believed."""

import pytest

from agentkit.sandbox._frames import BadFrameError, pack, take


def test_frames_come_off_a_buffer_whole_and_in_order() -> None:
    buffer = bytearray(pack({"id": 1}) + pack({"id": 2}) + pack({"id": 3})[:-1])
    assert take(buffer, 1000) == [{"id": 1}, {"id": 2}]
    buffer += b"}"
    assert take(buffer, 1000) == [{"id": 3}]
    assert not buffer


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\1{", b"\0\0\0\0", b"\0\1\0\0" + b"[" * 65536],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrameError):
        take(bytearray(data), 1 << 20)
