"""What labels mean: the roles that a label can have, and the one table of names that tells them.

A role says what a label shows. It has a value in the label scheme of each model, so one table serves every scheme, also
those of models that users train. Files, folders of training data and segments in 3D Slicer are read by the same table;
``numbers`` has what files without names mean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

from ..errors import InputError
from .scheme import Label, LabelScheme

BRAIN, HEAD, OUTSIDE = "brain", "head", "outside"
NECROTIC, EDEMA, ENHANCING, TUMOR = "necrotic", "edema", "enhancing", "tumor"
CAVITY, CYST = "cavity", "cyst"
TUMOR_ROLES = (NECROTIC, EDEMA, ENHANCING, CAVITY, CYST, TUMOR)
# For reading, where the role alone is not clear.
WORDS = {NECROTIC: "necrotic or non-enhancing core", ENHANCING: "enhancing tumor", CAVITY: "resection cavity"}
CSF, VENTRICLES, CORTEX, DEEP_GRAY = "cerebrospinal fluid", "ventricles", "cerebral cortex", "deep gray matter"
WHITE, CEREBELLAR_CORTEX, BRAINSTEM = "white matter", "cerebellar cortex", "brainstem"
# In the order of the scheme glioma-anatomy. For a scheme without a label for one it is brain.
TISSUE_ROLES = (CSF, VENTRICLES, CORTEX, DEEP_GRAY, WHITE, CEREBELLAR_CORTEX, BRAINSTEM)
# Regions hold one another, from the outside to the inside; ``read_names`` says what each has that the next has not.
WHOLE, CORE = "whole tumor", "tumor core"
REGIONS = (WHOLE, CORE)

# What a role counts as where a scheme has no label for it, the nearest first.
SUBSTITUTES: dict[str, tuple[str, ...]] = {
    # An outline called just "tumor" mostly follows what enhances.
    TUMOR: (ENHANCING, NECROTIC, EDEMA),
    NECROTIC: (TUMOR, ENHANCING),
    ENHANCING: (TUMOR, NECROTIC),
    EDEMA: (TUMOR,),
    # Both are filled with fluid: dark in T1 as necrosis is.
    CAVITY: (NECROTIC, TUMOR),
    CYST: (NECROTIC, TUMOR),
}

_TUMOR = r"(?:tumou?r|lesion|gliom|glioblast|\bgbm\b|astrocyt|oligodendrog|ependym|blastoma|neoplas|metast|\bmets?\b|"
_TUMOR += r"meningiom|schwannom|adenoma|lymphom|cancer|malignan|\bgt ?v|\bmass\b)"
_MORE = r"(?:with|and|plus|incl\w*)"
# Words of a name in the form of ``_plain``, negated ones left out. The first rule that fits counts, so the order
# matters: "necrotic tumor core" is necrotic, "cerebellar white matter" is white.
_RULES = (
    (OUTSIDE, r"^(?:background|outside|exterior|air|clear label)\b"),
    (WHITE, r"\bwm ?h|white ?matter (?:hyper|lesion|disease)|hypointens"),
    (
        WHOLE,
        rf"(?:whole|entire|complete) ?(?:brain )?{_TUMOR}|{_TUMOR}.* {_MORE} .*edem|edem.* {_MORE} .*(?:{_TUMOR}|enh)",
    ),
    (CORE, rf"enh\w* (?:{_TUMOR}\w* )?{_MORE} necro|necro\w* (?:{_TUMOR}\w* )?{_MORE} enh"),
    (EDEMA, r"o?edem|\bodem|snfh|infiltrat|invaded|hyperint|\b(?:flair|t2).*(?:abnorm|signal|lesion)|^necrotic flair"),
    (NECROTIC, r"ne[ck]ro"),
    (CYST, r"\bcyst"),
    (CAVITY, r"(?<!cranial )(?<!nasal )(?<!oral )cavit|\bresect\w+(?: bed| void)?$"),
    (ENHANCING, rf"enhanc|\benh\b|active {_TUMOR}"),
    (CORE, rf"{_TUMOR}\w* ?core|^core$"),
    (HEAD, rf"\bhead {_MORE} .*{_TUMOR}"),
    (BRAIN, rf"brain {_MORE} .*{_TUMOR}"),
    (WHOLE, r"\bflair\b"),
    (TUMOR, _TUMOR),
    (CSF, r"\bcsf\b|cerebro ?spinal|liquor|subarachnoid"),
    (WHITE, r"white ?matter|\bwm\b|callos|\bcc (?:mid|ant|post|cent)|chiasm|ventral ?dc|diencephal"),
    (VENTRICLES, r"(?<!peri)(?<!peri )ventric|\blat vent\b|choroid plexus"),
    (BRAINSTEM, r"(?:brain|\bbr) ?stem|\bpons\b|midbrain|\bmedulla oblong"),
    (
        DEEP_GRAY,
        r"deep gr[ae]y|\bdgm\b|subcort|thalam|caudate|putamen|pallid|accumb|amygdal|(?<!para)hippocamp|basal gang|"
        r"striatum|\b(?:thal|caud|puta?|pall|accu|amyg|hipp)\b",
    ),
    (CEREBELLAR_CORTEX, r"cerebell|vermis"),
    (CORTEX, r"cortex|cortical|\bctx\b|gr[ae]y ?matter|\bgm\b|gyrus|insula"),
    (HEAD, r"\bhead\b|scalp|\bskin\b"),
    (BRAIN, r"brain|cereb|intracranial|parenchym|hemispher|healthy|\bnormal\b|ventric|matter|cortex|thalam"),
)
# Abbreviations of BraTS and others, each the whole of a name: "et" and "ed" are words too. HD-GLIO's NE is missing,
# since to others that is not edema but a part of the core.
_ABBREVIATIONS = {
    **dict.fromkeys(("ncr", "net", "netc", "nc"), NECROTIC),
    **dict.fromkeys(("ed", "snfh"), EDEMA),
    **dict.fromkeys(("et", "ce", "cet", "at"), ENHANCING),
    "rc": CAVITY,
    "cc": CYST,
    "wt": WHOLE,
    "tc": CORE,
}
_FILLING = re.compile(r"label|seg|segment|segmentation|mask|roi|class|region|brats|gli|ped|peds|men|met|ssa|\d+")
# The name of a file says what was segmented, not what a segment is.
_OF_FILE = re.compile(
    r"\b(?:t[12]|t1(?:c|ce|gd|n|w)|t2[wf]|flair|dwi|adc)\b.*\b(?:seg\w*|mask|label\w*)\b|\b(?:nii|nrrd|mha)\b"
)
_TERM = rf"(?:{_TUMOR}|brain|edem|ne[ck]ro|enh)\w*"
_LESS = r"\b(?:without|excluding|excl|except|minus)\b"
# What is denied is taken out of a name, or becomes what it says: "non-enhancing" is a part of a tumor of its own.
_NEGATED = (
    (r"\b(?:non|not|un) ?(?:contrast )?(?:enh\w*|ce\b)", "necrotic"),
    (r"\b(?:non|not) ?brain\b", "outside"),
    (rf"\bperi ?{_TUMOR}\w*", "peri"),
    (rf"{_LESS}.*|(?<=.)\boutside\b.*", ""),
    (rf"\b(?:non|not|no)(?: ?|(?: \w+){{1,2}} ){_TERM}", ""),
    (rf"{_TERM} (?:free|negative|removed|excluded|subtracted)\b", ""),
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
_SEPARATORS = str.maketrans(dict.fromkeys("-/\\.,;:()[]{}'\"^~|=<>#", " "))
_Key = TypeVar("_Key", bound=Hashable)


def read_names(names: Iterable[tuple[_Key, str, str]]) -> dict[_Key, str]:
    """The roles that names tell; entries whose meaning is not known are left out.

    ``names``: a key, a name and a terminology code of each label of one file, those without a voxel too, since the
    others tell what a region is: of a whole tumor beside its parts edema is left, of a core beside what enhances the
    necrosis. Where regions overlap, the smaller one has the voxel.
    """
    roles = {key: role for key, name, code in names if (role := role_of(name, code)) is not None}
    return {key: _alone(role, set(roles.values())) for key, role in roles.items()}


def _alone(role: str, roles: set[str]) -> str:
    """What a region has that the other ``roles`` of its file have not."""
    if role == WHOLE:
        return EDEMA if roles & {CORE, ENHANCING, NECROTIC, CYST, CAVITY} else TUMOR
    if role == CORE:
        return NECROTIC if ENHANCING in roles else ENHANCING if NECROTIC in roles else TUMOR
    return role


@lru_cache(4096)  # front ends ask for the same names again and again
def role_of(name: str, code: str) -> str | None:
    """The role or region that a name tells, else its terminology code; None where neither is known.

    Tissues have many codes; one that is not in our table is known by its meaning ("SCT^42695009^Thalamus").
    """
    parts = re.split(r"[\^~:]", code)
    coded = next((role for key, role in _CODE_ROLES.items() if key in parts), None)
    meant = _by_words(code)
    return _by_words(name) or coded or (meant if meant in TISSUE_ROLES else None)


def _by_words(text: str) -> str | None:
    words = _plain(text)
    if _OF_FILE.search(words):
        return None
    short = [word for word in words.split() if not _FILLING.fullmatch(word)]
    if short and all(word in _ABBREVIATIONS for word in short):
        found = {_ABBREVIATIONS[word] for word in short}
        return found.pop() if len(found) == 1 else None
    told = words
    for pattern, instead in _NEGATED:
        told = re.sub(pattern, instead, told)
    role = next((role for role, pattern in _RULES if re.search(pattern, told)), None)
    if role in (TUMOR, WHOLE) and re.search(rf"{_LESS}.*edem", words):
        return CORE
    return NECROTIC if role in (TUMOR, CORE) and re.search(rf"(?:{_LESS}|\bno\b).*enh", words) else role


def _plain(text: str) -> str:
    """Lower-case words between single spaces, without accents: "NonEnh_Tumor/Core" as "non enh tumor core"."""
    text = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z]{2})(?=\d)", " ", text).lower()
    text = re.sub(r"\bw/o\b", " without ", text)
    return " ".join(re.sub(r"[+&]", " and ", text).replace("_", " ").translate(_SEPARATORS).split())


def number_in(name: str) -> int | None:
    """The number in a name that tells nothing else ("Segment_4", "label 2", "4"); None for any other name."""
    words = _plain(name).split()
    told = [word for word in words if not _FILLING.fullmatch(word)]
    return int(words[-1]) if not told and words and words[-1].isdecimal() else None


def label_role(label: Label, scheme: LabelScheme) -> str:
    """The role of a scheme's own label. The scheme's flags count more than the words of the name."""
    names = ((other.value, other.name, other.code) for other in scheme.labels)
    role = read_names(names).get(label.value)
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


def parse_labels(text: str) -> dict[int, int]:
    """``"1=1,2=2,4=3"`` as a mapping of file value to scheme value. Raises InputError on anything else."""
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return {int(source): int(target) for source, target in pairs}
    except ValueError as exc:
        raise InputError(
            f"The labels {text} are not understood. Write them as file value = model value: 1=1,2=2,4=3.",
            option="labels",
        ) from exc


def labels_text(meanings: Mapping[int, object]) -> str:
    """The inverse of ``parse_labels``."""
    return ",".join(f"{value}={meaning}" for value, meaning in sorted(meanings.items()))
