"""Gathering files to cases: what every layout shares."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ...errors import InputError
from ..case_files import ERROR, WARNING, CaseFiles, SourceProblem, is_case_id, patient_of, without_ending

MASK = "mask"
# Deep enough for release/HGG/case/file; a whole disk given by mistake ends with a sentence.
MAX_DEPTH = 6
MAX_FILES = 200_000


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

    def warn(self, code: str, sentence: str, case: str | None = None, file: Path | None = None) -> None:
        """Note something that does not stop a preparation."""
        self.problem(code, sentence, case, file, WARNING)

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
