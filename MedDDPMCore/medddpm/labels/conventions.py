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
CSF, VENTRICLES, CORTEX, DEEP_GRAY = "cerebrospinal fluid", "ventricles", "cerebral cortex", "deep gray matter"
WHITE, CEREBELLAR_CORTEX, BRAINSTEM = "white matter", "cerebellar cortex", "brainstem"
# In the order of the scheme glioma-anatomy. For a scheme without a label for one it is brain.
TISSUE_ROLES = (CSF, VENTRICLES, CORTEX, DEEP_GRAY, WHITE, CEREBELLAR_CORTEX, BRAINSTEM)

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

# "non-enhancing" must be seen before "enhancing", "cerebellar white matter" is white; the order matters.
_NAME_RULES = (
    (NECROTIC, r"necro|non[- ]?enh|\bncr\b|\bnetc?\b"),
    (EDEMA, r"o?edema|\bsnfh\b|\bed\b|infiltrat"),
    (CAVITY, r"cavity|resection"),
    (ENHANCING, r"enhanc|\bet\b"),
    (TUMOR, r"tumou?r|lesion|gliom|neoplas|metasta|mening|\bgtv\b|\bmass\b"),
    (CSF, r"\bcsf\b|cerebro ?spinal|liquor|subarachnoid"),
    (WHITE, r"white ?matter|\bwm\b|callos|chiasm|ventral ?dc|diencephal"),
    (VENTRICLES, r"(?<!peri)(?<!peri )ventric|\blat vent\b|choroid plexus"),
    (BRAINSTEM, r"brain ?stem|\bpons\b|midbrain|\bmedulla oblong"),
    (
        DEEP_GRAY,
        r"deep gr[ae]y|subcort|thalam|caudate|putamen|pallid|accumb|amygdal|(?<!para)hippocamp|basal gang|striatum",
    ),
    (CEREBELLAR_CORTEX, r"cerebell|vermis"),
    (CORTEX, r"cortex|cortical|\bctx\b|gr[ae]y ?matter|\bgm\b|gyrus|insula"),
    (HEAD, r"\bhead\b|scalp|\bskin\b"),
    (BRAIN, r"brain|cereb|intracranial|parenchym|ventric|matter|cortex|thalam"),
)
_CODE_ROLES = {
    "6574001": NECROTIC,
    "79654002": EDEMA,
    "86049000": TUMOR,
    "108369006": TUMOR,
    "4147007": TUMOR,
    "65216001": CSF,
    "35764002": VENTRICLES,
    "40146001": CORTEX,
    "223151": DEEP_GRAY,
    "389080008": WHITE,
    "25991003": CEREBELLAR_CORTEX,
    "119238007": BRAINSTEM,
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


def role_of(name: str, code: str) -> str | None:
    """The role that a label's or segment's name tells, else its terminology code; None where neither is known.

    Tissues have many codes; one that is not in our table is known by its meaning ("SCT^42695009^Thalamus").
    """
    parts = re.split(r"[\^~:]", code)
    coded = next((role for key, role in _CODE_ROLES.items() if key in parts), None)
    meant = _by_words(code)
    return _by_words(name) or coded or (meant if meant in TISSUE_ROLES else None)


def _by_words(text: str) -> str | None:
    words = re.sub("[-_]", " ", text)
    return next((role for role, pattern in _NAME_RULES if re.search(pattern, words, re.IGNORECASE)), None)


def label_role(label: Label, scheme: LabelScheme) -> str:
    """The role of a scheme's own label. The scheme's flags count more than the words of the name."""
    role = role_of(label.name, label.code)
    if label.tumor:
        return role if role in TUMOR_ROLES and role is not None else TUMOR
    if label.value == scheme.surround:
        return HEAD if role == HEAD else BRAIN
    return role if role in TISSUE_ROLES and role is not None else f"label {label.value}"


def outline_kind(scheme: LabelScheme) -> str:
    """``"head"`` or ``"brain"``: what the scheme's surround label outlines."""
    return label_role(scheme.label(scheme.surround), scheme)


def scheme_value(role: str, scheme: LabelScheme) -> int:
    """The scheme's value for a role, or of the nearest role it knows; 0 for what lies outside of everything.

    A brain or head always becomes the surround: whether it is the right one of the two is for the check to say. So does
    a tissue that the scheme has no label for. A scheme without tumor labels takes tumor as surround.
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
    """The scheme's own numbering of tumor and surround as a convention."""
    labels = [label for label in scheme.labels if label.value not in scheme.tissue_values]
    names = ", ".join(f"{label.value} {label.name}" for label in labels)
    roles = {label.value: label_role(label, scheme) for label in labels}
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
