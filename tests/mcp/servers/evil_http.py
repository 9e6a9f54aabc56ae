"""The servers of `evil.py`, over streamable HTTP and by hand: `evil_http.py MODE FOLDER [PORT]`.

The first line on stdout is the address. Tools that need no other wire are those of `evil.py`.
"""

import io
import json
import os
import socket
import struct
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any, cast

try:
    import evil
except ModuleNotFoundError:  # collected by pytest, and not run
    from tests.mcp.servers import evil

JSON = "application/json"
SSE = "text/event-stream"
LOCK = Lock()  # evil.py writes to the one stdout of its process
SESSIONS: set[str] = set()
NOTICES = 20_000


class Handler(BaseHTTPRequestHandler):
    """One request; whatever goes wrong in writing is the client's leaving."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(b"", status=405)

    def do_DELETE(self) -> None:
        evil.note("deleted", "once")
        if evil.MODE == "delete_hang":
            time.sleep(600)
        self.answer(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        message = json.loads(body)
        method: Any = message.get("method")
        if "id" not in message or method is None:
            self.answer(b"", status=202)
        elif method == "initialize":
            self.begin(message)
        elif self.headers.get("mcp-session-id") not in SESSIONS:
            self.answer(b"no such session", "text/plain", status=404)
        elif method == "tools/call":
            self.call(message)
        else:
            self.answer(said_by_evil(message))

    def begin(self, message: dict[str, Any]) -> None:
        evil.note("starts", str(os.getpid()))
        match evil.MODE:
            case "exit_at_start":
                os._exit(3)
            case "hang_at_start":
                time.sleep(600)
            case "html":
                self.answer(b"<html>Please log in</html>", "text/html")
                return
            case mode if mode.isdecimal():
                self.answer(b"no", "text/plain", int(mode), Retry_After="7")
                return
            case _:
                pass
        session = f"session-{len(SESSIONS)}"
        SESSIONS.add(session)
        self.answer(said_by_evil(message), Mcp_Session_Id=session)

    def call(self, message: dict[str, Any]) -> None:
        params: dict[str, Any] = message["params"]
        name: str = params["name"]
        arguments: dict[str, Any] = params.get("arguments") or {}
        if name in OVER_HTTP:
            evil.note("calls", name)
            OVER_HTTP[name](self, message, arguments)
        else:
            self.answer(said_by_evil(message))

    def answer(self, body: bytes, kind: str = JSON, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @contextmanager
    def stream(self, kind: str = SSE) -> Generator[Callable[[bytes], None]]:
        """Answer in pieces; the end of the connection is the end of the answer."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

        def send(piece: bytes) -> None:
            self.wfile.write(piece)
            self.wfile.flush()

        yield send

    def reset(self) -> None:
        """Break the connection off, unread and unsent."""
        now = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)
        self.close_connection = True
        os.dup2(os.open(os.devnull, os.O_RDWR), self.connection.fileno())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it overrides
        """Say nothing."""


def said_by_evil(message: dict[str, Any]) -> bytes:
    """Return what `evil.py` would have written on its stdout."""
    with LOCK:
        written = io.BytesIO()
        evil.write = written.write
        evil.serve(message)
        return written.getvalue().strip(b"\n")


def result_of(message: dict[str, Any], text: str) -> bytes:
    return evil.encode(message["id"], evil.text(text))


def event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"


Tool = Callable[[Handler, dict[str, Any], dict[str, Any]], None]


def hang(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    evil.note("hanging", str(message["id"]))
    time.sleep(600)


def slow_loris(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    with handler.stream(JSON) as send:
        while True:
            send(b" ")
            time.sleep(0.05)


def endless(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    with handler.stream(JSON) as send:
        send(b'{"jsonrpc": "2.0", "id": 1, "result": {"content": "')
        while True:
            send(b"x" * 65_536)


def endless_event(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    with handler.stream() as send:
        send(b'event: message\ndata: {"jsonrpc": "2.0", "id": 1, "result": {"content": "')
        while True:
            send(b"x" * 65_536)


def junk(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    handler.answer(b"Welcome to evil server!")


def page(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    handler.answer(b"<html><body>Please log in</body></html>", "text/html")


def bom(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    handler.answer(b"\xef\xbb\xbf" + result_of(message, "after the mark"))


def reset(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    with handler.stream(JSON) as send:
        send(b'{"jsonrpc": "2.0", ')
        handler.reset()


def drop(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    with handler.stream() as send:
        send(b": the stream ends without an answer\n\n")


def drop_with_id(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    """End the stream such that it could be resumed, where GET is not allowed."""
    with handler.stream() as send:
        send(b"id: 1\nretry: 0\ndata: \n\n")


def flood(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    notices = [
        {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1}},
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}},
    ]
    piece = b"".join(event(json.dumps(notice).encode()) for notice in notices)
    with handler.stream() as send:
        for _ in range(NOTICES // 100):
            send(piece * 33)
        send(event(result_of(message, "after the flood")))


def ask_back(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    with handler.stream() as send:
        for method in ("roots/list", "sampling/createMessage", "elicitation/create"):
            question: dict[str, Any] = {
                "jsonrpc": "2.0",
                "id": f"{method}-1",
                "method": method,
                "params": {},
            }
            send(event(json.dumps(question).encode()))
        send(event(result_of(message, "refused")))


def forget(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    SESSIONS.clear()
    handler.answer(result_of(message, "who are you?"))


def status(handler: Handler, message: dict[str, Any], arguments: dict[str, Any]) -> None:
    handler.answer(b"no", "text/plain", int(arguments["status"]), Retry_After="7")


OVER_HTTP: dict[str, Tool] = {
    **{tool.__name__: tool for tool in (hang, slow_loris, endless, endless_event, junk, page)},
    **{
        tool.__name__: tool
        for tool in (bom, reset, drop, drop_with_id, flood, ask_back, forget, status)
    },
}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have left."""


def main() -> None:
    for name in OVER_HTTP:
        if name not in evil.TOOLS:
            evil.GOOD_TOOLS.append({"name": name, "inputSchema": evil.OBJECT})
    with Server(("127.0.0.1", int(sys.argv[3]) if len(sys.argv) > 3 else 0), Handler) as server:
        host, port = cast("tuple[str, int]", server.server_address)
        sys.stdout.write(f"http://{host}:{port}/mcp\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
