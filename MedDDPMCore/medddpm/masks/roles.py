"""How the parts of a tumor nest, and which label of a scheme a part of a lesion gets."""

from __future__ import annotations

from ..errors import InputError
from ..labels.conventions import CAVITY, EDEMA, ENHANCING, NECROTIC, TUMOR, label_role
from ..labels.scheme import LabelScheme

# From the inside of a glioma to its outside.
NESTING = (CAVITY, NECROTIC, ENHANCING, TUMOR, EDEMA)


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


def value_for(scheme: LabelScheme, role: str) -> int:
    """The label value of ``role``. Raises InputError naming the parts that the scheme does have."""
    roles = tumor_roles(scheme)
    if role not in roles:
        raise InputError(
            f"Label scheme '{scheme.name}' has no {role} part; its tumor parts are: {', '.join(sorted(roles))}. "
            f"Leave '{role}' out of the lesion's parts, or use a model whose scheme has it."
        )
    return roles[role]
