"""A server with resources and prompts, by the SDK."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("reading")


@server.resource("note://today", description="What is \u202edone today.", mime_type="text/plain")
def today() -> str:
    """Return a note."""
    return "water the plants\x1b[31m!"


@server.resource("note://picture", mime_type="image/png")
def picture() -> bytes:
    """Return bytes."""
    return b"hello"


@server.resource("note://day/{day}")
def of_day(day: str) -> str:
    """Return the note of a day."""
    return f"nothing on {day}"


@server.prompt()
def greet(name: str, tone: str = "kind") -> str:
    """Greet somebody."""
    return f"Greet {name}, and be {tone}."


@server.tool()
def plain() -> str:
    """Say nothing much."""
    return "plain"


if __name__ == "__main__":
    server.run("stdio")
