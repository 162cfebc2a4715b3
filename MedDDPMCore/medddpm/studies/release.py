"""``medddpm release``: a data set of synthetic cases for others, and what stays with who made it.

``dataset/`` is what is handed out. ``private/`` has the results of the synthesis, which bear the names of the masks,
and ``key.tsv``, which says whose mask each case was made from. Cases are numbered in an order drawn by the seed, lie on
the model's grid, which is the same for all, and carry no name, path or hash of a mask: nothing but what they show leads
back to it.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import make_folder, read_json, read_text, sha256, write_text
from ..jobs.owner import OwnerFile
from ..models.model import Model
from ..models.registry import load_model
from ..progress import Reporter, SilentReporter
from ..sampling import names
from ..sampling.solvers import sampler_and_steps
from ..synthesis.pipeline import labels_together, run_batch
from ..synthesis.request import WHOLE, Shard, SynthesisRequest
from ..synthesis.results import CaseResult, raise_failures
from .memorization_report import JSON as MEMORIZATION
from .release_card import card, manifest
from .release_layout import Case, Layout, layout_of
from .release_request import LICENSES, ReleaseRequest

DATASET, PRIVATE, PLAN, KEY, SUMS = "dataset", "private", "plan.json", "key.tsv", "SHA256SUMS"
ANONYMITY = "anonymity.json"
MAX_BYTES = 16 * 2**20
# What decides how a case looks, but for its own mask and seed.
ON_CARD = ("guidance", "mass_effect", "contrast", "best_of")
LOOKS = (*ON_CARD, "samples", "seed", "sampler", "steps", "labels", "modalities", "verify")


@dataclass(frozen=True)
class Released:
    """A data set that is done."""

    folder: Path
    cases: int


def release(
    asked: ReleaseRequest,
    synthesis: SynthesisRequest,
    out: Path,
    reporter: Reporter | None = None,
    shard: Shard | None = None,
) -> Released | None:
    """Synthesize the cases of all masks and lay them out below ``out``; with a ``shard`` only synthesize its share.

    The masks have different seeds, so that no two cases share anatomy and noise. What was done before is taken from
    ``out``. Raises InputError where the memorization study is missing, is of another model
    or has found copies, where the request holds a patient's images, and for a folder in use; MedDDPMError, with nothing
    laid out, where a mask cannot be used; Cancelled.
    """
    reporter = reporter or SilentReporter()
    _require_synthetic(synthesis)
    text = license_text(asked.license)
    reporter.stage("load", "Loading the model")
    model = load_model(synthesis.model, synthesis.device, synthesis.precision)
    layout = layout_of(asked.layout, model.config, synthesis.modalities)
    studies = read_studies(asked, model)
    if model.config.license == "unknown":
        reporter.warning(f"The license of the model '{model.config.name}' is unknown: may its images be passed on?")
    if synthesis.labels is None and shard is None:  # workers are told
        read = labels_together(synthesis.masks, model.config.scheme, reporter)
        synthesis = replace(synthesis, labels=read)
    _claim(Path(out), _plan(synthesis, model))
    owner = OwnerFile(Path(out) / PRIVATE / ".in-use.json").held(f"The release {out}")
    whole = shard in (None, WHOLE)
    with owner if whole else contextlib.nullcontext():
        results = list(_synthesized(synthesis, model, Path(out), reporter, shard))
        raise_failures(results)
        if not whole:
            return None
        reporter.stage("write", "Putting the data set together")
        cases = list(_cases(synthesis, results))
        key = ["case\tmask\tsample\tseed", *(f"{c.id}\t{c.mask}\t{c.sample + 1}\t{c.made['seed']}" for c in cases)]
        write_text(Path(out) / PRIVATE / KEY, "\n".join(key) + "\n")
        sampler, steps = sampler_and_steps(model.config, synthesis.sampler, synthesis.steps)
        facts = {"sampler": sampler, "steps": steps, **{name: getattr(synthesis, name) for name in ON_CARD}}
        return _lay_out(Path(out), layout, cases, asked, model, studies, facts, text, reporter)


def license_text(license: str) -> str:
    """The text of the file LICENSE. Raises InputError where ``license`` is neither known nor a file."""
    if license in LICENSES:
        return f"This data set is licensed under {license}. The text of the license: {LICENSES[license]}\n"
    if not Path(license).is_file():
        raise InputError(f"The license '{license}' is not known ({', '.join(LICENSES)}) and is no file with a text.")
    return read_text(Path(license), "The license")


def read_studies(asked: ReleaseRequest, model: Model) -> dict[str, Any]:
    """What memorization and anonymity study say of the model. Raises as ``release``."""
    if asked.memorization is None:
        raise InputError(
            "A release needs a memorization study of its model, and none is named. Run 'medddpm study memorization' "
            "and name its folder.",
            option="memorization",
        )
    found = _of_model(Path(asked.memorization) / MEMORIZATION, model, "memorization")
    copies = found["copies"]
    if copies and not asked.accept_copies:
        raise InputError(
            f"The memorization study found that {copies} of {found['samples']} samples of this model are copies of "
            "training cases. Look at the pairs in its report, and use another model.",
            option="accept_copies",
        )
    links = _of_model(Path(asked.anonymity) / ANONYMITY, model, "anonymity") if asked.anonymity else None
    return {"memorization": found, "anonymity": links}


def _of_model(path: Path, model: Model, what: str) -> Any:
    problem = f"{path} is no record of the study. Run 'medddpm study {what}' again."
    record = read_json(path, MAX_BYTES, problem)
    models = record.get("models")
    found = models.get(model.weights_hash) if isinstance(models, dict) else None
    if found is None:
        raise InputError(
            f"The {what} study in {path.parent} is not of the model '{model.config.name}'. Run it for this model."
        )
    try:
        if what == "memorization":
            return {name: int(value) for name, value in (*found.items(), ("training_cases", record["training_cases"]))}
        links = [(str(one["anatomy"]), str(one["attack"]), int(one["linked"]), int(one["cases"])) for one in found]
        return {"patients": int(record["patients"]), "links": links}
    except (TypeError, ValueError, KeyError, AttributeError) as exc:
        raise InputError(problem) from exc


def _require_synthetic(synthesis: SynthesisRequest) -> None:
    if synthesis.context or synthesis.reference or synthesis.anatomy != "seed":
        raise InputError(
            "A release holds wholly synthetic images with anatomies from the bank, but there is a real scan, a "
            "reference or a label map to take the anatomy from. Leave it out."
        )
    if not synthesis.compress:
        raise InputError("The images of a release are compressed (.nii.gz). Leave the choice out.")
    last = synthesis.seed + len(synthesis.masks) * synthesis.samples * synthesis.best_of
    if last > names.MAX_SEED:
        raise InputError(
            f"The seeds of this release would go up to {last}, beyond {names.MAX_SEED}. Choose a smaller seed."
        )


def _plan(synthesis: SynthesisRequest, model: Model) -> dict[str, Any]:
    """What the cases of a release depend on."""
    looks = {name: getattr(synthesis, name) for name in LOOKS}
    inputs = {"masks": synthesis.masks, "images": synthesis.images, "model": model.weights_hash}
    return dict(json.loads(json.dumps({**inputs, **looks})))


def _claim(out: Path, plan: dict[str, Any]) -> None:
    """Make the folder this release's. Raises InputError where it holds something else."""
    path = out / PRIVATE / PLAN
    # Looked at before the plan is read: of a release that another worker has begun meanwhile, the plan comes first.
    places = [*(out.iterdir() if out.is_dir() else ()), *(path.parent.iterdir() if path.parent.is_dir() else ())]
    visible = [p for p in places if not p.name.startswith(".") and p.name not in (PRIVATE, PLAN)]
    there = None
    with contextlib.suppress(InputError, FileNotFoundError):
        there = read_json(path, MAX_BYTES, "")
    if there == plan:
        return
    if visible or there is not None:
        held = "another release" if there is not None else "other files"
        raise InputError(f"The folder {out} holds {held}. Choose an empty folder.")
    make_folder(out / PRIVATE)
    (out / PRIVATE).chmod(0o700)
    write_text(path, json.dumps(plan, indent=1) + "\n")


def _synthesized(
    synthesis: SynthesisRequest, model: Model, out: Path, reporter: Reporter, shard: Shard | None
) -> Iterator[CaseResult]:
    groups, (first, step) = _groups(synthesis), shard or WHOLE
    for number in range(first, len(synthesis.masks), step):
        reporter.stage("mask", f"Mask {number + 1} of {len(synthesis.masks)}")
        one = replace(
            synthesis,
            masks=(synthesis.masks[number],),
            images=synthesis.images[number : number + 1],
            seed=synthesis.seed + (groups[number] - 1) * synthesis.samples * synthesis.best_of,
        )
        yield from run_batch(one, model, out / PRIVATE / "cases" / f"{number + 1:04d}", reporter)


def _groups(synthesis: SynthesisRequest) -> list[int]:
    """The number of each mask in the data set: not even the order of the masks, or of their seeds, is told."""
    count = len(synthesis.masks)
    return random.Random(synthesis.seed).sample(range(1, count + 1), count)


def _cases(synthesis: SynthesisRequest, results: list[CaseResult]) -> Iterator[Case]:
    """The cases in the order of their numbers, which is drawn by the seed."""
    groups, drawn = _groups(synthesis), random.Random(synthesis.seed + 1)
    pairs = [(number, k) for number in range(len(results)) for k in range(synthesis.samples)]
    drawn.shuffle(pairs)
    digits = max(4, len(str(len(pairs))))
    for position, (number, k) in enumerate(pairs, 1):
        id = f"{position:0{digits}d}"
        yield Case(id, groups[number], k, synthesis.masks[number], results[number].folder)


def _lay_out(
    out: Path,
    layout: Layout,
    cases: list[Case],
    asked: ReleaseRequest,
    model: Model,
    studies: dict[str, Any],
    facts: dict[str, Any],
    text: str,
    reporter: Reporter,
) -> Released:
    """The folder ``dataset``, whole or not at all."""
    part, final, former = out / f".{DATASET}-part", out / DATASET, out / f".{DATASET}-former"
    for stale in (part, former):
        shutil.rmtree(stale, ignore_errors=True)
    for number, case in enumerate(cases, 1):
        reporter.check_cancelled()
        layout.place(case, part)
        reporter.step(number, len(cases))
    layout.describe(cases, part, asked)
    write_text(part / layout.manifest, manifest(cases, layout, model.config.scheme))
    write_text(part / "README.md", card(cases, layout, asked, model, studies, facts))
    write_text(part / "LICENSE", text)
    listed = [path for path in sorted(part.rglob("*")) if path.is_file()]
    sums = []
    for path in listed:
        reporter.check_cancelled()
        sums.append(f"{sha256(path)}  {path.relative_to(part).as_posix()}")
    write_text(part / SUMS, "\n".join(sums) + "\n")
    if final.exists():
        final.rename(former)
    part.rename(final)
    shutil.rmtree(former, ignore_errors=True)
    return Released(final, len(cases))
