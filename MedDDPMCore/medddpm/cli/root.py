"""The ``medddpm`` command itself, to which the modules beside this one add theirs."""

from __future__ import annotations

import logging
from importlib import metadata
from importlib.util import find_spec

import typer

from ..jobs.log import log_to_terminal
from ..version import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(value: bool) -> None:
    if value:
        torch = f"PyTorch {metadata.version('torch')}" if find_spec("torch") else "no PyTorch"
        typer.echo(f"medddpm {__version__}, {torch}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
    debug: bool = typer.Option(False, "--debug", help="Show technical details of errors."),
) -> None:
    """Turn segmentation masks into synthetic brain MRI (Med-DDPM). For research; never for diagnosis."""
    log_to_terminal(logging.DEBUG if debug else logging.CRITICAL)
