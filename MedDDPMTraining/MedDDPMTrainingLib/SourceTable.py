"""What a scan of a source folder found, as the table that a person reads."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from medddpm.errors import InputError
from MedDDPMSlicerLib.Texts import counted

LAYOUT_WORDS = {
    "brats": "BraTS folders",
    "med-ddpm": "folders of Med-DDPM",
    "nnunet": "an nnU-Net dataset",
    "table": "a table",
}


@dataclass(frozen=True)
class Problem:
    """Something wrong: ``severity`` is "error" (it keeps the case from being prepared) or "warning"."""

    code: str
    severity: str
    sentence: str
    case: str | None
    file: str | None


@dataclass(frozen=True)
class CaseRow:
    """One case of the source. ``modalities`` are those whose file is there; ``split`` None where it is drawn."""

    id: str
    patient: str
    modalities: tuple[str, ...]
    hasMask: bool
    split: str | None
    problems: tuple[Problem, ...]

    @property
    def severity(self) -> str:
        """That of the worst problem: "error", "warning", or "" without any."""
        found = {problem.severity for problem in self.problems}
        return "error" if "error" in found else "warning" if found else ""

    @property
    def explanation(self) -> str:
        """All its problems in sentences."""
        return " ".join(problem.sentence for problem in self.problems)


@dataclass(frozen=True)
class SourceTable:
    """The cases of a source in the order of their ids; ``problems`` are those that belong to no case of the table."""

    layout: str
    modalities: tuple[str, ...]
    rows: tuple[CaseRow, ...]
    problems: tuple[Problem, ...]

    def obstacles(self, leaveOut: Collection[str] = ()) -> list[Problem]:
        """The errors that remain when the cases ``leaveOut`` are not used."""
        return [problem for problem in self._remaining(leaveOut) if problem.severity == "error"]

    def summary(self, leaveOut: Collection[str] = ()) -> str:
        """One or two sentences: what was found, and what stands in the way."""
        used = [row for row in self.rows if row.id not in leaveOut]
        if not self.rows:
            return "No cases were found. " + " ".join(problem.sentence for problem in self.problems)
        patients = len({row.patient for row in used})
        found = f"{counted(len(used), 'case')} of {counted(patients, 'patient')} in {self._layoutWords()}"
        left = f", {len(self.rows) - len(used)} left out" if len(used) < len(self.rows) else ""
        return f"{found}{left}. Images: {', '.join(self.modalities) or 'none'}. {self._verdict(leaveOut)}"

    def withErrors(self) -> list[str]:
        """The ids of the cases that cannot be prepared as they are."""
        return [row.id for row in self.rows if row.severity == "error"]

    def _layoutWords(self) -> str:
        return LAYOUT_WORDS.get(self.layout, f"the layout {self.layout}")

    def _verdict(self, leaveOut: Collection[str]) -> str:
        remaining = self._remaining(leaveOut)
        errors = sum(problem.severity == "error" for problem in remaining)
        if errors:
            return f"{counted(errors, 'problem')} must be put right, or the cases left out, before they are prepared."
        if remaining:
            return f"They can be prepared; {counted(len(remaining), 'remark')} to look at."
        return "They can be prepared."

    def _remaining(self, leaveOut: Collection[str]) -> list[Problem]:
        """Problems that are not settled by leaving out their case, its patient, or their file."""
        own = [p for row in self.rows if not {row.id, row.patient} & set(leaveOut) for p in row.problems]
        return [problem for problem in (*self.problems, *own) if problem.file not in leaveOut]


def tableOf(scan: Any) -> SourceTable:
    """The table of a ``scan.json`` (``SourceScan.to_dict``). Raises InputError where it cannot be one."""
    try:
        problems = [_problem(entry) for entry in scan["problems"]]
        ids = {str(case["id"]) for case in scan["cases"]}
        rows = sorted((_row(case, problems) for case in scan["cases"]), key=lambda row: row.id)
        others = tuple(problem for problem in problems if problem.case not in ids)
        return SourceTable(str(scan["layout"]), _texts(scan["modalities"]), tuple(rows), others)
    except (KeyError, TypeError, AttributeError) as exc:
        raise InputError("The result of the scan could not be read. Scan again.") from exc


def _row(case: dict[str, Any], problems: Iterable[Problem]) -> CaseRow:
    case_id = str(case["id"])
    own = tuple(problem for problem in problems if problem.case == case_id)
    split = case.get("split")
    return CaseRow(
        case_id,
        str(case["patient"]),
        _texts(case["images"]),
        bool(case.get("mask")),
        None if split is None else str(split),
        own,
    )


def _problem(entry: dict[str, Any]) -> Problem:
    case, file = entry.get("case"), entry.get("file")
    return Problem(
        str(entry["code"]),
        "error" if entry["severity"] == "error" else "warning",
        str(entry["sentence"]),
        None if case is None else str(case),
        None if file is None else str(file),
    )


def _texts(values: Iterable[Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
