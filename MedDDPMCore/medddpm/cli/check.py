"""``medddpm check``: is a mask fit for a model, and can it be made so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..anatomy.placement import brain_around
from ..geometry.io import read_mask, read_volume
from ..geometry.nifti import write_image
from ..labels.check import check_mask, mend_mask
from ..labels.conventions import parse_labels
from ..labels.findings import CheckResult, Finding
from ..models.places import find_config
from .app import app
from .console import say


@app.command()
def check(
    mask: Annotated[Path, typer.Argument(help="Mask file: NIfTI, NRRD, MetaImage or .seg.nrrd.")],
    model: Annotated[str, typer.Option("--model", "-m", help="Model folder, .pt file or name.")],
    image: Annotated[Path | None, typer.Option("--image", help="The MRI that the mask was drawn on.")] = None,
    fix: Annotated[Path | None, typer.Option("--fix", help="Write the fixed mask here (.nii.gz).")] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="What values mean to the model: 1=1,2=2,4=3.")] = None,
) -> None:
    """Check a mask: label convention, missing brain or head, stray tumor, size. Exit code 2 if it cannot be used."""
    config = find_config(model)
    given = parse_labels(labels) if labels else None
    source = read_mask(mask)
    reference = read_volume(image) if image else None
    if fix is None:
        result = check_mask(source, config, reference, given, brain_around)
        _show(result.findings, fixed=False)
        say(_summary(mask, result))
        raise typer.Exit(0 if result.usable else 2)
    mended, done, left = mend_mask(source, config, reference, given, around=brain_around)
    _show(done, fixed=True)
    _show(left.findings, fixed=False)
    if left.usable:
        write_image(fix, mended.volume.data, mended.volume.affine, f"MedDDPM mask, labels of {config.scheme.name}")
        say(f"{fix}: the mask for model '{config.name}' was written.")
    else:
        say(f"{fix} was not written: the mask has errors that cannot be fixed.")
    raise typer.Exit(0 if left.usable else 2)


def _show(findings: tuple[Finding, ...], fixed: bool) -> None:
    for finding in findings:
        word = "Fixed" if fixed else finding.severity.capitalize()
        offer = "" if fixed or not finding.fixable else " With --fix:"
        say(f"{word}: {finding.sentence}{offer} {finding.fix}".rstrip())


def _summary(mask: Path, result: CheckResult) -> str:
    if result.usable:
        return f"{mask} can be used."
    if result.fixable:
        return f"{mask} cannot be used as it is; --fix OUT.nii.gz writes one that can."
    return f"{mask} cannot be used."
