"""The views of a training: its charts above, a real image and the model's own below; no Qt of ours."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import slicer
from MedDDPMSlicerLib.Views import VIEW_GROUP, compositeNode

LAYOUT_ID = 27150
# Singleton tags of the views: two of plots, two of slices.
LOSS, QUALITY = "MedDDPMLoss", "MedDDPMQuality"
REAL, SYNTHETIC = "MedDDPMReal", "MedDDPMSynthetic"
# Title and, of slice views, the color of the bar (RGB).
VIEWS = {
    LOSS: ("Loss", None),
    QUALITY: ("Quality", None),
    REAL: ("Real", (0.43, 0.69, 0.29)),
    SYNTHETIC: ("Synthetic", (0.95, 0.29, 0.20)),
}
MASK_OPACITY = 0.6


def shown(layoutNode: Any) -> bool:
    """Whether the views of a vtkMRMLLayoutNode are arranged for a training."""
    return bool(layoutNode.GetViewArrangement() == LAYOUT_ID)


def arrange(layoutNode: Any) -> Generator[None, None, None]:
    """Steps that arrange the views for a training: to make one takes the application a moment."""
    for tag, (title, color) in VIEWS.items():
        className = "vtkMRMLPlotViewNode" if color is None else "vtkMRMLSliceNode"
        if slicer.mrmlScene.GetSingletonNode(tag, className) is not None:
            continue
        node = slicer.mrmlScene.CreateNodeByClass(className)
        node.UnRegister(None)
        node.SetName(tag)
        node.SetSingletonTag(tag)
        node.SetLayoutName(tag)
        node.SetLayoutLabel(title)
        if color is not None:
            node.SetOrientation("Axial")
            node.SetViewGroup(VIEW_GROUP)
            node.SetLayoutColor(*color)
        slicer.mrmlScene.AddNode(node)
        yield
    plot = _plotView(QUALITY)
    if plot is not None:  # similarities are at the upper and at the lower edge: the legend goes between them
        legend = plot.chart().GetLegend()
        legend.SetVerticalAlignment(legend.CENTER)
    if not layoutNode.IsLayoutDescription(LAYOUT_ID):
        rows = []
        for height, kind, tags in ((450, "PlotView", (LOSS, QUALITY)), (550, "Slice", (REAL, SYNTHETIC))):
            views = (f'<view class="vtkMRML{kind}Node" singletontag="{tag}"></view>' for tag in tags)
            items = "".join(f'<item splitSize="500">{view}</item>' for view in views)
            rows.append(f'<item splitSize="{height}"><layout type="horizontal" split="true">{items}</layout></item>')
        xml = f'<layout type="vertical" split="true">{"".join(rows)}</layout>'
        layoutNode.AddLayoutDescription(LAYOUT_ID, xml)
    layoutNode.SetViewArrangement(LAYOUT_ID)
    yield


def showCharts(loss: Any, quality: Any, fit: bool) -> None:
    """Put two vtkMRMLPlotChartNode (None for an empty view) into the plot views; ``fit`` the axes to their curves."""
    for tag, chart in ((LOSS, loss), (QUALITY, quality)):
        node = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLPlotViewNode")
        wanted = chart.GetID() if chart is not None else None
        if node is not None and node.GetPlotChartNodeID() != wanted:
            node.SetPlotChartNodeID(wanted)
        plot = _plotView(tag)
        if fit and plot is not None:
            plot.fitToContent()


def showPair(real: Any, synthetic: Any, mask: Any = None) -> None:
    """Put two volumes into the slice views, with the outline of a label map (None for none) over both.

    Call it again: the views are linked, and the one that is filled last gives its volume to the other one.
    """
    label = mask.GetID() if mask is not None else None
    for tag, volume in ((REAL, real), (SYNTHETIC, synthetic)):
        composite = compositeNode(tag)
        if (composite.GetBackgroundVolumeID(), composite.GetLabelVolumeID()) == (volume.GetID(), label):
            continue
        sliceNode = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        if sliceNode is not None:
            sliceNode.SetUseLabelOutline(True)
        with slicer.util.NodeModify(composite):
            composite.SetBackgroundVolumeID(volume.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLabelVolumeID(label)
            composite.SetLabelOpacity(MASK_OPACITY)
            composite.SetLinkedControl(True)


def lookAt(center: tuple[float, float, float] | None) -> None:
    """Bring the images into sight, cut through a place (RAS mm)."""
    logic = getattr(slicer.app, "applicationLogic", lambda: None)()
    for tag in (REAL, SYNTHETIC):
        sliceNode = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        sliceLogic = logic.GetSliceLogic(sliceNode) if logic is not None and sliceNode is not None else None
        if sliceLogic is not None:
            sliceLogic.FitSliceToAll()
        if sliceNode is not None and center is not None:
            sliceNode.JumpSliceByOffsetting(*center)


def _plotView(tag: str) -> Any:
    """The part of a plot view's widget that VTK draws; None without the application."""
    manager = getattr(slicer.app, "layoutManager", lambda: None)()
    widgets = [manager.plotWidget(n) for n in range(manager.plotViewCount)] if manager is not None else []
    return next((w.plotView() for w in widgets if w.mrmlPlotViewNode().GetSingletonTag() == tag), None)
