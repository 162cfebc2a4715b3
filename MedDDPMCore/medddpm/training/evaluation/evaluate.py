"""``evaluate``: a model sampled for every mask of a split, and compared with the real images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from ...dataset import PreparedCase, read_dataset_config
from ...errors import InputError
from ...files import sha256, write_text
from ...models.model import Model
from ...models.places import find_config
from ...models.registry import load_model
from ...progress import Reporter, SilentReporter
from ...sampling.solvers import sampler_and_steps
from ..dataset import PreparedDataset
from ..monitor.neighbors import TrainingNeighbors, is_copy, left_right_axis
from ..monitor.quality import by_modality, dataset_label_means, label_mean_image, label_means
from ..monitor.samples import HeldOut, SampleSettings, draw_sample, figures_device, write_case
from .distribution import mean_similarity, mmd, small_vector
from .request import EvaluationRequest, doubts, require_fit
from .resolution import resolution
from .results import Evaluation, LabelTable, SampleResult, SetFigures
from .written import RECORD, as_written, read_sample, recorded

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
    require_fit(find_config(request.model), config)
    return _Evaluator(request, reporter, ids).run()


def chosen_cases(cases: Sequence[PreparedCase], request: EvaluationRequest) -> list[str]:
    """The ids of the cases to take, in the dataset's order. Raises InputError for an unknown one and for none."""
    there = [case.id for case in cases if case.split == request.split]
    missing = sorted(set(request.cases) - set(there))
    if missing:
        raise InputError(f"The dataset {request.dataset} has no case '{missing[0]}' in the split '{request.split}'.")
    if not there:
        splits = sorted({case.split for case in cases})
        raise InputError(
            f"The dataset {request.dataset} has no case in the split '{request.split}', only in {', '.join(splits)}."
        )
    return [id for id in there if not request.cases or id in request.cases]


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
        self._means = self._label_means()
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

    def _label_means(self) -> Tensor:
        if self._neighbors is not None:
            return self._neighbors.means
        data = self._train or self._data
        return dataset_label_means((data[i] for i in range(len(data))), self._config.background)

    def run(self) -> Evaluation:
        for sentence in self._doubts:
            self._reporter.warning(sentence)
        self._reporter.stage("sample", "Sampling the masks")
        results, real_means, made_means = [], [], []
        for i in self._indices:
            case = HeldOut(self._data.cases[i].id, *self._data[i])
            real_means.append(label_means(case.real, case.fractions))
            for k in range(self._request.samples):
                made = self._sample(case, k)
                made_means.append(label_means(made, case.fractions))
                results.append(self._compared(case, k, made))
        self._reporter.stage("compare", "Comparing the images")
        return Evaluation(
            model=self._config.name,
            weights_sha256=self._model.weights_hash,
            dataset=Path(self._request.dataset).name,
            split=self._request.split,
            sampler=self._sampler,
            steps=self._steps,
            seed=self._request.seed,
            guidance=self._request.guidance,
            modalities=self._config.modalities,
            samples=tuple(results),
            sets=self._sets(),
            intensities=self._intensities(real_means, made_means),
            doubts=tuple(self._doubts),
        )

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
            settings = SampleSettings(self._sampler, self._steps, self._request.seed + k, self._request.guidance)
            mask = self._resolution.to_model(case.fractions)
            made = draw_sample(self._model, mask, settings, self._reporter.check_cancelled)
            made = self._resolution.to_dataset(made)
            title = f"{self._config.name} | {case.id} | seed {settings.seed}, {self._sampler}, {self._steps} steps"
            write_case(folder, case, made, replace(self._config, grid=self._data.config.grid), title)
            write_text(folder / RECORD, json.dumps(facts, indent=1) + "\n")
            made = as_written(made)
        self._done += 1
        self._reporter.step(self._done, total)
        return made

    def _facts(self, case: str, k: int) -> dict[str, Any]:
        """Everything that a sample depends on."""
        return {
            "weights_sha256": self._model.weights_hash,
            "case_sha256": sha256(self._data.folder / "cases" / f"{case}.safetensors"),
            "sampler": self._sampler,
            "steps": self._steps,
            "seed": self._request.seed + k,
            "guidance": self._request.guidance,
            "precision": str(self._model.dtype),
        }

    def _compared(self, case: HeldOut, k: int, made: Tensor) -> SampleResult:
        self._reporter.check_cancelled()
        names, known = self._config.modalities, self._neighbors
        expected = label_mean_image(self._means, case.fractions, self._config.background)
        on_device = [t.to(figures_device(self._model.device)) for t in (made, expected, case.real, case.fractions)]
        near = None if known is None else known.nearest(made, case.fractions)
        real_near = None if known is None else known.nearest(case.real, case.fractions)
        return SampleResult(
            case=case.id,
            seed=self._request.seed + k,
            folder=str(self._folder(case.id, k)),
            figures=dict(zip(names, by_modality(on_device[0], *on_device[2:]), strict=True)),
            baseline=dict(zip(names, by_modality(on_device[1], *on_device[2:]), strict=True)),
            nearest=near,
            nearest_of_real=real_near,
            copy=None if near is None or real_near is None else is_copy(near, real_near),
        )

    def _sets(self) -> SetFigures:
        """Figures of all images together; one image at a time is in memory, of the synthetic ones from its files."""
        count = len(self._indices)
        real = [small_vector(self._data[i][0]) for i in self._indices]
        made = [small_vector(self._again(n, 0)) for n in range(count)]
        train = self._train if self._request.split != "train" else None
        trained = [] if train is None else [small_vector(train[i][0]) for i in range(len(train))]
        same = [
            mean_similarity(self._request.samples, lambda k, n=n: self._again(n, k))  # type: ignore[misc]
            for n in range(min(count, SAME_MASK_CASES))
        ]
        known = [value for value in same if value is not None]
        return SetFigures(
            similarity_synthetic=mean_similarity(count, lambda n: self._again(n, 0)),
            similarity_real=mean_similarity(count, lambda n: self._data[self._indices[n]][0]),
            similarity_same_mask=sum(known) / len(known) if known else None,
            mmd=mmd(made, real),
            mmd_of_training=mmd(trained, real),
        )

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
