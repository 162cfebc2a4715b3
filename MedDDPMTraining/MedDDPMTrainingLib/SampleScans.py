"""Small simulated scans with masks, to try a training without data of one's own.

Gray values are drawn for each label, with smooth variation, a bias field and noise; the tumor of the sample mask lies
elsewhere in each case. They show how everything works. A model trained on them makes such simulated images.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from medddpm.errors import InputError

FOLDER = "MedDDPM sample scans"
MODALITIES = ("t1", "t1ce", "t2", "flair")
CASES = 6
# Every second voxel of the sample mask: 2 mm.
COARSER = 2
# How far a tumor is moved, in voxels.
MAX_SHIFT = 8
# The label of the scheme "brats" that surrounds the tumor.
BRAIN = 4
# Mean gray value of each label (values of that scheme) in each modality.
_GRAY: dict[int, tuple[float, float, float, float]] = {
    1: (300.0, 280.0, 900.0, 450.0),  # necrosis
    2: (480.0, 500.0, 820.0, 850.0),  # edema
    3: (520.0, 980.0, 620.0, 700.0),  # enhancing tumor
    BRAIN: (600.0, 620.0, 480.0, 500.0),  # brain
}
# Contrast of gray against white matter in each modality.
_TISSUE = (-150.0, -140.0, 130.0, 120.0)
_NOISE = 25.0


def sampleScans(folder: str | Path, cases: int = CASES, coarser: int = COARSER) -> Generator[None, None, Path]:
    """Steps that write ``cases`` simulated patients in the arrangement of BraTS into a new ``folder``; they return it.

    Every ``coarser``-th voxel of the 1 mm sample mask is used. Raises InputError where the folder is there already or
    cannot be written.
    """
    from medddpm.geometry.itk import write_nrrd

    target = Path(folder)
    labels, affine = yield from _sampleMask(coarser)
    _make(target)
    for number in range(1, cases + 1):
        random = np.random.default_rng(number)
        mask = _variant(labels, random)
        yield
        case = f"Sample_{number:02d}"
        tissue = _smooth(random, mask.shape, 6)
        yield
        for channel, modality in enumerate(MODALITIES):
            image = _image(mask, channel, tissue, random)
            yield
            _write(write_nrrd, target / case / f"{case}_{modality}.nrrd", image, affine)
            yield
        _write(write_nrrd, target / case / f"{case}_seg.nrrd", mask, affine)
        yield
    return target


def _sampleMask(coarser: int) -> Generator[None, None, tuple[np.ndarray, np.ndarray]]:
    """Steps that read the mask, without the package nibabel, which Slicer does not bring along."""
    from MedDDPMSlicerLib.Storage import sampleMaskPath
    from MedDDPMSlicerLib.Voxels import unpackNifti

    volume = yield from unpackNifti(sampleMaskPath())
    affine = volume.affine.copy()
    affine[:3, :3] *= coarser
    return volume.voxels.T[::coarser, ::coarser, ::coarser].astype(np.uint8), affine


def _variant(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The mask with its tumor moved, in half of the cases mirrored; what would leave the brain is cut off."""
    inside = labels > 0
    mirrored = labels[::-1] if random.random() < 0.5 else labels
    shift = tuple(int(n) for n in random.integers(-MAX_SHIFT, MAX_SHIFT + 1, 3))
    tumor = np.roll(np.where(mirrored == BRAIN, 0, mirrored), shift, (0, 1, 2))
    return np.where(inside, np.where(tumor > 0, tumor, BRAIN), 0).astype(np.uint8)


def _image(mask: np.ndarray, channel: int, tissue: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """One modality (float32, 0 outside the head)."""
    means = np.zeros(max(_GRAY) + 1, dtype=np.float32)
    for value, gray in _GRAY.items():
        means[value] = gray[channel]
    image = means[mask] + np.where(mask == BRAIN, np.sign(tissue) * _TISSUE[channel] / 2, 0)
    image *= 1 + 0.08 * _smooth(random, mask.shape, 24)
    image += random.normal(0, _NOISE, mask.shape)
    return np.where(mask > 0, np.clip(image, 1, None), 0).astype(np.float32)


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


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise InputError(f"The folder {folder} already exists. Choose another place, or use what is in it.") from None
    except OSError as exc:
        raise InputError(f"The folder {folder} cannot be made: {exc.strerror or exc}. Choose another place.") from exc


def _write(write: Any, path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
        write(path, data, affine)
    except OSError as exc:
        raise InputError(f"{path} cannot be written: {exc.strerror or exc}. Free space on the disk.") from exc
