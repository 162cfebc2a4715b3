"""What the folders and files of results are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

EXTENSIONS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh")


def case_names(masks: Sequence[Path]) -> list[str]:
    """A distinct folder name for each mask: its file name without extension, with its folder's where names repeat.

    Distinct also where a file system does not tell capital from small letters.
    """
    names = [_stem(mask) for mask in masks]
    names = [
        f"{m.resolve().parent.name}_{n}" if r else n for m, n, r in zip(masks, names, _repeated(names), strict=True)
    ]
    repeated = _repeated(names)
    taken = {name.casefold() for name, again in zip(names, repeated, strict=True) if not again}
    numbers: Counter[str] = Counter()
    return [_numbered(n, taken, numbers) if r else n for n, r in zip(names, repeated, strict=True)]


def sheet_name(name: str, k: int) -> str:
    """The contact sheet of sample ``k`` (from 0) of a case."""
    return f"{name}_sample-{k + 1:02d}.png"


def image_name(name: str, k: int, modality: str, compress: bool = True) -> str:
    """The image of sample ``k`` (from 0) of a case in one modality; without compression ``.nii``."""
    return f"{name}_sample-{k + 1:02d}_{safe_name(modality)}{_nifti(compress)}"


def safe_name(modality: str) -> str:
    """A modality as a part of a file name."""
    return "".join(c if c.isalnum() or c in "-+." else "_" for c in modality)


def mask_name(name: str, compress: bool = True) -> str:
    """The mask that was used for a case; without compression ``.nii``."""
    return f"{name}_mask{_nifti(compress)}"


def region_name(name: str, compress: bool = True) -> str:
    """The label map of the voxels of a real scan that a local edit changed."""
    return f"{name}_region{_nifti(compress)}"


def anatomy_name(name: str, k: int, compress: bool = True) -> str:
    """The completed label map that sample ``k`` (from 0) of a case was made from."""
    return f"{name}_sample-{k + 1:02d}_anatomy{_nifti(compress)}"


def masks_in(folder: Path) -> list[Path]:
    """The files directly in ``folder`` that can be masks by their names, in order; hidden ones are none."""
    found = (p for p in folder.iterdir() if p.name.lower().endswith(EXTENSIONS) and not p.name.startswith("."))
    return sorted(found)


def _nifti(compress: bool) -> str:
    return ".nii.gz" if compress else ".nii"


def _stem(mask: Path) -> str:
    extension = next((e for e in EXTENSIONS if mask.name.lower().endswith(e)), mask.suffix)
    stem = mask.name[: len(mask.name) - len(extension)].strip(". ") or "case"
    return "".join(c if c.isprintable() else "_" for c in stem)  # nor is what is no text in UTF-8


def _repeated(names: Iterable[str]) -> list[bool]:
    folded = [name.casefold() for name in names]
    counts = Counter(folded)
    return [counts[name] > 1 for name in folded]


def _numbered(name: str, taken: set[str], numbers: Counter[str]) -> str:
    """``name`` with the first number that makes it new; noted in ``taken``, and in ``numbers`` as the last one."""
    key = name.casefold()
    numbers[key] += 1
    while f"{key}_{numbers[key]}" in taken:
        numbers[key] += 1
    taken.add(f"{key}_{numbers[key]}")
    return f"{name}_{numbers[key]}"
