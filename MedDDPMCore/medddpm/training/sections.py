"""The sections of a training's configuration: one frozen dataclass each, with the checks of its own values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import InputError
from ..parse import shown

LR_SCHEDULES = ("constant", "step", "cosine", "warmup-stable-decay")
LOSSES = ("l1", "l2")
STRATEGIES = ("auto", "ddp", "fsdp")
CACHES = ("map", "local")


def require(good: bool, name: str, value: object, allowed: str) -> None:
    """Raise InputError naming the training option, its value and what is allowed, unless ``good``."""
    if not good:
        raise InputError(f"The training option {name} is {shown(value)}, but must be {allowed}.")


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise InputError unless ``value`` is one of ``choices``."""
    require(value in choices, name, value, f"one of {', '.join(choices)}")


def at_least(section: str, least: int, options: Any, *names: str) -> None:
    """Raise InputError unless these whole numbers of ``options`` are ``least`` or more."""
    for name in names:
        value = getattr(options, name)
        require(value >= least, f"{section}{name}", value, f"{least} or more")


def share(name: str, value: float) -> None:
    """Raise InputError unless ``value`` is a probability, 0 to 1."""
    require(0 <= value <= 1, name, value, "from 0 to 1")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam and its learning rate over the run.

    ``schedule``: "constant"; "step" (the paper's: ``lr``, then ``min_lr`` for the second half); "cosine" from ``lr`` to
    ``min_lr``; "warmup-stable-decay" (``lr``, then linearly to ``min_lr`` over the last ``decay_steps``). Each after a
    linear warm-up of ``warmup_steps`` iterations. ``clip_norm`` bounds the gradient's norm (0: unbounded).
    """

    lr: float = 1e-5
    min_lr: float = 1e-6
    schedule: str = "step"
    warmup_steps: int = 0
    decay_steps: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 0.0

    FORMER_NAMES: ClassVar[dict[str, str]] = {"final_lr": "min_lr", "plan": "schedule"}
    FORMER_VALUES: ClassVar[dict[str, dict[str, str]]] = {
        "schedule": {"halved": "step", "trapezoid": "warmup-stable-decay"}
    }

    def __post_init__(self) -> None:
        one_of("optimizer.schedule", self.schedule, LR_SCHEDULES)
        require(0 < self.lr < 1, "optimizer.lr", self.lr, "above 0 and below 1")
        allowed = f"from 0 to optimizer.lr = {self.lr:g}"
        require(0 <= self.min_lr <= self.lr, "optimizer.min_lr", self.min_lr, allowed)
        at_least("optimizer.", 0, self, "warmup_steps", "decay_steps")
        for name in ("beta1", "beta2"):
            require(0 <= getattr(self, name) < 1, f"optimizer.{name}", getattr(self, name), "at least 0 and below 1")
        require(self.clip_norm >= 0, "optimizer.clip_norm", self.clip_norm, "0 (no clipping) or more")
        if (self.schedule == "warmup-stable-decay") != (self.decay_steps > 0):
            raise InputError(
                f"The training option optimizer.decay_steps is {self.decay_steps}, but optimizer.schedule "
                f"is '{self.schedule}'. The schedule warmup-stable-decay, and no other, needs decay_steps above 0."
            )


@dataclass(frozen=True)
class EmaConfig:
    """The averaged weights, which are kept for sampling.

    They are a copy of the network's before iteration ``start``; from there on, every ``every`` iterations, a moving
    average whose decay grows to ``decay``: min(decay, (1 + n) / (10 + n)) at iteration n. Without the growth a short
    run would keep the random weights of its start.
    """

    decay: float = 0.9995
    every: int = 1
    start: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.decay < 1, "ema.decay", self.decay, "at least 0 and below 1")
        at_least("ema.", 1, self, "every")
        at_least("ema.", 0, self, "start")


@dataclass(frozen=True)
class LossConfig:
    """What is minimized: "l1" (paper, eq. 4) or "l2", plain or with the min-SNR weights.

    ``min_snr_gamma``: 0 for equal weights of all noise levels, else the gamma of Hang et al. 2023 (they use 5).
    """

    kind: str = "l1"
    min_snr_gamma: float = 0.0

    def __post_init__(self) -> None:
        one_of("loss.kind", self.kind, LOSSES)
        require(0 <= self.min_snr_gamma <= 1000, "loss.min_snr_gamma", self.min_snr_gamma, "0 (off) to 1000")


@dataclass(frozen=True)
class AugmentConfig:
    """What is changed at random in image and mask together, anew each time that a case is seen.

    ``flip`` mirrors left-right in half of the cases. ``shift_voxels`` moves by up to that many whole voxels.
    ``crop_voxels`` trains on random cubes of that side (0: whole volumes), which gives many more iterations an hour;
    only for the first ``crop_until`` (share) of the iterations, since the network sees whole volumes when it samples.
    A cube holds a voxel with a label, with the probability ``crop_tumor`` one of the tumor.

    ``affine`` is the probability of a rotation by up to ``rotation_degrees`` about each axis and a scaling by up to
    1 +- ``scaling`` along each; ``elastic`` that of a smooth deformation by at most ``elastic_mm`` (mm), whose bumps
    are ``elastic_smoothness_mm`` wide. ``intensity`` is the probability of each of these, for each image on its own: a
    smooth bias field (a factor between exp(-``bias_field``) and exp(``bias_field``)), a gamma between 1 / (1 +
    ``gamma``) and 1 + ``gamma``, and Gaussian noise of a standard deviation up to ``noise`` (images are in [-1, 1]).
    They change the image alone, and empty space never.
    """

    flip: bool = True
    shift_voxels: int = 0
    crop_voxels: int = 0
    crop_until: float = 1.0
    crop_tumor: float = 0.0
    affine: float = 0.0
    rotation_degrees: float = 10.0
    scaling: float = 0.1
    elastic: float = 0.0
    elastic_mm: float = 4.0
    elastic_smoothness_mm: float = 24.0
    intensity: float = 0.0
    bias_field: float = 0.2
    gamma: float = 0.2
    noise: float = 0.03

    def __post_init__(self) -> None:
        at_least("augment.", 0, self, "shift_voxels", "crop_voxels")
        for name in ("crop_until", "crop_tumor", "affine", "elastic", "intensity"):
            share(f"augment.{name}", getattr(self, name))
        limits = {"rotation_degrees": 180, "scaling": 0.5, "elastic_mm": 20, "bias_field": 1, "gamma": 4, "noise": 1}
        for name, most in limits.items():
            require(0 <= getattr(self, name) <= most, f"augment.{name}", getattr(self, name), f"0 to {most}")
        # A deformation steeper than this would fold the image over itself.
        steepest = 4 * self.elastic_mm
        allowed = f"{steepest:g} to 500 mm, four times augment.elastic_mm or more, or the deformation would fold tissue"
        good = steepest <= self.elastic_smoothness_mm <= 500 and self.elastic_smoothness_mm > 0
        require(good, "augment.elastic_smoothness_mm", self.elastic_smoothness_mm, allowed)


@dataclass(frozen=True)
class MonitorConfig:
    """How a run is watched; every interval is in iterations, 0 for never.

    ``log_every``: a line of training loss. ``validate_every``: the loss on the held-out cases of ``split`` (at most
    ``validation_cases`` of them, 0 for all) in ``bands`` bands of noise levels. ``sample_every``: ``samples`` held-out
    masks sampled with fixed seeds by ``sampler`` in ``sample_steps`` steps, which become the model's own, and compared
    with the real images; with ``neighbors`` also with the nearest training image. ``max_share``: the share of the time
    that all this may take before a warning says so.
    """

    log_every: int = 50
    validate_every: int = 1000
    split: str = "validation"
    validation_cases: int = 0
    bands: int = 5
    sample_every: int = 5000
    samples: int = 2
    sampler: str = "dpm++2m"
    sample_steps: int = 25
    neighbors: bool = True
    tensorboard: bool = True
    max_share: float = 0.15

    def __post_init__(self) -> None:
        at_least("monitor.", 1, self, "log_every", "bands", "sample_steps")
        at_least("monitor.", 0, self, "validate_every", "validation_cases", "sample_every", "samples")
        one_of("monitor.split", self.split, ("validation", "test"))
        share("monitor.max_share", self.max_share)
        if self.sample_every and not self.samples:
            raise InputError(
                f"The training option monitor.samples is 0, but monitor.sample_every is {self.sample_every}. "
                "Set monitor.sample_every = 0 to make no samples."
            )


@dataclass(frozen=True)
class CheckpointConfig:
    """When the state of a run is written (``every`` iterations, and at its end), and what is kept of it.

    The ``newest`` ones, one every ``keep_every`` iterations for good (0: none), and with ``best`` the one of the lowest
    validation loss.
    """

    every: int = 1000
    newest: int = 2
    keep_every: int = 0
    best: bool = True

    def __post_init__(self) -> None:
        at_least("checkpoint.", 1, self, "every", "newest")
        at_least("checkpoint.", 0, self, "keep_every")
        if self.keep_every % self.every:
            raise InputError(
                f"The training option checkpoint.keep_every is {self.keep_every}, but must be a multiple of "
                f"checkpoint.every = {self.every}, since only what is written can be kept."
            )


@dataclass(frozen=True)
class ScaleConfig:
    """Processes and data: ``devices`` on each of ``nodes`` machines, joined by ``strategy``.

    torchrun, SLURM and ``fabric run`` have their own numbers of processes, which count instead. ``workers`` of each
    process prepare batches ahead (-1: as many as sensible, 0: none). ``cache`` "map" maps the files of the dataset into
    memory where they lie; "local" copies them before to a folder of each machine in ``cache_folder`` (empty: the
    system's folder for temporary files), for a shared disk that is slow.
    """

    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    workers: int = -1
    cache: str = "map"
    cache_folder: str = ""

    def __post_init__(self) -> None:
        at_least("scale.", 1, self, "devices", "nodes")
        at_least("scale.", -1, self, "workers")
        one_of("scale.strategy", self.strategy, STRATEGIES)
        one_of("scale.cache", self.cache, CACHES)
