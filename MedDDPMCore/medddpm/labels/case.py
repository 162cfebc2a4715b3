"""A mask under examination: what the steps of the check share and change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ..config import ModelConfig
from ..geometry.volume import Mask, Volume, spacing_of, voxel_ml
from ..geometry.window import Window
from .conventions import outline_kind
from .findings import Finding, amount
from .recognize import Recognition

# From the voxels of a tumor (X, Y, Z) and their affine to a brain around it, on the same grid or that grid extended,
# and a clause on how.
BrainAround = Callable[[np.ndarray, np.ndarray], tuple[Volume, str]]


@dataclass
class Case:
    """The state that goes through the steps of the check.

    ``labels``: the label map (X, Y, Z), first in the file's values, from recognition on uint8 in the scheme's;
    ``image``: the reference image's intensities on the mask's grid, where there is one. A step that makes going on
    senseless sets ``stopped``; ``declined`` findings could be repaired, but nobody wanted that.
    """

    mask: Mask
    config: ModelConfig
    labels: np.ndarray
    image: np.ndarray | None = None
    brain_around: BrainAround | None = None
    recognition: Recognition | None = None
    findings: list[Finding] = field(default_factory=list)
    declined: list[Finding] = field(default_factory=list)
    stopped: bool = False

    @property
    def affine(self) -> np.ndarray:
        """Voxel index -> RAS mm."""
        return self.mask.volume.affine

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing along the array axes, mm."""
        return spacing_of(self.affine)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel, mL."""
        return voxel_ml(self.affine)

    @property
    def kind(self) -> str:
        """``"brain"`` or ``"head"``: what the model wants outlined."""
        return outline_kind(self.config.scheme)

    @property
    def surround(self) -> np.ndarray:
        """Voxels inside of the outline that are no tumor: of the surround label or of a tissue."""
        return self._of(self.config.scheme.surround, *self.config.scheme.tissue_values)

    @property
    def tumor(self) -> np.ndarray:
        """Voxels of any tumor part."""
        return self._of(*self.config.scheme.tumor_values)

    def _of(self, *values: int) -> np.ndarray:
        found = np.zeros(self.labels.shape, dtype=bool)
        for value in values:  # few: faster than np.isin
            found |= self.labels == value
        return found

    def within(self, box: Window) -> Case:
        """The same examination, with the same lists of findings, of a part of the map: most of a scan is air."""
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [s.start for s in box]
        mask = Mask(Volume(self.mask.volume.data[box], affine), self.mask.segments)
        image = None if self.image is None else self.image[box]
        return replace(self, mask=mask, labels=self.labels[box].copy(), image=image)

    def move_to(self, labels: Volume) -> None:
        """Go on with ``labels`` on another grid, on which there is no image."""
        self.labels, self.image, self.mask = labels.data, None, Mask(labels, self.mask.segments)

    def add(self, code: str, severity: str, sentence: str, fix: str = "", fixable: bool = False) -> None:
        """Note a finding."""
        self.findings.append(Finding(code, severity, sentence, fixable, fix))

    def stop(self, code: str, sentence: str, fix: str) -> None:
        """Note an error that nothing can be done about, and end the check."""
        self.add(code, "error", sentence, fix)
        self.stopped = True

    def amount(self, voxels: np.ndarray) -> str:
        """How much of the mask is true in ``voxels``, for reading."""
        return amount(int(np.count_nonzero(voxels)), self.voxel_ml)
