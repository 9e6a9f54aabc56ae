"""What the servers of a session share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentkit.mcp._media import Media
from agentkit.mcp._names import log_of
from agentkit.mcp._state import Answerer
from agentkit.policies import Timeouts


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
        answerer: answers what servers ask a person; `None` declines.
    """

    timeouts: Timeouts
    environ: Mapping[str, str]
    session: str = ""
    log_dir: Path | None = None
    pins_dir: Path | None = None
    media: Media | None = None
    answerer: Answerer | None = None

    def log_of(self, server: str) -> Path | None:
        """Return the file of what that server writes."""
        return None if self.log_dir is None else log_of(self.log_dir, server)
