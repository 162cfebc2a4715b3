"""One case: from a mask file to the condition of the network, and results back to the mask's own grid."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..config import ModelConfig
from ..errors import InputError
from ..files import sha256
from ..geometry.grid import Placement, from_network, image_from_grid, labels_from_fractions, labels_to_grid, place
from ..geometry.io import geometry_warnings, read_mask, read_volume
from ..geometry.itk import check_data_file
from ..geometry.volume import Volume
from ..labels.check import mend_mask
from ..labels.encode import encode_condition

# Written images: 0 is empty space (-1 in the network), 1000 the brightest value (+1).
INTENSITY_SCALE = 1000


@dataclass(frozen=True)
class PreparedCase:
    """A mask that is ready for the network.

    ``labels`` is the mask used, uint8 in the scheme's values, on the input's grid; ``grid_labels`` the same on the
    model's grid (``grid_affine``). ``condition``: (1, L, D, H, W) float32. ``sentences``: what the check found
    and mended.
    """

    labels: Volume
    grid_labels: Volume
    placement: Placement
    condition: torch.Tensor
    sentences: tuple[str, ...]


def prepare_case(
    mask_path: Path, image_path: Path | None, config: ModelConfig, labels: Mapping[int, int] | None = None
) -> PreparedCase:
    """Read, check, mend and place one mask; ``labels`` (file value -> scheme value) overrides recognition.

    Raises InputError where the file cannot be used, with the sentences of every error of the mask check.
    """
    mask = read_mask(mask_path)
    image = None if image_path is None else read_volume(image_path)
    fixed, findings, remaining = mend_mask(mask, config, image, labels)
    if remaining.errors:
        raise InputError(f"{mask_path} cannot be used. " + " ".join(str(f) for f in remaining.errors))
    used = Volume(np.asarray(fixed.volume.data, np.uint8), fixed.volume.affine)
    placement = place(used.shape, used.affine, used.data > 0, config.grid)
    fractions = labels_to_grid(used.data, used.affine, config.scheme.values, placement)
    grid_labels = labels_from_fractions(fractions, config.scheme.values)
    warnings = [f.sentence for f in remaining.findings if f.severity == "warning"]
    sentences = (*geometry_warnings(mask_path), *(str(f) for f in findings), *warnings, placement.sentence)
    return PreparedCase(
        labels=used,
        grid_labels=Volume(grid_labels, np.array(placement.grid_affine)),
        placement=placement,
        condition=torch.from_numpy(encode_condition(fractions, config))[None],
        sentences=tuple(dict.fromkeys(s for s in sentences if s)),
    )


def content_hash(path: Path) -> str:
    """SHA-256 of a mask or image file; of header and voxels together where these are two files (.mhd, .nhdr).

    Raises InputError where it cannot be read.
    """
    try:
        beside = check_data_file(path) if path.name.lower().endswith((".mhd", ".nhdr")) else None
        own = sha256(path)
        return own if beside is None else hashlib.sha256(f"{own} {sha256(beside)}".encode()).hexdigest()
    except FileNotFoundError as exc:
        raise InputError(f"{path} does not exist. Check the name and the folder.") from exc
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror or exc}. Check its permissions.") from exc


def on_model_grid(result: torch.Tensor) -> np.ndarray:
    """A network result (C, D, H, W) in [-1, 1] as (C, X, Y, Z) on the model's grid."""
    return from_network(result.numpy())


def on_input_grid(image: np.ndarray, case: PreparedCase, background: float) -> np.ndarray:
    """One modality (X, Y, Z) of the model's grid on the grid of the input mask; empty space where that is larger."""
    return image_from_grid(image, case.placement, background)


def stored_intensities(image: np.ndarray) -> np.ndarray:
    """[-1, 1] as written to files: int16 from 0 to ``INTENSITY_SCALE``."""
    return np.rint((np.clip(image, -1, 1) + 1) * (INTENSITY_SCALE / 2)).astype(np.int16)
