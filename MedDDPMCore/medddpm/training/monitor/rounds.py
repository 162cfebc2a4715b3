"""A round of samples: held-out masks sampled, written, and compared with the real images and the training cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, cast

import numpy as np
from torch import Tensor

from ...models.device import choose_precision
from ...models.model import Model
from ...network.build import Network
from ..dataset import PreparedDataset
from ..hooks import Context
from .neighbors import TrainingNeighbors, is_copy, left_right_axis
from .quality import quality
from .samples import (
    HeldOut,
    draw_sample,
    figures_device,
    forget_volumes,
    frozen_model,
    round_folder,
    spread,
    write_case,
)


class SampleRound:
    """Samples the same held-out masks with the same noise at every call."""

    def __init__(self, context: Context, held_out: PreparedDataset) -> None:
        self._context, self._held_out = context, held_out
        options = context.config.monitor
        self._chosen = spread(len(held_out), options.samples)
        self._settings = options.sampler, options.sample_steps, context.config.seed
        self._precision = choose_precision("auto", context.fabric.device)
        self._neighbors: TrainingNeighbors | None = None

    def __call__(
        self, iteration: int, check_cancelled: Callable[[], None]
    ) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
        """Sample, write and compare one case after the other with the averaged weights as they are now.

        Yields the fields of its "quality" line, and the picture of its sheet.
        """
        context = self._context
        average = cast(Network, context.state.average.module)
        model = frozen_model(context.model, average, context.fabric.device, self._precision)
        folder = round_folder(context.folder / "samples", iteration)
        for i in self._chosen:
            case = HeldOut.of(self._held_out, i)
            made = draw_sample(model, case.fractions, *self._settings, check_cancelled)
            title = f"{context.model.name} | {case.id} | after {iteration} iterations, {self._settings[0]}"
            sheet = write_case(folder / case.id, case, made, context.model, title)
            yield self._compared(case, made, model), sheet
        forget_volumes(context.folder / "samples")

    def _compared(self, case: HeldOut, made: Tensor, model: Model) -> dict[str, Any]:
        on_device = (tensor.to(figures_device(model.device)) for tensor in (made, case.real, case.fractions))
        found: dict[str, Any] = {"case": case.id, **asdict(quality(*on_device))}
        if self._context.config.monitor.neighbors:
            known = self._training_cases()
            near, real_near = (known.nearest(images, case.fractions) for images in (made, case.real))
            found |= {"nearest_training": asdict(near), "nearest_of_real": asdict(real_near)}
            found["copy"] = is_copy(near, real_near)
        return found

    def _training_cases(self) -> TrainingNeighbors:
        if self._neighbors is None:
            data, model = self._context.dataset, self._context.model
            ids = [case.id for case in data.cases]
            axis = left_right_axis(model.grid.orientation)
            self._neighbors = TrainingNeighbors(ids, data.__getitem__, model.background, axis)
        return self._neighbors
