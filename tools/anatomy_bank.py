"""The bank of brains of medddpm.anatomy, from whole-head label maps in the numbers of FreeSurfer or SynthSeg.

python tools/anatomy_bank.py LABELMAPS BRAIN.nii.gz [BRAIN.nii.gz ...]

LABELMAPS is a folder of NIfTI label maps at 1 mm. The others are brain outlines or skull-stripped images in the frame
of BraTS: each map is turned and moved to lie as these do on average, by its affine alone, without resampling.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from medddpm.anatomy.brain_maps import FOLDER, tissues_of
from medddpm.geometry.io import read_mask
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume, spacing_of
from medddpm.labels.morphology import bounding_box, distance_to

STEP_MM = 3.0
DESCRIPTION = "Tissues, after a label map of SynthSeg (Apache-2.0)"


def main(folder: Path, brains: list[Path]) -> None:
    """Write a map of the bank for each label map of ``folder``."""
    frame = mean_distance(brains)
    for number, path in enumerate(sorted(folder.glob("*.nii.gz"))):
        structures = read_mask(path).volume
        tissues, sentences = tissues_of(Volume(np.rint(structures.data).astype(np.int32), structures.affine))
        box = bounding_box(tissues.data > 0)
        affine = tissues.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
        placed = pose(Volume(tissues.data[box], affine), frame) @ affine
        target = FOLDER / f"brain_{number + 1:02d}.nii.gz"
        write_image(target, tissues.data[box], placed, DESCRIPTION)
        target.write_bytes(gzip.compress(gzip.decompress(target.read_bytes()), 9, mtime=0))
        print(path.name, *sentences)


def signed_distance(volume: Volume) -> sitk.Image:
    """Distance to the surface of what is not 0, mm, positive inside, at 1 mm spacing with 20 mm around it; RAS axes."""
    inside = np.pad(volume.data > 0, 20)
    data = np.clip(distance_to(~inside, volume.spacing) - distance_to(inside, volume.spacing), -15, 40)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, np.float32))
    image.SetSpacing(volume.spacing)
    image.SetDirection((volume.affine[:3, :3] / spacing_of(volume.affine)).ravel().tolist())
    image.SetOrigin((volume.affine[:3, 3] - 20 * volume.affine[:3, :3].sum(axis=1)).tolist())
    return image


def mean_distance(brains: list[Path]) -> sitk.Image:
    """The mean of the signed distances of ``brains``, on a coarse grid of RAS axes."""
    images = [signed_distance(read_mask(path).volume) for path in brains]
    ends = np.array([i.TransformIndexToPhysicalPoint(c) for i in images for c in ((0, 0, 0), i.GetSize())])
    grid = sitk.Image(np.ceil(np.ptp(ends, axis=0) / STEP_MM).astype(int).tolist(), sitk.sitkFloat32)
    grid.SetSpacing([STEP_MM] * 3)
    grid.SetOrigin(ends.min(axis=0).tolist())
    mean = sum(sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, -15.0) for image in images) / len(images)
    return sitk.Cast(mean, sitk.sitkFloat32)


def pose(tissues: Volume, frame: sitk.Image) -> np.ndarray:
    """The rotation and shift (4x4, RAS mm to RAS mm) that lays a brain into ``frame``; its size stays."""
    moving = signed_distance(tissues)
    similarity = sitk.Similarity3DTransform()
    masks = [sitk.Cast(distance > 0, sitk.sitkFloat32) for distance in (frame, moving)]
    mode = sitk.CenteredTransformInitializerFilter.MOMENTS
    similarity = sitk.Similarity3DTransform(sitk.CenteredTransformInitializer(*masks, similarity, mode))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.005, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(similarity, inPlace=True)
    method.Execute(frame, moving)
    rotation = np.array(similarity.GetMatrix()).reshape(3, 3) / similarity.GetScale()
    pitch = np.degrees(np.arcsin(rotation[2, 1]))
    print(f"scale {similarity.GetScale():.3f}, pitch {pitch:.1f}, mean square {method.GetMetricValue():.2f}")
    center = np.array(similarity.GetCenter())
    # frame point p -> map point s R (p - c) + c + t: its inverse without the scale, about the middle of the map.
    middle = center + np.array(similarity.GetTranslation())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.T
    matrix[:3, 3] = center - rotation.T @ middle
    return matrix


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
