"""The banner that offers to install what training needs."""

from __future__ import annotations

from MedDDPMSlicerLib import Dependencies
from MedDDPMSlicerLib.Panels.SetupPanel import SetupPanel as SharedSetupPanel


class SetupPanel(SharedSetupPanel):
    """Visible only while packages for training are missing."""

    use = Dependencies.TRAINING
