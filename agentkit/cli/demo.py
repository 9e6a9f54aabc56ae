"""`agentkit demo`: real tools, a scripted model, no download."""

from typing import TYPE_CHECKING

from agentkit.cli import _options as options
from agentkit.cli._terminal import ending

if TYPE_CHECKING:
    from agentkit.protocols import ModelRequest
    from agentkit.testing import ScriptedModel

_TASK = "When it is noon in Berlin, what time is it in Tokyo? And what is 2 to the power of 100?"
_BEFORE = "A script plays the model here: no language model is used. The tools are real."
_AFTER = """\
With a model: agentkit run "…"
AGENTKIT_BASE_URL names a server; without one a small model runs here, once it is fetched."""


def demo(
    output: options.Output = "text",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show a run in three seconds: a scripted model, real tools, no download."""
    with ending(verbose=verbose):
        from agentkit.cli._perform import Order, perform
        from agentkit.cli._terminal import note

        order = Order(
            task=_TASK,
            choice=options.Choice(
                tools=("clock", "time_elsewhere", "code_interpreter"), with_mcp=False, plan=False
            ),
            output=output,
            quiet=quiet,
            verbose=verbose,
            model=scripted_model(pause=0.7),
        )
        if not quiet:
            note(f"{_BEFORE}\nTask: {_TASK}\n")
        code = perform(order)
        if not quiet:
            note(_AFTER)
        raise SystemExit(code.value)


def scripted_model(*, pause: float) -> "ScriptedModel":
    """Return a model that plays the demo, waiting `pause` seconds before each of its turns."""
    from agentkit.messages import ModelTurn
    from agentkit.testing import ScriptedModel, call, step

    calls = (
        call("time_elsewhere", time="12:00", from_zone="Europe/Berlin", to_zone="Asia/Tokyo"),
        call("code_interpreter", code="power = 2**100\npower"),
    )
    first = ModelTurn(
        thinking="I need a time elsewhere and a large number. Both can be had at once.",
        tool_calls=calls,
        finish="tool_calls",
    )
    second = [call("code_interpreter", code="len(str(power))")]
    return ScriptedModel(
        [step(first, delay=pause), step(second, delay=pause), step(_answer, delay=pause)],
        name="a script, no language model",
    )


def _answer(request: "ModelRequest") -> str:
    from agentkit.messages import ToolResult

    results = [entry.text for entry in request.messages if isinstance(entry, ToolResult)]
    converted, power, digits = (text.strip() for text in results[-3:])
    return f"{converted}\n2 to the power of 100 is {power}, a number of {digits} digits."
