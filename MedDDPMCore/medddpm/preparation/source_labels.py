"""What the values of all masks of a source mean: one reading for the whole data set, never one for each case."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from ..geometry.io import read_mask
from ..geometry.volume import Mask
from ..labels.conventions import labels_text
from ..labels.scheme import LabelScheme
from ..labels.together import labels_from_names, recognize_together
from ..progress import Reporter


def labels_of_source(
    source: str,
    names: Sequence[tuple[int, str]],
    masks: Sequence[Path],
    scheme: LabelScheme,
    reporter: Reporter,
) -> tuple[str | None, tuple[str, ...]]:
    """File value = scheme value ("1=2,2=1,3=3") for all masks, and sentences on how that was read.

    The names that a description gives count (``names``: value and name), then what the masks show together; None
    leaves it to each mask. Names of unknown meaning are left out, so a mask that has their values is refused. Raises
    InputError where no name is known, or where the masks' numbers could mean several things.
    """
    if names:
        mapping = labels_from_names(names, scheme)
        said = ", ".join(f"{v} '{n}' -> {_word(v, mapping, scheme)}" for v, n in names)
        if not mapping:
            raise InputError(f"{source} names labels that are not known: {said}. Say what each value means (--labels).")
        return labels_text(mapping), (f"The labels are known by their names: {said}.",)
    reporter.stage("labels", "Reading the masks' labels")
    found = recognize_together(_readable(masks, reporter), scheme)
    if found is None:
        return None, ()
    if found.question:
        raise InputError(f"{source}: {' '.join(found.question)}")
    return labels_text(found.mapping), found.sentences


def _word(value: int, mapping: Mapping[int, int], scheme: LabelScheme) -> str:
    if value not in mapping:
        return "not known"
    return scheme.label(mapping[value]).name.lower() if mapping[value] else "left out"


def _readable(masks: Sequence[Path], reporter: Reporter) -> Iterator[Mask]:
    for done, path in enumerate(masks):
        reporter.check_cancelled()
        with contextlib.suppress(InputError):  # the preparation of its case says what is the matter with it
            yield read_mask(path)
        reporter.step(done + 1, len(masks))
