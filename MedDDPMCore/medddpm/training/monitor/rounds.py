"""A round of samples: held-out masks sampled, written, and compared with the real images and the training cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torch import Tensor

from ...models.device import choose_precision
from ...models.model import Model
from ...network.build import Network
from ..dataset import PreparedDataset
from .neighbors import Nearest, TrainingNeighbors, is_copy, left_right_axis
from .quality import Quality, quality
from .samples import (
    HeldOut,
    SampleSettings,
    draw_sample,
    figures_device,
    forget_volumes,
    frozen_model,
    round_folder,
    spread,
    write_case,
)

if TYPE_CHECKING:
    from ..hooks import Context


@dataclass(frozen=True)
class Sampled:
    """A held-out mask that was sampled: its figures, its nearest training cases, and the picture of its sheet."""

    case: str
    quality: Quality
    sample_nearest: Nearest | None
    real_nearest: Nearest | None
    sheet: np.ndarray

    def figures(self) -> dict[str, Any]:
        """The fields of a "quality" line."""
        found: dict[str, Any] = {"case": self.case, **asdict(self.quality)}
        if self.sample_nearest is not None and self.real_nearest is not None:
            found["nearest_training"] = asdict(self.sample_nearest)
            found["nearest_of_real"] = asdict(self.real_nearest)
            found["copy"] = is_copy(self.sample_nearest, self.real_nearest)
        return found

    def scalars(self) -> dict[str, float | None]:
        """What a chart shows of it."""
        near = {} if self.sample_nearest is None else {"nearest training": self.sample_nearest.similarity}
        figures = asdict(self.quality)
        return {name: figures[name] for name in ("ms_ssim", "psnr", "l1", "sharpness", "label_error")} | near


class SampleRound:
    """Samples the same held-out masks with the same noise at every call."""

    def __init__(self, context: Context, held_out: PreparedDataset) -> None:
        self._context, self._held_out = context, held_out
        options = context.config.monitor
        self._chosen = spread(len(held_out), options.samples)
        self._settings = SampleSettings(options.sampler, options.sample_steps, context.config.seed)
        self._precision = choose_precision("auto", context.fabric.device)
        self._neighbors: TrainingNeighbors | None = None

    def __call__(self, iteration: int, check_cancelled: Callable[[], None]) -> Iterator[Sampled]:
        """Sample, write and compare one case after the other with the averaged weights as they are now."""
        context = self._context
        average = cast(Network, context.state.average.module)
        model = frozen_model(context.model, average, context.fabric.device, self._precision)
        folder = round_folder(context.folder / "samples", iteration)
        for i in self._chosen:
            case = HeldOut.of(self._held_out, i)
            made = draw_sample(model, case.fractions, self._settings, check_cancelled)
            title = f"{context.model.name} | {case.id} | after {iteration} iterations, {self._settings.sampler}"
            sheet = write_case(folder / case.id, case, made, context.model, title)
            yield self._compared(case, made, sheet, model)
        forget_volumes(context.folder / "samples")

    def _compared(self, case: HeldOut, made: Tensor, sheet: np.ndarray, model: Model) -> Sampled:
        on_device = (tensor.to(figures_device(model.device)) for tensor in (made, case.real, case.fractions))
        figures = quality(*on_device)
        if not self._context.config.monitor.neighbors:
            return Sampled(case.id, figures, None, None, sheet)
        known = self._training_cases()
        near, real_near = (known.nearest(images, case.fractions) for images in (made, case.real))
        return Sampled(case.id, figures, near, real_near, sheet)

    def _training_cases(self) -> TrainingNeighbors:
        if self._neighbors is None:
            data, model = self._context.dataset, self._context.model
            ids = [case.id for case in data.cases]
            axis = left_right_axis(model.grid.orientation)
            self._neighbors = TrainingNeighbors(ids, data.__getitem__, model.background, axis)
        return self._neighbors
