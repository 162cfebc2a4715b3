"""``provenance.json`` of a finished case, read with care: what was made, and from what."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.jobs.regular import read_bounded

NAME, MAX_BYTES = "provenance.json", 16 * 2**20
MAX_SAMPLES = 1000
_FILE = re.compile(r"[^/\\:\0]{1,255}")


@dataclass(frozen=True)
class SampleRecord:
    """One sample: its seed and its image files (modality -> path)."""

    seed: int
    images: dict[str, Path]


@dataclass(frozen=True)
class CaseRecord:
    """A finished case. ``facts`` is the whole record as JSON data."""

    folder: Path
    facts: dict[str, Any]
    samples: tuple[SampleRecord, ...]

    def text(self, name: str) -> str:
        """A fact as text; empty where it is absent."""
        value = self.facts.get(name)
        return "" if value is None else str(value)


def readCase(outputs: Path, modalities: tuple[str, ...]) -> CaseRecord:
    """The only case in the ``outputs`` of a job. Raises InputError where there is none that is whole."""
    folder = _onlyFolder(outputs)
    try:
        facts = json.loads(read_bounded(folder / NAME, MAX_BYTES))
        samples = [_sample(folder, entry, modalities) for entry in facts["samples"][:MAX_SAMPLES]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as exc:
        raise InputError(f"The record of the results in {folder} cannot be read. Generate them again.") from exc
    if not samples:
        raise InputError(f"There are no finished images in {folder}. Generate them again.")
    return CaseRecord(folder, facts, tuple(samples))


def _onlyFolder(outputs: Path) -> Path:
    try:
        folders = [p for p in outputs.iterdir() if p.is_dir() and not p.is_symlink()]
    except OSError:
        folders = []
    if len(folders) != 1:
        raise InputError(f"The results in {outputs} are gone. Generate them again.")
    return folders[0]


def _sample(folder: Path, entry: dict[str, Any], modalities: tuple[str, ...]) -> SampleRecord:
    """The images on the mask's grid; those on the model's grid are in a folder of their own and left out."""
    names = [n for n in entry["files"] if isinstance(n, str) and _FILE.fullmatch(n)]
    images = {}
    for modality in modalities:
        ending = f"_{_safe(modality)}.nii"
        found = next((n for n in names if n.endswith((ending, ending + ".gz"))), None)
        if found is not None:
            images[modality] = folder / found
    return SampleRecord(int(entry["seed"]), images)


def _safe(modality: str) -> str:
    """As the core writes a modality in a file name (``medddpm.synthesis.names.image_name``)."""
    return "".join(c if c.isalnum() or c in "-+." else "_" for c in modality)
