"""Entry point of the ``medddpm`` command."""

from __future__ import annotations

import logging
import sys
from typing import Any

import typer

from .. import __version__
from ..jobs.log import log_to_terminal
from ..jobs.outcome import outcome_of
from ..parse import printable

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
log = logging.getLogger("medddpm")
UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that comes with typer


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
    log_to_terminal(logging.DEBUG if debug else logging.CRITICAL)


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
        sys.exit(command(standalone_mode=False))
    except UsageError as exc:
        exc.message = printable(exc.message, keep="\n")
        exc.show()
        sys.exit(exc.exit_code)
    except Exception as exc:
        outcome = outcome_of(exc)
        log.debug("details", exc_info=True)
        # A further line is indented, so that no name can look like a message.
        typer.echo(printable(f"Error: {outcome.message}", keep="\n").replace("\n", "\n  "), err=True)
        sys.exit(outcome.exit_code)
