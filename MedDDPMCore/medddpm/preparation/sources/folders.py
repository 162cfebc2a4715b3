"""Layouts that are told by names: BraTS releases, and the folders that Med-DDPM's published code trains on.

BraTS 2018 to 2021: ``<case>_t1``, ``_t1ce``, ``_t2``, ``_flair``, ``_seg``. 2023 on: ``<case>-t1n``, ``-t1c``,
``-t2w``, ``-t2f``, ``-seg``. Each ``.nii`` or ``.nii.gz``, in a folder for each case (perhaps below HGG and LGG)
or all in one.

Med-DDPM: one folder a part, paired here by name, never by order. Whole head: ``mask/<case>.nii.gz`` and
``image/<case>.nii.gz`` (T1ce). BraTS: ``seg``, ``t1``, ``t1ce``, ``t2`` and ``flair`` with ``<case>_<folder>.nii.gz``
each. The folders' usual other names are known, too.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..case_files import without_ending
from .collect import MASK, Collector, image_files, subfolders

PARTS = {
    "t1": "T1",
    "t1n": "T1",
    "t1ce": "T1ce",
    "t1gd": "T1ce",
    "t1c": "T1ce",
    "t2": "T2",
    "t2w": "T2",
    "flair": "FLAIR",
    "t2f": "FLAIR",
    "seg": MASK,
}
_NAME = re.compile(rf"(.+)[_-]({'|'.join(PARTS)})", re.IGNORECASE)
MASK_FOLDERS = ("mask", "masks", "seg", "segs", "label", "labels", "inputfolder")
IMAGE_FOLDERS = ("image", "images", "img", "imgs", "targetfolder")
# What the whole-head model was trained on.
IMAGE_MODALITY = "T1ce"
_WORDS = re.compile(r"^(?:mask|msk|seg|label|image|img)[_-]|[_-](?:mask|msk|seg|label|image|img)$", re.IGNORECASE)


def split_name(name: str) -> tuple[str, str] | None:
    """Case and part (a modality or ``MASK``) that a BraTS file name tells; None for other names."""
    stem = without_ending(name)
    found = None if stem is None else _NAME.fullmatch(stem)
    return None if found is None else (found[1], PARTS[found[2].lower()])


def scan_brats(source: Path) -> Collector:
    """The cases below ``source``. A case's files lie in one folder; two folders with the same case are an error."""
    found = Collector(source)
    homes: dict[str, Path] = {}
    for path in image_files(source):
        parts = split_name(path.name)
        if parts is None:
            found.unmatched(path, f"its name ends in none of {', '.join(PARTS)}. Rename, move or leave it out.")
            continue
        case, part = parts
        home = homes.setdefault(case, path.parent)
        if home != path.parent:
            sentence = (
                f"{found.shown(path)} belongs to the case {case}, whose files lie in {found.shown(home)} as well. "
                "Keep one of the two folders."
            )
            found.problem("doubled-case", sentence, case, path)
            continue
        found.add(case, part, path)
    return found


def part_folders(source: Path) -> dict[Path, str]:
    """The folders of ``source`` that hold one part each: a modality or ``MASK``."""
    return {folder: part for folder in subfolders(source) if (part := _part(folder.name)) is not None}


def scan_med_ddpm(source: Path) -> Collector:
    """The cases of ``source``."""
    found = Collector(source)
    parts = part_folders(source)
    for folder, part in parts.items():
        for path in image_files(folder):
            _add(found, path, part)
    for path in image_files(source, wanted=lambda folder: folder not in parts):
        found.unmatched(path, "it lies in none of the folders of masks and images. Move it or leave it out.")
    return found


def _part(name: str) -> str | None:
    plain = name.casefold()
    if plain in MASK_FOLDERS:
        return MASK
    return IMAGE_MODALITY if plain in IMAGE_FOLDERS else PARTS.get(plain)


def _add(found: Collector, path: Path, part: str) -> None:
    named = split_name(path.name)
    if named is None:
        stem = without_ending(path.name) or path.name
        found.add(_WORDS.sub("", stem, count=1) or stem, part, path)
    elif named[1] == part:
        found.add(named[0], part, path)
    else:
        found.unmatched(path, f"its name says {named[1]}, but it lies in the folder of {part}. Put it in its place.")
