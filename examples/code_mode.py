"""Code mode: the model writes code that calls the tools, and reads only what the code prints.

One step instead of a call for each of many things, and long results never reach the prompt. Every
call is checked, limited, asked about and traced like one of the model.
"""

import anyio

from agentkit import CallFinished, Runtime, tool
from agentkit_tools.code_interpreter import CodeInterpreter

PRICES = {"apple": 0.5, "pear": 0.7, "fig": 1.2, "plum": 0.3, "kiwi": 0.9}


@tool(effect="pure")
def price(fruit: str) -> dict[str, object]:
    """Tell the price of a fruit in euros.

    Args:
        fruit: singular, in English.
    """
    return {"fruit": fruit, "euros": PRICES[fruit]}


async def main() -> None:
    interpreter = CodeInterpreter(tools=("price",))  # no other tool can be called from code
    async with Runtime.open(with_mcp=False) as runtime:
        agent = runtime.agent(tools=[interpreter, price], builtin=False)
        task = "What do an apple, a pear, a fig, a plum and a kiwi cost together? Use code."
        async with agent.start(task) as run:
            async for event in run:
                if isinstance(event, CallFinished):
                    print(f"{'  ' if event.within else ''}{event.name}: {event.text}")
        print((await run.result()).text)


if __name__ == "__main__":
    anyio.run(main)
