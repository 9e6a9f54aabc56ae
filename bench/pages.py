"""Small pages served on loopback, with facts that no model can know."""

from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_PAGES = {
    "/kettle": (
        "text/html",
        (
            "<h1>Kettle K-7</h1><p>A kettle of brushed steel.</p><ul><li>Price: 47.80 euros</li>"
            "<li>Capacity: 1.7 litres</li><li>Colour: teal</li></ul>"
        ),
    ),
    "/toaster": (
        "text/html",
        (
            "<h1>Toaster T-2</h1><p>Two slots.</p><ul><li>Price: 63.50 euros</li>"
            "<li>Power: 850 watts</li></ul>"
        ),
    ),
    "/word": ("text/plain", "Welcome. The code word of the day is heliotrope.\n"),
    "/museum": (
        "text/html",
        (
            "<h1>Museum of Anchors</h1><p>Open from 10:00 to 17:30, closed on Wednesday.</p>"
            "<table><tr><th>Ticket</th><th>Euros</th></tr><tr><td>Adult</td><td>18</td></tr>"
            "<tr><td>Child</td><td>7</td></tr></table>"
        ),
    ),
    "/team": (
        "text/html",
        (
            "<h1>Team</h1><table><tr><th>Name</th><th>City</th><th>Age</th></tr>"
            "<tr><td>Marta</td><td>Ljubljana</td><td>41</td></tr>"
            "<tr><td>Jonas</td><td>Tromso</td><td>36</td></tr>"
            "<tr><td>Aiko</td><td>Nagoya</td><td>29</td></tr></table>"
        ),
    ),
    "/stock": ("application/json", '{"bolts": 1240, "nuts": 985, "washers": 3310}'),
}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        kind, text = _PAGES.get(self.path, ("text/plain", "404: there is no such page\n"))
        body = text.encode()
        self.send_response(200 if self.path in _PAGES else 404)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by http.server
        """Say nothing."""


@contextmanager
def serve_pages() -> Generator[str]:
    """Serve the pages; yields the address, without a slash at its end."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
