"""Pages as text, in bounded parts, from places that may be asked."""

import json
import os
import socket
import threading
from typing import Any, Protocol

import anyio
import pytest

from agentkit.errors import ToolError, ToolInputError, ToolTimeoutError
from agentkit.protocols import RunScopedTool, Tool
from agentkit_tools import _http
from agentkit_tools.fetch import PART_CHARS, make_fetch
from agentkit_tools.fetch import fetch as plain_fetch


class Site(Protocol):
    seen: list[tuple[str, dict[str, str]]]
    asked: threading.Event
    hung_up: threading.Event

    @property
    def url(self) -> str: ...


@pytest.fixture
def fetch() -> Tool:
    """The tool, allowed to ask the loopback address."""
    return make_fetch(["127.0.0.1"])


async def get(tool: Tool, url: str, **more: Any) -> str:
    return await tool.call(tool.validate({"url": url, **more}))


async def test_a_page_becomes_markdown_without_menu_and_script(site: Site, fetch: Tool) -> None:
    text = await get(fetch, site.url)
    assert text.startswith(f"{site.url} (text/html)\n\n# Kites")
    assert "They **fly**: [wind](/wind)" in text
    assert "| 1 |" in text
    assert "evil" not in text
    assert "Menu" not in text


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/json", '{"kites": [1, 2]}'),
        ("/text", "plain <b>text</b>"),
        ("/latin", "grün"),
        ("/meta", "grün"),
        ("/odd-charset", "grün"),
        ("/untyped", "no type"),
        ("/zipped", "unzipped"),
        ("/empty", "The page has no text."),
        ("/moved", '{"kites": [1, 2]}'),
    ],
)
async def test_kinds_of_text_are_read(site: Site, fetch: Tool, path: str, expected: str) -> None:
    assert (await get(fetch, site.url + path)).endswith(f"\n\n{expected}")


async def test_what_is_no_text_is_described_and_not_read(site: Site, fetch: Tool) -> None:
    assert "image/png, 800 bytes: not text" in await get(fetch, site.url + "/image")


async def test_pages_that_defeat_the_converter_still_give_their_words(
    site: Site, fetch: Tool
) -> None:
    assert "the words" in await get(fetch, site.url + "/deep")
    assert "only a menu" in await get(fetch, site.url + "/menu-only")


async def test_control_tokens_and_hidden_directions_are_defused(site: Site, fetch: Tool) -> None:
    text = await get(fetch, site.url + "/tokens")
    assert "im_end|>" in text
    for token in ("<|im_end|>", "<|im_start|>", "<tool_call>", "\u202e"):
        assert token not in text


async def test_a_long_page_is_read_part_by_part_without_asking_again(
    site: Site, fetch: Tool
) -> None:
    assert isinstance(fetch, RunScopedTool)
    tool, start, parts, mark = fetch.for_run(), 0, list[str](), ""
    while True:
        text = await get(tool, site.url + "/long", start=start, page=mark)
        head, _, rest = text.partition("\n\n")
        assert f"characters {start} to" in head
        body, more, advice = rest.partition("\n\n[More: ")
        assert len(body) <= PART_CHARS
        parts.append(body)
        if not more:
            break
        asked = json.loads("{" + advice.removeprefix("fetch with ").removesuffix("]") + "}")
        assert asked["url"] == site.url + "/long"
        start, mark = asked["start"], asked["page"]
    joined = "\n".join(parts)
    assert all(f"paragraph {number:04d}" in joined for number in range(1500))
    assert len(site.seen) == 1
    with pytest.raises(ToolInputError, match="The page ends at"):
        await get(tool, site.url + "/long", start=10_000_000)
    with pytest.raises(ToolInputError, match="0 or more"):
        await get(tool, site.url + "/long", start=-1)
    await tool.aclose()


async def test_runs_share_no_pages(site: Site, fetch: Tool) -> None:
    assert isinstance(fetch, RunScopedTool)
    first, second = fetch.for_run(), fetch.for_run()
    for tool in (first, first, second):
        assert "paragraph 0" in await get(tool, site.url + "/long", start=100)
    assert len(site.seen) == 2
    await first.aclose()
    await get(first, site.url + "/long", start=100)
    assert len(site.seen) == 3


async def test_a_part_of_a_page_that_has_changed_is_not_mixed_with_the_old_one(
    site: Site, fetch: Tool
) -> None:
    text = await get(fetch, site.url + "/changing")
    mark = text.rpartition('"page": "')[2].removesuffix('"]')
    text = await get(fetch, site.url + "/changing", start=8000, page=mark)
    assert text.startswith("The page has changed since its last part was read: it begins again.\n")
    assert "characters 0 to" in text
    assert "version 2" in text
    assert "version 1" not in text


async def test_a_part_of_a_page_that_is_the_same_still_is_read_on_without_a_cache(
    site: Site, fetch: Tool
) -> None:
    text = await get(fetch, site.url + "/long")
    mark = text.rpartition('"page": "')[2].removesuffix('"]')
    assert "characters 8000 to" in await get(fetch, site.url + "/long", start=8000, page=mark)
    assert len(site.seen) == 2


@pytest.mark.parametrize("path", ["/bomb", "/endless"])
async def test_what_is_too_large_is_cut_short(site: Site, fetch: Tool, path: str) -> None:
    text = await get(fetch, site.url + path)
    assert "cut short" in text
    assert len(text) < PART_CHARS + 500


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/nowhere", "HTTP 404 for .*/nowhere. No such page"),
        ("/error", "HTTP 500 for .*/error. Out of kites$"),
        ("/error-empty", "HTTP 503 for .*/error-empty.$"),
        ("/damaged", "damaged compressed data"),
        ("/brotli", "content encoding 'br'"),
        ("/half", "cannot be read"),
        ("/garbage", "cannot be read"),
        ("/moved-around", "More than 5 redirects"),
        ("/moved-to-metadata", "metadata service"),
        ("/moved-to-private", "10.1.2.3 is not a public address"),
        ("/moved-to-file", "redirects to something unusable"),
    ],
)
async def test_what_a_server_does_wrong_is_told(
    site: Site, fetch: Tool, path: str, expected: str
) -> None:
    with pytest.raises(ToolError, match=expected):
        await get(fetch, site.url + path)


async def test_a_server_that_never_answers_is_left_in_time(
    site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "TOTAL_SECONDS", 0.3)
    with pytest.raises(ToolTimeoutError, match=r"127\.0\.0\.1"):
        await get(fetch, site.url + "/silent")
    assert await anyio.to_thread.run_sync(site.hung_up.wait, 20)


async def test_a_cancelled_fetch_hangs_up(site: Site, fetch: Tool) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get, fetch, site.url + "/silent")
        assert await anyio.to_thread.run_sync(site.asked.wait, 20)
        tasks.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(site.hung_up.wait, 20)


async def test_a_port_where_nobody_listens_is_told(fetch: Tool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ToolError, match="cannot be read"):
        await get(fetch, f"http://127.0.0.1:{port}/")


async def test_nothing_that_identifies_the_user_is_sent(
    site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # would fail if it were used
    await get(fetch, site.url + "/cookies#fragment")  # which sets some, and goes elsewhere
    await get(fetch, site.url + "/json")
    assert [path for path, _ in site.seen] == ["/cookies", "/json", "/json"]
    for _, headers in site.seen:
        assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "not an absolute http"),
        ("example.com/page", "Write https://example.com/page"),
        ("/etc/passwd", "not an absolute http"),
        ("file:///etc/passwd", "not an absolute http"),
        ("ftp://example.com/", "not an absolute http"),
        ("javascript:alert(1)", "not an absolute http"),
        ("https://", "not an absolute http"),
        ("http://user:password@example.com/", "password is refused"),
        ("http://example.com:99999/", "Port 99999"),
        ("http://exa mple.com\x00/", "is not a URL"),
    ],
)
async def test_what_is_no_url_is_refused_with_advice(url: str, expected: str) -> None:
    with pytest.raises(ToolInputError, match=expected):
        await get(plain_fetch, url)


async def test_the_environment_says_what_is_allowed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ToolError, match="not a public address"):
        await get(plain_fetch, site.url + "/json")
    place = site.url.removeprefix("http://")
    port = place.rpartition(":")[2]
    for allowed in ("127.0.0.1", place, f"10.0.0.0/8, 127.0.0.0/8, *:{port}"):
        monkeypatch.setenv("AGENTKIT_FETCH_ALLOW", allowed)
        assert "kites" in await get(plain_fetch, site.url + "/json")
    monkeypatch.setenv("AGENTKIT_FETCH_ALLOW", "localhost")
    assert "kites" in await get(plain_fetch, site.url.replace("127.0.0.1", "localhost") + "/json")
    assert "AGENTKIT_FETCH_ALLOW" in os.environ
