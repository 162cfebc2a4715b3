"""The memorization study as a page, as CSV and as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..files import csv_text, write_text
from ..page import Cell, markdown_table, render
from ..training.monitor.neighbors import COPY, MARGIN
from ..version import __version__
from .agreement import Share
from .memorization import RESIDUAL, Memorization, Pair

PAGE, CSV, MARKDOWN = "memorization.html", "memorization.csv", "memorization.md"
JSON = "memorization.json"  # for a release
SHARES = ("Model", "Space", "Samples", "Copies", "Share of copies (95 % interval)", "Nearest beyond the real image")
LIMITS = (
    "What this cannot show: that no training case is remembered. It sees whole images only, not parts of one or "
    "mixtures of several, only copies as near as the spaces compared can tell, and only the samples that were made: of "
    "a model that copies rarely, few samples show no copy. The interval is about samples of these masks with this "
    "sampler. Real images of the same masks set the measure; of few of them, it is a coarse one."
)


def write_memorization(found: Memorization) -> Path:
    """Write page, CSV and Markdown into the study's folder; returns the path of the page."""
    out = Path(found.request.output)
    write_text(out / CSV, _csv(found))
    write_text(out / MARKDOWN, _markdown(found))
    write_text(out / JSON, json.dumps(_summary(found), indent=1) + "\n")
    pictured = [(_caption(pair), pair.picture) for pair in found.pairs if pair.picture]
    page = render(
        "study.html.jinja",
        title="Memorization: nearest training cases",
        notice="Rows marked REAL are images of patients: treat this page as you treat their scans. Rows marked "
        "SYNTHETIC are computed from masks.",
        made=_made(found),
        limits=LIMITS,
        doubts=found.doubts,
        parts=[
            ("", SHARES, [[*line[:2], *(Cell(text, "number") for text in line[2:])] for line in shares(found)], ""),
            (
                "Every sample",
                ("Model", "Space", "Mask of", "Seed", "Nearest training case", "Correlation", "Of the real image", ""),
                [_row(pair) for pair in found.pairs],
                "Of each model and space, the most suspicious first.",
            ),
        ],
        pictured=pictured,
        tables=(CSV, MARKDOWN),
        version=__version__,
    )
    write_text(out / PAGE, page)
    return out / PAGE


def shares(found: Memorization) -> list[list[str]]:
    """A line for each model and space."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for pair in found.pairs:
        groups.setdefault((pair.model, pair.space), []).append(pair)
    lines = []
    for (model, space), pairs in groups.items():
        copies = sum(pair.copy for pair in pairs)
        low, high = Share(copies, len(pairs)).interval
        share = f"{copies / len(pairs):.1%} ({low:.1%} to {high:.1%})"
        most = max(pair.excess for pair in pairs)
        lines.append([model, space, str(len(pairs)), str(copies), share, f"{most:+.2f}"])
    return lines


def _summary(found: Memorization) -> dict[str, Any]:
    """What a release has to know of each model, by the hash of its weights."""
    models = {}
    for name, weights in found.weights.items():
        own = [pair for pair in found.pairs if pair.model == name]
        copies = {(pair.case, pair.seed) for pair in own if pair.copy}
        models[weights] = {"samples": len({(pair.case, pair.seed) for pair in own}), "copies": len(copies)}
    return {"training_cases": found.training_cases, "dataset": found.dataset, "models": models}


def _made(found: Memorization) -> str:
    network = f"the features of {found.network}, standardized over the training cases" if found.network else ""
    spaces = " and ".join(filter(None, [f"'{RESIDUAL}' (what the mask does not tell, averaged to 24 voxels)", network]))
    return (
        f"Correlation of every sample with {found.training_cases} training cases of {found.dataset} and their mirror "
        f"images, in {spaces}. A copy is nearer to its nearest training case than the held-out real image of the same "
        f"mask is to its own by more than {MARGIN:g}, and stands out from the other cases by as much more or is above "
        f"{COPY:g}."
    )


def _row(pair: Pair) -> list[str | Cell]:
    kind = "error" if pair.copy else "number"
    numbers = Cell(f"{pair.nearest.similarity:.2f}", kind), Cell(f"{pair.of_real.similarity:.2f}", "number")
    return [pair.model, pair.space, pair.case, str(pair.seed), pair.nearest.case, *numbers, "copy" if pair.copy else ""]


def _caption(pair: Pair) -> str:
    told = "a copy" if pair.copy else "no copy"
    return (
        f"{pair.model}, {pair.space}: sample of {pair.case} (rows synthetic) and training case {pair.nearest.case} "
        f"(rows real), correlation {pair.nearest.similarity:.2f}, of the real image {pair.of_real.similarity:.2f}: "
        f"{told}."
    )


def _markdown(found: Memorization) -> str:
    parts = ["# Memorization: nearest training cases", _made(found), LIMITS, *found.doubts]
    return "\n\n".join([*parts, markdown_table(SHARES, shares(found))]) + "\n"


def _csv(found: Memorization) -> str:
    lines: list[list[str | float | None]] = [
        ["model", "space", "case", "seed", "training_case", "similarity", "others", "of_real", "real_others", "copy"]
    ]
    for pair in found.pairs:
        near, real = pair.nearest, pair.of_real
        known = [near.similarity, near.others, real.similarity, real.others]
        lines.append([pair.model, pair.space, pair.case, pair.seed, near.case, *known, "yes" if pair.copy else "no"])
    return csv_text(lines)
