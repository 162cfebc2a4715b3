"""Entry point of the ``medddpm`` command: which module a command needs, and how it ends."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Any

import typer

from ..jobs.outcome import outcome_of
from ..parse import printable
from .options import with_flag
from .root import app

log = logging.getLogger("medddpm")
# The module of a command; of any other word, and for help, all are loaded.
MODULES = {
    name: name
    for name in ("check", "evaluate", "models", "prepare", "release", "runs", "study", "synth", "train", "worker")
}
MODULES |= {"masks": "tissues", "job": "worker"}  # "tissues" has the last of the commands of "masks"
UsageError: Any = typer.BadParameter.__mro__[1]  # of the click that comes with typer


def main() -> None:
    """Run the command; an error becomes one plain message and the exit code of the job contract."""
    called = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    importlib.import_module(f".{MODULES.get(called, 'commands')}", __package__)
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
