"""Pages as text, in bounded parts, from places that may be asked."""

import os
import socket
import threading
from typing import Any, Protocol

import anyio
import pytest

from agentkit.errors import ConfigurationError, ToolError, ToolInputError, ToolTimeoutError
from agentkit.protocols import Tool
from agentkit_tools import _http, _text
from agentkit_tools._addresses import AddressRules
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
    assert "application/pdf, 800 bytes: not text" in await get(fetch, site.url + "/pdf")


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
    start, parts = 0, list[str]()
    while True:
        text = await get(fetch, site.url + "/long", start=start)
        head, _, rest = text.partition("\n\n")
        assert f"characters {start} to" in head
        body, more, advice = rest.partition("\n\n[More: ")
        assert len(body) <= PART_CHARS
        parts.append(body)
        if not more:
            break
        start = int(advice.rpartition(" ")[2].rstrip("]"))
    joined = "\n".join(parts)
    assert all(f"paragraph {number:04d}" in joined for number in range(1500))
    assert len(site.seen) == 1
    with pytest.raises(ToolInputError, match="The page ends at"):
        await get(fetch, site.url + "/long", start=10_000_000)
    with pytest.raises(ToolInputError, match="0 or more"):
        await get(fetch, site.url + "/long", start=-1)


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


async def test_a_page_that_takes_long_to_convert_is_left_in_time(
    site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def to_text(body: bytes, content_type: str) -> str:
        let_go.wait(20)
        return ""

    monkeypatch.setattr(_http, "TOTAL_SECONDS", 0.3)
    monkeypatch.setattr(_text, "to_text", to_text)
    with pytest.raises(ToolTimeoutError, match=r"127\.0\.0\.1"):
        await get(fetch, site.url)
    assert not let_go.is_set()
    let_go.set()


@pytest.mark.timeout(15)  # a minute and more each, if it took time that grows with the square
@pytest.mark.parametrize(
    "page", ["<title" * 200_000, "<a href='" * 100_000, "<script>" * 100_000, "<!--" * 200_000]
)
def test_a_page_of_tags_that_never_end_is_read_in_time(page: str) -> None:
    _text.to_text(page.encode(), "text/html")


@pytest.mark.timeout(15)
@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "utf-7", "rot13", "hex"])
def test_a_charset_in_which_no_page_is_written_is_read_as_utf_8(charset: str) -> None:
    body = "a" * 1_000_000
    assert _text.to_text(body.encode(), f"text/plain; charset={charset}") == body
    assert _text.to_text("+AGE- ü \\n".encode(), f"text/plain; charset={charset}") == "+AGE- ü \\n"


def test_a_title_is_the_heading_of_a_page_that_has_none() -> None:
    page = b"<head><title lang=en>Kites &amp;\n wind</title></head><p>words"
    assert _text.to_text(page, "text/html") == "# Kites & wind\n\nwords"


def test_a_page_of_scripts_gives_its_few_words_only() -> None:
    page = "<script>if (a<b) evil()</script><STYLE>p{}</STYLE>" * 100 + "<nav>few &lt; words</nav>"
    assert _text._plain(page) == "few < words"


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
    await get(fetch, site.url + "/json#fragment")
    path, headers = site.seen[0]
    assert path == "/json"
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


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
async def test_addresses_that_are_not_public_are_refused(host: str) -> None:
    with pytest.raises(ToolError, match="not a public address") as caught:
        await get(plain_fetch, f"http://{host}/")
    assert "AGENTKIT_FETCH_ALLOW=" in caught.value.hint


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "168.63.129.16",
        "[fd00:ec2::254]",
        "100.100.100.200",
    ],
)
async def test_metadata_services_are_refused_even_if_allowed(host: str) -> None:
    tool = make_fetch(["0.0.0.0/0", "::/0", host])
    with pytest.raises(ToolError, match="metadata service"):
        await get(tool, f"http://{host}/")


async def test_the_environment_says_what_is_allowed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ToolError, match="not a public address"):
        await get(plain_fetch, site.url + "/json")
    for allowed in ("127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"):
        monkeypatch.setenv("AGENTKIT_FETCH_ALLOW", allowed)
        assert "kites" in await get(plain_fetch, site.url + "/json")
    monkeypatch.setenv("AGENTKIT_FETCH_ALLOW", "localhost")
    assert "kites" in await get(plain_fetch, site.url.replace("127.0.0.1", "localhost") + "/json")
    assert "AGENTKIT_FETCH_ALLOW" in os.environ


async def test_a_name_is_looked_up_once_and_dialled_where_it_was_checked(
    site: Site, fetch: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(site.url.rpartition(":")[2])
    answers = ["127.0.0.1", "127.0.0.2"]  # a rebinding name server answers otherwise each time

    def look_up(host: str, *_arguments: object, **_options: object) -> list[Any]:
        assert host == "rebinding.test"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert "kites" in await get(fetch, f"http://rebinding.test:{port}/json")
    assert answers == ["127.0.0.2"]
    assert site.seen[0][1]["Host"] == f"rebinding.test:{port}"
    with pytest.raises(ToolError, match=r"127\.0\.0\.2 is not a public address"):
        await get(fetch, f"http://rebinding.test:{port}/json")
    assert len(site.seen) == 1


async def test_one_private_address_among_public_ones_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(*_arguments: object, **_options: object) -> list[Any]:
        found = ("93.184.216.34", "10.0.0.7")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 80)) for each in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(ToolError, match=r"10\.0\.0\.7 is not a public address"):
        await get(plain_fetch, "http://mixed.test/")


async def test_a_name_that_does_not_exist_is_told() -> None:
    with pytest.raises(ToolError, match="cannot be resolved"):
        await get(plain_fetch, "http://no-such-name.invalid/")


def test_what_may_be_allowed_is_checked() -> None:
    rules = AddressRules.read(["127.0.0.1", " 10.0.0.0/8 ", "[::1]", "Wiki.Local.", ""])
    rules.check("wiki.local", ["192.168.7.7"])
    rules.check("other", ["10.9.9.9", "::1", "93.184.216.34", "2606:4700::1111"])
    with pytest.raises(ToolError):
        rules.check("other", ["192.168.7.7"])
    with pytest.raises(ConfigurationError) as caught:
        AddressRules.read(["http://wiki.local/"])
    assert "AGENTKIT_FETCH_ALLOW" in caught.value.hint
