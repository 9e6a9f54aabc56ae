"""Asks at the terminal whether a call may be made; keeps what waits where nobody can be asked."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agentkit.cli._stdin import is_typed
from agentkit.cli._terminal import note
from agentkit.cli._view import View
from agentkit.errors import AgentkitError, InvalidTaskError
from agentkit.messages import ApprovalRequest, Decision
from agentkit.trace.words import call_arguments, printable, shortened

if TYPE_CHECKING:
    from agentkit.loop import PausedRun
    from agentkit.protocols import Approver

_SHOWN = 2000
_YES = {"y", "yes"}


def approver_for(view: View, *, yes: bool, asks: bool) -> "Approver | None":
    """Return who decides: nobody where neither a person nor `--yes` is there."""
    if yes:
        return _say_yes
    if not (asks and is_typed() and sys.stderr.isatty()):
        return None
    return _Prompt(view).ask


async def _say_yes(_: ApprovalRequest) -> Decision:
    return True


class _Prompt:
    """Asks on stderr, while nothing moves there."""

    def __init__(self, view: View) -> None:
        self._view = view

    async def ask(self, request: ApprovalRequest) -> Decision:
        """Return yes, or no and why."""
        from prompt_toolkit import PromptSession
        from prompt_toolkit.output import create_output

        self._view.stop()
        try:
            note(described(request))
            session: PromptSession[str] = PromptSession(output=create_output(stdout=sys.stderr))
            said = await session.prompt_async("Make this call? [y/N, or why not] ")
        except (EOFError, KeyboardInterrupt):
            return False
        finally:
            self._view.__enter__()
        said = said.strip()
        if said.lower() in _YES:
            return True
        return False if said.lower() in {"", "n", "no"} else said


def described(request: ApprovalRequest) -> str:
    """Return a call as a person reads it before saying yes: nothing in it can move the cursor.

    >>> described(ApprovalRequest(run_id="r", call_id="c", name="pay", arguments={"amount": 5}))
    'Approval: pay(amount=5)'
    """
    arguments = shortened(call_arguments(request.arguments), _SHOWN)
    why = f" - {request.reason}" if request.reason else ""
    return printable(f"Approval: {request.name}({arguments}){why}")


def keep(paused: "PausedRun", state_dir: Path) -> Path:
    """Write a paused run where `agentkit resume` finds it, for its owner only.

    Raises:
        AgentkitError: it cannot be written.
    """
    path = _folder(state_dir) / f"{paused.run_id}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(paused.to_json().encode("utf-8", "backslashreplace").decode())
    except OSError as error:
        raise AgentkitError(f"The paused run cannot be kept: {path}: {error.strerror}.") from error
    return path


def find(run: str, state_dir: Path) -> Path:
    """Return the file of a paused run: `last`, or the beginning of its id.

    Raises:
        InvalidTaskError: there is none, or more than one.
    """
    paths = sorted(_folder(state_dir).glob("*.json"), key=lambda path: path.stat().st_mtime)
    found = paths[-1:] if run == "last" else [path for path in paths if path.stem.startswith(run)]
    if len(found) == 1:
        return found[0]
    waiting = ", ".join(path.stem[:8] for path in paths) or "none"
    what = f"{len(found)} paused runs begin with {run!r}" if found else f"No paused run {run!r}"
    raise InvalidTaskError(f"{what}.", hint=f"Paused runs: {waiting}.")


def _folder(state_dir: Path) -> Path:
    return state_dir / "paused"
