"""How a mask is read: what each of its values shows, and what is doubtful about that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .conventions import WORDS
from .findings import listed
from .numbers import Convention
from .sizes import LabelSizes

# More values than this are told by what they are rather than one by one.
TOLD_SINGLY = 12


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
