"""The turns of a conversation, and what else can be typed."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from agentkit.cli._approval import keep
from agentkit.cli._exit import Exit
from agentkit.cli._outcome import print_result
from agentkit.cli._perform import exit_code, figures
from agentkit.cli._prompt import Lines
from agentkit.cli._signals import Stopper
from agentkit.cli._terminal import note
from agentkit.cli._view import View
from agentkit.messages import Message, ModelTurn, ToolResult, Usage, UserMessage
from agentkit.trace.words import plural, shortened, tokens

if TYPE_CHECKING:
    from agentkit.agent import Agent
    from agentkit.policies import PhasedThinking
    from agentkit.runtime import Runtime

_HELP = """\
/tools            what the agent can do
/think on|off|auto  let the model think first, or not
/usage            tokens so far
/save FILE        keep the conversation: .json for programs, anything else as Markdown
/quit             leave (or Ctrl-D)
Ctrl-C stops a turn after its step, twice stops it now."""

_COMMAND = re.compile(r"/[a-z]+")
_THINKING: "dict[str, PhasedThinking]" = {"on": True, "off": False, "auto": "auto"}


class Talk:
    """A conversation with an agent."""

    def __init__(self, agent: "Agent", runtime: "Runtime", view: View, stopper: Stopper) -> None:
        self._runtime = runtime
        self._view = view
        self._stopper = stopper
        self._conversation = agent.conversation()
        self._thinking: PhasedThinking = agent.thinking
        self._usage = Usage()
        self._transcript: list[Message] = []
        self._code = Exit.OK

    def greet(self) -> None:
        """Say who is there."""
        profile = self._runtime.model.profile
        number = len(self._runtime.tools)
        note(f"{profile.name} ({profile.backend}), {number} tools. /help for help, /quit to leave.")

    async def go_on(self, lines: Lines) -> Exit:
        """Take turns until the lines end; return the code of the first turn that went wrong."""
        while (line := await lines.read()) is not None:
            line = line.strip()
            if line in {"/quit", "/exit"}:
                break
            if _is_command(line):
                self._command(line)
            elif line:
                await self._turn(line)
                if lines.is_prompt:
                    self._code = Exit.OK  # a person has seen it
        return self._code

    async def _turn(self, task: str) -> None:
        with self._view:
            async with self._conversation.start(task, thinking=self._thinking) as run:
                self._stopper.begin(run)
                try:
                    async for event in run:
                        self._view.event(event)
                    result = await run.result()
                finally:
                    self._stopper.over()
        self._usage += result.usage
        self._transcript.append(UserMessage(task))
        self._transcript.extend(_new_messages(result.transcript))
        if result.paused is not None:
            await run_sync(keep, result.paused, self._runtime.settings.state_dir)
        print_result(result)
        self._view.summary(figures(result))
        if self._code is Exit.OK:
            self._code = exit_code(result, self._stopper)

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name == "/tools":
            for tool in self._runtime.tools:
                note(f"{tool.spec.name}: {shortened(tool.spec.description, 100)}")
        elif name == "/think":
            self._think(rest)
        elif name == "/usage":
            note(f"{plural(self._usage.requests, 'request')}, {tokens(asdict(self._usage))}")
        elif name == "/save":
            self._save(rest)
        else:
            note(_HELP if name == "/help" else f"There is no {name}.\n{_HELP}")

    def _think(self, wanted: str) -> None:
        if wanted not in _THINKING:
            now = next((k for k, said in _THINKING.items() if said == self._thinking), "by phase")
            note(f"Thinking is {now}. Write /think on, /think off or /think auto.")
            return
        self._thinking = _THINKING[wanted]
        note(f"Thinking is {wanted}.")

    def _save(self, name: str) -> None:
        if not name:
            note("Write /save FILE.")
            return
        path = Path(name).expanduser()
        if path.exists():
            note(f"✗ {path} is there already, and stays as it is. Name another file.")
            return
        is_json = path.suffix == ".json"
        text = _as_json(self._transcript) if is_json else _as_markdown(self._transcript)
        try:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            note(f"✗ {path} cannot be written: {error.strerror}.")
        else:
            note(f"Saved as {path}.")


def _is_command(line: str) -> bool:
    """Tell a command, known or mistyped, from a task that begins with a path.

    >>> [_is_command(line) for line in ("/think on", "/thnik", "/etc/hosts has what?", "hello")]
    [True, True, False, False]
    """
    return _COMMAND.fullmatch(line.partition(" ")[0]) is not None


def _new_messages(transcript: tuple[Message, ...]) -> list[Message]:
    """Return what came after the task."""
    asked = max(
        (at for at, entry in enumerate(transcript) if isinstance(entry, UserMessage)), default=-1
    )
    return list(transcript[asked + 1 :])


def _as_json(messages: list[Message]) -> str:
    entries = [{"kind": type(entry).__name__, **asdict(entry)} for entry in messages]
    return json.dumps(entries, ensure_ascii=False, indent=2) + "\n"


def _as_markdown(messages: list[Message]) -> str:
    parts: list[str] = []
    for entry in messages:
        match entry:
            case UserMessage():
                parts.append(f"## {entry.text}")
            case ModelTurn():
                parts.extend(f"- `{call.name}({call.arguments})`" for call in entry.tool_calls)
                if entry.text.strip():
                    parts.append(entry.text.strip())
            case ToolResult():
                parts.append(f"  - {'' if entry.ok else 'error: '}{shortened(entry.text, 2000)}")
            case _:
                pass
    return "\n\n".join(parts) + "\n"
