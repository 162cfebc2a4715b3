"""The colors of a dataset's labels for the masks of its samples: those that its segments have elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from medddpm.dataset import read_dataset_config
from medddpm.errors import InputError
from medddpm.labels.scheme import Label

NAME = "MedDDPM Training labels"


def labelsOf(dataset: str) -> tuple[Label, ...]:
    """The labels of a prepared dataset; none where it cannot be read here (a training of another computer)."""
    try:
        return tuple(read_dataset_config(Path(dataset)).scheme.labels) if dataset else ()
    except InputError:
        return ()


def newColorNode(labels: tuple[Label, ...]) -> Any:
    """A vtkMRMLColorTableNode in the scene, not saved with it; values without a label are transparent."""
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(NAME)
    node.SetTypeToUser()
    node.SetSaveWithScene(False)
    node.SetHideFromEditors(True)
    node.SetNumberOfColors(max(label.value for label in labels) + 1)
    node.GetLookupTable().SetTableRange(0, node.GetNumberOfColors() - 1)
    for value in range(node.GetNumberOfColors()):
        node.SetColor(value, "", 0.0, 0.0, 0.0, 0.0)
    for label in labels:
        red, green, blue = (part / 255 for part in label.color)
        node.SetColor(label.value, label.name, red, green, blue, 1.0)
    return slicer.mrmlScene.AddNode(node)
