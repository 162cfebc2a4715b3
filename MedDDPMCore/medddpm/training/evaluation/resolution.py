"""A model measured on a dataset of another voxel size: masks go to the model's voxels, its images come back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config import GridConfig
from ...errors import InputError


@dataclass(frozen=True)
class Resolution:
    """Along each axis, ``coarser`` voxels of the dataset are one of the model, or ``finer`` of the model one of it.

    At least one of both is 1; 1 and 1: the same voxels.
    """

    coarser: int = 1
    finer: int = 1

    def to_model(self, fractions: Tensor) -> Tensor:
        """Label fractions (L, D, H, W) on the model's voxels.

        Larger voxels get the mean. Smaller ones get the label that has most of the interpolated shares there, whole, as
        where somebody had painted them.
        """
        if self.finer == 1:
            return F.avg_pool3d(fractions, self.coarser)
        smooth = F.interpolate(fractions[None], scale_factor=self.finer, mode="trilinear")[0]
        shares = torch.cat([1 - smooth.sum(0, keepdim=True), smooth])
        most = shares.argmax(0, keepdim=True)
        return torch.zeros_like(shares).scatter_(0, most, 1.0)[1:]

    def to_dataset(self, images: Tensor) -> Tensor:
        """Images (C, D, H, W) of the model on the dataset's voxels: their mean, or interpolated linearly."""
        if self.coarser == 1:
            return F.avg_pool3d(images, self.finer)
        return F.interpolate(images[None], scale_factor=self.coarser, mode="trilinear")[0]


def resolution(model: GridConfig, dataset: GridConfig) -> Resolution:
    """How the voxels of both are related; the fields of view may differ.

    Raises InputError where the orientations differ, or the spacings not by one whole factor, or where the dataset's
    shape is no multiple of it.
    """
    ratios = [ours / theirs for ours, theirs in zip(model.spacing, dataset.spacing, strict=True)]
    coarser, finer = max(1, round(ratios[0])), max(1, round(1 / ratios[0]))
    if model.orientation != dataset.orientation:
        problem = f"their orientations are {model.orientation} and {dataset.orientation}"
    elif not all(math.isclose(ratio, coarser / finer, rel_tol=1e-3) for ratio in ratios):
        problem = f"their voxels of {_mm(model)} and {_mm(dataset)} do not differ by one whole factor"
    elif any(side % coarser for side in dataset.shape):
        problem = f"the dataset's {_shape(dataset)} voxels cannot be joined by {coarser} along each axis"
    else:
        return Resolution(coarser, finer)
    raise InputError(
        f"The model and the dataset do not fit: {problem}. Prepare a dataset for this model, or choose a model that "
        "was trained on this one."
    )


def resolution_doubts(model: GridConfig, dataset: GridConfig) -> list[str]:
    """Sentences on what the differences of the grids mean for the figures."""
    sentences, found = [], resolution(model, dataset)
    if found.coarser > 1:
        sentences.append(
            f"The model's voxels ({_mm(model)}) are larger than the dataset's ({_mm(dataset)}): its images are "
            "interpolated, and cannot be as sharp as the real ones."
        )
    if found.finer > 1:
        sentences.append(
            f"The model's voxels ({_mm(model)}) are smaller than the dataset's ({_mm(dataset)}): the masks are "
            "interpolated and its images averaged, so its finest detail is not judged."
        )
    fields = [[side * mm for side, mm in zip(grid.shape, grid.spacing, strict=True)] for grid in (model, dataset)]
    if not all(math.isclose(ours, theirs, rel_tol=1e-3) for ours, theirs in zip(*fields, strict=True)):
        sentences.append(
            f"The model was trained on {_shape(model)} voxels of {_mm(model)}, which is another field of view than the "
            f"dataset's ({_shape(dataset)} of {_mm(dataset)})."
        )
    return sentences


def _mm(grid: GridConfig) -> str:
    sides = sorted(set(grid.spacing))
    return f"{sides[0]:g} mm" if len(sides) == 1 else " x ".join(f"{mm:g}" for mm in grid.spacing) + " mm"


def _shape(grid: GridConfig) -> str:
    return " x ".join(map(str, grid.shape))
