"""What the values of a source's masks mean, from the names that the source itself gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..labels.conventions import EDEMA, NECROTIC, TUMOR, role_of, scheme_value
from ..labels.scheme import LabelScheme


def labels_from_names(names: Sequence[tuple[int, str]], scheme: LabelScheme) -> str | None:
    """File value = scheme value ("1=2,2=1,3=3") from (value, name) pairs; None where a name's meaning is not known.

    nnU-Net's own BraTS data sets number edema 1 and necrosis 2, the reverse of BraTS, so the names must count. In its
    regions, what only the whole tumor has is edema, and what the core has besides the enhancing part is necrosis.
    """
    roles = {value: _role(name) for value, name in names}
    if not roles or any(role is None for role in roles.values()):
        return None
    return ",".join(f"{value}={scheme_value(role, scheme)}" for value, role in roles.items() if role is not None)


def _role(name: str) -> str | None:
    spaced = name.replace("_", " ")
    role = role_of(spaced, "")
    if role == TUMOR and re.search(r"\bwhole\b", spaced, re.IGNORECASE):
        return EDEMA
    if role == TUMOR and re.search(r"\bcore\b", spaced, re.IGNORECASE):
        return NECROTIC
    return role
