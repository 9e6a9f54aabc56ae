"""An answer of a type: what a text says, as a checked value that a program can use."""

import anyio
from pydantic import BaseModel, Field

from agentkit import Runtime

LETTER = """\
Dear Sirs, thank you for your order of 2026-03-14. For 12 garden chairs at 40 EUR each we ask you
to pay 480 EUR within thirty days. Our invoice has the number A-1077. Yours, Hill & Sons."""


class Invoice(BaseModel):
    """What an invoice says; the model is shown this, too."""

    number: str
    sender: str
    total: float = Field(gt=0, description="in the currency of the invoice")
    currency: str = Field(min_length=3, max_length=3, description="such as USD")


async def main() -> None:
    async with Runtime.open(with_mcp=False) as runtime:
        agent = runtime.agent(builtin=False)
        task = f"Read the invoice in this letter:\n\n{LETTER}"
        result = await agent.run(task, output_type=Invoice)
    invoice = result.output
    if invoice is None:
        raise SystemExit(f"{result.stop}: {result.reason}")
    print(f"{invoice.number}: {invoice.total:.2f} {invoice.currency} to {invoice.sender}")


if __name__ == "__main__":
    anyio.run(main)
