"""Label schemes as data: what the values of a mask mean to a model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from .. import plugins
from ..errors import InputError
from ..files import read_text
from ..parse import from_dict, parse_json, shown

SHIPPED = ("brats", "glioma-anatomy", "whole-head")
SCHEMES = plugins.names("schemes", SHIPPED)


@dataclass(frozen=True)
class Label:
    """One label: its value in the mask file, its name, display color (0-255) and terminology code.

    ``code`` is ``"<scheme>^<value>^<meaning>"`` as Slicer's terminologies write it (for example
    ``"SCT^12738006^Brain"``). ``tumor`` tells lesion parts from the surrounding tissue.
    """

    value: int
    name: str
    color: tuple[int, int, int]
    code: str
    tumor: bool = False

    def __post_init__(self) -> None:
        if len(self.color) != 3 or any(not 0 <= c <= 255 for c in self.color):
            raise InputError(f"The color of label {self.value} must be three numbers from 0 to 255, not {self.color}.")


@dataclass(frozen=True)
class LabelScheme:
    """The labels of a model in channel order and the meaning of background.

    ``surround`` is the value of the label that fills everything inside the head or brain outline that is neither tumor
    nor a tissue with a label of its own (published Med-DDPM: 1 in the whole-head model, 4 in the BraTS model); every
    scheme has one.
    """

    name: str
    labels: tuple[Label, ...]
    surround: int
    background: str

    def __post_init__(self) -> None:
        values = [label.value for label in self.labels]
        if not values or len(set(values)) != len(values) or any(not 0 < v < 256 for v in values):
            raise InputError(f"Label scheme '{self.name}' needs distinct label values from 1 to 255, but has {values}.")
        if self.surround not in values:
            raise InputError(f"Label scheme '{self.name}' names {self.surround} as its surround, not one of {values}.")

    @property
    def values(self) -> tuple[int, ...]:
        """Label values in channel order."""
        return tuple(label.value for label in self.labels)

    @property
    def tumor_values(self) -> tuple[int, ...]:
        """Values of the lesion parts, in channel order."""
        return tuple(label.value for label in self.labels if label.tumor)

    @property
    def tissue_values(self) -> tuple[int, ...]:
        """Values of what else lies inside of the outline, neither tumor nor the surround; none in published schemes."""
        return tuple(label.value for label in self.labels if not label.tumor and label.value != self.surround)

    @property
    def names(self) -> dict[str, int]:
        """Name of each label, case-folded -> value."""
        return {label.name.casefold(): label.value for label in self.labels}

    def label(self, value: int) -> Label:
        """The label with this value; KeyError where the scheme has none."""
        for label in self.labels:
            if label.value == value:
                return label
        raise KeyError(value)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, where: str = "The label scheme") -> LabelScheme:
        """The inverse of ``to_dict``. Raises InputError, beginning with ``where``, for what is no scheme."""
        return from_dict(cls, data, where)


def load_scheme(name: str) -> LabelScheme:
    """One of ``SCHEMES``, or the scheme in a .json file of the form of those in ``schemes/``.

    ``"brats"`` (Med-DDPM 1/2/3 tumor, 4 brain), ``"glioma-anatomy"`` (the same, 5 to 11 tissues of the brain),
    ``"whole-head"`` (1 head, 2 tumor) or one of another package (see ``plugins``). Raises InputError where there is no
    such scheme.
    """
    plain = name.replace("_", "-")
    if name.lower().endswith(".json"):
        where = f"The label scheme {shown(name)}"
        return LabelScheme.from_dict(parse_json(read_text(Path(name), "The label scheme"), where), where)
    if plain not in SHIPPED and name not in SCHEMES:
        raise InputError(f"The label scheme {shown(name)} is not known. Give {', '.join(SCHEMES)} or a .json file.")
    if plain not in SHIPPED:
        return plugins.load("schemes", name, LabelScheme)
    path = resources.files(__package__) / "schemes" / f"{plain}.json"
    return LabelScheme.from_dict(json.loads(path.read_text(encoding="utf-8")))
