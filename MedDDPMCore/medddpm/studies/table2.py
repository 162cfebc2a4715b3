"""Table II of the paper: a segmenter trained on real, augmented and synthetic cases, tested on real patients.

Every arm is trained for the same number of steps from several seeds (``training.evaluation.segmenter``), by binary
cross-entropy. Synthetic cases, and each training once it is tested, are kept by what they depend on.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ..dataset import DatasetConfig
from ..errors import InputError
from ..files import sha256, write_text
from ..models.device import choose_device
from ..models.segmenter import Segmenter, SegmenterConfig, tumor_regions
from ..progress import Reporter, SilentReporter
from ..synthesis.names import safe_name
from ..synthesis.request import WHOLE, Shard
from ..training.dataset import PreparedDataset
from ..training.evaluation.segmenter import Augment, Recipe, mean_dice, train_segmenter, trained_on
from ..training.resume import case_hashes
from .nnunet import FIRST, NamedCase, export_arm, nnunet_augmentation, write_plan
from .request import Arm, Table2Request, check_study
from .results import ArmResult, Scores, Table2, finished
from .synthetic import SyntheticCases

RECIPE = 1  # count up with every change of what is computed here: older trainings are then not taken


def table2(request: Table2Request, reporter: Reporter | None = None) -> Table2:
    """Compute the table. What the same request has computed before is taken from ``request.output``.

    Raises InputError where models, dataset or packages do not fit or are missing (before anything is computed), and
    Cancelled.
    """
    study, told = _opened(request, reporter or SilentReporter())
    study.synthesize(WHOLE)
    return study.run(told)


def make_share(request: Table2Request, reporter: Reporter, shard: Shard) -> None:
    """Make a share of the synthetic cases, for a ``table2`` of the same request to find. Raises as that."""
    _opened(request, reporter)[0].synthesize(shard)


def _opened(request: Table2Request, reporter: Reporter) -> tuple[_Study, list[str]]:
    reporter.stage("load", "Checking the models and the dataset")
    dataset, ids, told = check_study(request)
    told += require_apart(dataset, Path(request.dataset), ids)
    if not tumor_regions(dataset.scheme):
        raise InputError(f"The dataset {request.dataset} has no tumor label, so there is nothing to segment.")
    if importlib.util.find_spec("scipy") is None:
        raise InputError('Table II needs the package scipy. Install it with: pip install "medddpm[study]"')
    augment = nnunet_augmentation() if any(arm.augmentation == "nnunet" for arm in request.all_arms) else None
    for sentence in told:
        reporter.warning(sentence)
    return _Study(request, dataset, ids, augment, reporter), told


def require_apart(dataset: DatasetConfig, folder: Path, ids: Sequence[str]) -> list[str]:
    """Raise InputError where a test case, or its patient, is among the training cases of the dataset, by hashes."""
    train = [case for case in dataset.cases if case.split == "train"]
    if not train:
        raise InputError(f"The dataset {folder} has no case in the split 'train', so there is nothing to train on.")
    tensors = {id: sha256(folder / "cases" / f"{id}.safetensors") for id in [*ids, *(case.id for case in train)]}
    hashes = case_hashes(dataset, tensors, tensors)
    seen = {value: case.id for case in train for value in hashes[case.id]}
    patients = {case.patient: case.id for case in train if case.patient}
    for case in dataset.cases:
        same = next((seen[value] for value in hashes[case.id] if value in seen), None) if case.id in ids else None
        same = same or (patients.get(case.patient or "") if case.id in ids else None)
        if same is not None:
            raise InputError(
                f"The test case '{case.id}' is the same patient as the training case '{same}', so its figures would "
                "say nothing about new patients. Prepare the dataset again."
            )
    few = f"{len(ids)} test case(s) are too few for firm conclusions."
    return [few] if len(ids) < 20 else []


class _Cases:
    """The cases of an arm: the real ones, then the synthetic ones by turns of the models."""

    def __init__(self, arm: Arm, train: PreparedDataset, made: dict[str, SyntheticCases]) -> None:
        self._train, self._made = train, made
        self.real = len(train) if arm.real else 0
        names = arm.models or tuple(made)
        self.synthetic = [(names[i % len(names)], i) for i in range(arm.synthetic)]

    def __len__(self) -> int:
        return self.real + len(self.synthetic)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index < self.real:
            return self._train[index]
        name, i = self.synthetic[index - self.real]
        return self._made[name][i]


class _Study:
    def __init__(
        self,
        request: Table2Request,
        dataset: DatasetConfig,
        ids: Sequence[str],
        augment: Augment | None,
        reporter: Reporter,
    ) -> None:
        self._request, self._config, self._augment, self._reporter = request, dataset, augment, reporter
        folder = Path(request.dataset)
        self._train, self._test = PreparedDataset(folder, "train"), PreparedDataset(folder, request.split)
        self._ids, self._out, self._device = list(ids), Path(request.output), choose_device(request.device)
        self._made = {model.name: SyntheticCases(request, model, self._train, reporter) for model in request.models}
        self._arms = {arm.name: _Cases(arm, self._train, self._made) for arm in request.all_arms}
        self._trained_on = trained_on(self._train)
        self._counts = {name: 0 for name in self._made}  # of the synthetic cases of each model
        for cases in self._arms.values():
            for name, i in cases.synthetic:
                self._counts[name] = max(self._counts[name], i + 1)

    def synthesize(self, shard: Shard) -> None:
        """Make the synthetic cases, or a share of them."""
        for name, made in self._made.items():
            made.make(range(shard[0], self._counts[name], shard[1]))

    def run(self, told: list[str]) -> Table2:
        """Train and test, with all synthetic cases there."""
        for name, made in self._made.items():
            told += _constant(name, made.constant)
        if self._request.nnunet:
            self._export()
        arms = tuple(self._arm(arm) for arm in self._request.all_arms)
        grid = self._config.grid
        return Table2(
            self._request,
            Path(self._request.dataset).name,
            f"{' x '.join(map(str, grid.shape))} voxels of {_mm(grid.spacing)}",
            _mm(self._described({}).spacing),
            {case.id: case.patient or case.id for case in self._test.cases},
            arms,
            {name: tuple(made.sheets(self._counts[name])) for name, made in self._made.items()},
            tuple(told),
        )

    def _described(self, training: dict[str, Any]) -> SegmenterConfig:
        return SegmenterConfig.of(self._config, training, self._request.voxel_mm, self._request.channels)

    def _arm(self, arm: Arm) -> ArmResult:
        cases = self._arms[arm.name]
        runs = tuple(self._run(arm, cases, self._request.seed + k) for k in range(self._request.seeds))
        return ArmResult(arm, cases.real, len(cases.synthetic), runs)

    def _facts(self, arm: Arm) -> dict[str, Any]:
        """What all trainings of an arm depend on."""
        asked = self._request
        used = dict.fromkeys(name for name, _ in self._arms[arm.name].synthetic)
        tests = {id: sha256(self._test.folder / "cases" / f"{id}.safetensors") for id in self._ids}
        facts = {
            "recipe": RECIPE,
            "arm": {name: value for name, value in asdict(arm).items() if name not in ("name", "models")},
            "models": [self._made[name].described for name in used],
            "trained_on": self._trained_on["training_hashes"],
            "tested_on": tests,
            **{name: getattr(asked, name) for name in ("iterations", "batch", "voxel_mm", "channels")},
        }
        return dict(json.loads(json.dumps(facts)))

    def _run(self, arm: Arm, cases: _Cases, seed: int) -> Scores:
        """The scores of a training: the one that was finished before, or done now."""
        folder = self._out / "arms" / arm.name
        path, facts = folder / f"seed-{seed}.json", {**self._facts(arm), "training_seed": seed}
        if kept := finished(path, facts):
            return dict(kept["scores"])
        self._reporter.stage("train", f"Training on {arm.name}, seed {seed}")
        told = self._trained_on | {"arm": arm.name, "synthetic_cases": len(cases.synthetic), "seed": seed}
        config = self._described(told | {name: facts[name] for name in ("iterations", "batch")})
        made = Segmenter(config, self._config, self._device, seed)
        augment = self._augment if arm.augmentation == "nnunet" else None
        recipe = Recipe(self._request.iterations, self._request.batch, seed, augment=augment)
        train_segmenter(made, cases, recipe, self._reporter)
        scores = {case.id: made.scores(*self._test[i]) for i, case in self._tests()}
        if not any(scores.values()):
            raise InputError(f"No case of the split '{self._request.split}' has a tumor. Prepare a dataset with some.")
        dice = [{region: one["dice"] for region, one in found.items()} for found in scores.values()]
        made.save(folder / f"seed-{seed}.safetensors", real_dice=mean_dice(dice), real_cases=len(dice))
        write_text(path, json.dumps({"facts": facts, "scores": scores}, indent=1) + "\n")
        return scores

    def _tests(self) -> Iterator[tuple[int, Any]]:
        return ((i, case) for i, case in enumerate(self._test.cases) if case.id in self._ids)

    def _export(self) -> None:
        self._reporter.stage("write", "Writing data sets for nnU-Net")
        root, names = self._out / "nnunet", []
        for number, arm in enumerate(arm for arm in self._request.all_arms if arm.augmentation == "none"):
            facts = json.dumps({**self._facts(arm), "format": 1}, sort_keys=True)
            train, test = self._named(self._arms[arm.name]), self._named_tests()
            names.append(export_arm(root, FIRST + number, arm.name, facts, self._config, train, test, self._reporter))
        write_plan(root, names)

    def _named(self, cases: _Cases) -> Iterator[NamedCase]:
        for i in range(len(cases)):
            if i < cases.real:
                case = self._train.cases[i]
                yield NamedCase(safe_name(case.id), *cases[i], False, case.affine)
            else:
                model, number = cases.synthetic[i - cases.real]
                yield NamedCase(f"synthetic_{safe_name(model)}_{number:05d}", *cases[i], True)

    def _named_tests(self) -> Iterator[NamedCase]:
        return (NamedCase(safe_name(case.id), *self._test[i], False, case.affine) for i, case in self._tests())


def _constant(name: str, cases: Sequence[int]) -> list[str]:
    some = ", ".join(map(str, cases[:5]))
    return [f"The model '{name}' made constant images for {len(cases)} synthetic case(s) ({some})."] if cases else []


def _mm(spacing: Sequence[float]) -> str:
    return " x ".join(f"{mm:g}" for mm in spacing) + " mm"
