"""The course of a run in Slicer's plot views: tables with the figures, series and two charts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk

from .History import History

# Marks the nodes of the charts; their names say what they are.
ROLE = "MedDDPM.chart"
TRAINING, SMOOTHED, VALIDATION = (0.65, 0.72, 0.80), (0.12, 0.35, 0.65), (0.85, 0.33, 0.10)
BAND_COLORS = ((0.49, 0.18, 0.56), (0.47, 0.67, 0.19), (0.30, 0.75, 0.93), (0.64, 0.08, 0.18), (0.93, 0.69, 0.13))
ITERATION = "Iteration"
# Font sizes: the legend must leave room for the curves.
TITLE_POINTS, AXIS_POINTS, LABEL_POINTS = 13, 11, 10


@dataclass(frozen=True)
class Curve:
    """A curve of a chart: its name, the column of the table that it shows, how it is drawn."""

    name: str
    column: str
    color: tuple[float, float, float]
    markers: bool = False
    line: bool = True
    dashed: bool = False


class LossChart:
    """The charts "Loss" and "Quality" of the run that is followed. They are made anew in a scene that lacks them.

    ``loss`` and ``quality`` are their vtkMRMLPlotChartNode; None before ``show``. The nodes are not saved with a scene:
    the run's folder has all figures.
    """

    def __init__(self) -> None:
        self._nodes: dict[str, str] = {}

    @property
    def loss(self) -> Any:
        """The chart of training and validation loss."""
        return self._find("loss")

    @property
    def quality(self) -> Any:
        """The chart of the quality of held-out samples."""
        return self._find("quality")

    def show(self, history: History, name: str) -> Generator[None, None, None]:
        """Steps that put the figures of a run called ``name`` into the charts. A curve comes with its first figure."""
        self._showLoss(history, name)
        yield
        self._showQuality(history, name)
        yield

    def remove(self) -> None:
        """Take all nodes out of the scene."""
        for nodeId in self._nodes.values():
            node = slicer.mrmlScene.GetNodeByID(nodeId)
            if node is not None and node.GetAttribute(ROLE) is not None:
                slicer.mrmlScene.RemoveNode(node)
        self._nodes = {}

    def _showLoss(self, history: History, name: str) -> None:
        train, validation = self._table("Training"), self._table("Validation")
        _fill(train, ["Loss", "Smoothed loss"], [*_columns(history.train, 2), history.smoothed()])
        bands = [band.title for band in history.bands]
        _fill(validation, ["Validation loss", *bands], _columns(history.validation, 2 + len(bands)))
        curves = [
            Curve("Training loss", "Loss", TRAINING, markers=True, line=False),
            Curve("Training loss, smoothed", "Smoothed loss", SMOOTHED),
        ]
        checked = [Curve("Validation loss", "Validation loss", VALIDATION, markers=True)]
        checked += [Curve(b, b, BAND_COLORS[i % len(BAND_COLORS)], dashed=True) for i, b in enumerate(bands)]
        series = [*self._allSeries(train, curves), *self._allSeries(validation, checked)]
        self._chart("loss", f"Loss – {name}", "Loss", series)

    def _showQuality(self, history: History, name: str) -> None:
        table = self._table("Quality")
        names = ["Similarity to the real image", "Similarity to the nearest training case"]
        _fill(table, names, _columns(history.quality, 3))
        curves = [Curve(n, n, c, markers=True) for n, c in zip(names, (SMOOTHED, VALIDATION), strict=True)]
        series = self._allSeries(table, curves)
        self._chart("quality", f"Quality of held-out samples – {name}", "Similarity (1: the same)", series)

    def _chart(self, key: str, title: str, yTitle: str, series: Sequence[Any]) -> None:
        chart = self._node(key, "vtkMRMLPlotChartNode", f"MedDDPM Training {key}")
        wasModifying = chart.StartModify()
        chart.SetTitle(title)
        chart.SetXAxisTitle(ITERATION)
        chart.SetYAxisTitle(yTitle)
        chart.SetTitleFontSize(TITLE_POINTS)
        chart.SetAxisTitleFontSize(AXIS_POINTS)
        chart.SetAxisLabelFontSize(LABEL_POINTS)
        chart.SetLegendFontSize(LABEL_POINTS)
        wanted = [node.GetID() for node in series]
        if _seriesOf(chart) != wanted:
            chart.RemoveAllPlotSeriesNodeIDs()
            for nodeId in wanted:
                chart.AddAndObservePlotSeriesNodeID(nodeId)
        chart.EndModify(wasModifying)

    def _allSeries(self, table: Any, curves: Sequence[Curve]) -> list[Any]:
        """Those that there are figures for; VTK complains of a curve without any."""
        return [self._series(table, curve) for curve in curves if _hasFigures(table, curve.column)]

    def _series(self, table: Any, curve: Curve) -> Any:
        node = self._node(f"series {curve.name}", "vtkMRMLPlotSeriesNode", curve.name)
        wasModifying = node.StartModify()
        node.SetAndObserveTableNodeID(table.GetID())
        node.SetPlotType(node.PlotTypeScatter)
        node.SetXColumnName(ITERATION)
        node.SetYColumnName(curve.column)
        node.SetColor(curve.color)
        node.SetMarkerStyle(node.MarkerStyleCircle if curve.markers else node.MarkerStyleNone)
        node.SetMarkerSize(5 if curve.line else 3)
        style = node.LineStyleDash if curve.dashed else node.LineStyleSolid
        node.SetLineStyle(style if curve.line else node.LineStyleNone)
        node.SetLineWidth(1 if curve.dashed else 2)
        node.EndModify(wasModifying)
        return node

    def _table(self, kind: str) -> Any:
        return self._node(f"table {kind}", "vtkMRMLTableNode", f"MedDDPM Training {kind.lower()} figures")

    def _node(self, key: str, className: str, name: str) -> Any:
        node = self._find(key)
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(className, name)
            node.SetSaveWithScene(False)
            node.SetAttribute(ROLE, key)
            self._nodes[key] = node.GetID()
        return node

    def _find(self, key: str) -> Any:
        """Our node; another one can have its ID in a scene that was loaded meanwhile."""
        node = slicer.mrmlScene.GetNodeByID(self._nodes[key]) if key in self._nodes else None
        return node if node is not None and node.GetAttribute(ROLE) == key else None


def _columns(rows: Any, count: int) -> list[list[float]]:
    return [rows.column(index) for index in range(count)]


def _seriesOf(chart: Any) -> list[str]:
    return [chart.GetNthPlotSeriesNodeID(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]


def _hasFigures(tableNode: Any, name: str) -> bool:
    from vtk.util.numpy_support import vtk_to_numpy

    return bool(np.isfinite(vtk_to_numpy(tableNode.GetTable().GetColumnByName(name))).any())


def _fill(tableNode: Any, names: Sequence[str], columns: Sequence[Sequence[float]]) -> None:
    """Set the columns of a table: the iteration, then ``names``. A single row comes twice: VTK draws no lone point."""
    from vtk.util.numpy_support import numpy_to_vtk

    table = vtk.vtkTable()
    for name, values in zip([ITERATION, *names], columns, strict=True):
        array = numpy_to_vtk(
            np.asarray([*values, *values] if len(values) == 1 else values, dtype=np.float64), deep=True
        )
        array.SetName(name)
        table.AddColumn(array)
    tableNode.SetAndObserveTable(table)
