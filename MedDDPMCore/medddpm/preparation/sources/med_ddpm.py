"""The folders that Med-DDPM's published code trains on: one a part, paired here by name, never by order.

Whole head: ``mask/<case>.nii.gz`` and ``image/<case>.nii.gz`` (T1ce). BraTS: ``seg``, ``t1``, ``t1ce``, ``t2`` and
``flair`` with ``<case>_<folder>.nii.gz`` each. The folders' usual other names are known, too.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..case_files import without_ending
from .brats import PARTS, split_name
from .collect import MASK, Collector, image_files, subfolders

MASK_FOLDERS = ("mask", "masks", "seg", "segs", "label", "labels", "inputfolder")
IMAGE_FOLDERS = ("image", "images", "img", "imgs", "targetfolder")
# What the whole-head model was trained on.
IMAGE_MODALITY = "T1ce"
_WORDS = re.compile(r"^(?:mask|msk|seg|label|image|img)[_-]|[_-](?:mask|msk|seg|label|image|img)$", re.IGNORECASE)


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
