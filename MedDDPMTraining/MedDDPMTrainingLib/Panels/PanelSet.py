"""The panels of this module."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.PanelSet import PanelSet as SharedPanelSet

from .Context import Context
from .PreparePanel import PreparePanel
from .RunsPanel import RunsPanel
from .SetupPanel import SetupPanel
from .SourcePanel import SourcePanel
from .StoragePanel import StoragePanel
from .TrainPanel import TrainPanel
from .WatchPanel import WatchPanel

KINDS = (SetupPanel, SourcePanel, PreparePanel, TrainPanel, RunsPanel, WatchPanel, StoragePanel)


class PanelSet(SharedPanelSet):
    """All sections of MedDDPM Training."""

    def __init__(self, ui: Any, logic: Any) -> None:
        super().__init__(ui, Context(logic), KINDS)
