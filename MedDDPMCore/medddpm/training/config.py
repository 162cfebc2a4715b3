"""What a training run is, as data: the request in a run's ``job.json``. Imports no torch.

``training.configfile`` reads it from a TOML file, ``training.presets`` makes it for a dataset.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from ..config import NetworkConfig, ScheduleConfig
from ..errors import InputError
from ..options import check_options, option
from .sections import (
    AugmentConfig,
    CheckpointConfig,
    EmaConfig,
    LossConfig,
    MonitorConfig,
    OptimizerConfig,
    ScaleConfig,
)

ON_HELP = (
    "Train on another computer that ssh reaches without a password and that has MedDDPM: dataset and checkpoints are "
    "sent there, the training comes back when it ends, and nothing stays. HOST:COMMAND where 'medddpm' is not on its "
    "path."
)
PRECISIONS = ("fp32", "bf16", "fp16")
# A run may be continued with other values of these; all else must stay, or it would be another run.
FREE_TO_CHANGE = (
    "iterations",
    *(f"optimizer.{each.name}" for each in fields(OptimizerConfig) if each.name != "kind"),
    "ema",
    "augment",
    "monitor",
    "checkpoint",
    "scale",
    "precision",
    "device",
    "on",
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
    once, over all processes together. What else there is to say of a field is its help.
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
    name: str = option("model", "Name of the model.")
    iterations: int = option(100_000, "Total number of iterations; more than before extends a training.", low=1)
    batch_size: int = option(1, "Volumes at once, over all processes.", low=1)
    accumulate: int = option(1, "Such parts, one after the other, make an iteration.", low=1)
    precision: str = option("bf16", "Precision; fp16 on NVIDIA GPUs only.", choices=PRECISIONS)
    device: str = option("auto", "Device: auto, cpu, cuda or mps.")
    seed: int = option(0, "Seed of the random numbers.", low=0, high=2**40 - 1)
    mask_dropout: float = option(
        0.0,
        "Probability of leaving out a mask, so that the guidance scale can be chosen when sampling (Ho & Salimans 2022 "
        "use 0.1).",
        low=0,
        below=1,
    )
    activation_checkpointing: bool = option(
        False,
        "Compute the network's inner values twice instead of keeping them: less memory, about a third more time, the "
        "same result.",
        flag="--activation-checkpointing",
    )
    start_from: str | None = option(
        None,
        "Start from this model (a name, a model folder or a published .pt file), also with other labels or modalities.",
        flag="--from",
    )
    on: str = option("", ON_HELP, label="Compute on", metavar="HOST")
    threads: int = option(0, "CPU threads; 0: as many as there are cores.", low=0)
    license: str = option("unknown", "License of the model.")
    intended_use: str = option("Research only. Not for diagnosis or treatment.", "Intended use of the model.")

    FORMER_NAMES: ClassVar[dict[str, str]] = {"licence": "license"}

    def __post_init__(self) -> None:
        check_options(self)
        divisor, side = self.network.divisor, self.augment.crop_voxels
        if side % divisor:
            raise InputError(
                f"The option augment.crop_voxels is {side}, but must be 0 or a multiple of {divisor}, by which this "
                "network's strides divide a volume."
            )
        taken = self.optimizer.warmup_steps + self.optimizer.decay_steps
        if taken > self.iterations:
            raise InputError(
                f"The options optimizer.warmup_steps = {self.optimizer.warmup_steps} and decay_steps = "
                f"{self.optimizer.decay_steps} are together more than iterations = {self.iterations}. "
                "Make them smaller or the run longer."
            )
        if self.optimizer.kind == "muon" and self.scale.strategy == "fsdp":
            raise InputError(
                "The option scale.strategy is 'fsdp', but optimizer.kind is 'muon', which needs whole kernels. Set "
                "scale.strategy = 'ddp' or optimizer.kind = 'adam'."
            )
        self._check_one_step()
        self._check_compact()

    def _check_one_step(self) -> None:
        if self.schedule.kind == "one-step" and self.loss.min_snr_gamma:
            raise InputError(
                f"The option loss.min_snr_gamma is {self.loss.min_snr_gamma:g}, but schedule.kind is 'one-step', which "
                "has one noise level only. Set loss.min_snr_gamma = 0."
            )
        if not self.network.adversarial:
            return
        network = f"network.domain is '{self.network.domain}'"
        if self.schedule.kind != "one-step":
            raise InputError(
                f"The option schedule.kind is '{self.schedule.kind}', but {network}, a GAN, which makes an image in "
                "one step. Set schedule.kind = 'one-step', schedule.steps = 1 and schedule.prediction = 'x0'."
            )
        if self.start_from is not None:
            raise InputError(
                f"{network[0].upper()}{network[1:]}, a GAN, whose model does not hold the discriminators that it was "
                "trained against, so that no training can start from it. Leave start_from out."
            )
        if self.scale.strategy == "fsdp":
            raise InputError(
                f"The option scale.strategy is 'fsdp', but {network}, a GAN, which can be trained with ddp only."
            )

    def _check_compact(self) -> None:
        if not self.network.on_bands:
            return
        if self.network.domain == "residual" and (
            self.augment.affine or self.augment.elastic or self.augment.intensity
        ):
            raise InputError(
                "The options augment.affine, elastic and intensity are not for a network with network.domain "
                "= 'residual', whose cases keep the appearance that was measured in them. Set them to 0."
            )
        network = f"a network with network.domain = '{self.network.domain}'"
        if self.schedule.prediction != "x0":
            raise InputError(
                f"The option schedule.prediction is '{self.schedule.prediction}', but {network} predicts x0. "
                "Set schedule.prediction = 'x0'."
            )
        if self.loss.min_snr_gamma:
            raise InputError(
                f"The option loss.min_snr_gamma is {self.loss.min_snr_gamma:g}, but {network} weighs noise "
                "levels itself. Set loss.min_snr_gamma = 0."
            )
        if self.network.position and self.augment.crop_voxels and self.mask_dropout:
            raise InputError(
                f"The option mask_dropout is {self.mask_dropout:g}, but network.position is true and "
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
