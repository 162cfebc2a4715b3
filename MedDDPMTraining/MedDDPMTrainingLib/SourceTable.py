"""What a scan of a source folder found, as a person reads it: the lines of a table, and a summary."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePath

from medddpm.preparation.facts import ERROR, SourceProblem, SourceScan
from MedDDPMSlicerLib.Texts import _, counted

LAYOUT_WORDS = {
    "brats": _("BraTS folders"),
    "med-ddpm": _("folders of Med-DDPM"),
    "nnunet": _("an nnU-Net dataset"),
    "table": _("a table"),
}


@dataclass(frozen=True)
class CaseLine:
    """A line of the table: ``key`` is what leaves it out (a case or a file), empty where nothing can.

    ``text`` has all that is wrong with it in sentences; ``severity`` is that of the worst: error, warning or empty.
    """

    key: str
    name: str
    files: str
    text: str
    severity: str


def linesOf(scan: SourceScan) -> list[CaseLine]:
    """All cases, and the files that belong to none but have a problem; what needs attention first."""
    of: dict[str, list[SourceProblem]] = {case.id: [] for case in sorted(scan.cases, key=lambda case: case.id)}
    others: dict[str, list[SourceProblem]] = {}
    for problem in scan.problems:
        (of[problem.case] if problem.case in of else others.setdefault(problem.file or "", [])).append(problem)
    cases = {case.id: case for case in scan.cases}
    lines = [_line(file, PurePath(file).name or _("The folder"), "", problems) for file, problems in others.items()]
    for name, problems in of.items():
        there = f"{len(cases[name].images)} of {len(scan.modalities)}"
        lines.append(
            _line(name, name, there if cases[name].mask else _("{there}, no mask").format(there=there), problems)
        )
    return sorted(lines, key=lambda line: ("error", "warning", "").index(line.severity))


def obstacles(scan: SourceScan, leaveOut: Collection[str] = ()) -> list[SourceProblem]:
    """The errors that remain when the cases, patients or files ``leaveOut`` are not used."""
    return [problem for problem in _remaining(scan, leaveOut) if problem.severity == ERROR]


def toLeaveOut(lines: Iterable[CaseLine], already: Collection[str]) -> list[str]:
    """What is left out when everything with errors is, too."""
    added = [line.key for line in lines if line.severity == ERROR and line.key]
    return [*already, *(key for key in added if key not in already)]


def summary(scan: SourceScan, leaveOut: Collection[str] = ()) -> str:
    """One or two sentences: what was found, and what stands in the way."""
    if not scan.cases:
        return _("No cases were found. ") + " ".join(problem.sentence for problem in scan.problems)
    used = [case for case in scan.cases if case.id not in leaveOut]
    patients = counted(len({case.patient for case in used}), "patient")
    layout = LAYOUT_WORDS.get(scan.layout, _("the layout {layout}").format(layout=scan.layout))
    left = _(", {value} left out").format(value=len(scan.cases) - len(used)) if len(used) < len(scan.cases) else ""
    found = _("{counted} of {patients} in {layout}{left}. Images: {names}.").format(
        counted=counted(len(used), "case"),
        patients=patients,
        layout=layout,
        left=left,
        names=", ".join(scan.modalities),
    )
    remaining, errors = _remaining(scan, leaveOut), obstacles(scan, leaveOut)
    if errors:
        return _("{found} Fix {counted}, or leave the cases out, before you prepare them.").format(
            found=found, counted=counted(len(errors), "problem")
        )
    remarks = _("; {counted} to look at").format(counted=counted(len(remaining), "remark")) if remaining else ""
    return _("{found} They can be prepared{remarks}.").format(found=found, remarks=remarks)


def _remaining(scan: SourceScan, leaveOut: Collection[str]) -> list[SourceProblem]:
    """Problems that are not settled by leaving out their case, its patient, or their file."""
    patients = {case.id: case.patient for case in scan.cases}
    out = set(leaveOut)
    settled = lambda problem: out & {problem.file, problem.case, patients.get(problem.case or "")}  # noqa: E731
    return [problem for problem in scan.problems if not settled(problem)]


def _line(key: str, name: str, files: str, problems: list[SourceProblem]) -> CaseLine:
    severities = {problem.severity for problem in problems}
    severity = ERROR if ERROR in severities else "warning" if severities else ""
    return CaseLine(key, name, files, " ".join(problem.sentence for problem in problems), severity)
