"""A mean image of the training heads, at places that are relative to each head (see ``network.position``).

It tells what lies where on average: ventricles in the middle, cortex along the rim. It is blurred, since heads differ,
and it is the mean of all training cases, none of which can be taken out of it again where they are many.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

NODES = 48  # along each axis
EXTENT = 1.4  # of the atlas to both sides of the center; the rim of a head is at about 1
PRIOR = 2.0  # how many cases say "no difference" beforehand, so that a place seen by few tells little


def looked_up(atlas: Tensor, place: Tensor) -> Tensor:
    """``atlas`` (1, C, NODES, NODES, NODES) at ``place`` (B, 3, D, H, W) -> (B, C, D, H, W), linear between nodes."""
    points = (place / EXTENT).permute(0, 2, 3, 4, 1).flip(-1)
    whole = atlas.expand(len(place), -1, -1, -1, -1)
    return F.grid_sample(whole, points, padding_mode="border", align_corners=True)


def fitted_atlas(cases: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The weighted mean at each node, (1, C, NODES, NODES, NODES).

    A case: values (C, D, H, W), their weights from 0 to 1 (1, D, H, W), and the place of each voxel in a whole volume
    as ``place_in_head`` tells it, (3, D, H, W).
    """
    total: Tensor | float = 0.0
    weights: Tensor | float = PRIOR
    for values, weight, place in cases:
        at_nodes = _at_nodes(torch.cat([values * weight, weight]), place)
        total, weights = total + at_nodes[:-1], weights + at_nodes[-1:]
    return torch.as_tensor(total / weights)[None]


def _at_nodes(volume: Tensor, place: Tensor) -> Tensor:
    """``volume`` (C, D, H, W) at the nodes of the atlas; 0 outside of the volume."""
    nodes = torch.linspace(-EXTENT, EXTENT, NODES)
    lines = place[0, :, 0, 0], place[1, 0, :, 0], place[2, 0, 0, :]
    axes = [(nodes - line[0]) / (line[-1] - line[0]) * 2 - 1 for line in lines]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1)
    return F.grid_sample(volume[None], points[None], align_corners=True)[0]
