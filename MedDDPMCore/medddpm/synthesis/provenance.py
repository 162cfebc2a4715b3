"""``provenance.json``: where synthetic images come from, and which of them are finished.

The record is written anew after every sample, always after the sample's files, so that whatever it names is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch

from ..errors import InputError
from ..files import read_text, sha256, write_text
from ..jobs.owner import OwnerFile
from ..jobs.process import process_alive
from ..models.model import Model
from ..parse import parse_json
from ..version import __version__
from .case import INTENSITY_SCALE, PreparedCase
from .request import SynthesisRequest

if TYPE_CHECKING:
    from .local_edit import LocalEdit

NAME = "provenance.json"
MAX_BYTES = 16 * 2**20
STATEMENT = (
    "SYNTHETIC image, computed by a generative model from a mask. Not an image of a patient. "
    "Not for diagnosis, treatment or clinical conclusions."
)
PARTLY_STATEMENT = (
    "PARTLY SYNTHETIC image: the voxels in the region and its seam were computed by a generative model from a mask; "
    "the voxels outside of them are the patient's own. Not for diagnosis, treatment or clinical conclusions."
)

INTENSITY = f"0 is empty space (network value -1), {INTENSITY_SCALE} the brightest (+1)"
CLAIM, READING = ".in-use.json", ".reading.json"  # of who works on a case, and of who reads its files


@dataclass(frozen=True)
class SampleFiles:
    """A finished sample: its seed, the files that belong to it, relative to the folder of the case, each with its
    SHA-256, what is known of the anatomy that it was made from, and what came of segmenting it again.
    """

    seed: int
    files: Mapping[str, str]
    anatomy: dict[str, Any] = field(default_factory=dict)
    verification: dict[str, Any] = field(default_factory=dict)


def fingerprint(
    request: SynthesisRequest,
    model: Model,
    sampler: str,
    steps: int,
    hashes: tuple[str, str | None],
    edit_facts: dict[str, Any],
    anatomy_facts: dict[str, Any],
    verify_facts: dict[str, Any],
) -> dict[str, Any]:
    """All but the seed that the files of a case depend on; two equal fingerprints mean equal files.

    ``hashes``: of the mask and its reference image; ``edit_facts``: of a local edit, empty where it is none;
    ``anatomy_facts``: of a model with tissue labels; ``verify_facts``: where samples are segmented again.
    """
    return {
        "mask_sha256": hashes[0],
        "image_sha256": hashes[1],
        "model_sha256": model.weights_hash,
        "sampler": sampler,
        "steps": steps,
        "precision": str(model.dtype).removeprefix("torch."),
        "modalities": list(request.modalities or model.config.modalities),
        "labels": request.labels,
        "compress": request.compress,
        "guidance": request.guidance,
        "local_edit": edit_facts,
        **({"anatomy": anatomy_facts} if anatomy_facts else {}),
        **({"verification": verify_facts} if verify_facts else {}),
    }


def write_provenance(
    folder: Path,
    model: Model,
    case: PreparedCase,
    facts: dict[str, Any],
    mask_files: Mapping[str, str],
    samples: list[SampleFiles],
    seconds: float,
    edit: LocalEdit | None,
) -> None:
    """Write the record of the samples finished so far; ``seconds`` is what this run took for them.

    ``mask_files``: with their SHA-256.
    """
    record = {
        "synthetic": True,
        "statement": STATEMENT,
        "intensity": INTENSITY,
        **({} if edit is None else _edit_record(edit, facts["modalities"])),
        **facts,
        "seeds": [sample.seed for sample in samples],
        "model": {
            "name": model.config.name,
            "license": model.config.license,
            "intended_use": model.config.intended_use,
        },
        "placement": asdict(case.placement),
        "mask_check": list(case.sentences),
        "outline_invented": case.invented,
        "mask_files": list(mask_files),
        "samples": [_sample_record(sample) for sample in samples],
        "sha256": dict(mask_files) | {name: hash_ for sample in samples for name, hash_ in sample.files.items()},
        "device": _device_name(model.device),
        "seconds": round(seconds, 2),
        "versions": {"medddpm": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_text(folder / NAME, json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _sample_record(sample: SampleFiles) -> dict[str, Any]:
    known = {"anatomy": sample.anatomy, "verification": sample.verification}
    return {"seed": sample.seed, "files": list(sample.files), **{name: it for name, it in known.items() if it}}


def _edit_record(edit: LocalEdit, written: list[str]) -> dict[str, Any]:
    """What the record of a local edit says otherwise or besides."""
    names = [name for name in written if name in edit.images]
    if not names:
        return {}
    rest = f" This holds for {', '.join(names)}; the other images are synthetic throughout."
    return {
        "statement": PARTLY_STATEMENT + ("" if names == written else rest),
        "partly_synthetic": names,
        "intensity": f"partly synthetic images: the real scan's own, real_intensity is -1 and +1; others: {INTENSITY}",
        "real_intensity": {name: list(edit.images[name].scaling.limits) for name in names},
        "real_intensity_rule": edit.rule.sentence,
    }


def finished_samples(folder: Path, facts: dict[str, Any], seeds: Sequence[Sequence[int]]) -> list[SampleFiles]:
    """Of the samples with one of these ``seeds`` each, in order, the first ones that are there, whole, from exactly
    these facts.
    """
    record = _read(folder)
    if record is None or any(record.get(key) != facts.get(key) for key in {*facts, "verification"}):
        return []
    hashes = record.get("sha256")
    if not isinstance(hashes, dict) or _whole(folder, record.get("mask_files"), hashes) is None:
        return []
    finished: list[SampleFiles] = []
    entries = record.get("samples")
    for several, entry in zip(seeds, entries if isinstance(entries, list) else [], strict=False):
        if not isinstance(entry, dict) or entry.get("seed") not in several:
            break
        files = _whole(folder, entry.get("files"), hashes)
        if files is None:
            break
        known = (entry.get(name) for name in ("anatomy", "verification"))
        finished.append(SampleFiles(entry["seed"], files, *(it if isinstance(it, dict) else {} for it in known)))
    return finished


def verifications(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """Seed and verification of the samples of a case that were segmented again."""
    samples = (_read(folder) or {}).get("samples") or ()
    return [(sample["seed"], sample["verification"]) for sample in samples if "verification" in sample]


def remove_results(folder: Path) -> bool:
    """Remove the record in ``folder``, then the files that it names; False where there was none.

    Without this, images of two requests would stand side by side under one record after an interruption.
    """
    record = _read(folder)
    try:
        (folder / NAME).unlink(missing_ok=True)
        for name in _named(record or {}):
            (folder / name).unlink(missing_ok=True)
    except OSError as exc:
        raise InputError(
            f"Earlier results in {folder} cannot be replaced: {exc.strerror}. Choose another folder."
        ) from exc
    return record is not None


def _named(record: dict[str, Any]) -> list[str]:
    """The files that a record names, but none outside of its folder: the record may come from anyone."""
    entries = record.get("samples")
    lists = [e.get("files") for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    names = [n for part in (*lists, record.get("mask_files")) if isinstance(part, list) for n in part]
    return [n for n in names if isinstance(n, str) and _inside(n)]


def _inside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return (
        bool(parts) and len(parts) <= 2 and ".." not in parts and not any(c in name for c in "\\:\0") and name[0] != "/"
    )


def _whole(folder: Path, names: object, hashes: Mapping[str, object]) -> dict[str, str] | None:
    """The files ``names`` with their ``hashes``, if all lie in ``folder`` and hold what was written; else None."""
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and _inside(n) for n in names):
        return None
    try:
        found = {name: sha256(folder / name) for name in names}
    except (OSError, InputError):
        return None
    return found if all(hashes.get(name) == hash_ for name, hash_ in found.items()) else None


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / NAME
    try:
        record = parse_json(read_text(path, limit=MAX_BYTES), NAME)
    except InputError:
        return None
    # Records of before there was a strength of guidance know only the plain one.
    return {"guidance": 1.0, **record} if isinstance(record, dict) else None


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files and claims that dead processes left in ``folder``; what cannot be deleted stays.

    The names of the files, made by ``files.atomic_path``, tell whose they are.
    """
    for claim in (OwnerFile(Path(folder) / name) for name in (CLAIM, READING)):
        if claim.exists() and claim.living_owner() is None:
            claim.release()
    for path in Path(folder).glob(".part-*"):
        number = path.name.split("-")[1]
        owner = int(number) if number.isdecimal() else 0
        if owner == os.getpid() or not process_alive(owner):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
