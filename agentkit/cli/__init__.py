"""The command line: one file a command; what a command needs loads when it runs."""

import typer

from agentkit.cli import (
    chat,
    demo,
    doctor,
    mcp,
    models,
    resume,
    run,
    serve,
    server,
    tools,
    trace,
    version,
)

app = typer.Typer(
    name="agentkit",
    help="Agents on the Qwen3 you host yourself: plan, act, observe.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich doubles the time that --help takes
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(run.run)
app.command()(resume.resume)
app.command()(chat.chat)
app.command()(serve.serve)
app.command()(demo.demo)
app.add_typer(tools.app, name="tools")
app.add_typer(mcp.app, name="mcp")
app.add_typer(models.app, name="models")
app.add_typer(server.app, name="server")
app.add_typer(trace.app, name="trace")
app.command()(doctor.doctor)
app.command()(version.version)
