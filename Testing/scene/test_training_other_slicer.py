"""What the self-test does with a second Slicer, as far as it goes without the application."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

slicer = pytest.importorskip("slicer")

from MedDDPMTrainingLib import OtherSlicer  # noqa: E402
from MedDDPMTrainingLib.TrainingLogic import TrainingLogic  # noqa: E402

POSIX = pytest.mark.skipif(os.name != "posix", reason="a script as the program")


@pytest.fixture
def isSlicer(scene, monkeypatch, tmp_path):
    """A function that lets a file be the program of this Slicer."""

    def runs(path):
        app = SimpleNamespace(launcherExecutableFilePath="", applicationFilePath=lambda: str(path))
        monkeypatch.setattr(slicer, "app", app)
        monkeypatch.setattr(slicer.util, "modulePath", lambda name: str(tmp_path / f"{name}.py"), raising=False)

    return runs


def script(path, text):
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize("name", ["PythonSlicer", "python3.12", "gone"])
def test_what_is_no_slicer_is_not_started(isSlicer, tmp_path, name):
    if name != "gone":
        (tmp_path / name).touch()
    isSlicer(tmp_path / name)
    assert OtherSlicer.program() is None
    assert OtherSlicer.begin(tmp_path, {}, tmp_path / "storage") is None


@POSIX
def test_a_program_that_cannot_be_started_is_none(isSlicer, tmp_path):
    (tmp_path / "Slicer").write_text("no program")
    isSlicer(tmp_path / "Slicer")
    assert OtherSlicer.program() == tmp_path / "Slicer"
    assert OtherSlicer.begin(tmp_path, {}, tmp_path / "storage") is None


@POSIX
def test_the_other_slicer_knows_order_modules_and_storage(isSlicer, tmp_path):
    text = """
import json, os, sys
from pathlib import Path
folder = Path(os.environ["MEDDDPM_SELF_TEST"])
order = json.loads((folder / "order.json").read_text())
told = {"run": order["name"], "storage": os.environ["MEDDDPM_STORAGE"], "words": " ".join(sys.argv[1:]),
        "path": os.environ["PYTHONPATH"]}
(folder / "answer.json").write_text(json.dumps(told))
"""
    isSlicer(script(tmp_path / "Slicer", text))
    process = OtherSlicer.begin(tmp_path, {"name": "one"}, tmp_path / "storage")
    assert process.wait(60) == 0, (tmp_path / "other-slicer.log").read_text()
    told = OtherSlicer.answer(tmp_path)
    assert (told["run"], told["storage"]) == ("one", str(tmp_path / "storage"))
    assert "--no-main-window" in told["words"] and f"--additional-module-paths {tmp_path}" in told["words"]
    assert "trainAndLeave()" in told["words"]
    folders = told["path"].split(os.pathsep)
    assert all(any((Path(folder) / name).is_dir() for folder in folders) for name in ("medddpm", "MedDDPMSlicerLib"))


@pytest.mark.parametrize("text", [None, "", "no json"])
def test_without_an_answer_there_is_none(tmp_path, text):
    if text is not None:
        (tmp_path / "answer.json").write_text(text)
    assert OtherSlicer.answer(tmp_path) == {}


def started(monkeypatch, tmp_path, train):
    """What a Slicer answers whose training is ``train``, and the exit code that it leaves with."""
    codes = []
    monkeypatch.setenv("MEDDDPM_SELF_TEST", str(tmp_path))
    monkeypatch.setattr(slicer.util, "exit", codes.append, raising=False)
    monkeypatch.setattr(TrainingLogic, "train", train)
    (tmp_path / "order.json").write_text(json.dumps({"datasetFolder": "data", "iterations": 5}))
    OtherSlicer.trainAndLeave()
    return OtherSlicer.answer(tmp_path), codes


def test_it_tells_where_its_training_is_and_leaves(scene, monkeypatch, tmp_path):
    def train(self, datasetFolder, iterations):
        summary = SimpleNamespace(iteration=1)
        return SimpleNamespace(folder=tmp_path / f"{datasetFolder}-{iterations}", summary=summary, finished=False)

    assert started(monkeypatch, tmp_path, train) == ({"run": str(tmp_path / "data-5")}, [0])


def test_it_tells_what_went_wrong_and_leaves(scene, monkeypatch, tmp_path):
    def train(self, **order):
        raise ValueError("no such dataset")

    assert started(monkeypatch, tmp_path, train) == ({"problem": "ValueError: no such dataset"}, [0])
