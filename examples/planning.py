"""Planning: the plan is an event, a failed step revises it, and a last step checks the result."""

import anyio

from agentkit import PlanMade, Runtime


async def main() -> None:
    async with Runtime.open(with_mcp=False) as runtime:
        agent = runtime.agent(plan=True)
        task = "What time is it in Tokyo, and what is 6 * 7?"
        async with agent.start(task) as run:
            async for event in run:
                if isinstance(event, PlanMade):
                    for number, step in enumerate(event.steps, start=1):
                        print(f"{number}. {step.need} ({step.tool or 'no tool'})")
        print((await run.result()).unwrap())


if __name__ == "__main__":
    anyio.run(main)
