import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from agentkit.testing import FakeSGLang

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    },
}


@dataclass
class Client:
    """Sends bare requests to a fake server."""

    session: aiohttp.ClientSession

    def post(self, server: FakeSGLang, *, stream: bool = False, **fields: Any) -> Any:
        body: dict[str, Any] = {
            "model": server.model,
            "messages": [{"role": "user", "content": "Hi"}],
            "tools": [TOOL],
            **fields,
        }
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return self.session.post(f"{server.base_url}/chat/completions", json=body)

    async def whole(self, server: FakeSGLang, **fields: Any) -> dict[str, Any]:
        """Return the answer to a request that is not streamed."""
        async with self.post(server, **fields) as response:
            return await response.json()

    async def stream(self, server: FakeSGLang, **fields: Any) -> "Streamed":
        """Return what a stream said before it ended, however it ended."""
        streamed = Streamed()
        async with self.post(server, stream=True, **fields) as response:
            try:
                async for data in response.content.iter_any():
                    streamed.data += data
            except aiohttp.ClientPayloadError:
                streamed.lost = True
        return streamed


class Streamed:
    """The bytes of a stream, and what they say."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    @property
    def chunks(self) -> list[dict[str, Any]]:
        events = self.data.decode().removesuffix("\n\n").split("\n\n")
        return [json.loads(event[6:]) for event in events if event != "data: [DONE]"]

    @property
    def done(self) -> bool:
        return self.data.endswith(b"data: [DONE]\n\n")

    @property
    def finish(self) -> str | None:
        ends = [choice["finish_reason"] for chunk in self.chunks for choice in chunk["choices"]]
        return ends[-1]

    def text(self, key: str = "content") -> str:
        return "".join(
            choice["delta"].get(key) or ""
            for chunk in self.chunks
            for choice in chunk.get("choices", ())
        )

    @property
    def calls(self) -> list[tuple[str, str]]:
        calls: list[tuple[str, str]] = []
        for chunk in self.chunks:
            for choice in chunk["choices"]:
                items: list[dict[str, Any]] = choice["delta"].get("tool_calls", [])
                for item in items:
                    function = item["function"]
                    if item["id"]:
                        calls.append((function["name"], ""))
                    index: int = item["index"]
                    calls[index] = calls[index][0], calls[index][1] + function["arguments"]
        return calls


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(session)
