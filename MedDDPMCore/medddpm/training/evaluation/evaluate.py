"""``evaluate``: a model sampled for every mask of a split, and compared with the real images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ...dataset import read_dataset_config
from ...models.places import find_config
from ...models.segmenter import tumor_regions
from ...network import appearance
from ...progress import Reporter, SilentReporter
from ..dataset import PreparedDataset
from ..monitor.neighbors import TrainingNeighbors, coarse, is_copy, left_right_axis
from ..monitor.quality import Quality, by_modality, dataset_label_means, label_mean_image, label_means
from ..monitor.samples import (
    HeldOut,
    figures_device,
)
from .distances import mmd
from .measures import ALL, BASELINE, REAL, SYNTHETIC, Reading, measured
from .realism import CaseMeasures, areas_under_curve, neighbor_similarities, slice_features
from .report import write_report
from .request import EvaluationRequest, chosen_cases, doubts
from .results import (
    EVALUATED,
    MODEL,
    OWN,
    TRAINING,
    Evaluation,
    SampleResult,
    SetFigures,
    undefined,
    write_tables,
)
from .samples import Samples
from .segmenter import trained_segmenter

SAME_MASK_CASES = 8  # of which the similarity among samples of the same mask is computed


def evaluate(request: EvaluationRequest, reporter: Reporter | None = None) -> Evaluation:
    """Sample every case of the split, compare, and return the figures.

    Below ``request.out`` lie samples and sheets, tables (``write_tables``) and the report (``write_report``).

    What the same request has sampled before is read again instead, so that an interrupted evaluation goes on. The
    figures are those of the images as they are written, on the dataset's grid, whose voxels may be larger or smaller
    than the model's by a whole factor. Raises InputError where model and dataset do not fit each
    other, or a file cannot be read or written, and Cancelled.
    """
    reporter = reporter or SilentReporter()
    reporter.stage("load", "Loading the model and the dataset")
    config = read_dataset_config(Path(request.dataset))
    ids = chosen_cases(request, find_config(request.model), config)
    found = _Evaluator(request, reporter, ids).run()
    write_tables(Path(request.out), found)
    write_report(Path(request.out), found)
    return found


class _Evaluator:
    def __init__(self, request: EvaluationRequest, reporter: Reporter, ids: list[str]) -> None:
        self._request, self._reporter = request, reporter
        self._samples = Samples(request, reporter, ids)
        self._data, self._indices = self._samples.data, self._samples.indices
        self._model, self._config = self._samples.model, self._samples.model.config
        self._doubts = doubts(self._config, self._data.config, ids)
        self._train: PreparedDataset | None = None
        self._neighbors: TrainingNeighbors | None = None
        self._terms: dict[str, list[float]] = {}
        self._readings: list[Reading] = []
        self._slices: dict[str, dict[str, Tensor]] = {REAL: {}, SYNTHETIC: {}, BASELINE: {}}

    def _know_training_cases(self) -> None:
        if self._request.split == "train":
            self._train = self._data
        elif any(case.split == "train" for case in self._data.config.cases):
            self._train = train = PreparedDataset(self._data.folder, "train")
            axis = left_right_axis(self._config.grid.orientation)
            names = [case.id for case in train.cases]
            self._neighbors = TrainingNeighbors(names, train.__getitem__, self._config.background, axis)
        self._means, self._baseline_from = self._label_means()

    def _label_means(self) -> tuple[Tensor, str]:
        """Those of the baseline, and whose they are."""
        carried = self._model.label_means()
        if self._request.contrast == "real" and carried is not None:
            return carried, OWN  # these are for labels that a case has not
        if carried is not None:
            return carried, MODEL
        if self._neighbors is not None:
            return self._neighbors.means, TRAINING
        means = dataset_label_means(self._train or self._data, self._config.background)
        return means, EVALUATED if self._train is None else TRAINING

    def run(self) -> Evaluation:
        request = self._request
        self._know_training_cases()
        for sentence in self._doubts:
            self._reporter.warning(sentence)
        segmenter = None
        if self._train is not None and request.tumor_iterations and tumor_regions(self._config.scheme):
            device = figures_device(self._model.device)
            segmenter = trained_segmenter(self._train, request.tumor_iterations, device, self._reporter)
        self._reporter.stage("sample", "Sampling the masks")
        results, real_means, made_means = [], [], []
        for i in self._indices:
            case = HeldOut.of(self._data, i)
            measures = CaseMeasures(case.fractions, self._data.config, segmenter, self._reporter)
            baseline = self._baseline(i)
            real_means.append(label_means(case.real, case.fractions))
            self._measure(measures, REAL, case.id, None, case.real)
            self._measure(measures, BASELINE, case.id, None, baseline)
            expected = self._quality(baseline, case, "the baseline and real images")
            for k in range(request.samples):
                masked, own = self._samples.masked(case, k), measures
                if masked is not case:
                    own = CaseMeasures(masked.fractions, self._data.config, segmenter, self._reporter)
                made = self._samples.sample(masked, k)
                made_means.append(label_means(made, masked.fractions))
                self._measure(own, SYNTHETIC, case.id, request.seed + k, made)
                results.append(self._compared(case, k, made, expected))
        return self._result(results, {"real": real_means, "synthetic": made_means})

    def _result(self, samples: list[SampleResult], means: dict[str, list[Tensor]]) -> Evaluation:
        self._reporter.stage("compare", "Comparing the images")
        self._compare_sets()
        patients = {case.id: case.patient or case.id for case in self._data.cases}
        for kind in (SYNTHETIC, BASELINE):
            areas = areas_under_curve(self._slices[REAL], self._slices[kind], patients)
            self._readings += [Reading("classifier", ALL, kind, case, None, area) for case, area in areas.items()]
        for sentence in (found := undefined(self._terms)):
            self._reporter.warning(sentence)
        real = [coarse(self._data[i][0]).flatten() for i in self._indices]
        made = [coarse(self._samples.again(n, 0)).flatten() for n in range(len(self._indices))]
        train = [] if self._neighbors is None else [coarse(images).flatten() for images, _ in self._train or ()]
        averages = {kind: torch.stack(several).nanmean(0) for kind, several in means.items()}
        return Evaluation(
            request=replace(self._request, sampler=self._samples.sampler, steps=self._samples.steps),
            model=self._config.name,
            weights_sha256=self._model.weights_hash,
            modalities=self._config.modalities,
            samples=tuple(samples),
            sets=SetFigures(mmd=mmd(made, real), mmd_of_training=mmd(train, real)),
            intensities={
                modality: {
                    label.name: {kind: _known(values[m, i]) for kind, values in averages.items()}
                    for i, label in enumerate(self._config.scheme.labels)
                }
                for m, modality in enumerate(self._config.modalities)
            },
            measures=measured(self._readings, patients),
            readings=tuple(self._readings),
            baseline_from=self._baseline_from,
            doubts=(*self._doubts, *found),
        )

    def _measure(self, measures: CaseMeasures, kind: str, case: str, seed: int | None, images: Tensor) -> None:
        self._reporter.check_cancelled()
        found = measures.of(images, anatomy=kind != BASELINE)
        self._readings += [Reading(name, modality, kind, case, seed, value) for name, modality, value in found]
        if seed in (None, self._request.seed):
            self._slices[kind][case] = slice_features(images, measures.inside)

    def _compared(self, case: HeldOut, k: int, made: Tensor, baseline: dict[str, Quality]) -> SampleResult:
        known = self._neighbors
        near = None if known is None else known.nearest(made, case.fractions)
        real_near = None if known is None else known.nearest(case.real, case.fractions)
        return SampleResult(
            case=case.id,
            seed=self._request.seed + k,
            folder=str(self._samples.folder(case.id, k)),
            figures=self._quality(made, case, "synthetic and real images"),
            baseline=baseline,
            nearest=near,
            nearest_of_real=real_near,
            copy=None if near is None or real_near is None else is_copy(near, real_near),
        )

    def _quality(self, images: Tensor, case: HeldOut, what: str) -> dict[str, Quality]:
        """Figures by modality against the real images."""
        on_device = [t.to(figures_device(self._model.device)) for t in (images, case.real, case.fractions)]
        found = by_modality(*on_device)
        self._terms.setdefault(what, []).extend(q.ms_ssim_lowest for q in found if q.ms_ssim_lowest is not None)
        return dict(zip(self._config.modalities, found, strict=True))

    def _baseline(self, i: int) -> Tensor:
        images, fractions = self._data[i]
        means = self._means
        if self._baseline_from == OWN:
            own = appearance.label_means(images.float(), fractions.float()).T
            means = torch.where(own.isnan(), means, own)
        return label_mean_image(means, fractions, self._config.background)

    def _compare_sets(self) -> None:
        """How alike images are; two images at a time are in memory, synthetic ones from their files."""
        ids = [self._data.cases[i].id for i in self._indices]
        kinds: dict[str, Callable[[int], Tensor]] = {
            REAL: lambda n: self._data[self._indices[n]][0],
            SYNTHETIC: partial(self._samples.again, k=0),
            BASELINE: lambda n: self._baseline(self._indices[n]),
        }
        for kind, load in kinds.items():
            for n, alike in neighbor_similarities(len(ids), load):
                self._readings.append(Reading("among_masks", ALL, kind, ids[n], None, alike.value))
                self._terms.setdefault(f"different masks ({kind})", []).append(alike.lowest)
        for n in range(min(len(ids), SAME_MASK_CASES)):
            for k, alike in neighbor_similarities(self._request.samples, partial(self._samples.again, n)):
                seed = self._request.seed + k
                self._readings.append(Reading("among_samples", ALL, SYNTHETIC, ids[n], seed, alike.value))
                self._terms.setdefault("samples of one mask", []).append(alike.lowest)


def _known(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else round(float(value), 4)
