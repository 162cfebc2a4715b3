"""Entry point of the ``medddpm`` command."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from .. import __version__
from ..errors import MedDDPMError

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
errors = Console(stderr=True, highlight=False)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"medddpm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Turn segmentation masks into synthetic brain MRI (Med-DDPM). For research; never for diagnosis."""


def main() -> None:
    """Run the command; a known error becomes one plain message and the exit code of the job contract."""
    try:
        app()
    except MedDDPMError as exc:
        errors.print(f"Error: {exc}", markup=False, soft_wrap=True)
        sys.exit(exc.exit_code)
