"""``dataset.json`` of a prepared dataset: what is in it, figures over the training cases, and how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..config import MaskPrior
from ..dataset import DatasetConfig, PreparedCase
from .facts import CaseFacts
from .options import grid_text
from .plan import Plan
from .split import TRAIN
from .stored import METHOD

# The prior spans the training masks' 1st to 99th percentile, widened on both sides by this factor.
PRIOR_MARGIN = 1.25


def describe(
    plan: Plan,
    facts: Sequence[CaseFacts],
    splits: Mapping[str, str],
    left_out: Mapping[str, str],
    tensors: Mapping[str, str | None],
) -> DatasetConfig:
    """The description of the cases in ``splits`` (case id -> split). Prior and statistics come from training cases; a
    dataset for testing only has statistics of all, and no prior.

    ``tensors``: case id -> SHA-256 of its file of tensors.
    """
    used = [fact for fact in facts if fact.id in splits]
    trained = [fact for fact in used if splits[fact.id] == TRAIN]
    affines = {fact.id: fact.grid_affine for fact in used}
    template = plan.template
    return DatasetConfig(
        scheme=template.scheme,
        grid=template.grid,
        modalities=template.modalities,
        cases=tuple(
            PreparedCase(case.id, splits[case.id], case.patient, affines[case.id])
            for case in plan.cases
            if case.id in splits
        ),
        mask_values=template.mask_values,
        background=template.background,
        normalization=template.normalization,
        prior=mask_prior(trained) if trained else None,
        statistics=statistics(trained or used),
        hashes={fact.id: {"tensors": tensors[fact.id], **_inputs(fact)} for fact in used},
        provenance=_provenance(plan, left_out),
    )


def mask_prior(facts: Sequence[CaseFacts]) -> MaskPrior:
    """The plausible range of masks, from those of the training cases."""
    extents = [_range([fact.mask.extent_mm[axis] for fact in facts]) for axis in range(3)]
    return MaskPrior(
        outline_ml=_range([fact.mask.outline_ml for fact in facts]),
        tumor_ml=(0.0, _range([fact.mask.tumor_ml for fact in facts])[1]),
        outline_extent_mm=(extents[0], extents[1], extents[2]),
    )


def statistics(facts: Sequence[CaseFacts]) -> dict[str, Any]:
    """Smallest, median and largest figure over cases: sizes (mL) and, a modality, the intensities of its files.

    ``low`` and ``high`` are what became -1 and +1; ``mean`` and ``std`` are of the scaled images inside the outline.
    """
    images: dict[str, dict[str, list[float]]] = {}
    for fact in facts:
        for image in fact.images:
            figures = images.setdefault(image.modality, {})
            for name in ("low", "high", "mean", "std"):
                figures.setdefault(name, []).append(getattr(image, name))
    return {
        "cases": len(facts),
        "patients": len({fact.patient for fact in facts}),
        "outline_ml": _spread([fact.mask.outline_ml for fact in facts]),
        "tumor_ml": _spread([fact.mask.tumor_ml for fact in facts]),
        "lost_ml": _spread([fact.mask.lost_ml for fact in facts]),
        "images": {
            modality: {name: _spread(values) for name, values in figures.items()}
            for modality, figures in images.items()
        },
    }


def _provenance(plan: Plan, left_out: Mapping[str, str]) -> dict[str, Any]:
    """How the dataset was made. Names of folders above the source are nobody's business and stay out."""
    options = plan.options
    return {
        "source": options.note or Path(options.source).resolve().name,
        "layout": plan.layout,
        "medddpm": __version__,
        "method": METHOD,
        "options": {
            "scheme": plan.template.scheme.name,
            "grid": grid_text(plan.template.grid),
            "register": options.register,
            "template": None if options.template is None else Path(options.template).name,
            "intensities": options.intensities,
            "outline": options.outline,
            "labels": options.labels,
            "validation": options.validation,
            "test": options.test,
            "seed": options.seed,
        },
        "left_out": dict(left_out),
    }


def _inputs(fact: CaseFacts) -> dict[str, str | None]:
    return {**{image.modality: image.sha256 for image in fact.images}, "mask": fact.mask.sha256}


def _range(values: list[float]) -> tuple[float, float]:
    low, high = np.percentile(values, [1, 99])
    return float(low / PRIOR_MARGIN), float(high * PRIOR_MARGIN)


def _spread(values: list[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in (min(values), float(np.median(values)), max(values))]
