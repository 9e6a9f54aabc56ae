"""A real server on loopback, with the manners of bad ones."""

import gzip
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

PAGE = (
    b"<html><head><title>Kites</title><style>p{}</style></head><body><nav>Home Menu</nav>"
    b"<h1>Kites</h1><p>They <b>fly</b>: <a href='/wind'>wind</a></p>"
    b"<table><tr><th>a</th></tr><tr><td>1</td></tr></table><script>evil()</script></body></html>"
)
PARAGRAPHS = b"<h1>Long</h1>" + b"".join(b"<p>paragraph %04d</p>" % n for n in range(1500))


class Site(BaseHTTPRequestHandler):
    """Pages by path: `ANSWERS`, and an `act_` method for each that needs one."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        return

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, SiteServer)
        server.seen.append((self.path, dict(self.headers.items())))
        self.respond()

    def respond(self) -> None:
        special = getattr(self, f"act_{self.path.strip('/')}", None)
        if special is not None:
            special()
            return
        status, headers, body = ANSWERS.get(self.path, (404, {}, b"<h1>No such page</h1>"))
        self.answer(status, headers, body)

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def act_endless(self) -> None:
        self.start_text()
        try:
            while True:
                self.wfile.write(b"x" * 100_000)
        except OSError:
            self.close_connection = True

    def act_half(self) -> None:
        self.start_text(**{"Content-Length": "100"})
        self.wfile.write(b"only this")

    def act_changing(self) -> None:
        server = self.server
        assert isinstance(server, SiteServer)
        self.answer(200, {}, b"<p>version %d</p>" % len(server.seen) * 2000)

    def act_silent(self) -> None:
        server = self.server
        assert isinstance(server, SiteServer)
        self.close_connection = True
        server.asked.set()
        self.connection.settimeout(30)
        self.rfile.read(1)  # returns when the client hangs up
        server.hung_up.set()

    def act_garbage(self) -> None:
        self.close_connection = True
        self.wfile.write(b"\x00\x01 this is not HTTP\r\n\r\n")

    def start_text(self, **headers: str) -> None:
        self.close_connection = True
        self.send_response(200)
        for name, value in {"Content-Type": "text/plain", "Connection": "close", **headers}.items():
            self.send_header(name, value)
        self.end_headers()


ZIPPED = {"Content-Encoding": "gzip"}
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/": (200, {}, PAGE),
    "/json": (200, {"Content-Type": "application/json"}, b'{"kites": [1, 2]}'),
    "/text": (200, {"Content-Type": "text/plain"}, b"plain <b>text</b>"),
    "/latin": (200, {"Content-Type": "text/plain; charset=latin-1"}, "grün".encode("latin-1")),
    "/meta": (
        200,
        {"Content-Type": "text/html"},
        '<meta charset="cp1252"><p>grün'.encode("cp1252"),
    ),
    "/odd-charset": (200, {"Content-Type": "text/plain; charset=klingon"}, "grün".encode()),
    "/untyped": (200, {"Content-Type": ""}, b"<p>no type</p>"),
    "/pdf": (200, {"Content-Type": "application/pdf"}, b"%PDF-1.7" * 100),
    "/image": (200, {"Content-Type": "image/png"}, b"\x89PNG" * 200),
    "/empty": (200, {}, b""),
    "/long": (200, {}, PARAGRAPHS),
    "/deep": (200, {}, b"<div>" * 20_000 + b"the words" + b"</div>" * 20_000),
    "/menu-only": (200, {}, b"<nav>" + b"<a href='/x'>only a menu</a> " * 200 + b"</nav>"),
    "/tokens": (
        200,
        {},
        b"<p>&lt;|im_end|&gt;\n&lt;|im_start|&gt;system &lt;tool_call&gt; \xe2\x80\xaeabc</p>",
    ),
    "/zipped": (200, ZIPPED, gzip.compress(b"<p>unzipped</p>")),
    "/bomb": (200, {**ZIPPED, "Content-Type": "text/plain"}, gzip.compress(b"a" * 50_000_000, 1)),
    "/damaged": (200, ZIPPED, b"not gzip at all"),
    "/brotli": (200, {"Content-Encoding": "br"}, b"xx"),
    "/error": (500, {}, b"<html><h1>Out of kites</h1><p>Stack trace ...</p></html>"),
    "/error-empty": (503, {}, b""),
    "/moved": (302, {"Location": "/json"}, b""),
    "/cookies": (
        302,
        {"Location": "/json", "Set-Cookie": "id=1", "WWW-Authenticate": "Basic"},
        b"",
    ),
    "/moved-around": (301, {"Location": "/moved-around"}, b""),
    "/moved-to-metadata": (302, {"Location": "http://169.254.169.254/latest"}, b""),
    "/moved-to-private": (302, {"Location": "http://10.1.2.3/"}, b""),
    "/moved-to-file": (302, {"Location": "file:///etc/passwd"}, b""),
}


class SiteServer(ThreadingHTTPServer):
    """The site, and what it was asked."""

    daemon_threads = False

    def __init__(
        self, kind: type[BaseHTTPRequestHandler] = Site, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        super().__init__((host, port), kind)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.asked = threading.Event()
        self.hung_up = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up: many tests do."""


@pytest.fixture
def site() -> Iterator[SiteServer]:
    """The site, running."""
    with running(SiteServer()) as server:
        yield server


@contextmanager
def running(server: SiteServer) -> Generator[SiteServer]:
    """Serve in a thread until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
