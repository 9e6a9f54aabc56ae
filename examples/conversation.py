"""A conversation: each turn continues the one before, and thinking does not pile up."""

import anyio

from agentkit import Runtime


async def main() -> None:
    async with Runtime.open(with_mcp=False) as runtime:
        talk = runtime.agent(instructions="Answer in one sentence.", builtin=False).conversation()
        for said in ("My name is Ada.", "What is my name?"):
            result = await talk.run(said)
            print(f"> {said}\n{result.text}")
        print(f"[{len(talk.messages)} messages kept]")


if __name__ == "__main__":
    anyio.run(main)
