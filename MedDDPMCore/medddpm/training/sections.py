"""The sections of a training's configuration: one frozen dataclass each, whose fields say what they are and may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import InputError
from ..options import check_options, option

OPTIMIZERS = ("adam", "muon")
LR_SCHEDULES = ("constant", "step", "cosine", "warmup-stable-decay")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate over the run, after a linear warm-up."""

    kind: str = option(
        "adam",
        "adam (paper), or muon (Jordan et al. 2024; for kernels of convolutions, Adam for the rest), with which the "
        "demo model learned faster.",
        choices=OPTIMIZERS,
    )
    lr: float = option(1e-5, "Learning rate.", above=0, below=1)
    min_lr: float = option(1e-6, "Minimum learning rate, lr at most.", low=0, below=1)
    schedule: str = option(
        "step",
        "constant; step: lr, then min_lr for the second half (the paper's); cosine: from lr to min_lr; "
        "warmup-stable-decay: lr, then linearly to min_lr over the last decay_steps.",
        choices=LR_SCHEDULES,
    )
    warmup_steps: int = option(0, "Iterations of the warm-up.", low=0)
    decay_steps: int = option(0, "Iterations of the decay of warmup-stable-decay, which needs some.", low=0)
    beta1: float = option(0.9, "Decay of the mean of the gradients.", low=0, below=1)
    beta2: float = option(0.999, "Decay of the mean of their squares.", low=0, below=1)
    clip_norm: float = option(0.0, "Largest norm of the gradient; 0: any.", low=0)

    FORMER_NAMES: ClassVar[dict[str, str]] = {"final_lr": "min_lr", "plan": "schedule"}
    FORMER_VALUES: ClassVar[dict[str, dict[str, str]]] = {
        "schedule": {"halved": "step", "trapezoid": "warmup-stable-decay"}
    }

    def __post_init__(self) -> None:
        check_options(self, "optimizer")
        if self.min_lr > self.lr:
            raise InputError(
                f"The option optimizer.min_lr is {self.min_lr}, but must be 0 to optimizer.lr = {self.lr:g}."
            )
        if (self.schedule == "warmup-stable-decay") != (self.decay_steps > 0):
            raise InputError(
                f"The option optimizer.decay_steps is {self.decay_steps}, but optimizer.schedule is "
                f"'{self.schedule}'. The schedule warmup-stable-decay, and only it, needs a number of decay steps."
            )


@dataclass(frozen=True)
class EmaConfig:
    """The averaged weights, which are kept for sampling.

    They are a copy of the network's before iteration ``start``; from there on a moving average whose decay grows:
    min(decay, (1 + n) / (10 + n)) at iteration n. Without the growth a short run would keep the random weights of its
    start.
    """

    decay: float = option(0.9995, "Decay of the moving average, reached gradually.", low=0, below=1)
    every: int = option(1, "Iterations between two steps of the average.", low=1)
    start: int = option(0, "First iteration that is averaged.", low=0)

    def __post_init__(self) -> None:
        check_options(self, "ema")


@dataclass(frozen=True)
class LossConfig:
    """What is minimized, plain or with the min-SNR weights."""

    kind: str = option("l1", "l1 (paper, eq. 4) or l2.", choices=("l1", "l2"))
    min_snr_gamma: float = option(
        0.0,
        "Gamma of the min-SNR weights (Hang et al. 2023 use 5); 0: equal weights of all noise levels.",
        low=0,
        high=1000,
    )
    levels: str = option(
        "uniform",
        "How often each noise level is trained: uniform (paper), or middle, which spends fewer iterations where next "
        "to nothing or nearly all is noise (logit-normal as in Esser et al. 2024, section 3.1; for flows and bridges).",
        choices=("uniform", "middle"),
    )

    adversarial: float = option(
        1.0,
        "Weight of the adversarial loss beside the distance to the real images; for the networks pix2pix and discogan.",
        low=0,
        high=1000,
    )

    def __post_init__(self) -> None:
        check_options(self, "loss")


@dataclass(frozen=True)
class AugmentConfig:
    """What is changed at random in image and mask together, anew each time that a case is seen.

    Intensities are changed for each image on its own: they change the image alone, and empty space never.
    """

    flip: bool = option(True, "Mirror left-right in half of the cases.")
    shift_voxels: int = option(0, "Move by up to that many whole voxels.", low=0, unit="voxels")
    crop_voxels: int = option(
        0,
        "Train on random cubes of that side, which gives many more iterations an hour; 0: whole volumes.",
        low=0,
        unit="voxels",
    )
    crop_until: float = option(
        1.0, "Share of the iterations, the first ones, with cubes: the network sees whole volumes later.", low=0, high=1
    )
    crop_tumor: float = option(
        0.0, "Probability that a cube holds a voxel of the tumor, and not one of any label.", low=0, high=1
    )
    affine: float = option(0.0, "Probability of a rotation and scaling.", low=0, high=1)
    rotation_degrees: float = option(10.0, "Largest rotation about each axis.", low=0, high=180, unit="degrees")
    scaling: float = option(0.1, "Largest scaling along each axis: 1 plus or minus this.", low=0, high=0.5)
    elastic: float = option(0.0, "Probability of a smooth deformation.", low=0, high=1)
    elastic_mm: float = option(4.0, "Largest deformation along each axis.", low=0, high=20, unit="mm")
    elastic_smoothness_mm: float = option(
        24.0,
        "Width of its bumps, four times elastic_mm or more.",
        above=0,
        high=500,
        unit="mm",
    )
    intensity: float = option(0.0, "Probability of each change of intensity.", low=0, high=1)
    bias_field: float = option(0.2, "Smooth bias field: a factor from exp(-this) to exp(this).", low=0, high=1)
    gamma: float = option(0.2, "Gamma from 1 / (1 + this) to 1 + this.", low=0, high=4)
    noise: float = option(0.03, "Largest standard deviation of Gaussian noise; images are in [-1, 1].", low=0, high=1)

    def __post_init__(self) -> None:
        check_options(self, "augment")
        # A deformation steeper than this would fold the image over itself.
        steepest = 4 * self.elastic_mm
        if self.elastic_smoothness_mm < steepest:
            raise InputError(
                f"The option augment.elastic_smoothness_mm is {self.elastic_smoothness_mm}, but must be {steepest:g} "
                "to 500 mm, four times augment.elastic_mm or more, or the deformation would fold tissue."
            )


@dataclass(frozen=True)
class MonitorConfig:
    """How a run is watched; every interval is in iterations, 0 for never."""

    log_every: int = option(50, "Interval of the lines of training loss.", low=1)
    validate_every: int = option(1000, "Interval of the loss on held-out cases.", low=0)
    split: str = option("validation", "Which cases are held out.", choices=("validation", "test"))
    validation_cases: int = option(0, "How many of them at most; 0: all.", low=0)
    bands: int = option(5, "In how many bands of noise levels.", low=1)
    sample_every: int = option(
        5000, "Interval of samples of held-out masks with fixed seeds, compared with the real images.", low=0
    )
    samples: int = option(2, "How many masks.", low=0)
    sampler: str = option("dpm++2m", "Their sampler, which becomes the model's own.")
    sample_steps: int = option(25, "Their sampling steps, which become the model's own.", low=1)
    neighbors: bool = option(True, "Compare them with the nearest training image, too.")
    tensorboard: bool = option(True, "Write figures and samples for TensorBoard.")
    max_share: float = option(0.15, "Share of the time that all this may take before a warning says so.", low=0, high=1)

    def __post_init__(self) -> None:
        check_options(self, "monitor")
        if self.sample_every and not self.samples:
            raise InputError(
                f"The option monitor.samples is 0, but monitor.sample_every is {self.sample_every}. "
                "Set monitor.sample_every = 0 to make no samples."
            )


@dataclass(frozen=True)
class CheckpointConfig:
    """When the state of a run is written (and at its end), and what is kept of it."""

    every: int = option(1000, "Iterations between two checkpoints.", low=1)
    newest: int = option(2, "How many of the newest ones are kept.", low=1)
    keep_every: int = option(0, "One every so many iterations is kept for good; 0: none.", low=0)
    best: bool = option(True, "Keep the one of the lowest validation loss.")

    def __post_init__(self) -> None:
        check_options(self, "checkpoint")
        if self.keep_every % self.every:
            raise InputError(
                f"The option checkpoint.keep_every is {self.keep_every}, but must be a multiple of "
                f"checkpoint.every = {self.every}, since only what is written can be kept."
            )


@dataclass(frozen=True)
class ScaleConfig:
    """Processes and data. Numbers of processes that torchrun, SLURM and ``fabric run`` give count instead."""

    devices: int = option(1, "Processes on each machine.", low=1)
    nodes: int = option(1, "Machines.", low=1)
    strategy: str = option(
        "auto",
        "auto and ddp: each process has the whole network; fsdp: weights, gradients and the optimizer's state are "
        "divided (FSDP2).",
        choices=("auto", "ddp", "fsdp"),
    )
    workers: int = option(
        -1, "Processes that prepare batches ahead, for each process; -1: as many as sensible, 0: none.", low=-1
    )
    cache: str = option(
        "map",
        "map: the files of the dataset are mapped into memory where they lie; local: each machine copies them before, "
        "for a shared disk that is slow.",
        choices=("map", "local"),
    )
    cache_folder: str = option("", "The folder for these copies. Default: the system's for temporary files.")

    def __post_init__(self) -> None:
        check_options(self, "scale")
