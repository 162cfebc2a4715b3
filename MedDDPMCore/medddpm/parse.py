"""JSON and TOML data of unknown origin turned into typed, frozen dataclasses."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from .errors import InputError

# Free-form parts (training provenance) may nest this deep; deeper ones would exhaust Python's stack when written again.
MAX_DEPTH = 32
MAX_SHOWN = 80
KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}

T = TypeVar("T")


def parse_json(text: str, where: str) -> Any:
    """The value of a JSON text. Raises InputError beginning with ``where``; NaN and Infinity are no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise InputError(f"{where} is not valid JSON: {exc}. Copy the file again.") from exc


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def shown(value: object) -> str:
    """``value`` for an error message: quoted if it is text, control characters escaped, cut at 80 characters."""
    text = repr(list(value)) if isinstance(value, tuple) else ascii(value) if _unprintable(value) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def printable(text: str, keep: str = "") -> str:
    """``text`` without what a terminal would obey: white space becomes a space, other such characters a question mark.

    Those are control characters, reversals of the direction of writing, and names that are not UTF-8. What is in
    ``keep`` stays.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else " " if c.isspace() else "?" for c in text)


def _unprintable(value: object) -> bool:
    return isinstance(value, str) and not value.isprintable()


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Build the dataclass ``cls`` from plain data, strictly by its type hints.

    Understands nested dataclasses, tuples (written as lists), ``dict[str, Any]``, ``X | None``, paths (written as text)
    and plain values; a whole number serves as a float. Former names are read (see ``renewed``). Raises InputError that
    begins with ``where`` and names the field which is missing, unknown, of the wrong type or, by the dataclass's own
    checks, out of range.
    """
    if not isinstance(data, Mapping):
        raise InputError(f"{where} must be an object with named fields, not {shown(data)}.")
    data = _renewed(cls, data, where)
    hints = get_type_hints(cls)
    declared = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(str(key) for key in data if key not in declared)
    if unknown:
        raise InputError(
            f"{where} has the unknown field {shown(unknown[0])}; it was perhaps written by a newer version."
        )
    for name, f in declared.items():
        if name not in data and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(f"{where} lacks the field '{name}'.")
    return cls(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in data.items()})


def renewed(cls: type, data: Mapping[str, Any], where: str = "The data") -> dict[str, Any]:
    """``data`` of the dataclass ``cls`` and of those within it, with the names that fields and values have today.

    A dataclass names its former ones in class variables: ``FORMER_NAMES`` (former -> today's) and ``FORMER_VALUES``
    (today's name of the field -> former value -> today's). Raises InputError where both names of a field are there.
    """
    hints = get_type_hints(cls)
    data = _renewed(cls, data, where)
    nested = {key for key, value in data.items() if is_dataclass(hints.get(key)) and isinstance(value, Mapping)}
    return {key: renewed(hints[key], data[key], where) if key in nested else data[key] for key in data}


def _renewed(cls: type, data: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = getattr(cls, "FORMER_NAMES", {})
    values = getattr(cls, "FORMER_VALUES", {})
    if twice := sorted(key for key in names if key in data and names[key] in data):
        raise InputError(f"{where} has '{names[twice[0]]}' twice, once by its former name '{twice[0]}'. Remove one.")
    found = {names.get(key, key): value for key, value in data.items()}
    return {
        key: values[key].get(value, value) if key in values and isinstance(value, str) else value
        for key, value in found.items()
    }


def _convert(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(kind for kind in typing.get_args(hint) if kind is not type(None))
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _tuple(typing.get_args(hint), value, where)
    if origin is dict:
        return _free_form(value, where)
    if is_dataclass(hint):
        return from_dict(hint, value, where)  # type: ignore[arg-type]
    return _plain(hint, value, where)


def _tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise InputError(f"{where} must be a list, not {shown(value)}.")
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(value)
    if len(hints) != len(value):
        raise InputError(f"{where} must be a list of {len(hints)} entries, not {len(value)}.")
    return tuple(_convert(hint, item, where) for hint, item in zip(hints, value, strict=True))


def _plain(hint: type, value: Any, where: str) -> Any:
    """A value of exactly the type ``hint``: true is no number, although Python would take it for 1."""
    number = type(value) in (int, float)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is not hint and not (hint is float and number):
        raise InputError(f"{where} must be {KINDS.get(hint, hint.__name__)}, not {shown(value)}.")
    return _finite(value, where) if hint is float else value


def _finite(value: int | float, where: str) -> float:
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise InputError(f"{where} must be a finite number, not {shown(value)}.")
    return result


def _free_form(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be an object with named fields, not {shown(value)}.")
    _check_free_form(value, where, MAX_DEPTH)
    return dict(value)


def _check_free_form(value: Any, where: str, depth: int) -> None:
    if depth == 0:
        raise InputError(f"{where} is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, float):
        _finite(value, where)
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            _check_free_form(item, where, depth - 1)
