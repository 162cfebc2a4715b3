"""Label maps in the numbers of FreeSurfer and SynthSeg as tissues of the scheme glioma-anatomy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume
from ..labels import conventions
from ..labels.findings import listed
from ..labels.morphology import bounding_box, close, dilate, distance_to, erode, fill_holes, largest
from ..labels.structures import STRUCTURES

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
            f"The label map is not in the numbers of FreeSurfer or SynthSeg; it has {listed(present.tolist())}. Give a "
            "map of the whole brain by one of these programs, or one in the values of the scheme glioma-anatomy."
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
        f"The label map has numbers that are not in FreeSurfer's table ({numbers}); they became the nearest tissue."
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
