"""``dataset.json`` of a prepared dataset: what is in it, the fingerprint of the training cases, how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..config import GridConfig, MaskPrior
from ..dataset import DatasetConfig, PreparedCase
from ..labels.scheme import LabelScheme
from ..version import __version__
from .facts import CaseFacts, Geometry, ImageFacts
from .options import grid_text
from .plan import TRAIN, Plan
from .stored import METHOD

PERCENTILES = (0.5, 50, 99.5)
SIDES = 16  # the strides of every preset divide a multiple of this
LEAST_SPACING = 0.5  # mm
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
        statistics=statistics(trained or used, template.scheme)
        | {"suggested_grid": grid_text(suggested_grid(used, template.grid))},
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


def statistics(facts: Sequence[CaseFacts], scheme: LabelScheme) -> dict[str, Any]:
    """The fingerprint of a dataset: smallest, median and largest figure over its cases.

    ``spacing_mm`` and ``voxels`` are of the image files, ``extent_mm`` of brain or head: right-left, front-back and
    foot-head. ``labels_ml``: by the name of the label, over the cases that have it. ``images``: by modality, ``low``
    and ``high``, what became -1 and +1; ``mean`` and ``std`` of the scaled images inside the outline; ``percentiles``
    of all cases together inside the outlines, in the files' units (from histograms of 32 bins).
    """
    images: dict[str, list[ImageFacts]] = {}
    for fact in facts:
        for image in fact.images:
            images.setdefault(image.modality, []).append(image)
    grids = [image.geometry for fact in facts for image in fact.images]
    labels = {
        label.name: [ml for fact in facts for value, ml in fact.mask.labels_ml if value == label.value and ml > 0]
        for label in scheme.labels
    }
    return {
        "cases": len(facts),
        "patients": len({fact.patient for fact in facts}),
        "spacing_mm": _spreads([_patient_axes(grid, grid.spacing) for grid in grids]),
        "voxels": _spreads([_patient_axes(grid, grid.shape) for grid in grids]),
        "extent_mm": _spreads([fact.mask.extent_mm for fact in facts]),
        "outline_ml": _spread([fact.mask.outline_ml for fact in facts]),
        "tumor_ml": _spread([fact.mask.tumor_ml for fact in facts]),
        "lost_ml": _spread([fact.mask.lost_ml for fact in facts]),
        "labels_ml": {name: _spread(found) for name, found in labels.items() if found},
        "images": {
            modality: {
                **{name: _spread([getattr(image, name) for image in found]) for name in ("low", "high", "mean", "std")},
                "percentiles": _percentiles(found),
            }
            for modality, found in images.items()
        },
    }


def suggested_grid(facts: Sequence[CaseFacts], grid: GridConfig) -> GridConfig:
    """The smallest grid along the axes of ``grid`` that holds the outline of every case, with sides of ``SIDES``.

    Its voxels are cubes of the images' median volume.
    """
    volumes = [math.prod(image.geometry.spacing) for fact in facts for image in fact.images]
    side = max(LEAST_SPACING, float(f"{np.median(volumes) ** (1 / 3):.2g}"))
    extent = np.max([fact.mask.extent_mm for fact in facts], axis=0)
    sizes = [math.ceil((extent[_axis(code)] / side + 2) / SIDES) * SIDES for code in grid.orientation]
    return replace(grid, shape=(sizes[0], sizes[1], sizes[2]), spacing=(side, side, side))


def _axis(code: str) -> int:
    return "LRAPSI".index(code) // 2


def _patient_axes(grid: Geometry, values: Sequence[float]) -> list[float]:
    """Values along the array axes of ``grid`` in the order right-left, front-back, foot-head."""
    return [value for _, value in sorted(zip(map(_axis, grid.orientation), values, strict=True))]


def _percentiles(images: Sequence[ImageFacts]) -> dict[str, float]:
    centers = [
        image.low + (np.arange(len(image.histogram)) + 0.5) / len(image.histogram) * (image.high - image.low)
        for image in images
    ]
    values, counts = np.concatenate(centers), np.concatenate([image.histogram for image in images])
    filled = np.flatnonzero(counts)
    order = filled[np.argsort(values[filled])]
    below = np.cumsum(counts[order]) - counts[order] / 2
    found = np.interp(np.array(PERCENTILES) / 100 * counts.sum(), below, values[order]) if len(order) else [0.0] * 3
    return {f"{share:g}": float(f"{value:.4g}") for share, value in zip(PERCENTILES, found, strict=True)}


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


def _spreads(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    return [_spread(list(column)) for column in zip(*rows, strict=True)]


def _spread(values: list[float]) -> list[float]:
    return [float(f"{value:.6g}") for value in (min(values), float(np.median(values)), max(values))]
