"""Prepared cases: the folder that training reads.

``dataset.json`` names grid, label scheme, modalities and cases with their split; ``cases/<id>.safetensors`` holds
``images`` float16 (C, D, H, W) in [-1, 1] and ``fractions`` uint8 (L, D, H, W), the share of each voxel covered by each
label times 255.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..config import GridConfig, MaskPrior, from_dict
from ..errors import InputError
from ..files import write_text
from ..labels.scheme import LabelScheme

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class PreparedCase:
    """One case of a dataset: a plain file-name-safe ``id`` and its split."""

    id: str
    split: str

    def __post_init__(self) -> None:
        if self.split not in SPLITS or not self.id or Path(self.id).name != self.id or self.id.startswith("."):
            raise InputError(
                f"The dataset lists the case '{self.id}' with split '{self.split}', which cannot be right."
            )


@dataclass(frozen=True)
class DatasetConfig:
    """The contents of ``dataset.json``."""

    scheme: LabelScheme
    grid: GridConfig
    modalities: tuple[str, ...]
    cases: tuple[PreparedCase, ...]
    mask_values: tuple[float, float] = (0.0, 1.0)
    background: float = -1.0
    normalization: str = ""
    prior: MaskPrior | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
    format_version: int = 1

    def save(self, folder: Path) -> None:
        """Write ``dataset.json`` into ``folder``."""
        write_text(folder / "dataset.json", json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")


class PreparedDataset(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """The cases of one split as (images, fractions), both float32 (C, D, H, W), kept in memory in their file types."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder = Path(folder)
        self.config = read_dataset_config(self.folder)
        self.cases = [case for case in self.config.cases if case.split == split]
        if not self.cases:
            raise InputError(f"The dataset {folder} has no case in the split '{split}'.")
        self._tensors = [self._load(case) for case in self.cases]

    def _load(self, case: PreparedCase) -> dict[str, Tensor]:
        path = self.folder / "cases" / f"{case.id}.safetensors"
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as exc:
            raise InputError(f"The prepared case {path} cannot be read ({exc}). Prepare the dataset again.") from exc
        depth_first = tuple(reversed(self.config.grid.shape))
        expected = {
            "images": (len(self.config.modalities), *depth_first),
            "fractions": (len(self.config.scheme.labels), *depth_first),
        }
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if found != expected:
            raise InputError(f"The prepared case {path} holds {found}, but the dataset describes {expected}.")
        return tensors

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        tensors = self._tensors[index]
        return tensors["images"].float(), tensors["fractions"].float() / 255


def read_dataset_config(folder: Path) -> DatasetConfig:
    """Read and validate ``dataset.json``. Raises InputError naming the file."""
    path = Path(folder) / "dataset.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(f"The dataset description {path} cannot be read: {exc.strerror}.") from exc
    except ValueError as exc:
        raise InputError(f"The dataset description {path} is not valid JSON: {exc}.") from exc
    return from_dict(DatasetConfig, data, str(path))


def batches(size: int, batch_size: int, seed: int, start: int) -> Iterator[list[int]]:
    """Endless batches of indices, each epoch a new permutation, beginning with batch number ``start``.

    The order depends on ``seed`` and the batch number alone, so that a resumed run sees what an uninterrupted one
    would.
    """
    number = start * batch_size
    while True:
        batch = []
        for position in range(number, number + batch_size):
            epoch, index = divmod(position, size)
            order = torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
            batch.append(int(order[index]))
        number += batch_size
        yield batch
