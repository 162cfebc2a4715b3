"""``medddpm models``: list, inspect and convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..config import ModelConfig
from ..errors import InputError, MedDDPMError
from .app import app

models_app = typer.Typer(no_args_is_help=True, help="List, inspect and convert models.")
app.add_typer(models_app, name="models")
PIPE_WIDTH = 1000


@models_app.command("list")
def list_command() -> None:
    """Show the models that can be used by name."""
    from ..models.places import find_config, list_models

    table = Table("Name", "Makes", "Grid", "Place")
    for name, path in list_models().items():
        try:
            config = find_config(path)
            row = (name, ", ".join(config.modalities), _grid(config), str(path))
        except MedDDPMError as exc:
            row = (name, "unusable", str(exc), str(path))
        _add_row(table, *row)
    _print(table)


@models_app.command("inspect")
def inspect_command(model: Annotated[str, typer.Argument(help="A model folder, .pt file or name.")]) -> None:
    """Show what a model is, and check its weights."""
    from ..models.registry import load_model
    from ..network.cost import network_cost

    config = load_model(model).config
    cost = network_cost(config.network, tuple(reversed(config.grid.shape)))
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "Name": config.name,
        "Makes": ", ".join(config.modalities),
        "From": "; ".join(f"{label.value} {label.name}" for label in config.scheme.labels),
        "Background": config.scheme.background,
        "Grid": _grid(config),
        "Network": f"{cost.parameters / 1e6:.1f} million parameters, {cost.flops / 1e12:.2f} TFLOP an evaluation",
        "Schedule": f"{config.schedule.steps} steps, predicts {config.schedule.prediction}",
        "Default": f"{config.sampler}, {config.sampler_steps} steps",
        "Intensities": config.normalization,
        "Licence": config.licence,
        "Intended use": config.intended_use,
    }
    for name, value in rows.items():
        _add_row(table, name, value)
    _print(table)


@models_app.command("convert")
def convert_command(
    source: Annotated[str, typer.Argument(help="A published .pt file (or another model).")],
    target: Annotated[Path, typer.Argument(help="The model folder to write.")],
) -> None:
    """Turn a published checkpoint into a model folder (config.json and model.safetensors)."""
    from ..models.registry import convert_model

    if (target / "config.json").exists():
        raise InputError(f"There is a model in {target} already. Choose another folder or remove it first.")
    config = convert_model(source, target)
    typer.echo(f"Wrote {target}: {config.name}, {', '.join(config.modalities)}.")


def _add_row(table: Table, *cells: str) -> None:
    """Add texts from files as they are: their square brackets are no markup, their control characters no commands."""
    table.add_row(*(Text("".join(c if c.isprintable() else " " for c in cell)) for cell in cells))


def _print(table: Table) -> None:
    """Print as wide as the terminal; wide enough for one line a row where another program reads the output."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


def _grid(config: ModelConfig) -> str:
    shape = " x ".join(str(n) for n in config.grid.shape)
    return f"{shape} at {' x '.join(f'{s:g}' for s in config.grid.spacing)} mm, {config.grid.orientation}"
