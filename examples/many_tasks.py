"""Many tasks side by side: one runtime, one agent, bounded concurrency, every outcome kept."""

import anyio

from agentkit import Agent, Result, Runtime

CITIES = ("Tokyo", "Paris", "Lagos", "Lima")


async def ask(
    agent: Agent, city: str, turns: anyio.CapacityLimiter, done: dict[str, Result]
) -> None:
    async with turns:
        done[city] = await agent.run(f"What time is it in {city}?")


async def main() -> None:
    done: dict[str, Result] = {}
    turns = anyio.CapacityLimiter(2)
    async with Runtime.open(with_mcp=False) as runtime:
        agent = runtime.agent()
        async with anyio.create_task_group() as group:
            for city in CITIES:
                group.start_soon(ask, agent, city, turns, done)
    for city in CITIES:
        result = done[city]
        print(f"{city}: {result.stop}: {result.text or result.reason}")


if __name__ == "__main__":
    anyio.run(main)
