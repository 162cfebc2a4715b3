"""How a mask is read: what each of its values shows, what is doubtful about that, and how to say what is meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from .conventions import (
    CORTEX,
    CSF,
    EDEMA,
    ENHANCING,
    TUMOR,
    TUMOR_ROLES,
    WHITE,
    WORDS,
    label_role,
    labels_text,
    scheme_value,
)
from .findings import listed, milliliters
from .numbers import BRATS, OTHERS, Choice, Convention, choose, outermost, scaled
from .scheme import LabelScheme
from .sizes import OUTLINE_ML, LabelSizes
from .values import is_interpolated

# More values than this are told by what they are rather than one by one.
TOLD_SINGLY = 12
# The largest gliomas are about a quarter of a brain.
MOST_TUMOR = 0.3


@dataclass(frozen=True)
class Recognition:
    """How a mask's values are read for a scheme.

    ``mapping``: each file value present -> value of the scheme (0 background); ``unknown``: values present without a
    meaning, not in ``mapping``. ``words``: what each value shows, for reading; ``names``: what the file calls it.
    ``outline``: the file value(s) of brain or head, tissues included, and ``kind`` what they outline (``"brain"``,
    ``"head"`` or None where there is no outline; a few tissues alone are none). ``notes``: sentences on what the
    mapping does; ``assumptions``: what could be otherwise, and how to say so. ``question``: where the values could mean
    several things and nothing decides, what is not clear and the possible answers; the mask then cannot be used.
    """

    convention: Convention
    mapping: dict[int, int]
    unknown: tuple[int, ...] = ()
    outline: tuple[int, ...] = ()
    kind: str | None = None
    notes: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    words: Mapping[int, str] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    question: tuple[str, str] | None = None

    @property
    def reading(self) -> str:
        """What each value is taken for: "The labels are known by their names: 3 'Edema' -> edema"."""
        words = {**self.words, **dict.fromkeys(self.unknown, "not known")}
        if len(words) > TOLD_SINGLY and not self.names:
            kinds = dict.fromkeys(words.values())
            said = [f"{listed([value for value in words if words[value] == kind])} -> {kind}" for kind in kinds]
            return f"{self.convention.title}: {'; '.join(said)}."
        called = {value: f"{value} '{self.names[value]}'" if value in self.names else str(value) for value in words}
        said = [f"{called[value]} -> {words[value]}" for value in sorted(words)]
        return f"{self.convention.title}{': ' if said else ''}{', '.join(said)}."

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was recognized, what is done about it, then what was assumed."""
        return (self.reading, *self.notes, *self.assumptions)


def words_of(roles: Mapping[int, str]) -> dict[int, str]:
    """Roles for reading."""
    return {value: WORDS.get(role, role) for value, role in roles.items()}


def not_clear(values: LabelSizes, question: tuple[str, str]) -> Recognition:
    """A mask whose labels only the user knows."""
    convention = Convention("open", "What the labels mean is not clear")
    return Recognition(convention, {}, tuple(sorted(values.present)), question=question)


def rivals(roles: Mapping[int, str], choice: Choice, rest: Mapping[int, int], scheme: LabelScheme) -> tuple[str, ...]:
    """Sentences on what numbers could mean instead. ``rest``: what the values beside the tumor are, for the answer."""
    parts = [value for value, role in roles.items() if role in TUMOR_ROLES]
    around = next((value for value in parts if roles[value] == EDEMA), None)
    why = f"Label {around} lies around the other parts of the tumor, as edema does. " if choice.best in OTHERS else ""
    settled = _option(choice.best, parts, rest, scheme)
    return tuple(
        f"{why}The mask could also follow {_whose(rival, parts)}; if so, give {_option(rival, parts, rest, scheme)}, "
        f"if not, {settled}."
        for rival in choice.rivals
    )


def which(
    exposed: Mapping[int, float], choice: Choice, rest: Mapping[int, int], scheme: LabelScheme
) -> tuple[str, str]:
    """The question which of several numberings is meant, and the answers."""
    known = sorted(part for part in exposed if part in choice.best.roles)
    outer = outermost(exposed)
    lies = f"Label {outer[0]} lies around the rest" if len(outer) == 1 else "None of them lies clearly around the rest"
    readings = [choice.best, *choice.rivals]
    said = ", or ".join(_whose(reading, known) for reading in readings)
    answers = ", or ".join(_option(reading, known, rest, scheme) for reading in readings)
    return f"What the labels {listed(known)} show is not clear. {lies}. They could follow {said}.", f"Give {answers}."


def not_known(exposed: Mapping[int, float], rest: Mapping[int, int], scheme: LabelScheme) -> tuple[str, str]:
    """The question what numbers mean that no numbering knows; an answer where they look like known ones scaled."""
    ordered = sorted(exposed)
    sentence = f"The labels {listed(ordered)} are not known values of tumor parts"
    near = scaled(ordered)
    choice = choose({near[value]: exposed[value] for value in ordered}, scheme) if near else None
    if choice is None:
        example = _labels({**dict.fromkeys(ordered, "N"), **rest})
        return f"{sentence}.", f"Say what each means: {example} with N one of {listed(scheme.values)}, 0 for nothing."
    found = Convention("", choice.best.title, {value: choice.best.roles[near[value]] for value in ordered})
    looks = f"{sentence}; in their distances they look like {listed([near[value] for value in ordered])}"
    return f"{looks}, in {_whose(found, ordered)}.", f"If so, give {_option(found, ordered, rest, scheme)}."


def too_much_tumor(values: LabelSizes, parts: Collection[int], scheme: LabelScheme) -> tuple[str, str] | None:
    """The question what labels mean that are too large for tumor: tissues, mostly."""
    volume = sum(map(values.volume_ml, parts))
    voxels = sum(values.voxels[part] for part in parts)
    if volume < OUTLINE_ML or voxels < MOST_TUMOR * sum(values.voxels.values()):
        return None
    present = sorted(values.present)
    noun = "label" if len(parts) == 1 else "labels"
    sentence = (
        f"The {noun} {listed(sorted(parts))} would be a tumor of {milliliters(volume)}, which is not plausible. The "
        "mask looks like a map of tissues (FSL FAST: 1 fluid, 2 gray, 3 white matter; SPM: 1 gray, 2 white matter, 3 "
        "fluid)."
    )
    if is_interpolated(values.labels, values.spacing):
        sentence += " Or it was resampled like an image and rounded; then take the original."
    brain = _labels(dict.fromkeys(present, scheme.surround))
    answer = f"Give {brain} to take all of it as {scheme.label(scheme.surround).name.lower()}, with the number of a "
    answer += "tumor part for what is tumor."
    fluid, gray, white = (scheme_value(role, scheme) for role in (CSF, CORTEX, WHITE))
    if present == [1, 2, 3] and fluid != scheme.surround:
        fast, spm = _labels({1: fluid, 2: gray, 3: white}), _labels({1: gray, 2: white, 3: fluid})
        answer = f"Give {fast} (FSL FAST), or {spm} (SPM), or what else it is."
    return sentence, answer


def damaged(values: LabelSizes) -> tuple[str, str] | None:
    """What is the matter with a mask whose numbers were interpolated, and what to do."""
    if not values.present or not is_interpolated(values.labels, values.spacing):
        return None
    return (
        "The mask was resampled like an image and rounded: its borders have thin shells of values between two labels, "
        "which would be read as tumor parts.",
        "Take the original, or resample it again with nearest-neighbor interpolation.",
    )


def contradicted(exposed: Mapping[int, float], own: Convention, scheme: LabelScheme) -> tuple[str, ...]:
    """A sentence where a mask in the scheme's own numbers has something else than edema around its tumor."""
    edema = next((value for value in exposed if own.roles.get(value) == EDEMA), None)
    choice = choose(exposed, scheme)
    if edema is None or edema in outermost(exposed) or choice is None:
        return ()
    rest = {scheme.surround: scheme.surround}
    meant = f", as in {_whose(choice.best, sorted(exposed))}" if choice.best in OTHERS else ""
    option = _option(choice.best, sorted(exposed), rest, scheme) if meant else "what each label means"
    around = outermost(exposed)[0]
    return (f"Label {around} lies around label {edema}, which is read as edema{meant}. If so, give {option}.",)


def small_outline(values: LabelSizes, outline: int | None) -> tuple[str, ...]:
    """A sentence where an outline is known by the field of view that it fills, not by its size."""
    if not outline or values.volume_ml(outline) >= OUTLINE_ML:
        return ()
    return (
        f"Label {outline} is only {milliliters(values.volume_ml(outline))}, but it fills most of the field of "
        "view; if it is a tumor part, say what the labels mean.",
    )


def small_rest(values: LabelSizes, roles: Mapping[int, str], numbering: LabelScheme) -> tuple[str, ...]:
    """A sentence where the surround of a scheme with tissues has the number, and the size, of enhancing tumor."""
    rest = numbering.surround
    tumor = set(roles.values()) & set(TUMOR_ROLES)
    usual = BRATS.roles.get(rest) == ENHANCING and rest in roles and tumor and ENHANCING not in tumor
    if not usual or values.volume_ml(rest) >= OUTLINE_ML:
        return ()
    return (
        f"Label {rest}, {milliliters(values.volume_ml(rest))}, is taken as brain that is not further classified. In "
        f"BraTS masks to 2021 it is enhancing tumor; if so, say what each value means.",
    )


def merged(roles: Mapping[int, str], scheme: LabelScheme) -> tuple[str, ...]:
    """A sentence where tumor parts become the one tumor label of a scheme."""
    lacking = [value for value, role in sorted(roles.items()) if _lacks(role, scheme)]
    if len(scheme.tumor_values) != 1 or not lacking:
        return ()
    only = scheme.label(scheme.tumor_values[0])
    values = f"value {lacking[0]} is" if len(lacking) == 1 else f"values {listed(list(lacking))} are"
    return (f"The model has one tumor label: {values} taken as {only.name.lower()} ({only.value}).",)


def substitutes(roles: Mapping[int, str], scheme: LabelScheme) -> tuple[str, ...]:
    """A sentence on each role that a scheme with several tumor parts lacks and that is taken as another."""
    if len(scheme.tumor_values) == 1:
        return ()
    return tuple(_substitute(v, roles, scheme) for v, role in sorted(roles.items()) if _lacks(role, scheme))


def _lacks(role: str, scheme: LabelScheme) -> bool:
    return role in TUMOR_ROLES and role not in {label_role(label, scheme) for label in scheme.labels}


def _substitute(value: int, roles: Mapping[int, str], scheme: LabelScheme) -> str:
    role = roles[value]
    target = scheme_value(role, scheme)
    what = "tumor without parts" if role == TUMOR else WORDS.get(role, role)
    every: dict[int, object] = {v: scheme_value(other, scheme) for v, other in roles.items()}
    return (
        f"The model has no label for {what}: value {value} is taken as {scheme.label(target).name.lower()} ({target}). "
        f"To choose another, give {_labels(every | {value: 'N'})} with N one of {listed(scheme.values)}."
    )


def _whose(convention: Convention, parts: Collection[int]) -> str:
    """Whose numbers, and what they say: "the numbers of HD-GLIO (1 -> edema, 2 -> enhancing tumor)"."""
    roles = {part: convention.roles[part] for part in parts}
    said = ", ".join(f"{part} -> {WORDS.get(role, role)}" for part, role in roles.items())
    return f"{convention.title.removeprefix('The mask follows ')} ({said})"


def _option(convention: Convention, parts: Collection[int], rest: Mapping[int, int], scheme: LabelScheme) -> str:
    return _labels({part: scheme_value(convention.roles[part], scheme) for part in parts} | dict(rest))


def _labels(meanings: Mapping[int, object]) -> str:
    """What each value means, in words to give."""
    return f"the labels {labels_text(meanings)}"
