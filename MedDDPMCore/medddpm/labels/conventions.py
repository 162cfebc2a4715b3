"""The ways in which others number brain and tumor, as data.

A convention gives each value of a mask file a role (what it shows); a role has a value in the label scheme of each
model. So one table serves every scheme, also those of models that users train.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InputError
from .scheme import Label, LabelScheme

BRAIN, HEAD, OUTSIDE = "brain", "head", "outside"
NECROTIC, EDEMA, ENHANCING, CAVITY, TUMOR = "necrotic", "edema", "enhancing", "cavity", "tumor"
TUMOR_ROLES = (NECROTIC, EDEMA, ENHANCING, CAVITY, TUMOR)

# What a role counts as where a scheme has no label for it, the nearest first.
SUBSTITUTES: dict[str, tuple[str, ...]] = {
    # An outline called just "tumor" mostly follows what enhances.
    TUMOR: (ENHANCING, NECROTIC, EDEMA),
    NECROTIC: (TUMOR, ENHANCING),
    ENHANCING: (TUMOR, NECROTIC),
    EDEMA: (TUMOR,),
    # A resection cavity is filled with fluid: dark in T1 as necrosis is.
    CAVITY: (NECROTIC, TUMOR),
}

# "non-enhancing" must be seen before "enhancing"; the order matters.
_NAME_RULES = (
    (NECROTIC, r"necro|non[- ]?enh|\bncr\b|\bnetc?\b"),
    (EDEMA, r"o?edema|\bsnfh\b|\bed\b|infiltrat"),
    (CAVITY, r"cavity|resection"),
    (ENHANCING, r"enhanc|\bet\b"),
    (TUMOR, r"tumou?r|lesion|gliom|neoplas|metasta|mening|\bgtv\b|\bmass\b"),
    (HEAD, r"\bhead\b|scalp|\bskin\b"),
    (BRAIN, r"brain|cereb|intracranial|parenchym|ventric|matter|cortex|thalam"),
)
_CODE_ROLES = {
    "6574001": NECROTIC,
    "79654002": EDEMA,
    "86049000": TUMOR,
    "108369006": TUMOR,
    "4147007": TUMOR,
    "12738006": BRAIN,
    "69536005": HEAD,
}


@dataclass(frozen=True)
class Convention:
    """A numbering of labels: ``roles`` says what each file value shows; ``description`` is a plain sentence."""

    name: str
    description: str
    roles: Mapping[int, str] = field(default_factory=dict)

    def mapping(self, scheme: LabelScheme) -> dict[int, int]:
        """File value -> value in ``scheme``; 0 is background."""
        return {value: scheme_value(role, scheme) for value, role in self.roles.items()}


BRATS = Convention(
    "brats",
    "The mask follows the BraTS convention to 2021: 1 necrotic and non-enhancing core, 2 edema, 4 enhancing tumor.",
    {1: NECROTIC, 2: EDEMA, 4: ENHANCING},
)
BRATS_2023 = Convention(
    "brats-2023",
    "The mask follows the BraTS 2023 convention: 1 necrotic core, 2 edema, 3 enhancing tumor.",
    {1: NECROTIC, 2: EDEMA, 3: ENHANCING},
)
BRATS_2024 = Convention(
    "brats-2024",
    "The mask follows the BraTS 2024 post-treatment convention: 1 non-enhancing core, 2 edema, 3 enhancing tumor, "
    "4 resection cavity.",
    {1: NECROTIC, 2: EDEMA, 3: ENHANCING, 4: CAVITY},
)
BRATS_2013 = Convention(
    "brats-2013",
    "The mask follows the BraTS 2013 convention: 1 necrosis, 2 edema, 3 non-enhancing and 4 enhancing tumor.",
    {1: NECROTIC, 2: EDEMA, 3: NECROTIC, 4: ENHANCING},
)
MED_DDPM = Convention(
    "med-ddpm",
    "The mask follows Med-DDPM's BraTS convention: 1 necrotic core, 2 edema, 3 enhancing tumor, 4 rest of the brain.",
    {1: NECROTIC, 2: EDEMA, 3: ENHANCING, 4: BRAIN},
)
WHOLE_HEAD = Convention(
    "whole-head",
    "The mask follows Med-DDPM's whole-head convention: 1 head, 2 tumor.",
    {1: HEAD, 2: TUMOR},
)
# Numberings of tumor parts, the most common first: the first that knows all values present is taken.
TUMOR_CONVENTIONS = (BRATS_2023, BRATS, BRATS_2024)
CONVENTIONS = (BRATS, BRATS_2023, BRATS_2024, BRATS_2013, MED_DDPM, WHOLE_HEAD)

# Whole-brain structures that FreeSurfer, FastSurfer and SynthSeg number alike (white matter, cortex, ventricles, ...).
FREESURFER_CORE = frozenset({2, 3, 4, 7, 8, 10, 11, 12, 13, 16, 17, 18, 41, 42, 43, 46, 47, 49, 50, 51, 52, 53, 54})
# Numbers of their table that no finished map uses; an image of gray levels has them all.
FREESURFER_UNUSED = frozenset({1, 6, 9, 19, 20, 21, 22, 23, 27, 29, *range(33, 40), *range(90, 129), *range(176, 193)})
MAX_UNUSED = 4
# SynthSeg's training maps number what lies around the brain (skull, scalp, eyes, neck) by these; 165, 258 and 259 are
# FreeSurfer's own bone, skin and skull. 24 is the fluid around brain and spinal cord; that in the sulci comes back when
# the outline is closed.
OUTSIDE_BRAIN = frozenset({24, 165, 258, 259, *range(500, 540)})


def role_of(name: str, code: str) -> str | None:
    """The role that a label's or segment's name tells, else its terminology code; None where neither is known."""
    for role, pattern in _NAME_RULES:
        if re.search(pattern, name, re.IGNORECASE):
            return role
    parts = re.split(r"[\^~:]", code)
    return next((role for key, role in _CODE_ROLES.items() if key in parts), None)


def label_role(label: Label, scheme: LabelScheme) -> str:
    """The role of a scheme's own label. The scheme's flags count more than the words of the name."""
    role = role_of(label.name, label.code)
    if label.tumor:
        return role if role in TUMOR_ROLES and role is not None else TUMOR
    if label.value == scheme.surround:
        return HEAD if role == HEAD else BRAIN
    return f"label {label.value}"


def outline_kind(scheme: LabelScheme) -> str:
    """``"head"`` or ``"brain"``: what the scheme's surround label outlines."""
    return label_role(scheme.label(scheme.surround), scheme)


def scheme_value(role: str, scheme: LabelScheme) -> int:
    """The scheme's value for a role, or of the nearest role it knows; 0 for what lies outside of everything.

    A brain or head always becomes the surround: whether it is the right one of the two is for the check to say. A
    scheme without tumor labels takes tumor as surround.
    """
    if role == OUTSIDE:
        return 0
    if role in (BRAIN, HEAD):
        return scheme.surround
    known = {label_role(label, scheme): label.value for label in reversed(scheme.labels)}
    for candidate in (role, *SUBSTITUTES.get(role, ())):
        if candidate in known:
            return known[candidate]
    return scheme.tumor_values[0] if scheme.tumor_values and role in TUMOR_ROLES else scheme.surround


def own_convention(scheme: LabelScheme) -> Convention:
    """The scheme's own numbering as a convention."""
    names = ", ".join(f"{label.value} {label.name}" for label in scheme.labels)
    roles = {label.value: label_role(label, scheme) for label in scheme.labels}
    for known in (MED_DDPM, WHOLE_HEAD):
        if dict(known.roles) == roles:
            return known
    return Convention("scheme", f"The mask follows the model's own labels: {names}.", roles)


def parse_labels(text: str) -> dict[int, int]:
    """``"1=1,2=2,4=3"`` as a mapping of file value to scheme value. Raises InputError on anything else."""
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return {int(source): int(target) for source, target in pairs}
    except ValueError as exc:
        raise InputError(
            f"--labels {text} is not understood. Write it as file value = model value: 1=1,2=2,4=3."
        ) from exc
