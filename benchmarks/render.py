"""Writes the tables of ``docs/benchmarks.md`` from the result files, so that no figure is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medddpm.errors import InputError
from medddpm.files import write_text

from .common import RESULTS, load

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TITLES = {
    "cpu": "One evaluation",
    "volumes": "Whole volumes",
    "worker": "Warm worker",
    "sweep": "Samplers and steps",
    "gpu": "GPU",
    "training": "Training",
}


def render(page: Path = PAGE, results: Path = RESULTS) -> None:
    """Replace what is between the markers of ``page`` by the tables of all result files in ``results``."""
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as exc:
        raise InputError(f"The page {page} cannot be read: {exc.strerror}. Restore it from the repository.") from exc
    if BEGIN not in text or END not in text:
        raise InputError(f"{page} has lost its lines '{BEGIN}' and '{END}', between which the tables go. Restore them.")
    head, tail = text.split(BEGIN, 1)[0], text.split(END, 1)[1]
    files = sorted(Path(results).glob("*.json"))
    body = "\n\n".join(device_section(load(path)) for path in files)
    write_text(page, f"{head}{BEGIN}\n\n{body or 'Nothing has been measured yet.'}\n\n{END}{tail}")


def device_section(content: Mapping[str, Any]) -> str:
    """The section of one result file."""
    suites = [suite_section(name, suite) for name, suite in content["suites"].items()]
    return "\n\n".join([f"## {content['device']}", *suites])


def suite_section(name: str, suite: Mapping[str, Any]) -> str:
    """The section of one command: what ran where, its tables, what was required of it, and its notes."""
    parts = [f"### {TITLES.get(name.split(':')[0], name)}", _origin(suite)]
    parts += [markdown_table(table["title"], table["columns"], table["rows"]) for table in suite["tables"]]
    if suite["requirements"]:
        parts.append(_requirements(suite["requirements"]))
    return "\n\n".join([*parts, *suite["notes"]])


def _origin(suite: Mapping[str, Any]) -> str:
    facts = suite["machine"]
    bf16 = ", ".join(facts["bf16"]) or "no bf16 instructions"
    gpu = f", {facts['gpu']} (CUDA {facts['cuda']}, cuDNN {facts['cudnn']})" if "gpu" in facts else ""
    load_average = facts["load_average"]
    busy = "" if load_average is None else f", load {load_average:.1f} by other work when it began"
    cores = f"{facts['cores']} core{'s' * (facts['cores'] != 1)}, threads: {facts['threads']}"
    where = f"{facts['cpu']} ({bf16}), {cores}, torch {facts['torch']}{gpu}"
    return f"`{suite['command']}`, {suite['date'][:10]}: {where}{busy}."


def _requirements(requirements: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            r["what"],
            f"{r['bound']} {number(r['limit'])} {r['unit']}",
            f"{number(r['measured'])} {r['unit']}",
            "met" if r["met"] else "missed",
        )
        for r in requirements
    ]
    return markdown_table("", ("required", "bound", "measured", ""), rows)


def markdown_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table under a bold title; numbers to three digits, aligned to the right."""
    numeric = [all(_is_number(row[i]) or row[i] is None for row in rows) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(columns) + " |",
        "| " + " | ".join("---:" if right else "---" for right in numeric) + " |",
        *("| " + " | ".join(number(value) for value in row) + " |" for row in rows),
    ]
    return "\n".join([f"**{title}**", "", *lines] if title else lines)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: Any) -> str:
    """A figure for reading: three significant digits, thousands in full, an en dash for what was not measured."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
