"""The default profile with its real weights: slow, so only where they are at hand."""

from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from anyio import to_thread

from agentkit.engine import Profile, find_profile, open_embedded

if TYPE_CHECKING:
    from tests.conftest import Reported


@pytest.fixture
def profile(weights: Path) -> Profile:
    default = find_profile(None)
    given = default.weights.model_copy(update={"path": weights, "sha256": None})
    return default.model_copy(update={"weights": given})


@pytest.mark.embedded
@pytest.mark.timeout(300)
async def test_the_default_model_answers_under_a_schema_and_reuses_its_prompt(
    profile: Profile, tmp_path: Path, reported: "Reported"
) -> None:
    schema = {
        "type": "object",
        "properties": {"capital": {"type": "string"}},
        "required": ["capital"],
    }
    async with (
        open_embedded(
            profile, cache_dir=tmp_path, state_dir=tmp_path / "state", progress=reported
        ) as endpoint,
        httpx2.AsyncClient(timeout=240) as client,
    ):
        cached: list[int] = []
        for _ in range(2):
            answer = await client.post(
                f"{endpoint.base_url}/chat/completions",
                headers={"Authorization": f"Bearer {endpoint.api_key}"},
                json={
                    "model": endpoint.model,
                    "messages": [{"role": "user", "content": "What is the capital of France?"}],
                    "max_tokens": 32,
                    "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
                },
            )
            body = answer.json()
            assert "Paris" in body["choices"][0]["message"]["content"]
            cached.append(body["usage"]["prompt_tokens_details"]["cached_tokens"])
        assert cached[0] == 0
        assert cached[1] > 10
    assert reported.phases == ["load", "ready"]
    assert (
        await to_thread.run_sync(lambda: list((tmp_path / "state" / "engines").glob("*.sock")))
        == []
    )
