"""``medddpm masks tissues``: the tissues of a brain as a mask, from its images or another program's label map."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from ..anatomy.brain_maps import BRAIN, TISSUES, given_map
from ..anatomy.tissues import most_of, segment_tissues
from ..errors import InputError
from ..geometry.io import read_mask, read_volume
from ..geometry.nifti import write_image
from ..geometry.resample import index_map, resample
from ..geometry.volume import Volume, voxel_ml
from ..labels.scheme import load_scheme
from ..synthesis.request import modality_files
from .console import say
from .mask_files import in_scheme
from .masks import Out, masks_app

SCHEME = "glioma-anatomy"

Images = Annotated[
    list[str] | None,
    typer.Option("--image", help="An image as MODALITY=FILE, of T1, T1ce, T2 and FLAIR; again for each. On one grid."),
]
Mask = Annotated[
    Path | None,
    typer.Option("--mask", help="The tumor, which is kept; also the brain's outline, if it is in there."),
]
Labels = Annotated[
    Path | None,
    typer.Option("--labels", help="In place of images: a label map of FreeSurfer or SynthSeg, as aparc+aseg.mgz."),
]

MaskLabels = Annotated[str | None, typer.Option(help="What the mask's values mean in glioma-anatomy: 1=1,2=2,4=3.")]


@masks_app.command("tissues")
def tissues_command(
    out: Out, image: Images = None, mask: Mask = None, labels: Labels = None, mask_labels: MaskLabels = None
) -> None:
    """Label the tissues of a brain: ventricles, cortex, deep gray and white matter, cerebellum, brainstem."""
    if bool(image) == bool(labels):
        raise InputError("Give either images (--image T1=t1.nii.gz) or a label map (--labels aparc+aseg.mgz).")
    tumor, files = None if mask is None else _mask(mask, mask_labels), modality_files(image or (), "given")
    made = _from_map(labels, tumor) if labels else _from_images(files, tumor)
    over = mask or labels or Path(next(iter(files.values())))
    write_image(out, made.data, made.affine, "MedDDPM mask with tissues", over)
    scheme = load_scheme(SCHEME)
    for value, count in zip(*np.unique(made.data[made.data > 0], return_counts=True), strict=True):
        say(f"{scheme.label(int(value)).name}: {count * voxel_ml(made.affine):.1f} mL")


def _mask(path: Path, labels: str | None) -> Volume:
    mask = read_mask(path)
    values, found = in_scheme(path, mask, load_scheme(SCHEME), labels, "mask_labels")
    _say((*mask.volume.notes, *found.sentences))
    return Volume(values, mask.volume.affine)


def _from_images(files: dict[str, str], tumor: Volume | None) -> Volume:
    """Raises InputError where the mask is on another grid than the images, and as ``segment_tissues`` does."""
    names = {"t1": "T1", "t1ce": "T1ce", "t1c": "T1ce", "t1gd": "T1ce", "t2": "T2", "flair": "FLAIR", "t2f": "FLAIR"}
    images = {names.get(name.casefold(), name): read_volume(path) for name, path in files.items()}
    _say(note for image in images.values() for note in image.notes)
    first = next(iter(images.values()))
    if tumor is not None and not (tumor.shape == first.shape and np.allclose(tumor.affine, first.affine, atol=1e-3)):
        raise InputError("The mask is on another grid than the images. Resample it to theirs.")
    kept = np.zeros(first.shape, np.uint8) if tumor is None else tumor.data
    outlined = kept >= BRAIN
    found = segment_tissues(images, (kept > 0) if outlined.any() else None, (kept > 0) & ~outlined)
    _say(found.sentences)
    return Volume(np.where((kept > 0) & ~outlined, kept, most_of(found.fractions)), first.affine)


def _from_map(path: Path, tumor: Volume | None) -> Volume:
    """The label map on its own grid, or on that of the mask, whose tumor then lies over it."""
    source = read_mask(path).volume
    given = given_map(source)
    _say(given.sentences)
    grid = source if tumor is None else tumor
    to_map = index_map(grid.affine, given.tissues.affine)
    shares = np.stack([resample(given.tissues.data == value, to_map, grid.shape, 0.0) for value in TISSUES])
    tissues = most_of(shares)
    if tumor is None:
        return Volume(tissues, grid.affine)
    if not tissues.any():
        raise InputError(f"The label map {path} does not overlap the mask in space. Register it to the mask.")
    return Volume(np.where((tumor.data > 0) & (tumor.data < BRAIN), tumor.data, tissues), grid.affine)


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(sentence)
