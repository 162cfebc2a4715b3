"""``medddpm study``: the paper's studies, each by one command and a TOML file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..memory import keep_freed_memory
from .console import ConsoleReporter, say
from .root import app

study = typer.Typer(no_args_is_help=True, help="The paper's studies on a dataset of your own.")
app.add_typer(study, name="study")


@study.callback()
def studies() -> None:
    """Raise where the packages of training, which studies need, are missing."""
    if importlib.util.find_spec("monai") is None:
        raise InputError('Studies need further packages. Install them with: pip install "medddpm[train]"')


@study.command("table1")
def table1_command(
    config: Annotated[Path, typer.Argument(help="A TOML file: dataset, models and what to compute.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for tables and samples. Default: as the file says.", show_default=False)
    ] = None,
) -> None:
    """Compare models on the same test masks: MSE, MMD, 3D-FID, MS-SSIM, FRD and the measures of 'medddpm evaluate'.

    Writes table1.html, table1.csv and table1.md. The same command again goes on where it was stopped.
    """
    from ..studies.request import read_table1

    request = read_table1(config, out)
    keep_freed_memory()
    with ConsoleReporter() as reporter:
        from ..studies.report import write_table1  # which takes a while: torch and MONAI
        from ..studies.table1 import table1

        page = write_table1(table1(request, reporter))
    say(f"Open {page}")
