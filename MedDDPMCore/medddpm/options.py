"""Options as data: a field of a request says what it is and may be, for the command line, Slicer and the documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any

from .errors import InputError
from .parse import shown


@dataclass(frozen=True)
class Option:
    """``help``: one sentence for people. ``low`` and ``high``: the range, both included, in ``unit``; ``choices``: all
    values there are. ``flag`` and ``metavar``: how the command line calls it and its value, where not by its name.
    """

    help: str
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    flag: str = ""
    metavar: str | None = None

    @property
    def limits(self) -> str:
        """What it may be, for reading; "" for anything."""
        unit = f" {self.unit}" if self.unit else ""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.high is not None:
            return f"{_number(self.low or 0)} to {_number(self.high)}{unit}"
        return "" if self.low is None else f"{_number(self.low)}{unit} or more"


def option(default: Any, help: str, **rest: Any) -> Any:
    """A dataclass field with an Option; ``rest``: its other fields."""
    return field(default=default, metadata={"option": Option(help, **rest)})


def options_of(cls: type) -> Iterator[tuple[Field[Any], Option]]:
    """The fields of a request that are options, in order."""
    return ((f, f.metadata["option"]) for f in fields(cls) if "option" in f.metadata)


def check_options(request: Any) -> None:
    """Raise InputError where a value is none of its choices or out of range."""
    for f, told in options_of(type(request)):
        value = getattr(request, f.name)
        if value is None:
            continue
        if told.choices and value not in told.choices:
            raise InputError(f"The option {f.name} is {shown(value)}, but must be {told.limits}.")
        low, high = told.low, told.high
        if (low is not None and not low <= value) or (high is not None and not value <= high):
            raise InputError(f"The option {f.name} is {_number(value)}, but must be {told.limits}.")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
