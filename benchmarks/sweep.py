"""Samplers and steps against the result of all steps, on the same masks and the same noise; resumable."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from medddpm.config import ModelConfig
from medddpm.errors import InputError
from medddpm.files import atomic_path, write_text
from medddpm.memory import keep_freed_memory
from medddpm.models.model import Model
from medddpm.models.registry import load_model
from medddpm.sampling.sample import sample
from medddpm.sampling.solvers import ALL_STEPS
from medddpm.synthesis.case import prepare_case
from medddpm.training.dataset import PreparedDataset
from medddpm.training.monitor.quality import ms_ssim, scales
from safetensors.torch import load_file, save_file
from torch import Tensor

from .common import Suite, Table
from .strip import axial_slice, write_strip

SAMPLERS = ("ddim", "dpm++2m", "dpm++3m", "unipc", "ddpm")
STEPS = (5, 10, 15, 20, 25, 50)
# Deterministic samplers solve the same equation, so they share the result of ddim with all steps. A stochastic sampler
# ends elsewhere from the same first noise and has its own.
DETERMINISTIC_REFERENCE = "ddim"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class SweepSettings:
    """``masks`` are mask files; ``dataset`` is a prepared dataset whose ``split`` is used; at least one of the two.

    ``reference_steps`` 0 means all T. ``folder`` keeps every finished point: the same command goes on where it was
    stopped.
    """

    folder: str
    model: str = "demo"
    masks: tuple[str, ...] = ()
    dataset: str = ""
    split: str = "test"
    samplers: tuple[str, ...] = SAMPLERS
    steps: tuple[int, ...] = STEPS
    reference_steps: int = 0
    cases: int = 0
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"


@dataclass(frozen=True)
class SweepCase:
    """A mask as the network sees it (1, L, D, H, W) and, where there is one, the real image (1, C, D, H, W)."""

    name: str
    condition: Tensor
    real: Tensor | None


@dataclass(frozen=True)
class Point:
    """One sampled volume against its reference (the same sampler or ddim with all steps) and the real image.

    L1 is the mean absolute difference in the network's units (images span -1 to 1, so 2 at most).
    """

    case: str
    sampler: str
    steps: int
    seconds: float
    reference: str
    l1: float
    ms_ssim: float
    real_l1: float | None
    real_ms_ssim: float | None


def run(settings: SweepSettings, progress: Progress = print) -> Suite:
    """Sample what is missing, then tabulate; a strip of slices a case goes to ``strips/`` in the folder."""
    keep_freed_memory()
    model = load_model(settings.model, settings.device, settings.precision)
    cases = list(find_cases(settings, model.config))
    folder = Path(settings.folder)
    _require_same_sweep(folder, settings, model, cases)
    sweep = Sweep(settings, model, folder)
    points = []
    for number, case in enumerate(cases):
        progress(f"Case {number + 1} of {len(cases)}: {case.name}")
        points += sweep.run_case(case, progress)
        sweep.draw(case)
    return summary(settings, model, points, [case.real is not None for case in cases])


def find_cases(settings: SweepSettings, config: ModelConfig) -> Iterator[SweepCase]:
    """The cases of the dataset's split, then the mask files. Raises InputError where none is, or they do not fit."""
    found = 0
    for case in (*_dataset_cases(settings, config), *_mask_cases(settings, config)):
        found += 1
        if settings.cases and found > settings.cases:
            return
        yield case
    if not found:
        raise InputError("There is nothing to sweep over: name mask files, or a prepared dataset with --dataset.")


def _dataset_cases(settings: SweepSettings, config: ModelConfig) -> Iterator[SweepCase]:
    if not settings.dataset:
        return
    dataset = PreparedDataset(Path(settings.dataset), settings.split)
    own, given = (config.grid, config.modalities, config.scheme.values), dataset.config
    if own != (given.grid, given.modalities, given.scheme.values):
        raise InputError(
            f"The dataset {settings.dataset} has another grid, other labels or other modalities than the model "
            f"'{config.name}'. Prepare it for this model."
        )
    off, on = config.mask_values
    for i, case in enumerate(dataset.cases):
        images, fractions = dataset[i]
        yield SweepCase(case.id, (off + (on - off) * fractions)[None], images[None])


def _mask_cases(settings: SweepSettings, config: ModelConfig) -> Iterator[SweepCase]:
    for path in map(Path, settings.masks):
        yield SweepCase(path.name.split(".")[0], prepare_case(path, None, config).condition, None)


def _require_same_sweep(folder: Path, settings: SweepSettings, model: Model, cases: Sequence[SweepCase]) -> None:
    """Points of another model, seed or precision must not mix: the folder says whose they are."""
    path = folder / "sweep.json"
    facts = {
        "model_sha256": model.weights_hash,
        "seed": settings.seed,
        "precision": str(model.dtype).removeprefix("torch."),
        "reference_steps": settings.reference_steps or model.schedule.steps,
    }
    names = [case.name for case in cases]
    if len(set(names)) < len(names):
        raise InputError(f"Two cases have the same name ({', '.join(sorted(names))}). Rename one of the files.")
    if not path.is_file():
        write_text(path, json.dumps(facts, indent=1) + "\n")
    elif json.loads(path.read_text(encoding="utf-8")) != facts:
        raise InputError(f"{folder} holds a sweep of another model, seed or precision. Choose an empty folder.")


class Sweep:
    """The points of one sweep: sampled when missing, kept in ``folder/points/<case>/``."""

    def __init__(self, settings: SweepSettings, model: Model, folder: Path) -> None:
        self.settings, self.model, self.folder = settings, model, folder
        self.all_steps = settings.reference_steps or model.schedule.steps

    def wanted(self) -> list[tuple[str, int]]:
        """(sampler, steps), the references first."""
        references = {reference_of(sampler) for sampler in self.settings.samplers}
        first = [(sampler, self.all_steps) for sampler in sorted(references)]
        rest = [(sampler, steps) for sampler in self.settings.samplers for steps in self.settings.steps]
        return [*first, *(pair for pair in rest if pair not in first)]

    def run_case(self, case: SweepCase, progress: Progress) -> list[Point]:
        """Every point of a case; those on disk are read, not sampled again."""
        points = []
        for sampler, steps in self.wanted():
            path = self._stem(case, sampler, steps).with_suffix(".json")
            if path.is_file():
                points.append(Point(**json.loads(path.read_text(encoding="utf-8"))))
                continue
            points.append(self._sample(case, sampler, steps))
            write_text(path, json.dumps(asdict(points[-1])) + "\n")
            progress(f"  {sampler}, {steps} steps: {points[-1].seconds:.1f} s")
        return points

    def _sample(self, case: SweepCase, sampler: str, steps: int) -> Point:
        started = time.perf_counter()
        result = sample(self.model, case.condition, sampler, steps, seed=self.settings.seed)
        seconds = time.perf_counter() - started
        stem = self._stem(case, sampler, steps)
        reference = reference_of(sampler)
        if (sampler, steps) == (reference, self.all_steps):
            _save(stem, {"volume": result})
        expected = load_file(f"{self._stem(case, reference, self.all_steps)}.safetensors")["volume"]
        _save(Path(f"{stem}-slice"), {"slice": self._slice(result)})
        return Point(
            case=case.name,
            sampler=sampler,
            steps=steps,
            seconds=seconds,
            reference=f"{reference}, {self.all_steps} steps",
            l1=l1(result, expected),
            ms_ssim=ms_ssim(result, expected).value,
            real_l1=None if case.real is None else l1(result, case.real),
            real_ms_ssim=None if case.real is None else ms_ssim(result, case.real).value,
        )

    def _stem(self, case: SweepCase, sampler: str, steps: int) -> Path:
        return self.folder / "points" / case.name / f"{sampler}-{steps:04d}"

    def _slice(self, volume: Tensor) -> Tensor:
        """The central axial slice of the modality that the strip shows."""
        channel = strip_modality(self.model.config.modalities)
        picture = axial_slice(volume[0, channel].numpy(), self.model.config.grid.orientation)
        return torch.from_numpy(np.ascontiguousarray(picture))

    def draw(self, case: SweepCase) -> None:
        """Write the case's strip: a row for each sampler, a column for each number of steps, its reference last."""
        rows = {
            sampler: [
                *(self._picture(case, sampler, steps) for steps in self.settings.steps),
                self._picture(case, reference_of(sampler), self.all_steps),
            ]
            for sampler in self.settings.samplers
        }
        real = None if case.real is None else self._slice(case.real).numpy()
        name = self.model.config.modalities[strip_modality(self.model.config.modalities)]
        titles = [*(f"{steps} steps" for steps in self.settings.steps), f"{self.all_steps}, reference"]
        write_strip(self.folder / "strips" / f"{case.name}.png", f"{case.name}, {name}", titles, rows, real)

    def _picture(self, case: SweepCase, sampler: str, steps: int) -> np.ndarray | None:
        path = Path(f"{self._stem(case, sampler, steps)}-slice.safetensors")
        return load_file(path)["slice"].numpy() if path.is_file() else None


def _save(stem: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_path(Path(f"{stem}.safetensors")) as temporary:
        save_file(tensors, temporary)


def reference_of(sampler: str) -> str:
    """The sampler whose result with all steps the results of ``sampler`` are compared to."""
    return sampler if sampler in ALL_STEPS else DETERMINISTIC_REFERENCE


def strip_modality(modalities: Sequence[str]) -> int:
    """The channel that the strip shows: T1ce, where tumors differ most, or the first."""
    return modalities.index("T1ce") if "T1ce" in modalities else 0


def l1(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference over all voxels and modalities."""
    return float((a.float() - b.float()).abs().mean())


COLUMNS = (
    "sampler",
    "steps",
    "MS-SSIM to all steps",
    "L1 to all steps",
    "MS-SSIM to real",
    "L1 to real",
    "s a volume",
)


def summary(settings: SweepSettings, model: Model, points: Sequence[Point], real: Sequence[bool]) -> Suite:
    """The table of means over the cases, and what the columns mean."""
    pairs = dict.fromkeys((point.sampler, point.steps) for point in points)
    rows = [_mean_row(pair, [p for p in points if (p.sampler, p.steps) == pair]) for pair in pairs]
    title = f"{model.config.name}: means over {len(real)} masks, seed {settings.seed}, {model.device.type}"
    shape = tuple(reversed(model.config.grid.shape))
    all_steps = settings.reference_steps or model.schedule.steps
    notes = (
        f"All samplers start from the same noise. The deterministic ones solve one equation and are compared to ddim "
        f"with {all_steps} steps; the stochastic ddpm ends in another image from the same first noise and draws other "
        f"noise for each number of steps, so it is compared to its own {all_steps}-step result, which only tells how "
        f"far it wanders. {sum(real)} of the masks have a real image; no sampler can reproduce it, since a mask does "
        "not determine an image: those columns compare samplers with each other.",
        f"MS-SSIM in 3D with the {scales(shape)} finest of its five scales (the grid of {'x'.join(map(str, shape))} "
        "voxels has no room for more), data range 2, mean over modalities. L1 in the network's units, -1 to 1.",
    )
    shown = {**asdict(settings), "folder": "", "model": model.config.name, "dataset": "", "masks": len(settings.masks)}
    return Suite(shown, (Table(title, COLUMNS, tuple(rows)),), (), notes)


def _mean_row(pair: tuple[str, int], points: Sequence[Point]) -> tuple[Any, ...]:
    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known else None

    return (
        *pair,
        mean(p.ms_ssim for p in points),
        mean(p.l1 for p in points),
        mean(p.real_ms_ssim for p in points),
        mean(p.real_l1 for p in points),
        mean(p.seconds for p in points),
    )
