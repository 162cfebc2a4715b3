"""The course of a run in Slicer's plot views: its figures, tables of them, and two charts."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import slicer
import vtk
import vtk.util.numpy_support
from medddpm.training.metrics import RESUMED, Metric, number

# The smoothed loss follows about this many of the logged points.
SMOOTHED_POINTS = 50
# More points than a screen has pixels are thinned to every second one.
MAX_POINTS = 8000
# Marks the nodes of the charts; their names say what they are.
ROLE = "MedDDPM.chart"
ITERATION = "Iteration"
LOGGED, SMOOTHED, VALIDATION = "Training loss", "Training loss, smoothed", "Validation loss"
REAL, NEAREST = "Similarity to the real image", "Similarity to the nearest training case"
BLUE, ORANGE = (0.12, 0.35, 0.65), (0.85, 0.33, 0.10)
# Color, markers, line; every other curve is one of a band of noise levels.
_STYLES = {
    LOGGED: ((0.65, 0.72, 0.80), True, False),
    SMOOTHED: (BLUE, False, True),
    VALIDATION: (ORANGE, True, True),
    REAL: (BLUE, True, True),
    NEAREST: (ORANGE, True, True),
}
_BAND_COLORS = ((0.49, 0.18, 0.56), (0.47, 0.67, 0.19), (0.30, 0.75, 0.93), (0.64, 0.08, 0.18), (0.93, 0.69, 0.13))

# Name of a curve -> iteration -> figure.
Curves = dict[str, dict[int, float]]


class Figures:
    """The lines of ``metrics.jsonl`` that charts are made of, by kind, in their order."""

    def __init__(self) -> None:
        self.lines: dict[str, list[Metric]] = {"train": [], "validation": [], "quality": []}

    def add(self, metrics: Iterable[Metric]) -> None:
        """Take in lines of the file. What is later than where a run was resumed is void."""
        for metric in metrics:
            if metric["kind"] == RESUMED:
                for kind, lines in self.lines.items():
                    self.lines[kind] = [line for line in lines if line["iteration"] <= metric["iteration"]]
            elif metric["kind"] in self.lines:
                self.lines[metric["kind"]].append(metric)
        while len(self.lines["train"]) > MAX_POINTS:
            self.lines["train"] = self.lines["train"][::-2][::-1]

    def curves(self, kind: str) -> Curves:
        """The curves of a kind that have a figure, for VTK complains of others. A figure that is missing is NaN."""
        curves: Curves = {}
        for line in self.lines[kind]:
            for name, value in _figuresOf(kind, line):
                curves.setdefault(name, {})[line["iteration"]] = value
        if kind == "quality":  # a line for each case of an iteration
            for iteration in {line["iteration"] for line in self.lines[kind]}:
                cases = {line.get("case"): line for line in self.lines[kind] if line["iteration"] == iteration}
                figures = [dict(_figuresOf(kind, line)) for line in cases.values()]
                for name in (REAL, NEAREST):
                    known = [one[name] for one in figures if math.isfinite(one[name])]
                    curves[name][iteration] = fmean(known) if known else math.nan
        if kind == "train":
            losses = {iteration: loss for iteration, loss in curves.get(LOGGED, {}).items() if math.isfinite(loss)}
            curves = {LOGGED: losses, SMOOTHED: dict(zip(losses, smoothed(list(losses.values())), strict=True))}
        return {name: values for name, values in curves.items() if any(map(math.isfinite, values.values()))}


def _figuresOf(kind: str, line: Metric) -> Iterable[tuple[str, float]]:
    if kind == "quality":
        yield REAL, _figure(line, "ms_ssim")
        yield NEAREST, _figure(line.get("nearest_training"), "similarity")
        return
    yield (LOGGED if kind == "train" else VALIDATION), _figure(line, "loss")
    bands = line.get("bands")
    for band in bands if isinstance(bands, list) else []:
        low, high = _figure(band, "low"), _figure(band, "high")
        if math.isfinite(low) and math.isfinite(high):
            yield f"Noise level {low:g} to {high:g}", _figure(band, "loss")


def _figure(data: Any, name: str) -> float:
    value = number(data, name) if isinstance(data, Mapping) else None
    return math.nan if value is None else value


def smoothed(values: Sequence[float]) -> list[float]:
    """A running mean that weighs recent values more."""
    share, mean, weight, result = 2 / (SMOOTHED_POINTS + 1), 0.0, 0.0, []
    for value in values:
        mean += share * (value - mean)
        weight += share * (1 - weight)
        result.append(mean / weight)
    return result


class Charts:
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

    def show(self, figures: Figures, name: str) -> Generator[None, None, None]:
        """Steps that put the figures of a run called ``name`` into the charts. A curve comes with its first figure."""
        self._chart("loss", f"Loss – {name}", "Loss", self._series(figures, "train", "validation"))
        yield
        title = f"Quality of held-out samples – {name}"
        self._chart("quality", title, "Similarity (1: the same)", self._series(figures, "quality"))
        yield

    def remove(self) -> None:
        """Take all nodes out of the scene."""
        for key in self._nodes:
            if self._find(key) is not None:
                slicer.mrmlScene.RemoveNode(self._find(key))
        self._nodes = {}

    def _chart(self, key: str, title: str, yTitle: str, series: list[str]) -> None:
        chart = self._node(key, "vtkMRMLPlotChartNode", f"MedDDPM Training {key}")
        with slicer.util.NodeModify(chart):
            chart.SetTitle(title)
            chart.SetTitleFontSize(13)
            chart.SetXAxisTitle(ITERATION)
            chart.SetYAxisTitle(yTitle)
            chart.SetAxisTitleFontSize(11)
            chart.SetAxisLabelFontSize(10)
            chart.SetLegendFontSize(10)  # it must leave room for the curves
            if [chart.GetNthPlotSeriesNodeID(n) for n in range(chart.GetNumberOfPlotSeriesNodes())] != series:
                chart.RemoveAllPlotSeriesNodeIDs()
                for nodeId in series:
                    chart.AddAndObservePlotSeriesNodeID(nodeId)

    def _series(self, lines: Figures, *kinds: str) -> list[str]:
        """The IDs of the series of all curves, after their tables are filled."""
        found = []
        for kind in kinds:
            curves = lines.curves(kind)
            table = self._node(f"table {kind}", "vtkMRMLTableNode", f"MedDDPM Training {kind} figures")
            # A column for each curve after the iteration; whole at once: VTK complains of a chart without columns.
            rows = sorted({iteration for values in curves.values() for iteration in values})
            rows = rows * 2 if len(rows) == 1 else rows  # VTK draws no lone point
            filled = vtk.vtkTable()
            for name, values in {ITERATION: {row: row for row in rows}, **curves}.items():
                figures = np.array([values.get(row, math.nan) for row in rows], dtype=np.float64)
                array = vtk.util.numpy_support.numpy_to_vtk(figures, deep=True)
                array.SetName(name)
                filled.AddColumn(array)
            table.SetAndObserveTable(filled)
            bands = [name for name in curves if name not in _STYLES]
            for name in curves:
                series = self._node(f"series {name}", "vtkMRMLPlotSeriesNode", name)
                _draw(series, table, name, bands.index(name) if name in bands else 0)
                found.append(series.GetID())
        return found

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
        node = slicer.mrmlScene.GetNodeByID(self._nodes.get(key, ""))
        return node if node is not None and node.GetAttribute(ROLE) == key else None


def _draw(series: Any, table: Any, name: str, band: int) -> None:
    color, markers, line = _STYLES.get(name, (_BAND_COLORS[band % len(_BAND_COLORS)], False, True))
    dashed = name not in _STYLES
    with slicer.util.NodeModify(series):
        series.SetAndObserveTableNodeID(table.GetID())
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName(ITERATION)
        series.SetYColumnName(name)
        series.SetColor(color)
        series.SetMarkerStyle(series.MarkerStyleCircle if markers else series.MarkerStyleNone)
        series.SetMarkerSize(5 if line else 3)
        solid = series.LineStyleSolid if line else series.LineStyleNone
        series.SetLineStyle(series.LineStyleDash if dashed else solid)
        series.SetLineWidth(1 if dashed else 2)
