"""Entry point of the ``medddpm`` command."""

from __future__ import annotations

import logging
import sys

import typer
from rich.console import Console

from .. import __version__
from ..jobs.outcome import outcome_of

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
errors = Console(stderr=True, highlight=False)
log = logging.getLogger("medddpm")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"medddpm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    debug: bool = typer.Option(False, "--debug", help="Show technical details of errors."),
) -> None:
    """Turn segmentation masks into synthetic brain MRI (Med-DDPM). For research; never for diagnosis."""
    terminal = logging.StreamHandler()
    # A level of the handler, not of the root logger: a job lets its own log have more.
    terminal.setLevel(logging.DEBUG if debug else logging.CRITICAL)
    logging.basicConfig(level=terminal.level, format="%(levelname)s %(name)s %(message)s", handlers=[terminal])


def commands() -> typer.Typer:
    """The command with all its subcommands."""
    from . import (  # noqa: F401 - each registers its own
        check,
        evaluate,
        masks,
        models,
        prepare,
        runs,
        synth,
        tissues,
        train,
        worker,
    )

    return app


def main() -> None:
    """Run the command; an error becomes one plain message and the exit code of the job contract."""
    command = commands()
    try:
        command()
    except Exception as exc:
        outcome = outcome_of(exc)
        log.debug("details", exc_info=True)
        errors.print(f"Error: {outcome.message}", markup=False, soft_wrap=True)
        sys.exit(outcome.exit_code)
