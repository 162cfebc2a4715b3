"""Layouts that are told by names: BraTS releases, and the folders that Med-DDPM's published code trains on.

BraTS 2018 to 2021: ``<case>_t1``, ``_t1ce``, ``_t2``, ``_flair``, ``_seg``. 2023 on: ``<case>-t1n``, ``-t1c``,
``-t2w``, ``-t2f``, ``-seg``. Each ``.nii`` or ``.nii.gz``, in a folder for each case (perhaps below HGG and LGG)
or all in one.

Med-DDPM: one folder a part, paired here by name, never by order. Whole head: ``mask/<case>.nii.gz`` and
``image/<case>.nii.gz`` (T1ce). BraTS: ``seg``, ``t1``, ``t1ce``, ``t2`` and ``flair`` with ``<case>_<folder>.nii.gz``
each. The folders' usual other names are known, too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import InputError
from ..facts import ERROR, WARNING, CaseFiles, SourceProblem, is_case_id, patient_of, without_ending

MASK = "mask"
# Deep enough for release/HGG/case/file; a whole disk given by mistake ends with a sentence.
MAX_DEPTH = 6
MAX_FILES = 200_000
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
    parts = PARTS | dict.fromkeys(IMAGE_FOLDERS, IMAGE_MODALITY) | dict.fromkeys(MASK_FOLDERS, MASK)
    return {folder: parts[name] for folder in subfolders(source) if (name := folder.name.casefold()) in parts}


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


def _add(found: Collector, path: Path, part: str) -> None:
    named = split_name(path.name)
    if named is None:
        stem = without_ending(path.name) or path.name
        found.add(_WORDS.sub("", stem, count=1) or stem, part, path)
    elif named[1] == part:
        found.add(named[0], part, path)
    else:
        found.unmatched(path, f"its name says {named[1]}, but it lies in the folder of {part}. Put it in its place.")


class Collector:
    """Files of cases as a layout finds them; a second file for the same place is a problem that names both.

    ``root``: what file names in problems count from.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[SourceProblem] = []
        self._files: dict[str, dict[str, Path]] = {}
        self._patients: dict[str, str] = {}
        self._splits: dict[str, str] = {}

    def add(self, case: str, part: str, path: Path) -> None:
        """``path`` is the image of the modality ``part`` (or the ``MASK``) of ``case``."""
        if not is_case_id(case):
            sentence = f"{self.shown(path)} would belong to a case '{case}', which cannot be a file name. Rename it."
            self.problem("bad-name", sentence, file=path)
            return
        files = self._files.setdefault(case, {})
        if part in files:
            what = "mask" if part == MASK else f"{part} image"
            sentence = (
                f"{self.shown(path)} is a second {what} of the case {case}, beside {self.shown(files[part])}. "
                "Keep one of them."
            )
            self.problem("doubled-file", sentence, case, path, part=part)
            return
        files[part] = path

    def add_named(self, where: str, case: str, part: str, name: str) -> None:
        """``add`` for the path ``name`` that ``where`` says, from the root unless absolute, and never out of it."""
        path = Path(name)
        if not path.is_absolute():
            path = self.root / path
            if not path.resolve().is_relative_to(self.root.resolve()):
                sentence = f"{where}: '{name}' leads out of {self.root}. Write the whole path, or move the file inside."
                self.problem("outside-folder", sentence, case)
                return
        self.add(case, part, path)

    def tell(self, case: str, patient: str | None = None, split: str | None = None) -> None:
        """What the source says of a case beside its files; makes the case known even if it has none."""
        self._files.setdefault(case, {})
        if patient:
            self._patients[case] = patient
        if split:
            self._splits[case] = split

    def problem(
        self,
        code: str,
        sentence: str,
        case: str | None = None,
        file: Path | None = None,
        severity: str = ERROR,
        part: str | None = None,
    ) -> None:
        """Note a problem."""
        shown = None if file is None else self.shown(file)
        self.problems.append(SourceProblem(code, severity, sentence, case, shown, part))

    def unmatched(self, path: Path, why: str) -> None:
        """An image file that belongs to no case."""
        self.problem("unmatched-file", f"{self.shown(path)} does not belong to any case: {why}", file=path)

    def warn(self, code: str, sentence: str, file: Path | None = None) -> None:
        """Note something that does not stop a preparation."""
        self.problem(code, sentence, file=file, severity=WARNING)

    def shown(self, path: Path) -> str:
        """``path`` for reading: from the root where it lies inside, with forward slashes."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def has(self, case: str) -> bool:
        """Whether the case is known."""
        return case in self._files

    def cases(self) -> tuple[CaseFiles, ...]:
        """The cases by name. A name that differs in capitals only would be the same file on some systems."""
        plain: dict[str, str] = {}
        for case in sorted(self._files):
            other = plain.setdefault(case.casefold(), case)
            if other != case:
                sentence = f"The cases {other} and {case} differ in capital letters only. Rename one of them."
                self.problem("doubled-case", sentence, case)
        return tuple(self._case(case) for case in sorted(self._files))

    def _case(self, case: str) -> CaseFiles:
        images = {part: path for part, path in self._files[case].items() if part != MASK}
        patient = self._patients.get(case) or patient_of(case)
        return CaseFiles(case, patient, images, self._files[case].get(MASK), self._splits.get(case))


def image_files(root: Path, wanted: Callable[[Path], bool] = lambda folder: True) -> Iterator[Path]:
    """All files below ``root`` that are named as images, folder by folder in order of names.

    Hidden files and folders (``._x.nii.gz`` of a Mac) are no data. Links to folders are followed, each folder once.
    ``wanted`` says whether a folder is to be entered. Raises InputError where there are absurdly many files.
    """
    seen: set[Path] = set()
    count = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        here = Path(folder)
        real = here.resolve()
        depth = len(here.relative_to(root).parts)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and depth < MAX_DEPTH and wanted(here / n))
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                raise InputError(f"{root} holds more than {MAX_FILES:,} files. Give the folder of the dataset itself.")
            if not name.startswith(".") and without_ending(name) is not None:
                yield here / name


def subfolders(root: Path) -> list[Path]:
    """The folders directly below ``root``, in order of their names. Raises InputError where it cannot be read."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as exc:
        raise InputError(f"{root} cannot be read: {exc.strerror or exc}. Check the name and its permissions.") from exc
