"""Volumes with their place in space: files, grids and resampling."""

from .grid import (
    Placement,
    from_network,
    image_from_grid,
    image_to_grid,
    labels_from_fractions,
    labels_from_grid,
    labels_to_grid,
    place,
    to_network,
)
from .io import read_mask, read_volume
from .volume import Mask, Segment, Volume

__all__ = [
    "Mask",
    "Placement",
    "Segment",
    "Volume",
    "from_network",
    "image_from_grid",
    "image_to_grid",
    "labels_from_fractions",
    "labels_from_grid",
    "labels_to_grid",
    "place",
    "read_mask",
    "read_volume",
    "to_network",
]
