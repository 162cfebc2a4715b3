"""Prepared cases in memory, as training reads them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..dataset import PreparedCase, read_dataset_config
from ..errors import InputError


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
