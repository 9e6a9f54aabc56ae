"""An agent of the settings as a server, from its start to its end."""

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from agentkit.cli._approval import approver_for
from agentkit.cli._options import Choice
from agentkit.cli._perform import open_runtime
from agentkit.cli._terminal import note
from agentkit.cli._view import LINE, PlainView, line_of
from agentkit.events import Event, ThinkingDelta
from agentkit.serve import make_server
from agentkit.serve.signals import until_signal
from agentkit.serve.wire import open_wire

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.runtime import Runtime
    from agentkit.settings import Settings

_CLEANUP_SECONDS = 30  # runs, MCP servers, the trace and a lease on an engine, one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An agent that others may use.

    Attributes:
        name: of its tool.
        description: what it is good for.
        concurrency: most runs at once.
        yes: every call that wants approval gets it.
        verbose: what runs do is shown.
    """

    choice: Choice
    name: str
    description: str
    concurrency: int
    instructions: str
    yes: bool
    verbose: bool

    def agent(self, runtime: "Runtime", view: PlainView) -> "Agent":
        """Return the agent."""
        return runtime.agent(
            name=self.name,
            description=self.description,
            instructions=self.instructions,
            policy=self.choice.policy(runtime.settings),
            approver=approver_for(view, yes=self.yes, asks=False),
            observers=[_Narrator()] if self.verbose else [],
        )


def offer_over_mcp(offer: Offer, port: int | None) -> int:
    """Serve until the client has gone or a signal comes; return the exit code.

    Raises:
        AgentkitError: it could not begin, or what it stands on was lost.
    """
    work = partial(_serve, offer, offer.choice.settings(), port)
    return anyio.run(until_signal, work, _CLEANUP_SECONDS)


async def _serve(offer: Offer, settings: "Settings", port: int | None) -> None:
    view = PlainView()
    async with (
        open_wire(port, offer.name) as serve,
        open_runtime(settings, view, with_mcp=offer.choice.with_mcp) as runtime,
    ):
        agent = offer.agent(runtime, view)
        await serve(make_server(agent, concurrency=offer.concurrency))


class _Narrator:
    """Writes what runs do, each line with its run: many go on at once."""

    def observe(self, run_id: str, event: Event) -> None:
        """Write the line of an event."""
        line = None if isinstance(event, ThinkingDelta) else line_of(event, LINE)
        if line:
            note(f"{run_id[:8]} {line}")
