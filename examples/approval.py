"""A call that a person has to approve: the run pauses, waits in a file, and goes on later.

python examples/approval.py "Refund order 17."     pauses, and says what it waits for
python examples/approval.py --yes                  goes on, in another process
"""

import sys
from pathlib import Path

import anyio

from agentkit import Runtime, tool
from agentkit.loop import PausedRun, Result

WAITING = Path("waiting.json")


@tool(approval="always")
def refund(order: int) -> str:
    """Give the money for an order back.

    Args:
        order: its number.
    """
    return f"Order {order} is refunded."


async def main(word: str) -> None:
    async with Runtime.open(with_mcp=False) as runtime:
        agent = runtime.agent(tools=[refund], builtin=False)
        if word not in {"--yes", "--no"}:
            tell(await agent.run(word, plan=False))
            return
        paused = PausedRun.from_json(await anyio.Path(WAITING).read_text(encoding="utf-8"))
        decisions = {request.call_id: word == "--yes" for request in paused.waiting}
        tell(await agent.resume(paused, decisions, plan=False))


def tell(result: Result) -> None:
    if result.paused is None:
        print(result.text)
        return
    WAITING.write_text(result.paused.to_json(), encoding="utf-8")
    for request in result.paused.waiting:
        print(f"waiting for a yes or a no: {request.name} {request.arguments}")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1] if len(sys.argv) > 1 else "Refund order 17.")
