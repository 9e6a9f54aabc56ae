"""The endpoints beside the chat: probes, information, tokens, aborts."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agentkit.testing._delivery import json_response
from agentkit.testing._prompt import prompt_of, size_of
from agentkit.testing._tokens import pieces

if TYPE_CHECKING:
    from agentkit.testing.fake_sglang import FakeSGLang

VERSION = "0.5.23"
"""The version of SGLang whose wire is spoken."""

_CREATED = 1_795_381_712


def add_routes(app: web.Application, server: "FakeSGLang") -> None:
    """Add the endpoints to the application of a server."""
    routes = _Routes(server)
    app.add_routes(
        [
            web.get("/", routes.root),
            web.get("/health", routes.probe),
            web.get("/health_generate", routes.probe),
            web.get("/ready", routes.probe),
            web.get("/v1/models", routes.models),
            web.get("/v1/models/{name:.+}", routes.model),
            web.get("/model_info", routes.model_info),
            web.get("/get_model_info", routes.model_info),
            web.get("/server_info", routes.server_info),
            web.get("/v1/loads", routes.loads),
            web.get("/metrics", routes.metrics),
            web.post("/v1/tokenize", routes.tokenize),
            web.post("/abort_request", routes.abort),
            web.route("*", "/flush_cache", routes.flush),
            web.route("*", "/{path:.*}", routes.unknown),
        ]
    )


class _Routes:
    def __init__(self, server: "FakeSGLang") -> None:
        self._server = server

    async def root(self, request: web.Request) -> web.Response:
        del request
        return _json("SGLang is running")

    async def probe(self, request: web.Request) -> web.Response:
        """Answer at once; the real /health makes a token first, and takes a second."""
        del request
        return web.Response(status=200 if self._server.state == "ready" else 503)

    async def models(self, request: web.Request) -> web.Response:
        del request
        return _json({"object": "list", "data": [self._card()]})

    async def model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name == self._server.model:
            return _json(self._card())
        error = {
            "message": f"The model '{name}' does not exist",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
        return _json({"error": error}, 404)

    async def model_info(self, request: web.Request) -> web.Response:
        del request
        name = self._server.model
        return _json(
            {
                "model_path": f"models/{name}",
                "served_model_name": name,
                "tokenizer_path": f"models/{name}",
                "is_generation": True,
                "preferred_sampling_params": None,
                "weight_version": "default",
                "load_format": "auto",
                "reasoning_parser": "qwen3",
                "tool_call_parser": "qwen",
                "disaggregation_mode": "null",
                "has_image_understanding": False,
                "has_audio_understanding": False,
                "model_type": "qwen3",
                "architectures": ["Qwen3ForCausalLM"],
            }
        )

    async def server_info(self, request: web.Request) -> web.Response:
        del request
        server = self._server
        return _json(
            {
                "model_path": f"models/{server.model}",
                "served_model_name": server.model,
                "context_length": server.context_tokens,
                "reasoning_parser": "qwen3",
                "tool_call_parser": "qwen",
                "max_total_num_tokens": server.context_tokens * 4,
                "status": "ready" if server.state == "ready" else "starting",
                "internal_states": [],
                "frontend": "python",
                "version": VERSION,
            }
        )

    async def loads(self, request: web.Request) -> web.Response:
        del request
        server, now = self._server, datetime.now(UTC)
        load = {
            "timestamp": now.timestamp(),
            "dp_rank": 0,
            "num_running_reqs": len(server.running),
            "num_waiting_reqs": 0,
            "num_used_tokens": 0,
            "num_total_tokens": 0,
            "max_total_num_tokens": server.context_tokens * 4,
            "max_running_requests": 16,
            "token_usage": 0.0,
            "gen_throughput": 0.0,
            "cache_hit_rate": 0.0,
            "utilization": 0.0,
        }
        head: dict[str, Any] = {
            "timestamp": now.isoformat(),
            "version": VERSION,
            "accelerator": None,
            "num_accelerators": 1,
        }
        return _json({**head, "loads": [load]})

    async def metrics(self, request: web.Request) -> web.Response:
        del request
        server = self._server
        labels = f'{{model_name="{server.model}"}}'
        lines = (
            "# TYPE sglang:num_running_reqs gauge",
            f"sglang:num_running_reqs{labels} {len(server.running)}",
            "# TYPE sglang:num_queue_reqs gauge",
            f"sglang:num_queue_reqs{labels} 0",
            "# TYPE sglang:num_aborted_requests_total counter",
            f"sglang:num_aborted_requests_total{labels} {len(server.aborted)}",
        )
        return web.Response(text="\n".join(lines) + "\n")

    async def tokenize(self, request: web.Request) -> web.Response:
        """Count about; `approximate`, which the real server does not send, says so."""
        body = await request.json()
        if body.get("messages"):
            count = size_of(prompt_of(body))
        else:
            count = len(pieces(str(body.get("prompt", ""))))
        tokens = list(range(count))
        return _json(
            {"tokens": tokens, "count": count, "max_model_len": 131_072, "approximate": True}
        )

    async def abort(self, request: web.Request) -> web.Response:
        """End requests by the beginning of their ids, as the scheduler does."""
        body = await request.json()
        if body.get("abort_all"):
            self._server.abort(None)
        elif body.get("rid"):
            self._server.abort(body["rid"])
        return web.Response()

    async def flush(self, request: web.Request) -> web.Response:
        del request
        self._server.cache.clear()
        return web.Response(text="Cache flushed.\n")

    async def unknown(self, request: web.Request) -> web.Response:
        del request
        return _json({"detail": "Not Found"}, 404)

    def _card(self) -> dict[str, Any]:
        return {
            "id": self._server.model,
            "object": "model",
            "created": _CREATED,
            "owned_by": "sglang",
            "root": self._server.model,
            "parent": None,
            "max_model_len": self._server.context_tokens,
        }


def _json(value: object, status: int = 200) -> web.Response:
    return json_response(json.dumps(value, separators=(",", ":")).encode(), status)
