"""Tissues in images whose mask has them: their contrast, and whether they are where the mask asks for them.

Images are (C, D, H, W) in [-1, 1], fractions (L, D, H, W) in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ...anatomy.mixture import CONTRAST
from ...anatomy.tissues import segment_tissues
from ...dataset import DatasetConfig
from ...geometry.grid import from_network, to_network
from ...geometry.volume import Volume, centered_affine
from ...labels.conventions import CORTEX, DEEP_GRAY, VENTRICLES, WHITE, label_role
from ...labels.scheme import LabelScheme, load_scheme
from ..monitor.quality import inside

TISSUES = {"ventricles": (VENTRICLES,), "gray": (CORTEX, DEEP_GRAY), "white": (WHITE,)}


def tissue_masks(fractions: Tensor, scheme: LabelScheme) -> dict[str, Tensor]:
    """Where each of ``TISSUES`` that the scheme has fills most of a voxel, (D, H, W)."""
    roles = [label_role(label, scheme) for label in scheme.labels]
    channels = {tissue: [i for i, role in enumerate(roles) if role in own] for tissue, own in TISSUES.items()}
    return {tissue: fractions[of].sum(0) > 0.5 for tissue, of in channels.items() if of}


def contrasts(image: Tensor, masks: Mapping[str, Tensor]) -> dict[str, float]:
    """``gray_white`` (white less gray) and ``ventricles`` (these less white) of an image (D, H, W).

    Differences of means over the pooled standard deviation of both (Cohen's d), signed: what an eye or a classifier has
    to tell them by. Without pairs of which one is missing or smaller than two voxels.
    """
    values = {tissue: image[mask] for tissue, mask in masks.items() if int(mask.sum()) > 1}
    pairs = {"gray_white": ("white", "gray"), "ventricles": ("ventricles", "white")}
    return {
        name: _contrast(values[one], values[other])
        for name, (one, other) in pairs.items()
        if one in values and other in values
    }


def _contrast(one: Tensor, other: Tensor) -> float:
    pooled = ((one.var() + other.var()) / 2).sqrt().clamp_min(1e-3)
    return float((one.mean() - other.mean()) / pooled)


def tissue_dice(images: Tensor, fractions: Tensor, config: DatasetConfig) -> dict[str, float]:
    """Dice of each of ``TISSUES`` as segmented in the images, with the mask, outside of the tumor.

    Empty where the mask has no tissues, or no modality is one that ``segment_tissues`` knows. Raises InputError where
    that cannot work on these images.
    """
    scheme, grid = config.scheme, config.grid
    known = {name: image for name, image in zip(config.modalities, images, strict=True) if name in CONTRAST}
    if not known or not scheme.tissue_values:
        return {}
    affine = centered_affine(grid.shape, grid.spacing, grid.orientation)
    volumes = {name: Volume(from_network(image.numpy()), affine) for name, image in known.items()}
    tumor = fractions[[label.tumor for label in scheme.labels]].sum(0) > 0
    brain = from_network(inside(fractions).numpy())
    found = segment_tissues(volumes, brain, from_network(tumor.numpy())).fractions
    anatomy = load_scheme("glioma-anatomy")
    tissues = replace(anatomy, labels=tuple(label for label in anatomy.labels if not label.tumor))
    seen = tissue_masks(torch.from_numpy(to_network(found)), tissues)
    wanted = {tissue: mask & ~tumor for tissue, mask in tissue_masks(fractions, scheme).items()}
    return {
        f"anatomy_{tissue}": float(2 * (mask & seen[tissue]).sum() / (mask.sum() + seen[tissue].sum()))
        for tissue, mask in wanted.items()
        if bool(mask.any())
    }
