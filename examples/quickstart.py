"""Quickstart: one agent with the built-in tools, one task, one answer."""

import anyio

from agentkit import Runtime


async def main() -> None:
    async with Runtime.open() as runtime:
        agent = runtime.agent(instructions="Answer briefly.")
        result = await agent.run("What time is it in Tokyo?")
        print(result.text)
        print(f"[{result.stop}: {result.steps} steps, {result.usage.total_tokens} tokens]")


if __name__ == "__main__":
    anyio.run(main)
