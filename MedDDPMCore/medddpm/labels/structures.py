"""Masks with tissues: those in the numbers of a scheme that has some, and maps of FreeSurfer and SynthSeg."""

from __future__ import annotations

from dataclasses import replace

from .conventions import (
    BRAIN,
    BRAINSTEM,
    CEREBELLAR_CORTEX,
    CORTEX,
    CSF,
    DEEP_GRAY,
    HEAD,
    OUTSIDE,
    VENTRICLES,
    WHITE,
    label_role,
    outline_kind,
    scheme_value,
)
from .numbers import Convention
from .reading import Recognition, merged, small_rest, substitutes, words_of
from .scheme import LabelScheme
from .sizes import LabelSizes

# The numbers of FreeSurferColorLUT.txt (aseg, aparc+aseg, the Destrieux parcellation, wmparc, subfields), and of
# SynthSeg (Billot et al. 2023, doi:10.1016/j.media.2023.102789), which from 500 on number what is around the brain.
STRUCTURES: dict[str, tuple[int, ...]] = {
    OUTSIDE: (0, 1, 6, 40, 45, 165, 258, 259, *range(500, 541)),
    CSF: (24, 257),
    # Also the cavum septi pellucidi (72, "5th ventricle") and choroid plexus (31, 63; in SynthSeg's maps 136 to 164).
    VENTRICLES: (4, 5, 14, 15, 43, 44, 72, 31, 63, 136, 137, 163, 164),
    CORTEX: (3, 42, 19, 20, 55, 56, *range(1000, 3000), *range(11100, 13000)),
    # Also vessels (30, 62), which are perivascular spaces at and in the putamen.
    DEEP_GRAY: (9, 10, 11, 12, 13, 17, 18, 26, 27, 48, 49, 50, 51, 52, 53, 54, 58, 59, 138, 139, 30, 62, 80, 81, 82),
    # Also ventral diencephalon, optic chiasm, corpus callosum, and lesions (25, 57) and hypointensities (77 to 79).
    WHITE: (2, 41, 7, 46, 28, 60, 85, 25, 57, 77, 78, 79, *range(250, 256), *range(3000, 5003), *range(13100, 15000)),
    CEREBELLAR_CORTEX: (8, 47, 172, *range(601, 629)),
    BRAINSTEM: (16, 170, 173, 174, 175, 178),
}
ROLES = {number: role for role, numbers in STRUCTURES.items() for number in numbers}

# Structures that FreeSurfer, FastSurfer and SynthSeg number alike (white matter, cortex, ventricles, ...).
_CORE = frozenset({2, 3, 4, 7, 8, 10, 11, 12, 13, 16, 17, 18, 41, 42, 43, 46, 47, 49, 50, 51, 52, 53, 54})
_LEAST_CORE = 8
# Numbers of their table that no finished map uses; an image of gray levels has them all.
_UNUSED = frozenset({1, 6, 9, 19, 20, 21, 22, 23, 27, 29, *range(33, 40), *range(90, 129), *range(176, 193)})
_MOST_UNUSED = 4
# What surrounds the brain. 24 is the fluid around brain and spinal cord; that in the sulci comes back when the outline
# is closed.
OUTSIDE_BRAIN = frozenset(STRUCTURES[OUTSIDE] + STRUCTURES[CSF])


def is_brain_map(present: frozenset[int]) -> bool:
    """Whether these values, all of a label map, are the numbers of FreeSurfer's structures and not gray levels."""
    return len(present & _CORE) >= _LEAST_CORE and len(present & _UNUSED) <= _MOST_UNUSED


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
