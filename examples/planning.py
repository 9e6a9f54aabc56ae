"""Planning: the plan is an event, a failed step revises it, and a last step checks the result."""

import anyio

from agentkit import NoticeGiven, PlanMade, Runtime


async def main() -> None:
    async with Runtime.open(with_mcp=False) as runtime:
        agent = runtime.agent(plan=True)
        task = "What time is it in Tokyo, and what is 6 * 7?"
        async with agent.start(task) as run:
            async for event in run:
                match event:
                    case PlanMade(steps=steps, revision=revision):
                        print(f"The plan, revision {revision}:" if revision else "The plan:")
                        for number, step in enumerate(steps, start=1):
                            print(f"{number}. {step.need} ({step.tool or 'no tool'})")
                    case NoticeGiven(text=text):
                        print(text)
                    case _:
                        pass
        print((await run.result()).unwrap())


if __name__ == "__main__":
    anyio.run(main)
