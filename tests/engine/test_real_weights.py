"""The default profile with its real weights: slow, so only where they are at hand."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from anyio import to_thread
from platformdirs import user_cache_path

from agentkit.engine import Profile, find_profile, open_embedded

if TYPE_CHECKING:
    from tests.engine.conftest import Reported


@pytest.fixture
def profile() -> Profile:
    given = os.environ.get("AGENTKIT_TEST_WEIGHTS")
    cached = user_cache_path("agentkit") / "weights" / find_profile(None).weights.file
    path = Path(given) if given else cached
    if not path.is_file():
        pytest.skip(f"no weights: set AGENTKIT_TEST_WEIGHTS, or fetch {cached.name} first")
    profile = find_profile(None)
    weights = profile.weights.model_copy(update={"path": path, "sha256": None})
    return profile.model_copy(update={"weights": weights})


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
