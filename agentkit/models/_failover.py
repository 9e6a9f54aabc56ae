"""Several servers of one model: a conversation stays on one, and goes on with another when it fails."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

import anyio

from agentkit.errors import ConfigurationError, ModelError
from agentkit.messages import ModelTurn
from agentkit.protocols import Emit, Model, ModelProfile, ModelRequest

_FIRST_REST, _LONGEST_REST = 1.0, 60.0  # seconds


@dataclass(eq=False, slots=True)
class Member:
    """One of the servers.

    Attributes:
        url: its address, for messages.
        connect: asks it what it is.
        model: what it turned out to be; `None` while it has not answered.
        failures: in a row.
        rests_until: it is left alone until then.
        is_tried: one request is finding out whether it is back.
    """

    url: str
    connect: Callable[[], Awaitable[Model]]
    model: Model | None = None
    failures: int = 0
    rests_until: float = 0.0
    is_tried: bool = False

    def rest(self) -> None:
        """Leave it alone for a while, longer each time."""
        seconds = min(_LONGEST_REST, _FIRST_REST * 2.0**self.failures)
        self.failures += 1
        self.rests_until = anyio.current_time() + seconds

    @property
    def is_well(self) -> bool:
        """Whether it may be asked: it did not fail, or it has rested and nobody tries it yet."""
        if not self.failures:
            return True
        return not self.is_tried and anyio.current_time() >= self.rests_until


@dataclass(slots=True)
class _Listener:
    emit: Emit
    spoke: bool = field(default=False, init=False)

    def __call__(self, kind: Literal["thinking", "text", "notice"], text: str, /) -> None:
        self.spoke = self.spoke or kind != "notice"
        self.emit(kind, text)


class FailoverModel:
    """Asks the server that a conversation belongs to, or the next one if that is down.

    Conversations are spread by their ids (rendezvous hashing), so each finds its prefix cached
    where it was, and only those of a lost server move.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = tuple(members)
        models = [member.model for member in members if member.model is not None]
        names = {model.profile.name for model in models}
        if len(names) != 1:
            raise ConfigurationError(
                f"The servers have different models: {', '.join(sorted(names)) or 'none'}.",
                hint="Servers that stand for each other must serve one model under one name.",
            )
        contexts = [model.profile.context_tokens for model in models]
        least = min((size for size in contexts if size is not None), default=None)
        self._profile = replace(models[0].profile, context_tokens=least)

    @property
    def profile(self) -> ModelProfile:
        """What the loop may know about this model: the smallest context counts."""
        return self._profile

    async def ask(self, request: ModelRequest, emit: Emit) -> ModelTurn:
        """Ask once, of the first server that answers; see `agentkit.protocols.Model`.

        A server that fails after it has spoken is not replaced here: what was said has to be taken
        back first, which whoever repeats the question does.
        """
        tried: list[Member] = []
        while True:
            member = self._choose(request.conversation_id, tried)
            listener = _Listener(emit)
            try:
                return await self._ask(member, request, listener)
            except ModelError as error:
                if not error.retryable:
                    raise
                tried.append(member)
                if listener.spoke or len(tried) == len(self._members):
                    raise
                emit("notice", f"{member.url} does not answer ({error}) Another server is asked.")

    async def _ask(self, member: Member, request: ModelRequest, emit: Emit) -> ModelTurn:
        member.is_tried = True
        try:
            if member.model is None:
                member.model = self._checked(member.url, await member.connect())
            turn = await member.model.ask(request, emit)
        except ModelError as error:
            if error.retryable:
                member.rest()
            raise
        finally:
            member.is_tried = False
        member.failures = 0
        return turn

    def _choose(self, conversation: str, tried: Sequence[Member]) -> Member:
        left = [member for member in self._members if member not in tried]
        well = [member for member in left if member.is_well]
        if not well:
            return min(left, key=lambda member: member.rests_until)
        if not conversation:
            return random.choice(well)
        return max(
            well, key=lambda member: sha256(f"{conversation} {member.url}".encode()).digest()
        )

    def _checked(self, url: str, model: Model) -> Model:
        if model.profile.name != self._profile.name:
            raise ConfigurationError(
                f"{url} serves {model.profile.name}, and the others {self._profile.name}.",
                hint="Servers that stand for each other must serve one model under one name.",
            )
        return model
