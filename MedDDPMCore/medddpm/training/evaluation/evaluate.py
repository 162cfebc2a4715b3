"""``evaluate``: a model sampled for every mask of a split, and compared with the real images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ...dataset import read_dataset_config
from ...errors import InputError
from ...files import sha256, write_text
from ...geometry.grid import from_network, to_network
from ...geometry.volume import centered_affine
from ...models.model import Model
from ...models.places import find_config
from ...models.registry import load_model
from ...network.appearance import Look
from ...progress import Reporter, SilentReporter
from ...sampling.solvers import sampler_and_steps
from ...synthesis.anatomy import with_other_anatomy
from ..dataset import PreparedDataset
from ..monitor.neighbors import TrainingNeighbors, is_copy, left_right_axis
from ..monitor.quality import Quality, by_modality, dataset_label_means, label_mean_image, label_means
from ..monitor.samples import (
    RECORD,
    HeldOut,
    as_written,
    draw_sample,
    figures_device,
    read_sample,
    recorded,
    write_case,
)
from .distribution import areas_under_curve, mmd, neighbor_similarities, slice_features, small_vector
from .measures import ALL, BASELINE, REAL, SYNTHETIC, Reading, measured
from .realism import CaseMeasures
from .request import EvaluationRequest, chosen_cases, doubts, require_fit, resolution
from .results import EVALUATED, MODEL, TRAINING, Evaluation, LabelTable, SampleResult, SetFigures, undefined
from .segmenter import Segmenter, trained_segmenter, tumor_regions

SAME_MASK_CASES = 8  # of which the similarity among samples of the same mask is computed


def evaluate(request: EvaluationRequest, reporter: Reporter | None = None) -> Evaluation:
    """Sample every case of the split, compare, and return the figures; samples and sheets lie below ``request.out``.

    What the same request has sampled before is read again instead, so that an interrupted evaluation goes on. The
    figures are those of the images as they are written, on the dataset's grid, whose voxels may be larger or smaller
    than the model's by a whole factor. Raises InputError where model and dataset do not fit each
    other, or a file cannot be read or written, and Cancelled.
    """
    reporter = reporter or SilentReporter()
    reporter.stage("load", "Loading the model and the dataset")
    config = read_dataset_config(Path(request.dataset))
    ids = chosen_cases(config.cases, request)
    require_fit(request, find_config(request.model), config)
    return _Evaluator(request, reporter, ids).run()


class _Evaluator:
    def __init__(self, request: EvaluationRequest, reporter: Reporter, ids: list[str]) -> None:
        self._request, self._reporter = request, reporter
        self._data = PreparedDataset(Path(request.dataset), request.split)
        self._indices = [i for i, case in enumerate(self._data.cases) if case.id in ids]
        self._train = self._training_cases()
        self._model: Model = load_model(request.model, request.device, request.precision)
        self._config = self._model.config
        self._doubts = doubts(self._config, self._data.config, ids)
        self._resolution = resolution(self._config.grid, self._data.config.grid)
        self._sampler, self._steps = sampler_and_steps(self._config, request.sampler, request.steps)
        self._neighbors = self._training_neighbors()
        self._means, self._baseline_from = self._label_means()
        self._terms: dict[str, list[float]] = {}
        self._readings: list[Reading] = []
        self._slices: dict[str, dict[str, Tensor]] = {REAL: {}, SYNTHETIC: {}, BASELINE: {}}
        self._done = 0

    def _training_cases(self) -> PreparedDataset | None:
        if not any(case.split == "train" for case in self._data.config.cases):
            return None
        return self._data if self._request.split == "train" else PreparedDataset(self._data.folder, "train")

    def _training_neighbors(self) -> TrainingNeighbors | None:
        train = self._train
        if train is None or self._request.split == "train":
            return None
        axis = left_right_axis(self._config.grid.orientation)
        ids = [case.id for case in train.cases]
        return TrainingNeighbors(ids, train.__getitem__, self._config.background, axis)

    def _label_means(self) -> tuple[Tensor, str]:
        """Those of the baseline, and whose they are."""
        carried = self._model.label_means()
        if carried is not None:
            return carried, MODEL
        if self._neighbors is not None:
            return self._neighbors.means, TRAINING
        data = self._train or self._data
        means = dataset_label_means(data, self._config.background)
        return means, EVALUATED if self._train is None else TRAINING

    def run(self) -> Evaluation:
        for sentence in self._doubts:
            self._reporter.warning(sentence)
        segmenter = self._segmenter()
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
            for k in range(self._request.samples):
                masked, own = case, measures
                if self._request.anatomy == "seed":
                    masked = self._with_other_anatomy(case, k)
                    own = CaseMeasures(masked.fractions, self._data.config, segmenter, self._reporter)
                made = self._sample(masked, k)
                made_means.append(label_means(made, masked.fractions))
                self._measure(own, SYNTHETIC, case.id, self._request.seed + k, made)
                results.append(self._compared(case, k, made, expected))
        self._reporter.stage("compare", "Comparing the images")
        self._compare_sets()
        patients = {case.id: case.patient or case.id for case in self._data.cases}
        self._classify(patients)
        for sentence in (found := undefined(self._terms)):
            self._reporter.warning(sentence)
        return Evaluation(
            model=self._config.name,
            weights_sha256=self._model.weights_hash,
            dataset=Path(self._request.dataset).name,
            split=self._request.split,
            sampler=self._sampler,
            steps=self._steps,
            seed=self._request.seed,
            guidance=self._request.guidance,
            anatomy=self._request.anatomy,
            contrast=self._request.contrast,
            modalities=self._config.modalities,
            samples=tuple(results),
            sets=self._sets(),
            intensities=self._intensities(real_means, made_means),
            measures=measured(self._readings, patients),
            readings=tuple(self._readings),
            baseline_from=self._baseline_from,
            doubts=(*self._doubts, *found),
        )

    def _with_other_anatomy(self, case: HeldOut, k: int) -> HeldOut:
        grid = self._data.config.grid
        affine = centered_affine(grid.shape, grid.spacing, grid.orientation)
        own = from_network(case.fractions.numpy())
        other = with_other_anatomy(own, self._config.scheme, affine, self._request.seed + k)
        return replace(case, fractions=torch.from_numpy(to_network(other)))

    def _segmenter(self) -> Segmenter | None:
        iterations = self._request.tumor_iterations
        if self._train is None or iterations == 0 or not tumor_regions(self._config.scheme):
            return None
        return trained_segmenter(self._train, iterations, figures_device(self._model.device), self._reporter)

    def _measure(self, measures: CaseMeasures, kind: str, case: str, seed: int | None, images: Tensor) -> None:
        self._reporter.check_cancelled()
        found = measures.of(images, anatomy=kind != BASELINE)
        self._readings += [Reading(name, modality, kind, case, seed, value) for name, modality, value in found]
        if seed in (None, self._request.seed):
            self._slices[kind][case] = slice_features(images, measures.inside)

    def _folder(self, case: str, k: int) -> PurePosixPath:
        return PurePosixPath("cases", case, f"sample-{k + 1:02d}")

    def _sample(self, case: HeldOut, k: int) -> Tensor:
        """The k-th sample of a case as written, (C, D, H, W): from its files, or made now."""
        folder = Path(self._request.out) / self._folder(case.id, k)
        facts = self._facts(case.id, k)
        total = len(self._indices) * self._request.samples
        made = read_sample(folder, self._config.modalities, case.real) if recorded(folder) == facts else None
        if made is None:
            (folder / RECORD).unlink(missing_ok=True)
            mask = self._resolution.to_model(case.fractions)
            seed, check = self._request.seed + k, self._reporter.check_cancelled
            options = {"guidance": self._request.guidance, "look": self._look(case)}
            made = draw_sample(self._model, mask, self._sampler, self._steps, seed, check, **options)
            made = self._resolution.to_dataset(made)
            title = f"{self._config.name} | {case.id} | seed {seed}, {self._sampler}, {self._steps} steps"
            write_case(folder, case, made, replace(self._config, grid=self._data.config.grid), title)
            write_text(folder / RECORD, json.dumps(facts, indent=1) + "\n")
            made = as_written(made)
        self._done += 1
        self._reporter.step(self._done, total)
        return made

    def _look(self, case: HeldOut) -> Look | None:
        """The contrast that is asked for; None for one drawn from the seed."""
        if self._request.contrast == "real":
            return self._model.measured_look(case.real, case.fractions)
        return self._model.look() if self._request.contrast == "mean" else None

    def _facts(self, case: str, k: int) -> dict[str, Any]:
        """Everything that a sample depends on."""
        return {
            "weights_sha256": self._model.weights_hash,
            "case_sha256": sha256(self._data.folder / "cases" / f"{case}.safetensors"),
            "sampler": self._sampler,
            "steps": self._steps,
            "seed": self._request.seed + k,
            "guidance": self._request.guidance,
            "anatomy": self._request.anatomy,
            "contrast": self._request.contrast,
            "precision": str(self._model.dtype),
        }

    def _compared(self, case: HeldOut, k: int, made: Tensor, baseline: dict[str, Quality]) -> SampleResult:
        known = self._neighbors
        near = None if known is None else known.nearest(made, case.fractions)
        real_near = None if known is None else known.nearest(case.real, case.fractions)
        return SampleResult(
            case=case.id,
            seed=self._request.seed + k,
            folder=str(self._folder(case.id, k)),
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
        return label_mean_image(self._means, self._data[i][1], self._config.background)

    def _compare_sets(self) -> None:
        """How alike images are; two images at a time are in memory, synthetic ones from their files."""
        ids = [self._data.cases[i].id for i in self._indices]
        kinds: dict[str, Callable[[int], Tensor]] = {
            REAL: lambda n: self._data[self._indices[n]][0],
            SYNTHETIC: partial(self._again, k=0),
            BASELINE: lambda n: self._baseline(self._indices[n]),
        }
        for kind, load in kinds.items():
            for n, alike in neighbor_similarities(len(ids), load):
                self._readings.append(Reading("among_masks", ALL, kind, ids[n], None, alike.value))
                self._terms.setdefault(f"different masks ({kind})", []).append(alike.lowest)
        for n in range(min(len(ids), SAME_MASK_CASES)):
            for k, alike in neighbor_similarities(self._request.samples, partial(self._again, n)):
                seed = self._request.seed + k
                self._readings.append(Reading("among_samples", ALL, SYNTHETIC, ids[n], seed, alike.value))
                self._terms.setdefault("samples of one mask", []).append(alike.lowest)

    def _classify(self, patients: dict[str, str]) -> None:
        for kind in (SYNTHETIC, BASELINE):
            areas = areas_under_curve(self._slices[REAL], self._slices[kind], patients)
            self._readings += [Reading("classifier", ALL, kind, case, None, area) for case, area in areas.items()]

    def _sets(self) -> SetFigures:
        real = [small_vector(self._data[i][0]) for i in self._indices]
        made = [small_vector(self._again(n, 0)) for n in range(len(self._indices))]
        train = self._train if self._request.split != "train" else None
        trained = [] if train is None else [small_vector(images) for images, _ in train]
        return SetFigures(mmd=mmd(made, real), mmd_of_training=mmd(trained, real))

    def _again(self, n: int, k: int) -> Tensor:
        """The k-th sample of the n-th case from its files."""
        self._reporter.check_cancelled()
        i = self._indices[n]
        folder = Path(self._request.out) / self._folder(self._data.cases[i].id, k)
        images = read_sample(folder, self._config.modalities, self._data[i][0])
        if images is None:
            raise InputError(f"The samples in {folder} are gone, though just made. Run the same command again.")
        return images

    def _intensities(self, real: list[Tensor], made: list[Tensor]) -> LabelTable:
        means = {"real": torch.stack(real).nanmean(0), "synthetic": torch.stack(made).nanmean(0)}
        return {
            modality: {
                label.name: {kind: _known(values[m, i]) for kind, values in means.items()}
                for i, label in enumerate(self._config.scheme.labels)
            }
            for m, modality in enumerate(self._config.modalities)
        }


def _known(value: Tensor) -> float | None:
    return None if bool(value.isnan()) else round(float(value), 4)
