"""The report on a dataset: one HTML page that opens offline, beside the pictures that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..config import ModelConfig
from ..dataset import SPLITS
from ..files import write_text
from ..labels.findings import WARNING
from ..page import document
from .facts import CaseFacts, Flag
from .pictures import sheet_name, strip_name
from .report_case import anchor, case_row, case_section
from .report_charts import curves, histogram

NUMBER = ' class="number"'
NAME, PICTURES = "report.html", "report"


@dataclass(frozen=True)
class ReportData:
    """What a report tells: the facts of all cases that were looked at, and what became of them.

    ``splits``: case -> split of those in the dataset; ``left_out``: case -> reason of the others, and of cases that
    could not be read. ``problems``: sentences on the dataset as a whole. ``options_text``: how it was made.
    """

    title: str
    facts: Sequence[CaseFacts]
    flags: Sequence[Flag]
    splits: Mapping[str, str]
    left_out: Mapping[str, str]
    problems: Sequence[str]
    template: ModelConfig
    options_text: Mapping[str, str]


def write_report(out: Path, data: ReportData) -> Path:
    """Write ``out/report.html``; returns its path. Raises InputError where it cannot be written.

    Every text from files is escaped; of persons it names no more than the ids of cases and patients.
    """
    path = out / NAME
    write_text(path, page(out, data))
    return path


def page(out: Path, data: ReportData) -> str:
    """The HTML of the report on the dataset in ``out``."""
    parts = (_header(data), _problems(data), _overview(data), _charts(data), _cases(out, data), _made(data))
    return document(data.title, "\n".join(part for part in parts if part))


def _header(data: ReportData) -> str:
    flagged = {flag.case for flag in data.flags if flag.severity == WARNING}
    tumors = [case.mask.tumor_ml for case in data.facts if case.mask.tumor_ml > 0]
    lost = sum(case.mask.lost_share > 0 for case in data.facts)
    counts = [f"{n} {split}" for split in SPLITS if (n := list(data.splits.values()).count(split))]
    patients = len({case.patient for case in data.facts if case.id in data.splits})
    tiles = [
        ("In the dataset", f"{len(data.splits)}", f"{_count(patients, 'patient')}"),
        ("Split by patient", " / ".join(c.split()[0] for c in counts) or "-", ", ".join(c.split()[1] for c in counts)),
        ("To check", f"{len(flagged)}", f"{'case' if len(flagged) == 1 else 'cases'} with a warning"),
        ("Left out", f"{len(data.left_out)}", "see each case" if data.left_out else "nothing was left out"),
        ("Tumor", f"{np.median(tumors):.3g} mL" if tumors else "none", f"median of {len(tumors)}" if tumors else ""),
        ("Cut by the grid", f"{lost}", f"{'case' if lost == 1 else 'cases'}, told with each"),
    ]
    cells = "".join(
        f"<div><dt>{escape(a)}</dt><dd>{escape(b)}<small>{escape(c)}</small></dd></div>" for a, b, c in tiles
    )
    return (
        f"<header><h1>{escape(data.title)}</h1>"
        '<p class="soft">What is in this dataset, and what to check before a model is trained on it. '
        "It shows images of patients: handle it as you handle these.</p>"
        f'<dl class="tiles">{cells}</dl></header><main>'
    )


def _tile(name: str, value: str, note: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"


def _section(name: str, title: str, inside: str) -> str:
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{inside}</section>'


def _table(rows: str, head: str = "") -> str:
    return f'<div class="overview scroll"><table>{head}<tbody>{rows}</tbody></table></div>'


def _problems(data: ReportData) -> str:
    if not data.problems:
        return ""
    items = "".join(f'<li class="warning"><b>Check</b>{escape(sentence)}</li>' for sentence in data.problems)
    return _section("problems", "On the whole", f'<ul class="flags">{items}</ul>')


def _overview(data: ReportData) -> str:
    """All warnings in one table, each with a link to its case."""
    flags = [flag for flag in data.flags if flag.severity == WARNING]
    if not flags:
        return _section("look", "What to check", "<p>No case stands out.</p>")
    rows = "".join(_overview_row(flag) for flag in flags)
    head = '<thead><tr><th scope="col">Case</th><th scope="col">Why</th></tr></thead>'
    note = '<p class="soft">Nothing of this is left out unless that was asked for.</p>'
    return _section("look", "What to check", note + _table(rows, head))


def _overview_row(flag: Flag) -> str:
    link = f'<a href="#{anchor(flag.case)}">{escape(flag.case)}</a>'
    return f'<tr><th scope="row">{link}</th><td>{escape(flag.sentence)}</td></tr>'


def _charts(data: ReportData) -> str:
    """Sizes of head and tumor, and the brightness of every modality, over all cases."""
    if not data.facts:
        return ""
    kind = data.facts[0].mask.kind
    figures = [(f"Volume of the {kind}", histogram([case.mask.outline_ml for case in data.facts], "mL"))]
    tumors = [case.mask.tumor_ml for case in data.facts if case.mask.tumor_ml > 0]
    if tumors:
        figures.append(("Volume of the tumor", histogram(tumors, "mL")))
    for number, image in enumerate(data.facts[0].images):
        figures.append((f"Intensity of {image.modality}", curves([c.images[number].histogram for c in data.facts])))
    drawn = "".join(f"<figure><figcaption>{escape(a)}</figcaption>{b}</figure>" for a, b in figures)
    note = (
        f"Intensity inside the {kind} after normalization, from empty space (dark) to the brightest (bright): the line "
        "is the median of the cases, the band holds the middle 80 percent of them."
    )
    inside = f'<div class="charts">{drawn}</div><p class="soft">{note}</p>'
    return _section("charts", "The dataset in numbers", inside)


def _cases(out: Path, data: ReportData) -> str:
    flags: dict[str, list[Flag]] = {}
    for flag in data.flags:
        flags.setdefault(flag.case, []).append(flag)
    sections = [
        case_section(
            case,
            flags.get(case.id, ()),
            data.splits.get(case.id),
            data.left_out.get(case.id),
            data.template.scheme,
            _pictures(out, case.id),
        )
        for case in data.facts
    ]
    known = {case.id for case in data.facts}
    unseen = [(case, reason) for case, reason in data.left_out.items() if case not in known]
    rest = "".join(f'<li class="out"><b>{escape(case)}</b>{escape(reason)}</li>' for case, reason in unseen)
    more = f'<h2>Left out before they were prepared</h2><ul class="flags">{rest}</ul>' if rest else ""
    note = (
        "As training sees them, in radiological convention (the patient's right is on the left), with the mask "
        "outlined. The small pictures lead to the contact sheet of the case."
    )
    only = (
        '<input type="checkbox" id="flagged-only">'
        '<label class="filter" for="flagged-only">Only cases with something to check</label>'
    )
    inside = f'<p class="soft">{note}</p>{_legend(data)}{only}<div class="cases">{"".join(sections)}</div>{more}'
    return _section("table", "All cases", _all_cases(data, flags)) + _section("cases", "Case by case", inside)


def _all_cases(data: ReportData, flags: Mapping[str, Sequence[Flag]]) -> str:
    """The table of all cases."""
    kind = data.facts[0].mask.kind.capitalize() if data.facts else "Head"
    columns = ("Case", "Patient", "Split", "Voxels, mm", f"{kind}, mL", "Tumor, mL", "Cut off, mL", "To check")
    head = "".join(f'<th scope="col"{NUMBER if k > 3 else ""}>{name}</th>' for k, name in enumerate(columns))
    rows = ""
    for case in data.facts:
        warnings = sum(flag.severity == WARNING for flag in flags.get(case.id, ()))
        rows += case_row(case, warnings, data.splits.get(case.id))
    return _table(rows, f"<thead><tr>{head}</tr></thead>")


def _legend(data: ReportData) -> str:
    """The colors of the outlines."""
    entries = "".join(
        f'<li><span style="background: rgb{label.color}"></span>{escape(label.name)}</li>'
        for label in data.template.scheme.labels
    )
    return f'<ul class="legend">{entries}</ul>'


def _pictures(out: Path, case: str) -> tuple[str, str] | None:
    """Addresses of strip and sheet of a case, relative to the page; None where they are not there."""
    names = strip_name(case), sheet_name(case)
    if not all((out / PICTURES / name).is_file() for name in names):
        return None
    strip, sheet = (f"{PICTURES}/{quote(name)}" for name in names)
    return strip, sheet


def _made(data: ReportData) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in data.options_text.items()
    )
    foot = "<footer>Written by MedDDPM. For research only, not for diagnosis or treatment.</footer>"
    return _section("made", "How it was made", _table(rows)) + "</main>" + foot


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
