"""Asks a server what it is, which models it has and how much they can hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentkit.errors import ModelRequestError, ModelUnavailableError
from agentkit.messages import JsonObject
from agentkit.models._dialects import DIALECTS
from agentkit.models._json import is_object, members

if TYPE_CHECKING:
    from agentkit.models._endpoint import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a server says about itself.

    Attributes:
        backend: one of the dialects.
        model: the name to use in requests.
        context_tokens: size of the context, if known.
        identity: every name the server has for the model: served name, path, architecture.
        template: the chat template, where the server shows it.
        concurrency: requests that it answers at the same time, where it says so.
    """

    backend: str
    model: str
    context_tokens: int | None = None
    identity: str = ""
    template: str | None = None
    concurrency: int | None = None


async def detect(endpoint: "Endpoint", *, model: str | None, backend: str | None) -> Server:
    """Ask the server at `endpoint`.

    Raises:
        ModelUnavailableError: nothing answers, or something that is no model server.
        ModelRequestError: the server refuses, or does not list `model`.
    """
    models = await _list_models(endpoint)
    entry = _choose(models, model, endpoint.base_url)
    root = endpoint.base_url.rstrip("/").removesuffix("/v1")
    kind = backend or _owner(entry)
    info: JsonObject = {}
    if kind in {None, "sglang"}:
        info = await _probe(endpoint, f"{root}/model_info")
        kind = "sglang" if kind or "model_path" in info else None
    if kind in {None, "sglang"} and not info:
        info = _of_workers(await _probe(endpoint, f"{root}/workers"))
        kind = "sglang" if kind or info else None
    if kind in {None, "llamacpp"}:
        info = info or await _probe(endpoint, f"{root}/props")
        kind = "llamacpp" if kind or "default_generation_settings" in info else None
    if kind is None:
        kind = "vllm" if "version" in await _probe(endpoint, f"{root}/version") else "openai"
    return Server(
        backend=kind,
        model=str(entry["id"]),
        context_tokens=_context(entry, info),
        identity=_identity(entry, info),
        template=info.get("chat_template"),
        concurrency=await _concurrency(endpoint, root, kind, info),
    )


async def _list_models(endpoint: "Endpoint") -> list[JsonObject]:
    from agentkit.models._endpoint import read_json  # imports openai, which is slow

    url = f"{endpoint.base_url.rstrip('/')}/models"
    answer: Any = await read_json(await endpoint.get(url), endpoint.base_url)
    listed: Any = answer.get("data") if is_object(answer) else None
    models = [entry for entry in listed or () if is_object(entry) and "id" in entry]
    if not models:
        raise ModelUnavailableError(
            f"The server at {endpoint.base_url} lists no models.",
            hint="Check the base URL: it must be an OpenAI-compatible API, usually ending in /v1.",
        )
    return models


def _choose(models: list[JsonObject], wanted: str | None, base_url: str) -> JsonObject:
    names = {str(entry["id"]): entry for entry in models}
    if wanted is None:
        return models[0]
    if wanted in names:
        return names[wanted]
    base, _, adapter = wanted.partition(":")
    if base in names and adapter in names:  # SGLang's own way to name a LoRA adapter
        return {**names[base], "id": wanted}
    hint = "A colon in a name asks SGLang for a LoRA adapter." if ":" in wanted else ""
    raise ModelRequestError(
        f"The server at {base_url} has no model {wanted!r}. It lists: {', '.join(names)}.",
        hint=hint or "Set the model to one of these, or leave it out to take the first.",
        status=404,
    )


async def _probe(endpoint: "Endpoint", url: str) -> JsonObject:
    """Return the object at `url`, or an empty one: not every server has every page."""
    from agentkit.models._endpoint import read_json  # imports openai, which is slow

    try:
        answer: Any = await read_json(await endpoint.get(url), endpoint.base_url)
    except (ModelUnavailableError, ModelRequestError):
        return {}
    return answer if is_object(answer) else {}


def _of_workers(answer: JsonObject) -> JsonObject:
    """Return what the servers behind a model gateway (smg) say of their model.

    The gateway speaks the wire of SGLang, and lists models without saying what they are.
    """
    workers: Any = answer.get("workers")
    models = [
        model
        for worker in workers or ()
        if is_object(worker)
        for model in worker.get("models") or ()
        if is_object(model)
    ]
    if not models:
        return {}
    sizes = [model["context_length"] for model in models if model.get("context_length")]
    first = models[0]
    return {
        "model_path": first.get("tokenizer_path") or first.get("id"),
        "architectures": first.get("architectures"),
        "context_length": min(sizes, default=None),
    }


async def _concurrency(endpoint: "Endpoint", root: str, kind: str, info: JsonObject) -> int | None:
    if kind == "llamacpp":
        slots: Any = info.get("total_slots")
        return slots if isinstance(slots, int) and slots > 0 else None
    if kind != "sglang":
        return None
    answer = await _probe(endpoint, f"{root}/v1/loads?include=core")
    ranks = [rank for rank in members(answer.get("loads")) if is_object(rank)]
    most = [rank.get("max_running_requests") for rank in ranks]
    return sum(one for one in most if isinstance(one, int)) or None  # a gateway does not say


def _owner(entry: JsonObject) -> str | None:
    owner = str(entry.get("owned_by") or "").lower().replace(".", "").replace("-", "")
    return owner if owner in DIALECTS and owner != "openai" else None


def _context(entry: JsonObject, info: Mapping[str, Any]) -> int | None:
    settings: Any = info.get("default_generation_settings")
    for value in (
        entry.get("max_model_len"),
        info.get("context_length"),
        settings.get("n_ctx") if is_object(settings) else None,
        entry.get("context_length"),
    ):
        if isinstance(value, int) and value > 0:
            return value
    return None


def _identity(entry: JsonObject, info: Mapping[str, Any]) -> str:
    architectures: Any = info.get("architectures") or ()
    named = [entry["id"], entry.get("root"), info.get("model_path"), *architectures]
    return " ".join(str(name) for name in named if name)
