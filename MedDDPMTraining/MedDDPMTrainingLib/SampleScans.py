"""Small simulated scans with masks, to try a training without data of one's own.

Gray values are drawn for each label, with smooth variation, a bias field and noise; the tumor of the sample mask lies
elsewhere in each case. They show how everything works. A model trained on them makes such simulated images.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np
from medddpm.errors import InputError

FOLDER = "MedDDPM sample scans"
CASES = 6
# Every second voxel of the sample mask: 2 mm.
COARSER = 2
# How far a tumor is moved, in voxels.
MAX_SHIFT = 8
# The label of the scheme "brats" that surrounds the tumor.
BRAIN = 4
# For each modality: mean gray values of the labels 0 to 4 (none, necrosis, edema, enhancing tumor, brain) of that
# scheme, and the contrast of gray against white matter.
_GRAY = {
    "t1": ((0, 300, 480, 520, 600), -150),
    "t1ce": ((0, 280, 500, 980, 620), -140),
    "t2": ((0, 900, 820, 620, 480), 130),
    "flair": ((0, 450, 850, 700, 500), 120),
}
_NOISE = 25.0


def sampleScans(folder: str | Path, cases: int = CASES, coarser: int = COARSER) -> Generator[None, None, Path]:
    """Steps that write ``cases`` simulated patients in the layout of BraTS into a new ``folder``; they return it.

    Every ``coarser``-th voxel of the 1 mm sample mask is used. Raises InputError where the folder is there already or
    cannot be written.
    """
    from medddpm.geometry.itk import write_nrrd
    from MedDDPMSlicerLib.Storage import sampleMaskPath
    from MedDDPMSlicerLib.Volumes import unpackNifti  # nibabel is not in every Slicer

    target = Path(folder)
    sample = yield from unpackNifti(sampleMaskPath())
    affine = sample.affine @ np.diag([coarser, coarser, coarser, 1])
    labels = sample.voxels.T[::coarser, ::coarser, ::coarser].astype(np.uint8)
    if target.exists():
        raise InputError(f"The folder {target} already exists. Choose another place, or use what is in it.")
    try:
        for number in range(1, cases + 1):
            case, random = f"Sample_{number:02d}", np.random.default_rng(number)
            (target / case).mkdir(parents=True)
            mask = _variant(labels, random)
            write_nrrd(target / case / f"{case}_seg.nrrd", mask, affine)
            yield
            matter = np.sign(_smooth(random, mask.shape, 6))
            yield
            for modality, (means, contrast) in _GRAY.items():
                image = np.array(means, np.float32)[mask] + np.where(mask == BRAIN, matter * contrast / 2, 0)
                image *= 1 + 0.08 * _smooth(random, mask.shape, 24)
                yield
                image += random.normal(0, _NOISE, mask.shape)
                image = np.where(mask > 0, np.clip(image, 1, None), 0).astype(np.float32)
                write_nrrd(target / case / f"{case}_{modality}.nrrd", image, affine)
                yield
    except OSError as exc:
        raise InputError(f"{target} cannot be written: {exc.strerror or exc}. Choose another place.") from exc
    return target


def _variant(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The mask with its tumor moved, in half of the cases mirrored; what would leave the brain is cut off."""
    mirrored = labels[::-1] if random.random() < 0.5 else labels
    shift = tuple(int(n) for n in random.integers(-MAX_SHIFT, MAX_SHIFT + 1, 3))
    tumor = np.roll(np.where(mirrored == BRAIN, 0, mirrored), shift, (0, 1, 2))
    return np.where(labels > 0, np.where(tumor > 0, tumor, BRAIN), 0).astype(np.uint8)


def _smooth(random: np.random.Generator, shape: tuple[int, ...], voxels: int) -> np.ndarray:
    """A smooth random field of unit scale whose bumps are about ``voxels`` wide."""
    import SimpleITK

    coarse = random.normal(0, 1, [max(2, -(-size // voxels) + 1) for size in shape])
    image = SimpleITK.GetImageFromArray(coarse.astype(np.float32))
    spacing = [(size - 1) / max(1, count - 1) for size, count in zip(shape[::-1], image.GetSize(), strict=True)]
    image.SetSpacing(spacing)
    grid = SimpleITK.Image([int(size) for size in shape[::-1]], SimpleITK.sitkFloat32)
    resampled = SimpleITK.Resample(image, grid, SimpleITK.Transform(), SimpleITK.sitkLinear, 0.0)
    return SimpleITK.GetArrayFromImage(resampled)
