"""Which labels the masks of a data set have, where one numbering holds for all."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..geometry.volume import Mask
from .conventions import scheme_value
from .numbers import LAST_NUMBER, choose, exposure, own_convention
from .reading import Recognition, damaged, rivals, too_much_tumor, which, words_of
from .scheme import LabelScheme
from .sizes import find_outline, label_sizes
from .values import clean_values


def recognize_together(masks: Iterable[Mask], scheme: LabelScheme) -> Recognition | None:
    """One reading of the tumor's numbers in all masks of a data set; None where each mask by itself says enough.

    What no single mask can tell, such as whether 1 alone is a core or a whole tumor, the others do.
    """
    shares: dict[int, list[float]] = {}
    outlines: set[int] = set()
    both = False
    for mask in masks:
        data, _ = clean_values(mask.volume.data, 1.0)
        values = label_sizes(data, mask.volume.spacing)
        outline = find_outline(values, scheme)
        parts = values.present - {outline}
        if not values.present or damaged(values):
            continue  # the check of the mask says so
        own = mask.segments or len(parts) > LAST_NUMBER or parts & set(scheme.tissue_values)
        if own or too_much_tumor(values, parts, scheme):
            return None
        outlines |= {outline} if outline else set()
        exposed = exposure(values.labels, parts) if len(parts) > 1 else {}
        for part in parts:
            shares.setdefault(part, []).extend([exposed[part]] if exposed else [])
        both |= {3, 4} <= parts
    numbers, rest = own_convention(scheme), dict.fromkeys(outlines, scheme.surround)
    known = set(shares) <= set(numbers.roles) and (numbers.name == "scheme" or outlines == {scheme.surround})
    if len(shares) < 2 or len(scheme.tumor_values) == 1 or known or outlines & set(shares):
        return None
    means = {part: float(np.mean(found)) if found else 0.0 for part, found in sorted(shares.items())}
    choice = choose(means, scheme)
    if choice is None:
        return None
    roles = {part: choice.best.roles[part] for part in means}
    mapping = {part: scheme_value(role, scheme) for part, role in roles.items()} | rest
    question = which(means, choice, rest, scheme) if choice.open else None
    if {3, 4} <= set(means) and not both:
        sentence = "Some masks have the label 3, others 4, and none has both, as where two datasets are mixed."
        question = sentence, "Prepare each of them on its own, or say what each label means."
    doubts = rivals(roles, choice, rest, scheme)
    return Recognition(choice.best, mapping, assumptions=doubts, words=words_of(roles), question=question)
