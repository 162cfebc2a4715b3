"""The numbers of FreeSurfer and SynthSeg: what each structure of a whole-brain map is, as data.

They are those of FreeSurferColorLUT.txt (aseg, aparc+aseg, the Destrieux parcellation, wmparc, subfields) and of the
maps of SynthSeg (Billot et al. 2023, doi:10.1016/j.media.2023.102789), which from 500 on number what lies around the
brain.
"""

from __future__ import annotations

from .conventions import BRAINSTEM, CEREBELLAR_CORTEX, CORTEX, CSF, DEEP_GRAY, OUTSIDE, VENTRICLES, WHITE

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
