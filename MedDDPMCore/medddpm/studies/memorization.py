"""Whether a model repeats its training cases: the nearest one of every sample, in several spaces.

The measure of what is near are the held-out real images of the same masks, which cannot be copies (``is_copy``).
Spaces: what an image shows beyond what its mask tells (``TrainingNeighbors``, computed by ``medddpm evaluate``), and
the features of a network of others, standardized over the training cases. Mirrored copies count in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..dataset import DatasetConfig
from ..errors import InputError
from ..geometry.grid import from_network, labels_from_fractions
from ..geometry.volume import Volume, centered_affine
from ..models.places import find_config
from ..progress import Reporter, SilentReporter
from ..synthesis.sheet import write_comparison
from ..training.dataset import PreparedDataset
from ..training.evaluation.evaluate import evaluate
from ..training.evaluation.results import SampleResult
from ..training.monitor.neighbors import Nearest, is_copy, left_right_axis, nearest_of
from ..training.monitor.samples import HeldOut, made_sample
from .features import Features, open_study
from .request import MemorizationRequest, StudiedModel, require_trained_on

RESIDUAL = "beyond the mask"
PICTURED = 4  # nearest pairs of a model, in each space


@dataclass(frozen=True)
class Pair:
    """A sample with its nearest training case and that of the real image of its mask; ``picture`` relative, or ""."""

    model: str
    space: str
    case: str
    seed: int
    nearest: Nearest
    of_real: Nearest
    copy: bool
    picture: str = ""

    @property
    def excess(self) -> float:
        """How much nearer the sample is than the real image."""
        return self.nearest.similarity - self.of_real.similarity


@dataclass(frozen=True)
class Memorization:
    """The whole study; ``pairs`` of each model and space, the most suspicious first; ``weights``: a hash by model."""

    request: MemorizationRequest
    dataset: str
    training_cases: int
    network: str
    weights: dict[str, str]
    pairs: tuple[Pair, ...]
    doubts: tuple[str, ...]


def memorization(request: MemorizationRequest, reporter: Reporter | None = None) -> Memorization:
    """Sample every model, and look for the nearest training cases. Goes on where it was stopped.

    Raises InputError where models, dataset or weights do not fit or are missing, and Cancelled.
    """
    reporter = reporter or SilentReporter()
    dataset, _, told, features = open_study(request, reporter)
    for model in request.models:
        told += require_trained_on(find_config(model.model), model.name, dataset, Path(request.dataset))
    for sentence in told:
        reporter.warning(sentence)
    study = _Study(request, dataset, features, reporter)
    pairs = tuple(pair for model in request.models for pair in study.pairs(model))
    return Memorization(
        request=request,
        dataset=Path(request.dataset).name,
        training_cases=len(study.train.cases),
        network=features.name if features else "",
        weights=study.weights,
        pairs=pairs,
        doubts=tuple(told),
    )


class FeatureSpace:
    """Cases by their features: correlation of what is left after standardizing each over these cases.

    ``scaled`` False: after subtracting its mean over these cases only, for features that are constant in many of them.
    """

    def __init__(self, ids: Sequence[str], vectors: np.ndarray, scaled: bool = True) -> None:
        self._ids, self._center = ids, vectors.mean(0)
        self._spread = np.maximum(vectors.std(0), 1e-9) if scaled else 1.0
        self._known = self._standard(vectors)

    def nearest(self, views: np.ndarray) -> Nearest:
        """Of an image, as the vectors of it and of its mirror image, (2, F)."""
        return nearest_of(self._ids, torch.from_numpy((self._known @ self._standard(views).T).max(1)))

    def _standard(self, vectors: np.ndarray) -> np.ndarray:
        standard = (vectors - self._center) / self._spread
        return standard / np.maximum(np.linalg.norm(standard, axis=1, keepdims=True), 1e-9)


class _Study:
    def __init__(
        self, request: MemorizationRequest, dataset: DatasetConfig, features: Features | None, reporter: Reporter
    ) -> None:
        self._request, self._config, self._features, self._reporter = request, dataset, features, reporter
        self._out = Path(request.output)
        self.train = PreparedDataset(Path(request.dataset), "train")
        self._held_out = PreparedDataset(Path(request.dataset), request.split)
        self._index = {case.id: i for i, case in enumerate(self._held_out.cases)}
        self._left_right = left_right_axis(dataset.grid.orientation)
        self.weights: dict[str, str] = {}
        self._space: FeatureSpace | None = None
        if features is not None:
            reporter.stage("features", "Features of the training cases")
            vectors = np.stack([self._vectors(images)[0] for images, _ in self.train])
            self._space = FeatureSpace([case.id for case in self.train.cases], vectors)

    def _vectors(self, images: Tensor, mirrored: bool = False) -> np.ndarray:
        """Features of all modalities, one after the other, of images and, where wanted, of their mirror image."""
        self._reporter.check_cancelled()
        assert self._features is not None
        views = [images, images.flip(self._left_right)] if mirrored else [images]
        spacing = self._config.grid.spacing[::-1]
        return np.stack([self._features.kept(self._out, view, spacing).ravel() for view in views])

    def pairs(self, model: StudiedModel) -> list[Pair]:
        """Of all samples of a model in all spaces; the most suspicious first, these with pictures."""
        found = evaluate(self._request.evaluation(model), self._reporter)
        self.weights[model.name] = found.weights_sha256
        self._reporter.stage("compare", f"Nearest training cases of {model.name}")
        pairs = []
        for sample in found.samples:
            if sample.nearest is None or sample.nearest_of_real is None:
                raise InputError("The dataset has no training cases, so there is nothing to compare with.")
            spaces = {RESIDUAL: (sample.nearest, sample.nearest_of_real)}
            if self._space is not None:
                views = self._made(model, sample), self._held_out[self._index[sample.case]][0]
                near, of_real = (self._space.nearest(self._vectors(images, mirrored=True)) for images in views)
                spaces[self._features.name if self._features else ""] = near, of_real
            for space, (near, of_real) in spaces.items():
                pairs.append(Pair(model.name, space, sample.case, sample.seed, near, of_real, is_copy(near, of_real)))
        pairs.sort(key=lambda pair: (pair.space != RESIDUAL, not pair.copy, -pair.excess))
        samples = {(sample.case, sample.seed): sample for sample in found.samples}
        shown = [pair for space in {pair.space for pair in pairs} for pair in _of(pairs, space)[:PICTURED]]
        return [
            replace(pair, picture=self._picture(model, samples[pair.case, pair.seed], pair)) if pair in shown else pair
            for pair in pairs
        ]

    def _made(self, model: StudiedModel, sample: SampleResult) -> Tensor:
        folder = self._out / "models" / model.name / sample.folder
        return made_sample(folder, self._config.modalities, self._held_out[self._index[sample.case]][0])

    def _picture(self, model: StudiedModel, sample: SampleResult, pair: Pair) -> str:
        """The sample beside its nearest training case; the path of the sheet relative to the study's folder."""
        near = HeldOut.of(self.train, [case.id for case in self.train.cases].index(pair.nearest.case))
        name = f"pairs/{model.name}/{sample.case}-{sample.seed}-{near.id}.png"
        config, grid = self._config, self._config.grid
        labels = labels_from_fractions(from_network(near.fractions.numpy()), config.scheme.values)
        write_comparison(
            self._out / name,
            from_network(near.real.numpy()),
            from_network(self._made(model, sample).numpy()),
            config.modalities,
            Volume(labels, centered_affine(grid.shape, grid.spacing, grid.orientation)),
            config.scheme,
            f"{model.name}: sample of {sample.case}, seed {sample.seed}, beside the training case {near.id}",
        )
        return name


def _of(pairs: Sequence[Pair], space: str) -> list[Pair]:
    return [pair for pair in pairs if pair.space == space]
