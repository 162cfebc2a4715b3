"""Table I of the paper: several models on the same test masks, beside the real images.

Samples and single measures are those of ``medddpm evaluate``, made by it, a folder for each model. Added are distances
of sets (MMD, 3D-FID, FRD), each with its interval. What was computed is kept: images as their files, features by a hash
of the images, and the row of a model once it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..dataset import DatasetConfig
from ..files import sha256, write_text
from ..models.places import find_config
from ..models.registry import read_model
from ..progress import Reporter, SilentReporter
from ..training.dataset import PreparedDataset
from ..training.evaluation.distances import Distance, frechet, mean_distance, mmd_of, over_patients
from ..training.evaluation.evaluate import evaluate
from ..training.evaluation.measures import REAL, SYNTHETIC, Estimate, mean_of
from ..training.evaluation.results import Evaluation
from ..training.monitor.neighbors import coarse
from ..training.monitor.quality import inside
from ..training.monitor.samples import SHEET, made_sample
from .features import Features, cached, hash_of, open_study
from .radiomics import NAME as RADIOMICS
from .radiomics import comparable, frd, radiomics_features, require_radiomics
from .request import StudiedModel, Table1Request
from .results import JUDGED, Figure, Row, Table1, finished_row

RECIPE = 1  # count up with every change of what is computed here: older rows are then not taken


def table1(request: Table1Request, reporter: Reporter | None = None) -> Table1:
    """Compute the table. What the same request has computed before is taken from ``request.output``.

    Raises InputError where models, dataset or weights do not fit or are missing (before anything is sampled), and
    Cancelled.
    """
    reporter = reporter or SilentReporter()
    dataset, ids, told, features = open_study(request, reporter)
    if request.frd:
        require_radiomics()
    for sentence in told:
        reporter.warning(sentence)
    study = _Study(request, dataset, ids, features, reporter)
    rows = tuple(study.row(model) for model in request.models)
    spacing = " x ".join(f"{mm:g}" for mm in dataset.grid.spacing)
    return Table1(
        request=request,
        dataset=Path(request.dataset).name,
        cases=tuple(ids),
        patients=len(set(study.patients)),
        modalities=dataset.modalities,
        grid=f"{' x '.join(map(str, dataset.grid.shape))} voxels of {spacing} mm",
        network=features.name if features else "",
        weights_sha256=features.weights if features else "",
        radiomics=RADIOMICS if request.frd else "",
        rows=rows,
        doubts=tuple(told),
    )


class _Study:
    def __init__(
        self,
        request: Table1Request,
        dataset: DatasetConfig,
        ids: Sequence[str],
        features: Features | None,
        reporter: Reporter,
    ) -> None:
        self._request, self._config, self._features, self._reporter = request, dataset, features, reporter
        self._data = PreparedDataset(Path(request.dataset), request.split)
        self._index = {case.id: i for i, case in enumerate(self._data.cases) if case.id in ids}
        self._patient = {case.id: case.patient or case.id for case in self._data.cases}
        self.patients = [self._patient[id] for id in self._index]
        self._out = Path(request.output)

    def row(self, model: StudiedModel) -> Row:
        """The row of a model: the one that was finished before, or computed now."""
        path = self._out / "models" / model.name / "row.json"
        facts = self._facts(model)
        row = finished_row(path, facts)
        if row is None:
            found = evaluate(self._request.evaluation(model), self._reporter)
            row = self._computed(model, found)
            write_text(path, json.dumps({"facts": facts, "row": asdict(row)}, indent=1) + "\n")
        return row

    def _facts(self, model: StudiedModel) -> dict[str, Any]:
        """Everything that a row depends on, as JSON has it."""
        asked = asdict(self._request)
        for name in ("models", "dataset", "output", "device"):
            del asked[name]
        asked["features"] = None if self._features is None else [self._features.name, self._features.weights]
        cases = {id: sha256(self._data.folder / "cases" / f"{id}.safetensors") for id in self._index}
        weights = find_config(model.model).weights_sha256 or read_model(model.model)[2]
        facts = {"recipe": RECIPE, "weights": weights, "model": asdict(model), "asked": asked, "cases": cases}
        return dict(json.loads(json.dumps(facts)))

    def _computed(self, model: StudiedModel, found: Evaluation) -> Row:
        self._reporter.stage("compare", f"Comparing the images of {model.name}")
        folder = self._out / "models" / model.name
        cases = [sample.case for sample in found.samples]
        made = [_Images(self._sample(folder / sample.folder, sample.case), sample.case) for sample in found.samples]
        figures = [*self._of_samples(found), *self._of_sets(made, cases), *_of_evaluation(found)]
        doubts = (*found.doubts, *self._strange(model.name, made))
        sheets = tuple(f"models/{model.name}/{sample.folder}/{SHEET}" for sample in found.samples)
        asked = found.request
        return Row(
            model.name, found.model, found.weights_sha256, str(asked.sampler), int(asked.steps or 0),
            tuple(figures), doubts, sheets,
        )  # fmt: skip

    def _sample(self, folder: Path, case: str) -> Tensor:
        return made_sample(folder, self._config.modalities, self._real(case)[0])

    def _real(self, case: str) -> tuple[Tensor, Tensor]:
        return self._data[self._index[case]]

    def _of_samples(self, found: Evaluation) -> list[Figure]:
        """The mean squared error of whole volumes, over patients."""
        errors: dict[str, list[float]] = {}
        for sample in found.samples:
            errors.setdefault(self._patient[sample.case], []).append(sample.mean.mse_volume)
        return _figures("mse", SYNTHETIC, mean_of([float(np.mean(values)) for values in errors.values()]))

    def _of_sets(self, made: Sequence[_Images], cases: Sequence[str]) -> list[Figure]:
        real = [_Images(self._real(case)[0], case) for case in self._index]
        patients = self.patients, [self._patient[case] for case in cases]
        small = [[coarse(one.images).flatten() for one in images] for images in (real, made)]
        distances: dict[str, Distance] = {"mmd": mmd_of(*small)}
        if self._features is not None:
            for name, equalize in (("fid", False), ("fid_equalized", True)):
                vectors = [np.stack([self._vector(one, equalize) for one in images]) for images in (real, made)]
                distances[name] = mean_distance(
                    [frechet(*pair) for pair in zip(*map(_by_modality, vectors), strict=True)]
                )
        if self._request.frd:
            vectors = [np.stack([self._radiomics(one) for one in images]) for images in (real, made)]
            pairs = [comparable(*pair) for pair in zip(*map(_by_modality, vectors), strict=True)]
            mean = mean_distance([frechet(*pair) for pair in pairs])
            distances["frd"] = lambda p, q: frd(mean(p, q))
        found = []
        for name, distance in distances.items():
            self._reporter.check_cancelled()
            found += _figures(name, SYNTHETIC, over_patients(distance, *patients))
        return found

    def _vector(self, one: _Images, equalize: bool) -> np.ndarray:
        assert self._features is not None
        self._reporter.check_cancelled()
        images = equalized(one.images, inside(self._real(one.case)[1])) if equalize else one.images
        return self._features.kept(self._out, images, self._config.grid.spacing[::-1])

    def _radiomics(self, one: _Images) -> np.ndarray:
        self._reporter.check_cancelled()
        within, spacing = inside(self._real(one.case)[1]), self._config.grid.spacing[::-1]
        return cached(
            self._out,
            [RADIOMICS, spacing, one.digest],
            lambda: torch.from_numpy(radiomics_features(one.images, within, spacing)),
        )

    def _strange(self, name: str, made: Sequence[_Images]) -> list[str]:
        """Sentences on images that are constant, or the same for different masks."""
        told = []
        constant = sorted(
            {one.case for one in made if bool((one.images.amax((1, 2, 3)) == one.images.amin((1, 2, 3))).any())}
        )
        if constant:
            told.append(
                f"The model '{name}' made constant images for {len(constant)} case(s) ({', '.join(constant[:5])})."
            )
        if len({one.digest for one in made}) < len({one.case for one in made}):
            told.append(f"The model '{name}' made the same images for different masks.")
        for sentence in told:
            self._reporter.warning(sentence)
        return told


class _Images:
    """Images (C, D, H, W) in [-1, 1] of a case, with the hash of what they show."""

    def __init__(self, images: Tensor, case: str) -> None:
        self.images, self.case, self.digest = images, case, hash_of(images)


def equalized(images: Tensor, within: Tensor) -> Tensor:
    """Images (C, D, H, W) with the histogram of each spread evenly from -1 to 1 inside an outline; -1 outside.

    In 256 bins, by MONAI. The paper proposes an equalization of histograms before 3D-FID without describing it.
    """
    from monai.transforms.utils import equalize_hist

    mask = within.numpy()
    flat = [torch.from_numpy(equalize_hist(image.numpy(), mask, 256, -1, 1)).float() for image in images]
    return torch.where(within, torch.stack(flat), torch.tensor(-1.0))


def _by_modality(vectors: np.ndarray) -> list[np.ndarray]:
    """Features (N, C, F) as those of each modality (N, F)."""
    return [vectors[:, i] for i in range(vectors.shape[1])]


def _of_evaluation(found: Evaluation) -> list[Figure]:
    figures: list[Figure] = []
    for one in found.measures:
        for kind, estimate in ((REAL, one.real), (SYNTHETIC, one.synthetic), (JUDGED, one.judged)):
            figures += _figures(one.name, kind, estimate, one.modality)
    return figures


def _figures(name: str, kind: str, estimate: Estimate | None, modality: str = "all") -> list[Figure]:
    return [] if estimate is None else [Figure(name, modality, kind, **asdict(estimate))]
