"""Whether synthetic cases lead back to the patient whose mask they were made from.

The attacker has scans of all patients who may be in the data, with segmentations of them, and links every synthetic
case to the nearest one: by its images, or by the mask that is released with it. The mask is the patient's own where
nothing has changed it, so it can identify by itself. With an anatomy from the bank, only outline and tumor are the
patient's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ..dataset import DatasetConfig
from ..progress import Reporter, SilentReporter
from ..training.dataset import PreparedDataset
from ..training.evaluation.request import EvaluationRequest
from ..training.evaluation.samples import Samples
from ..training.monitor.neighbors import Nearest, TrainingNeighbors, coarse, left_right_axis
from ..training.monitor.samples import HeldOut
from .features import Features, open_study
from .memorization import FeatureSpace
from .request import AnonymityRequest, StudiedModel

OWN, BANK = "the patient's", "from the bank"
IMAGES, BEYOND = "images", "images, beyond the mask"
TUMOR, OUTLINE, TISSUES = "mask: tumor", "mask: outline", "mask: tissues"


@dataclass(frozen=True)
class Link:
    """To whom an attack links a synthetic case; ``linked``: to the patient whose mask it was made from."""

    model: str
    anatomy: str
    attack: str
    case: str
    seed: int
    nearest: Nearest
    linked: bool


@dataclass(frozen=True)
class Anonymity:
    """The whole study: ``patients`` is the number of those among whom the attacker looks."""

    request: AnonymityRequest
    dataset: str
    patients: int
    network: str
    weights: dict[str, str]
    links: tuple[Link, ...]
    doubts: tuple[str, ...]


def anonymity(request: AnonymityRequest, reporter: Reporter | None = None) -> Anonymity:
    """Sample every model, with the patients' anatomies and with those of the bank, and attack. Goes on where stopped.

    Raises InputError where models, dataset or weights do not fit or are missing, and Cancelled.
    """
    reporter = reporter or SilentReporter()
    dataset, ids, told, features = open_study(request, reporter)
    for sentence in told:
        reporter.warning(sentence)
    attacker = _Attacker(request, dataset, ids, features, reporter)
    links = tuple(link for model in request.models for link in attacker.links(model))
    return Anonymity(
        request=request,
        dataset=Path(request.dataset).name,
        patients=len(set(attacker.patients.values())),
        network=features.name if features else "",
        weights=attacker.weights,
        links=links,
        doubts=tuple(told),
    )


class _Attacker:
    def __init__(
        self,
        request: AnonymityRequest,
        dataset: DatasetConfig,
        ids: list[str],
        features: Features | None,
        reporter: Reporter,
    ) -> None:
        self._request, self._config, self._features, self._reporter = request, dataset, features, reporter
        self._ids = ids
        self._out, self._left_right = Path(request.output), left_right_axis(dataset.grid.orientation)
        self.weights: dict[str, str] = {}
        self.patients = {case.id: case.patient or case.id for case in dataset.cases}
        splits = dict.fromkeys(case.split for case in dataset.cases)
        data = {split: PreparedDataset(Path(request.dataset), split) for split in splits}
        reporter.stage("features", "What the attacker knows of every patient")
        ids = [case.id for known in data.values() for case in known.cases]
        places = [(known, i) for known in data.values() for i in range(len(known))]
        self._beyond = TrainingNeighbors(
            ids, lambda n: places[n][0][places[n][1]], dataset.background, self._left_right
        )
        seen: dict[str, list[np.ndarray]] = {}
        for images, fractions in (case for known in data.values() for case in known):
            for attack, vector in self._views(images, fractions):
                seen.setdefault(attack, []).append(vector)
        self._spaces = {
            attack: FeatureSpace(ids, np.stack(vectors), scaled=attack == self._network)
            for attack, vectors in seen.items()
        }

    @property
    def _network(self) -> str:
        return "" if self._features is None else f"features of {self._features.name}"

    def _views(self, images: Tensor, fractions: Tensor) -> Iterator[tuple[str, np.ndarray]]:
        """What each attack compares of a case; vectors."""
        self._reporter.check_cancelled()
        yield IMAGES, coarse(images).numpy().ravel()
        if self._features is not None:
            yield self._network, self._features.kept(self._out, images, self._config.grid.spacing[::-1]).ravel()
        yield OUTLINE, coarse(fractions.sum(0, keepdim=True)).numpy().ravel()
        for attack, values in ((TUMOR, self._config.scheme.tumor_values), (TISSUES, self._config.scheme.tissue_values)):
            if values:
                channels = [self._config.scheme.values.index(value) for value in values]
                yield attack, coarse(fractions[channels]).numpy().ravel()

    def links(self, model: StudiedModel) -> list[Link]:
        """Of all samples of a model."""
        return [link for asked in self._request.evaluations(model) for link in self._attacked(model, asked)]

    def _attacked(self, model: StudiedModel, asked: EvaluationRequest) -> list[Link]:
        anatomy = BANK if asked.anatomy == "seed" else OWN
        self._reporter.stage("sample", f"Linking the samples of {model.name}, anatomy {anatomy}")
        samples, links = Samples(asked, self._reporter, self._ids), []
        self.weights[model.name] = samples.model.weights_hash
        for case, k in [(HeldOut.of(samples.data, i), k) for i in samples.indices for k in range(asked.samples)]:
            masked = samples.masked(case, k)
            images, fractions = samples.sample(masked, k), masked.fractions
            views = [dict(self._views(images, fractions))]
            views += [dict(self._views(images.flip(self._left_right), fractions.flip(self._left_right)))]
            found = {
                attack: space.nearest(np.stack([v[attack] for v in views])) for attack, space in self._spaces.items()
            }
            for attack, near in (found | {BEYOND: self._beyond.nearest(images, fractions)}).items():
                linked = self.patients[near.case] == self.patients[case.id]
                links.append(Link(model.name, anatomy, attack, case.id, asked.seed + k, near, linked))
        return links
