"""Masks with tissues: those in the numbers of a scheme that has some, and maps of FreeSurfer and SynthSeg."""

from __future__ import annotations

from dataclasses import replace

from .conventions import BRAIN, HEAD, OUTSIDE, label_role, outline_kind, scheme_value
from .doubts import merged, small_rest, substitutes
from .numbers import Convention
from .reading import Recognition, words_of
from .scheme import LabelScheme
from .sizes import LabelSizes
from .structures import OUTSIDE_BRAIN, ROLES


def has_anatomy(values: LabelSizes, numbering: LabelScheme, least: int) -> bool:
    """Whether these are the values of a scheme with tissues, and the tissues make up a brain."""
    tissues = values.present & set(numbering.tissue_values)
    inside = values.present - set(numbering.tumor_values)
    return len(tissues) >= least and values.present <= set(numbering.values) and values.whole(inside)


def anatomy(values: LabelSizes, numbering: LabelScheme, scheme: LabelScheme) -> Recognition:
    """A mask in the values of ``numbering``, which has tissues."""
    found = [label for label in numbering.labels if label.value in values.present]
    roles = {label.value: label_role(label, numbering) for label in found}
    mapping = {v: v if numbering == scheme else scheme_value(role, scheme) for v, role in roles.items()}
    convention = Convention(numbering.name, f"The mask follows the labels {numbering.name}", roles)
    inside = tuple(label.value for label in found if not label.tumor)
    assumptions = (*small_rest(values, roles, numbering), *substitutes(roles, scheme))
    kind, notes = outline_kind(numbering), merged(roles, scheme)
    return Recognition(convention, mapping, (), inside, kind, notes, assumptions, words_of(roles))


def with_tissues(rest: Recognition, tissues: frozenset[int], values: LabelSizes, scheme: LabelScheme) -> Recognition:
    """The reading of the other values, and some tissues in the scheme's own numbers."""
    if rest.question:
        return rest
    own = {v: v for v in sorted(tissues)}
    convention = rest.convention if rest.mapping else Convention("tissues", "The mask has tissues and no tumor")
    tissue_roles = {v: label_role(scheme.label(v), scheme) for v in own}
    outline = (*rest.outline, *own) if rest.outline or values.whole(tissues) else ()
    return replace(
        rest,
        convention=replace(convention, roles={**convention.roles, **tissue_roles}),
        mapping={**rest.mapping, **own},
        outline=outline,
        kind=rest.kind or (outline_kind(scheme) if outline else None),
        words={**rest.words, **words_of(tissue_roles)},
    )


def structures(values: LabelSizes, scheme: LabelScheme) -> Recognition:
    """A FreeSurfer or SynthSeg map: every structure is a tissue or counts as brain (or head), none is tumor."""
    outside = values.present & OUTSIDE_BRAIN
    large = sum(values.voxels[v] for v in outside) > 0.25 * sum(values.voxels.values())
    kind = HEAD if large else BRAIN
    wants_brain = outline_kind(scheme) == BRAIN
    roles = {
        v: OUTSIDE if v in outside and large and wants_brain else _structure_role(v) for v in sorted(values.present)
    }
    count = len(values.present)
    title = f"The mask is a map of {count} structures numbered as by FreeSurfer or SynthSeg, without tumor"
    mapping = {v: scheme_value(role, scheme) for v, role in roles.items()}
    kept = tuple(v for v, role in roles.items() if role != OUTSIDE)
    found = BRAIN if wants_brain else kind
    return Recognition(Convention("structures", title, roles), mapping, (), kept, found, words=words_of(roles))


def _structure_role(number: int) -> str:
    """The tissue that a structure is; what is around the brain, or not in our table, counts as brain."""
    role = ROLES.get(number, BRAIN)
    return BRAIN if role == OUTSIDE else role
