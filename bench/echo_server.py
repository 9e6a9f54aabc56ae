"""The smallest MCP server over stdio: one tool, no library, so that a call costs the client most."""

import json
import sys
from typing import Any

_TOOL = {
    "name": "echo",
    "description": "Return the text.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the result or the error of one request."""
    match request["method"]:
        case "initialize":
            result: dict[str, Any] = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"},
            }
        case "tools/list":
            result = {"tools": [_TOOL]}
        case "tools/call":
            text = request["params"]["arguments"]["text"]
            result = {"content": [{"type": "text", "text": text}], "isError": False}
        case "ping":
            result = {}
        case method:
            return {"error": {"code": -32601, "message": f"no method {method}"}}
    return {"result": result}


def main() -> None:
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "id" in request and "method" in request:
            reply = {"jsonrpc": "2.0", "id": request["id"], **answer(request)}
            sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
