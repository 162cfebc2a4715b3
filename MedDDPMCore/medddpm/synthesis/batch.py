"""The cases of one request, one after the other: what is there already, what is left, and doing it."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Cancelled, InputError, MedDDPMError
from ..files import make_folder, sha256
from ..geometry.grid import from_network
from ..geometry.io import content_hash, require_survivable
from ..geometry.nifti import write_image
from ..geometry.volume import Volume
from ..jobs.outcome import outcome_of
from ..jobs.owner import OwnerFile
from ..labels.conventions import parse_labels
from ..models.model import Model
from ..progress import Reporter
from ..sampling.sample import SampleStep, check_guidance, evaluations_per_step, sample
from ..sampling.solvers import Trajectory, sampler_and_steps
from .anatomy import CaseAnatomy, SampleAnatomy, anatomy_facts
from .case import PreparedCase, prepare_case, stored_image
from .estimate import estimate, require_memory, require_room
from .names import anatomy_name, image_name, mask_name, region_name, sheet_name
from .provenance import (
    CLAIM,
    READING,
    SampleFiles,
    fingerprint,
    finished_samples,
    remove_leftovers,
    remove_results,
    write_provenance,
)
from .request import SynthesisRequest
from .results import CaseResult
from .sheet import EditedPart, write_sheet
from .verify import Candidate, best_of, open_verifier

if TYPE_CHECKING:
    from .local_edit import LocalEdit, RealScan

log = logging.getLogger(__name__)

MODEL_GRID = "model-grid"
OnPlaced = Callable[[str, PreparedCase], None]


@dataclass(frozen=True)
class Plan:
    """What is to do for one mask. ``facts`` is None where the mask cannot even be read; ``finished`` samples are there
    already, from exactly these facts.
    """

    number: int
    mask: Path
    image: Path | None
    folder: Path
    facts: dict[str, Any] | None
    finished: tuple[SampleFiles, ...]

    @property
    def name(self) -> str:
        """The name of the case, which its files begin with."""
        return self.folder.name


class Batch:
    """The cases of one request with one model. ``on_placed`` learns where each case lies before it is sampled."""

    def __init__(
        self, request: SynthesisRequest, model: Model, reporter: Reporter, on_placed: OnPlaced | None = None
    ) -> None:
        self.request, self.model, self.reporter, self.on_placed = request, model, reporter, on_placed
        self.sampler, self.steps = sampler_and_steps(model.config, request.sampler, request.steps)
        check_guidance(request.guidance, model.config)
        Trajectory.of(model.schedule, self.steps)  # says now, not once for every mask, if there are not so many
        starts = range(request.seed, request.seed + request.samples * request.best_of, request.best_of)
        self.seeds = [range(start, start + request.best_of) for start in starts]  # of each sample
        self._verifier = open_verifier(request, model)
        self._scan: RealScan | None = None
        if request.context:
            from .local_edit import RealScan  # which only an edit needs

            self._scan = RealScan.of(request, model.config)
        self._edit_facts = {} if self._scan is None else self._scan.facts()
        self._anatomy_facts = anatomy_facts(request, model.config)
        self._evaluated = self._total = 0

    def plan(self, number: int, folder: Path) -> Plan:
        """Find out what of mask ``number`` is there already."""
        self.reporter.check_cancelled()
        mask = Path(self.request.masks[number])
        image = Path(self.request.images[number]) if self.request.images else None
        try:
            hashes = content_hash(mask), None if image is None else content_hash(image)
        except InputError:
            return Plan(number, mask, image, folder, None, ())  # the attempt will say why
        more = self._edit_facts, self._anatomy_facts, {} if self._verifier is None else self._verifier.facts()
        facts = fingerprint(self.request, self.model, self.sampler, self.steps, hashes, *more)
        return Plan(number, mask, image, folder, facts, self._finished(folder, facts))

    def announce(self, plans: Sequence[Plan]) -> None:
        """Say how long the rest will take, and stop where the memory will not do."""
        self._total = sum(self._evaluations(plan) for plan in plans)
        if self._total == 0:
            return
        evaluations = self._total * evaluations_per_step(self.request.guidance)
        needed = estimate(self.model.config, evaluations, self.model.device, self.model.dtype)
        if not self.request.ignore_memory:
            require_memory(needed, self.model.config, self.model.device, self.model.dtype)
        self.reporter.stage("estimate", needed.sentence())

    def attempt(self, plan: Plan) -> CaseResult:
        """Run one case; whatever goes wrong with it, but a cancellation, becomes its result."""
        sheets = tuple(plan.folder / sheet_name(plan.name, k) for k in range(len(self.seeds)))
        if len(plan.finished) == len(self.seeds):
            remove_leftovers(plan.folder)
            return CaseResult(plan.mask, plan.folder, "already done", sheets=sheets)
        after = self._evaluated + self._evaluations(plan)
        try:
            with self._held(plan.folder):
                # Another run may have been at work here since the plan was made.
                self._run(replace(plan, finished=self._finished(plan.folder, plan.facts or {})))
        except (Cancelled, KeyboardInterrupt):
            raise
        except Exception as exc:
            outcome = outcome_of(exc)
            # What a person caused and can mend is told to that person; only a fault of the program needs a trace.
            log.error("case %d failed", plan.number + 1, exc_info=not isinstance(exc, MedDDPMError))
            self._evaluated = after
            self.reporter.step(after, self._total)
            return CaseResult(
                plan.mask, plan.folder, "failed", outcome.message, outcome.exit_code, outcome.option, outcome.path
            )
        return CaseResult(plan.mask, plan.folder, "done", sheets=sheets)

    def _finished(self, folder: Path, facts: dict[str, Any]) -> tuple[SampleFiles, ...]:
        return tuple(finished_samples(folder, facts, self.seeds))

    @contextlib.contextmanager
    def _held(self, folder: Path) -> Iterator[None]:
        """The folder of a case in the hands of this run alone; Held is raised where another is at work in it."""
        make_folder(folder)
        try:
            with OwnerFile(folder / CLAIM).held(f"The folder {folder}"):
                yield
        finally:
            with contextlib.suppress(OSError):  # nothing came of it
                folder.rmdir()

    def _evaluations(self, plan: Plan) -> int:
        """Sampling steps that are left for a case."""
        return self.steps * (len(self.seeds) - len(plan.finished)) * self.request.best_of

    def _run(self, plan: Plan) -> None:
        started = time.monotonic()
        self.reporter.stage("prepare", f"Preparing mask {plan.number + 1} of {len(self.request.masks)}")
        case = self._read(plan)
        facts = plan.facts
        if facts is None:  # it could not be read a moment ago, but now it can
            raise InputError(f"{plan.mask} changed while it was read. Run the same command again.")
        self._tell(plan, case.sentences)
        if not self.request.ignore_memory:
            require_room(case.placement, self.model.config, self.model.device, self.model.dtype)
        edit = None if self._scan is None else self._scan.edit(case, self.model.config)
        self._tell(plan, () if edit is None else edit.sentences)
        if self.on_placed is not None:
            self.on_placed(plan.name, case)
        for folder in (plan.folder, plan.folder / MODEL_GRID):
            remove_leftovers(folder)
        samples = list(plan.finished)
        if not samples and remove_results(plan.folder):
            self.reporter.warning(f"Earlier results in {plan.folder} are from another request and are replaced.")
        # Written first, since it is small: a full disk is noticed before the sampling and costs it no time.
        file = mask_name(plan.name, self.request.compress)
        mask_files = self._write_mask(plan, case.grid_labels, f"{MODEL_GRID}/{file}")
        anatomies = CaseAnatomy(self.request, case, self.model, None if edit is None else edit.region_on_grid)
        told: set[str] = set()
        for k in range(len(samples), len(self.seeds)):
            best = best_of(self._candidates(k, case, anatomies, edit))
            anatomy = best.anatomy
            self._tell(plan, [sentence for sentence in anatomy.sentences if sentence not in told])
            told.update(anatomy.sentences)
            self.reporter.stage("write", "Writing the images")
            if len(mask_files) == 1:
                mask_files |= self._write_mask(plan, case.labels, file)
                if edit is not None:
                    name = region_name(plan.name, self.request.compress)
                    mask_files |= self._write_mask(plan, edit.region, name, "Synthetic region")
            files = self._write_anatomy(plan, k, anatomy) | self._write_sample(plan, k, case, best, edit)
            samples.append(SampleFiles(best.seed, files, dict(anatomy.facts), best.verification))
            seconds = time.monotonic() - started
            write_provenance(plan.folder, self.model, case, facts, mask_files, samples, seconds, edit)

    def _read(self, plan: Plan) -> PreparedCase:
        """The case. Where the program has died while it read it, the files are first read in a process apart."""
        labels = None if self.request.labels is None else parse_labels(self.request.labels)
        reading = OwnerFile(plan.folder / READING)
        attempt = reading.take(f"The folder {plan.folder}")
        try:
            if attempt > 1:
                require_survivable([path for path in (plan.mask, plan.image) if path is not None])
            case = prepare_case(plan.mask, plan.image, self.model.config, labels)
            if self._verifier is not None:
                self._verifier.require_tumor(case.fractions)
            return case
        finally:
            reading.release()

    def _tell(self, plan: Plan, sentences: Sequence[str]) -> None:
        """Pass on what was found and mended, with the name of the case where there are several."""
        head = f"{plan.name}: " if len(self.request.masks) > 1 else ""
        for sentence in sentences:
            self.reporter.warning(head + sentence)

    def _candidates(
        self, k: int, case: PreparedCase, anatomies: CaseAnatomy, edit: LocalEdit | None
    ) -> Iterator[Candidate]:
        """What sample ``k`` is chosen from, one for each of its seeds, on which alone it depends."""
        for number, seed in enumerate(self.seeds[k], 1):
            several = f", try {number} of {len(self.seeds[k])}" if len(self.seeds[k]) > 1 else ""
            anatomy = anatomies.sample(seed)
            self.reporter.stage("sample", f"Sampling image {k + 1} of {len(self.seeds)}{several}")
            images = self._sample(seed, anatomy, edit)
            verified = {} if self._verifier is None else self._verifier.verified(images, case.fractions)
            yield Candidate(seed, images, anatomy, verified)

    def _sample(self, seed: int, anatomy: SampleAnatomy, edit: LocalEdit | None) -> np.ndarray:
        """One sample (C, X, Y, Z) in [-1, 1] on the model's grid."""
        before = self._evaluated

        def on_step(step: SampleStep) -> None:
            self._evaluated = before + step.step
            self.reporter.step(self._evaluated, self._total, lambda: from_network(step.x0[0].float().cpu().numpy()))
            self.reporter.check_cancelled()

        self.reporter.check_cancelled()
        known = None if edit is None else edit.known
        result = sample(
            self.model,
            anatomy.condition,
            self.sampler,
            self.steps,
            seed,
            callback=on_step,
            known=known,
            guidance=self.request.guidance,
            look=anatomy.look,
        )
        return from_network(result[0].numpy())

    def _write_mask(
        self, plan: Plan, labels: Volume, file: str, description: str = "Mask used by MedDDPM"
    ) -> dict[str, str]:
        write_image(plan.folder / file, labels.data, labels.affine, description, plan.mask)
        return {file: sha256(plan.folder / file)}

    def _write_anatomy(self, plan: Plan, k: int, anatomy: SampleAnatomy) -> dict[str, str]:
        """On the mask's grid and on the model's; nothing for models that are told no tissues."""
        name = anatomy_name(plan.name, k, self.request.compress)
        wanted = ((name, anatomy.labels), (f"{MODEL_GRID}/{name}", anatomy.grid_labels))
        written = (self._write_mask(plan, labels, file) for file, labels in wanted if labels is not None)
        return {file: hash_ for one in written for file, hash_ in one.items()}

    def _write_sample(
        self, plan: Plan, k: int, case: PreparedCase, made: Candidate, edit: LocalEdit | None
    ) -> dict[str, str]:
        """The images of a sample and, last, its sheet; returns the hashes of all of them."""
        config, wanted = self.model.config, self.request.modalities or self.model.config.modalities
        shown = [i for i, modality in enumerate(config.modalities) if modality in wanted]
        names = tuple(config.modalities[i] for i in shown)
        files = [sheet_name(plan.name, k)]
        for modality, image in zip(names, made.images[shown], strict=True):
            file = image_name(plan.name, k, modality, self.request.compress)
            own, on_grid, description = stored_image(modality, image, case, config.background, edit)
            write_image(plan.folder / file, own, case.labels.affine, description, plan.mask)
            write_image(plan.folder / MODEL_GRID / file, on_grid, case.grid_labels.affine, description)
            files += [file, f"{MODEL_GRID}/{file}"]
        guidance = "" if self.request.guidance == 1 else f", guidance {self.request.guidance:g}"
        title = f"{config.name} | {plan.name} | seed {made.seed}, {self.sampler}, {self.steps} steps{guidance}"
        edited = None if edit is None else EditedPart(tuple(edit.images), edit.region_on_grid)
        write_sheet(plan.folder / files[0], made.images[shown], names, case.grid_labels, config.scheme, title, edited)
        return {file: sha256(plan.folder / file) for file in files}
