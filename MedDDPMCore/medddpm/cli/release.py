"""``medddpm release``."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

from ..memory import keep_freed_memory
from ..studies.release_request import ReleaseRequest
from ..synthesis.request import SynthesisRequest
from .console import ConsoleReporter, say
from .folders import masks_among
from .options import given, with_options
from .root import app
from .synth import MasksArgument, OutOption, settled
from .workers import ShardOption, WorkersOption, given_to_workers, shard_of

# Edits hold the voxels of a patient, and a reference scan is one.
NOT_RELEASED = ("context", "region", "before", "seam_mm", "anatomy", "reference", "on")


@app.command("release")
@with_options(SynthesisRequest, ReleaseRequest, without=NOT_RELEASED)
def release_command(
    masks: MasksArgument, out: OutOption, workers: WorkersOption = "", shard: ShardOption = "", **options: Any
) -> None:
    """Make a data set of synthetic MRI to hand out: images, masks, anatomies, manifest, data card and checksums.

    OUT/dataset is for others; OUT/private says whose mask each case was made from and stays with you. Needs the
    memorization study of the model. The same command again goes on where it was stopped.
    """
    asked = given(options)
    if given_to_workers(workers, shard, out, partial(settled, masks, asked, asked.get("images", ()))):
        return
    keep_freed_memory()
    own = {field.name: asked.pop(field.name) for field in fields(ReleaseRequest) if field.name in asked}
    with ConsoleReporter() as reporter:
        from ..studies.release import release  # which takes a while: torch

        files = tuple(str(file) for file in masks_among(masks, asked["model"], asked.get("images", ()), reporter))
        made = release(ReleaseRequest(**own), SynthesisRequest(files, **asked), out, reporter, shard_of(shard))
    if made is not None:
        say(f"{made.cases} cases are in {made.folder}. Read {made.folder / 'README.md'} before you hand them out.")
