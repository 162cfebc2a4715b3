"""The layout of a training: its charts above, a real image and the model's own below; no Qt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

import slicer

LAYOUT_ID = 27150
# Singleton tags of the views.
LOSS, QUALITY = "MedDDPMLoss", "MedDDPMQuality"
REAL, SYNTHETIC = "MedDDPMReal", "MedDDPMSynthetic"
# The slice views move together, and with no others.
VIEW_GROUP = 28


@dataclass(frozen=True)
class View:
    """One of the views: singleton tag, what is written on it, and for a slice view the color of its bar (RGB)."""

    name: str
    title: str
    color: tuple[float, float, float] | None = None

    @property
    def className(self) -> str:
        """Of its node."""
        return "vtkMRMLPlotViewNode" if self.color is None else "vtkMRMLSliceNode"

    def find(self) -> Any:
        """Its node; None where it is not made yet."""
        return slicer.mrmlScene.GetSingletonNode(self.name, self.className)

    def make(self) -> Any:
        """Its node, made where there is none; in the application its widget comes with it."""
        found = self.find()
        return found if found is not None else slicer.mrmlScene.AddNode(self._new())

    def canvas(self) -> Any:
        """The part of its widget that VTK draws; None without the application."""
        manager = getattr(slicer.app, "layoutManager", lambda: None)()
        if manager is None:
            return None
        if self.color is not None:
            widget = manager.sliceWidget(self.name)
            return widget.sliceView() if widget is not None else None
        widgets = [manager.plotWidget(number) for number in range(manager.plotViewCount)]
        return next((widget.plotView() for widget in widgets if widget.mrmlPlotViewNode() == self.find()), None)

    def _new(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass(self.className)
        node.UnRegister(None)
        node.SetName(self.name)
        node.SetSingletonTag(self.name)
        node.SetLayoutName(self.name)
        node.SetLayoutLabel(self.title)
        if self.color is not None:
            node.SetOrientation("Axial")
            node.SetViewGroup(VIEW_GROUP)
            node.SetLayoutColor(*self.color)
        return node


VIEWS = (
    View(LOSS, "Loss"),
    View(QUALITY, "Quality"),
    View(REAL, "Real", (0.43, 0.69, 0.29)),
    View(SYNTHETIC, "Synthetic", (0.95, 0.29, 0.20)),
)


PLOTS = VIEWS[:2]


def shown(layoutNode: Any) -> bool:
    """Whether the views of a vtkMRMLLayoutNode are arranged for a training."""
    return bool(layoutNode.GetViewArrangement() == LAYOUT_ID)


def arrange(layoutNode: Any) -> Generator[None, None, None]:
    """Steps that arrange the views for a training, each with a pause in which the application must draw.

    To make a view and to draw it for the first time takes the GUI most of 0.1 s. So new views are made one by one, and
    then seen one by one; the edges of curves become smooth last.
    """
    missing = [view for view in VIEWS if view.find() is None]
    for view in missing:
        view.make()
        yield
    _placeLegend()
    hidden = [canvas for view in missing if (canvas := view.canvas()) is not None]
    windows = [canvas.renderWindow() for canvas in hidden]
    samples = [window.GetMultiSamples() for window in windows]
    try:
        for canvas, window in zip(hidden, windows, strict=True):
            _hide(canvas)
            window.SetMultiSamples(0)
        _show(layoutNode)
        yield
        for canvas in hidden:
            canvas.visible = True
            yield
    finally:
        for canvas, window, usual in zip(hidden, windows, samples, strict=True):
            canvas.visible = True
            window.SetMultiSamples(usual)
    for window in windows:
        window.Render()
        yield


def _hide(canvas: Any) -> None:
    """Its place stays free, else the bar above it would fill it."""
    policy = canvas.sizePolicy
    policy.setRetainSizeWhenHidden(True)
    canvas.setSizePolicy(policy)
    canvas.visible = False


def _placeLegend() -> None:
    """Similarities lie at the upper and at the lower edge of their chart: its legend goes between them."""
    canvas = PLOTS[1].canvas()
    if canvas is not None:
        legend = canvas.chart().GetLegend()
        legend.SetVerticalAlignment(legend.CENTER)


def showCharts(loss: Any, quality: Any) -> Generator[None, None, None]:
    """Steps that put two vtkMRMLPlotChartNode (None for an empty view) into the plot views."""
    for view, chart in zip(PLOTS, (loss, quality), strict=True):
        node = view.make()
        wanted = chart.GetID() if chart is not None else None
        if node.GetPlotChartNodeID() != wanted:
            node.SetPlotChartNodeID(wanted)
            yield


def layoutXml() -> str:
    """Slicer's layout description."""
    views = [f'<view class="{view.className}" singletontag={quoteattr(view.name)}></view>' for view in VIEWS]
    return (
        '<layout type="vertical" split="true">'
        f'<item splitSize="450">{_row(views[:2])}</item><item splitSize="550">{_row(views[2:])}</item></layout>'
    )


def _row(views: list[str]) -> str:
    items = "".join(f'<item splitSize="500">{view}</item>' for view in views)
    return f'<layout type="horizontal" split="true">{items}</layout>'


def _show(layoutNode: Any) -> None:
    if not layoutNode.IsLayoutDescription(LAYOUT_ID):
        layoutNode.AddLayoutDescription(LAYOUT_ID, layoutXml())
    layoutNode.SetViewArrangement(LAYOUT_ID)
