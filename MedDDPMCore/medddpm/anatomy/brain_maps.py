"""Brain maps that fill a mask: those of the bank that comes with the package, and label maps that the user gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry.itk import read_itk
from ..geometry.volume import Volume, voxel_ml
from ..labels import conventions
from ..labels.findings import listed, milliliters
from ..labels.morphology import bounding_box, close, dilate, distance_to, erode, fill_holes, largest
from ..labels.scheme import load_scheme
from ..labels.structures import STRUCTURES

FOLDER = Path(__file__).parent / "maps"
BRAIN, CSF, VENTRICLES, CORTEX, DEEP_GRAY, WHITE, CEREBELLAR_CORTEX, BRAINSTEM = range(4, 12)
# Of the scheme glioma-anatomy, in its order: what a brain without tumor is made of.
TISSUES = (BRAIN, CSF, VENTRICLES, CORTEX, DEEP_GRAY, WHITE, CEREBELLAR_CORTEX, BRAINSTEM)
OUTSIDE = 0

_UNKNOWN = 255
_TABLE = np.full(15000, _UNKNOWN, np.uint8)
for _value, _role in zip((OUTSIDE, *TISSUES[1:]), (conventions.OUTSIDE, *conventions.TISSUE_ROLES), strict=True):
    _TABLE[list(STRUCTURES[_role])] = _value

# Left and right halves of these are numbered apart, and a scheme's value is never above 11.
_BOTH_SIDES = {41, 42, 43, 46, 47, 49, 50, 51}
SULCUS_MM = 8.0  # fluid in gaps up to twice this width is part of a skull-stripped brain
RIM_MM = 1.0  # of fluid over the gyri
STALK_MM = 3.0  # what hangs on the brain by less than twice this width is vessels and dura that were taken for brain
LEAST_ML = 300.0


def bank_names() -> tuple[str, ...]:
    """Names of the maps, in the order of their index."""
    return tuple(sorted(path.name.removesuffix(".nii.gz") for path in FOLDER.glob("*.nii.gz")))


@lru_cache(maxsize=3)
def load_bank_map(index: int) -> Volume:
    """Map ``index`` (0 to the number of ``bank_names()`` less one), uint8, read-only.

    Values 5 to 11 of the scheme glioma-anatomy, 0 outside the skull-stripped brain; 1 mm, cropped to the brain. The
    affine (voxel index -> RAS mm, oblique) places it in the frame of the BraTS data, turned as the brains there are.
    Raises InputError where the file is missing or damaged, IndexError where there is no such map.
    """
    path = FOLDER / f"{bank_names()[index]}.nii.gz"
    file = read_itk(path, "NiftiImageIO")  # also where nibabel is not installed
    assert file.layers is not None
    data = np.array(file.layers[..., 0], np.uint8)
    data.flags.writeable = False
    return Volume(data, file.affine)


def is_freesurfer(values: Iterable[int]) -> bool:
    """Whether ``values``, all of a label map, are FreeSurfer's or SynthSeg's numbers and not those of the scheme."""
    return len(_BOTH_SIDES & set(values)) >= 4


def tissues_of(structures: Volume) -> tuple[Volume, tuple[str, ...]]:
    """A label map in FreeSurfer's or SynthSeg's numbers as the tissues of a skull-stripped brain.

    ``structures``: whole numbers, any integer type, any orientation and spacing. Returns values 5 to 11 of the scheme
    glioma-anatomy and 0 outside, uint8, on the same grid, and sentences about numbers that are not known. The outline
    is what skull-stripped images show: the brain, closed over the sulci and filled, with a thin rim of fluid; inside of
    it, all that is no tissue is cerebrospinal fluid, outside of it there is none. Numbers that are not known become the
    nearest tissue where they lie inside. Raises InputError where the map is not in these numbers.
    """
    present, codes = np.unique(structures.data, return_inverse=True)
    present = present.astype(np.int64)
    if not is_freesurfer(present.tolist()):
        raise InputError(
            "The label map does not use the label values of FreeSurfer or SynthSeg; it has "
            f"{listed(present.tolist())}. Give a map of the whole brain by one of these programs, or one in the values "
            "of the scheme glioma-anatomy."
        )
    table = np.append(_TABLE, np.uint8(_UNKNOWN))
    inside = (present >= 0) & (present < len(_TABLE))
    labels = table[np.where(inside, present, -1)][codes].reshape(structures.shape)
    unknown = labels == _UNKNOWN
    solid = (labels >= VENTRICLES) & ~unknown
    outline = brain_outline(solid, structures.spacing)
    labels[~outline] = OUTSIDE
    labels[outline & (labels == OUTSIDE)] = CSF
    strange = unknown & outline
    if not strange.any():
        return Volume(labels, structures.affine), ()
    labels = nearest_tissue(labels, strange, structures.spacing)
    numbers = listed(np.unique(structures.data[strange]).astype(int).tolist())
    sentence = (
        f"The label map has values that are not in FreeSurfer's table ({numbers}); they were set to the nearest tissue."
    )
    return Volume(labels, structures.affine), (sentence,)


def brain_outline(solid: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """What a skull-stripped image shows of a brain whose tissues and ventricles are ``solid`` (X, Y, Z), bool.

    Gyri joined over the sulci and filled, without what hangs on thin stalks, and with a thin rim of fluid.
    """
    outline = np.zeros(solid.shape, bool)
    if not solid.any():
        return outline
    box = bounding_box(solid, int(np.ceil(2 * RIM_MM / min(spacing))))
    brain = fill_holes(close(largest(solid[box]), SULCUS_MM, spacing))
    core = erode(brain, STALK_MM, spacing, padding=True)
    if core.any():
        brain &= dilate(largest(core), STALK_MM + max(RIM_MM, *spacing), spacing)
    outline[box] = dilate(brain, RIM_MM, spacing)
    return outline


def nearest_tissue(labels: np.ndarray, where: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """``labels`` with the voxels ``where`` given the nearest of the tissues elsewhere."""
    best, chosen = np.full(np.count_nonzero(where), np.inf, np.float32), np.zeros(np.count_nonzero(where), np.uint8)
    for value in TISSUES[1:]:
        distance = distance_to((labels == value) & ~where, spacing)[where]
        chosen[distance < best], best = value, np.minimum(best, distance)
    filled = labels.copy()
    filled[where] = chosen
    return filled


@dataclass(frozen=True)
class BrainMap:
    """``tissues``: values 5 to 11 of the scheme glioma-anatomy, 0 outside; ``name`` is None for a map of the user."""

    tissues: Volume
    name: str | None = None
    mirrored: bool = False
    sentences: tuple[str, ...] = ()


def mirrored(tissues: Volume) -> Volume:
    """``tissues`` with left and right exchanged about the middle of the brain's extent, by the affine alone."""
    inside = (
        np.argwhere(tissues.data.any(axis=(1, 2))),
        np.argwhere(tissues.data.any(axis=(0, 2))),
        np.argwhere(tissues.data.any(axis=(0, 1))),
    )
    middle = tissues.affine[:3, :3] @ [float(i.min() + i.max()) / 2 for i in inside] + tissues.affine[:3, 3]
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = 2 * middle[0]
    return Volume(tissues.data, flip @ tissues.affine)


def bank_map(rng: np.random.Generator) -> BrainMap:
    """A map of the bank, mirrored or not, as ``rng`` has it."""
    index = int(rng.integers(len(bank_names())))
    tissues, flip = load_bank_map(index), bool(rng.integers(2))
    return BrainMap(mirrored(tissues) if flip else tissues, bank_names()[index], flip)


def given_map(source: Volume) -> BrainMap:
    """A label map in the numbers of FreeSurfer or SynthSeg, or in values of the scheme glioma-anatomy.

    Tumor and brain without tissue become the nearest tissue. Raises InputError where it is no map of a brain's tissues.
    """
    whole = np.rint(source.data).astype(np.int64)
    if source.data.dtype.kind == "f" and np.abs(source.data - whole).max(initial=0) > 0.01:
        raise InputError("The label map has fractional values, as an image has. Give a segmentation of the brain.")
    cropped = _cropped(Volume(whole, source.affine), margin=4)
    of_scheme = whole.min(initial=0) >= 0 and whole.max(initial=0) <= TISSUES[-1]
    tissues, sentences = _of_scheme(cropped) if of_scheme else tissues_of(cropped)
    size = np.count_nonzero(tissues.data) * voxel_ml(tissues.affine)
    if size < LEAST_ML:
        raise InputError(
            f"The brain of the label map has {milliliters(size)}, which is not plausible. Check its labels and spacing."
        )
    tissues = _cropped(tissues, margin=0)
    return BrainMap(tissues, sentences=(*source.notes, *sentences, *_missing(tissues.data)))


def _cropped(labels: Volume, margin: int) -> Volume:
    box = bounding_box(labels.data != 0, margin) if labels.data.any() else (slice(0, None),) * 3
    affine = np.asarray(labels.affine, np.float64).copy()
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    return Volume(np.ascontiguousarray(labels.data[box]), affine)


def _of_scheme(labels: Volume) -> tuple[Volume, tuple[str, ...]]:
    if not (labels.data > BRAIN).any():
        raise InputError("The label map has no tissues, only a tumor or a brain outline. Give one of tissues.")
    blank = (labels.data > 0) & (labels.data <= BRAIN)
    labels = Volume(labels.data.astype(np.uint8), labels.affine)
    if not blank.any():
        return labels, ()
    sentence = "Tumor and brain without tissue in the label map became the nearest of its tissues."
    return Volume(nearest_tissue(labels.data, blank, labels.spacing), labels.affine), (sentence,)


def _missing(tissues: np.ndarray) -> tuple[str, ...]:
    scheme = load_scheme("glioma-anatomy")
    absent = [scheme.label(value).name.lower() for value in TISSUES[1:] if not (tissues == value).any()]
    return (f"The label map has no {listed(absent)}, so neither has the brain made from it.",) if absent else ()
