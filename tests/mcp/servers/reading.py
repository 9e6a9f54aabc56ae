"""A server with resources and prompts, by the SDK."""

from typing import Annotated

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.types import CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel

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


class Order(BaseModel):
    """What a person is asked for."""

    dish: str
    count: int = 1


async def order() -> Elicit[Order]:
    """Ask a person what it shall be."""
    return Elicit("What shall it be?\x1b[2J", Order)


@server.tool()
async def ask(answer: Annotated[ElicitationResult[Order], Resolve(order)]) -> str:
    """Ask a person what to order."""
    return str(answer.data) if isinstance(answer, AcceptedElicitation) else answer.action


async def folders_of_client() -> ListRoots:
    """Ask which folders this is about."""
    return ListRoots()


@server.tool()
async def folders(found: Annotated[ListRootsResult, Resolve(folders_of_client)]) -> str:
    """Name the folders."""
    return " ".join(str(root.uri) for root in found.roots)


async def thought() -> Sample:
    """Have our model do some work."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text="Hi"))
    return Sample([message], max_tokens=10)


@server.tool()
async def think(found: Annotated[CreateMessageResult, Resolve(thought)]) -> str:
    """Say what our model has said."""
    return str(found.content)


if __name__ == "__main__":
    server.run("stdio")
