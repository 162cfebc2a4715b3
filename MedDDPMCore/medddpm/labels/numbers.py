"""What the numbers of a mask without names mean: the numberings of public data sets, and which of them fits a mask."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .conventions import (
    BRAIN,
    CAVITY,
    CYST,
    EDEMA,
    ENHANCING,
    HEAD,
    NECROTIC,
    TUMOR,
    label_role,
    scheme_value,
)
from .morphology import bounding_box, components, fill_holes
from .scheme import LabelScheme


@dataclass(frozen=True)
class Convention:
    """A numbering of labels: ``roles`` says what each file value shows; ``title`` says whose it is, as a clause."""

    name: str
    title: str
    roles: Mapping[int, str] = field(default_factory=dict)

    def mapping(self, scheme: LabelScheme) -> dict[int, int]:
        """File value -> value in ``scheme``; 0 is background."""
        return {value: scheme_value(role, scheme) for value, role in self.roles.items()}


def _numbers(name: str, of: str, **roles: str) -> Convention:
    numbered = {int(key[1:]): role for key, role in roles.items()}
    return Convention(name, f"The mask follows the numbers of {of}", numbered)


BRATS_2023 = _numbers("brats-2023", "BraTS since 2023", _1=NECROTIC, _2=EDEMA, _3=ENHANCING)
# Also those of UPenn-GBM and UCSF-PDGM.
BRATS = _numbers("brats", "BraTS to 2021", _1=NECROTIC, _2=EDEMA, _4=ENHANCING)
# Gliomas after treatment, metastases of 2025.
BRATS_2024 = _numbers("brats-2024", "BraTS 2024 after treatment", _1=NECROTIC, _2=EDEMA, _3=ENHANCING, _4=CAVITY)
BRATS_2013 = _numbers("brats-2013", "BraTS 2013", _1=NECROTIC, _2=EDEMA, _3=NECROTIC, _4=ENHANCING)
PEDIATRIC = _numbers("brats-ped", "BraTS pediatric since 2024", _1=ENHANCING, _2=NECROTIC, _3=CYST, _4=EDEMA)
# Task 1 of the Medical Segmentation Decathlon, and how nnU-Net orders the regions of BraTS.
DECATHLON = _numbers("decathlon", "the Decathlon and nnU-Net", _1=EDEMA, _2=NECROTIC, _3=ENHANCING)
HD_GLIO = _numbers("hd-glio", "HD-GLIO", _1=EDEMA, _2=ENHANCING)
DEEPBRATUMIA = _numbers("deepbratumia", "DeepBraTumIA (LUMIERE)", _1=ENHANCING, _2=NECROTIC, _3=EDEMA)
MED_DDPM = _numbers("med-ddpm", "Med-DDPM's BraTS model", _1=NECROTIC, _2=EDEMA, _3=ENHANCING, _4=BRAIN)
WHOLE_HEAD = _numbers("whole-head", "Med-DDPM's whole-head model", _1=HEAD, _2=TUMOR)
# The usual numberings: of those that fit the first is taken, whatever others might fit as well.
USUAL = (BRATS_2023, BRATS, BRATS_2024)
OTHERS = (PEDIATRIC, DECATHLON, HD_GLIO, DEEPBRATUMIA, BRATS_2013)
CONVENTIONS = (*USUAL, *OTHERS, MED_DDPM, WHOLE_HEAD)
LAST_NUMBER = 4

# Of 51 expert masks of BraTS, edema is in each the part whose surface is most exposed, by 0.23 or more.
CLEAR = 0.1


def exposure(labels: np.ndarray, parts: Collection[int]) -> dict[int, float]:
    """The share of each part's surface that faces what is no tumor, 0 to 1: great for edema, small for what it holds.

    ``labels``: (X, Y, Z), in which ``parts`` are tumor; what a tumor encloses counts as tumor. A lesion of one part
    alone tells nothing; a part that has no other lesions is 0.
    """
    tumor = np.isin(labels, list(parts))
    box = bounding_box(tumor)
    padded = np.pad(np.where(tumor[box], labels[box], 0), 2)
    lesions = components(fill_holes(padded > 0))[0]
    owners = np.concatenate([np.unique(lesions[padded == part]) for part in parts])
    mixed = [lesion for lesion, count in zip(*np.unique(owners, return_counts=True), strict=True) if count > 1]
    inside = np.isin(lesions, mixed)
    padded[~inside] = 0
    free, all_faces = dict.fromkeys(parts, 0), dict.fromkeys(parts, 0)
    for axis in range(3):
        for step in (1, -1):
            border = padded != np.roll(padded, step, axis)
            solid = np.roll(inside, step, axis)
            for part in parts:
                faces = border & (padded == part)
                all_faces[part] += int(np.count_nonzero(faces))
                free[part] += int(np.count_nonzero(faces & ~solid))
    return {part: free[part] / max(1, all_faces[part]) for part in parts}


def outermost(exposed: Mapping[int, float]) -> tuple[int, ...]:
    """The parts that may be the one around the others: one where geometry is clear."""
    most = max(exposed.values())
    return tuple(part for part, share in exposed.items() if share > most - CLEAR)


@dataclass(frozen=True)
class Choice:
    """The numbering that fits best, what else the numbers could follow, and whether that is for the user to say."""

    best: Convention
    rivals: tuple[Convention, ...] = ()
    open: bool = False


def choose(exposed: Mapping[int, float], scheme: LabelScheme, outline: int | None = None) -> Choice | None:
    """The numbering of tumor parts with these exposures; None where no numbering knows all of them.

    ``outline``: the brain's or head's own number, which is then no numbering's number for a part of the tumor.
    Where edema is drawn it must lie around the rest. Of the usual numberings that geometry allows the first is taken;
    else another that it asks for. Those that differ in nothing for ``scheme`` are one.
    """
    parts = frozenset(exposed)
    known = [c for c in (*USUAL, *OTHERS) if parts <= set(c.roles) and outline not in c.roles]
    known = [c for c in known if c not in (BRATS_2024, BRATS_2013) or {3, 4} <= parts or parts == {4}]
    if not parts or not known:
        return None
    outer = outermost(exposed)

    def fit(convention: Convention) -> int:
        """3: edema lies where it should; 2: perhaps; 1: nothing shows it; 0: something else lies around it."""
        edema = [part for part in parts if convention.roles[part] == EDEMA]
        if not edema or len(parts) == 1:
            return 1
        return 0 if edema[0] not in outer else 3 if len(outer) == 1 else 2

    fits = {c.name: fit(c) for c in known}
    usual = max((c for c in known if c in USUAL), key=lambda c: fits[c.name], default=None)
    shown = len(parts) > 2 and max(fits.values()) == 3  # of three parts one is edema, where any numbering has it so
    if usual is not None and fits[usual.name] > int(shown):
        least = 1 if len(parts) == 1 else max(2, fits[usual.name])
        rivals = _differing(usual, [c for c in known if fits[c.name] >= least], parts, scheme)
        return Choice(usual, rivals, open=fits[usual.name] == 2 and bool(rivals))
    likely = [c for c in known if fits[c.name] >= (2 if len(parts) > 2 else 1)] or known
    best = max(likely, key=lambda c: fits[c.name])
    rivals = _differing(best, likely, parts, scheme)
    if rivals or not fits[best.name]:
        return Choice(best, rivals, open=True)
    return Choice(best, _differing(best, [c for c in known if c in USUAL], parts, scheme))


def _differing(
    best: Convention, others: Sequence[Convention], parts: Collection[int], scheme: LabelScheme
) -> tuple[Convention, ...]:
    """Those of ``others`` that give a part another value of ``scheme``, of equal ones the first."""

    def values(convention: Convention) -> tuple[int, ...]:
        return tuple(scheme_value(convention.roles[part], scheme) for part in sorted(parts))

    found = {values(best): best}
    for other in others:
        found.setdefault(values(other), other)
    return tuple(found.values())[1:]


def scaled(values: Collection[int]) -> dict[int, int]:
    """Which of the numbers 1 to 4 values are that were moved by a constant or scaled to gray levels; else empty."""
    ordered = sorted(values)
    shifts = [(float(ordered[0] / first), 0) for first in range(1, 5)] + [(1.0, ordered[0] - 1)]
    for factor, shift in shifts:
        exact = {value: (value - shift) / factor for value in ordered}
        near = {value: round(number) for value, number in exact.items()}
        fits = all(abs(near[value] - exact[value]) < 0.05 for value in ordered)
        new = list(near) != list(near.values())
        if new and fits and max(near.values()) <= LAST_NUMBER and len(set(near.values())) == len(near):
            return near
    return {}


def own_convention(scheme: LabelScheme) -> Convention:
    """The scheme's own numbering of tumor and surround as a convention."""
    labels = (label for label in scheme.labels if label.value not in scheme.tissue_values)
    roles = {label.value: label_role(label, scheme) for label in labels}
    for known in (MED_DDPM, WHOLE_HEAD):
        if dict(known.roles) == roles:
            return known
    return Convention("scheme", "The mask follows the model's own labels", roles)
