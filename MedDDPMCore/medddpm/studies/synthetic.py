"""Synthetic cases to train on: masks made of those of the training cases, and a model's images of them.

A mask is a training mask whose tumor is mirrored, scaled, turned and moved (``masks.edit``) or replaced by a new one
(``masks.lesions``); in a scheme with tissue labels the anatomy around it comes from the bank. Test cases have no part
in it. Case i depends on its number alone, so that every model gets the same masks, and what is there is kept.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError
from ..files import atomic_path, sha256
from ..geometry.grid import from_network, labels_from_fractions, to_network
from ..geometry.volume import Volume, centered_affine
from ..labels.scheme import LabelScheme
from ..masks import add_lesion, mirror_tumor, transform_tumor
from ..models.model import Model
from ..models.places import find_config
from ..models.registry import load_model, read_model
from ..progress import Reporter
from ..sampling.solvers import sampler_and_steps
from ..synthesis.anatomy import with_other_anatomy
from ..synthesis.sheet import write_sheet
from ..training.dataset import PreparedDataset, as_floats
from ..training.evaluation.request import resolution
from ..training.monitor.samples import draw_sample
from .request import StudiedModel, StudyRequest

RECIPE = 1  # count up with every change of what is made here: older cases are then not taken
SCALES, DEGREES, OFFSET_MM = (0.7, 1.4), 30.0, 20.0
LEAST_KEPT = 0.7  # of a moved tumor, that is inside the outline
TRIES = 20
PICTURED = 3  # cases of each model


class SyntheticCases:
    """The synthetic cases of one model for the study, in ``synthetic/<model>`` of its folder."""

    def __init__(self, request: StudyRequest, model: StudiedModel, train: PreparedDataset, reporter: Reporter) -> None:
        self._request, self._asked, self._train, self._reporter = request, model, train, reporter
        self._config = find_config(model.model)
        self._folder = Path(request.output) / "synthetic" / model.name
        self._sampler, self._steps = sampler_and_steps(self._config, model.sampler, model.steps)
        self._resolution = resolution(self._config.grid, train.config.grid)
        self.constant: list[int] = []

    def make(self, cases: range) -> None:
        """See that these ``cases`` are there; ``constant`` are those whose images show nothing.

        Raises InputError where masks or images cannot be made, and Cancelled.
        """
        self._reporter.stage("sample", f"Synthetic cases of {self._asked.name}")
        for done, i in enumerate(cases, 1):
            self._reporter.check_cancelled()
            notes = self._notes(i)
            if notes.get("facts") != json.dumps(self._facts(i), sort_keys=True):
                notes = self._made(i)
            if notes.get("constant"):
                self.constant.append(i)
            self._reporter.step(done, len(cases))

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Images (C, D, H, W) in [-1, 1] and fractions (L, D, H, W) of case ``i``, on the dataset's grid."""
        with safe_open(self._path(i), "pt") as file:
            return as_floats(file.get_tensor("images"), file.get_tensor("fractions"))

    def sheets(self, count: int) -> list[str]:
        """Pictures of the first cases, relative to the study's folder."""
        names = [self._sheet(i) for i in range(min(count, PICTURED))]
        return [name for name in names if (Path(self._request.output) / name).is_file()]

    @cached_property
    def described(self) -> dict[str, Any]:
        """What all the cases depend on, as JSON has it."""
        weights = self._config.weights_sha256 or read_model(self._asked.model)[2]
        facts = {"recipe": RECIPE, "weights": weights, "sampler": self._sampler, "steps": self._steps}
        return {**facts, "seed": self._request.seed, "precision": self._request.precision}

    @cached_property
    def _model(self) -> Model:
        return load_model(self._asked.model, self._request.device, self._request.precision)

    @cached_property
    def _hashes(self) -> list[str]:
        cases = self._train.folder / "cases"
        return [sha256(cases / f"{case.id}.safetensors") for case in self._train.cases]

    def _path(self, i: int) -> Path:
        return self._folder / f"{i:05d}.safetensors"

    def _sheet(self, i: int) -> str:
        return f"synthetic/{self._asked.name}/{i:05d}.png"

    def _source(self, i: int) -> int:
        """The training case whose mask case ``i`` is made of: all by turns, each time in another order."""
        turn, place = divmod(i, len(self._train))
        return int(np.random.default_rng([self._request.seed, turn]).permutation(len(self._train))[place])

    def _facts(self, i: int) -> dict[str, Any]:
        return {**self.described, "case": i, "source": self._hashes[self._source(i)]}

    def _notes(self, i: int) -> dict[str, str]:
        try:
            with safe_open(self._path(i), "pt") as file:
                return dict(file.metadata() or {})
        except (OSError, SafetensorError):
            return {}

    def _made(self, i: int) -> dict[str, str]:
        config, source = self._train.config, self._source(i)
        case = self._train.cases[source]
        grid = config.grid
        affine = np.array(case.affine or centered_affine(grid.shape, grid.spacing, grid.orientation))
        seed = self._request.seed + i
        mask, how = new_mask(self._train[source][1].numpy(), affine, config.scheme, seed)
        fractions = torch.from_numpy(mask)
        condition = self._resolution.to_model(fractions)
        check = self._reporter.check_cancelled
        images = draw_sample(self._model, condition, self._sampler, self._steps, seed, check)
        images = self._resolution.to_dataset(images)
        notes = {"facts": json.dumps(self._facts(i), sort_keys=True), "mask": json.dumps({"case": case.id, **how})}
        if bool((images.amax((1, 2, 3)) == images.amin((1, 2, 3))).any()):
            notes["constant"] = "yes"
        if i < PICTURED:
            labels = Volume(labels_from_fractions(from_network(mask), config.scheme.values), affine)
            sampled = f"{self._sampler}, {self._steps} steps"
            title = f"{self._asked.name} | case {i}, mask of {case.id}: {how['kind']} | {sampled}"
            shown = from_network(images.numpy())
            path = Path(self._request.output) / self._sheet(i)
            write_sheet(path, shown, config.modalities, labels, config.scheme, title)
        stored = {"images": images.half(), "fractions": (fractions * 255).round().to(torch.uint8)}
        with atomic_path(self._path(i)) as temporary:
            save_file(stored, temporary, notes)
        return notes


def new_mask(
    fractions: np.ndarray, affine: np.ndarray, scheme: LabelScheme, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Label fractions (L, D, H, W) of a new mask made of those of a training case, and how it was made.

    ``affine``: voxel index (X, Y, Z) -> RAS mm. Raises InputError where no tumor finds a place.
    """
    labels = labels_from_fractions(from_network(fractions), scheme.values)
    rng = np.random.default_rng(seed)
    for _ in range(TRIES):
        try:
            made, how = (_with_lesion if rng.random() < 0.5 else _edited)(labels, affine, scheme, rng)
        except InputError:  # no room there: draw again
            continue
        if not np.isin(made, scheme.tumor_values).any():
            continue
        whole = np.stack([made == value for value in scheme.values]).astype(np.float32)
        if scheme.tissue_values:
            whole = with_other_anatomy(whole, scheme, affine, seed)
        return to_network(whole), how
    raise InputError(
        f"In {TRIES} tries no tumor found a place in a training mask. See that the masks have a tumor inside of a "
        "brain or head."
    )


def _edited(
    labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any]]:
    mirrored, scale = bool(rng.random() < 0.5), float(rng.uniform(*SCALES))
    degrees, offset = rng.uniform(-DEGREES, DEGREES, 3).tolist(), rng.uniform(-OFFSET_MM, OFFSET_MM, 3).tolist()
    kept = 1.0
    if mirrored:
        mirror = mirror_tumor(labels, affine, scheme)
        labels, kept = mirror.labels, mirror.kept_fraction
    moved = transform_tumor(labels, affine, scheme, scale, degrees, offset)
    if kept * moved.kept_fraction < LEAST_KEPT:
        raise InputError("Too much of the tumor is outside of the outline. Choose a smaller movement.")
    how = {"mirrored": mirrored, "scale": scale, "degrees": degrees, "offset_mm": offset}
    return moved.labels, {"kind": "tumor moved", **how}


def _with_lesion(
    labels: np.ndarray, affine: np.ndarray, scheme: LabelScheme, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, Any]]:
    healthy = np.where(np.isin(labels, scheme.tumor_values), np.uint8(scheme.surround), labels)
    seed = int(rng.integers(2**31))
    made = add_lesion(healthy, affine, scheme, None, seed)
    return made.labels, {"kind": "new lesion", "seed": seed, "volumes_ml": made.volumes_ml}
