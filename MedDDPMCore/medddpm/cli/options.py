"""Command-line options made from the fields of a request."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

import typer

from ..options import Option, options_of

LARGEST_SHOWN = 1e6  # a range beyond it tells nobody anything
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
Function = TypeVar("Function", bound=Callable[..., Any])


def with_options(*requests: type, defaults: bool = True, without: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Give a command, whose last parameter is ``**options``, an option for each field of ``requests`` that is one.

    Fields ``without`` which the command does are left out. ``given`` makes fields of the request of what the command is
    called with; without ``defaults`` only of those that it is called with.
    """

    def decorate(function: Function) -> Function:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[:-1]
        parameters = [parameter.replace(kind=_KEYWORD) for parameter in own]
        for told in [told for request in requests for told in options_of(request) if told.name not in without]:
            several = told.kind is tuple
            absent = several or not defaults
            kind = Annotated[list[str] | None if several else told.hint | None if absent else told.hint, _option(told)]  # type: ignore[valid-type]
            default = None if absent else told.default
            parameters.append(inspect.Parameter(told.name, _KEYWORD, default=default, annotation=kind))
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return function

    return decorate


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a request, of what a command was called with: lists are tuples there, and nothing is left out."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items() if value is not None
    }


def with_flag(sentence: str, option: str) -> str:
    """``sentence`` of an error or finding with the command line's name of the ``option`` that helps."""
    return f"{sentence} See --{option.replace('_', '-')}." if option else sentence


def _option(told: Option) -> Any:
    names = (told.flag,) if told.flag else ()
    high = told.high if told.high is not None and told.high <= LARGEST_SHOWN else None
    metavar = told.metavar or ("" if told.more else "|".join(told.choices)) or None
    return typer.Option(*names, help=told.help, min=told.low, max=high, metavar=metavar)
