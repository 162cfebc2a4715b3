"""How a segmenter is trained, and the one that finds tumors for an evaluation: tumor fidelity.

What counts is the synthetic images' Dice beside the real ones': where an image shows the tumor that its mask has, a
network that learned from real patients finds it there as well as in them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ...errors import InputError
from ...files import sha256
from ...models.segmenter import Segmenter, SegmenterConfig, read_segmenter
from ...progress import Reporter
from ..dataset import PreparedDataset
from ..monitor.neighbors import left_right_axis
from ..monitor.samples import spread
from ..resume import case_hashes

RECIPE = 1  # count up with every change of what is trained here: older networks are then not taken
LEARNING_RATE = 4e-3
MAX_CASES = 100  # that are kept in memory, of which each needs about 10 MB
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


class Cases(Protocol):
    """Images (C, D, H, W) and label fractions (L, D, H, W) of cases."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class Recipe:
    """How long, from which seed and with how many cases a step a segmenter is trained.

    ``dice``: by soft Dice beside binary cross-entropy. ``augment`` changes the images and regions of a step.
    """

    iterations: int
    batch: int = 1
    seed: int = 0
    dice: bool = False
    augment: Augment | None = None


def train_segmenter(made: Segmenter, cases: Cases, recipe: Recipe, reporter: Reporter) -> None:
    """Train with AdamW and a one-cycle learning rate; the same every time. Raises Cancelled."""
    volumes = lru_cache(MAX_CASES)(lambda i: made.volumes(*cases[i])[:2])
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(made.network.parameters(), LEARNING_RATE)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, recipe.iterations)
    left: list[int] = []
    for iteration in range(recipe.iterations):
        optimizer.zero_grad()
        for _ in range(recipe.batch):
            reporter.check_cancelled()
            left = left or torch.randperm(len(cases), generator=generator).tolist()
            images, truth = volumes(left.pop(0))
            if recipe.augment is not None:
                images, truth = recipe.augment(images, truth, generator)
            (_loss(made.logits(images), truth.to(made.device), recipe.dice) / recipe.batch).backward()
        optimizer.step()
        rate.step()
        reporter.step(iteration + 1, recipe.iterations)


def trained_segmenter(data: PreparedDataset, iterations: int, device: torch.device, reporter: Reporter) -> Segmenter:
    """A segmenter for the dataset whose training cases are ``data``: the one kept in its folder, or trained now.

    It is kept in ``segmenter/`` under a name that changes with the training cases, their contents and ``iterations``,
    and says how well it does in the dataset's other cases. Raises Cancelled.
    """
    path = data.folder / "segmenter" / f"{_key(data, iterations)}.safetensors"
    with contextlib.suppress(InputError):
        return read_segmenter(path, data.config, device)
    config = SegmenterConfig.of(data.config, trained_on(data) | {"iterations": iterations})
    made = Segmenter(config, data.config, device)
    if not _took_former(made, path):
        reporter.stage("segmenter", "Training the tumor segmenter")
        cases = torch.utils.data.Subset(data, spread(len(data), MAX_CASES))
        recipe = Recipe(iterations, dice=True, augment=_slightly(data.config.grid.orientation))
        train_segmenter(made, cases, recipe, reporter)
    held_out = _held_out(data, made)
    try:
        made.save(path, real_dice=mean_dice(held_out), real_cases=len(held_out))
    except InputError as exc:
        reporter.warning(f"The tumor segmenter is not kept and will be trained again the next time. {exc}")
    return made


def _took_former(made: Segmenter, path: Path) -> bool:
    """Whether the weights are now those of a file of a former version, which holds nothing but them."""
    try:
        with safe_open(path, "pt") as file:
            if file.metadata():
                return False
        made.network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError):
        return False
    return True


def trained_on(data: PreparedDataset) -> dict[str, Any]:
    """What a segmenter records of its training cases."""
    ids = [case.id for case in data.cases]
    tensors = {id: sha256(data.folder / "cases" / f"{id}.safetensors") for id in ids}
    return {"dataset": data.folder.name, "training_hashes": case_hashes(data.config, tensors, ids)}


def mean_dice(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each region, over the cases that have it."""
    names = dict.fromkeys(name for one in found for name in one)
    return {name: round(fmean(one[name] for one in found if name in one), 4) for name in names}


def _held_out(data: PreparedDataset, made: Segmenter) -> list[dict[str, float]]:
    splits = {case.split for case in data.config.cases} - {"train"}
    return [made.dice(*case) for split in sorted(splits) for case in PreparedDataset(data.folder, split)]


def _key(data: PreparedDataset, iterations: int) -> str:
    """A hash of all that the trained network depends on."""
    config, files = data.config, data.folder / "cases"
    known = {case.id: config.hashes.get(case.id, {}).get("tensors") for case in data.cases}
    contents = {case: tensors or sha256(files / f"{case}.safetensors") for case, tensors in known.items()}
    facts = [RECIPE, iterations, config.modalities, asdict(config.grid), config.scheme.to_dict(), contents]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _slightly(orientation: str) -> Augment:
    """Mirrored, and with changed intensities."""

    def changed(images: Tensor, truth: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        gain, shift = 0.2 * torch.rand((2, len(images), 1, 1, 1), generator=generator) - 0.1
        images = images * (1 + gain) + shift * (images != 0)
        if torch.rand((), generator=generator) < 0.5:
            axis = left_right_axis(orientation)
            images, truth = images.flip(axis), truth.flip(axis)
        return images, truth

    return changed


def _loss(logits: Tensor, truth: Tensor, with_dice: bool) -> Tensor:
    """Binary cross-entropy and, where wanted, soft Dice, mean over regions, which overlap."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth)
    if not with_dice:
        return entropy
    shares = logits.sigmoid()
    inside = 2 * (shares * truth).sum((1, 2, 3)) + 1
    dice = inside / (shares.sum((1, 2, 3)) + truth.sum((1, 2, 3)) + 1)
    return entropy + 1 - dice.mean()
