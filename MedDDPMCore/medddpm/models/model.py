"""A model in memory: configuration, network and schedule on a device."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..errors import InputError
from ..network.appearance import Look
from ..network.build import Network
from ..network.compact import CompactUNet
from ..network.residual import ResidualUNet
from ..network.wavelet import BANDS
from ..sampling.schedule import Schedule, to_noise, to_x0
from .frame import Frame, ResidualFrame, VoxelFrame


class Model:
    """A loaded model, ready to predict. Made by ``medddpm.load_model``.

    ``config`` is its ModelConfig, ``device`` and ``dtype`` say where and in which precision the network computes,
    ``weights_hash`` is the SHA-256 of the weights file. Predictions take and return float32.
    """

    def __init__(
        self, config: ModelConfig, network: Network, device: torch.device, dtype: torch.dtype, weights_hash: str
    ):
        self.config = config
        self.schedule = Schedule.from_config(config.schedule)
        self.device = device
        self.dtype = dtype
        self.weights_hash = weights_hash
        # channels_last_3d is the faster layout on the CPU: `python -m benchmarks cpu` measures both.
        self._format = torch.channels_last_3d if device.type in ("cpu", "cuda") else torch.contiguous_format
        self._network = network.eval().requires_grad_(False)
        body: nn.Module = network
        if isinstance(network, CompactUNet | ResidualUNet):
            network.use_schedule(torch.from_numpy(self.schedule.alpha), torch.from_numpy(self.schedule.sigma))
            body = network.to(device).body
        body.to(device, dtype, memory_format=self._format)  # type: ignore[call-overload]
        # What is around the body of a network on bands is computed in fp32.
        self._input_dtype = dtype if body is network else torch.float32

    def prepare_condition(self, condition: Tensor) -> Tensor:
        """The condition (B, L, D, H, W) moved to where the network computes; do it once, not at every step."""
        return condition.to(self.device, self._input_dtype, memory_format=self._format)

    def look(self, generator: torch.Generator | None = None) -> Look | None:
        """The mean appearance of the training cases, or one drawn with ``generator``; None for a network on voxels."""
        return self._network.appearance.look(generator) if isinstance(self._network, ResidualUNet) else None

    def label_means(self) -> Tensor | None:
        """Mean intensity of each label in the training cases, (C, L) in [-1, 1]; None for a network on voxels."""
        if isinstance(self._network, CompactUNet):
            return self._network.label_means[:-1].T.float().cpu()
        look = self.look()
        return None if look is None else look.means.T.cpu()

    def measured_look(self, images: Tensor, fractions: Tensor) -> Look:
        """The appearance of a scan (C, D, H, W) in [-1, 1], NaN for modalities that it lacks, with its label fractions.

        What cannot be measured is that of the mean of the training cases. For networks in the residual domain.
        """
        appearance = copy.deepcopy(cast(ResidualUNet, self._network).appearance).cpu()
        typical = appearance.look()
        measured = appearance.coder().measure(images.nan_to_num(), fractions)
        there = images.isfinite().all(dim=(1, 2, 3))
        scales = torch.where(there.repeat_interleave(BANDS), measured.scales, typical.scales)
        means, spreads = (torch.where(there, part, torch.nan) for part in (measured.means, measured.spreads))
        return Look(means, spreads, scales, typical.softness)

    def frame(self, condition: Tensor, look: Look | None = None) -> Frame:
        """What the network computes in for one condition (1, L, D, H, W); do it once, not at every step.

        ``look``: the appearance wanted (None: the mean one), of which labels that it does not know take the mean.
        """
        if not isinstance(self._network, ResidualUNet):
            return VoxelFrame(self.prepare_condition(condition))
        appearance = self._network.appearance
        known = appearance.look() if look is None else appearance.completed(look)
        fractions = condition.to(self.device, torch.float32)
        return ResidualFrame(fractions, appearance.coder(), known, self.config.network.divisor)

    @torch.inference_mode()
    def _evaluate(self, x_t: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        x = x_t.to(self.device, self._input_dtype)
        stacked = torch.cat([x, condition.to(self.device, self._input_dtype)], dim=1)
        return self._network(stacked.contiguous(memory_format=self._format), t.to(self.device)).float()

    def predict_noise(self, x_t: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        """The noise in ``x_t`` (B, C, D, H, W) given ``condition`` (B, L, D, H, W) at integer steps ``t`` (B,).

        Raises InputError for a step outside 0 to T-1.
        """
        levels = [int(level) for level in t]
        if any(not 0 <= level < self.schedule.steps for level in levels):
            raise InputError(f"The step t = {levels} is outside this model's 0 to {self.schedule.steps - 1}.")
        x_t = x_t.to(self.device, torch.float32)
        output = self._evaluate(x_t, condition, t)
        if self.config.schedule.prediction == "noise":
            return output
        return torch.cat([self._convert(to_noise, output, x_t, i, level) for i, level in enumerate(levels)])

    def predict_x0(self, x_t: Tensor, condition: Tensor, t: int) -> Tensor:
        """The clean image implied at step ``t``, not clamped; shapes as ``predict_noise``."""
        x_t = x_t.to(self.device, torch.float32)
        output = self._evaluate(x_t, condition, torch.full((x_t.shape[0],), t))
        return to_x0(
            self.config.schedule.prediction, output, x_t, float(self.schedule.alpha[t]), float(self.schedule.sigma[t])
        )

    def _convert(self, rule: object, output: Tensor, x_t: Tensor, i: int, level: int) -> Tensor:
        alpha, sigma = float(self.schedule.alpha[level]), float(self.schedule.sigma[level])
        return rule(self.config.schedule.prediction, output[i : i + 1], x_t[i : i + 1], alpha, sigma)  # type: ignore[operator]
