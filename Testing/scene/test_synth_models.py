"""The models that a user can choose from, without torch."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

slicer = pytest.importorskip("slicer")

from medddpm.errors import InputError  # noqa: E402
from MedDDPMSlicerLib.Models import ModelLibrary  # noqa: E402
from MedDDPMSlicerLib.Storage import Settings, sampleMaskPath  # noqa: E402
from MedDDPMSlicerLib.Volumes import openPlainNifti  # noqa: E402
from MedDDPMSynthLib.Options import Quality, nextSeed, samplerAndSteps  # noqa: E402
from MedDDPMSynthLib.SampleCase import loadSampleCase, registerSampleData  # noqa: E402


@pytest.fixture
def library(tmp_path):
    return ModelLibrary(tmp_path / "imported", Settings())


@pytest.fixture
def folder(library, tmp_path):
    """A model folder with the demo's configuration; weights are not needed to describe it."""
    demo = library.describe("demo").path
    folder = tmp_path / "own model"
    folder.mkdir()
    shutil.copy(demo / "config.json", folder / "config.json")
    return folder


def rewrite(folder, **changes):
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**data, **changes}), encoding="utf-8")


def test_the_demo_is_described(library):
    demo = library.describe("demo")
    assert demo.modalities == ("T1", "T1ce", "T2", "FLAIR") and "demo" not in dict(library.added())
    assert demo.config.scheme.name == "glioma-anatomy"
    assert demo.config.grid.shape == (192, 192, 144) and demo.steps == demo.config.sampler_steps
    assert "research" in demo.config.license and not demo.permissive
    assert ("demo", demo.title) in library.entries() and library.lastUsed == "demo"


def test_folders_are_remembered(library, folder):
    key = library.remember(folder)
    library.remember(folder)
    assert [k for k, _ in library.entries()].count(key) == 1
    library.lastUsed = key
    assert library.lastUsed == key and key in dict(library.added())
    shutil.rmtree(folder)
    assert key not in dict(library.entries()), "what has gone is not offered"
    assert library.lastUsed == "demo"
    with pytest.raises(InputError, match="own model"):
        library.describe(key)


def test_forgetting(library, folder, tmp_path):
    key = library.remember(folder)
    imported = tmp_path / "imported" / "mine"
    shutil.copytree(folder, imported)
    assert {key, str(imported)} <= dict(library.entries()).keys()
    library.forget(str(imported))
    library.forget(key)
    assert not imported.exists(), "a converted model is deleted"
    assert folder.is_dir(), "a chosen folder stays where it is"
    assert not {key, str(imported)} & dict(library.entries()).keys()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "not a model folder"),
        (lambda f: (f / "config.json").write_text("{", encoding="utf-8"), "config.json"),
        (lambda f: (f / "config.json").write_bytes(b" " * (5 * 2**20)), "bytes"),
        (lambda f: rewrite(f, modalities=[]), "modalities"),
        (lambda f: rewrite(f, format_version=99), "newer version"),
    ],
)
def test_broken_models_are_told_and_left_out(library, folder, spoil, words):
    key = library.remember(folder)
    spoil(folder)
    with pytest.raises(InputError, match=words):
        library.describe(key)
    with pytest.raises(InputError):
        library.remember(folder)
    assert key not in dict(library.entries())


def test_terms_are_acknowledged_once(library, folder):
    key = library.remember(folder)
    assert not library.acknowledged(key)
    library.acknowledge(key)
    assert library.acknowledged(key)
    rewrite(folder, license="Other terms")
    assert not library.acknowledged(key), "other terms are to be read anew"
    rewrite(folder, license="Apache-2.0")
    assert library.acknowledged(key), "free ones need no consent"


def test_settings_of_the_application():
    class Store(dict):
        def value(self, name):
            return self.get(name)

        def setValue(self, name, value):
            self[name] = value

    store = Store()
    settings = Settings(store)
    assert settings.read("lastModel") == ""
    settings.write("lastModel", "demo")
    assert Settings(store).read("lastModel") == "demo" and list(store) == ["MedDDPM/lastModel"]


def test_qualities(library):
    demo = library.describe("demo")
    own = demo.config.sampler
    assert demo.steps == 12, "its own number of steps, not all of the schedule's"
    assert samplerAndSteps(Quality.PREVIEW, demo) == (own, 4)
    assert samplerAndSteps(Quality.STANDARD, demo) == (None, None)
    assert samplerAndSteps(Quality.REFERENCE, demo) == ("ddpm", 1000)
    assert samplerAndSteps(Quality.CUSTOM, demo, "ddim", 40) == ("ddim", 40)
    assert samplerAndSteps(Quality.CUSTOM, demo) == (None, None)
    assert all(quality.label() for quality in Quality)


def test_seeds():
    assert nextSeed(7, 3, locked=True) == 7
    assert nextSeed(7, 3, locked=False) == 10
    assert nextSeed(2**31 - 2, 5, locked=False) == 0


@pytest.mark.parametrize("name", ["brats", "whole-head"])
def test_sample_case(scene, name, tmp_path):
    import gzip

    import numpy as np
    from medddpm.labels.scheme import load_scheme
    from MedDDPMSlicerLib.SegmentMasks import composeLabels, segmentValues

    scheme = load_scheme(name)
    segmentation = loadSampleCase(scheme)
    values = segmentValues(segmentation, scheme)
    assert sorted(values.values()) == sorted(scheme.values)
    labels = composeLabels(segmentation, scheme)
    assert labels.shape == (160, 192, 160)
    (tmp_path / "mask.nii").write_bytes(gzip.decompress(sampleMaskPath().read_bytes()))
    source = openPlainNifti(tmp_path / "mask.nii")
    np.testing.assert_allclose(labels.affine, source.affine, atol=1e-4)
    np.testing.assert_array_equal(labels.data.T > 0, source.voxels > 0)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_sample_data_module(scene, monkeypatch):
    """With a Sample Data module that keeps what it is given, as Slicer's does."""
    from types import ModuleType

    given: list[dict] = []
    module = ModuleType("SampleData")
    module.SampleDataLogic = type(
        "SampleDataLogic", (), {"registerCustomSampleDataSource": staticmethod(lambda **source: given.append(source))}
    )
    monkeypatch.setitem(sys.modules, "SampleData", module)
    registerSampleData()
    (source,) = given
    assert source["uris"] == sampleMaskPath().as_uri() and source["sampleName"] == "MedDDPM glioma mask"
    assert Path(source["thumbnailFileName"]).is_file()
    source["customDownloader"](None)
    assert scene.GetFirstNodeByName("Glioma sample").GetSegmentation().GetNumberOfSegments() == 4
    monkeypatch.setitem(sys.modules, "SampleData", None)
    registerSampleData()  # the module is switched off: nothing happens
