"""A prepared case on the disk: its tensors, and what they were made from.

``cases/<id>.safetensors`` holds the tensors; ``cases/<id>.json`` their hash, the key of inputs and options that they
were made with, and the facts of the case. The latter is written last: together they are whole or not there.
"""

from __future__ import annotations

import glob
import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save

from ..config import ModelConfig
from ..errors import Cancelled, InputError, MedDDPMError, OutOfMemory
from ..files import atomic_path, read_text, sha256, write_text
from ..geometry.io import content_hash
from ..parse import from_dict, parse_json
from .case import prepare_one
from .facts import CaseFacts, CaseFiles
from .options import PrepareOptions
from .report import write_pictures

# Raise this when the same inputs and options would be prepared differently than before.
METHOD = 1
DESCRIPTION, PICTURES = "dataset.json", "report"
MAX_STATE_BYTES = 2**24


@dataclass(frozen=True)
class CaseOutcome:
    """What became of a case: its facts, or the ``failure`` sentence. ``fatal``: no other case will fare better.

    ``sha256`` is that of the file of tensors.
    """

    id: str
    facts: CaseFacts | None = None
    sha256: str | None = None
    failure: str | None = None
    fatal: bool = False


@dataclass(frozen=True)
class _State:
    key: str
    sha256: str
    facts: dict[str, Any]


def tensors_path(out: Path, case_id: str) -> Path:
    """Where the tensors of a case lie."""
    return out / "cases" / f"{case_id}.safetensors"


def do_case(case: CaseFiles, out: Path, options: PrepareOptions, template: ModelConfig) -> CaseOutcome:
    """Prepare one case into the dataset folder ``out``, or find that it is there already.

    Runs in a process of its own. Never raises InputError.
    """
    try:
        key = work_key(case, options, template)
        there = read_state(out, case.id, key)
        if there is not None:
            facts, digest = there
            # Its pictures are drawn again where somebody deleted them.
            if not list((out / PICTURES).glob(f"{glob.escape(case.id)}-sheet.*")):
                write_pictures(out / PICTURES, load_file(tensors_path(out, case.id)), facts, template)
            return CaseOutcome(case.id, facts, digest)
        tensors, facts = prepare_one(case, options, template)
    except OutOfMemory as exc:
        return CaseOutcome(case.id, failure=str(exc), fatal=True)
    except Cancelled:
        raise
    except MedDDPMError as exc:
        return CaseOutcome(case.id, failure=str(exc))
    try:
        state = tensors_path(out, case.id).with_suffix(".json")
        for outdated in (state, out / DESCRIPTION):  # what they say is not true from here on
            outdated.unlink(missing_ok=True)
        with atomic_path(tensors_path(out, case.id)) as temporary:
            # Not save_file, which makes files that only this user can read: datasets are shared.
            temporary.write_bytes(save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}))
            digest = sha256(temporary)
        write_pictures(out / PICTURES, tensors, facts, template)
        write_text(state, json.dumps(asdict(_State(key, digest, asdict(facts))), indent=1) + "\n")
    except InputError as exc:  # the disk is full or not to be written: so it is for all cases
        return CaseOutcome(case.id, failure=str(exc), fatal=True)
    return CaseOutcome(case.id, facts, digest)


def work_key(case: CaseFiles, options: PrepareOptions, template: ModelConfig) -> str:
    """A hash of everything that a prepared case depends on: contents of its files, options, and the method.

    Where the files lie and how they are named does not matter. Raises InputError where one cannot be read.
    """
    files = {name: content_hash(case.images[name]) for name in template.modalities if name in case.images}
    data = {
        "method": METHOD,
        "patient": case.patient,
        "images": files,
        "mask": None if case.mask is None else content_hash(case.mask),
        "scheme": asdict(template.scheme),
        "grid": asdict(template.grid),
        "modalities": template.modalities,
        "background": template.background,
        "register": options.register,
        "template": None if options.template is None else content_hash(Path(options.template)),
        "intensities": options.intensities,
        "outline": options.outline,
        "labels": options.labels,
    }
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read_state(out: Path, case_id: str, key: str | None = None) -> tuple[CaseFacts, str] | None:
    """Facts and hash of a case that is there, whole and (where ``key`` is given) made with it; else None.

    Whatever is wrong with what is there, the case is then prepared again.
    """
    path = tensors_path(out, case_id).with_suffix(".json")
    try:
        state = from_dict(_State, parse_json(read_text(path, limit=MAX_STATE_BYTES), str(path)), str(path))
        if key is not None and state.key != key:
            return None
        whole = sha256(tensors_path(out, case_id)) == state.sha256
        return (from_dict(CaseFacts, state.facts, str(path)), state.sha256) if whole else None
    except (OSError, InputError):
        return None
