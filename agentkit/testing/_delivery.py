"""Sends an answer, and has it go wrong where its fault says."""

import socket
import struct
from collections.abc import Sequence
from typing import Protocol

import anyio
from aiohttp import web
from anyio.lowlevel import checkpoint

from agentkit.testing._refusal import Refusal
from agentkit.testing._wire import DONE, Frame
from agentkit.testing.answers import Fault

_PAGE = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    b"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n"
    b"</html>\r\n"
)
_WORDS = {
    401: "Unauthorized",
    404: "Not Found",
    429: "Too many requests.",
    500: "Internal server error: CUDA error: an illegal memory access was encountered",
    503: "The request queue is full.",
}
_KINDS = {500: "InternalServerError", 503: "503"}


class Gate(Protocol):
    """Something that lets stalled answers go on."""

    async def wait(self) -> object:
        """Return once the way is free."""
        ...


def json_response(body: bytes, status: int = 200, **headers: str) -> web.Response:
    """Return a response whose content type is exactly `application/json`."""
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)


def refusal(status: int) -> Refusal:
    """Return the error that SGLang gives with this status."""
    words = _WORDS.get(status, f"Error {status}.")
    return Refusal(words, kind=_KINDS.get(status, "BadRequestError"), code=status)


def refuse(error: Refusal, retry_after: str | None = None) -> web.Response:
    """Return an error that is not streamed."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    if error.code == 401:
        return json_response(b'{"error":"Unauthorized"}', 401, **headers)
    return json_response(error.body(), error.code, **headers)


def lose(request: web.Request, *, reset: bool = False) -> None:
    """Lose the connection: with a reset, or as if the server had died."""
    transport = request.transport
    if transport is None:
        return
    plug = transport.get_extra_info("socket")
    if reset and plug is not None:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def before(request: web.Request, fault: Fault | None, gate: Gate) -> web.Response | None:
    """Do what goes wrong before anything is sent; return the response if that is all."""
    match fault:
        case Fault("status"):
            return refuse(refusal(fault.status), fault.retry_after)
        case Fault("html"):
            return web.Response(body=_PAGE, status=fault.status, content_type="text/html")
        case Fault("drop", after=0):
            lose(request, reset=True)
            return web.Response()
        case Fault("slow"):
            await anyio.sleep(fault.seconds)
        case Fault("stall", after=0):
            await gate.wait()
        case _:
            pass
    return None


async def send_whole(
    request: web.Request, body: bytes, fault: Fault | None, gate: Gate
) -> web.StreamResponse:
    """Send an answer that is not streamed, as far as its fault lets it."""
    match fault:
        case Fault("sse_error"):
            return refuse(refusal(fault.status))
        case Fault("stall"):
            await gate.wait()
        case Fault("drop"):
            lose(request, reset=True)
        case Fault("cut" | "truncate"):
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            response.content_length = len(body)
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            lose(request)
            return response
        case _:
            pass
    return json_response(body)


class Stream:
    """One streamed answer under way."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8"}
        )

    async def open(self) -> None:
        """Send the headers."""
        await self.response.prepare(self._request)

    async def send(self, frames: Sequence[Frame], fault: Fault | None, gate: Gate) -> bool:
        """Send frames until something goes wrong; tell whether all of them were sent."""
        if fault is not None and fault.kind == "cut":
            return await self._cut(frames, fault)
        for number, frame in enumerate(frames):
            if fault is not None and number == fault.after and not await self._fail(fault, gate):
                return False
            await self._write(frame.data, fault)
        return fault is None or len(frames) > fault.after or await self._fail(fault, gate)

    async def error(self, error: Refusal) -> None:
        """Send an error inside the stream."""
        await self.response.write(error.event())

    async def close(self, frames: Sequence[Frame] = ()) -> None:
        """Send the last frames and end the stream in good order."""
        for frame in frames:
            await self.response.write(frame.data)
        await self.response.write(DONE)
        await self.response.write_eof()

    async def _fail(self, fault: Fault, gate: Gate) -> bool:
        """Go wrong; tell whether the stream goes on."""
        match fault.kind:
            case "stall":
                await gate.wait()
                return True
            case "drop":
                lose(self._request)
                return False
            case "truncate":
                await self.response.write_eof()
                return False
            case "sse_error":
                await self.error(refusal(fault.status))
                await self.close()
                return False
            case _:
                return True

    async def _write(self, data: bytes, fault: Fault | None) -> None:
        if fault is None or fault.kind != "drip":
            await self.response.write(data)
            return
        for value in data:
            await self.response.write(bytes((value,)))
            await checkpoint()

    async def _cut(self, frames: Sequence[Frame], fault: Fault) -> bool:
        data = b"".join(frame.data for frame in frames[: _last(frames, fault)])
        inside = _inside_character(data)
        if fault.at == "utf8" and inside is not None:
            data = data[:inside]
        elif fault.at != "arguments":
            data = data[:-20]
        await self.response.write(data)
        await checkpoint()
        lose(self._request)
        return False


def _last(frames: Sequence[Frame], fault: Fault) -> int:
    """Return how many frames come before the cut, or hold it."""
    if fault.at == "utf8":
        return len(frames)
    found = [at for at, frame in enumerate(frames) if frame.kind == "arguments"]
    if fault.at == "arguments" and found:
        return found[len(found) // 2] + (len(found) == 1)
    return max(len(frames) // 2, 2)


def _inside_character(data: bytes) -> int | None:
    return next((at for at in range(len(data) - 1, 0, -1) if data[at] & 0xC0 == 0x80), None)
