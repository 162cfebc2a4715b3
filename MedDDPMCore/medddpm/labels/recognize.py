"""Which numbering of labels a mask follows, from its segment names or from its values and their geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import InputError
from ..geometry.volume import Mask, Segment
from .conventions import (
    BRAIN,
    BRATS_2024,
    HEAD,
    MED_DDPM,
    OUTSIDE,
    TISSUE_ROLES,
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
from .doubts import alternatives, as_tissues, merged, small_rest, substitutes
from .findings import listed, milliliters
from .found_outline import find_outline, kind_of
from .scheme import LabelScheme, load_scheme
from .sizes import LabelSizes, label_sizes
from .structures import OUTSIDE_BRAIN, ROLES, is_brain_map
from .values import clean_values

ANATOMY = "glioma-anatomy"
# So many tissues tell their numbering from others' numbers for tumor and brain; fewer where the scheme is that one.
LEAST_TISSUES, LEAST_OWN_TISSUES = 3, 2
# Values below this are translated through a table, which is several times as fast as a search.
TABLE_SIZE = 4096


@dataclass(frozen=True)
class Recognition:
    """How a mask's values are read for a scheme.

    ``mapping``: each file value present -> value of the scheme (0 background); ``unknown``: values present without a
    meaning, not in ``mapping``. ``outline``: the file value(s) of brain or head, tissues included, and ``kind`` what
    they outline (``"brain"``, ``"head"`` or None where there is no outline; a few tissues alone are none). ``notes``:
    sentences on what the mapping does; ``assumptions``: what could be otherwise, and how to say so.
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
    where it surrounds the tumor and is large. Tissues of the brain are read as such where the scheme has them and as
    brain where it does not. Raises InputError where ``labels`` names a value the scheme lacks.
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
    outline = tuple(v for v, target in mapping.items() if target in (scheme.surround, *scheme.tissue_values))
    if scheme.surround not in mapping.values() and not values.whole(outline):
        outline = ()
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
    outline = tuple(v for v, role in roles.items() if role in (BRAIN, HEAD, *TISSUE_ROLES))
    kinds = {roles[v] for v in outline}
    if not kinds & {BRAIN, HEAD} and not values.whole(outline):
        outline, kinds = (), set()
    kind = HEAD if HEAD in kinds else BRAIN if kinds else None
    unknown = tuple(sorted(values.present - set(mapping)))
    others = {s.value: f"{s.name} ({s.value})" for s in segments if s.name.casefold() not in own}
    notes = (*merged(roles, scheme), *as_tissues(others, mapping, scheme))
    return Recognition(convention, mapping, unknown, outline, kind, notes, substitutes(roles, scheme))


def _by_values(values: LabelSizes, scheme: LabelScheme) -> Recognition:
    if is_brain_map(values.present) and not values.present <= set(scheme.values):
        return _structures(values, scheme)
    for numbering, least in ((scheme, LEAST_OWN_TISSUES), (load_scheme(ANATOMY), LEAST_TISSUES)):
        if _has_anatomy(values, numbering, least):
            return _anatomy(values, numbering, scheme)
    tissues = values.present & set(scheme.tissue_values)
    rest = values.without(tissues) if tissues else values
    # One value that surrounds all others is another's number for the brain.
    alone = len(tissues) == 1 and not find_outline(rest, scheme) and find_outline(values, scheme) in tissues
    if tissues and not alone:
        return _with_tissues(_by_values(rest, scheme), tissues, values, scheme)
    return _without_tissues(values, scheme)


def _has_anatomy(values: LabelSizes, numbering: LabelScheme, least: int) -> bool:
    """Whether these are the values of a scheme with tissues, and the tissues make up a brain."""
    tissues = values.present & set(numbering.tissue_values)
    inside = values.present - set(numbering.tumor_values)
    return len(tissues) >= least and values.present <= set(numbering.values) and values.whole(inside)


def _anatomy(values: LabelSizes, numbering: LabelScheme, scheme: LabelScheme) -> Recognition:
    """A mask in the values of ``numbering``, which has tissues."""
    found = [label for label in numbering.labels if label.value in values.present]
    roles = {label.value: label_role(label, numbering) for label in found}
    mapping = {v: v if numbering == scheme else scheme_value(role, scheme) for v, role in roles.items()}
    names = ", ".join(f"{label.value} {label.name}" for label in found)
    convention = Convention(numbering.name, f"The mask follows the labels {numbering.name}: {names}.", roles)
    inside = tuple(label.value for label in found if not label.tumor)
    assumptions = (*small_rest(values, roles, numbering), *substitutes(roles, scheme))
    return Recognition(convention, mapping, (), inside, outline_kind(numbering), merged(roles, scheme), assumptions)


def _with_tissues(rest: Recognition, tissues: frozenset[int], values: LabelSizes, scheme: LabelScheme) -> Recognition:
    """The reading of the other values, and some tissues in the scheme's own numbers."""
    own = {v: v for v in sorted(tissues)}
    convention = rest.convention if rest.mapping else Convention("tissues", "The mask has tissues and no tumor.")
    roles = {**convention.roles, **{v: label_role(scheme.label(v), scheme) for v in own}}
    outline = (*rest.outline, *own) if rest.outline or values.whole(tissues) else ()
    return replace(
        rest,
        convention=replace(convention, roles=roles),
        mapping={**rest.mapping, **own},
        outline=outline,
        kind=rest.kind or (outline_kind(scheme) if outline else None),
        notes=(*rest.notes, *as_tissues({v: str(v) for v in own}, own, scheme)),
    )


def _without_tissues(values: LabelSizes, scheme: LabelScheme) -> Recognition:
    outline = find_outline(values, scheme)
    kind = kind_of(values, outline, scheme) if outline else None
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
    """A FreeSurfer or SynthSeg map: every structure is a tissue or counts as brain (or head), none is tumor."""
    outside = values.present & OUTSIDE_BRAIN
    large = sum(values.voxels[v] for v in outside) > 0.25 * sum(values.voxels.values())
    kind = HEAD if large else BRAIN
    wants_brain = outline_kind(scheme) == BRAIN
    roles = {
        v: OUTSIDE if v in outside and large and wants_brain else _structure_role(v) for v in sorted(values.present)
    }
    description = (
        f"The mask is a map of {len(values.present)} structures numbered as by FreeSurfer or SynthSeg, without tumor."
    )
    mapping = {v: scheme_value(role, scheme) for v, role in roles.items()}
    kept = tuple(v for v, role in roles.items() if role != OUTSIDE)
    found = BRAIN if wants_brain else kind
    notes = as_tissues({v: str(v) for v in kept}, mapping, scheme)
    return Recognition(Convention("structures", description, roles), mapping, (), kept, found, notes)


def _structure_role(number: int) -> str:
    """The tissue that a structure is; what is around the brain, or not in our table, counts as brain."""
    role = ROLES.get(number, BRAIN)
    return BRAIN if role == OUTSIDE else role
