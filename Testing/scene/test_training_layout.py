"""The views of a training: arranged, filled, looking at the tumor."""

from __future__ import annotations

import re

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.config import GridConfig  # noqa: E402
from medddpm.dataset import DatasetConfig  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from MedDDPMSlicerLib.Background import SlicedTask  # noqa: E402
from MedDDPMSlicerLib.Views import compositeNode  # noqa: E402
from MedDDPMTrainingLib import RunLayout  # noqa: E402
from MedDDPMTrainingLib.Samples import SampleVolumes, TrainingSample  # noqa: E402
from training_helpers import AFFINE, niftiWriter  # noqa: E402

TAGS = ["MedDDPMLoss", "MedDDPMQuality", "MedDDPMReal", "MedDDPMSynthetic"]


@pytest.fixture
def layout(scene):
    return scene.AddNewNodeByClass("vtkMRMLLayoutNode")


@pytest.fixture
def views(scene, layout):
    """The nodes of the four views."""
    for _ in RunLayout.arrange(layout):
        pass
    classes = ("vtkMRMLPlotViewNode", "vtkMRMLPlotViewNode", "vtkMRMLSliceNode", "vtkMRMLSliceNode")
    return [scene.GetSingletonNode(tag, name) for tag, name in zip(TAGS, classes, strict=True)]


def test_new_views_are_made_one_by_one_and_known_ones_shown_at_once(scene, layout):
    made = lambda: sum(scene.GetNumberOfNodesByClass(f"vtkMRML{kind}Node") for kind in ("PlotView", "Slice"))  # noqa: E731
    assert not RunLayout.shown(layout)
    assert [(made(), RunLayout.shown(layout)) for _ in RunLayout.arrange(layout)] == [
        *((n, False) for n in (1, 2, 3, 4)),
        (4, True),
    ]
    description = layout.GetLayoutDescription(RunLayout.LAYOUT_ID)
    assert re.findall(r'singletontag="(\w+)"', description) == TAGS
    layout.SetViewArrangement(3)
    assert len(list(RunLayout.arrange(layout))) == 1 and RunLayout.shown(layout)


def test_views_have_their_titles_and_orientation(views):
    assert [node.GetLayoutLabel() for node in views] == ["Loss", "Quality", "Real", "Synthetic"]
    assert {node.GetOrientation() for node in views[2:]} == {"Axial"}


def test_charts_are_shown(scene, views):
    charts = [scene.AddNewNodeByClass("vtkMRMLPlotChartNode") for _ in range(2)]
    RunLayout.showCharts(*charts, fit=True)
    assert [view.GetPlotChartNodeID() for view in views[:2]] == [chart.GetID() for chart in charts]
    RunLayout.showCharts(None, charts[1], fit=True)
    assert views[0].GetPlotChartNodeID() is None


def test_a_pair_is_shown_with_the_outline_of_the_mask(scene, views):
    real, synthetic = (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(2))
    RunLayout.showPair(real, synthetic)
    assert [compositeNode(tag).GetBackgroundVolumeID() for tag in TAGS[2:]] == [real.GetID(), synthetic.GetID()]
    mask = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
    RunLayout.showPair(real, synthetic, mask)
    assert {compositeNode(tag).GetLabelVolumeID() for tag in TAGS[2:]} == {mask.GetID()}
    assert all(view.GetUseLabelOutline() for view in views[2:])


def centerOf(mask, tmp_path, dataset):
    """The middle of the tumor in a mask (X, Y, Z), as it is loaded with a sample of a run on ``dataset``."""
    niftiWriter()(tmp_path / "mask.nii.gz", mask, AFFINE, "mask")
    volumes = SampleVolumes(tmp_path, "run", str(dataset))
    list(volumes.update([TrainingSample("c1", 10, {("mask", ""): tmp_path / "mask.nii.gz"})]))
    return volumes.center("c1")


@pytest.fixture
def dataset(tmp_path):
    grid = GridConfig((8, 8, 8), (2.0, 2.0, 2.0), "LPS")
    (tmp_path / "data").mkdir()
    DatasetConfig(load_scheme("brats"), grid, ("T1", "FLAIR"), ()).save(tmp_path / "data")
    return tmp_path / "data"


def test_the_views_look_at_the_middle_of_the_tumor(scene, views, dataset, tmp_path):
    voxels = np.zeros((9, 8, 7), np.uint8)
    voxels[1:-1, 1:-1, 1:-1] = 4
    voxels[1:3, 1:-1, 1:-1] = 9  # no tumor
    voxels[3:5, 3, 4:6], voxels[6, 5, 2] = 1, 3
    middle = np.argwhere((voxels == 1) | (voxels == 3)).mean(axis=0)
    center = centerOf(voxels, tmp_path, dataset)
    np.testing.assert_allclose(center, (AFFINE @ [*middle, 1.0])[:3])
    RunLayout.lookAt(center)
    assert [view.GetSliceOffset() for view in views[2:]] == pytest.approx([center[2]] * 2)


def test_a_mask_without_a_tumor_has_no_middle(scene, dataset, tmp_path):
    whole = np.full((4, 5, 6), 4, np.uint8)
    assert centerOf(whole, tmp_path, dataset) is None
    whole[2] = 1
    assert centerOf(whole, tmp_path, tmp_path / "none") is None, "what is tumor is not known"


def test_a_task_can_take_one_step_a_turn():
    steps = []
    ticker = SlicedTask((steps.append(n) for n in range(3)), steps.append, steps.append)
    ticker.seconds = 0
    for count in (1, 2, 3):
        ticker.tick()
        assert len(steps) == count
    ticker.tick()
    assert ticker.finished
