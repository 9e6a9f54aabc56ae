"""Resources and prompts of a server: for people, and as tools where that is wanted."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mcp import Client

from agentkit.mcp._media import Media
from agentkit.mcp._names import fit
from agentkit.mcp._result import render_block, render_resource
from agentkit.mcp._schema import compiled
from agentkit.mcp._server import Server
from agentkit.mcp._state import Prompt, Resource
from agentkit.mcp._text import one_line
from agentkit.mcp._tool import McpTool
from agentkit.messages import JsonObject, ToolSpec
from agentkit.protocols import Tool

_MOST_PAGES = 20
_MOST_SHOWN = 200


class Reading:
    """Lists and reads what a server offers beside tools."""

    def __init__(self, server: Server, media: Media | None) -> None:
        self._server = server
        self._media = media

    async def resources(self) -> tuple[Resource, ...]:
        """Return what may be read, templates last.

        Raises:
            ToolError: it has none, or the server does not answer.
        """
        found = await self._server.request(_all_resources)
        templates = await self._server.request(_all_templates)
        return (*found, *templates)

    async def read(self, uri: str) -> str:
        """Return a resource as text.

        Raises:
            ToolError: there is none of that address.
        """
        result = await self._server.request(lambda client: client.read_resource(uri))
        return await render_resource(result.contents, self._media)

    async def prompts(self) -> tuple[Prompt, ...]:
        """Return what it writes.

        Raises:
            ToolError: it has none, or the server does not answer.
        """
        return await self._server.request(_all_prompts)

    async def prompt(self, name: str, arguments: Mapping[str, str]) -> str:
        """Return a prompt, each message with who says it.

        Raises:
            ToolError: there is none of that name, or arguments are missing.
        """
        given = dict(arguments)
        result = await self._server.request(lambda client: client.get_prompt(name, given))
        said = [(one.role, await render_block(one.content, self._media)) for one in result.messages]
        if len(said) == 1:
            return said[0][1]
        return "\n\n".join(f"{role}: {text}" for role, text in said)

    def tools(self, taken: Collection[str]) -> list[Tool]:
        """Return the tools with which a model does the same, as far as the file asks for them."""
        config = self._server.config
        listed: list[_Way] = []
        if config.resources:
            listed += [
                _Way("list_resources", _LIST, {}, self._list_resources),
                _Way("read_resource", _READ, _URI, self._read_resource),
            ]
        if config.prompts:
            listed += [
                _Way("list_prompts", _PROMPTS, {}, self._list_prompts),
                _Way("get_prompt", _PROMPT, _NAMED, self._get_prompt),
            ]
        return [self._tool(way, taken) for way in listed]

    def _tool(self, way: "_Way", taken: Collection[str]) -> Tool:
        config = self._server.config
        name = fit(f"{config.name}__{way.name}")
        while name in taken:
            name = fit(f"{name}_")
        required = [key for key in way.properties if key != "arguments"]
        parameters = {"type": "object", "properties": way.properties, "required": required}
        spec = ToolSpec(
            name,
            way.description.format(server=one_line(config.name)),
            parameters,
            self._server.call_seconds,
            effect="pure",
            approval="never" if way.name in config.approved else config.approval,
            untrusted=not config.trusted,
            open_world=True,
            allowed=way.name in config.approved,
        )
        return McpTool(spec, compiled(parameters), way.call)

    async def _list_resources(self, _: JsonObject) -> str:
        found = await self.resources()
        lines = [
            " ".join(filter(None, (one.uri, one.media_type, one.name, one.description)))
            for one in found
        ]
        return _listed(lines)

    async def _read_resource(self, arguments: JsonObject) -> str:
        return await self.read(str(arguments["uri"]))

    async def _list_prompts(self, _: JsonObject) -> str:
        return _listed(
            [
                f"{one.name}({', '.join(one.arguments)}): {one.description}"
                for one in await self.prompts()
            ]
        )

    async def _get_prompt(self, arguments: JsonObject) -> str:
        given: dict[str, Any] = arguments.get("arguments") or {}
        return await self.prompt(
            str(arguments["name"]), {key: str(value) for key, value in given.items()}
        )


@dataclass(frozen=True, slots=True)
class _Way:
    """A way for a model to what a server offers."""

    name: str
    description: str
    properties: JsonObject
    call: Callable[[JsonObject], Awaitable[str]]


_URI: JsonObject = {"uri": {"type": "string", "description": "as the list gives it"}}
_NAMED: JsonObject = {
    "name": {"type": "string"},
    "arguments": {"type": "object", "additionalProperties": {"type": "string"}},
}
_LIST = "List what can be read on the server {server}."
_READ = "Read something that the server {server} has listed."
_PROMPTS = "List the prompts that the server {server} can write."
_PROMPT = "Have the server {server} write one of its prompts."


def _listed(lines: list[str]) -> str:
    shown = [one_line(line) for line in lines[:_MOST_SHOWN]]
    if len(lines) > _MOST_SHOWN:
        shown.append(f"[{len(lines) - _MOST_SHOWN} more]")
    return "\n".join(shown) or "(there are none)"


async def _all_resources(client: Client) -> tuple[Resource, ...]:
    found: list[Resource] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_resources(cursor=cursor)
        found += [
            Resource(
                uri=one_line(str(one.uri)),
                name=one_line(one.name),
                description=one_line(one.description or ""),
                media_type=one_line(one.mime_type or ""),
                size=one.size,
            )
            for one in page.resources
        ]
        cursor = page.next_cursor
        if cursor is None:
            break
    return tuple(found)


async def _all_templates(client: Client) -> tuple[Resource, ...]:
    page = await client.list_resource_templates()
    return tuple(
        Resource(
            uri=one_line(one.uri_template),
            name=one_line(one.name),
            description=one_line(one.description or ""),
            media_type=one_line(one.mime_type or ""),
        )
        for one in page.resource_templates
    )


async def _all_prompts(client: Client) -> tuple[Prompt, ...]:
    found: list[Prompt] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page = await client.list_prompts(cursor=cursor)
        found += [
            Prompt(
                name=one.name,
                description=one_line(one.description or ""),
                arguments={arg.name: bool(arg.required) for arg in one.arguments or ()},
            )
            for one in page.prompts
            if one.name == one_line(one.name)  # a name that hides something is not worth a call
        ]
        cursor = page.next_cursor
        if cursor is None:
            break
    return tuple(found)
