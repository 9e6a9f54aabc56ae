"""Agents that use agents: one asks another that has its own tools, within its own time and tokens."""

import anyio

from agentkit import RunEnded, Runtime, tool
from agentkit.events import NestedEvent

STOCK = {"apple": 3, "pear": 0}


@tool(effect="pure")
def stock(fruit: str) -> int:
    """Count the fruit in the shop.

    Args:
        fruit: singular, in English.
    """
    return STOCK.get(fruit, 0)


async def main() -> None:
    async with Runtime.open(with_mcp=False) as runtime:
        keeper = runtime.agent(
            name="keeper",
            instructions="You keep the shop. Answer in one sentence.",
            description="Knows what is in the shop.",
            tools=[stock],
            builtin=False,
            plan=False,
        )
        desk = runtime.agent(
            name="desk",
            instructions="You answer customers. What is in the shop, the keeper knows.",
            tools=[keeper.as_tool()],
            builtin=False,
            plan=False,
        )
        async with desk.start("Are there apples today?") as run:
            async for event in run:
                if isinstance(event, NestedEvent) and isinstance(event.event, RunEnded):
                    print(f"{event.agent}: {event.event.text}")
            result = await run.result()
        print(f"desk: {result.text}")


if __name__ == "__main__":
    anyio.run(main)
