"""The table of cases and the data card of a release."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..files import FORMULA
from ..geometry.volume import voxel_ml
from ..labels.scheme import LabelScheme
from ..models.model import Model
from ..page import markdown_table
from ..parse import printable
from ..synthesis.provenance import INTENSITY, STATEMENT
from ..version import __version__
from .agreement import Share
from .release_layout import Case, Layout
from .release_request import ReleaseRequest

FACTS = ("map", "mirrored", "mass_effect", "midline_shift_mm", "ventricles_before_ml", "ventricles_after_ml")
PAPER = (
    "Z. Dorjsembe, H.-K. Pao, S. Odonchimed, F. Xiao: Conditional Diffusion Models for Semantic 3D Brain MRI "
    "Synthesis. IEEE Journal of Biomedical and Health Informatics 28 (7), 2024. doi:10.1109/JBHI.2024.3385504"
)


def manifest(cases: Sequence[Case], layout: Layout, scheme: LabelScheme) -> str:
    """A line for each case: its number, that of its mask, its seed, volumes of the tumor's parts, and its anatomy."""
    parts = [label for label in scheme.labels if label.tumor]
    volumes = [f"{label.name.casefold().replace(' ', '_')}_ml" for label in parts]
    facts = FACTS if cases[0].anatomy else ()
    lines = [["participant_id", "mask_group", "seed", *volumes, *(name.replace("map", "brain_map") for name in facts)]]
    for case in cases:
        ml = voxel_ml(case.labels.affine)
        counts = [f"{np.count_nonzero(case.labels.data == label.value) * ml:.2f}" for label in parts]
        told = [_cell(case.anatomy.get(name)) for name in facts]
        lines.append([layout.case_id(case), str(case.group), str(case.made["seed"]), *counts, *told])
    return "\n".join("\t".join(line) for line in lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "n/a"
    return f"{value:.2f}" if isinstance(value, float) else printable(str(value)).lstrip("".join(FORMULA))


def card(
    cases: Sequence[Case],
    layout: Layout,
    asked: ReleaseRequest,
    model: Model,
    studies: dict[str, Any],
    facts: dict[str, Any],
) -> str:
    """README.md: what the data set is, how it was made, what it must not be used for, and what the studies found."""
    config, grid = model.config, model.config.grid
    voxels = " x ".join(f"{mm:g}" for mm in grid.spacing)
    masks = len({case.group for case in cases})
    settings = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items() if value is not None)
    authors = [f"Released by {', '.join(asked.author)}."] if asked.author else []
    parts = [
        f"# {asked.title}",
        f"**{STATEMENT}**",
        f"{len(cases)} synthetic cases made from {masks} masks: {', '.join(layout.modalities)}, "
        f"{' x '.join(map(str, grid.shape))} voxels of {voxels} mm. {' '.join(authors)}".rstrip(),
        "## What it is for",
        "Developing and testing image analysis, teaching, and augmenting training data. Not for diagnosis, treatment "
        "or any conclusion about a person; not for estimating how often something occurs; not as the only test data of "
        "a method that is to work on patients. Do not try to link cases to patients.",
        "## Files",
        markdown_table(("File", "What it is"), [(f"`{file}`", what) for file, what in layout.files]),
        f"Images: {INTENSITY}. Intensities have no physical unit. Cases with the same `mask_group` were made from the "
        "same mask: keep them on the same side of every split. `sha256sum -c SHA256SUMS` checks all files.",
        "## How it was made",
        f"MedDDPM {__version__}, model '{config.name}' (weights {model.weights_hash[:16]}, license {config.license}): "
        f"conditional diffusion, the mask concatenated to the noisy image at every step ({PAPER}). Settings: "
        f"{settings}. The seed of each case is in `provenance/`. Outline and tumor are those of the masks. "
        + _inner(cases),
        f"The model's intended use: {config.intended_use}",
        "## Memorization",
        _memorization(studies["memorization"]),
        "## Anonymity",
        *_anonymity(studies["anonymity"]),
        "## License",
        "See LICENSE.",
    ]
    return "\n\n".join(parts) + "\n"


def _inner(cases: Sequence[Case]) -> str:
    """Where the anatomy inside of the outline comes from."""
    if not cases[0].anatomy:
        return "What is inside comes from the model."
    own = sum(case.anatomy.get("map") is None for case in cases)
    invented = sum(bool(case.record.get("outline_invented")) for case in cases)
    words = "Ventricles, cortex and all other tissues are from the bank: of another brain, fitted to the outline and "
    words += "displaced by the tumor."
    words += f" In {own} cases they were part of the mask, so they are of that patient." if own else ""
    return words + (f" In {invented} cases the outline is from the bank, too." if invented else "")


def _memorization(found: dict[str, int]) -> str:
    share = Share(found["copies"], found["samples"])
    low, high = share.interval
    return (
        f"Of {found['samples']} samples of held-out masks, {found['copies']} were copies of one of "
        f"{found['training_cases']} training cases ({share.value:.0%}, exact 95 % interval {low:.0%} to {high:.0%}). "
        "Found by 'medddpm study memorization', which compares whole images: it does not show that nothing of a "
        "training case is remembered."
    )


def _anonymity(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return [
            "**Not measured.** The outline of the brain and the tumor of each case are those of a mask. Whoever has "
            "that mask, or the scan that it was drawn on, may recognize it."
        ]
    lines = []
    for anatomy, attack, linked, cases in found["links"]:
        share = Share(linked, cases)
        low, high = share.interval
        lines.append((anatomy, attack, f"{linked} of {cases}", f"{share.value:.0%} ({low:.0%} to {high:.0%})"))
    return [
        f"Samples of this model, made from masks of held-out patients, linked to the nearest of {found['patients']} "
        f"patients by an attacker who has all their scans and masks (by chance: {1 / found['patients']:.0%}).",
        markdown_table(("Anatomy", "What is compared", "Linked", "Share (95 % interval)"), lines),
        "A mask identifies its patient to anyone who has it, unless it was changed.",
    ]
