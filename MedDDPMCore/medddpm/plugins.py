"""Samplers, networks, dataset layouts and label schemes that other installed packages bring, as entry points.

A package declares ``[project.entry-points."medddpm.samplers"]`` (or ``networks``, ``layouts``, ``schemes``) with lines
``name = "package.module:object"``; docs/plugins.md says what each object must be. Names are read from the packages'
metadata; code is imported when something of that name is used, never because a model, a job or a dataset was opened
by somebody who only looks at it.
"""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import InputError
from .parse import shown


@cache
def _registered(kind: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"medddpm.{kind}"):
        found.setdefault(point.name, []).append(point)
    return found


def names(kind: str, own: tuple[str, ...]) -> tuple[str, ...]:
    """``own`` and the names that other packages register for ``kind``; warns of own names among them."""
    for name in sorted(_registered(kind).keys() & set(own)):
        packages = _packages(_registered(kind)[name])
        warnings.warn(
            f"{packages} registers {name} in medddpm.{kind}, which MedDDPM has itself: left out.", stacklevel=2
        )
    return (*own, *sorted(_registered(kind).keys() - set(own)))


def load(kind: str, name: str, wanted: type | None = None) -> Any:
    """The object that another package registered as ``name``: an instance of ``wanted``, or something to call.

    Raises InputError where two packages did, where its import fails, and where it is something else.
    """
    points = _registered(kind)[name]
    what = f"{shown(name)} (medddpm.{kind}) of {_packages(points)}"
    if len(points) > 1:
        raise InputError(f"There are two {what}. Uninstall one of them, or give it another name.")
    try:
        found = points[0].load()
    except Exception as exc:  # a stranger's module may raise anything while it is imported
        raise InputError(f"{what} cannot be loaded: {type(exc).__name__}: {exc}. Update or uninstall it.") from exc
    if not (callable(found) if wanted is None else isinstance(found, wanted)):
        needed = "a function or class" if wanted is None else wanted.__name__
        raise InputError(f"{what} is a {type(found).__name__}, but must be {needed}. Update or uninstall it.")
    return found


def _packages(points: list[EntryPoint]) -> str:
    return " and ".join(sorted(point.dist.name if point.dist else point.value for point in points))
