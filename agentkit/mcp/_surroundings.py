"""What the servers of a session share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agentkit.mcp._media import Media
from agentkit.mcp._names import log_of
from agentkit.mcp._state import Answerer
from agentkit.policies import Timeouts


class Visitor(Protocol):
    """Takes a person through a login in a browser.

    Attributes:
        has_come: the login is done.
    """

    has_come: bool

    @property
    def redirect_uri(self) -> str:
        """Where the browser comes back to."""
        ...

    async def send(self, url: str) -> None:
        """Show the person the address where one logs in."""
        ...

    async def wait(self) -> Mapping[str, str]:
        """Return what the browser has come back with: `code`, `state` and perhaps `iss`.

        Raises:
            McpServerError: it does not come back, or the person was refused.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the servers of a session share.

    Attributes:
        timeouts: where a server has no clocks of its own.
        environ: our environment.
        session: marks the processes of all of them.
        log_dir: folder for what each server writes on stderr.
        pins_dir: folder for what is approved; `None` trusts whatever servers say.
        media: keeps images and the like that come in results; `None` leaves them out.
        oauth_dir: folder for logins; `None` forgets them.
        answerer: answers what servers ask a person; `None` declines.
        visitor: takes a person through a login; `None` asks nobody.
    """

    timeouts: Timeouts
    environ: Mapping[str, str]
    session: str = ""
    log_dir: Path | None = None
    pins_dir: Path | None = None
    media: Media | None = None
    oauth_dir: Path | None = None
    answerer: Answerer | None = None
    visitor: Visitor | None = None

    def log_of(self, server: str) -> Path | None:
        """Return the file of what that server writes."""
        return None if self.log_dir is None else log_of(self.log_dir, server)
