"""Which labels a mask has: the one reader of names and numbers, for files, training data and segments alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from ..errors import InputError
from ..geometry.volume import Mask, Segment
from .conventions import (
    BRAIN,
    HEAD,
    NECROTIC,
    TISSUE_ROLES,
    TUMOR,
    TUMOR_ROLES,
    label_role,
    number_in,
    outline_kind,
    read_names,
    scheme_value,
)
from .findings import listed, milliliters
from .numbers import (
    BRATS,
    BRATS_2023,
    LAST_NUMBER,
    MED_DDPM,
    WHOLE_HEAD,
    Choice,
    Convention,
    choose,
    exposure,
    own_convention,
)
from .reading import (
    Recognition,
    contradicted,
    damaged,
    merged,
    not_clear,
    not_known,
    rivals,
    small_outline,
    substitutes,
    too_much_tumor,
    which,
    words_of,
)
from .scheme import LabelScheme, load_scheme
from .sizes import LabelSizes, find_outline, kind_of, label_sizes
from .structures import anatomy, has_anatomy, is_brain_map, structures, with_tissues
from .values import clean_values

ANATOMY = "glioma-anatomy"
# So many tissues tell their numbering from others' numbers for tumor and brain; fewer where the scheme is that one.
LEAST_TISSUES, LEAST_OWN_TISSUES = 3, 2
# Values below this are translated through a table, which is several times as fast as a search.
TABLE_SIZE = 4096


def recognize(mask: Mask, scheme: LabelScheme, labels: Mapping[int, int] | None = None) -> Recognition:
    """How the values of ``mask`` are to be read for ``scheme``.

    ``labels`` (file value -> scheme value, 0 to leave out) is the user's own word and overrides everything. Then names
    of segments count, then values and geometry: 4 is enhancing tumor where it is small, and the rest of the brain
    where it surrounds the tumor and is large; what lies around the rest of a tumor is edema. Tissues of the brain are
    read as such where the scheme has them and as brain where it does not. Raises InputError where ``labels`` names a
    value the scheme lacks.
    """
    data, _ = clean_values(mask.volume.data, 1.0)
    values = label_sizes(data, mask.volume.spacing)
    if labels is not None:
        return _by_user(values, scheme, labels)
    if not values.present:
        return Recognition(Convention("empty", "The mask is empty: no voxel has a label"), {})
    return _by_names(values, scheme, mask.segments) or _by_values(values, scheme)


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


def _label_words(mapping: Mapping[int, int], scheme: LabelScheme) -> dict[int, str]:
    return {v: scheme.label(target).name.lower() if target else "left out" for v, target in mapping.items()}


def _by_user(values: LabelSizes, scheme: LabelScheme, labels: Mapping[int, int]) -> Recognition:
    wrong = sorted(v for v in labels.values() if v and v not in scheme.values)
    if wrong:
        raise InputError(
            f"The model has no label {wrong[0]}. Map to one of {listed(scheme.values)}, or to 0 to leave a value out."
        )
    mapping = {v: labels[v] for v in sorted(values.present) if v in labels}
    outline = tuple(v for v, target in mapping.items() if target in (scheme.surround, *scheme.tissue_values))
    if scheme.surround not in mapping.values() and not values.whole(outline):
        outline = ()
    unknown = tuple(sorted(values.present - set(labels)))
    kind = outline_kind(scheme) if outline else None
    convention = Convention("given", "The labels are read as given")
    words = _label_words(mapping, scheme)
    return Recognition(convention, mapping, unknown, outline, kind, words=words)


def _by_names(values: LabelSizes, scheme: LabelScheme, segments: Iterable[Segment]) -> Recognition | None:
    """The reading by names, then by terminology; None where neither tells anything of the values present.

    A brain that is drawn under a name that is not known is found by its size and place.
    """
    named = {s.value: s for s in segments}
    own = scheme.names
    roles = read_names((s.value, s.name, s.code) for s in named.values())
    exact = {v: own[s.name.casefold()] for v, s in named.items() if s.name.casefold() in own}
    roles |= {v: label_role(scheme.label(target), scheme) for v, target in exact.items()}
    roles = {v: role for v, role in sorted(roles.items()) if v in values.present}
    if not roles:
        return None
    question = None if set(roles.values()) & set(TISSUE_ROLES) else damaged(values)
    if question:
        return not_clear(values, question)
    if not set(roles.values()) & set(TUMOR_ROLES):
        numbered = {v for v in values.present - set(roles) if v not in named or number_in(named[v].name) is not None}
        rest = _without_tissues(values.without(values.present - numbered), scheme) if numbered else None
        if rest is not None and (rest.question or rest.convention.roles):
            return _beside_names(rest, roles, exact, values, named, scheme)
    notes = merged(roles, scheme)
    assumptions = substitutes(roles, scheme)
    found = None if {BRAIN, HEAD} & set(roles.values()) else find_outline(values, scheme)
    if found is not None and found not in roles:
        roles[found] = kind_of(values, found, scheme)
        notes += (_surrounds(found, roles[found], values),)
    outline = tuple(v for v, role in roles.items() if role in (BRAIN, HEAD, *TISSUE_ROLES))
    kinds = {roles[v] for v in outline}
    if not kinds & {BRAIN, HEAD} and not values.whole(outline):
        outline, kinds = (), set()
    return Recognition(
        Convention("names", "The labels are known by their names", roles),
        {v: exact.get(v, scheme_value(role, scheme)) for v, role in roles.items()},
        tuple(sorted(values.present - set(roles))),
        outline,
        HEAD if HEAD in kinds else BRAIN if kinds else None,
        notes,
        assumptions,
        words_of(roles),
        {v: s.name for v, s in named.items() if v in values.present},
    )


def _beside_names(
    rest: Recognition,
    roles: Mapping[int, str],
    exact: Mapping[int, int],
    values: LabelSizes,
    named: Mapping[int, Segment],
    scheme: LabelScheme,
) -> Recognition:
    """The reading where names tell brain, head or tissues, and ``rest`` is read by numbers: the tumor."""
    if rest.question:
        return not_clear(values, rest.question)
    kinds, outline = set(roles.values()), (*roles, *rest.outline)
    whole = bool(kinds & {BRAIN, HEAD} or rest.outline or values.whole(outline))
    convention = rest.convention
    return replace(
        rest,
        convention=Convention("names", f"{convention.title} beside its names", {**convention.roles, **roles}),
        mapping={**rest.mapping, **{v: exact.get(v, scheme_value(role, scheme)) for v, role in roles.items()}},
        unknown=tuple(sorted(values.present - set(rest.mapping) - set(roles))),
        outline=outline if whole else (),
        kind=(HEAD if HEAD in kinds else rest.kind or BRAIN) if whole else None,
        words={**rest.words, **words_of(roles)},
        names={v: s.name for v, s in named.items() if v in values.present},
    )


def _surrounds(outline: int, kind: str, values: LabelSizes) -> str:
    return f"Label {outline}, {milliliters(values.volume_ml(outline))}, surrounds the rest and is taken as the {kind}."


def _by_values(values: LabelSizes, scheme: LabelScheme) -> Recognition:
    if is_brain_map(values.present) and not values.present <= set(scheme.values):
        return structures(values, scheme)
    for numbering, least in ((scheme, LEAST_OWN_TISSUES), (load_scheme(ANATOMY), LEAST_TISSUES)):
        if has_anatomy(values, numbering, least):
            return anatomy(values, numbering, scheme)
    tissues = values.present & set(scheme.tissue_values)
    rest = values.without(tissues) if tissues else values
    # One value that surrounds all others is another's number for the brain.
    alone = len(tissues) == 1 and not find_outline(rest, scheme) and find_outline(values, scheme) in tissues
    if tissues and not alone:
        return with_tissues(_by_values(rest, scheme), tissues, values, scheme)
    return _without_tissues(values, scheme)


def _without_tissues(values: LabelSizes, scheme: LabelScheme) -> Recognition:
    outline = find_outline(values, scheme)
    kind = kind_of(values, outline, scheme) if outline else None
    parts = values.present - ({outline} if outline else set())
    rest = {} if outline is None else {outline: scheme.surround}
    question = too_much_tumor(values, parts, scheme) or damaged(values)
    if question:
        return not_clear(values, question)
    own = own_convention(scheme)
    if values.present <= set(scheme.values) and outline == scheme.surround:
        mapping = {v: v for v in sorted(values.present)}
        doubt = contradicted(exposure(values.labels, parts), own, scheme) if len(parts) > 1 else ()
        words = _label_words(mapping, scheme)
        return Recognition(own, mapping, (), (scheme.surround,), kind, assumptions=doubt, words=words)
    exposed = exposure(values.labels, parts) if len(parts) > 1 else dict.fromkeys(parts, 1.0)
    choice = _tumor_convention(exposed, outline, scheme)
    if choice is None:
        return not_clear(values, not_known(exposed, rest, scheme))
    if choice.open:
        return not_clear(values, which(exposed, choice, rest, scheme))
    convention, own_words = choice.best, choice.best.name == own.name
    roles = {v: convention.roles[v] for v in sorted(parts) if v in convention.roles}
    mapping = {v: v if own_words else scheme_value(role, scheme) for v, role in roles.items()} | rest
    words = _label_words(mapping, scheme) if own_words else words_of(roles)
    notes = merged(roles, scheme)
    if outline:
        roles[outline] = words[outline] = kind or outline_kind(scheme)
        notes = (*notes, _surrounds(outline, roles[outline], values))
    assumptions = (
        *rivals(roles, choice, rest, scheme),
        *small_outline(values, outline),
        *substitutes(roles, scheme),
    )
    return Recognition(
        _as_found(convention, roles, outline, kind),
        mapping,
        tuple(sorted(parts - set(roles))),
        (outline,) if outline else (),
        kind,
        notes,
        assumptions,
        words,
    )


def _tumor_convention(exposed: Mapping[int, float], outline: int | None, scheme: LabelScheme) -> Choice | None:
    """The convention of the values that are not the outline; None where none knows any of them."""
    parts = frozenset(exposed)
    if not parts:
        return Choice(Convention("outline-only", "The mask has an outline and no tumor"))
    own = own_convention(scheme)
    owned = {v for v in scheme.values if v != scheme.surround}
    if parts <= owned and (own.name == "scheme" or outline == scheme.surround):
        return Choice(own)
    if parts <= set(scheme.tumor_values) and len(scheme.tumor_values) == 1:
        return Choice(own)
    if len(parts) == 1:
        return _one_part(next(iter(parts)), outline, scheme)
    known = {value: share for value, share in exposed.items() if value <= LAST_NUMBER}
    return choose(exposed, scheme, outline) or choose(known, scheme, outline)


def _one_part(value: int, outline: int | None, scheme: LabelScheme) -> Choice:
    """A single tumor value: BraTS where the number itself says which part, else just tumor."""
    if outline == 1 and value == 2:
        return Choice(WHOLE_HEAD)
    found = choose({value: 1.0}, scheme, outline) if value > 1 else None
    if found is not None:
        return found
    whole = Convention("tumor-only", "The mask has one tumor label, without parts", {value: TUMOR})
    core = scheme_value(NECROTIC, scheme) != scheme_value(TUMOR, scheme)
    return Choice(whole, (BRATS,) if value == 1 and core else ())


def _as_found(convention: Convention, roles: Mapping[int, str], outline: int | None, kind: str | None) -> Convention:
    """The convention as it is in this file, with its outline."""
    if outline == 4 and kind == BRAIN and set(roles) <= set(MED_DDPM.roles) and convention in (BRATS_2023, BRATS):
        return replace(MED_DDPM, roles=roles)
    if convention is WHOLE_HEAD and kind == BRAIN:
        return Convention("brain-and-tumor", "The mask has a brain and a tumor", roles)
    return replace(convention, roles=roles)


def labels_from_names(names: Iterable[tuple[int, str]], scheme: LabelScheme) -> dict[int, int]:
    """File value -> scheme value from the names that a description of a whole data set gives; others are left out."""
    own = scheme.names
    told = list(names)
    roles = read_names((value, name, "") for value, name in told)
    mapping = {value: scheme_value(role, scheme) for value, role in roles.items()}
    return mapping | {value: own[name.casefold()] for value, name in told if name.casefold() in own}
