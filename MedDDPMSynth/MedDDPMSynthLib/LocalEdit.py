"""Editing a real scan: the mask is changed here and there, and only around these voxels the image is made anew."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import Any

import numpy as np
import slicer
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume, bounding_box
from medddpm.labels.findings import listed
from medddpm.preparation.facts import USUAL_MODALITIES, modality_name
from MedDDPMSlicerLib.Lattice import Lattice, newImage
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.SegmentMasks import composeLabels
from MedDDPMSlicerLib.Texts import _
from MedDDPMSlicerLib.Volumes import slabs

from .Options import SynthInputs, SynthOptions
from .Results import modalityOf

SNAPSHOT_OF = "MedDDPM.snapshotOf"
# Voxels of a distance map that is computed between two pauses: about 20 milliseconds.
DISTANCE_VOXELS = 400_000
# Words of a name that tell a T1 with contrast medium from one without.
_ENHANCED = {"post", "gd", "gad", "gadolinium", "ce", "contrast", "enhanced", "c"}
_PLAIN = {"pre", "native", "without", "non", "no", "wo"}


def takeSnapshot(segmentationNode: Any) -> Any:
    """A hidden copy of the mask as it is now: the original of a local edit. Returns the new segmentation node."""
    scene = slicer.mrmlScene
    name = _("{name} before editing").format(name=segmentationNode.GetName())
    snapshot = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    copyMask(segmentationNode, snapshot)
    snapshot.SetNodeReferenceID(SNAPSHOT_OF, segmentationNode.GetID())
    snapshot.SetHideFromEditors(True)
    if snapshot.GetDisplayNode() is not None:
        snapshot.GetDisplayNode().SetVisibility(False)
    return snapshot


def missingForEdit(model: ModelDescription, inputs: SynthInputs) -> str | None:
    """A sentence that says why a local edit cannot start; None where it can."""
    if not any(inputs.knownVolumes.get(m) is not None for m in model.modalities):
        return _("Choose the real scan's volume for {names}; the more of them, the better it fits.").format(
            names=" or ".join(model.modalities)
        )
    if inputs.originalSegmentation is None:
        return _(
            'Press "Remember this mask as the scan\'s own" (section Real scan) before you change the mask, so '
            "that the change is known."
        )
    if inputs.originalSegmentation is inputs.segmentation:
        return _("The mask before the edit and the edited mask are the same node. Choose the edited one above.")
    return None


def contrastOf(volumeNode: Any) -> str | None:
    """The usual contrast (T1, T1ce, T2, FLAIR) that a volume's name tells, for a synthetic one its modality."""
    words = re.split(r"[\W_]+", str(volumeNode.GetName()).casefold())
    told = {modality_name(word) for word in words} & {*USUAL_MODALITIES}
    if told == {"FLAIR", "T2"}:
        told = {"FLAIR"}
    if told == {"T1"} and {*words} & _ENHANCED:
        told = set() if {*words} & _PLAIN else {"T1ce"}
    return modalityOf(volumeNode) or (told.pop() if len(told) == 1 else None)


def sameContrast(sample: Any, wanted: str, scan: Mapping[str, Any], reference: Any) -> tuple[Any, Any, str]:
    """A real volume, the volume of ``sample`` with the same contrast, and that contrast.

    ``scan``: modality -> volume of a real scan; ``reference``: a further real volume, or None, of which the name tells
    the contrast. ``wanted`` is taken where possible. Raises InputError where no contrast is in both.
    """
    known = {} if reference is None else {contrastOf(reference): reference}
    real = {**known, **scan}
    both = [name for name in (wanted, *map(modalityOf, sample.volumes)) if name in real and sample.volume(name)]
    if both:
        return real[both[0]], sample.volume(both[0]), both[0]
    made = listed([modalityOf(volume) for volume in sample.volumes])
    if None in real:
        raise InputError(
            _(
                "The name of '{name}' does not tell its contrast, so it cannot be compared. Choose the "
                "volume as {made} in the section Real scan, or rename it."
            ).format(name=reference.GetName(), made=made)
        )
    raise InputError(
        _(
            "The sample has {made}, the real MRI {names}: no contrast is in both. Choose another "
            "reference MRI, or generate that contrast."
        ).format(made=made, names=listed([str(name) for name in real]))
    )


def changedRegion(
    inputs: SynthInputs, options: SynthOptions, model: ModelDescription, edited: Any
) -> Generator[None, None, Any]:
    """Steps that find where the mask was changed; they return the region as a Volume (1 inside, uint8).

    ``edited`` is the composed mask. The region is every changed voxel and what lies within ``options.marginMm`` of one.
    Raises InputError where nothing was changed.
    """
    original = composeLabels(inputs.originalSegmentation, model.config.scheme, gridImage(edited))
    yield
    changed = np.not_equal(original.data, edited.data)
    yield
    if not changed.any():
        raise InputError(_("The mask has not been changed since the edit began. Paint or move something first."))
    region = yield from grown(changed, edited.spacing, options.marginMm)
    return Volume(region.astype(np.uint8), edited.affine)


def gridImage(volume: Any) -> Any:
    """The grid of a Volume as a vtkOrientedImageData, as ``composeLabels`` takes it."""
    return newImage(Lattice.ofVolume(volume))


def grown(mask: np.ndarray, spacing: tuple[float, float, float], margin: float) -> Generator[None, None, np.ndarray]:
    """Steps that grow ``mask`` (bool) by ``margin`` mm in all directions; they return the grown mask.

    The distance is taken to the centers of the voxels of ``mask``, along the array axes with ``spacing`` (mm).
    """
    import SimpleITK as sitk  # noqa: N813

    reach = [int(np.ceil(margin / s)) for s in spacing]
    box = bounding_box(mask, max(reach))
    if margin <= 0 or box is None:
        return mask
    result = np.zeros(mask.shape, dtype=bool)
    yield
    area = (box[1].stop - box[1].start) * (box[2].stop - box[2].start)
    for slab in slabs(box[0].stop - box[0].start, area, DISTANCE_VOXELS):
        start, stop = box[0].start + slab.start, box[0].start + slab.stop
        low, high = max(0, start - reach[0]), min(mask.shape[0], stop + reach[0])
        part = mask[low:high, box[1], box[2]]
        if part.any():
            image = sitk.GetImageFromArray(np.ascontiguousarray(part, dtype=np.uint8))
            image.SetSpacing(spacing[::-1])  # SimpleITK's index order is the reverse of the array's
            # Ten times as fast as Danielsson's, and outside of the object as exact.
            distance = sitk.SignedMaurerDistanceMap(
                image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
            )
            near = part | (sitk.GetArrayViewFromImage(distance) <= margin + 1e-4)
            result[start:stop, box[1], box[2]] = near[start - low : stop - low]
        yield
    return result


def copyMask(source: Any, target: Any) -> None:
    """Segments with their voxels, names and tags, the geometry and the place; not the display."""
    target.GetSegmentation().DeepCopy(source.GetSegmentation())
    for role in (source.GetReferenceImageGeometryReferenceRole(),):
        target.SetNodeReferenceID(role, source.GetNodeReferenceID(role))
    target.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    if target.GetDisplayNode() is None:
        target.CreateDefaultDisplayNodes()
