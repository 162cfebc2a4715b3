"""The figures and pictures of a run for TensorBoard, which is optional."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def available() -> bool:
    """Whether TensorBoard is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class Board:
    """Event files in ``folder``; what a killed run wrote beyond ``iteration`` is hidden. Needs the package."""

    def __init__(self, folder: Path, iteration: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(log_dir=str(folder), purge_step=iteration + 1)

    def figures(self, iteration: int, values: Mapping[str, float | None]) -> None:
        """Scalars by name, such as "loss/train"; those without a value are left out."""
        for name, value in values.items():
            if value is not None:
                self._writer.add_scalar(name, value, iteration)

    def picture(self, iteration: int, name: str, pixels: np.ndarray) -> None:
        """A picture, (height, width, 3) uint8."""
        self._writer.add_image(name, pixels, iteration, dataformats="HWC")

    def text(self, iteration: int, name: str, sentence: str) -> None:
        """A sentence."""
        self._writer.add_text(name, sentence, iteration)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
