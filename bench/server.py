"""A scripted OpenAI-compatible server that costs next to nothing: prebuilt bytes, no framework.

A scenario is a model name such as `k8-m20-d50-p1`: 8 turns with one tool call each, then an answer
of 20 tokens; 50 ms before the first byte; one token a millisecond instead of all in one write.
It claims to be SGLang, and refuses a conversation whose last tool result is not the right one.
"""

import argparse
import asyncio
import re
from dataclasses import dataclass
from functools import cached_property
from json import dumps
from typing import Any

TOOL = "lookup"
_PACE_SECONDS = 0.001
_MODEL_INFO = {
    "model_path": "Qwen/Qwen3-14B",
    "is_generation": True,
    "reasoning_parser": "qwen3",
    "tool_call_parser": "qwen",
    "model_type": "qwen3",
    "architectures": ["Qwen3ForCausalLM"],
}


@dataclass(frozen=True)
class Scenario:
    """What the server plays: `calls` turns with a tool call, then an answer of `tokens` tokens."""

    name: str
    calls: int = 1
    tokens: int = 20
    delay_ms: int = 0
    paced: bool = False

    @classmethod
    def parse(cls, name: str) -> "Scenario":
        """Read a name like `k8-m20-d50-p1`; parts left out have their defaults.

        >>> Scenario.parse("k8-m20")
        Scenario(name='k8-m20', calls=8, tokens=20, delay_ms=0, paced=False)
        """
        part = {m[1]: int(m[2]) for m in re.finditer(r"([kmdp])(\d+)", name)}
        return cls(
            name,
            calls=part.get("k", 1),
            tokens=part.get("m", 20),
            delay_ms=part.get("d", 0),
            paced=bool(part.get("p", 0)),
        )

    @cached_property
    def pieces(self) -> tuple[str, ...]:
        """The answer, token by token."""
        return (*(f"word{n} " for n in range(self.tokens - 1)), "end.")

    @property
    def answer(self) -> str:
        """The text every run must end with."""
        return "".join(self.pieces)


class Script:
    """The bytes of every answer of a scenario, built once."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.plain = [self._plain(turn) for turn in range(scenario.calls + 1)]
        self.stream = [self._stream(turn) for turn in range(scenario.calls + 1)]
        listed = {"object": "list", "data": [{"id": scenario.name, "object": "model"}]}
        self.pages = {
            b"/model_info": _response(_MODEL_INFO),
            b"/get_model_info": _response(_MODEL_INFO),
            b"/v1/models": _response(listed),
        }
        self.missing = _response({"error": {"message": "not found"}}, "404 Not Found")
        self.refusal = _response({"error": {"message": "wrong tool result"}}, "400 Bad Request")

    def turn_of(self, body: bytes) -> int | None:
        """Return how many results the conversation holds, `None` if the last one is wrong."""
        turn = min(body.count(b'"tool_call_id"'), self.scenario.calls)
        return turn if turn == 0 or body.rfind(b"value-%d." % turn) >= 0 else None

    def _message(self, turn: int) -> dict[str, Any]:
        if turn == self.scenario.calls:
            return {"role": "assistant", "content": self.scenario.answer}
        return {"role": "assistant", "content": "", "tool_calls": [_call(turn)]}

    def _plain(self, turn: int) -> bytes:
        finish = "stop" if turn == self.scenario.calls else "tool_calls"
        choice = {"index": 0, "message": self._message(turn), "finish_reason": finish}
        return _response(
            {**_head("chat.completion", self.scenario), "choices": [choice], "usage": _usage(turn)}
        )

    def _stream(self, turn: int) -> list[bytes]:
        """The header, one HTTP chunk an event as a real server writes them, the tail."""
        last = turn == self.scenario.calls
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        if last:
            deltas += [{"content": piece} for piece in self.scenario.pieces]
        else:
            call = _call(turn)
            name = {**call, "function": {"name": TOOL, "arguments": ""}}
            rest = {"index": 0, "function": {"arguments": call["function"]["arguments"]}}
            deltas += [{"tool_calls": [name]}, {"tool_calls": [rest]}]
        finish = "stop" if last else "tool_calls"
        events = [self._chunk([{"index": 0, "delta": d, "finish_reason": None}]) for d in deltas]
        events.append(self._chunk([{"index": 0, "delta": {}, "finish_reason": finish}]))
        events.append(self._chunk([], usage=_usage(turn)))
        return [_STREAM_HEAD, *events, _chunked(b"data: [DONE]\n\n"), b"0\r\n\r\n"]

    def _chunk(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        event = {**_head("chat.completion.chunk", self.scenario), "choices": choices, **more}
        return _chunked(b"data: %b\n\n" % dumps(event).encode())


def _head(kind: str, scenario: Scenario) -> dict[str, Any]:
    return {"id": "c0ffee", "object": kind, "created": 1795378364, "model": scenario.name}


def _call(turn: int) -> dict[str, Any]:
    function = {"name": TOOL, "arguments": dumps({"number": turn + 1})}
    return {"index": 0, "id": f"call_{turn + 1}", "type": "function", "function": function}


def _usage(turn: int) -> dict[str, int]:
    prompt = 100 + 50 * turn
    return {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20}


def _response(value: object, status: str = "200 OK") -> bytes:
    body = dumps(value).encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Connection(asyncio.Protocol):
    """One client connection; requests on it come one after the other."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None
        self._playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - named by asyncio
        """Stop writing."""
        self._transport = None
        if self._playing is not None:
            self._playing.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            total = end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < total:
                return
            body = bytes(self._received[end + 4 : total])
            del self._received[:total]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        script = self._script
        if path != b"/v1/chat/completions":
            return self._write(script.pages.get(path, script.missing))
        turn = script.turn_of(body)
        if turn is None:
            return self._write(script.refusal)
        if b'"stream":true' not in body and b'"stream": true' not in body:
            return self._later([script.plain[turn]])
        if script.scenario.paced and turn == script.scenario.calls:
            self._playing = self._loop.create_task(self._pace(script.stream[turn]))
            return None
        return self._later(script.stream[turn])

    def _later(self, parts: list[bytes]) -> None:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        delay = self._script.scenario.delay_ms
        if delay:
            self._loop.call_later(delay / 1000, self._write, data)
        else:
            self._write(data)

    async def _pace(self, parts: list[bytes]) -> None:
        started = self._loop.time()
        for number, part in enumerate(parts):
            self._write(part)
            due = started + (number + 1) * _PACE_SECONDS
            await asyncio.sleep(max(0.0, due - self._loop.time()))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def serve(scenario: Scenario, port: int = 0) -> asyncio.Server:
    """Listen on loopback; the port is in `server.sockets`."""
    script = Script(scenario)
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: Connection(script), "127.0.0.1", port, backlog=4096)


async def _main(scenario: Scenario) -> None:
    server = await serve(scenario)
    print(server.sockets[0].getsockname()[1], flush=True)  # the parent reads the port
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", help="like k8-m20-d50-p1")
    asyncio.run(_main(Scenario.parse(parser.parse_args().scenario)))
