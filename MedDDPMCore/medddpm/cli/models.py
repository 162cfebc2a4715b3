"""``medddpm models``: list, inspect and convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import ModelConfig
from ..errors import InputError, MedDDPMError
from .console import say, show_table
from .root import app

models_app = typer.Typer(no_args_is_help=True, help="List, inspect and convert models.")
app.add_typer(models_app, name="models")


@models_app.command("list")
def list_command() -> None:
    """Show the models that can be used by name."""
    from ..models.places import find_config, list_models

    rows = []
    for name, path in list_models().items():
        try:
            config = find_config(path)
            rows.append((name, ", ".join(config.modalities), _grid(config), str(path)))
        except MedDDPMError as exc:
            rows.append((name, "unusable", "", str(exc)))
    show_table(("Name", "Makes", "Grid", "Place"), rows)


@models_app.command("inspect")
def inspect_command(model: Annotated[str, typer.Argument(help="A model folder, .pt file or name.")]) -> None:
    """Show what a model is, and check its weights."""
    from ..models.registry import load_model
    from ..network.cost import network_cost

    config = load_model(model).config
    cost = network_cost(config.network, tuple(reversed(config.grid.shape)))
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
        "License": config.license,
        "Intended use": config.intended_use,
    }
    show_table(("", ""), list(rows.items()))


@models_app.command("convert")
def convert_command(
    source: Annotated[str, typer.Argument(help="A published .pt file (or another model).")],
    target: Annotated[Path, typer.Argument(help="The model folder to write.")],
) -> None:
    """Turn a published checkpoint into a model folder (config.json and model.safetensors)."""
    from ..models.registry import convert_model

    if (target / "config.json").exists():
        raise InputError(f"{target} already contains a model. Choose another folder or remove it first.")
    config = convert_model(source, target)
    say(f"Wrote {target}: {config.name}, {', '.join(config.modalities)}.")


def _grid(config: ModelConfig) -> str:
    shape = " x ".join(str(n) for n in config.grid.shape)
    return f"{shape} at {' x '.join(f'{s:g}' for s in config.grid.spacing)} mm, {config.grid.orientation}"
