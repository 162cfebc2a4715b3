"""Which numbering of labels a mask follows, from its segment names or from its values and their geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..geometry.volume import Mask, Segment
from .conventions import (
    BRAIN,
    BRATS_2024,
    FREESURFER_CORE,
    FREESURFER_UNUSED,
    HEAD,
    MAX_UNUSED,
    MED_DDPM,
    OUTSIDE,
    OUTSIDE_BRAIN,
    TUMOR,
    TUMOR_CONVENTIONS,
    WHOLE_HEAD,
    Convention,
    label_role,
    outline_kind,
    own_convention,
    role_of,
    scheme_value,
)
from .doubts import alternatives, merged, substitutes
from .findings import listed, milliliters
from .outline import BRAIN_HEAD_LIMIT_ML
from .scheme import LabelScheme
from .sizes import OUTLINE_ML, LabelSizes, label_sizes
from .values import clean_values

# A label that spans this part of the field of view in all directions is an outline, where volume cannot tell.
OUTLINE_SPAN = 0.6
MIN_STRUCTURES = 8
# Values below this are translated through a table, which is several times as fast as a search.
TABLE_SIZE = 4096


@dataclass(frozen=True)
class Recognition:
    """How a mask's values are read for a scheme.

    ``mapping``: each file value present -> value of the scheme (0 background); ``unknown``: values present without a
    meaning, not in ``mapping``. ``outline``: the file value(s) of brain or head, and ``kind`` what they outline
    (``"brain"``, ``"head"`` or None where there is no outline). ``notes``: sentences on
    what the mapping does; ``assumptions``: what could be otherwise, and how to say so.
    """

    convention: Convention
    mapping: dict[int, int]
    unknown: tuple[int, ...] = ()
    outline: tuple[int, ...] = ()
    kind: str | None = None
    notes: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was recognized, what is done about it, then what was assumed."""
        return (self.convention.description, *self.notes, *self.assumptions)


def recognize(mask: Mask, scheme: LabelScheme, labels: Mapping[int, int] | None = None) -> Recognition:
    """How the values of ``mask`` are to be read for ``scheme``.

    ``labels`` (file value -> scheme value, 0 to leave out) is the user's own word and overrides everything. Then names
    of segments count, then values and geometry: 4 is enhancing tumor where it is small, and the rest of the brain
    where it surrounds the tumor and is large. Raises InputError where ``labels`` names a value the scheme lacks.
    """
    data, _ = clean_values(mask.volume.data, 1.0)
    values = label_sizes(data, mask.volume.spacing)
    if labels is not None:
        return _by_user(values, scheme, labels)
    if not values.present:
        return Recognition(Convention("empty", "The mask is empty: no voxel has a label."), {})
    named = [s for s in mask.segments if s.value in values.present]
    if named:
        return _by_names(values, scheme, named)
    return _by_values(values, scheme)


def apply_mapping(labels: np.ndarray, mapping: Mapping[int, int]) -> np.ndarray:
    """The label map in the scheme's values, uint8, same shape; values without an entry become background."""
    result = np.zeros(labels.shape, dtype=np.uint8)
    keys = np.array(sorted(mapping), dtype=np.int64)
    if not len(keys):
        return result
    targets = np.array([mapping[int(key)] for key in keys], dtype=np.uint8)
    if labels.dtype.kind in "iu" and labels.min(initial=0) >= 0 and labels.max(initial=0) < TABLE_SIZE:
        table = np.zeros(TABLE_SIZE, dtype=np.uint8)
        usable = (keys >= 0) & (keys < TABLE_SIZE)
        table[keys[usable]] = targets[usable]
        return table[labels]
    labeled = np.nonzero(labels)  # mostly a small part of the volume
    values = labels[labeled]
    place = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
    result[labeled] = np.where(keys[place] == values, targets[place], 0)
    return result


def _by_user(values: LabelSizes, scheme: LabelScheme, labels: Mapping[int, int]) -> Recognition:
    wrong = sorted(v for v in labels.values() if v and v not in scheme.values)
    if wrong:
        raise InputError(
            f"The model has no label {wrong[0]}. Map to one of {listed(scheme.values)}, or to 0 to leave a value out."
        )
    said = ", ".join(f"{a}={b}" for a, b in sorted(labels.items()))
    mapping = {v: labels[v] for v in sorted(values.present) if v in labels}
    outline = tuple(v for v, target in mapping.items() if target == scheme.surround)
    unknown = tuple(sorted(values.present - set(labels)))
    kind = outline_kind(scheme) if outline else None
    return Recognition(Convention("given", f"The labels are read as given: {said}."), mapping, unknown, outline, kind)


def _by_names(values: LabelSizes, scheme: LabelScheme, segments: list[Segment]) -> Recognition:
    """Match segment names, then terminology, to the scheme's labels, then to roles."""
    own = {label.name.casefold(): label for label in scheme.labels}
    roles: dict[int, str] = {}
    mapping: dict[int, int] = {}
    for segment in segments:
        label = own.get(segment.name.casefold())
        role = label_role(label, scheme) if label else role_of(segment.name, segment.code)
        if role is not None:
            roles[segment.value] = role
            mapping[segment.value] = label.value if label else scheme_value(role, scheme)
    if not mapping:
        return _by_values(values, scheme)
    said = listed([f"{s.name} ({s.value})" for s in segments if s.value in mapping])
    convention = Convention("names", f"The labels are known by their segment names: {said}.", roles)
    outline = tuple(v for v, role in roles.items() if role in (BRAIN, HEAD))
    kinds = {roles[v] for v in outline}
    kind = HEAD if HEAD in kinds else BRAIN if kinds else None
    unknown = tuple(sorted(values.present - set(mapping)))
    return Recognition(convention, mapping, unknown, outline, kind, merged(roles, scheme), substitutes(roles, scheme))


def _by_values(values: LabelSizes, scheme: LabelScheme) -> Recognition:
    if _is_brain_map(values.present) and not values.present <= set(scheme.values):
        return _structures(values, scheme)
    outline = _find_outline(values, scheme)
    kind = _outline_kind(values, outline, scheme) if outline else None
    parts = values.present - ({outline} if outline else set())
    own = own_convention(scheme)
    if values.present <= set(scheme.values) and outline == scheme.surround:
        return Recognition(own, {v: v for v in sorted(values.present)}, (), (outline,), kind)
    convention = _tumor_convention(parts, outline, scheme)
    roles = {v: convention.roles[v] for v in sorted(parts) if v in convention.roles}
    mapping = {v: v if convention.name == own.name else scheme_value(role, scheme) for v, role in roles.items()}
    if outline:
        mapping[outline] = scheme.surround
        roles[outline] = kind or outline_kind(scheme)
    unknown = tuple(sorted(parts - set(convention.roles)))
    named = _with_outline(convention, roles, outline, kind, values)
    assumptions = (*alternatives(parts, outline, convention, values), *substitutes(roles, scheme))
    return Recognition(named, mapping, unknown, (outline,) if outline else (), kind, merged(roles, scheme), assumptions)


def _is_brain_map(present: frozenset[int]) -> bool:
    """Whether these are the numbers of FreeSurfer's structures, not of gray levels."""
    return len(present & FREESURFER_CORE) >= MIN_STRUCTURES and len(present & FREESURFER_UNUSED) <= MAX_UNUSED


def _find_outline(values: LabelSizes, scheme: LabelScheme) -> int | None:
    """The value that surrounds the others and is large, if there is one."""
    total = sum(values.voxels.values())
    for value in sorted(values.present, key=lambda v: -values.voxels[v]):
        if values.voxels[value] < 0.3 * total:
            return None
        if _large(values, value, scheme) and _surrounds(values, value, total):
            return value
    return None


def _large(values: LabelSizes, value: int, scheme: LabelScheme) -> bool:
    others = values.present - {value}
    if values.volume_ml(value) >= OUTLINE_ML:
        return True
    usual = (
        value == scheme.surround
        or not others
        or (value == 4 and others <= {1, 2, 3})
        or (value == 1 and others <= {2})
        or (value > 4 and others <= {1, 2, 3, 4})
    )
    return usual and values.span(value) >= OUTLINE_SPAN


def _surrounds(values: LabelSizes, value: int, total: int) -> bool:
    """Whether nearly all voxels of the other labels lie in the box of this one."""
    others = total - values.voxels[value]
    within = int(np.count_nonzero(values.labels[values.boxes[value]])) - values.voxels[value]
    return within >= 0.9 * others


def _outline_kind(values: LabelSizes, outline: int, scheme: LabelScheme) -> str:
    """Head or brain, by volume; one with the scheme's own value may be small (a child's head)."""
    if values.volume_ml(outline) > BRAIN_HEAD_LIMIT_ML:
        return HEAD
    known = outline == scheme.surround or values.volume_ml(outline) < OUTLINE_ML
    return outline_kind(scheme) if known else BRAIN


def _tumor_convention(parts: frozenset[int], outline: int | None, scheme: LabelScheme) -> Convention:
    """The convention of the values that are not the outline."""
    if not parts:
        return Convention("outline-only", "The mask has an outline and no tumor.")
    own = own_convention(scheme)
    owned = {v for v in scheme.values if v != scheme.surround}
    unusual = own.name == "scheme" and parts <= owned
    if unusual or (parts <= owned and outline == scheme.surround):
        return own
    if parts <= set(scheme.tumor_values) and len(scheme.tumor_values) == 1:
        return own
    if len(parts) == 1:
        return _one_part(next(iter(parts)), outline)
    known = (c for c in TUMOR_CONVENTIONS if parts <= set(c.roles) and (c is not BRATS_2024 or {3, 4} <= parts))
    best = max(TUMOR_CONVENTIONS, key=lambda c: len(parts & set(c.roles)))
    return next(known, best)


def _one_part(value: int, outline: int | None) -> Convention:
    """A single tumor value: BraTS where the number itself says which part, else just tumor."""
    if value in (2, 3, 4) and not (value == 2 and outline == 1):
        return next(c for c in TUMOR_CONVENTIONS if value in c.roles)
    if outline == 1 and value == 2:
        return WHOLE_HEAD
    return Convention("tumor-only", f"The mask has one tumor label, {value}, without parts.", {value: TUMOR})


def _with_outline(
    convention: Convention, roles: Mapping[int, str], outline: int | None, kind: str | None, values: LabelSizes
) -> Convention:
    """The convention as found in this file, its outline told with its volume."""
    if not outline:
        return Convention(convention.name, convention.description, roles)
    if outline == 4 and kind == BRAIN and set(roles) <= set(MED_DDPM.roles):
        return Convention(MED_DDPM.name, MED_DDPM.description, roles)
    size = milliliters(values.volume_ml(outline))
    what = f"Label {outline}, {size}, surrounds the rest and is taken as the {kind}."
    description = what if convention.name == "outline-only" else f"{convention.description} {what}"
    if convention is WHOLE_HEAD and kind == BRAIN:
        return Convention("brain-and-tumor", f"The mask has a tumor, label 2. {what}", roles)
    return Convention(convention.name, description, roles)


def _structures(values: LabelSizes, scheme: LabelScheme) -> Recognition:
    """A FreeSurfer or SynthSeg map: every structure counts as brain (or head), none is tumor."""
    outside = values.present & OUTSIDE_BRAIN
    large = sum(values.voxels[v] for v in outside) > 0.25 * sum(values.voxels.values())
    kind = HEAD if large else BRAIN
    wants_brain = outline_kind(scheme) == BRAIN
    roles = {v: OUTSIDE if v in outside and large and wants_brain else BRAIN for v in sorted(values.present)}
    description = (
        f"The mask is a map of {len(values.present)} structures numbered as by FreeSurfer or SynthSeg, without tumor."
    )
    mapping = {v: scheme_value(role, scheme) for v, role in roles.items()}
    kept = tuple(v for v, role in roles.items() if role != OUTSIDE)
    found = BRAIN if wants_brain else kind
    return Recognition(Convention("structures", description, roles), mapping, (), kept, found)
