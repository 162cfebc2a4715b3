"""How the parts of a tumor nest, which label of a scheme a part of a lesion gets, and where tumor may be."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import InputError
from ..labels.conventions import (
    CAVITY,
    CSF,
    CYST,
    EDEMA,
    ENHANCING,
    NECROTIC,
    TISSUE_ROLES,
    TUMOR,
    VENTRICLES,
    label_role,
)
from ..labels.scheme import LabelScheme

FLUID = (CSF, VENTRICLES)
SOLID = tuple(role for role in TISSUE_ROLES if role not in FLUID)
# From the inside of a glioma to its outside.
NESTING = (CAVITY, CYST, NECROTIC, ENHANCING, TUMOR, EDEMA)


def tumor_roles(scheme: LabelScheme) -> dict[str, int]:
    """Role -> label value of the tumor parts, by terminology code or name; of equal roles the first label counts.

    A scheme with one tumor label has only ``TUMOR``. Raises InputError where the scheme has no tumor label.
    """
    tumor = [label for label in scheme.labels if label.tumor]
    if not tumor:
        raise InputError(f"Label scheme '{scheme.name}' has no tumor label, so there is no tumor to work on.")
    if len(tumor) == 1:
        return {TUMOR: tumor[0].value}
    return {label_role(label, scheme): label.value for label in reversed(tumor)}


def nesting_order(scheme: LabelScheme) -> tuple[int, ...]:
    """All tumor values from the innermost part to the outermost (BraTS: necrosis 1, enhancing 3, edema 2)."""
    tumor = [label for label in scheme.labels if label.tumor]
    ordered = sorted(tumor, key=lambda label: NESTING.index(label_role(label, scheme)))
    return tuple(label.value for label in ordered)


def tissue_labels(scheme: LabelScheme, roles: Collection[str] = TISSUE_ROLES) -> tuple[int, ...]:
    """Values of the labels that are these tissues of the brain; a scheme may have other labels that are no tumor."""
    return tuple(value for value in scheme.tissue_values if label_role(scheme.label(value), scheme) in roles)


def room_values(scheme: LabelScheme) -> tuple[int, ...]:
    """Values that a tumor may cover: the surround and tissues, not what is neither (an electrode, another lesion)."""
    return (scheme.surround, *tissue_labels(scheme))


def value_for(scheme: LabelScheme, role: str) -> int:
    """The label value of ``role``. Raises InputError naming the parts that the scheme does have."""
    roles = tumor_roles(scheme)
    if role not in roles:
        raise InputError(
            f"Label scheme '{scheme.name}' has no {role} part; its tumor parts are: {', '.join(sorted(roles))}. "
            f"Leave '{role}' out of the lesion's parts, or use a model whose scheme has it."
        )
    return roles[role]
