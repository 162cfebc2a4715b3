"""What a training run is, as data: the request in a run's ``job.json``. Imports no torch.

``training.configfile`` reads it from a TOML file, ``training.presets`` makes it for a dataset.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from ..config import NetworkConfig, ScheduleConfig
from ..errors import InputError
from .sections import (
    AugmentConfig,
    CheckpointConfig,
    EmaConfig,
    LossConfig,
    MonitorConfig,
    OptimizerConfig,
    ScaleConfig,
    at_least,
    one_of,
    require,
)

__all__ = [
    "FREE_TO_CHANGE",
    "AugmentConfig",
    "CheckpointConfig",
    "EmaConfig",
    "LossConfig",
    "MonitorConfig",
    "OptimizerConfig",
    "ScaleConfig",
    "TrainConfig",
    "learning_rate",
]

PRECISIONS = ("fp32", "bf16", "fp16")
MAX_TRAINING_SEED = 2**40
# A run may be continued with other values of these; all else must stay, or it would be another run.
FREE_TO_CHANGE = (
    "iterations",
    "optimizer",
    "ema",
    "augment",
    "monitor",
    "checkpoint",
    "scale",
    "precision",
    "device",
    "threads",
    "activation_checkpointing",
    "dataset",  # where it lies; that it is the same one is checked by its contents
    "start_from",
    "name",
    "license",
    "intended_use",
)


@dataclass(frozen=True)
class TrainConfig:
    """A training run on the prepared dataset in the folder ``dataset``.

    An iteration (one step of the optimizer) sees ``batch_size`` times ``accumulate`` volumes; ``batch_size`` of them at
    once, over all processes together. ``precision``: "fp32", "bf16", or "fp16" (on a GPU only). ``device``: "auto",
    "cpu", "cuda" or "mps". ``mask_dropout`` is the probability with which a mask is left out, so that the strength of
    its guidance can be chosen when sampling (0: never; Ho & Salimans 2022 use 0.1). ``activation_checkpointing``
    computes the network's inner values twice instead of keeping them: less memory, about a third more time, the same
    result. ``start_from``: a model folder or published .pt that the training starts with instead of random weights.
    """

    dataset: str
    network: NetworkConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    monitor: MonitorConfig = field(default_factory=MonitorConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    name: str = "model"
    iterations: int = 100_000
    batch_size: int = 1
    accumulate: int = 1
    precision: str = "bf16"
    device: str = "auto"
    seed: int = 0
    mask_dropout: float = 0.0
    activation_checkpointing: bool = False
    start_from: str | None = None
    threads: int = 0
    license: str = "unknown"
    intended_use: str = "Research only. Not for diagnosis or treatment."

    FORMER_NAMES: ClassVar[dict[str, str]] = {"licence": "license"}

    def __post_init__(self) -> None:
        at_least("", 1, self, "iterations", "batch_size", "accumulate")
        at_least("", 0, self, "threads")
        one_of("precision", self.precision, PRECISIONS)
        require(0 <= self.seed < MAX_TRAINING_SEED, "seed", self.seed, "0 or more and below 2^40")
        require(0 <= self.mask_dropout < 1, "mask_dropout", self.mask_dropout, "at least 0 and below 1")
        self._check_crop()
        self._check_plan()
        self._check_compact()

    def _check_crop(self) -> None:
        divisor = self.network.divisor
        allowed = f"0 or a multiple of {divisor}, by which this network's strides divide a volume"
        require(self.augment.crop_voxels % divisor == 0, "augment.crop_voxels", self.augment.crop_voxels, allowed)

    def _check_plan(self) -> None:
        taken = self.optimizer.warmup_steps + self.optimizer.decay_steps
        if taken > self.iterations:
            raise InputError(
                f"The training options optimizer.warmup_steps = {self.optimizer.warmup_steps} and decay_steps = "
                f"{self.optimizer.decay_steps} are together more than iterations = {self.iterations}. "
                "Make them smaller or the run longer."
            )

    def _check_compact(self) -> None:
        if not self.network.on_bands:
            return
        if self.network.domain == "residual" and (
            self.augment.affine or self.augment.elastic or self.augment.intensity
        ):
            raise InputError(
                "The training options augment.affine, elastic and intensity are not for a network with network.domain "
                "= 'residual', whose cases keep the appearance that was measured in them. Set them to 0."
            )
        network = f"a network with network.domain = '{self.network.domain}'"
        if self.schedule.prediction != "x0":
            raise InputError(
                f"The training option schedule.prediction is '{self.schedule.prediction}', but {network} predicts x0. "
                "Set schedule.prediction = 'x0'."
            )
        if self.loss.min_snr_gamma:
            raise InputError(
                f"The training option loss.min_snr_gamma is {self.loss.min_snr_gamma:g}, but {network} weighs noise "
                "levels itself. Set loss.min_snr_gamma = 0."
            )
        if self.network.position and self.augment.crop_voxels and self.mask_dropout:
            raise InputError(
                f"The training option mask_dropout is {self.mask_dropout:g}, but network.position is true and "
                f"augment.crop_voxels is {self.augment.crop_voxels}: without its mask a crop has no place in the head. "
                "Set one of the three to 0 or false."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as stored in ``job.json``, checkpoints and model folders."""
        return asdict(self)


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Learning rate of iteration ``step`` (0-based) of ``total``."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "step":
        return config.lr if step < total / 2 else config.min_lr
    if config.schedule == "cosine":
        progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
        return config.min_lr + (config.lr - config.min_lr) * (1 + math.cos(math.pi * progress)) / 2
    if config.schedule == "warmup-stable-decay" and step >= total - config.decay_steps:
        return config.min_lr + (config.lr - config.min_lr) * (total - step) / max(1, config.decay_steps)
    return config.lr
