"""Each way that is known to turn a fetch against its owner, against a real server on loopback.

`ATTACKS` is data: a name, what the attacker tries, and what comes of it. The site of the attacker
is on 127.0.0.1, which is allowed and so stands for a public address; a secret is on 127.0.0.2.
"""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpcore2
import pytest

from agentkit.errors import ToolError
from agentkit_tools import _http
from agentkit_tools.fetch import PART_CHARS, make_fetch
from tests.tools.conftest import SiteServer, running
from tests.tools.hostile import INSIDE, SECRET, Hostile, Inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One row.

    Attributes:
        name: short, for a table.
        tries: what the attacker tries, in a line.
        outcome: words of the error, or of the text if it is read.
        url: what the model asks for; a path is one of the attacker's site.
        is_read: a text comes back: bounded, and without what was hidden in it.
        answers: of the name server, in this order, one for each look-up.
        led_to: where connections end up, whatever was dialled.
        seconds: limit of the whole fetch, where the attack is to take long.
    """

    name: str
    tries: str
    outcome: str
    url: str
    is_read: bool = False
    answers: tuple[tuple[str, ...], ...] = ()
    led_to: str = ""
    seconds: float = 20.0


def _spelt(name: str, url: str, tries: str, outcome: str = "not a public address") -> Attack:
    return Attack(name=name, tries=tries, outcome=outcome, url=url)


def _hop(place: str, tries: str, outcome: str) -> tuple[Attack, ...]:
    return tuple(
        Attack(
            name=f"redirect {hops} to {place}",
            tries=f"{tries}, after {hops} redirect{'s' if hops > 1 else ''}",
            outcome=outcome,
            url=f"/hops/{hops}/{place}",
        )
        for hops in range(1, 6)
    )


def _page(name: str, url: str, tries: str, outcome: str = "the words") -> Attack:
    return Attack(name=name, tries=tries, outcome=outcome, url=url, is_read=True)


_PRIVATE = "not a public address"
_METADATA = "cloud metadata service"
ATTACKS: tuple[Attack, ...] = (
    _spelt("loopback", "http://127.0.0.2/", "the machine itself, plainly"),
    _spelt("localhost", "http://localhost/", "the machine itself, by its name", "denied"),
    _spelt("trailing dot", "http://localhost./", "a final dot, so that names differ", "denied"),
    _spelt("decimal", "http://2130706434/", "127.0.0.2 as one number"),
    _spelt("hexadecimal", "http://0x7f000002/", "127.0.0.2 as one hexadecimal number"),
    _spelt("octal", "http://0177.0.0.02/", "127.0.0.2 in octal", "is not a URL"),
    _spelt("short", "http://127.2/", "127.0.0.2 with parts left out"),
    _spelt("zero", "http://0/", "the address that means this machine"),
    _spelt(
        "too large", "http://256.1.1.1/", "a number that programs cut differently", "is not a URL"
    ),
    _spelt("ipv6 loopback", "http://[::1]/", "the machine itself, in IPv6"),
    _spelt("mapped", "http://[::ffff:127.0.0.2]/", "an IPv4 address mapped into IPv6"),
    _spelt("compatible", "http://[::7f00:2]/", "the older way to put IPv4 into IPv6"),
    _spelt("nat64", "http://[64:ff9b::7f00:2]/", "an IPv4 address behind NAT64"),
    _spelt("local nat64", "http://[64:ff9b:1::7f00:2]/", "NAT64 of the local network"),
    _spelt("6to4", "http://[2002:7f00:2::]/", "an IPv4 address inside 6to4"),
    _spelt("teredo", "http://[2001:0:7f00:2::]/", "an IPv4 address inside Teredo"),
    _spelt("link-local", "http://[fe80::1]/", "a neighbour on the wire"),
    _spelt("zone id", "http://[fe80::1%25eth0]/", "an interface in the address", "zone or percent"),
    _spelt("site-local", "http://[fec0::1]/", "a range that libraries call public"),
    _spelt("unique local", "http://[fd00::1]/", "a private range of IPv6"),
    _spelt("private 10", "http://10.0.0.1/", "a private range"),
    _spelt("private 172", "http://172.16.0.1/", "a private range"),
    _spelt("private 192", "http://192.168.1.1/", "a private range"),
    _spelt("carrier nat", "http://100.64.0.1/", "a range of providers"),
    _spelt("benchmark", "http://198.18.0.1/", "a range for tests of networks"),
    _spelt("multicast", "http://224.0.0.1/", "everyone on the wire"),
    _spelt("broadcast", "http://255.255.255.255/", "everyone on the wire"),
    _spelt("metadata", "http://169.254.169.254/", "the keys of a cloud machine", _METADATA),
    _spelt("metadata mapped", "http://[::ffff:a9fe:a9fe]/", "the same, inside IPv6", _METADATA),
    _spelt("metadata decimal", "http://2852039166/", "the same, as one number", _METADATA),
    _spelt("metadata name", "http://metadata.google.internal/", "the same, by name", _METADATA),
    _spelt("metadata azure", "http://168.63.129.16/", "a public address of Azure", _METADATA),
    _spelt("metadata aws", "http://[fd00:ec2::254]/", "metadata in IPv6", _METADATA),
    _spelt("metadata alibaba", "http://100.100.100.200/", "metadata elsewhere", _METADATA),
    _spelt(
        "user info", "http://good.com@127.0.0.2/", "a host that reads like another", "user name"
    ),
    _spelt("password", "http://good.com:80@127.0.0.2/", "the same with a port", "user name"),
    _spelt("backslash", "http://good.com\\@127.0.0.2/", "hosts end at it for some", "backslash"),
    _spelt("backslash path", "http://127.0.0.2\\.good.com/", "the same, reversed", "backslash"),
    _spelt("fragment", "http://127.0.0.2#@good.com/", "hosts end at it for some"),
    _spelt("crlf", "http://good.com/\r\nX-Evil: 1", "a header of its own", "is not a URL"),
    _spelt("crlf host", "http://good.com\r\nHost: x/", "a host of its own", "is not a URL"),
    _spelt(
        "tab", "http://good.com\t@127.0.0.2/", "a character that some leave out", "is not a URL"
    ),
    _spelt("circled letter", "http://ⓛocalhost/", "localhost in look-alikes", "is not a URL"),
    _spelt(
        "full-width",
        "http://\uff11\uff12\uff17.\uff10.\uff10.\uff12/",
        "digits in look-alikes",
        "is not a URL",
    ),
    _spelt("ideographic dots", "http://127。0。0。2/", "dots in look-alikes"),
    _spelt("joiner", "http://local\u200dhost/", "a letter without width", "is not a URL"),
    _spelt("percent host", "http://%31%32%37.0.0.2/", "a host in percent codes", "percent codes"),
    _spelt("file", "file:///etc/passwd", "a file of the machine", "not an absolute http"),
    _spelt("gopher", "gopher://127.0.0.2:6379/_X", "another protocol", "not an absolute http"),
    _spelt("ssh port", "http://127.0.0.3.example:22/", "a service that is not HTTP", "port 22"),
    _spelt("redis port", "http://good.example:6379/", "a service that is not HTTP", "port 6379"),
    _spelt(
        "no such name", "http://no-such-name.invalid/", "a name for a proxy", "cannot be resolved"
    ),
    Attack(
        name="dns rebinding",
        tries="a name that is public when it is checked and private when it is dialled",
        outcome="hostile but public",
        url="http://rebinding.test:{port}/public",
        is_read=True,
        answers=(("127.0.0.1",), (INSIDE,)),
    ),
    Attack(
        name="mixed answers",
        tries="a private address among public ones, for a client that tries them all",
        outcome=_PRIVATE,
        url="http://mixed.test:{port}/",
        answers=(("127.0.0.1", INSIDE),),
    ),
    Attack(
        name="another peer",
        tries="a network that leads a checked address to another",
        outcome="another answered",
        url="/public",
        led_to=INSIDE,
    ),
    *_hop("private", "a redirect into a private network", _PRIVATE),
    *_hop("metadata", "a redirect to the keys of a cloud machine", _METADATA),
    *_hop("inside", "a redirect to the machine itself", _PRIVATE),
    *_hop("file", "a redirect to a file", "redirects to something unusable"),
    *_hop("password", "a redirect with a user name", "redirects to something unusable"),
    *_hop("port", "a redirect to a service that is not HTTP", "port 22"),
    Attack(
        name="drip",
        tries="a byte now and then, so that no wait for one is long",
        outcome="took longer than",
        url="/drip",
        seconds=0.5,
    ),
    _page("300 MB", "/huge", "a body that does not fit into memory", "cut short"),
    _page("gzip bomb", "/bomb", "200 KB that unpack to 200 MB", "cut short"),
    Attack(
        name="bomb in a bomb",
        tries="a body that is packed twice",
        outcome="was not asked for",
        url="/twice",
    ),
    Attack(
        name="long header",
        tries="a megabyte of one header",
        outcome="cannot be read",
        url="/headers",
    ),
    Attack(
        name="random pdf",
        tries="noise that is called a PDF",
        outcome="It is named a PDF and is none",
        url="/noise",
    ),
    _page("nested 3000", "/divs-3000", "elements in elements, so that parsers recurse"),
    _page("nested 100000", "/divs-100000", "elements in elements, so that parsers recurse"),
    _page("large table", "/table", "790 KB of one table, for parsers that look back"),
    _page("attributes", "/attributes", "a tag with 100,000 attributes"),
    _page("unclosed quotes", "/unclosed", "tags that never end, for parsers that look ahead"),
    _page("unclosed comments", "/comments", "comments that never end"),
    _page("hidden text", "/hidden", "words that only a machine reads, hidden in twelve ways"),
)


@pytest.fixture
def attacker() -> Iterator[SiteServer]:
    with running(SiteServer(Hostile)) as server:
        yield server


@pytest.fixture
def inside(attacker: SiteServer) -> Iterator[SiteServer]:
    with running(SiteServer(Inside, INSIDE, attacker.server_port)) as server:
        yield server


def most_memory() -> int:
    """Return the most bytes of memory that this process has had since it was asked last."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(peak.split()[1]) * 1024


@pytest.mark.parametrize("attack", [pytest.param(row, id=row.name) for row in ATTACKS])
async def test_an_attack_gets_nothing(
    attack: Attack, attacker: SiteServer, inside: SiteServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = list(attack.answers)
    look_up = socket.getaddrinfo

    def answer(host: str, *rest: Any, **more: Any) -> list[Any]:
        if not host.endswith(".test"):
            return look_up(host, *rest, **more)
        port = attacker.server_port
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in answers.pop(0)]

    backend: Any = httpcore2.AnyIOBackend
    dial = backend.connect_tcp

    async def led(self: Any, host: str, *rest: Any, **more: Any) -> Any:
        return await dial(self, attack.led_to or host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(backend, "connect_tcp", led)
    monkeypatch.setattr(_http, "TOTAL_SECONDS", attack.seconds)
    # Everything is allowed for metadata, which nothing may allow.
    everything = ["0.0.0.0/0", "::/0"] if attack.outcome == _METADATA else []
    tool = make_fetch(
        ["127.0.0.1/32", f"*:{attacker.server_port}", *everything], deny=["localhost"]
    )
    url = attack.url.replace("{port}", str(attacker.server_port))
    url = attacker.url + url if url.startswith("/") else url
    most_memory()
    before = most_memory()
    try:
        said, is_read = await tool.call(tool.validate({"url": url})), True
    except ToolError as error:
        said, is_read = str(error), False
    assert attack.outcome in said
    assert is_read == attack.is_read
    assert SECRET.decode() not in said
    assert len(said) < PART_CHARS + 1_000
    assert not inside.seen
    assert len(answers) == max(0, len(attack.answers) - 1)  # each name is looked up once
    assert most_memory() - before < 100_000_000


def test_names_of_attacks_are_short_and_differ() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)
    assert all(
        len(name) <= 24 and attack.tries for name, attack in zip(names, ATTACKS, strict=True)
    )
