"""From image and mask files to a prepared dataset, by the same steps as synthesis takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from ..config import GridConfig, MaskPrior, ModelConfig, NetworkConfig, ScheduleConfig
from ..dataset import DatasetConfig, PreparedCase
from ..errors import InputError
from ..files import atomic_path
from ..geometry.grid import image_to_grid, to_network
from ..geometry.intensity import NORMALIZATION, IntensityRange
from ..geometry.io import read_volume
from ..geometry.volume import Volume, voxel_ml
from ..labels.scheme import LabelScheme
from ..progress import Reporter
from ..synthesis.case import PreparedCase as PlacedMask
from ..synthesis.case import prepare_case

# The prior spans the training masks' 1st to 99th percentile, widened on both sides by this factor.
PRIOR_MARGIN = 1.25


@dataclass(frozen=True)
class CaseSource:
    """The files of one case: ``images`` in the order of the modalities; the first one gives a missing outline."""

    id: str
    split: str
    images: tuple[Path, ...]
    mask: Path


@dataclass(frozen=True)
class MaskSizes:
    """Sizes of one mask: milliliters, and the outline's extent along R, A and S in millimeters."""

    outline_ml: float
    tumor_ml: float
    extent_mm: tuple[float, float, float]


def prepare_dataset(
    sources: Sequence[CaseSource],
    out: Path,
    scheme: LabelScheme,
    grid: GridConfig,
    modalities: tuple[str, ...],
    reporter: Reporter,
    provenance: dict[str, str] | None = None,
) -> DatasetConfig:
    """Prepare every case and write the dataset folder ``out``; the mask prior comes from the training split alone.

    Raises InputError naming the case that cannot be prepared.
    """
    template = _template(scheme, grid, modalities)
    sizes = []
    for done, source in enumerate(sources):
        reporter.check_cancelled()
        tensors, size = prepare_one(source, template)
        with atomic_path(out / "cases" / f"{source.id}.safetensors") as temporary:
            save_file(tensors, temporary)
        if source.split == "train":
            sizes.append(size)
        reporter.step(done + 1, len(sources))
    config = DatasetConfig(
        scheme=scheme,
        grid=grid,
        modalities=modalities,
        cases=tuple(PreparedCase(source.id, source.split) for source in sources),
        normalization=NORMALIZATION,
        prior=mask_prior(sizes) if sizes else None,
        provenance=dict(provenance or {}),
    )
    config.save(out)
    return config


def prepare_one(source: CaseSource, config: ModelConfig) -> tuple[dict[str, Tensor], MaskSizes]:
    """The tensors of one prepared case (see ``training.dataset``) and the sizes of its mask."""
    if len(source.images) != len(config.modalities):
        raise InputError(
            f"The case {source.id} has {len(source.images)} images, but {len(config.modalities)} modalities "
            f"({', '.join(config.modalities)}) are wanted."
        )
    placed = prepare_case(source.mask, source.images[0], config)
    images = [_normalized(read_volume(path), placed, config.background) for path in source.images]
    tensors = {
        "images": torch.from_numpy(to_network(np.stack(images))).half(),
        "fractions": (placed.condition[0] * 255).round().to(torch.uint8),
    }
    return tensors, _sizes(placed.labels, config.scheme)


def _normalized(volume: Volume, placed: PlacedMask, background: float) -> np.ndarray:
    """The image on the model's grid, (X, Y, Z) in [-1, 1]."""
    if volume.shape != placed.labels.shape:
        raise InputError(f"An image has {volume.shape} voxels but its mask {placed.labels.shape}. Register them first.")
    scaled = IntensityRange.of(volume.data, volume.data[placed.labels.data > 0]).to_network(volume.data)
    return image_to_grid(replace(volume, data=scaled), placed.placement, background)


def _sizes(labels: Volume, scheme: LabelScheme) -> MaskSizes:
    one = voxel_ml(labels.affine)
    inside = np.argwhere(labels.data > 0)
    world = inside @ labels.affine[:3, :3].T
    extent = world.max(axis=0) - world.min(axis=0)
    tumor = int(np.isin(labels.data, scheme.tumor_values).sum())
    return MaskSizes(len(inside) * one, tumor * one, (float(extent[0]), float(extent[1]), float(extent[2])))


def mask_prior(sizes: Sequence[MaskSizes]) -> MaskPrior:
    """The plausible range of masks, from those of the training cases."""
    extents = [_range([size.extent_mm[axis] for size in sizes]) for axis in range(3)]
    return MaskPrior(
        outline_ml=_range([size.outline_ml for size in sizes]),
        tumor_ml=(0.0, _range([size.tumor_ml for size in sizes])[1]),
        outline_extent_mm=(extents[0], extents[1], extents[2]),
    )


def _range(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [1, 99])
    return float(low / PRIOR_MARGIN), float(high * PRIOR_MARGIN)


def _template(scheme: LabelScheme, grid: GridConfig, modalities: tuple[str, ...]) -> ModelConfig:
    """What the mask check and the placement need to know of the model that will be trained."""
    network = NetworkConfig(len(modalities), len(scheme.labels), base_channels=32, multipliers=(1,))
    return ModelConfig(
        name="training data",
        modalities=modalities,
        network=network,
        schedule=ScheduleConfig(),
        scheme=scheme,
        grid=grid,
    )
