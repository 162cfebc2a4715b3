"""The views of a training: arranged one by one, filled step by step, looking at the tumor."""

from __future__ import annotations

import re
from unittest.mock import MagicMock

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from MedDDPMSlicerLib import Slabs  # noqa: E402
from MedDDPMSlicerLib.Background import SlicedTask  # noqa: E402
from MedDDPMSlicerLib.Display import setAffine  # noqa: E402
from MedDDPMSlicerLib.Views import compositeNode  # noqa: E402
from MedDDPMTrainingLib import RunLayout, SampleViews  # noqa: E402
from training_helpers import AFFINE  # noqa: E402

TAGS = ["MedDDPMLoss", "MedDDPMQuality", "MedDDPMReal", "MedDDPMSynthetic"]


@pytest.fixture
def layout(scene):
    return scene.AddNewNodeByClass("vtkMRMLLayoutNode")


def result(steps):
    """What steps return in the end, and how many pauses they make."""
    pauses = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value, pauses
        pauses += 1


def places(layout):
    """The tags of the views that are arranged now."""
    return re.findall(r'singletontag="(\w+)"', layout.GetLayoutDescription(RunLayout.LAYOUT_ID))


def volume(scene, className="vtkMRMLScalarVolumeNode", array=None):
    array = np.zeros((4, 5, 6), np.uint8) if array is None else array
    node = scene.AddNewNodeByClass(className)
    node.SetAndObserveImageData(result(Slabs.copied(array))[0])
    setAffine(node, AFFINE)
    return node


class Window:
    """A render window."""

    def __init__(self):
        self.samples, self.drawn = 8, 0

    def GetMultiSamples(self):
        return self.samples

    def SetMultiSamples(self, samples):
        self.samples = samples

    def Render(self):
        self.drawn += 1


class Canvas:
    """What VTK draws of a view."""

    def __init__(self):
        self.visible, self._window = True, Window()
        self.chart = self.sizePolicy = self.setSizePolicy = MagicMock()

    def renderWindow(self):
        return self._window


@pytest.fixture
def canvases(monkeypatch):
    """Those of the four views, as in the application."""
    made = {view.name: Canvas() for view in RunLayout.VIEWS}
    monkeypatch.setattr(RunLayout.View, "canvas", lambda view: made[view.name])
    return list(made.values())


def test_new_views_are_made_one_by_one_and_known_ones_shown_at_once(scene, layout):
    seen = []
    for _ in RunLayout.arrange(layout):
        seen.append((sum(view.find() is not None for view in RunLayout.VIEWS), RunLayout.shown(layout)))
    assert seen == [(1, False), (2, False), (3, False), (4, False), (4, True)]
    assert places(layout) == TAGS
    layout.SetViewArrangement(3)
    assert result(RunLayout.arrange(layout))[1] == 1
    assert RunLayout.shown(layout)


def test_new_views_are_drawn_one_by_one(scene, layout, canvases):
    seen = []
    for _ in RunLayout.arrange(layout):
        if RunLayout.shown(layout):
            seen.append(sum(canvas.visible for canvas in canvases))
    assert seen == [0, 1, 2, 3, 4, *[4] * 4], "then once more, with smooth edges"
    assert [canvas.renderWindow().samples for canvas in canvases] == [8] * 4
    assert [canvas.renderWindow().drawn for canvas in canvases] == [1] * 4


@pytest.mark.parametrize("steps", range(1, 14))
def test_views_that_were_interrupted_are_all_there_the_next_time(scene, layout, canvases, steps):
    arranging = RunLayout.arrange(layout)
    for _ in range(steps):
        next(arranging, None)
    arranging.close()
    layout.SetViewArrangement(3)
    result(RunLayout.arrange(layout))
    assert places(layout) == TAGS and RunLayout.shown(layout)
    assert all(canvas.visible and canvas.renderWindow().samples == 8 for canvas in canvases)


def test_views_have_their_titles_and_orientation(scene, layout):
    result(RunLayout.arrange(layout))
    nodes = [view.find() for view in RunLayout.VIEWS]
    assert [node.GetLayoutLabel() for node in nodes] == ["Loss", "Quality", "Real", "Synthetic"]
    assert {node.GetViewGroup() for node in nodes[2:]} == {RunLayout.VIEW_GROUP}
    assert {node.GetOrientation() for node in nodes[2:]} == {"Axial"}


def test_the_same_charts_take_no_step(scene, layout):
    charts = [scene.AddNewNodeByClass("vtkMRMLPlotChartNode") for _ in range(2)]
    assert result(RunLayout.showCharts(*charts))[1] == 2
    assert [view.find().GetPlotChartNodeID() for view in RunLayout.VIEWS[:2]] == [chart.GetID() for chart in charts]
    assert result(RunLayout.showCharts(*charts))[1] == 0
    assert result(RunLayout.showCharts(None, charts[1]))[1] == 1
    assert RunLayout.VIEWS[0].find().GetPlotChartNodeID() is None


def test_a_pair_is_shown_view_by_view(scene, layout):
    result(RunLayout.arrange(layout))
    real, synthetic = volume(scene), volume(scene)
    assert result(SampleViews.showPair(real, synthetic))[1] == 2
    shown = [compositeNode(name).GetBackgroundVolumeID() for name in TAGS[2:]]
    assert shown == [real.GetID(), synthetic.GetID()]
    assert result(SampleViews.showPair(real, synthetic))[1] == 0, "nothing to draw"
    mask = volume(scene, "vtkMRMLLabelMapVolumeNode")
    assert result(SampleViews.showPair(real, synthetic, mask))[1] == 2
    assert compositeNode(TAGS[2]).GetLabelVolumeID() == mask.GetID()


def test_a_volume_that_is_gone_is_not_shown(scene, layout):
    result(RunLayout.arrange(layout))
    real, synthetic = volume(scene), volume(scene)
    scene.RemoveNode(real)
    result(SampleViews.showPair(real, synthetic))
    assert compositeNode(TAGS[2]).GetBackgroundVolumeID() is None


@pytest.mark.parametrize("voxelsAtOnce", [1, 70, 10**9])
def test_the_views_look_at_the_middle_of_the_tumor(scene, layout, monkeypatch, voxelsAtOnce):
    usual = Slabs.slabs
    monkeypatch.setattr(SampleViews, "slabs", lambda slices, size: usual(slices, size, voxelsAtOnce))
    voxels = np.zeros((9, 8, 7), np.uint8)
    voxels[1:-1, 1:-1, 1:-1] = 4
    voxels[1:3, 1:-1, 1:-1] = 9  # a tissue, which is no tumor
    voxels[3:5, 3, 4:6], voxels[6, 5, 2] = 1, 3
    z, y, x = np.argwhere((voxels == 1) | (voxels == 3)).mean(axis=0)
    expected = (AFFINE @ [x, y, z, 1.0])[:3]
    mask = volume(scene, "vtkMRMLLabelMapVolumeNode", voxels)
    np.testing.assert_allclose(result(SampleViews.tumorCenter(mask, (1, 2, 3)))[0], expected)
    result(RunLayout.arrange(layout))
    result(SampleViews.lookAt(mask, (1, 2, 3)))
    for name in TAGS[2:]:
        node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        assert node.GetSliceOffset() == pytest.approx(expected[2])


def test_a_mask_without_a_tumor_has_no_middle(scene):
    whole = np.full((4, 5, 6), 4, np.uint8)
    whole[2] = 9
    mask = volume(scene, "vtkMRMLLabelMapVolumeNode", whole)
    assert result(SampleViews.tumorCenter(mask, (1, 2, 3)))[0] is None
    assert result(SampleViews.tumorCenter(mask, ()))[0] is None, "what is tumor is not known"


def test_a_task_can_take_one_step_a_turn():
    steps = []
    ticker = SlicedTask((steps.append(n) for n in range(3)), steps.append, steps.append)
    ticker.seconds = 0
    for count in (1, 2, 3):
        ticker.tick()
        assert len(steps) == count
    ticker.tick()
    assert ticker.finished
