"""The description of a prepared dataset: ``dataset.json``. Imports no torch.

``dataset.json`` names grid, label scheme, modalities and cases with their split; ``cases/<id>.safetensors`` holds
``images`` float16 (C, D, H, W) in [-1, 1] and ``fractions`` uint8 (L, D, H, W), the share of each voxel covered by each
label times 255.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .config import GridConfig, MaskPrior, from_dict
from .errors import InputError
from .files import read_text, write_text
from .labels.scheme import LabelScheme
from .parse import parse_json

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class PreparedCase:
    """One case of a dataset: a plain file-name-safe ``id``, its split, and the patient (None: the case itself).

    ``affine``: 4x4, where the dataset's grid lies for this case, voxel -> RAS mm; None where that is not known.
    """

    id: str
    split: str
    patient: str | None = None
    affine: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        rows = self.affine or ()
        if rows and ([len(row) for row in rows] != [4] * 4 or not all(math.isfinite(v) for row in rows for v in row)):
            raise InputError(f"The dataset lists the case '{self.id}' with an affine that is not a 4 x 4 matrix.")
        if self.split not in SPLITS or not self.id or Path(self.id).name != self.id or self.id.startswith("."):
            raise InputError(f"The dataset lists the case '{self.id}' with split '{self.split}', which is unknown.")


@dataclass(frozen=True)
class DatasetConfig:
    """The contents of ``dataset.json``.

    ``normalization``: name of the rule in ``geometry.intensity``. ``statistics``: the fingerprint of the
    training cases and a grid for them (``preparation.description``), and the memory to train, where that was asked.
    ``hashes``: case id -> SHA-256 of its file of tensors and of the scans it was made from.
    ``provenance``: what it was made from, and how.
    """

    scheme: LabelScheme
    grid: GridConfig
    modalities: tuple[str, ...]
    cases: tuple[PreparedCase, ...]
    mask_values: tuple[float, float] = (0.0, 1.0)
    background: float = -1.0
    normalization: str = ""
    prior: MaskPrior | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    format_version: int = 1

    def save(self, folder: Path) -> None:
        """Write ``dataset.json`` into ``folder``."""
        write_text(folder / "dataset.json", json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


def read_dataset_config(folder: Path) -> DatasetConfig:
    """Read and validate ``dataset.json``. Raises InputError naming the file."""
    path = Path(folder) / "dataset.json"
    what = "The dataset description"
    return from_dict(DatasetConfig, parse_json(read_text(path, what), f"{what} {path}"), str(path))
