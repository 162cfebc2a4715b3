"""A whole anatomy for a mask that has part of one: tumor and brain, tumor alone, or some tissues."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import InputError
from ..geometry.volume import Volume, spacing_of, voxel_ml
from ..labels.findings import listed, milliliters
from ..labels.morphology import bounding_box, erode, fill_holes, largest
from ..labels.scheme import load_scheme
from .brain_maps import BRAIN, CSF, TISSUES, VENTRICLES, BrainMap, bank_map, given_map
from .continuation import continued
from .lattice import lattice_around
from .mass_effect import push
from .placement import place_brain
from .registration import Fit, Outline, outline_of, register
from .warping import ENOUGH, deformed, fill, warp_fractions

TUMOR, EDEMA = (1, 2, 3), 2
BRAIN_ML = (300.0, 2500.0)  # what a brain with its fluid can be, from infants to the largest adults
LONGEST_MM = 230.0
FLATTEST = 0.5  # extent in the shortest direction by that in the longest
LARGEST_TUMOR = 0.5  # of the brain
COMPLETE = 0.05  # of the brain may be without tissue
HOLE_MM = 3.0  # what is without tissue and wider than twice this is filled all the same
DRAWN_ML = 1.0  # from this volume on, a tissue drawn into an else empty brain is all that there is of it
SAME_DICE = 0.97  # a label map whose outline agrees so well belongs to this very brain
POOR_DICE = 0.95
KEPT_FITS = 4
_FITS: dict[bytes, Fit] = {}


@dataclass(frozen=True)
class Anatomy:
    """A brain in which every voxel has its tissue, on the grid of the mask.

    ``fractions``: (11, X, Y, Z) float32 in the order of the values 1 to 11 of the scheme glioma-anatomy; they sum to 1
    inside of the brain and to 0 outside. ``labels``: the largest of them, uint8. ``facts``, for the record: ``map``
    (its name in the bank, or None), ``mirrored``, ``outline_dice`` (None where nothing was fitted), ``mass_effect``
    (the strength applied), ``ventricles_before_ml`` and ``ventricles_after_ml`` (without the tumor, and with it),
    ``midline_shift_mm`` (positive toward the patient's right). ``sentences`` say what was assumed.
    """

    fractions: np.ndarray
    labels: Volume
    facts: Mapping[str, Any] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Layout:
    """A brain map laid into the mask: where each point of the target's lattice lies in it (RAS mm)."""

    target: Outline
    points: np.ndarray
    dice: float | None
    sentences: tuple[str, ...]


def complete_anatomy(labels: Volume, seed: int, *, mass_effect: float = 1.0, source: Volume | None = None) -> Anatomy:
    """Give every voxel of the brain its tissue.

    ``labels``: (X, Y, Z) whole numbers, values of the scheme glioma-anatomy, any grid (voxel index -> RAS mm). The
    tumor stays, and so does what has a tissue already. The brain without tissue (4) is filled from a map of the bank,
    which ``seed`` chooses, mirrors and deforms, fitted to the outline and pushed aside by the tumor with the strength
    ``mass_effect`` (0 to 1); a gap in a brain that has most of its tissue, from its other side (see ``continued``).
    ``source`` is a label map to take in place of the bank's, in FreeSurfer's or SynthSeg's numbers or in values of the
    scheme; it is fitted unless it is of this brain. A mask without brain gets that of the map. Tissues that are given
    are not pushed. Raises InputError where the mask can be no brain with a tumor, or the source no brain.
    """
    data, affine = _checked(labels), np.asarray(labels.affine, np.float64)
    if not 0 <= mass_effect <= 1:
        raise InputError(f"The strength of the mass effect is {mass_effect:g}. Choose a number from 0 to 1.")
    if not _is_open(data, labels.spacing):
        return _as_given(data, affine)
    rng = np.random.default_rng(seed)
    chosen = bank_map(rng) if source is None else given_map(source)
    layout = _fitted(chosen, data, affine) if (data >= BRAIN).any() else _laid(chosen, data > 0, affine, rng)
    rest = (data == BRAIN) if (data >= BRAIN).any() else layout.target.brain & (data == 0)
    # Tissue that is there already cannot be pushed, so in a brain that has most of its tissue nothing is.
    sparse = bool(rest.sum() > (data > BRAIN).sum())
    strength = float(mass_effect) if sparse and ((data > 0) & (data < BRAIN)).any() else 0.0
    points, before, shift = _moved(chosen, layout, data, rng, strength)
    shares, mirrored = warp_fractions(chosen.tissues, points, layout.target), 0.0
    if not sparse:
        shares, mirrored = continued(data, shares, layout.target, mirror=source is None)
    kept = _kept(data, voxel_ml(affine)) if sparse else TISSUES[1:]
    if sparse and kept:
        _without(shares, kept, rest)
    fractions, labeled = _with_rest(data, rest, shares[:, rest])
    facts = {
        **{"map": chosen.name, "mirrored": chosen.mirrored, "outline_dice": layout.dice, "mass_effect": strength},
        **{"ventricles_before_ml": None if VENTRICLES in kept else before, "midline_shift_mm": shift},
    }
    said = (
        *chosen.sentences,
        *layout.sentences,
        *_about_given(kept, sparse, np.count_nonzero(rest) * voxel_ml(affine), mirrored),
    )
    return _anatomy(fractions, Volume(labeled, affine), facts, said)


def _moved(
    chosen: BrainMap, layout: _Layout, data: np.ndarray, rng: np.random.Generator, strength: float
) -> tuple[np.ndarray, float, float]:
    """The layout's points after variation and mass effect; ventricles before it (mL); midline shift (mm)."""
    target, points = layout.target, layout.points
    if chosen.name is not None:
        points = target.lattice.sample(points, deformed(target, rng))
    fluids = _fluids(chosen.tissues, target, points)
    before = round(float(fluids[0][target.depth > 0].sum()) * target.lattice.step**3 / 1000, 2)
    if strength == 0:
        return points, before, 0.0
    core = (data > 0) & (data < BRAIN) & (data != EDEMA)
    pushed = push(target, core, data == EDEMA, fluids, strength)
    return target.lattice.sample(points, pushed.origins), before, round(pushed.midline_shift, 2)


def _with_rest(data: np.ndarray, rest: np.ndarray, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fractions and labels of ``data`` with the shares ``filled`` (8, N) in the voxels ``rest``."""
    fractions, labels = _indicators(data), data.copy()
    filled[0, filled.sum(axis=0) < ENOUGH] = 1  # pieces apart from the brain, which the map does not reach
    fractions[len(TUMOR) :, rest] = filled
    labels[rest] = filled.argmax(axis=0) + BRAIN
    return fractions, labels


def _about_given(kept: tuple[int, ...], sparse: bool, gap: float, mirrored: float) -> tuple[str, ...]:
    """What was done with the tissues that the mask has: ``gap`` (mL) without, of which a share ``mirrored``."""
    if not sparse:
        other = f" ({mirrored:.0%} of it the other side of this brain)" if mirrored else ""
        return (f"{milliliters(gap)} of the brain had no tissue label and was filled to continue the rest{other}.",)
    return (f"Kept as in the mask, with none added from the map: {_names(kept)}.",) if kept else ()


def _checked(labels: Volume) -> np.ndarray:
    """The labels as uint8. Raises InputError for values that the scheme does not have, and for an empty mask."""
    data = labels.data
    values = np.unique(data)
    unknown = [f"{v:g}" for v in values if v != round(v) or not 0 <= v <= TISSUES[-1]]
    if unknown:
        raise InputError(
            f"The mask has values that label scheme 'glioma-anatomy' does not have: {listed(unknown)}. Convert it to "
            "values from 0 to 11."
        )
    if not values.any():
        raise InputError("The mask is empty: it has neither tumor nor brain. Choose another one.")
    return data.astype(np.uint8)


def _is_open(data: np.ndarray, spacing: tuple[float, float, float]) -> bool:
    """Whether tissues are missing: in more than a few voxels, or in a whole region."""
    rest = data == BRAIN
    if not (data > BRAIN).any() or np.count_nonzero(rest) > COMPLETE * np.count_nonzero(data >= BRAIN):
        return True
    return bool(rest.any() and erode(rest, HOLE_MM, spacing).any())


def _as_given(data: np.ndarray, affine: np.ndarray) -> Anatomy:
    facts = {
        **{"map": None, "mirrored": False, "outline_dice": None, "mass_effect": 0.0},
        **{"ventricles_before_ml": None, "midline_shift_mm": 0.0},
    }
    said = ["The tissues of the mask are used unchanged, without mass effect."]
    size = np.count_nonzero(data) * voxel_ml(affine)
    if size < BRAIN_ML[0]:
        said.append(
            f"They make up {milliliters(size)}, less than a brain. Label the rest of the brain as brain without tissue "
            "(4) to have it completed."
        )
    return _anatomy(_indicators(data), Volume(data, affine), facts, tuple(said))


def _fitted(chosen: BrainMap, data: np.ndarray, affine: np.ndarray) -> _Layout:
    """The map fitted to the mask's outline. Raises InputError for an outline that no brain can have."""
    box = bounding_box(data > 0)
    inside = np.zeros(data.shape, bool)
    inside[box] = largest(fill_holes(data[box] > 0))
    target = outline_of(inside, affine)
    _require_brain(inside, target)
    tumor = (data > 0) & (data < BRAIN)
    _require_room(tumor, inside)
    sentences = []
    stray = np.count_nonzero(tumor & ~inside) * voxel_ml(affine)
    if stray:
        sentences.append(f"{milliliters(stray)} of the tumor lie outside of the brain; there is no tissue around them.")
    source_share = target.lattice.from_grid(chosen.tissues.data > 0, chosen.tissues.affine)
    if chosen.name is None and _dice(source_share > 0.5, target.depth > 0) >= SAME_DICE:
        return _Layout(target, target.lattice.points(), None, tuple(sentences))
    fit = _registered(chosen.tissues, target)
    if fit.dice < POOR_DICE:
        sentences.append(
            f"The map fits the outline of the mask poorly (Dice {fit.dice:.2f}). Is it the outline of a whole brain?"
        )
    return _Layout(target, fit.points, round(fit.dice, 4), tuple(sentences))


def _registered(tissues: Volume, target: Outline) -> Fit:
    """As ``register``; the last fits are kept, since a tumor that is painted larger leaves the outline as it is."""
    key = hashlib.sha256()
    for part in (tissues.data, tissues.affine, np.packbits(target.brain), target.affine):
        key.update(np.ascontiguousarray(part).data)
    fit = _FITS.pop(key.digest(), None) or register(tissues, target)
    _FITS[key.digest()] = fit
    while len(_FITS) > KEPT_FITS:
        del _FITS[next(iter(_FITS))]
    return fit


def _require_brain(inside: np.ndarray, target: Outline) -> None:
    """Raise InputError where ``inside`` can be no brain by its volume, length, or flatness."""
    size = np.count_nonzero(inside) * voxel_ml(target.affine)
    sides = np.array([s.stop - s.start for s in bounding_box(inside)]) * spacing_of(target.affine)
    spread = np.linalg.eigvalsh(np.cov(target.lattice.points()[:, target.depth > 0]))
    flat = target.known.all() and spread[0] < FLATTEST**2 * spread[-1]
    if not BRAIN_ML[0] <= size <= BRAIN_ML[1] or sides.max() > LONGEST_MM or flat:
        measures = " x ".join(f"{s:.0f}" for s in sides)
        raise InputError(
            f"The brain outline of the mask has {milliliters(size)} and measures {measures} mm, which is not plausible "
            "for a brain. Check the outline and the spacing of the mask."
        )


def _require_room(tumor: np.ndarray, brain: np.ndarray) -> None:
    share = float(tumor.sum() / brain.sum())
    if share > LARGEST_TUMOR:
        raise InputError(
            f"The tumor is {share:.0%} of the brain, which is not plausible. Check the labels of the mask."
        )


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum()))


def _laid(chosen: BrainMap, tumor: np.ndarray, affine: np.ndarray, rng: np.random.Generator) -> _Layout:
    """The brain of the map around the tumor."""
    placed = place_brain(chosen.tissues, tumor, affine, rng)
    _require_room(tumor, placed.brain)
    target = outline_of(placed.brain, affine)
    points = target.lattice.points() - placed.shift.astype(np.float32)[:, None, None, None]
    return _Layout(target, points, None, placed.sentences)


def _fluids(tissues: Volume, target: Outline, points: np.ndarray) -> np.ndarray:
    """Shares of ventricles and of other fluid at the target's lattice points, (2, X, Y, Z)."""
    lattice = lattice_around(tissues.data > 0, tissues.affine)
    shares = [lattice.from_grid(tissues.data == value, tissues.affine) for value in (VENTRICLES, CSF)]
    return lattice.sample(np.stack(shares), points)


def _kept(data: np.ndarray, volume: float) -> tuple[int, ...]:
    """Tissues of the mask that are whole, though most of its brain is without tissue."""
    counts = np.bincount(data.ravel(), minlength=TISSUES[-1] + 1)
    return tuple(value for value in TISSUES[1:] if counts[value] * volume >= DRAWN_ML)


def _names(values: tuple[int, ...]) -> str:
    scheme = load_scheme("glioma-anatomy")
    return listed([scheme.label(value).name.lower() for value in values])


def _without(shares: np.ndarray, values: tuple[int, ...], rest: np.ndarray) -> None:
    """Give what ``shares`` (8, X, Y, Z) have of ``values`` in ``rest`` to the other tissues there."""
    shares[[value - BRAIN for value in values]] = 0
    total = shares.sum(axis=0)
    covered = rest & (total >= ENOUGH)
    shares *= np.where(covered, 1 / np.maximum(total, ENOUGH), 0)
    fill(shares, covered, rest)


def _indicators(data: np.ndarray) -> np.ndarray:
    """Each value of the scheme as its own channel, (11, X, Y, Z) float32."""
    return np.stack([data == value for value in (*TUMOR, *TISSUES)]).astype(np.float32)


def _anatomy(fractions: np.ndarray, labels: Volume, facts: dict[str, Any], sentences: tuple[str, ...]) -> Anatomy:
    """The result; where the mask brought its own ventricles, they are the same before and after."""
    after = round(float(fractions[VENTRICLES - 1].sum(dtype=np.float64)) * voxel_ml(labels.affine), 2)
    before = facts["ventricles_before_ml"]
    ventricles = {"ventricles_before_ml": after if before is None else before, "ventricles_after_ml": after}
    return Anatomy(fractions, labels, {**facts, **ventricles}, sentences)
