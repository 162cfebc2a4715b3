"""Scans of small heads, and how they are prepared, for the tests of the preparation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medddpm.preparation.options import PrepareOptions
from medddpm.preparation.pipeline import prepare
from source_phantoms import write_head

GRID = "24x32x24:8:LPS"
CASES = ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "c3", "c4")


def write_scans(folder: Path) -> Path:
    """Four small cases of three patients."""
    for number, case in enumerate(CASES):
        write_head(folder, case, number)
    return folder


def prepared_dataset(scans: Path, out: Path) -> Path:
    """The dataset of ``scans``, made with one worker."""
    prepare(options(scans, out))
    return out


def options(source: Path, out: Path, **changes: object) -> PrepareOptions:
    """Options for the grid of these tests, with one worker."""
    return replace(PrepareOptions(str(source), str(out), grid=GRID, workers=1), **changes)


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a dataset folder with its bytes, but for the claim."""
    files = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".claim")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def states(out: Path) -> dict[str, int]:
    """When the tensors were written of each case that is whole (one without its .json is made again)."""
    whole = [path.with_suffix(".safetensors") for path in (out / "cases").glob("*.json")]
    return {path.name: path.stat().st_mtime_ns for path in whole}
