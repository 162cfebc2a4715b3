"""Following a run: figures, charts, samples in the scene, the layout."""

from __future__ import annotations

import gzip
import time

import numpy as np
import pytest

slicer = pytest.importorskip("slicer")

from medddpm.config import GridConfig  # noqa: E402
from medddpm.dataset import DatasetConfig  # noqa: E402
from medddpm.errors import InputError  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from medddpm.training.run import RunFolder  # noqa: E402
from MedDDPMSlicerLib.Nodes import field, hierarchyOf, isSynthetic, parentOf  # noqa: E402
from MedDDPMSlicerLib.Volumes import (  # noqa: E402
    affineOf,
    unpackNifti,
    volumeOf,
)
from MedDDPMTrainingLib.Charts import (  # noqa: E402
    LOGGED,
    MAX_POINTS,
    NEAREST,
    REAL,
    VALIDATION,
    Charts,
    Figures,
    smoothed,
)
from MedDDPMTrainingLib.RunView import RunView  # noqa: E402
from MedDDPMTrainingLib.Samples import MASK, SYNTHETIC, newestSamples  # noqa: E402
from training_helpers import AFFINE, newRun, trained, writeSamples  # noqa: E402


@pytest.fixture
def run(tmp_path):
    return newRun(tmp_path / "run")


class Clock:
    """Gives seconds that go on when told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(scene, clock):
    view = RunView(clock)
    yield view
    view.release()


def settle(view, rounds=60):
    """Let it go on for ten minutes of its clock."""
    for _ in range(rounds):
        view._rounds.clock.seconds += 10.0
        view.tick()


def losses(view):
    """The training loss by iteration."""
    return view.figures.curves("train").get(LOGGED, {})


def columnOf(tableNode, name):
    column = tableNode.GetTable().GetColumnByName(name)
    return [column.GetValue(i) for i in range(column.GetNumberOfValues())]


def seriesOf(chart):
    return {chart.GetNthPlotSeriesNode(i).GetName(): chart.GetNthPlotSeriesNode(i) for i in range(count(chart))}


def count(chart):
    return chart.GetNumberOfPlotSeriesNodes()


def validation(run, iteration, loss=0.5):
    bands = [{"low": 0, "high": 500, "loss": loss + 0.1}, {"low": 500, "high": 1000, "loss": loss - 0.1}]
    run.metrics.append("validation", iteration, loss=loss, bands=bands)


# --- figures --------------------------------------------------------------------------------------------------------


def figuresOf(*lines):
    figures = Figures()
    figures.add(lines)
    return figures


def lines(kind, iterations, **values):
    return [{"kind": kind, "iteration": iteration, **values} for iteration in iterations]


def test_the_smoothed_loss_follows_the_mean():
    values = [5.0 + (-1) ** i for i in range(1, 401)]
    assert smoothed(values)[0] == values[0], "no start from zero"
    assert all(4.9 < value < 5.1 for value in smoothed(values)[100:])


def test_what_a_killed_run_did_again_counts_once():
    figures = figuresOf(
        *lines("train", (10, 20, 30), loss=9.0),
        *lines("validation", (30,), loss=9.0),
        *lines("resumed", (15,)),
        *lines("train", (20, 30), loss=1.0),
    )
    assert figures.curves("train")[LOGGED] == {10: 9.0, 20: 1.0, 30: 1.0}
    assert figures.curves("validation") == {}


def test_lines_of_strangers_do_no_harm():
    figures = figuresOf(
        {"kind": "unknown", "iteration": 1},
        {"kind": "train", "iteration": 1, "loss": None},
        {"kind": "train", "iteration": 2, "loss": "low"},
        {"kind": "validation", "iteration": 3, "loss": 1, "bands": [3, {"low": 0}, {"low": 0, "high": 9}]},
        {"kind": "quality", "iteration": 3, "nearest_training": 7},
        {"kind": "verdict", "iteration": 3},
    )
    assert figures.curves("train") == figures.curves("quality") == {}
    assert figures.curves("validation") == {VALIDATION: {3: 1.0}}


def test_long_runs_are_thinned():
    figures = Figures()
    for start in range(0, 3 * MAX_POINTS, 1000):
        figures.add(lines("train", range(start, start + 1000), loss=1.0))
    shown = list(figures.curves("train")[LOGGED])
    assert MAX_POINTS / 2 <= len(shown) <= MAX_POINTS
    assert shown[-1] == 3 * MAX_POINTS - 1


def test_quality_is_the_mean_over_the_cases_of_an_iteration():
    nearest = {"case": "t1", "similarity": 0.25}
    found = [
        {"kind": "quality", "iteration": at, "case": case, "ms_ssim": value, "nearest_training": nearest}
        for at, case, value in ((100, "c0", 0.2), (100, "c1", 0.4), (200, "c0", 0.6))
    ]
    curves = figuresOf(*found).curves("quality")
    assert curves[REAL] == pytest.approx({100: 0.3, 200: 0.6}) and curves[NEAREST] == {100: 0.25, 200: 0.25}


# --- charts ---------------------------------------------------------------------------------------------------------


def test_the_chart_shows_the_figures_and_follows_them(view, run):
    trained(run, 30, None)
    validation(run, 20)
    validation(run, 30)
    run.metrics.append("verdict", 30, verdict="improving", sentence="The validation loss is falling.")
    view.observe(run.path)
    settle(view, 3)
    chart = view.charts.loss
    series = seriesOf(chart)
    assert "Loss" in chart.GetTitle() and "tiny" in chart.GetTitle()
    names = ["Training loss", "Training loss, smoothed", "Validation loss"]
    assert list(series) == [*names, "Noise level 0 to 500", "Noise level 500 to 1000"]
    table = series["Training loss"].GetTableNode()
    assert columnOf(table, "Iteration") == [10, 20, 30] and columnOf(table, LOGGED) == [1 / 10, 1 / 20, 1 / 30]
    assert columnOf(series["Noise level 0 to 500"].GetTableNode(), "Noise level 0 to 500") == [0.6, 0.6]
    assert view.summary.sentence == "The validation loss is falling." and view.summary.iteration == 30
    run.metrics.append("train", 40, loss=0.02)
    settle(view, 3)
    assert columnOf(table, "Iteration")[-1] == 40, "in the same table"
    assert view.charts.loss is chart and chart.GetSaveWithScene() == 0


def test_a_file_of_many_lines_is_read_in_pieces(view, run):
    line = '{{"kind": "train", "iteration": {}, "loss": 0.5, "padding": "{}"}}\n'
    with run.metrics.path.open("w") as stream:
        stream.writelines(line.format(i, "x" * 300) for i in range(1, 6001))
    view.observe(run.path)
    slowest = 0.0
    for _ in range(60):
        began = time.process_time()
        settle(view, 1)
        slowest = max(slowest, time.process_time() - began)
    assert max(losses(view)) == 6000
    assert slowest < 0.1, "seconds of work between two events of the GUI"


def test_another_run_chosen_while_a_long_file_is_read(view, run, tmp_path):
    with run.metrics.path.open("w") as stream:
        stream.writelines(f'{{"kind": "train", "iteration": {i}, "loss": 0.5}}\n' for i in range(1, 20_001))
    other = trained(newRun(tmp_path / "other", name="other"), 20)
    view.observe(run.path)
    settle(view, 1)
    view.observe(other.path)
    settle(view, 40)
    assert list(losses(view)) == [10, 20]


def test_another_run_takes_the_place_of_the_first(view, run, tmp_path):
    trained(run, 50)
    other = trained(newRun(tmp_path / "other", name="other"), 20)
    for folder in (run, other):
        view.observe(folder.path)
        settle(view, 3)
    assert list(losses(view)) == [10, 20] and "other" in view.charts.loss.GetTitle()
    charts = slicer.mrmlScene.GetNodesByClass("vtkMRMLPlotChartNode")
    charts.UnRegister(None)
    assert charts.GetNumberOfItems() == 2, "loss and quality, once"
    view.observe("")
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotChartNode") is None
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableNode") is None


def test_the_charts_come_again_in_a_new_scene(view, run):
    trained(run, 50)
    view.observe(run.path)
    settle(view, 3)
    slicer.mrmlScene.Clear(0)
    view.sceneClosed()
    settle(view, 3)
    assert view.charts.loss is not None and columnOf(seriesOf(view.charts.loss)["Training loss"].GetTableNode(), LOGGED)


def test_a_single_figure_is_a_curve_that_vtk_can_draw(view, run):
    """VTK draws no line, nor its points, where there is only one of them, and complains of it."""
    trained(run, 30, None)
    validation(run, 30)
    view.observe(run.path)
    settle(view, 3)
    table = seriesOf(view.charts.loss)["Validation loss"].GetTableNode()
    assert columnOf(table, "Iteration") == [30, 30] and columnOf(table, "Validation loss") == [0.5, 0.5]
    validation(run, 40)
    settle(view, 3)
    assert columnOf(table, "Iteration") == [30, 40]


def test_a_chart_of_nothing_is_empty(scene):
    chart = Charts()
    list(chart.show(Figures(), "new"))
    assert chart.loss.GetTitle() == "Loss – new" and (count(chart.loss), count(chart.quality)) == (0, 0)
    chart.remove()
    assert chart.loss is None


def test_a_curve_comes_with_its_first_figure(view, run):
    """VTK complains each time that it draws a curve without points."""
    trained(run, 10, None)
    run.metrics.append("quality", 10, case="c1", ms_ssim=0.4, nearest_training={"similarity": None})
    view.observe(run.path)
    settle(view, 3)
    assert list(seriesOf(view.charts.loss)) == ["Training loss", "Training loss, smoothed"]
    assert list(seriesOf(view.charts.quality)) == ["Similarity to the real image"]
    validation(run, 10)
    run.metrics.append("quality", 20, case="c1", ms_ssim=0.5, nearest_training={"similarity": 0.2})
    settle(view, 3)
    assert count(view.charts.loss) == 5 and count(view.charts.quality) == 2


# --- samples --------------------------------------------------------------------------------------------------------


def test_samples_come_into_the_scene_side_by_side(view, run):
    data = writeSamples(run, 100)
    trained(run, 100, None)
    view.observe(run.path)
    settle(view)
    (sample,) = view.samples
    assert (sample.case, sample.modalities, sample.iteration) == ("c1", ["T1", "FLAIR"], 100)
    real, synthetic = view.pair("c1", "T1")
    np.testing.assert_array_equal(volumeOf(real).data, data)
    np.testing.assert_array_equal(volumeOf(synthetic).data, data + 100)
    np.testing.assert_allclose(affineOf(synthetic), AFFINE)
    assert isSynthetic(synthetic) and not isSynthetic(real)
    assert field(synthetic, "model") == "tiny" and field(synthetic, "modality") == "T1"
    assert "iteration 100" in synthetic.GetName() and synthetic.GetSaveWithScene() == 0
    tree = hierarchyOf()
    assert tree.GetItemName(parentOf(real)) == "c1" and parentOf(real) == parentOf(synthetic)
    assert tree.GetItemName(tree.GetItemParent(parentOf(real))) == "tiny – training samples"
    assert view.volumes.volume("c1", MASK, "").IsA("vtkMRMLLabelMapVolumeNode")


def test_the_outlines_have_the_colors_of_the_labels(view, tmp_path):
    scheme = load_scheme("brats")
    dataset = DatasetConfig(scheme, GridConfig((8, 8, 8), (2.0, 2.0, 2.0), "LPS"), ("T1", "FLAIR"), ())
    (tmp_path / "data").mkdir()
    dataset.save(tmp_path / "data")
    run = newRun(tmp_path / "run", dataset=str(tmp_path / "data"))
    writeSamples(run, 100)
    view.observe(run.path)
    settle(view)
    colors = view.volumes.volume("c1", MASK, "").GetDisplayNode().GetColorNode()
    color = [0.0] * 4
    for label in scheme.labels:
        colors.GetColor(label.value, color)
        assert color == pytest.approx([*(part / 255 for part in label.color), 1.0], abs=0.003)
    colors.GetColor(0, color)
    assert color[3] == 0 and colors.GetSaveWithScene() == 0
    view.release()
    assert colors.GetScene() is None


def test_newer_samples_are_put_into_the_same_nodes(view, run):
    data = writeSamples(run, 100)
    view.observe(run.path)
    settle(view)
    before = view.pair("c1", "FLAIR")
    writeSamples(run, 200, whole=False)
    settle(view)
    assert view.samples[0].iteration == 100, "half-written samples wait"
    writeSamples(run, 200)
    settle(view)
    real, synthetic = view.pair("c1", "FLAIR")
    assert (real, synthetic) == before and view.samples[0].iteration == 200
    np.testing.assert_array_equal(volumeOf(synthetic).data, data + 200)
    np.testing.assert_array_equal(volumeOf(real).data, data)
    assert "iteration 200" in synthetic.GetName()


def test_samples_can_stay_out_of_the_scene(view, run):
    writeSamples(run, 100)
    view.showSamples = False
    view.observe(run.path)
    settle(view)
    assert len(view.samples) == 1 and view.pair() is None
    view.showSamples = True
    settle(view)
    assert view.pair() is not None
    view.showSamples = False
    view.tick()
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode") is None
    tree = hierarchyOf()
    assert tree.GetItemByName("tiny – training samples") == 0


def test_damaged_samples_are_passed_over(view, run):
    writeSamples(run, 100)
    folder = run.samples / "iteration-00000100" / "c1"
    (folder / "synthetic-T1.nii.gz").write_bytes(b"no image")
    (folder / "real-FLAIR.nii.gz").write_bytes(
        gzip.compress(gzip.decompress((folder / "mask.nii.gz").read_bytes())[:400])
    )
    view.observe(run.path)
    settle(view)
    assert view.volumes.volume("c1", SYNTHETIC, "T1") is None and view.volumes.volume("c1", "real", "FLAIR") is None
    assert (
        view.volumes.volume("c1", "real", "T1") is not None
        and view.volumes.volume("c1", SYNTHETIC, "FLAIR") is not None
    )


def test_links_and_strange_names_are_no_samples(run, tmp_path):
    writeSamples(run, 100)
    (tmp_path / "secret").mkdir()
    (run.samples / "iteration-00000300").symlink_to(tmp_path / "secret")
    (run.samples / "iteration-x").mkdir()
    folder = run.samples / "iteration-00000100" / "c1"
    (folder / "synthetic-T2.nii.gz").symlink_to(folder / "mask.nii.gz")
    (sample,) = newestSamples(run)
    assert sample.iteration == 100 and sample.modalities == ["T1", "FLAIR"]


@pytest.mark.parametrize("cut", [10, 300, 600])
def test_a_cut_file_is_told(run, cut):
    writeSamples(run, 100)
    path = run.samples / "iteration-00000100" / "c1" / "real-T1.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:cut]))
    with pytest.raises(InputError, match=path.name):
        list(unpackNifti(path))


def test_a_slow_disk_is_asked_less_often(view, run, clock, monkeypatch):
    trained(run, 10, None)
    asked = []

    def slowly(self):
        asked.append(clock.seconds)
        clock.seconds += 2.0
        return real(self)

    real = RunFolder.summary
    monkeypatch.setattr(RunFolder, "summary", slowly)
    view.observe(run.path)
    for _ in range(100):
        clock.seconds += 1.0
        view.tick()
    assert 2 <= len(asked) <= 4, "two seconds of every forty"
