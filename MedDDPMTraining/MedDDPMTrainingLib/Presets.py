"""The presets that a user can choose from."""

from __future__ import annotations

from typing import NamedTuple

from medddpm.training.presets import PRESETS, preset_data

TITLES = {
    "brats": "BraTS (as published)",
    "whole-head": "Whole head (as published)",
    "demo": "Demo (2 mm)",
    "compact": "Compact network",
}


class Preset(NamedTuple):
    """A preset: its ``name`` for the core, what a person calls it, and a sentence on what it is for."""

    name: str
    title: str
    sentence: str


def presets() -> list[Preset]:
    """All presets of the core, in its order."""
    return [Preset(name, TITLES.get(name, name), sentence) for name, sentence in PRESETS.items()]


def defaultIterations(name: str) -> int:
    """How many iterations a preset trains unless told otherwise. Raises InputError where there is no such preset."""
    return int(preset_data(name)["iterations"])
