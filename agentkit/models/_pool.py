"""One HTTP client for all models of a runtime."""

import re
from base64 import b64encode
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit, urlunsplit

import anyio
import anyio.to_thread

from agentkit.errors import ConfigurationError, ModelError, ModelTimeoutError
from agentkit.models._client import Sampling, ServerModel
from agentkit.models._detect import Server, detect
from agentkit.models._dialects import Dialect, dialect_of
from agentkit.models._failover import FailoverModel, Member
from agentkit.models._guided import GuidedModel
from agentkit.models._identity import Habit, fences_calls, habit_of, has_few_bits, is_small
from agentkit.models._probes import Probe, probe_server
from agentkit.policies import ToolCalls, Traffic
from agentkit.protocols import Model, ModelProfile
from agentkit.resilience import TrafficControl, deadline, together

if TYPE_CHECKING:
    from httpx2 import AsyncClient

    from agentkit.models._endpoint import Endpoint

_CLOSE_SECONDS = 5.0
_USER = re.compile(r"(?<=//).*@")


class ModelPool:
    """Connects models over one HTTP client."""

    def __init__(self, http: "AsyncClient") -> None:
        self._http = http
        self._traffic: dict[str, TrafficControl] = {}

    async def connect(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        backend: str | None = None,
        tool_calls: ToolCalls = "auto",
        small: bool | None = None,
        quantised: bool | None = None,
        sampling: Mapping[str, Any] | None = None,
        strict_tools: bool = True,
        connect_seconds: float = 5.0,
        traffic: Traffic | None = None,
    ) -> Model:
        """Ask the server what it is, and return a model of it.

        Args:
            base_url: of an OpenAI-compatible API, ending in `/v1`.
            api_key: sent to this server only.
            model: as the server lists it; the first where `None`.
            backend: "sglang", "vllm", "llamacpp" or "openai"; found by asking where `None`.
            tool_calls: how calls are asked for; "auto" chooses by server and model.
            small: the model cannot decide by itself when it is done; it is asked narrow questions
                only, so it is sampled with little variety. By its name where `None`.
            quantised: the weights are quantised to few bits: adds a presence penalty, for models
                that think. Models that do not are asked for short answers, where it would only
                garble repeated digits. By the model's name where `None`.
            sampling: fields of the request that win over Qwen's presets; `None` omits one.
            strict_tools: hold arguments to their schema by grammar where the server can (SGLang).
            connect_seconds: patience with the server's answers to these questions.
            traffic: what the server may be bothered with; models on one server share it.

        Raises:
            ConfigurationError: `base_url`, `api_key` or `backend` make no sense.
            ModelUnavailableError: no model server answers there.
            ModelTimeoutError: it does not answer in time.
            ModelRequestError: it refuses, or does not list `model`.
        """
        endpoint = self._endpoint(base_url, api_key)
        base_url = endpoint.base_url  # from here on without a password
        if backend is not None:
            dialect_of(backend)
        late = ModelTimeoutError(
            f"The server at {base_url} did not say within {connect_seconds:g} s what it is.",
            hint="Is it still loading its weights, or overloaded?",
        )
        with deadline(connect_seconds, late):
            server = await detect(endpoint, model=model, backend=backend)
        if base_url not in self._traffic:
            policy = traffic or Traffic()
            self._traffic[base_url] = TrafficControl(base_url, policy, server.concurrency)
        endpoint.traffic = self._traffic[base_url]
        dialect = dialect_of(server.backend)
        if not strict_tools:
            dialect = replace(dialect, strict_tools=False)
        small = is_small(server.identity) if small is None else small
        quantised = has_few_bits(server.identity) if quantised is None else quantised
        native = ServerModel(
            endpoint,
            ModelProfile(
                name=server.model,
                backend=server.backend,
                context_tokens=server.context_tokens,
                small=small,
                schema_after_thought=dialect.schema_after_thought,
            ),
            dialect,
            Sampling(
                habit=(habit := _habit(server, dialect)),
                qwen=_is_qwen(server, dialect),
                quantised=quantised and habit != "never",
                small=small,
                overrides=sampling or {},
            ),
        )
        guided = tool_calls == "guided" or (
            tool_calls == "auto" and _parser_fails(server, small=small)
        )
        return GuidedModel(native, always=guided)

    async def connect_all(self, base_urls: Sequence[str], **options: Any) -> Model:
        """Return a model that several servers have, asked in turn when one is down.

        Args:
            base_urls: of the servers, in any order.
            options: of `connect`.

        Raises:
            ConfigurationError: a URL makes no sense, or the servers have different models.
            ModelError: none of them answers; the error of the first.
        """
        if len(base_urls) == 1:
            return await self.connect(base_urls[0], **options)
        members = [
            Member(_USER.sub("", url), partial(self.connect, url, **options)) for url in base_urls
        ]
        errors: dict[str, ModelError] = {}

        async def try_one(member: Member) -> None:
            try:
                member.model = await member.connect()
            except ModelError as error:
                if not error.retryable:
                    raise
                member.rest()
                errors[member.url] = error

        async with together() as group:
            for member in members:
                group.start_soon(try_one, member)
        if len(errors) == len(members):
            raise errors[members[0].url]
        return FailoverModel(members)

    async def probe(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        model: str | None = None,
        seconds: float = 60.0,
    ) -> AsyncGenerator[Probe]:
        """Ask small questions that show whether a server does what agents need of it.

        Args:
            base_url: of an OpenAI-compatible API, ending in `/v1`.
            api_key: sent to this server only.
            model: as the server lists it; the first where `None`.
            seconds: for each probe.

        Raises:
            ModelError: no model server answers there, or it refuses.
        """
        endpoint = self._endpoint(base_url, api_key)
        late = ModelTimeoutError(f"The server at {endpoint.base_url} does not say what it is.")
        with deadline(seconds, late):
            server = await detect(endpoint, model=model, backend=None)
        async with aclosing(
            probe_server(endpoint, server, dialect_of(server.backend), seconds)
        ) as probes:
            async for found in probes:
                yield found

    def _endpoint(self, base_url: str, api_key: str | None) -> "Endpoint":
        from agentkit.models._endpoint import Endpoint  # imports openai, which is slow

        parts = check_base_url(base_url)
        user, has_user, host = parts.netloc.rpartition("@")
        if has_user and api_key is not None:
            raise ConfigurationError(
                "There is a user in the base URL, and an API key: a request carries one of them.",
                hint="Leave out the user before the @, or the key.",
            )
        if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
            raise ConfigurationError("The API key has characters that no HTTP header may carry.")
        if has_user:
            plain = urlunsplit(parts._replace(netloc=host))
            return Endpoint(self._http, plain, authorization=_basic(user))
        return Endpoint(self._http, base_url, api_key)


@asynccontextmanager
async def open_pool() -> AsyncGenerator[ModelPool]:
    """Open the HTTP client that models share; closing it ends their connections."""
    http = await anyio.to_thread.run_sync(_new_http_client, _library())
    try:
        yield ModelPool(http)
    finally:
        # Idle connections must not keep a cancelled program; none needs long to close.
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await http.aclose()


def check_base_url(base_url: str) -> SplitResult:
    """Return the parts of a base URL.

    Raises:
        ConfigurationError: it is not the address of an HTTP server.
    """
    with suppress(ValueError):  # brackets without end, or a port that is no number
        parts = urlsplit(base_url)
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    raise ConfigurationError(
        f"The base URL {_USER.sub('***@', base_url)!r} is not an HTTP address.",
        hint="It looks like http://127.0.0.1:30000/v1; in a password, / is %2F and @ is %40.",
    )


def _basic(user: str) -> str:
    """Return the header of a user as a URL has it.

    >>> _basic("me:p%40ss")
    'Basic bWU6cEBzcw=='
    """
    login = unquote_to_bytes(user if ":" in user else f"{user}:")
    return f"Basic {b64encode(login).decode()}"


def _new_http_client(library: str) -> "AsyncClient":
    from agentkit.models._endpoint import new_http_client  # imports openai, which is slow

    return new_http_client(library)


def _library() -> str:
    backend = anyio.get_cancelled_exc_class().__module__
    return "trio" if backend.startswith("trio") else "asyncio"


def _parser_fails(server: Server, *, small: bool) -> bool:
    """Tell whether the server's parser cannot be trusted with the calls of this model.

    llama.cpp knows Qwen3's tags only.
    """
    if fences_calls(server.identity):
        return True
    knows = "qwen3" in server.identity.lower() or "enable_thinking" in (server.template or "")
    return server.backend == "llamacpp" and (small or not knows)


def _habit(server: Server, dialect: Dialect) -> Habit:
    if server.template is not None and "enable_thinking" not in server.template:
        return "always" if "<think>" in server.template else "never"
    return habit_of(server.identity) if _is_qwen(server, dialect) else "never"


def _is_qwen(server: Server, dialect: Dialect) -> bool:
    return dialect.extra_sampling or "qwen" in server.identity.lower()
