"""What an evaluation is asked to do, and whether model and dataset fit each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...config import MAX_STEPS, GridConfig, ModelConfig
from ...dataset import DatasetConfig
from ...errors import InputError
from ...options import check_options, option
from ...sampling import names

if TYPE_CHECKING:  # options are told, and requests refused, without torch
    from torch import Tensor

MAX_SAMPLES = 100
TUMOR_ITERATIONS = 600
MAX_TUMOR_ITERATIONS = 100_000


@dataclass(frozen=True)
class EvaluationRequest:
    """``samples`` images for each case of ``split`` of the prepared dataset, the k-th with seed ``seed`` + k.

    ``sampler`` and ``steps`` None: those of the model. ``guidance`` as in ``medddpm.sample``. ``cases``: the ids of
    those to take, empty for all. ``anatomy``: "mask" for the case's own tissues, "seed" for its tumor and outline with
    an anatomy from the bank (models with tissue labels). ``contrast``: drawn from the "seed", the "mean" one, or
    that of the case's "real" images (networks in the residual domain). ``tumor_iterations``: how long the network that
    looks for the tumor is trained, once for each dataset; 0: tumor fidelity is not measured.
    """

    model: str
    dataset: str
    out: str
    split: str = option("test", "Which cases.", choices=("test", "validation", "train"))
    samples: int = option(1, "Number of samples (different images) for each mask.", low=1, high=MAX_SAMPLES)
    sampler: str | None = option(None, names.SAMPLER_HELP, choices=names.SAMPLERS)
    steps: int | None = option(None, names.STEPS_HELP, label="Sampling steps", low=1, high=MAX_STEPS)
    seed: int = option(0, "Seed of the random numbers.", low=0, high=names.MAX_SEED - MAX_SAMPLES)
    guidance: float = option(1.0, names.GUIDANCE_HELP, label="Guidance scale", low=0, high=names.MAX_GUIDANCE)
    device: str = option("auto", names.DEVICE_HELP, choices=names.DEVICES, more=True)
    precision: str = option("auto", names.PRECISION_HELP, choices=names.PRECISIONS)
    cases: tuple[str, ...] = option((), "Take this case only; may be given several times.", flag="--case")
    tumor_iterations: int = option(
        TUMOR_ITERATIONS,
        "Iterations of training, once for a dataset, of the network that looks for the tumor in the images: up to a "
        "second each on a CPU core; 0 does without.",
        low=0,
        high=MAX_TUMOR_ITERATIONS,
    )
    anatomy: str = option(
        "mask",
        "mask: the case's own tissues; seed: its tumor and outline, the rest by the seed.",
        choices=("mask", "seed"),
    )
    contrast: str = option(
        "seed",
        "seed: drawn for each image; mean: that of the training cases; real: that of the case.",
        choices=("seed", "mean", "real"),
    )

    def __post_init__(self) -> None:
        check_options(self)


def chosen_cases(request: EvaluationRequest, model: ModelConfig, dataset: DatasetConfig) -> list[str]:
    """The ids of the cases to take, in the dataset's order.

    Raises InputError for an unknown case and for none, and, naming what differs, where the model cannot be measured on
    the dataset as asked.
    """
    there = [case.id for case in dataset.cases if case.split == request.split]
    missing = sorted(set(request.cases) - set(there))
    if missing:
        raise InputError(f"The dataset {request.dataset} has no case '{missing[0]}' in the split '{request.split}'.")
    if not there:
        splits = ", ".join(sorted({case.split for case in dataset.cases}))
        raise InputError(f"The dataset {request.dataset} has no case in the split '{request.split}', only in {splits}.")
    if request.anatomy == "seed" and not model.scheme.tissue_values:
        raise InputError(
            f"The model '{model.name}' has no tissue labels, so anatomy cannot be chosen. Leave the choice out."
        )
    if request.contrast != "seed" and model.network.domain != "residual":
        raise InputError(f"No contrast can be chosen for the model '{model.name}'. Leave the choice out.")
    voxels = resolution(model.grid, dataset.grid)
    if request.contrast == "real" and voxels != Resolution():
        raise InputError("The real images have other voxels than the model, so it cannot take over their contrast.")
    for what, of_model, of_dataset in (
        ("modalities", model.modalities, dataset.modalities),
        ("label values", model.scheme.values, dataset.scheme.values),
        ("background", model.background, dataset.background),
    ):
        if of_model != of_dataset:
            raise InputError(
                f"The model '{model.name}' and the dataset do not fit: the model's {what} is {of_model}, the dataset's "
                f"{of_dataset}. Prepare a dataset for this model, or choose a model that was trained on this one."
            )
    return [id for id in there if not request.cases or id in request.cases]


def doubts(model: ModelConfig, dataset: DatasetConfig, cases: list[str]) -> list[str]:
    """Sentences on why the figures may mean less than they seem to."""
    sentences = resolution_doubts(model.grid, dataset.grid)
    trained = model.training.get("training_cases")
    seen = sorted(set(cases) & set(trained)) if isinstance(trained, list) else []
    if seen:
        some = ", ".join(seen[:5]) + (", ..." if len(seen) > 5 else "")
        sentences.append(
            f"{len(seen)} of {len(cases)} cases were training cases of this model ({some}): their figures say nothing "
            "about new masks."
        )
    if not isinstance(trained, list):
        sentences.append("The model does not record its training cases, so it may have been trained on some of these.")
    if len(cases) < 5:
        sentences.append(f"{len(cases)} case(s) are too few for firm conclusions.")
    if not any(case.split == "train" for case in dataset.cases):
        sentences.append(
            "The dataset has no training cases, so that neither nearest training cases nor tumor fidelity are told."
        )
        if not model.network.on_bands:
            sentences.append(
                "The model does not carry the label means of its training data: the baseline has those of the "
                "evaluated cases themselves, which favors it."
            )
    return sentences


@dataclass(frozen=True)
class Resolution:
    """Along each axis, ``coarser`` voxels of the dataset are one of the model, or ``finer`` of the model one of it.

    At least one of both is 1; 1 and 1: the same voxels.
    """

    coarser: int = 1
    finer: int = 1

    def to_model(self, fractions: Tensor) -> Tensor:
        """Label fractions (L, D, H, W) on the model's voxels.

        Larger voxels get the mean. Smaller ones get the label that has most of the interpolated shares there, whole, as
        where somebody had painted them.
        """
        import torch
        import torch.nn.functional as F

        if self.finer == 1:
            return F.avg_pool3d(fractions, self.coarser)
        smooth = F.interpolate(fractions[None], scale_factor=self.finer, mode="trilinear")[0]
        shares = torch.cat([1 - smooth.sum(0, keepdim=True), smooth])
        most = shares.argmax(0, keepdim=True)
        return torch.zeros_like(shares).scatter_(0, most, 1.0)[1:]

    def to_dataset(self, images: Tensor) -> Tensor:
        """Images (C, D, H, W) of the model on the dataset's voxels: their mean, or interpolated linearly."""
        import torch.nn.functional as F

        if self.coarser == 1:
            return F.avg_pool3d(images, self.finer)
        return F.interpolate(images[None], scale_factor=self.coarser, mode="trilinear")[0]


def resolution(model: GridConfig, dataset: GridConfig) -> Resolution:
    """How the voxels of both are related; the fields of view may differ.

    Raises InputError where the orientations differ, or the spacings not by one whole factor, or where the dataset's
    shape is no multiple of it.
    """
    ratios = [ours / theirs for ours, theirs in zip(model.spacing, dataset.spacing, strict=True)]
    coarser, finer = max(1, round(ratios[0])), max(1, round(1 / ratios[0]))
    if model.orientation != dataset.orientation:
        problem = f"their orientations are {model.orientation} and {dataset.orientation}"
    elif not all(math.isclose(ratio, coarser / finer, rel_tol=1e-3) for ratio in ratios):
        problem = f"their voxels of {_mm(model)} and {_mm(dataset)} do not differ by one whole factor"
    elif any(side % coarser for side in dataset.shape):
        problem = f"the dataset's {_shape(dataset)} voxels cannot be joined by {coarser} along each axis"
    else:
        return Resolution(coarser, finer)
    raise InputError(
        f"The model and the dataset do not fit: {problem}. Prepare a dataset for this model, or choose a model that "
        "was trained on this one."
    )


def resolution_doubts(model: GridConfig, dataset: GridConfig) -> list[str]:
    """Sentences on what the differences of the grids mean for the figures."""
    sentences, found = [], resolution(model, dataset)
    if found.coarser > 1:
        sentences.append(
            f"The model's voxels ({_mm(model)}) are larger than the dataset's ({_mm(dataset)}): its images are "
            "interpolated, and cannot be as sharp as the real ones."
        )
    if found.finer > 1:
        sentences.append(
            f"The model's voxels ({_mm(model)}) are smaller than the dataset's ({_mm(dataset)}): the masks are "
            "interpolated and its images averaged, so its finest detail is not judged."
        )
    fields = [[side * mm for side, mm in zip(grid.shape, grid.spacing, strict=True)] for grid in (model, dataset)]
    if not all(math.isclose(ours, theirs, rel_tol=1e-3) for ours, theirs in zip(*fields, strict=True)):
        sentences.append(
            f"The model was trained on {_shape(model)} voxels of {_mm(model)}, which is another field of view than the "
            f"dataset's ({_shape(dataset)} of {_mm(dataset)})."
        )
    return sentences


def _mm(grid: GridConfig) -> str:
    sides = sorted(set(grid.spacing))
    return f"{sides[0]:g} mm" if len(sides) == 1 else " x ".join(f"{mm:g}" for mm in grid.spacing) + " mm"


def _shape(grid: GridConfig) -> str:
    return " x ".join(map(str, grid.shape))
