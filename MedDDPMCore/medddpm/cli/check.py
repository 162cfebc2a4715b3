"""``medddpm check``: is a mask fit for a model, and can it be made so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..anatomy.placement import brain_around
from ..config import ModelConfig
from ..errors import InputError
from ..geometry.io import read_mask, read_volume
from ..geometry.nifti import write_image
from ..labels.check import check_mask, mend_mask
from ..labels.conventions import parse_labels
from ..labels.findings import CheckResult, Finding
from ..models.places import find_config
from .console import ConsoleReporter, say
from .folders import masks_among
from .options import with_flag
from .root import app


@app.command()
def check(
    mask: Annotated[
        Path, typer.Argument(help="Mask file (NIfTI, NRRD, MetaImage, .seg.nrrd, .mgz, DICOM SEG), or a folder.")
    ],
    model: Annotated[str, typer.Option("--model", "-m", help="Model folder, .pt file or name.")],
    image: Annotated[Path | None, typer.Option("--image", help="The MRI that the mask was drawn on.")] = None,
    fix: Annotated[Path | None, typer.Option("--fix", help="Write the fixed mask here (.nii.gz).")] = None,
    labels: Annotated[str | None, typer.Option("--labels", help="What values mean to the model: 1=1,2=2,4=3.")] = None,
) -> None:
    """Check a mask: label convention, missing brain or head, stray tumor, size. Exit code 2 if it cannot be used.

    Of a folder, the masks in it are checked one after the other.
    """
    config = find_config(model)
    if not mask.is_dir():
        raise typer.Exit(0 if _checked(mask, config, image, fix, labels) else 2)
    with ConsoleReporter() as reporter:
        masks = masks_among([mask], model, [] if image is None else [image], reporter)
        if len(masks) > 1 and (image or fix):
            raise InputError(f"{mask} holds {len(masks)} masks, but --image and --fix are for one. Name the mask file.")
        if len(masks) > 1 and labels is None:
            from ..synthesis.pipeline import labels_together  # imports torch

            labels = labels_together([str(path) for path in masks], config.scheme, reporter)
    usable = True
    for path in masks:
        try:
            usable &= _checked(path, config, image, fix, labels)
        except InputError as exc:
            say(f"Error: {exc}")
            usable = False
    raise typer.Exit(0 if usable else 2)


def _checked(mask: Path, config: ModelConfig, image: Path | None, fix: Path | None, labels: str | None) -> bool:
    """Check one mask and say what was found; whether it can be used, with ``fix`` after that."""
    given = parse_labels(labels) if labels else None
    source = read_mask(mask, single_slice=image is not None)
    reference = read_volume(image) if image else None
    if fix is None:
        result = check_mask(source, config, reference, given, brain_around)
        _show(result.findings, fixed=False)
        _require_room(mask, image, config, given, result)
        say(_summary(mask, result))
        return result.usable
    mended, done, left = mend_mask(source, config, reference, given, around=brain_around)
    _show(done, fixed=True)
    _show(left.findings, fixed=False)
    _require_room(mask, image, config, given, left)
    if left.usable:
        write_image(
            fix, mended.volume.data, mended.volume.affine, f"MedDDPM mask, labels of {config.scheme.name}", mask
        )
        say(f"{fix}: the mask for model '{config.name}' was written.")
    else:
        say(f"{fix} was not written: the mask has errors that cannot be fixed.")
    return left.usable


def _require_room(
    mask: Path, image: Path | None, config: ModelConfig, labels: dict[int, int] | None, result: CheckResult
) -> None:
    """Raise OutOfMemory where the mask needs a larger grid than the model's, and that more memory than there is."""
    if any(finding.code == "grid" for finding in result.findings) and all(f.fixable for f in result.errors):
        from ..models.device import choose_device, choose_precision
        from ..synthesis.case import prepare_case
        from ..synthesis.estimate import require_room

        device = choose_device("auto")
        require_room(
            prepare_case(mask, image, config, labels).placement, config, device, choose_precision("auto", device)
        )


def _show(findings: tuple[Finding, ...], fixed: bool) -> None:
    for finding in findings:
        word = "Fixed" if fixed else finding.severity.capitalize()
        offer = "" if fixed or not finding.fixable else " With --fix:"
        say(with_flag(f"{word}: {finding.sentence}{offer} {finding.fix}".rstrip(), "" if fixed else finding.option))


def _summary(mask: Path, result: CheckResult) -> str:
    if result.usable:
        return f"{mask} can be used."
    if result.fixable:
        return f"{mask} cannot be used as it is; --fix OUT.nii.gz writes one that can."
    return f"{mask} cannot be used."
