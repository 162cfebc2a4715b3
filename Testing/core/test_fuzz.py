"""Parsers of strangers' files under mutation. ``MEDDDPM_FUZZ_INPUTS=5000`` takes as many inputs a parser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from fuzzing import failures
from medddpm.dataset import read_dataset_config
from medddpm.geometry.io import read_geometry, read_mask, read_volume
from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder
from medddpm.labels.scheme import load_scheme
from medddpm.models.config_file import read_config_file
from medddpm.models.places import list_models
from medddpm.models.published import read_published
from medddpm.models.registry import read_model_folder
from medddpm.preparation.sources.described import read_plan, read_rows
from medddpm.synthesis.provenance import finished_samples
from medddpm.training.presets import read_train_file
from model_files import write_models
from patience import patient
from training_runs import make_dataset
from volume_files import LAYER_FIELDS, LPS, LPS_FIELDS, mha_bytes, nrrd_bytes, write_any

SCHEME = Path(str(resources.files("medddpm"))) / "labels" / "schemes" / "glioma-anatomy.json"
INPUTS = int(os.environ["MEDDDPM_FUZZ_INPUTS"])  # Testing/conftest.py sets it where nobody did
pytestmark = pytest.mark.timeout(patient(60 + INPUTS / 10))


def read_voxels(path: Path) -> None:
    """Everything that is read of a file of voxels; each part must be able to refuse it."""
    for read in (read_geometry, read_mask, read_volume):
        read(path)


def voxel_files(folder: Path) -> dict[str, bytes]:
    """Sound files by their ending."""
    segment = {"Segment0_ID": "S", "Segment0_Name": "Tumor", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    made = {
        ".nrrd": nrrd_bytes(LPS_FIELDS | {"kinds": "domain domain domain", "endian": "little"}, {}, bytes(210)),
        ".seg.nrrd": nrrd_bytes(LAYER_FIELDS, segment, bytes(420)),
        ".mha": mha_bytes(),
    }
    for ending in (".nii", ".nii.gz", ".mgz", ".mgh"):
        write_any(folder / f"seed{ending}", np.ones((5, 6, 7), np.uint8), LPS)
        made[ending] = (folder / f"seed{ending}").read_bytes()
    return made


@pytest.mark.parametrize("ending", (".nrrd", ".seg.nrrd", ".mha", ".nii", ".nii.gz", ".mgz", ".mgh"))
def test_files_of_voxels(tmp_path: Path, ending: str) -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    seeds = {ending: voxel_files(tmp_path)[ending]}
    assert list(failures(read_voxels, tmp_path / "fuzz", seeds, INPUTS)) == []


def in_folder(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """``read`` for a folder in which the file that is given stands as ``name``."""

    def reading(path: Path) -> object:
        folder = path.with_name("folder")
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / name)
        return read(folder)

    return reading


def text_files(folder: Path) -> dict[str, tuple[Callable[[Path], object], bytes]]:
    """How a text is read, and a sound one, by its kind."""
    make_dataset(folder / "set")
    job = JobFolder(folder / "job")
    job.create({"masks": ["a.nii.gz"], "model": "demo", "samples": 2})
    for event in (Event("started"), Event("progress", stage="sample", step=1, total=2)):
        job.append(event)
    models = list_models()
    return {
        "table.csv": (read_rows, b"case,patient,mask,T1\nc0,p0,a/m.nii.gz,a/t1.nii.gz\nc1,p1,b/m.nii.gz,b/t1.nii.gz\n"),
        "run.toml": (
            read_train_file,
            b"preset = 'demo'\ndataset = 'd'\n[optimizer]\nlr = 1e-3\n",
        ),
        "config.json": (read_config_file, (models["demo"] / "config.json").read_bytes()),
        "scheme.json": (lambda path: load_scheme(str(path)), SCHEME.read_bytes()),
        "dataset.json": (in_folder("dataset.json", read_dataset_config), (folder / "set/dataset.json").read_bytes()),
        "job.json": (in_folder("job.json", lambda path: JobFolder(path).read()), (job.path / "job.json").read_bytes()),
        "events.jsonl": (
            in_folder("events.jsonl", lambda path: (JobFolder(path).events(), JobFolder(path).state())),
            (job.path / "events.jsonl").read_bytes(),
        ),
        "nnunet.json": (
            in_folder("dataset.json", read_plan),
            b'{"channel_names": {"0": "T1"}, "labels": {"background": 0, "tumor": [1, 2]}, "file_ending": ".nii.gz"}',
        ),
        "provenance.json": (
            in_folder("provenance.json", lambda path: finished_samples(path, {"steps": 3}, [0])),
            b'{"steps": 3, "sha256": {"m": "0"}, "mask_files": ["m"], "samples": [{"seed": 0, "files": ["a"]}]}',
        ),
    }


@pytest.mark.parametrize(
    "kind",
    (
        *("table.csv", "run.toml", "config.json", "scheme.json", "dataset.json", "job.json", "events.jsonl"),
        *("nnunet.json", "provenance.json"),
    ),
)
def test_texts(tmp_path: Path, kind: str) -> None:
    read, sound = text_files(tmp_path)[kind]
    assert list(failures(read, tmp_path / "fuzz-", {kind: sound}, INPUTS)) == []


@pytest.mark.parametrize("kind", ("model.safetensors", "zip.pt"))
def test_weights(tmp_path: Path, kind: str) -> None:
    write_models(tmp_path)
    if kind == "zip.pt":
        read, sound = read_published, (tmp_path / "zip.pt").read_bytes()
    else:
        sound = (tmp_path / "folder" / kind).read_bytes()
        shutil.copy(tmp_path / "folder" / "config.json", tmp_path / "config.json")
        read = in_folder(kind, read_weights)
    assert list(failures(read, tmp_path / "fuzz-", {kind: sound}, INPUTS)) == []


def read_weights(folder: Path) -> object:
    """A model folder with the sound configuration beside."""
    shutil.copy(folder.with_name("config.json"), folder / "config.json")
    return read_model_folder(folder)
