"""A model server beside the runtime: started, watched, and stopped with its last user."""

import anyio

from agentkit import Runtime
from agentkit.engine import Progress


async def main() -> None:
    told: set[str] = set()

    def show(progress: Progress) -> None:
        stage = f"{progress.phase} {progress.stage}".strip()
        if stage not in told:
            told.add(stage)
            print(stage)

    # AGENTKIT_ENGINE=qwen3-14b-awq names one; "auto" takes what fits the GPU, if SGLang is installed.
    async with Runtime.open(with_mcp=False, progress=show) as runtime:
        print((await runtime.agent(builtin=False).run("Hello!")).unwrap())


if __name__ == "__main__":
    anyio.run(main)
