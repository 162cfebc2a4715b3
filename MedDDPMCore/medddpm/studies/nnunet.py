"""nnU-Net's augmentation, and the arms of Table II as its raw data sets (Isensee et al. 2021)."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dataset import DatasetConfig
from ..errors import InputError
from ..files import write_text
from ..geometry.grid import from_network, labels_from_fractions
from ..geometry.marks import DESCRIPTION
from ..geometry.nifti import write_image
from ..geometry.volume import centered_affine
from ..labels.scheme import LabelScheme
from ..progress import Reporter
from ..synthesis.case import stored_intensities
from ..training.evaluation.segmenter import Augment
from ..training.monitor.samples import MASK_DESCRIPTION, REAL_DESCRIPTION

PLAN = "plan.txt"
FIRST = 501  # of nnU-Net's numbers, those for data sets of one's own
FOLDERS = ("imagesTr", "labelsTr", "imagesTs", "labelsTs")


def nnunet_augmentation() -> Augment:
    """The augmentation of nnU-Net v2's default trainer for volumes (``get_training_transforms``), by its own package.

    Its probabilities and ranges; rotation about every axis by up to 30 degrees. What is outside of the outline stays 0.
    Raises InputError where batchgeneratorsv2 is missing.
    """
    if importlib.util.find_spec("batchgeneratorsv2") is None:
        raise InputError(
            "nnU-Net's augmentation needs the package batchgeneratorsv2. Install it with: pip install "
            "\"medddpm[study]\", or name arms without augmentation = 'nnunet'."
        )
    from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
    from batchgeneratorsv2.transforms.intensity.contrast import BGContrast, ContrastTransform
    from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
    from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
    from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
    from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
    from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
    from batchgeneratorsv2.transforms.utils.random import RandomTransform

    each = {"synchronize_channels": False, "p_per_channel": 0.5}
    all_channels = {"synchronize_channels": False, "p_per_channel": 1}
    blur = GaussianBlurTransform(blur_sigma=(0.5, 1.0), synchronize_axes=False, **each)
    low = SimulateLowResolutionTransform(scale=(0.5, 1), synchronize_axes=True, ignore_axes=None, **each)
    gammas = [GammaTransform(BGContrast((0.7, 1.5)), p, p_retain_stats=1, **all_channels) for p in (1, 0)]
    steps = [
        RandomTransform(GaussianNoiseTransform((0, 0.1), 1, True), 0.1),
        RandomTransform(blur, 0.2),
        RandomTransform(MultiplicativeBrightnessTransform(BGContrast((0.75, 1.25)), **all_channels), 0.15),
        RandomTransform(ContrastTransform(BGContrast((0.75, 1.25)), True, **all_channels), 0.15),
        RandomTransform(low, 0.25),
        RandomTransform(gammas[0], 0.1),
        RandomTransform(gammas[1], 0.3),
        MirrorTransform((0, 1, 2)),
    ]

    def changed(images: Tensor, truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        angle = np.pi / 6
        spatial = SpatialTransform(
            tuple(images.shape[1:]), 0, False, p_rotation=0.2, rotation=(-angle, angle), p_scaling=0.2,
            scaling=(0.7, 1.4), p_synchronize_scaling_across_axes=1,
        )  # fmt: skip
        outline = (images != 0).any(0, keepdim=True)
        data = {"image": images.clone(), "segmentation": torch.cat([truth, outline.float()]).to(torch.int16)}
        with _seeded(int(torch.randint(2**31, (), generator=generator))):
            for step in (spatial, *steps):
                data = step(**data)
        regions = data["segmentation"].float()
        return data["image"] * regions[-1:], regions[:-1]

    return changed


class _seeded:  # noqa: N801 - a context
    """Within it, the global generators of numpy and torch begin at ``seed``; afterwards they are as before."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __enter__(self) -> None:
        self._before = np.random.get_state(), torch.random.get_rng_state()
        np.random.seed(self._seed)
        torch.manual_seed(self._seed)

    def __exit__(self, *_: object) -> None:
        np.random.set_state(self._before[0])
        torch.random.set_rng_state(self._before[1])


@dataclass(frozen=True)
class NamedCase:
    """A case with its name in the data set; images (C, D, H, W) in [-1, 1], fractions (L, D, H, W)."""

    name: str
    images: Tensor
    fractions: Tensor
    synthetic: bool
    affine: tuple[tuple[float, ...], ...] | None = None


def export_arm(
    root: Path,
    number: int,
    arm: str,
    facts: str,
    config: DatasetConfig,
    train: Iterator[NamedCase],
    test: Iterator[NamedCase],
    reporter: Reporter,
) -> str:
    """Write an arm as the raw data set ``Dataset<number>_<arm>`` below ``root``; returns that name.

    A data set that was written whole from the same ``facts`` is kept. Raises Cancelled.
    """
    name = f"Dataset{number}_{''.join(c if c.isascii() and c.isalnum() else '_' for c in arm)}"
    folder = root / name
    described = folder / "dataset.json"
    if described.is_file() and json.loads(described.read_text(encoding="utf-8")).get("medddpm") == facts:
        return name
    described.unlink(missing_ok=True)
    for part in FOLDERS:
        shutil.rmtree(folder / part, ignore_errors=True)
    counts = [_write(folder, suffix, cases, config, reporter) for suffix, cases in (("Tr", train), ("Ts", test))]
    told = description(arm, config.modalities, config.scheme, counts[0])
    write_text(described, json.dumps({**told, "medddpm": facts}, indent=1) + "\n")
    return name


def write_plan(root: Path, names: Sequence[str]) -> None:
    """The commands that train and test nnU-Net on the data sets, ``plan.txt``."""
    lines = [
        "# nnU-Net v2 on the arms of this study: pip install nnunetv2, then run these commands.",
        "# It augments always, so there is one data set for arms that differ by augmentation only.",
        f'export nnUNet_raw="{root}"',
        f'export nnUNet_preprocessed="{root / "preprocessed"}"',
        f'export nnUNet_results="{root / "results"}"',
    ]
    for name in names:
        number, found = name.removeprefix("Dataset")[:3], f'"$nnUNet_results/{name}-test"'
        trained = f'"$nnUNet_results/{name}/nnUNetTrainer__nnUNetPlans__3d_fullres'
        lines += [
            "",
            f"nnUNetv2_plan_and_preprocess -d {number} -c 3d_fullres",
            f"nnUNetv2_train {number} 3d_fullres all",
            f'nnUNetv2_predict -d {number} -c 3d_fullres -f all -i "$nnUNet_raw/{name}/imagesTs" -o {found}',
            f'nnUNetv2_evaluate_folder "$nnUNet_raw/{name}/labelsTs" {found} '
            f'-djfile {trained}/dataset.json" -pfile {trained}/plans.json"',
        ]
    write_text(root / PLAN, "\n".join(lines) + "\n")


def description(name: str, modalities: Sequence[str], scheme: LabelScheme, cases: int) -> dict[str, Any]:
    """``dataset.json`` of a raw data set: its labels are those of ``numbered``."""
    return {
        "name": name,
        "channel_names": {str(i): modality for i, modality in enumerate(modalities)},
        "labels": {"background": 0} | {scheme.label(v).name: i for i, v in enumerate(scheme.tumor_values, 1)},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }


def numbered(labels: np.ndarray, scheme: LabelScheme) -> np.ndarray:
    """Labels of a scheme as nnU-Net wants them: the parts of the tumor from 1 on, all else 0."""
    found = np.zeros_like(labels)
    for number, value in enumerate(scheme.tumor_values, 1):
        found[labels == value] = number
    return found


def _write(folder: Path, suffix: str, cases: Iterator[NamedCase], config: DatasetConfig, reporter: Reporter) -> int:
    grid, count = config.grid, 0
    usual = centered_affine(grid.shape, grid.spacing, grid.orientation)
    for count, case in enumerate(cases, 1):  # noqa: B007
        reporter.check_cancelled()
        affine = usual if case.affine is None else np.array(case.affine)
        description = DESCRIPTION if case.synthetic else REAL_DESCRIPTION
        for i, image in enumerate(from_network(case.images.numpy())):
            path = folder / f"images{suffix}" / f"{case.name}_{i:04d}.nii.gz"
            write_image(path, stored_intensities(image), affine, description)
        labels = labels_from_fractions(from_network(case.fractions.numpy()), config.scheme.values)
        parts = numbered(labels, config.scheme)
        write_image(folder / f"labels{suffix}" / f"{case.name}.nii.gz", parts, affine, MASK_DESCRIPTION)
    return count
