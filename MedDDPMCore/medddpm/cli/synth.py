"""``medddpm synth``."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..memory import keep_freed_memory
from .app import app
from .console import ConsoleReporter

SAMPLERS = "ddpm, ddpm-paper, ddim, dpm++2m, dpm++3m or unipc"


@app.command("synth")
def synth_command(
    masks: Annotated[list[Path], typer.Argument(help="Mask files, or folders of them.", metavar="MASK...")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    model: Annotated[str, typer.Option(help="A model folder, a published .pt file, or the name of a model.")] = "demo",
    samples: Annotated[int, typer.Option(help="Different images for each mask.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the first sample; the same seed gives the same image.")] = 0,
    sampler: Annotated[str | None, typer.Option(help=f"{SAMPLERS}. Default: the model's own.")] = None,
    steps: Annotated[int | None, typer.Option(help="Network evaluations an image. Default: the model's own.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    image: Annotated[
        list[Path] | None,
        typer.Option(help="An MRI of the same patient, to make a missing brain or head label from; one a mask."),
    ] = None,
    modality: Annotated[list[str] | None, typer.Option(help="Write only this modality; may be repeated.")] = None,
    ignore_memory: Annotated[bool, typer.Option(help="Start even if the memory will probably not do.")] = False,
) -> None:
    """Make synthetic MRI from segmentation masks."""
    from ..synthesis.pipeline import raise_failures, summary, synthesize

    keep_freed_memory()
    started = time.monotonic()
    with ConsoleReporter() as reporter:
        signal.signal(signal.SIGINT, lambda number, frame: reporter.cancel())
        results = synthesize(
            _mask_files(masks),
            out,
            model,
            reporter=reporter,
            samples=samples,
            seed=seed,
            sampler=sampler,
            steps=steps,
            device=device,
            precision=precision,
            images=tuple(image or ()),
            modalities=tuple(modality or ()),
            ignore_memory=ignore_memory,
        )
    typer.echo(summary(results, time.monotonic() - started))
    for result in results:
        for sheet in result.sheets:
            typer.echo(f"Open {sheet}")
    raise_failures(results)


def _mask_files(paths: list[Path]) -> list[Path]:
    """Folders replaced by the mask files directly in them, in order of name."""
    from ..synthesis.pipeline import EXTENSIONS

    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.name.lower().endswith(EXTENSIONS))
            if not inside:
                raise InputError(f"The folder {path} holds no mask file ({', '.join(EXTENSIONS)}).")
            found += inside
        else:
            found.append(path)
    return found
