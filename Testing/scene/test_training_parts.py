"""What was chosen becomes an order to the core; what stands in the way is said before."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer")

from medddpm.config import GridConfig, NetworkConfig  # noqa: E402
from medddpm.dataset import DatasetConfig, PreparedCase  # noqa: E402
from medddpm.errors import InputError  # noqa: E402
from medddpm.labels.scheme import load_scheme  # noqa: E402
from medddpm.training.presets import PRESETS, preset_data  # noqa: E402
from medddpm.training.run import RunFolder  # noqa: E402
from MedDDPMSlicerLib.Dependencies import PREPARING, TRAINING  # noqa: E402
from MedDDPMSlicerLib.Jobs import readEstimate  # noqa: E402
from MedDDPMTrainingLib import Orders  # noqa: E402
from MedDDPMTrainingLib.Orders import readPrepared  # noqa: E402
from training_helpers import parameters, pollUntil, tinyConfig  # noqa: E402


@pytest.fixture
def service(makeTrainingService):
    return makeTrainingService()


@pytest.fixture
def dataset(tmp_path):
    """The description of a dataset, as a preparation leaves it."""
    cases = [PreparedCase(f"c{i}", split) for i, split in enumerate(("train", "train", "validation"))]
    grid = GridConfig((24, 32, 24), (8.0, 8.0, 8.0), "LPS")
    folder = tmp_path / "dataset"
    folder.mkdir()
    DatasetConfig(load_scheme("brats"), grid, ("T1", "FLAIR"), tuple(cases)).save(folder)
    return folder


# --- orders ---------------------------------------------------------------------------------------------------------


def test_choices_become_a_preparation(tmp_path):
    node = parameters(
        sourceFolder=str(tmp_path / "scans"),
        datasetFolder=str(tmp_path / "out"),
        modalities=["FLAIR", "T1"],
        leaveOut=["c7"],
        labels=" 1=1,2=2 ",
        template="ignored.nii",
        validation=0.2,
        seed=5,
    )
    request = Orders.prepareRequest(node)
    assert json.loads(json.dumps(request)) and request["source"] == str(tmp_path / "scans")
    assert request["modalities"] == ("FLAIR", "T1") and request["leave_out"] == ("c7",)
    assert request["labels"] == "1=1,2=2" and request["template"] is None
    assert (request["validation"], request["seed"], request["grid"]) == (0.2, 5, "24x32x24:8:LPS")


def test_scenes_of_former_versions_are_read(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    node.SetParameter("validationShare", "0.3")
    node.SetParameter("splitSeed", "7")
    node.SetParameter("seed", "0")
    assert Orders.renewed(Orders.renewed(node)) is node
    assert (node.GetParameter("validation"), node.GetParameter("seed"), node.GetParameter("test")) == ("0.3", "7", "")
    assert list(node.GetParameterNames()) == ["seed", "validation"]


def test_choices_become_a_training(service, dataset):
    node = parameters(datasetFolder=str(dataset), preset="demo", iterations=700, runName=" My run ")
    config = Orders.trainConfig(node, service.library)
    assert (config.name, config.iterations, config.device, config.precision) == ("My run", 700, "cpu", "fp32")
    assert config.dataset == str(dataset) and config.start_from is None
    plain = Orders.trainConfig(parameters(datasetFolder=str(dataset), precision="auto"), service.library)
    assert plain.iterations == preset_data("demo")["iterations"] and plain.precision == "bf16"


def test_a_training_can_start_from_a_model(service, dataset):
    demo = service.library.describe("demo")
    config = Orders.newConfig(dataset, "demo", startModel="demo", library=service.library)
    assert config.start_from == str(demo.path)
    assert config.network.base_channels == demo.config.network.base_channels
    with pytest.raises(InputError, match="nothing"):
        Orders.newConfig(dataset, "demo", startModel="nothing", library=service.library)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"preset": "huge"}, "huge"), ({"precision": "int4"}, "int4"), ({"iterations": -5}, "-5")],
)
def test_impossible_choices_are_named(service, dataset, changes, words):
    with pytest.raises(InputError, match=words):
        config = Orders.trainConfig(parameters(datasetFolder=str(dataset), **changes), service.library)
        RunFolder(dataset.parent / "run").create(config)


def test_folders_of_new_runs_are_new_and_safe(tmp_path):
    first = Orders.newRunFolder("", "Ünï 1/..", tmp_path)
    assert first.parent == tmp_path and first.name == "Ünï_1"
    first.mkdir()
    assert Orders.newRunFolder("", "Ünï 1/..", tmp_path).name == "Ünï_1-2"
    assert Orders.newRunFolder(tmp_path / "other", "///", tmp_path) == tmp_path / "other" / "run"


def test_every_preset_has_a_sentence_and_a_number_of_steps():
    assert all(sentence.endswith(".") and preset_data(name)["iterations"] > 100 for name, sentence in PRESETS.items())


# --- datasets and estimates -----------------------------------------------------------------------------------------


def test_a_dataset_is_described(service, dataset):
    said = Orders.datasetSentence(dataset)
    assert said == "3 cases (2 train, 1 validation, 0 test), T1, FLAIR, 24 x 32 x 24 voxels of 8 mm."
    config = json.loads((dataset / "dataset.json").read_text())
    config["cases"] = config["cases"][2:]
    (dataset / "dataset.json").write_text(json.dumps(config))
    os.utime(dataset / "dataset.json", (1, 1))
    with pytest.raises(InputError, match="no case to train on"):
        Orders.datasetSentence(dataset)
    (dataset / "dataset.json").unlink()
    with pytest.raises(InputError, match="not a prepared dataset"):
        Orders.datasetSentence(dataset)
    with pytest.raises(InputError, match="does not exist"):
        Orders.datasetSentence(dataset / "none")


@pytest.mark.parametrize("read", [readEstimate, readPrepared])
@pytest.mark.parametrize("text", ["{}", "[]", "{", '{"seconds": "soon"}', None])
def test_a_damaged_answer_is_told(tmp_path, read, text):
    for name in ("estimate.json", "result.json"):
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="could not be read"):
        read(tmp_path)


def test_an_estimate_says_when_it_does_not_fit(tmp_path):
    said = {"fits": False, "sentence": "The figures.", "advice": "Choose the compact network."}
    (tmp_path / "estimate.json").write_text(json.dumps(said))
    assert readEstimate(tmp_path).sentence == "The figures. This will not fit. Choose the compact network."


# --- what stands in the way -----------------------------------------------------------------------------------------


def test_why_nothing_can_be_trained(service, dataset):
    node = parameters(datasetFolder=str(dataset))
    assert service.blockedReason("train", node) is None
    cases = (
        ({"datasetFolder": ""}, "Prepare a dataset first"),
        ({"datasetFolder": str(dataset / "none")}, "does not exist"),
        ({"startModel": "gone"}, "gone"),
    )
    for changes, words in cases:
        blocked = parameters(**{"datasetFolder": str(dataset), **changes})
        assert words in service.blockedReason("train", blocked)
        with pytest.raises(InputError, match=words):
            service.train(blocked)


def test_missing_packages_are_named_for_each_purpose(makeTrainingService, dataset):
    missing = {PREPARING: [], TRAINING: ["monai"]}
    service = makeTrainingService(missing=lambda use: [SimpleNamespace(name=name) for name in missing[use]])
    node = parameters(datasetFolder=str(dataset))
    assert service.blockedReason("train", node) == "Install the missing packages first: monai."
    assert service.blockedReason("train", parameters(datasetFolder=str(dataset), on="box")) is None  # they are there
    run = service.train(parameters(datasetFolder=str(dataset), on="-x", iterations=200))
    assert run.elsewhere == "-x"
    pollUntil(service, lambda: run.look().state.value == "failed")
    assert "'-x' is not a host" in run.message
    pollUntil(service, lambda: service.runBlockedReason("resume", run.folder) is None)
    missing[TRAINING] = []
    service.packages.lookAgain()
    assert service.blockedReason("train", node) is None


def test_an_estimate_of_nothing_is_answered_at_once(service):
    answers = []
    service.requestEstimate(parameters(), answers.append, answers.append)
    assert answers == ["Prepare a dataset first, or choose the folder of one."] and service.estimate.finished


def test_the_end_of_the_service_leaves_no_worker(service, tmp_path):
    service.scanSource(parameters(sourceFolder=str(tmp_path)))
    pollUntil(service, lambda: service.scan.finished)
    assert service.toolsJobs._worker.alive()
    service.shutdown()
    pollUntil(service, lambda: not service.toolsJobs._worker.alive(), 10)
    assert service.preparation.result is None and service.preparation.finished


def test_the_scene_may_close_at_any_time(service, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.create(tinyConfig())
    run.metrics.append("train", 10, loss=0.5)
    service.view.observe(run.path)
    for _ in range(3):
        service.poll()
    assert service.view.charts.loss is not None
    service.closeScene()
    slicer.mrmlScene.Clear(0)
    assert service.view.charts.loss is None
    pollUntil(service, lambda: service.view.charts.loss is not None, 10)
    assert NetworkConfig(**run.read().request["network"]).base_channels == 8
