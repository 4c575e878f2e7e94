"""The door to all commands. A failure is one sentence on stderr and a status that is not 0."""

import sys

import typer

from sirocco.cli.accounts import accounts
from sirocco.cli.chat import chat
from sirocco.cli.convert import convert
from sirocco.cli.doctor import doctor
from sirocco.cli.lab import lab
from sirocco.cli.models import models
from sirocco.cli.plan import plan
from sirocco.cli.pull import pull
from sirocco.cli.quantize import quantize
from sirocco.cli.run import run as run_model
from sirocco.cli.serve import serve
from sirocco.cli.tokens import tokens
from sirocco.cli.train import train
from sirocco.cli.usage import usage
from sirocco.cli.worker import worker
from sirocco.errors import SiroccoError

app = typer.Typer(
    name="sirocco",
    help="Your own Workers AI: serve, script and train language models on your own machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(serve)
app.command("run")(run_model)
app.command()(chat)
app.command()(models)
app.command()(pull)
app.add_typer(accounts)
app.add_typer(tokens)
app.add_typer(worker)
app.command()(usage)
app.command()(plan)
app.command()(train)
app.command()(quantize)
app.command()(convert)
app.add_typer(lab)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from sirocco import __version__  # noqa: PLC0415

        typer.echo(f"sirocco {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Hold the options that stand before a command."""


def run() -> None:
    """Run the command line; the entry point of the package."""
    try:
        app()
    except SiroccoError as error:
        typer.echo(f"sirocco: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("sirocco: interrupted", err=True)
        sys.exit(130)
