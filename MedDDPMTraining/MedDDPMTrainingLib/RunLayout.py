"""The views of a training: its charts above, a real image and the model's own below; no Qt of ours."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import quoteattr

import slicer
from MedDDPMSlicerLib.Views import compositeNode, sliceViewXml

LAYOUT_ID = 27150
# Singleton tags of the views: two of plots, two of slices.
LOSS, QUALITY = "MedDDPMLoss", "MedDDPMQuality"
REAL, SYNTHETIC = "MedDDPMReal", "MedDDPMSynthetic"
MASK_OPACITY = 0.6


def shown(layoutNode: Any) -> bool:
    """Whether the views of a vtkMRMLLayoutNode are arranged for a training."""
    return bool(layoutNode.GetViewArrangement() == LAYOUT_ID)


def arrange(layoutNode: Any) -> None:
    """Arrange the views for a training."""
    if not layoutNode.IsLayoutDescription(LAYOUT_ID):
        layoutNode.AddLayoutDescription(LAYOUT_ID, _layoutXml())
    layoutNode.SetViewArrangement(LAYOUT_ID)
    plot = _plotView(QUALITY)
    if plot is not None:  # similarities are at the upper and at the lower edge: the legend goes between them
        legend = plot.chart().GetLegend()
        legend.SetVerticalAlignment(legend.CENTER)


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
    """Put two volumes into the slice views, with the outline of a label map (None for none) over both."""
    composites = [compositeNode(tag) for tag in (REAL, SYNTHETIC)]
    for composite in composites:  # a view that is linked would give its volume to the other one
        composite.SetLinkedControl(False)
    for tag, composite, volume in zip((REAL, SYNTHETIC), composites, (real, synthetic), strict=True):
        sliceNode = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        if sliceNode is not None:
            sliceNode.SetUseLabelOutline(True)
        wasModifying = composite.StartModify()
        composite.SetBackgroundVolumeID(volume.GetID())
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(mask.GetID() if mask is not None else None)
        composite.SetLabelOpacity(MASK_OPACITY)
        composite.EndModify(wasModifying)
    for composite in composites:
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


def _layoutXml() -> str:
    """Slicer's layout description."""
    plots = "".join(_plotViewXml(tag, title) for tag, title in ((LOSS, "Loss"), (QUALITY, "Quality")))
    slices = sliceViewXml(2, REAL, "Real", "Axial") + sliceViewXml(0, SYNTHETIC, "Synthetic", "Axial")
    plots, slices = (views.replace("<item>", '<item splitSize="500">') for views in (plots, slices))
    rows = [f'<layout type="horizontal" split="true">{views}</layout>' for views in (plots, slices)]
    sizes = "".join(f'<item splitSize="{size}">{row}</item>' for size, row in zip((450, 550), rows, strict=True))
    return f'<layout type="vertical" split="true">{sizes}</layout>'


def _plotViewXml(tag: str, title: str) -> str:
    return (
        f'<item><view class="vtkMRMLPlotViewNode" singletontag={quoteattr(tag)}>'
        f'<property name="viewlabel" action="default">{title}</property></view></item>'
    )
