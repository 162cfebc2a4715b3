"""Samples of an evaluation on the disk: how they are read again, and what they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ...files import read_text
from ...geometry.grid import to_network
from ...geometry.io import read_volume
from ...parse import parse_json
from ...synthesis.case import INTENSITY_SCALE, stored_intensities

RECORD = "record.json"  # written last: its presence says that a folder is whole


def as_written(images: Tensor) -> Tensor:
    """Images (C, D, H, W) in [-1, 1] with the precision of the files."""
    return torch.from_numpy(stored_intensities(images.numpy())).float() / (INTENSITY_SCALE / 2) - 1


def read_sample(folder: Path, modalities: Sequence[str], like: Tensor) -> Tensor | None:
    """The synthetic images in ``folder``, (C, D, H, W) in [-1, 1]; None where they are not all there and whole."""
    images = []
    for modality in modalities:
        try:
            data = read_volume(folder / f"synthetic-{modality}.nii.gz").data
        except InputError:
            return None
        images.append(torch.from_numpy(to_network(data)) / (INTENSITY_SCALE / 2) - 1)
    return torch.stack(images) if all(image.shape == like.shape[1:] for image in images) else None


def recorded(folder: Path) -> object:
    """What the samples in a folder were made from; None where nothing says so."""
    try:
        return parse_json(read_text(folder / RECORD), RECORD)
    except InputError:
        return None
