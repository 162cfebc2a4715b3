"""The views of a training: its charts above, a real image and the model's own below; no Qt."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import slicer
import vtk
from MedDDPMSlicerLib.Views import compositeNode
from vtk.util.numpy_support import vtk_to_numpy

LAYOUT_ID = 27150
# Singleton tags of the views.
LOSS, QUALITY = "MedDDPMLoss", "MedDDPMQuality"
REAL, SYNTHETIC = "MedDDPMReal", "MedDDPMSynthetic"
# The slice views move together, and with no others.
VIEW_GROUP = 28
MASK_OPACITY = 0.6
_PLOTS = ((LOSS, "Loss"), (QUALITY, "Quality"))
_SLICES = ((REAL, "Real", "#6EB04B"), (SYNTHETIC, "Synthetic", "#F34A33"))


def shown(layoutNode: Any) -> bool:
    """Whether the views of a vtkMRMLLayoutNode are arranged for a training."""
    return bool(layoutNode.GetViewArrangement() == LAYOUT_ID)


def show(layoutNode: Any, loss: Any, quality: Any) -> None:
    """Arrange the views for a training, with its two vtkMRMLPlotChartNode (None for an empty view)."""
    if not layoutNode.IsLayoutDescription(LAYOUT_ID):
        layoutNode.AddLayoutDescription(LAYOUT_ID, layoutXml())
    if not shown(layoutNode):
        layoutNode.SetViewArrangement(LAYOUT_ID)
    for name, chart in ((LOSS, loss), (QUALITY, quality)):
        view = _plotView(name)
        wanted = chart.GetID() if chart is not None else None
        if view.GetPlotChartNodeID() != wanted:
            view.SetPlotChartNodeID(wanted)


def showPair(real: Any, synthetic: Any, mask: Any = None) -> None:
    """Put two volumes into the slice views, with the outline of a label map (None for none) over both."""
    news = False
    for name, volume in ((REAL, real), (SYNTHETIC, synthetic)):
        news = _setLayers(compositeNode(name), volume, mask) or news
        sliceNode = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if sliceNode is not None:
            sliceNode.SetUseLabelOutline(True)
    if news:
        _fit()
        _jump(mask)


def layoutXml() -> str:
    """Slicer's layout description."""
    plots = "".join(
        f'<item><view class="vtkMRMLPlotViewNode" singletontag={quoteattr(name)}>'
        f'<property name="viewlabel" action="default">{title}</property></view></item>'
        for name, title in _PLOTS
    )
    slices = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag={quoteattr(name)}>'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{title}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property>'
        f'<property name="viewcolor" action="default">{color}</property></view></item>'
        for name, title, color in _SLICES
    )
    return (
        '<layout type="vertical" split="true">'
        f'<item splitSize="450"><layout type="horizontal">{plots}</layout></item>'
        f'<item splitSize="550"><layout type="horizontal">{slices}</layout></item></layout>'
    )


def _plotView(name: str) -> Any:
    """The node of a plot view, made where the layout manager has not made it."""
    found = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode")
    if found is None:
        found = slicer.vtkMRMLPlotViewNode()
        found.SetSingletonTag(name)
        found.SetLayoutName(name)
        found = slicer.mrmlScene.AddNode(found)
    return found


def _setLayers(composite: Any, volume: Any, mask: Any) -> bool:
    """Show a volume and a label map; returns whether the volume is another than before."""
    label = mask.GetID() if mask is not None else None
    before = composite.GetBackgroundVolumeID()
    wasModifying = composite.StartModify()
    composite.SetBackgroundVolumeID(volume.GetID())
    composite.SetForegroundVolumeID(None)
    composite.SetLabelVolumeID(label)
    composite.SetLabelOpacity(MASK_OPACITY)
    composite.SetLinkedControl(True)
    composite.EndModify(wasModifying)
    return bool(before != volume.GetID())


def _jump(mask: Any) -> None:
    """Cut through the tumor: what is not of the commonest label of the mask."""
    center = None if mask is None else _tumorCenter(mask)
    if center is None:
        return
    for name in (REAL, SYNTHETIC):
        node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if node is not None:
            node.JumpSliceByOffsetting(*center)


def _tumorCenter(mask: Any) -> tuple[float, float, float] | None:
    """RAS (mm) of the middle of the tumor; None without one."""
    image = mask.GetImageData()
    if image is None:
        return None
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    counts = np.bincount(voxels[voxels > 0].astype(np.int64))
    if np.count_nonzero(counts) < 2:
        return None
    places = np.argwhere((voxels > 0) & (voxels != counts.argmax()))
    matrix = vtk.vtkMatrix4x4()
    mask.GetIJKToRASMatrix(matrix)
    x, y, z, _ = matrix.MultiplyPoint((*places.mean(axis=0)[::-1], 1.0))
    return x, y, z


def _fit() -> None:
    """Bring the images into sight; without the application there is nothing to be seen."""
    logic = getattr(slicer.app, "applicationLogic", lambda: None)()
    for name in (REAL, SYNTHETIC):
        node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        sliceLogic = logic.GetSliceLogic(node) if logic is not None and node is not None else None
        if sliceLogic is not None:
            sliceLogic.FitSliceToAll()
