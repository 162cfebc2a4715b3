"""Options as data: a field of a request says what it is and may be, for the command line, Slicer and the documents."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from types import NoneType
from typing import Any

from .errors import InputError
from .parse import shown


@dataclass(frozen=True)
class Option:
    """``help``: one sentence for people, ``label`` a word or two. ``low`` and ``high``: the range, both included, in
    ``unit``; ``above`` and ``below``: not included. ``choices``: all values there are, by name or with a title for
    people, or with ``more`` the usual ones. ``flag`` and ``metavar``: how the command line calls it and its value,
    where not by its name.

    ``name``, ``default`` and ``hint`` are those of the field.
    """

    help: str
    label: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    unit: str = ""
    choices: Iterable[str] = ()
    more: bool = False
    flag: str = ""
    metavar: str | None = None
    name: str = ""
    default: Any = None
    hint: Any = None

    @property
    def kind(self) -> Any:
        """The type of its values: int, float, bool, str, or tuple for several texts."""
        if typing.get_origin(self.hint) is tuple:
            return tuple
        return next((kind for kind in typing.get_args(self.hint) if kind is not NoneType), self.hint)

    @property
    def titles(self) -> dict[str, str]:
        """The choices with their titles."""
        return dict(self.choices) if isinstance(self.choices, dict) else {name: name for name in self.choices}

    @property
    def limits(self) -> str:
        """What it may be, for reading; "" for anything."""
        unit = f" {self.unit}" if self.unit else ""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.below is not None or self.above is not None:
            least = f"at least {_number(self.low or 0)}" if self.above is None else f"above {_number(self.above)}"
            most = "" if self.high is None else f" and at most {_number(self.high)}"
            return f"{least}{most if self.below is None else f' and below {_number(self.below)}'}{unit}"
        if self.high is not None:
            return f"{_number(self.low or 0)} to {_number(self.high)}{unit}"
        return "" if self.low is None else f"{_number(self.low)}{unit} or more"

    def allows(self, value: Any) -> bool:
        """Whether a value is one of its choices or in its range; None is one of any option."""
        if value is None:
            return True
        if self.choices:
            return self.more or value in self.choices
        return (
            (self.low is None or self.low <= value)
            and (self.high is None or value <= self.high)
            and (self.above is None or self.above < value)
            and (self.below is None or value < self.below)
        )


def option(default: Any, help: str, **rest: Any) -> Any:
    """A dataclass field with an Option; ``rest``: its other fields."""
    return field(default=default, metadata={"option": Option(help, **rest)})


def options_of(request: type) -> Iterator[Option]:
    """The options of a request, in order."""
    hints = typing.get_type_hints(request)
    for f in fields(request):
        if "option" in f.metadata:
            told = f.metadata["option"]
            label = told.label or f.name.replace("_", " ").capitalize()
            yield replace(told, label=label, name=f.name, default=f.default, hint=hints[f.name])


def check_options(request: Any, section: str = "") -> None:
    """Raise InputError where a value is none of its choices or out of range; ``section``: what its name begins with."""
    for f in fields(request):
        value, told = getattr(request, f.name), f.metadata.get("option")
        if told is not None and not told.allows(value):
            name = f"{section}.{f.name}" if section else f.name
            given = shown(value) if isinstance(value, str) else _number(value)
            raise InputError(f"The option {name} is {given}, but must be {told.limits}.")


def options_table(request: type, command_line: bool = True) -> str:
    """The options of a request as a Markdown table, for the documents: field (of job files, and the keyword in Python),
    option of the command line (if it has any), values, default, meaning."""
    rows: list[tuple[str, ...]] = [("Field", "Command line", "Values", "Default", "Meaning"), ("---",) * 5]
    for told in options_of(request):
        flag = told.flag or f"--{told.name.replace('_', '-')}"
        values = told.limits.removeprefix("one of ") or told.metavar or ("on, off" if told.kind is bool else "")
        default = "" if told.default in (None, ()) else f"`{told.default}`"
        rows.append((f"`{told.name}`", f"`{flag}`", values + (", others" if told.more else ""), default, told.help))
    rows = rows if command_line else [(row[0], *row[2:]) for row in rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
