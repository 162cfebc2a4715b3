"""The panels of this module."""

from __future__ import annotations

from typing import Any

from MedDDPMSlicerLib.Panels.PanelSet import PanelSet as SharedPanelSet
from MedDDPMSlicerLib.Panels.SetupPanel import SetupPanel

from .AnatomyPanel import AnatomyPanel
from .BatchPanel import BatchPanel
from .Context import Context
from .EditScanPanel import EditScanPanel
from .GeneratePanel import GeneratePanel
from .MaskPanel import MaskPanel
from .ModelPanel import ModelPanel
from .RecoveryPanel import RecoveryPanel
from .ResultsPanel import ResultsPanel
from .StoragePanel import StoragePanel

KINDS = (
    SetupPanel,
    RecoveryPanel,
    ModelPanel,
    MaskPanel,
    AnatomyPanel,
    GeneratePanel,
    ResultsPanel,
    EditScanPanel,
    BatchPanel,
    StoragePanel,
)


class PanelSet(SharedPanelSet):
    """All sections of MedDDPM Synth."""

    def __init__(self, ui: Any, logic: Any) -> None:
        super().__init__(ui, Context(logic), KINDS)
