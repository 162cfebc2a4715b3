"""The options of a request of the core as parameters of a module; ``Panels.OptionWidgets`` shows them."""

from __future__ import annotations

from typing import Any

from medddpm.options import Option, options_of

MAX_INT = 2**31 - 1  # what a spin box holds


def parameterName(name: str) -> str:
    """The name of an option in Slicer: "mass_effect" is "massEffect"."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def shownOptions(request: type) -> list[Option]:
    """Those that a widget can show: numbers, switches, choices and hosts. Files and other texts have their own."""
    kinds = (int, float, bool)
    return [told for told in options_of(request) if told.kind in kinds or told.choices or told.metavar == "HOST"]


def isOptional(option: Option) -> bool:
    """Whether it can be left to the model, for which the parameter is 0 or empty."""
    return option.default is None


def defaultOf(option: Option) -> Any:
    """The value of its parameter at first."""
    return option.kind() if isOptional(option) else option.default


def rangeOf(option: Option) -> tuple[float, float]:
    """Lowest and highest value of a number."""
    low = 0 if isOptional(option) or option.low is None else option.low
    return low, MAX_INT if option.high is None else min(option.high, MAX_INT)


def valuesOf(parameterNode: Any, request: type) -> dict[str, Any]:
    """The fields of a request as the parameter node has them; None where they are left to the model."""
    values = {}
    for told in shownOptions(request):
        value = getattr(parameterNode, parameterName(told.name))
        values[told.name] = None if isOptional(told) and not value else value
    return values


def withOptions(request: type) -> Any:
    """Decorator for the class of a parameter node: adds a parameter for each option that it does not name itself."""
    from typing import Annotated

    from slicer.parameterNodeWrapper import Default, WithinRange

    def decorate(cls: type) -> type:
        for told in shownOptions(request):
            limits = [] if told.kind in (bool, str) else [WithinRange(*rangeOf(told))]
            kind: Any = Annotated[(told.kind, *limits, Default(defaultOf(told)))]
            cls.__annotations__.setdefault(parameterName(told.name), kind)
        return cls

    return decorate
