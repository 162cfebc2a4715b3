"""``medddpm synth``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from ..memory import keep_freed_memory
from ..models.places import find_config
from ..progress import Reporter
from ..synthesis.request import SynthesisRequest, modality_files
from .console import ConsoleReporter, say
from .folders import masks_among
from .options import given, with_options
from .root import app
from .workers import ShardOption, WorkersOption, given_to_workers, shard_of

MasksArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Segmentations to make MRI from (.nii, .nii.gz, .nrrd, .seg.nrrd, .mha, .mhd, .mgz, DICOM SEG), or "
        "folders of them; files that are not masks are skipped.",
        metavar="MASK...",
    ),
]
OutOption = Annotated[Path, typer.Option(help="Folder for the results; created if it does not exist.")]


@app.command("synth")
@with_options(SynthesisRequest)
def synth_command(
    masks: MasksArgument, out: OutOption, workers: WorkersOption = "", shard: ShardOption = "", **options: Any
) -> None:
    """Make synthetic MRI from segmentation masks.

    For every mask a folder with the images, the mask as it was used, a picture to look at first, and a record of how
    they were made. The same command again goes on where it was stopped. With --context and --region a real scan is
    changed only there. All images are synthetic, wholly or in part: not for diagnosis.
    """
    if workers and options.get("on"):
        raise InputError("Workers share the cases here or in SLURM, not on another computer. Choose one of both.")
    fields = given(options)
    scans = {**modality_files(fields.get("context", ())), **modality_files(fields.get("reference", ()), "reference")}
    single = [fields[name] for name in ("region", "before", "anatomy") if name in fields]
    others = [*fields.get("images", ()), *scans.values(), *single]
    if given_to_workers(workers, shard, out, partial(settled, masks, fields, others)):
        return
    keep_freed_memory()
    started = time.monotonic()
    with ConsoleReporter() as reporter:
        files = tuple(str(file) for file in masks_among(masks, fields["model"], others, reporter))
        from ..synthesis.pipeline import run  # which takes a while: torch
        from ..synthesis.results import raise_failures, summary

        results = run(SynthesisRequest(files, **fields), out, reporter, shard_of(shard))
    say(summary(results, time.monotonic() - started))
    for result in results:
        for sheet in result.sheets if result.state != "failed" else ():
            say(f"Open {sheet}")
    raise_failures(results)


def settled(
    masks: Sequence[Path], fields: Mapping[str, Any], others: Sequence[str | Path], reporter: Reporter
) -> tuple[list[str], list[str]]:
    """This command line for workers: its options, and its masks, those of folders by name.

    What takes reading all masks is done once, here: which files are masks, and what their values mean together.
    """
    from ..synthesis.pipeline import labels_together

    files = [str(file) for file in masks_among(masks, fields["model"], others, reporter)]
    words = sys.argv[1:]
    for mask in masks:
        words.remove(next(word for word in words if Path(word) == mask))
    if "labels" not in fields:
        reporter.stage("read", "Reading the masks")
        found = labels_together(files, find_config(fields["model"]).scheme, reporter)
        words += ["--labels", found] if found else []
    return words, ["--", *files]
