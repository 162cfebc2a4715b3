"""What a training run is, as data: the TOML file given to ``medddpm train``."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import NetworkConfig, ScheduleConfig, from_dict
from ..errors import InputError

LR_PLANS = ("constant", "halved", "cosine", "trapezoid")
PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam and its learning rate over the run.

    ``plan``: "constant"; "halved" (the paper's: ``lr``, then ``final_lr`` for the second half); "cosine" from ``lr`` to
    ``final_lr``; "trapezoid" (``lr``, then linearly to ``final_lr`` over the last ``decay_steps``). Each after a linear
    warm-up of ``warmup_steps``. ``clip_norm`` bounds the gradient's norm (0: unbounded).
    """

    lr: float = 1e-5
    final_lr: float = 1e-6
    plan: str = "halved"
    warmup_steps: int = 0
    decay_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        if self.plan not in LR_PLANS:
            raise InputError(f"optimizer.plan is '{self.plan}', but must be one of {', '.join(LR_PLANS)}.")
        if not 0 < self.lr < 1 or not 0 <= self.final_lr <= self.lr:
            raise InputError(
                f"optimizer.lr = {self.lr} and final_lr = {self.final_lr} must lie between 0 and 1, in order."
            )


@dataclass(frozen=True)
class TrainConfig:
    """A training run. ``dataset`` and ``output`` are folders; relative ones count from the config file.

    ``ema_decay`` is the decay per iteration of the averaged weights that are kept for sampling. ``flip`` mirrors
    left-right at random; ``shift_voxels`` moves image and mask together by up to that many voxels. ``crop_voxels``
    trains on random cubes of that side (0: whole volumes), which gives many more iterations an hour; end a run with
    whole volumes, since the network sees those when it samples.
    """

    dataset: str
    output: str
    network: NetworkConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    name: str = "model"
    iterations: int = 100_000
    batch_size: int = 1
    accumulate: int = 1
    precision: str = "bf16"
    seed: int = 0
    ema_decay: float = 0.9995
    flip: bool = True
    shift_voxels: int = 0
    crop_voxels: int = 0
    checkpoint_every: int = 1000
    log_every: int = 50
    threads: int = 0
    licence: str = "unknown"
    intended_use: str = "Research only. Not for diagnosis or treatment."

    def __post_init__(self) -> None:
        for name in ("iterations", "batch_size", "accumulate", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise InputError(f"The training option {name} is {getattr(self, name)}, but must be 1 or more.")
        if self.precision not in PRECISIONS:
            raise InputError(f"The training option precision is '{self.precision}', but must be fp32 or bf16.")
        if self.crop_voxels < 0 or self.crop_voxels % self.network.divisor:
            raise InputError(
                f"The training option crop_voxels is {self.crop_voxels}, but this network needs a multiple of "
                f"{self.network.divisor}."
            )
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"The training option ema_decay is {self.ema_decay}, but must be at least 0 and below 1.")

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """Read a TOML file. Raises InputError naming the file and the field that does not fit."""
        try:
            data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as exc:
            raise InputError(f"The training configuration {path} cannot be read: {exc.strerror}.") from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise InputError(f"The training configuration {path} is not valid TOML: {exc}.") from exc
        config: TrainConfig = from_dict(cls, data, str(path))
        base = Path(path).resolve().parent
        resolved = {"dataset": str(base / config.dataset), "output": str(base / config.output)}
        return from_dict(cls, {**data, **resolved}, str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as stored in checkpoints and model folders."""
        return asdict(self)


def learning_rate(config: OptimizerConfig, step: int, total: int) -> float:
    """Learning rate of iteration ``step`` (0-based) of ``total``."""
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.plan == "halved":
        return config.lr if step < total / 2 else config.final_lr
    if config.plan == "cosine":
        progress = (step - config.warmup_steps) / max(1, total - config.warmup_steps)
        return config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * progress)) / 2
    if config.plan == "trapezoid" and step >= total - config.decay_steps:
        return config.final_lr + (config.lr - config.final_lr) * (total - step) / max(1, config.decay_steps)
    return config.lr
