"""Sentences on what a reading of a mask takes for granted, and how to say that it is otherwise."""

from __future__ import annotations

from collections.abc import Mapping

from .conventions import BRATS, BRATS_2024, ENHANCING, TUMOR, TUMOR_ROLES, Convention, label_role, scheme_value
from .findings import listed, milliliters
from .scheme import LabelScheme
from .sizes import OUTLINE_ML, LabelSizes


def alternatives(
    parts: frozenset[int], outline: int | None, convention: Convention, values: LabelSizes
) -> tuple[str, ...]:
    """Sentences on what the values could mean instead, with the option that says so."""
    found = []
    if convention.name == "tumor-only" and 1 in parts:
        found.append(
            "Label 1 alone could also be a BraTS mask with a necrotic core only; it is taken as the whole tumor. "
            "To read it as necrotic core, give --labels 1=1 (for a model with BraTS labels)."
        )
    if convention is BRATS_2024:
        found.append(
            "With 1 to 4 all small, the mask could also be of BraTS 2013, where 3 is non-enhancing, 4 enhancing tumor. "
            "If so, give --labels 1=1,2=2,3=1,4=3 (for a model with BraTS labels)."
        )
    if outline and values.volume_ml(outline) < OUTLINE_ML:
        found.append(
            f"Label {outline} is only {milliliters(values.volume_ml(outline))}, but it fills most of the field of "
            "view; if it is a tumor part, say so with --labels."
        )
    return tuple(found)


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


def as_tissues(words: Mapping[int, str], mapping: Mapping[int, int], scheme: LabelScheme) -> tuple[str, ...]:
    """A sentence on what became which tissue of a scheme; ``words``: file values, and what to call them."""
    found = {
        target: [text for value, text in words.items() if mapping.get(value) == target]
        for target in (*scheme.tissue_values, scheme.surround)
    }
    if not any(found[target] for target in scheme.tissue_values):
        return ()
    said = [f"{listed(texts)} as {scheme.label(target).name.lower()}" for target, texts in found.items() if texts]
    return (f"Taken as tissues: {'; '.join(said)}.",)


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
    return tuple(_substitute(v, role, scheme) for v, role in sorted(roles.items()) if _lacks(role, scheme))


def _lacks(role: str, scheme: LabelScheme) -> bool:
    return role in TUMOR_ROLES and role not in {label_role(label, scheme) for label in scheme.labels}


def _substitute(value: int, role: str, scheme: LabelScheme) -> str:
    target = scheme_value(role, scheme)
    what = "tumor without parts" if role == TUMOR else role
    return (
        f"The model has no label for {what}: value {value} is taken as {scheme.label(target).name.lower()} ({target}). "
        f"To choose another, give --labels {value}=N with N one of {listed(scheme.values)}."
    )
