"""Between the intensities of a scan, which have no unit of their own, and the [-1, 1] of the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError

BRIGHTEST_PERCENTILE = 99.9
NORMALIZATION = "per volume: background at -1, 99.9th percentile inside the outline at +1, clipped"


@dataclass(frozen=True)
class IntensityRange:
    """The intensities of one volume that are -1 (``low``) and +1 (``high``) in the network; linear in between."""

    low: float
    high: float

    @classmethod
    def of(cls, data: np.ndarray, outlined: np.ndarray, name: str = "An image") -> IntensityRange:
        """The range of a volume by ``NORMALIZATION``; ``outlined``: its intensities inside the outline, any shape.

        A percentile instead of the maximum, which a single bright vessel or artifact would set. Raises InputError,
        beginning with ``name``, where the volume has one value only inside the outline.
        """
        low = float(data.min())
        high = float(np.percentile(outlined, BRIGHTEST_PERCENTILE)) if outlined.size else low
        if not high > low:
            raise InputError(f"{name} has one value only inside its mask. Check that it is the right file.")
        return cls(low, high)

    def to_list(self) -> list[float]:
        """Plain JSON data: low, high."""
        return [self.low, self.high]

    def to_network(self, data: np.ndarray) -> np.ndarray:
        """Intensities of the volume as [-1, 1], float32, clipped."""
        scaled = np.clip((data - self.low) / (self.high - self.low), 0, 1).astype(np.float32)
        return scaled * 2 - 1

    def from_network(self, image: np.ndarray) -> np.ndarray:
        """[-1, 1] as intensities of the volume, float32; what is beyond is clipped."""
        share = (np.clip(image, -1, 1).astype(np.float32) + 1) / 2
        return np.asarray(self.low + share * (self.high - self.low), np.float32)
