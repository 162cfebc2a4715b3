"""A tiny model folder and masks in every orientation and format, for the tests of synthesis."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.geometry.nifti import write_image
from medddpm.labels.scheme import load_scheme
from medddpm.models.registry import save_model_folder
from small_models import reference_network

Points = tuple[np.ndarray, np.ndarray, np.ndarray]
CENTER = (5.0, -12.0, 20.0)  # of the brain, RAS mm
TUMOR = (32.0, -30.0, 42.0)  # of the tumor, RAS mm: off the middle on all axes


def tiny_config(steps: int = 6) -> ModelConfig:
    """BraTS labels to T1 and FLAIR on 16 x 24 x 16 voxels of 10 mm."""
    return ModelConfig(
        name="tiny",
        modalities=("T1", "FLAIR"),
        network=NetworkConfig(2, 4, 16, (1, 2), 1, (), 1, 8),
        schedule=ScheduleConfig(steps=steps),
        scheme=load_scheme("brats"),
        grid=GridConfig((16, 24, 16), (10.0, 10.0, 10.0), "LPS"),
        sampler="dpm++2m",
        sampler_steps=3,
    )


def save_tiny(folder: Path, steps: int = 6, change: Callable[[torch.Tensor], torch.Tensor] = lambda w: w) -> Path:
    """A model folder of ``tiny_config`` with the reference's weights, each sent through ``change``."""
    config = tiny_config(steps)
    state = {name: change(w) for name, w in reference_network(config.network).state_dict().items()}
    save_model_folder(folder, config, state)
    return folder


def phantom(points: Points) -> np.ndarray:
    """Labels at RAS positions (mm): an adult brain (4) around an edema (2), a rim (3) and a core (1)."""
    x, y, z = (p - c for p, c in zip(points, CENTER, strict=True))
    narrow = 1 - 0.25 * y / 84
    labels = np.zeros(x.shape, np.uint8)
    labels[(x / (68 * narrow)) ** 2 + (y / 84) ** 2 + ((z - 0.25 * y) / (58 * narrow)) ** 2 <= 1] = 4
    distance = np.sqrt(sum((p - c) ** 2 for p, c in zip(points, TUMOR, strict=True)))
    for radius, value in ((24.0, 2), (16.0, 3), (9.0, 1)):
        labels[distance <= radius] = value
    return labels


def affine_of(
    codes: str, spacing: tuple[float, float, float], shape: tuple[int, int, int], degrees: float = 0
) -> np.ndarray:
    """Voxel -> RAS mm: axes that run toward ``codes``, turned about the body axis, with the brain in the middle."""
    directions = np.zeros((3, 3))
    for axis, code in enumerate(codes):
        directions["RAS".index(code) if code in "RAS" else "LPI".index(code), axis] = 1 if code in "RAS" else -1
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ directions * spacing
    affine[:3, 3] = np.array(CENTER) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def positions(shape: tuple[int, ...], affine: np.ndarray) -> Points:
    """RAS positions (mm) of all voxel centers."""
    indices = np.indices(shape).reshape(3, -1)
    x, y, z = (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, *shape)
    return x, y, z


def save_mask(
    path: Path,
    codes: str = "LPS",
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0),
    shape: tuple[int, int, int] = (42, 50, 40),
    degrees: float = 0,
    shift: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Write the phantom in the format that the name says; returns its labels and affine. ``shift``: of the tumor by
    so many voxels, for a mask that was edited.
    """
    affine = affine_of(codes, spacing, shape, degrees)
    labels = phantom(positions(shape, affine))
    if shift:
        tumor = np.where(np.isin(labels, (1, 2, 3)), labels, 0)
        moved = np.roll(tumor, shift, axis=0)
        labels = np.where(moved > 0, moved, np.where(labels > 0, 4, 0)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")):
        write_image(path, labels, affine, "test")
    else:
        _save_itk(path, labels, affine)
    return labels, affine


def _save_itk(path: Path, labels: np.ndarray, affine: np.ndarray) -> None:
    image = sitk.GetImageFromArray(labels.transpose(2, 1, 0))
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.sqrt((lps[:, :3] ** 2).sum(axis=0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:, 3].tolist())
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    if path.name.endswith(".seg.nrrd"):
        names = {1: "Necrotic and non-enhancing tumor core", 2: "Peritumoral edema", 3: "Enhancing tumor", 4: "Brain"}
        for number, (value, name) in enumerate(names.items()):
            for key, text in {"ID": f"Segment_{value}", "Name": name, "LabelValue": str(value), "Layer": "0"}.items():
                image.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(image, str(path))


def centroid(weights: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The center of mass, RAS mm."""
    points = np.stack(positions(weights.shape, affine))
    return (points * weights).reshape(3, -1).sum(axis=1) / weights.sum()


def contents(folder: Path) -> dict[str, str]:
    """Every file below ``folder`` with the hash of its bytes; of the record only what does not depend on the time."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name != "provenance.json":
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def voxels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels as float64 and affine of a NIfTI file."""
    image = nib.load(path)
    return np.asarray(image.dataobj, np.float64), image.affine
