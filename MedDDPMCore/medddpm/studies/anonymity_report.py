"""The anonymity study as a page, as CSV, as Markdown, and as JSON for a release."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ..files import csv_text, write_text
from ..page import Cell, markdown_table, render
from ..version import __version__
from .agreement import Share
from .anonymity import Anonymity

PAGE, CSV, MARKDOWN, JSON = (f"anonymity.{end}" for end in ("html", "csv", "md", "json"))
HEAD = ("Model", "Anatomy", "What is compared", "Cases", "Linked", "Share linked (95 % interval)", "By chance")
TITLE = "Anonymity: do synthetic cases lead back to patients?"
LIMITS = (
    "What this cannot show: that nobody can link a case. The attacker here compares coarse images and masks, mirrored "
    "ones too, and takes the nearest patient; others may know more, or compare better. A mask that is released as it "
    "was painted identifies its patient to anyone who has it. These are masks of held-out patients: cases made from "
    "masks of training patients may be easier to link."
)


def write_anonymity(found: Anonymity) -> Path:
    """Write page, CSV, Markdown and JSON into the study's folder; returns the path of the page."""
    out = Path(found.request.output)
    lines = [_line(*one, chance=1 / found.patients) for one in links(found)]
    write_text(out / CSV, _csv(found))
    parts = [f"# {TITLE}", _made(found), LIMITS, *found.doubts, markdown_table(HEAD, lines)]
    write_text(out / MARKDOWN, "\n\n".join(parts) + "\n")
    models = {
        weights: [
            {"anatomy": anatomy, "attack": attack, "linked": share.hits, "cases": share.cases}
            for model, anatomy, attack, share in links(found)
            if model == name
        ]
        for name, weights in found.weights.items()
    }
    record = {"dataset": found.dataset, "patients": found.patients, "models": models}
    write_text(out / JSON, json.dumps(record, indent=1) + "\n")
    page = render(
        "study.html.jinja",
        title=TITLE,
        notice="Names of cases are those of the dataset: keep this page with it.",
        made=_made(found),
        limits=LIMITS,
        doubts=found.doubts,
        parts=[("", HEAD, [[*line[:3], *(Cell(text, "number") for text in line[3:])] for line in lines], "")],
        pictured=(),
        tables=(CSV, MARKDOWN, JSON),
        version=__version__,
    )
    write_text(out / PAGE, page)
    return out / PAGE


def links(found: Anonymity) -> Iterator[tuple[str, str, str, Share]]:
    """Model, anatomy, attack, and the share of its cases that are linked to their patient."""
    for key in dict.fromkeys((link.model, link.anatomy, link.attack) for link in found.links):
        own = [link for link in found.links if (link.model, link.anatomy, link.attack) == key]
        yield *key, Share(sum(link.linked for link in own), len(own))


def _line(model: str, anatomy: str, attack: str, share: Share, chance: float) -> list[str]:
    low, high = share.interval
    told = f"{share.value:.0%} ({low:.0%} to {high:.0%})"
    return [model, anatomy, attack, str(share.cases), str(share.hits), told, f"{chance:.0%}"]


def _made(found: Anonymity) -> str:
    network = f" Features are those of {found.network}." if found.network else ""
    return (
        f"Every sample made from the masks of the split '{found.request.split}' of {found.dataset} is linked to the "
        f"nearest of {found.patients} patients by correlation, averaged to 24 voxels a side, less the mean over these "
        f"patients. Linked: the nearest is the patient whose mask it was made from. 'Beyond the mask': what is left of "
        f"an image after the mean intensities of its labels are subtracted.{network}"
    )


def _csv(found: Anonymity) -> str:
    lines: list[list[str | float | None]] = [
        ["model", "anatomy", "attack", "case", "seed", "nearest_case", "similarity", "others", "linked"]
    ]
    for link in found.links:
        near = link.nearest
        of = [link.model, link.anatomy, link.attack, link.case]
        lines.append([*of, link.seed, near.case, near.similarity, near.others, "yes" if link.linked else "no"])
    return csv_text(lines)
