"""``provenance.json`` of a finished case, read with care: what was made, and from what."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import read_bounded

NAME, MAX_BYTES = "provenance.json", 16 * 2**20
MAX_SAMPLES = 1000
_FILE = re.compile(r"[^/\\:\0]{1,255}")


@dataclass(frozen=True)
class SampleRecord:
    """One sample: its seed and its image files (modality -> path).

    ``anatomy``: the file of the label map that it was made from, and ``facts`` what is known of it, for models that are
    told tissues.
    """

    seed: int
    images: dict[str, Path]
    anatomy: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaseRecord:
    """A finished case. ``facts`` is the whole record as JSON data, ``mask`` the file of the mask that was used."""

    folder: Path
    facts: dict[str, Any]
    samples: tuple[SampleRecord, ...]
    mask: Path | None = None

    def text(self, name: str) -> str:
        """A fact as text; empty where it is absent."""
        value = self.facts.get(name)
        return "" if value is None else str(value)


def readCase(outputs: Path, modalities: tuple[str, ...]) -> CaseRecord:
    """The only case in the ``outputs`` of a job. Raises InputError where there is none that is whole."""
    cases = readCases(outputs, modalities)
    if len(cases) != 1:
        raise InputError(f"The results in {outputs} are gone. Generate them again.")
    return cases[0]


def readCases(outputs: Path, modalities: tuple[str, ...]) -> list[CaseRecord]:
    """All cases in the ``outputs`` of a job, by name. Raises InputError where one is not whole."""
    try:
        folders = sorted(p for p in outputs.iterdir() if p.is_dir() and not p.is_symlink())
    except OSError:
        folders = []
    return [_readFolder(folder, modalities) for folder in folders]


def _readFolder(folder: Path, modalities: tuple[str, ...]) -> CaseRecord:
    try:
        facts = json.loads(read_bounded(folder / NAME, MAX_BYTES))
        masks = [n for n in facts.get("mask_files") or [] if isinstance(n, str) and _FILE.fullmatch(n)]
        samples = [_sample(folder, entry, modalities) for entry in facts["samples"][:MAX_SAMPLES]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InputError("The record of the results cannot be read. Generate them again.") from exc
    if not samples:
        raise InputError("There are no finished images. Generate them again.")
    return CaseRecord(folder, facts, tuple(samples), folder / masks[0] if masks else None)


def _sample(folder: Path, entry: dict[str, Any], modalities: tuple[str, ...]) -> SampleRecord:
    """The images on the mask's grid; those on the model's grid are in a folder of their own and left out."""
    names = [n for n in entry["files"] if isinstance(n, str) and _FILE.fullmatch(n)]
    found = {modality: _ending(names, _safe(modality)) for modality in modalities}
    images = {modality: folder / name for modality, name in found.items() if name is not None}
    anatomy, facts = _ending(names, "anatomy"), entry.get("anatomy")
    return SampleRecord(
        int(entry["seed"]),
        images,
        None if anatomy is None else folder / anatomy,
        facts if isinstance(facts, dict) else {},
    )


def _ending(names: list[str], ending: str) -> str | None:
    return next((name for name in names if name.endswith((f"_{ending}.nii", f"_{ending}.nii.gz"))), None)


def _safe(modality: str) -> str:
    """As the core writes a modality in a file name (``medddpm.synthesis.names.image_name``)."""
    return "".join(c if c.isalnum() or c in "-+." else "_" for c in modality)
