"""What is measured of one image of a case, be it real, synthetic or the baseline."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ...dataset import DatasetConfig
from ...errors import InputError
from ...progress import Reporter
from ..monitor.quality import inside
from .measures import ALL
from .segmenter import Segmenter
from .spectrum import texture, window
from .tissues import contrasts, tissue_dice, tissue_masks


class CaseMeasures:
    """The measures of images of one case with label fractions (L, D, H, W), on the dataset's grid.

    ``segmenter``: None leaves out tumor fidelity. ``reporter`` is warned of images whose tissues cannot be segmented.
    """

    def __init__(
        self, fractions: Tensor, config: DatasetConfig, segmenter: Segmenter | None, reporter: Reporter
    ) -> None:
        self._fractions, self._config, self._segmenter, self._reporter = fractions, config, segmenter, reporter
        self._spacing = config.grid.spacing[::-1]
        self.inside = inside(fractions)
        self._window = window(self.inside, self._spacing)
        self._tissues = tissue_masks(fractions, config.scheme)

    def of(self, images: Tensor, anatomy: bool = True) -> Iterator[tuple[str, str, float]]:
        """Name, modality (or ``ALL``) and value of each measure of images (C, D, H, W) in [-1, 1].

        Without ``anatomy`` the tissues are not segmented, which takes by far the longest.
        """
        for modality, image in zip(self._config.modalities, images, strict=True):
            found = texture(image, self._window, self._spacing) | contrasts(image, self._tissues)
            yield from ((name, modality, value) for name, value in found.items())
        together = {} if self._segmenter is None else self._segmenter.dice(images, self._fractions)
        if anatomy:
            together |= self._anatomy(images)
        yield from ((name, ALL, value) for name, value in together.items())

    def _anatomy(self, images: Tensor) -> dict[str, float]:
        try:
            return tissue_dice(images, self._fractions, self._config)
        except InputError as exc:
            self._reporter.warning(f"Anatomy fidelity leaves out an image whose tissues cannot be segmented. {exc}")
            return {}
