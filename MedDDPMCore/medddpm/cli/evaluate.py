"""``medddpm evaluate``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..memory import keep_freed_memory
from .app import app
from .console import ConsoleReporter, say
from .synth import SAMPLERS


@app.command("evaluate")
def evaluate_command(
    model: Annotated[str, typer.Argument(help="A model's name, a model folder or a published .pt file.")],
    dataset: Annotated[Path, typer.Argument(help="The folder of a prepared dataset.")],
    out: Annotated[Path, typer.Option(help="Folder for figures, report and samples; made if it is not there.")],
    split: Annotated[str, typer.Option(help="Which cases: test, validation or train.")] = "test",
    case: Annotated[list[str] | None, typer.Option(help="Take this case only; may be given several times.")] = None,
    samples: Annotated[int, typer.Option(help="How many images to make for each mask.")] = 1,
    sampler: Annotated[str | None, typer.Option(help=f"{SAMPLERS}. Left out: what suits the model.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler. Left out: what suits the model.")] = None,
    seed: Annotated[int, typer.Option(help="Starting number of the randomness.")] = 0,
    guidance: Annotated[float, typer.Option(help="How strongly the mask guides; 1 is plain.")] = 1.0,
    anatomy: Annotated[
        str, typer.Option(help="mask: the case's own tissues; seed: its tumor and outline, the rest by the seed.")
    ] = "mask",
    contrast: Annotated[
        str, typer.Option(help="seed: drawn for each image; mean: that of the training cases; real: that of the case.")
    ] = "seed",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    tumor_iterations: Annotated[
        int,
        typer.Option(
            help="Iterations of training, once for a dataset, of the network that looks for the tumor in the images: "
            "up to a second each on a CPU core; 0 does without."
        ),
    ] = 600,
) -> None:
    """Measure a model on held-out cases of a prepared dataset.

    Makes images from their masks and compares them with the real ones: figures beside those of a plain baseline, as a
    page to open, a table and JSON. The same command again goes on where it was stopped.
    """
    if importlib.util.find_spec("monai") is None:
        raise InputError('Evaluating needs further packages. Install them with: pip install "medddpm[train]"')
    from ..training.evaluation.request import EvaluationRequest

    request = EvaluationRequest(
        model,
        str(dataset),
        str(out),
        split,
        samples,
        sampler,
        steps,
        seed,
        guidance,
        device,
        precision,
        tuple(case or ()),
        tumor_iterations,
        anatomy,
        contrast,
    )
    keep_freed_memory()
    with ConsoleReporter() as reporter:
        from ..training.evaluation.evaluate import evaluate  # which takes a while: torch and MONAI

        found = evaluate(request, reporter)
    _conclude(found, out)


def _conclude(found: Any, out: Path) -> None:
    """Write tables and report, and say what matters most."""
    from ..training.evaluation.report import write_report
    from ..training.evaluation.tables import write_tables

    write_tables(out, found)
    page = write_report(out, found)
    mean, baseline = found.mean, found.baseline_mean
    similarity = ""
    if mean.ms_ssim is not None and baseline.ms_ssim is not None:
        similarity = f"MS-SSIM {mean.ms_ssim:.3f} (baseline {baseline.ms_ssim:.3f}), "
    say(f"{similarity}PSNR {mean.psnr:.1f} dB (baseline {baseline.psnr:.1f}), sharpness {mean.sharpness:.2f}.")
    say(f"The baseline is the mean intensity of each label in {found.baseline_from}.")
    say(f"Open {page}")
