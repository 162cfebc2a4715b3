"""``medddpm evaluate``."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..memory import keep_freed_memory
from ..synthesis.request import WHOLE
from ..training.evaluation.request import EvaluationRequest
from .console import ConsoleReporter, say
from .options import given, with_options
from .root import app
from .workers import ShardOption, WorkersOption, given_to_workers, shard_of


@app.command("evaluate")
@with_options(EvaluationRequest)
def evaluate_command(
    model: Annotated[str, typer.Argument(help="A model's name, a model folder or a published .pt file.")],
    dataset: Annotated[Path, typer.Argument(help="The folder of a prepared dataset.")],
    out: Annotated[Path, typer.Option(help="Folder for figures, report and samples; created if it does not exist.")],
    workers: WorkersOption = "",
    shard: ShardOption = "",
    **options: Any,
) -> None:
    """Measure a model on held-out cases of a prepared dataset.

    Makes images from their masks and compares them with the real ones: figures beside those of a plain baseline, as a
    page to open, a table and JSON. The same command again goes on where it was stopped.
    """
    if importlib.util.find_spec("monai") is None:
        raise InputError('Evaluating needs further packages. Install them with: pip install "medddpm[train]"')

    if given_to_workers(workers, shard, out):
        return
    request = EvaluationRequest(model, str(dataset), str(out), **given(options))
    keep_freed_memory()
    with ConsoleReporter() as reporter:
        if (share := shard_of(shard)) and share != WHOLE:
            from ..training.evaluation.samples import sample_share

            return sample_share(request, reporter, share)
        from ..training.evaluation.evaluate import evaluate  # which takes a while: torch and MONAI

        found = evaluate(request, reporter)
    _conclude(found, out)


def _conclude(found: Any, out: Path) -> None:
    """Say what matters most."""
    mean, baseline = found.mean, found.baseline_mean
    similarity = ""
    if mean.ms_ssim is not None and baseline.ms_ssim is not None:
        similarity = f"MS-SSIM {mean.ms_ssim:.3f} (baseline {baseline.ms_ssim:.3f}), "
    say(f"{similarity}PSNR {mean.psnr:.1f} dB (baseline {baseline.psnr:.1f}), sharpness {mean.sharpness:.2f}.")
    say(f"The baseline is the mean intensity of each label in {found.baseline_from}.")
    say(f"Open {out / 'report.html'}")
