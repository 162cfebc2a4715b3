"""The images of a brain made comparable: without bias fields, on one scale, and with what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813

from ..errors import InputError
from ..geometry.volume import Volume, Window, spacing_of, voxel_ml
from ..labels.morphology import bounding_box, distance_to
from ..labels.outline import brain_from_image
from .mixture import CONTRAST

LEAST_ML = 100.0
N4_MM = 5.0  # voxels on which the bias field is estimated
T2_OFFSET = 0.3
N4_ITERATIONS = (20, 15)  # on levels of ever finer control points


@dataclass(frozen=True)
class Scan:
    """Images of a brain, cut to it: ``values`` (d, X, Y, Z) float32, one for each of ``modalities``, about 0 to 1.

    ``known`` (bool) is brain without tumor, ``seen`` the part of it that all images show, since some end before the
    brain does. ``depth`` is the distance to the outside of the brain, mm. ``box`` is where this lies on the grid of
    ``shape`` that the images came on, ``affine`` that of the box (voxel index -> RAS mm).
    """

    values: np.ndarray
    modalities: tuple[str, ...]
    brain: np.ndarray
    known: np.ndarray
    seen: np.ndarray
    depth: np.ndarray
    affine: np.ndarray
    box: Window
    shape: tuple[int, int, int]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between voxel centers along each axis, mm."""
        return spacing_of(self.affine)


def scan_of(images: Mapping[str, Volume], brain: np.ndarray | None, tumor: np.ndarray | None) -> Scan:
    """The images (by modality) of a brain. Parameters and errors as of ``tissues.segment_tissues``."""
    first = _on_one_grid(images)
    tumor = np.zeros(first.shape, bool) if tumor is None else np.asarray(tumor, bool)
    brain = _outline(images) if brain is None else np.asarray(brain, bool)
    for name, mask in (("brain", brain), ("tumor", tumor)):
        if mask.shape != first.shape:
            raise InputError(f"The mask of the {name} has another shape than the images. Resample it to their grid.")
    if np.count_nonzero(brain & ~tumor) * voxel_ml(first.affine) < LEAST_ML:
        raise InputError(
            f"The brain without the tumor has less than {LEAST_ML:.0f} mL, too little to tell its tissues apart. Check "
            "that images and masks show the whole brain, in millimeters."
        )
    brain = brain | tumor
    box = bounding_box(brain, 1)
    inside, known = brain[box], brain[box] & ~tumor[box]
    affine = np.array(first.affine, np.float64)
    affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
    parts = {name: volume.data[box] for name, volume in images.items()}
    seen = known & np.all([part > images[name].data.min() for name, part in parts.items()], axis=0)
    values = np.stack([_comparable(part, seen, first.spacing, name) for name, part in parts.items()])
    depth = distance_to(~inside, first.spacing)
    return Scan(values, tuple(images), inside, known, seen, depth, affine, box, first.shape)


def _on_one_grid(images: Mapping[str, Volume]) -> Volume:
    """The first image. Raises InputError for names that are no modality, and where grids differ."""
    unknown = [name for name in images if name not in CONTRAST]
    if unknown or not images:
        given = f"There is an image called {unknown[0]}" if unknown else "There is no image"
        raise InputError(f"{given}. Give at least one of {', '.join(CONTRAST)}.")
    first, *others = images.values()
    for volume in others:
        if volume.shape != first.shape or not np.allclose(volume.affine, first.affine, atol=1e-3):
            raise InputError("The images are not on one grid. Resample them to the grid of one of them.")
    return first


def _outline(images: Mapping[str, Volume]) -> np.ndarray:
    """The brain in a skull-stripped image. Raises InputError where none is."""
    for volume in images.values():
        brain = brain_from_image(volume.data, volume.spacing)
        if brain is not None:
            return brain
    raise InputError(
        "None of the images is skull-stripped, so the brain's outline is not known. Give a brain mask, or remove the "
        "skull with a tool such as SynthStrip or HD-BET."
    )


def _comparable(data: np.ndarray, seen: np.ndarray, spacing: tuple[float, float, float], name: str) -> np.ndarray:
    """An image without its bias field, scaled so that brain spans about 0 to 1."""
    low, high = np.percentile(data[seen], (0.5, 99.5)) if seen.any() else (0.0, 0.0)
    if not high > low:
        raise InputError(f"The {name} image is constant inside the brain. Check that it is the right file.")
    # A multiplicative field needs positive intensities; images may have been normalized to others.
    positive = np.maximum(data - min(float(low), 0), 0.02 * (high - low)).astype(np.float32)
    even = positive / _bias_field(positive, seen, spacing)
    if name == "T2":  # fluid is so bright that a voxel with a third of it looks like fluid
        even = np.log(even + T2_OFFSET * np.median(even[seen]))
    low, high = np.percentile(even[seen], (0.5, 99.5))
    return np.clip((even - low) / (high - low), -0.1, 1.3)


def _bias_field(data: np.ndarray, seen: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """The smooth factor by which receive coils brighten ``data``: N4 (Tustison et al. 2010,
    doi:10.1109/TMI.2010.2046908) on a shrunken grid.
    """
    factors = [max(1, round(N4_MM / s)) for s in spacing[::-1]]
    image = sitk.GetImageFromArray(data)
    small = sitk.BinShrink(image, factors)
    mask = sitk.BinShrink(sitk.GetImageFromArray(seen.astype(np.float32)), factors) > 0.9
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.SetMaximumNumberOfIterations(N4_ITERATIONS)
    correction.Execute(small, mask)
    field = correction.GetLogBiasFieldAsImage(small)
    fine = sitk.Resample(field, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
    return np.exp(sitk.GetArrayFromImage(fine))
