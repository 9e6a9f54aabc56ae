"""`agentkit run`: one task, one answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agentkit.cli import _options as options
from agentkit.cli._stdin import is_typed, read_stdin
from agentkit.cli._terminal import ending
from agentkit.errors import InvalidTaskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agentkit.messages import Image

_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
    b"GIF8": "image/gif",
}


def run(
    task: Annotated[
        str | None, typer.Argument(help="What to do; - reads it from stdin.", metavar="TASK|-")
    ] = None,
    instructions: options.Instructions = "",
    image: options.Images = None,
    base_url: options.BaseUrl = None,
    model: options.ModelName = None,
    weights: options.Weights = None,
    engine: options.Engine = None,
    thinking: options.Thinking = None,
    plan: options.Plan = None,
    tool_calls: options.ToolCalls = None,
    mcp: options.McpFile = None,
    no_mcp: options.NoMcp = False,
    max_steps: options.MaxSteps = None,
    timeout: options.Timeout = None,
    yes: options.Yes = False,
    output: options.Output = "text",
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Do one task and print the answer.

    The answer goes to stdout, everything else to stderr. Ctrl-C once stops after the step,
    twice stops now.

    Exit codes: 0 done, 2 usage, 3 settings, 4 model, 5 tool or MCP server, 6 limit, 7 no
    usable answer, 8 a call wants approval (agentkit resume goes on).
    """
    with ending(verbose=verbose, tell=_teller(output)):
        asked = read_task(task)
        images = tuple(map(read_image, image or ()))
    with ending(verbose=verbose):
        from agentkit.cli._perform import Order, perform

        choice = options.Choice(
            base_url=base_url,
            model=model,
            weights=weights,
            engine=engine,
            tool_calls=tool_calls,
            thinking=thinking,
            plan=plan,
            mcp=mcp,
            with_mcp=not no_mcp,
            max_steps=max_steps,
            timeout=timeout,
        )
        order = Order(
            task=asked,
            choice=choice,
            instructions=instructions,
            output=output,
            quiet=quiet,
            verbose=verbose,
            yes=yes,
            images=images,
        )
        raise SystemExit(perform(order).value)


def _teller(output: str) -> "Callable[[BaseException], None]":
    """Return who tells a program why no run began."""

    def tell(error: BaseException) -> None:
        from agentkit.cli._outcome import as_error, error_document, print_json

        if output == "json":
            print_json(error_document(error))
        elif output == "jsonl":
            print_json({"event": "error", **as_error(error)})

    return tell


def read_image(path: Path) -> "Image":
    """Return the picture in a file; what kind it is, its first bytes tell.

    Raises:
        InvalidTaskError: it cannot be read, or is none.
    """
    from agentkit.messages import Image

    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidTaskError(f"--image {path}: {error.strerror}.") from error
    for begins, kind in _PICTURES.items():
        if data.startswith(begins) and (kind != "image/webp" or data[8:12] == b"WEBP"):
            return Image(data, kind)
    raise InvalidTaskError(f"--image {path}: it is no PNG, JPEG, WebP or GIF.")


def read_task(given: str | None) -> str:
    """Return the task: from the command line, or from stdin.

    Raises:
        InvalidTaskError: it is empty, or not UTF-8.
    """
    if given == "-" or (given is None and not is_typed()):
        given = read_stdin("The task")
    if not (given or "").strip():
        raise InvalidTaskError(
            "There is no task.", hint='agentkit run "What time is it in Tokyo?", or - for stdin.'
        )
    return str(given).strip()
