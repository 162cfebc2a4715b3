"""Giving the model of a run to the module MedDDPM Synth."""

from __future__ import annotations

from typing import Any

import slicer
from medddpm.errors import InputError
from medddpm.training.summary import RunSummary
from MedDDPMSlicerLib.Models import ModelLibrary

MODULE = "MedDDPMSynth"


def handOver(summary: RunSummary, library: ModelLibrary) -> str:
    """Put the newest model of a run into the list that MedDDPM Synth offers; returns its key there.

    It stays where it is, so that a training that goes on improves it. Raises InputError where there is none yet, or it
    is damaged.
    """
    if summary.model is None:
        raise InputError(
            f"The run '{summary.name}' has no model yet. The training writes one with its first checkpoint."
        )
    key = library.remember(summary.model)
    library.lastUsed = key
    return key


def openSynth(key: str) -> bool:
    """Choose the model in MedDDPM Synth and open that module; returns whether it is there. Needs the application."""
    module: Any = getattr(slicer.modules, MODULE.lower(), None)
    if module is None:
        return False
    logic = module.logic()
    if hasattr(logic, "parameterNode"):  # offered to scripts by the module once the application has started
        logic.parameterNode().model = key
    slicer.util.selectModule(MODULE)
    return True
