"""The whole way of a batch: masks in, folders of images out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import Cancelled, InputError, MedDDPMError
from ..geometry.nifti import write_image
from ..jobs.outcome import outcome_of
from ..models.model import Model
from ..models.registry import load_model
from ..progress import Reporter, SilentReporter
from ..sampling.sample import SampleStep, sample
from ..sampling.solvers import default_steps, solver
from .case import PreparedCase, on_input_grid, on_model_grid, prepare_case, stored_intensities
from .estimate import duration, estimate, require_memory
from .provenance import DESCRIPTION, fingerprint, is_finished, write_provenance
from .request import SynthesisRequest
from .sheet import write_sheet

log = logging.getLogger(__name__)

MODEL_GRID = "model-grid"
EXTENSIONS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True)
class CaseResult:
    """What became of one mask: ``state`` is "done", "already done" or "failed" (then ``message`` says why)."""

    mask: Path
    folder: Path
    state: str
    message: str = ""
    exit_code: int = 0
    sheets: tuple[Path, ...] = ()


def synthesize(
    masks: str | Path | Sequence[str | Path],
    out: str | Path,
    model: str | Path = "demo",
    *,
    reporter: Reporter | None = None,
    **options: Any,
) -> list[CaseResult]:
    """Synthesize images for one or more mask files and write them below ``out``.

    ``options`` are the further fields of ``SynthesisRequest``: samples, seed, sampler, steps, device, precision,
    images, modalities, ignore_memory. For each mask a folder with one NIfTI a sample and modality on the mask's own grid, the
    same under ``model-grid/`` on the model's, the mask used, a contact sheet a sample, and ``provenance.json``. A mask
    that cannot be used does not stop the others: look at the ``state`` of the results. What is there already from the
    same request is not computed again. Raises InputError where nothing can be done at all.
    """
    paths = [masks] if isinstance(masks, str | Path) else list(masks)
    options["images"] = tuple(str(path) for path in options.get("images", ()))
    request = SynthesisRequest(masks=tuple(str(path) for path in paths), model=str(model), **options)
    reporter = reporter or SilentReporter()
    reporter.stage("load", "Loading the model")
    loaded = load_model(request.model, request.device, request.precision)
    return run_batch(request, loaded, Path(out), reporter)


def run_batch(
    request: SynthesisRequest,
    model: Model,
    out: Path,
    reporter: Reporter,
    on_placed: Callable[[str, PreparedCase], None] | None = None,
) -> list[CaseResult]:
    """``synthesize`` with the model already loaded; ``on_placed`` learns where each case lies before it is sampled."""
    _check_modalities(request, model)
    batch = _Batch(request, model, out, reporter, on_placed)
    names = case_names([Path(mask) for mask in request.masks])
    batch.announce()
    results = []
    for number, name in enumerate(names):
        reporter.check_cancelled()
        results.append(batch.attempt(number, name))
    return results


def case_names(masks: Sequence[Path]) -> list[str]:
    """A distinct folder name for each mask: its file name without extension, with its folder's where names repeat."""
    names = [_stem(mask) for mask in masks]
    names = [
        f"{mask.resolve().parent.name}_{name}" if names.count(name) > 1 else name
        for mask, name in zip(masks, names, strict=True)
    ]
    return [f"{name}_{i + 1}" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _stem(mask: Path) -> str:
    extension = next((e for e in EXTENSIONS if mask.name.lower().endswith(e)), mask.suffix)
    return mask.name[: len(mask.name) - len(extension)].strip(". ") or "case"


def _check_modalities(request: SynthesisRequest, model: Model) -> None:
    unknown = [name for name in request.modalities if name not in model.config.modalities]
    if unknown:
        raise InputError(
            f"The model '{model.config.name}' makes no {unknown[0]}; it makes {', '.join(model.config.modalities)}."
        )


class _Batch:
    """The cases of one request, one after the other."""

    def __init__(
        self,
        request: SynthesisRequest,
        model: Model,
        out: Path,
        reporter: Reporter,
        on_placed: Callable[[str, PreparedCase], None] | None,
    ) -> None:
        self.request, self.model, self.out, self.reporter, self.on_placed = request, model, out, reporter, on_placed
        self.sampler = request.sampler or model.config.sampler
        self.steps = request.steps or _default_steps(self.sampler, model)
        self.per_case = self.steps * request.samples
        self.total = self.per_case * len(request.masks)

    def announce(self) -> None:
        """Say how long it will take, and stop where the memory will not do."""
        needed = estimate(self.model.config, self.total, self.model.device, self.model.dtype)
        if not self.request.ignore_memory:
            require_memory(needed, self.model.config, self.model.dtype)
        self.reporter.stage("estimate", needed.sentence())

    def attempt(self, number: int, name: str) -> CaseResult:
        """Run one case; whatever goes wrong with it, but a cancellation, becomes its result."""
        mask = Path(self.request.masks[number])
        folder = self.out / name
        try:
            return self._run(number, name, mask, folder)
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as exc:
            outcome = outcome_of(exc)
            log.exception("case %d failed", number + 1)
            self.reporter.step(self.per_case * (number + 1), self.total)
            return CaseResult(mask, folder, "failed", outcome.message, outcome.exit_code)

    def _run(self, number: int, name: str, mask: Path, folder: Path) -> CaseResult:
        started = time.monotonic()
        self.reporter.stage("prepare", f"Preparing mask {number + 1} of {len(self.request.masks)}")
        image = Path(self.request.images[number]) if self.request.images else None
        case = prepare_case(mask, image, self.model.config)
        facts = fingerprint(self.request, self.model, self.sampler, self.steps, case.mask_hash, case.image_hash)
        sheets = tuple(folder / _sheet_name(name, k) for k in range(self.request.samples))
        if is_finished(folder, facts):
            self.reporter.step(self.per_case * (number + 1), self.total)
            return CaseResult(mask, folder, "already done", sheets=sheets)
        for sentence in case.sentences:
            self.reporter.warning(sentence)
        if self.on_placed is not None:
            self.on_placed(name, case)
        files = self._write_mask(folder, name, case)
        for k in range(self.request.samples):
            self.reporter.stage("sample", f"Sampling image {k + 1} of {self.request.samples}")
            images = self._sample(number, k, case)
            self.reporter.stage("write", "Writing the images")
            files += self._write_sample(folder, name, k, case, images)
        write_provenance(folder, self.model, case, facts, time.monotonic() - started, files)
        return CaseResult(mask, folder, "done", sheets=sheets)

    def _sample(self, number: int, k: int, case: PreparedCase) -> np.ndarray:
        """One sample (C, X, Y, Z) in [-1, 1] on the model's grid."""
        before = self.per_case * number + self.steps * k

        def on_step(step: SampleStep) -> None:
            self.reporter.step(before + step.step, self.total, partial(_preview, step.x0))
            self.reporter.check_cancelled()

        self.reporter.check_cancelled()
        result = sample(
            self.model, case.condition, self.sampler, self.steps, seed=self.request.seed + k, callback=on_step
        )
        return on_model_grid(result[0])

    def _write_mask(self, folder: Path, name: str, case: PreparedCase) -> list[str]:
        file = f"{name}_mask.nii.gz"
        note = "Mask used by MedDDPM"
        write_image(folder / file, case.labels.data, case.labels.affine, note)
        write_image(folder / MODEL_GRID / file, case.grid_labels.data, case.grid_labels.affine, note)
        return [file, f"{MODEL_GRID}/{file}"]

    def _write_sample(self, folder: Path, name: str, k: int, case: PreparedCase, images: np.ndarray) -> list[str]:
        config = self.model.config
        files = []
        for modality, image in zip(config.modalities, images, strict=True):
            if self.request.modalities and modality not in self.request.modalities:
                continue
            file = f"{name}_sample-{k + 1:02d}_{modality}.nii.gz"
            own = stored_intensities(on_input_grid(image, case, config.background))
            write_image(folder / file, own, case.labels.affine, DESCRIPTION)
            grid_affine = np.array(case.placement.grid_affine)
            write_image(folder / MODEL_GRID / file, stored_intensities(image), grid_affine, DESCRIPTION)
            files += [file, f"{MODEL_GRID}/{file}"]
        sheet = _sheet_name(name, k)
        title = f"{config.name}   seed {self.request.seed + k}, {self.sampler}, {self.steps} steps"
        write_sheet(folder / sheet, images, config.modalities, case.grid_labels, config.scheme, title)
        return [*files, sheet]


def _default_steps(sampler: str, model: Model) -> int:
    solver(sampler)
    return default_steps(sampler, model.schedule, model.config.sampler_steps)


def _preview(x0: torch.Tensor) -> np.ndarray:
    return on_model_grid(x0[0].float().cpu())


def _sheet_name(name: str, k: int) -> str:
    return f"{name}_sample-{k + 1:02d}.png"


def summary(results: Sequence[CaseResult], seconds: float) -> str:
    """One sentence on a batch for a person."""
    good = sum(result.state == "done" for result in results)
    there = sum(result.state == "already done" for result in results)
    failed = [result for result in results if result.state == "failed"]
    parts = [f"{good} of {len(results)} masks synthesized in {duration(seconds)}"]
    parts += [f"{there} were there already"] if there else []
    parts += [f"{len(failed)} failed"] if failed else []
    return ", ".join(parts) + "."


def raise_failures(results: Sequence[CaseResult]) -> None:
    """Raise one error naming every mask that failed, with the exit code of the first."""
    failed = [result for result in results if result.state == "failed"]
    if not failed:
        return
    lines = [f"{result.mask}: {result.message}" for result in failed]
    error = MedDDPMError(f"{len(failed)} of {len(results)} masks could not be synthesized.\n" + "\n".join(lines))
    error.exit_code = failed[0].exit_code
    raise error
