"""Own tools: typed functions become tools, sync or async, and events show each step."""

import anyio

from agentkit import CallFinished, CallStarted, Runtime, TextDelta, ToolError, tool

STOCK = {"apple": 3, "pear": 0}


@tool
def stock(fruit: str) -> int:
    """Count the fruit in the shop.

    Args:
        fruit: singular, in English.
    """
    if fruit not in STOCK:
        raise ToolError(f"No {fruit!r} here. The shop sells: {', '.join(STOCK)}.")
    return STOCK[fruit]


async def main() -> None:
    async with Runtime.open(with_mcp=False) as runtime:
        agent = runtime.agent(tools=[stock], builtin=False)
        async with agent.start("How many apples and pears are in the shop?") as run:
            async for event in run:
                match event:
                    case CallStarted(name=name, arguments=arguments):
                        print(f"-> {name} {arguments}")
                    case CallFinished(text=text):
                        print(f"<- {text}")
                    case TextDelta(text=text):
                        print(text, end="", flush=True)
                    case _:
                        pass
        print()


if __name__ == "__main__":
    anyio.run(main)
