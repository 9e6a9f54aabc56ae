"""What may be fetched, as whoever runs it has said: lists, ports, a proxy, robots.txt, turns."""

import threading
from collections.abc import Iterator
from typing import Any, TypeAlias

import anyio
import pytest
from anyio import to_thread

from agentkit.errors import ConfigurationError, ToolError
from agentkit.protocols import CURRENT_CALL, CallContext, Tool
from agentkit_tools import _connector, _robots
from agentkit_tools._rules import Rules
from agentkit_tools.fetch import fetch as plain_fetch
from agentkit_tools.fetch import make_fetch
from tests.tools.conftest import Site, SiteServer, running

FORBIDS = b"User-agent: *\nDisallow: /priv*\nAllow: /private/open\n"


Answer: TypeAlias = tuple[int, dict[str, str], bytes]
MISSING: Answer = (404, {}, b"")
FORBIDDING: Answer = (200, {}, FORBIDS)


class Crawled(Site):
    """A site whose robots.txt is what a test wants, and which others can be led through."""

    robots: Answer = MISSING
    most_at_once = 0
    _now = 0
    _lock = threading.Lock()

    def respond(self) -> None:
        if self.path == "/robots.txt":
            self.answer(*Crawled.robots)
        elif self.path.startswith("/to?"):
            self.answer(302, {"Location": self.path[4:]}, b"")
        elif self.path.startswith("http://"):  # asked as a proxy
            self.answer(200, {"Content-Type": "text/plain"}, f"proxied {self.path}".encode())
        elif self.path.startswith("/together"):
            self.count()
        else:
            self.answer(200, {"Content-Type": "text/plain"}, b"the page")

    def count(self) -> None:
        with self._lock:
            Crawled._now += 1
            Crawled.most_at_once = max(Crawled.most_at_once, Crawled._now)
            server = self.server
            assert isinstance(server, SiteServer)
            if Crawled._now == _connector.AT_ONCE:
                server.asked.set()
        server.asked.wait(10)  # until there are as many as there may be
        with self._lock:
            Crawled._now -= 1
        self.answer(200, {"Content-Type": "text/plain"}, b"the page")


@pytest.fixture
def crawled(monkeypatch: pytest.MonkeyPatch) -> Iterator[SiteServer]:
    _robots._known.clear()
    for name, value in (("robots", MISSING), ("most_at_once", 0), ("_now", 0)):
        monkeypatch.setattr(Crawled, name, value)
    with running(SiteServer(Crawled)) as server:
        yield server


async def get(tool: Tool, url: str) -> str:
    return await tool.call(tool.validate({"url": url}))


def paths(server: SiteServer) -> list[str]:
    return [path for path, _ in server.seen]


@pytest.mark.parametrize(
    ("path", "may"),
    [("/", True), ("/private", False), ("/privy", False), ("/private/open/1", True)],
)
async def test_robots_txt_is_obeyed_and_named_where_it_forbids(
    crawled: SiteServer, monkeypatch: pytest.MonkeyPatch, path: str, may: bool
) -> None:
    monkeypatch.setattr(Crawled, "robots", FORBIDDING)
    tool = make_fetch(["127.0.0.1"], robots=True)
    if may:
        assert "the page" in await get(tool, crawled.url + path)
        assert paths(crawled) == ["/robots.txt", path]
    else:
        with pytest.raises(ToolError, match=r"/robots\.txt forbids it") as caught:
            await get(tool, crawled.url + path)
        assert "AGENTKIT_FETCH_ROBOTS" in caught.value.hint
        assert paths(crawled) == ["/robots.txt"]


async def test_robots_txt_is_asked_once_a_day_for_all_runs(
    crawled: SiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in ("/one", "/two"):
        await get(make_fetch(["127.0.0.1"], robots=True), crawled.url + path)
    assert paths(crawled) == ["/robots.txt", "/one", "/two"]
    monkeypatch.setattr(_robots, "_KEPT_SECONDS", -1.0)
    _robots._known.clear()
    for path in ("/three", "/four"):
        await get(make_fetch(["127.0.0.1"], robots=True), crawled.url + path)
    assert paths(crawled).count("/robots.txt") == 3


def _row(status: int, body: bytes, refusal: str, **headers: str) -> tuple[Answer, str]:
    return (status, headers, body), refusal


@pytest.mark.parametrize(
    ("robots", "refusal"),
    [
        _row(404, FORBIDS, ""),
        _row(401, FORBIDS, ""),
        _row(500, b"", "HTTP 500"),
        _row(503, b"", "HTTP 503"),
        _row(302, b"", "not a public address", Location="http://10.1.2.3/robots.txt"),
        _row(302, b"", "More than 5 redirects", Location="/robots.txt"),
        _row(200, b"no gzip", "damaged compressed data", **{"Content-Encoding": "gzip"}),
        _row(200, b"\xef\xbb\xbf" + FORBIDS, "forbids it"),
        _row(200, b"# long\n" * 100_000 + FORBIDS, ""),  # what is beyond 500 KB does not count
    ],
)
async def test_a_robots_txt_that_is_missing_allows_and_one_that_cannot_be_had_does_not(
    crawled: SiteServer,
    monkeypatch: pytest.MonkeyPatch,
    robots: Answer,
    refusal: str,
) -> None:
    monkeypatch.setattr(Crawled, "robots", robots)
    tool = make_fetch(["127.0.0.1"], robots=True)
    if refusal:
        with pytest.raises(ToolError, match=refusal) as caught:
            await get(tool, crawled.url + "/private")
        assert "robots.txt" in str(caught.value)
        assert "/private" not in paths(crawled)
    else:
        assert "the page" in await get(tool, crawled.url + "/private")


async def test_each_redirect_is_held_to_robots_txt(
    crawled: SiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Crawled, "robots", FORBIDDING)
    with pytest.raises(ToolError, match=r"/private is not read: .*robots\.txt forbids it"):
        await get(make_fetch(["127.0.0.1"], robots=True), crawled.url + "/to?/private")
    assert paths(crawled) == ["/robots.txt", "/to?/private"]


@pytest.mark.parametrize(
    ("said", "attended", "asked"),
    [
        ("", True, False),
        ("", False, True),
        ("", None, False),
        ("unattended", False, True),
        ("always", True, True),
        ("always", None, True),
        ("never", False, False),
    ],
)
async def test_robots_txt_is_asked_where_nobody_can_be(
    crawled: SiteServer,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    attended: bool | None,
    asked: bool,
) -> None:
    monkeypatch.setenv("AGENTKIT_FETCH_ROBOTS", said)
    run = CallContext(run_id="r", call_id="c", key="k", attended=attended or False)
    token = CURRENT_CALL.set(None if attended is None else run)
    try:
        await get(make_fetch(["127.0.0.1"]), crawled.url + "/")
    finally:
        CURRENT_CALL.reset(token)
    assert ("/robots.txt" in paths(crawled)) == asked


@pytest.mark.parametrize(
    ("settings", "url", "expected"),
    [
        ({"deny": ["ads.example"]}, "http://x.ads.example/", "list of denied domains"),
        ({"deny": ["ADS.example."]}, "https://ads.example/", "list of denied domains"),
        ({"deny": ["93.184.0.0/16"]}, "http://93.184.216.34/", "list of denied addresses"),
        ({"deny": ["93.184.216.34"]}, "http://93.184.216.34/", "list of denied domains"),
        ({"deny": ["127.0.0.1"]}, "{site}/", "list of denied domains"),
        ({"deny": ["93.0.0.0/8"]}, "http://[::ffff:5db8:d822]/", "list of denied addresses"),
        ({"only": ["docs.example"]}, "http://bad-docs.example/", "only docs.example may be read"),
        ({"only": ["docs.example"]}, "http://93.184.216.34/", "only docs.example may be read"),
        ({"only": ["docs.example"]}, "{site}/to?http://else.example/", "only docs.example"),
    ],
)
async def test_lists_of_domains_are_kept_to(
    crawled: SiteServer, settings: dict[str, Any], url: str, expected: str
) -> None:
    url = url.replace("{site}", crawled.url)
    with pytest.raises(ToolError, match=expected):
        await get(make_fetch(["127.0.0.1"], **settings), url)
    assert not crawled.seen


async def test_lists_of_the_environment_are_kept_to(
    crawled: SiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENTKIT_FETCH_ALLOW", "127.0.0.1")
    monkeypatch.setenv("AGENTKIT_FETCH_ONLY", "127.0.0.1, docs.example")
    assert "the page" in await get(plain_fetch, crawled.url)
    with pytest.raises(ToolError, match=r"only 127\.0\.0\.1, docs\.example may be read"):
        await get(plain_fetch, crawled.url + "/to?http://else.example/")
    monkeypatch.setenv("AGENTKIT_FETCH_DENY", "127.0.0.1")
    with pytest.raises(ToolError, match="denied"):
        await get(plain_fetch, crawled.url)


async def test_a_host_is_asked_by_two_at_once_and_then_forgotten(crawled: SiteServer) -> None:
    tool = make_fetch(["127.0.0.1"])
    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(get, tool, f"{crawled.url}/together/{number}")
    assert Crawled.most_at_once == _connector.AT_ONCE == 2
    assert len(crawled.seen) == 8
    assert not _connector._turnstiles.get()


@pytest.mark.parametrize("by", ["argument", "environment"])
async def test_a_proxy_is_used_where_it_is_asked_for(
    crawled: SiteServer, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    tool = make_fetch(proxy=crawled.url) if by == "argument" else plain_fetch
    if by == "environment":
        monkeypatch.setenv("AGENTKIT_FETCH_PROXY", crawled.url)
    text = await get(tool, "http://no-such-name.invalid/page")  # the proxy would look it up
    assert text.endswith("proxied http://no-such-name.invalid/page")
    for url in ("http://10.1.2.3/", "http://0x7f000001/", "http://169.254.169.254/"):
        with pytest.raises(ToolError, match="is refused"):
            await get(tool, url)
    assert len(crawled.seen) == 1


async def test_what_is_no_proxy_is_told() -> None:
    for proxy in ("proxy.local:3128", "socks5://127.0.0.1:9", "http://"):
        with pytest.raises(ConfigurationError, match="not the URL of a proxy"):
            await get(make_fetch(proxy=proxy), "http://page.example/")


def test_what_may_be_allowed_is_checked() -> None:
    rules = Rules.read(
        [
            "127.0.0.1",
            " 10.0.0.0/8 ",
            "[::1]",
            "Wiki.Local.",
            "",
            "build.local:9000",
            "[fd00::1]:81",
        ]
    )
    rules.check_addresses("wiki.local", 80, ["192.168.7.7"])
    rules.check_addresses("other", 80, ["10.9.9.9", "::1", "93.184.216.34", "2606:4700::1111"])
    rules.check_addresses("build.local", 9000, ["192.168.7.7"])
    rules.check_place("wiki.local", 1234)
    rules.check_place("fd00::1", 81)
    for host, port in (("other", 80), ("build.local", 80), ("wiki.local.evil.example", 80)):
        with pytest.raises(ToolError, match="not a public address"):
            rules.check_addresses(host, port, ["192.168.7.7"])
    for host, port in (("build.local", 9001), ("10.0.0.1", 9000), ("other", 25)):
        with pytest.raises(ToolError, match=f"port {port} is not one of") as caught:
            rules.check_place(host, port)
        assert f"AGENTKIT_FETCH_ALLOW={host}:{port}" in caught.value.hint


@pytest.mark.parametrize(
    "settings",
    [
        {"allow": ["http://wiki.local/"]},
        {"allow": ["wiki.local:0"]},
        {"allow": ["wiki.local:http"]},
        {"allow": ["*"]},
        {"deny": ["ads.example:80"]},
        {"only": ["10.0.0.0/8"]},
    ],
)
def test_an_entry_that_means_nothing_is_told(settings: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Rules.read(**settings)
    assert "AGENTKIT_FETCH_" in caught.value.hint


async def test_robots_settings_that_mean_nothing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTKIT_FETCH_ROBOTS", "sometimes")
    with pytest.raises(ConfigurationError) as caught:
        await get(plain_fetch, "http://page.example/")
    assert "unattended" in caught.value.hint


@pytest.mark.timeout(15)
@pytest.mark.parametrize(
    "rules",
    [
        "User-agent: *\nDisallow: /" + "*a" * 250_000,
        "User-agent: *\n" + "Disallow: /*a*b\n" * 32_000,
        "User-agent: *\nDisallow: " + "$" * 500_000,
        "User-agent: a\n" * 36_000,
    ],
    ids=["stars", "rules", "dollars", "agents"],
)
async def test_a_robots_txt_made_to_take_long_is_read_in_time(rules: str) -> None:
    url = "http://x.example/" + "a" * 7_000
    assert await to_thread.run_sync(_robots._allows, rules, url)
