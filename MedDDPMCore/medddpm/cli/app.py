"""Entry point of the ``medddpm`` command: all commands, and how they end."""

from __future__ import annotations

import logging
import sys
from typing import Any

import typer

from ..jobs.outcome import outcome_of
from ..parse import printable
from . import check, evaluate, masks, models, prepare, runs, synth, tissues, train, worker  # noqa: F401 - add theirs
from .options import with_flag
from .root import app

log = logging.getLogger("medddpm")
UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that comes with typer


def main() -> None:
    """Run the command; an error becomes one plain message and the exit code of the job contract."""
    try:
        sys.exit(app(standalone_mode=False))
    except UsageError as exc:
        exc.message = printable(exc.message, keep="\n")
        exc.show()
        sys.exit(exc.exit_code)
    except Exception as exc:
        outcome = outcome_of(exc)
        log.debug("details", exc_info=True)
        # A further line is indented, so that no name can look like a message.
        told = with_flag(f"Error: {outcome.message}", outcome.option)
        typer.echo(printable(told, keep="\n").replace("\n", "\n  "), err=True)
        sys.exit(outcome.exit_code)
