"""BraTS releases of 2018 to 2023 and all that is named like them.

2018 to 2021: ``<case>_t1``, ``_t1ce``, ``_t2``, ``_flair``, ``_seg``. 2023 on: ``<case>-t1n``, ``-t1c``, ``-t2w``,
``-t2f``, ``-seg``. Each ``.nii`` or ``.nii.gz``, in a folder for each case (perhaps below HGG and LGG) or all in one.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..case_files import without_ending
from .collect import MASK, Collector, image_files

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
