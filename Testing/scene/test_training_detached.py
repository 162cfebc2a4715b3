"""Real trainings in processes of their own: they outlive the session, are found again, paused, continued, used."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("nibabel")

from medddpm.errors import InputError, MedDDPMError  # noqa: E402
from medddpm.jobs.folder import State  # noqa: E402
from medddpm.jobs.process import process_alive  # noqa: E402
from medddpm.training.run import RunFolder  # noqa: E402
from MedDDPMSlicerLib.Jobs import ask, readEstimate  # noqa: E402
from MedDDPMSlicerLib.Processes import workerEnvironment  # noqa: E402
from MedDDPMTrainingLib import Orders  # noqa: E402
from MedDDPMTrainingLib.TrainingLogic import TrainingLogic  # noqa: E402
from MedDDPMTrainingLib.TrainingService import TrainingService  # noqa: E402
from training_helpers import parameters, pollUntil, requirePackages  # noqa: E402

from source_phantoms import write_head  # noqa: E402  # isort: skip - its folder is found by training_helpers

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
# A network and a monitor that take milliseconds.
TINY = {
    "network": {"base_channels": 8, "multipliers": [1, 2], "groups": 4, "attention_factors": []},
    "augment": {"crop_voxels": 0, "crop_until": 0.0},
    "monitor": {"log_every": 1, "validate_every": 0, "sample_every": 0, "tensorboard": False},
    "checkpoint": {"every": 1},
}
CHOICES = {"preset": "demo", "device": "cpu", "precision": "fp32"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, workerPython):
    """Two tiny cases, prepared by a process that has what a training needs."""
    requirePackages(workerPython, "torch", "lightning_fabric", "monai", "safetensors", "nibabel", "PIL")
    folder = tmp_path_factory.mktemp("training")
    for number in range(2):
        write_head(folder / "scans", f"BraTS-GLI-0000{number}-000", number)
    code = (
        "import sys; from medddpm.preparation.options import PrepareOptions as O; "
        "from medddpm.preparation.pipeline import prepare; "
        "prepare(O(sys.argv[1], sys.argv[2], grid='16x16x16:12:LPS', validation=0.0, test=0.0, workers=1))"
    )
    command = [workerPython, "-c", code, str(folder / "scans"), str(folder / "dataset")]
    done = subprocess.run(command, env=workerEnvironment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "dataset"


@pytest.fixture
def session(makeTrainingService, monkeypatch):
    """Begins a session: a function that returns its service, which scripts get, too."""
    services = []

    def begin():
        services.append(makeTrainingService())
        monkeypatch.setattr(TrainingService, "_instance", services[-1])
        return services[-1]

    yield begin
    for path in {summary.path for service in services for summary in service.runs.summaries}:
        with contextlib.suppress(MedDDPMError):
            RunFolder(path).request_cancel()


def waitFor(service, path, state):
    run = service.runs.find(path)
    pollUntil(service, lambda: run.look().state is state and not run.starting)
    return run.summary


@pytest.mark.slow
def test_a_training_outlives_slicer_and_is_found_again(session, dataset):
    first = session()
    run = TrainingLogic().train(dataset, name="long", iterations=1_000_000, **CHOICES, **TINY)
    assert not run.finished and run.folder.parent == first.storage.runs
    assert "starting" in first.runBlockedReason("pause", run.folder)
    pollUntil(first, lambda: run.summary.model is not None and run.summary.iteration > 1)
    pid = RunFolder(run.folder).claim.owner().pid
    first.shutdown(keepJobs=True)
    assert process_alive(pid), "it goes on when Slicer is closed"
    second = session()
    pollUntil(second, lambda: second.runs.find(run.folder))
    again = second.runs.find(run.folder)
    found = again.summary
    assert found.state is State.RUNNING and found.name == "long" and found.dataset == str(dataset)
    second.view.observe(run.folder)
    pollUntil(second, lambda: len(second.view.figures.lines["train"]) > 1)
    key = second.useInSynth(run.folder)
    assert key in dict(second.library.entries()), "also while it trains"
    again.pause()
    paused = waitFor(second, run.folder, State.PAUSED)
    assert second.runBlockedReason("resume", run.folder) is None
    pollUntil(second, lambda: not process_alive(pid))
    again.resume()
    assert again.starting
    waitFor(second, run.folder, State.RUNNING)
    pollUntil(second, lambda: again.look().iteration > paused.iteration)
    again.stop()
    stopped = waitFor(second, run.folder, State.CANCELLED)
    assert stopped.iteration > paused.iteration and stopped.message and again.details()


def examples(tmp_path, scans):
    """The Python of the documentation, on small data and for few iterations."""
    text = (ROOT / "docs" / "training-script.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    changes = {
        "/data/scans": str(scans),
        "/data/": f"{tmp_path}/",
        'grid="demo-2mm", validation=0.1, test=0.1': "grid='16x16x16:12:LPS', validation=0.0, test=0.0",
        "iterations=2000": "iterations=2, onFinished=ended.append, waitForCompletion=True, device='cpu', **TINY",
        "run.request_pause()": "",
    }
    for old, new in changes.items():
        assert old in code, old
        code = code.replace(old, new)
    return code


@pytest.mark.slow
def test_the_example_of_the_documentation_runs(session, dataset, tmp_path, monkeypatch):
    session()
    # The module's own file needs Qt.
    monkeypatch.setitem(sys.modules, "MedDDPMTraining", SimpleNamespace(MedDDPMTrainingLogic=TrainingLogic))
    names = {"slicer": slicer, "TINY": TINY, "ended": []}
    exec(examples(tmp_path, dataset.parent / "scans"), names)
    (run,) = names["ended"]
    assert run.finished and run.summary.state is State.DONE and run.summary.iteration == 2
    assert run.summary.name == "First try" and (run.modelFolder / "config.json").is_file()
    assert names["preparation"].result.cases == 2
    with pytest.raises(InputError, match="done"):
        run.resume()
    again = TrainingLogic().resume(run.folder, moreIterations=1, waitForCompletion=True)
    assert again.summary.iteration == again.summary.total == 3


def test_the_panel_asks_estimates_and_starts(session, dataset, workerPython):
    service = session()
    node = parameters(datasetFolder=str(dataset), runName="from the panel", iterations=100)
    answers = []
    tiny = Orders.newConfig(dataset, "demo", iterations=100, device="cpu", precision="fp32", **TINY)
    service.requestEstimate(node, answers.append, answers.append)
    order = ("train_estimate", tiny.to_dict(), readEstimate, answers.append, answers.append)
    service.estimate = ask(service.estimate, *order)  # takes the first one's place, and is quick
    assert not service.estimate.finished
    pollUntil(service, lambda: answers, 280)
    (estimate,) = answers
    assert estimate.fits and "GB of memory" in estimate.sentence and "of disk" in estimate.sentence, estimate
    run = service.train(node)
    assert run.folder == service.storage.runs / "from_the_panel" and run.summary.name == "from the panel"
    run.stop()
    waitFor(service, run.folder, State.CANCELLED)
