"""A model behind an engine of ours: a question waits while the engine starts again."""

from agentkit.engine._gate import Gate
from agentkit.errors import ModelError
from agentkit.messages import ModelTurn
from agentkit.protocols import Emit, Model, ModelProfile, ModelRequest

_NEWS_SECONDS = 2.0  # what a guard takes to notice a death: the client notices first


class GatedModel:
    """Asks `model` while `gate` is open."""

    def __init__(self, model: Model, gate: Gate) -> None:
        self._model = model
        self._gate = gate

    @property
    def profile(self) -> ModelProfile:
        """What the loop may know about the model."""
        return self._model.profile

    async def ask(self, request: ModelRequest, emit: Emit) -> ModelTurn:
        """Ask once, when the engine answers; see `agentkit.protocols.Model`.

        Raises:
            ModelError: the request failed; retryable where the engine died and starts again.
            EngineError: the engine is lost.
        """
        if not self._gate.is_open:
            emit("notice", "The model server is starting again; the question waits for it.")
        await self._gate.wait()
        try:
            return await self._model.ask(request, emit)
        except ModelError as error:
            # No answer at all: has it died? Whoever repeats the question now would find nobody,
            # and have used up the attempts before it is back.
            if error.retryable and error.status is None and self._gate.is_open:
                await self._gate.wait_for_news(_NEWS_SECONDS)
            raise
