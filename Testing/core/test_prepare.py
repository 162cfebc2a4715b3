"""The whole preparation: what it writes, as a function, a job and a command."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from facts_phantoms import case_facts, image_facts
from medddpm.config import GridConfig
from medddpm.dataset import DatasetConfig, read_dataset_config
from medddpm.files import sha256
from medddpm.geometry.nifti import write_image
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.handlers import default_handlers
from medddpm.labels.scheme import load_scheme
from medddpm.preparation import stored
from medddpm.preparation.description import statistics, suggested_grid
from medddpm.preparation.facts import Geometry
from medddpm.preparation.pipeline import prepare
from medddpm.progress import SilentReporter
from prepared_scans import CASES, GRID, contents, options
from safetensors.numpy import load_file
from source_phantoms import HEAD_AFFINE, head_phantom


# --- what it makes --------------------------------------------------------------------------------------------------
def test_a_dataset_describes_itself(scans: Path, prepared: Path) -> None:
    config = read_dataset_config(prepared)
    assert (config.scheme, config.grid) == (load_scheme("brats"), GridConfig((24, 32, 24), (8.0, 8.0, 8.0), "LPS"))
    assert (config.modalities, config.normalization) == (("T1", "T2"), "percentile")
    assert [case.id for case in config.cases] == list(CASES)
    assert Counter(case.split for case in config.cases)["train"] in (1, 2)
    visits = {case.split for case in config.cases if case.patient == "BraTS-GLI-00001"}
    assert len(visits) == 1
    for case in config.cases:
        assert config.hashes[case.id]["tensors"] == sha256(prepared / "cases" / f"{case.id}.safetensors")
        assert config.hashes[case.id]["mask"] == sha256(scans / case.id / f"{case.id}_seg.nii.gz")
    assert config.provenance["source"] == scans.name
    assert str(scans.parent) not in (prepared / "dataset.json").read_text(encoding="utf-8")
    assert config.prior is not None
    assert config.statistics["images"]["T1"]["mean"][0] > -1


def test_the_fingerprint_is_that_of_the_files() -> None:
    wide = Geometry((200, 240, 50), (1.0, 1.0, 4.0), "PSR")  # along P, S and R
    cases = [case_facts(number) for number in range(5)]
    extent = (150.0, 180.0, 145.0)
    cases[0] = case_facts(0, {"extent_mm": extent, "labels_ml": ((4, 1300.0),)})
    cases[0] = replace(cases[0], images=(image_facts("T1", 0, geometry=wide, histogram=(0,) * 16 + (4,) + (0,) * 15),))
    told = statistics(cases, load_scheme("brats"))
    assert told["spacing_mm"] == [[1, 1, 4], [1, 1, 1], [1, 1, 1]]
    assert told["voxels"] == [[50, 192, 192], [192, 192, 200], [144, 144, 240]]
    assert told["extent_mm"][1][2] == 180
    assert list(told["labels_ml"]) == [label.name for label in load_scheme("brats").labels]
    alone = statistics(cases[:1], load_scheme("brats"))
    assert alone["labels_ml"] == {"Brain": [1300, 1300, 1300]}
    assert alone["images"]["T1"]["percentiles"] == {"0.5": 206.2, "50": 206.2, "99.5": 206.2}, "bin 16 of 32 to 400"
    grid = suggested_grid(cases, GridConfig((16, 16, 16), (9.0, 9.0, 9.0), "SLP"))
    assert (grid.shape, grid.spacing, grid.orientation) == ((160, 160, 192), (1.0, 1.0, 1.0), "SLP")


def test_the_grid_of_each_case_lies_where_its_mask_does(scans: Path, prepared: Path) -> None:
    for case in read_dataset_config(prepared).cases:
        mask = nibabel.load(scans / case.id / f"{case.id}_seg.nii.gz")
        fractions = load_file(prepared / "cases" / f"{case.id}.safetensors")["fractions"][:3].sum(0).T
        found = np.average(np.indices(fractions.shape).reshape(3, -1), axis=1, weights=fractions.ravel())
        wanted = np.argwhere(np.isin(np.asarray(mask.dataobj), (1, 2, 4))).mean(axis=0)
        place = np.array(case.affine) @ [*found, 1] - mask.affine @ [*wanted, 1]
        assert np.abs(place).max() < 3, "mm, of voxels of 8 mm"


def test_a_dataset_for_testing_only(scans: Path, tmp_path: Path) -> None:
    result = prepare(options(scans, tmp_path / "out", test=1.0))
    config = read_dataset_config(tmp_path / "out")
    assert {case.split for case in config.cases} == {"test"} and config.prior is None
    assert any("for the test" in sentence for sentence in result.sentences)
    names = tuple(case.id for case in config.cases)
    prepare(options(scans, tmp_path / "named", test_cases=names))
    assert read_dataset_config(tmp_path / "named").cases == config.cases


def test_tensors_follow_the_geometry_and_the_intensities(prepared: Path) -> None:
    images, labels = head_phantom(2)
    tensors = load_file(prepared / "cases" / "c3.safetensors")
    assert tensors["images"].dtype == np.float16
    assert tensors["images"].shape == (2, 24, 32, 24)
    fractions = tensors["fractions"].astype(np.float32) / 255
    assert fractions.shape == (4, 24, 32, 24)
    assert fractions.sum() * 8**3 == pytest.approx((images["t1"] > 0).sum() * 4**3, rel=0.01)
    assert fractions[1].sum() * 8**3 == pytest.approx((labels == 2).sum() * 4**3, rel=0.03)
    assert fractions[2].sum() * 8**3 == pytest.approx((labels == 4).sum() * 4**3, rel=0.03)
    assert tensors["images"][:, fractions.sum(0) == 0].max() < -0.99
    edema, brain = fractions[1] > 0.99, fractions[3] > 0.99
    assert tensors["images"][1][edema].mean() > tensors["images"][1][brain].mean() + 0.5


def test_processes_make_the_same_as_one(scans: Path, prepared: Path, tmp_path: Path) -> None:
    prepare(options(scans, tmp_path / "out", workers=2))
    one, two = contents(prepared), contents(tmp_path / "out")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if name.startswith("cases/") or name == "dataset.json")


def test_the_dataset_can_be_read_by_others(prepared: Path) -> None:
    if os.name == "posix":
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in (prepared / "cases").glob("*.safetensors"))


def test_an_nnunet_dataset_keeps_the_meaning_of_its_labels(scans: Path, prepared: Path, tmp_path: Path) -> None:
    """Its numbering exchanges edema and necrosis; the result is that of the BraTS numbering all the same."""
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "nnunet" / folder).mkdir(parents=True)
    for channel, name in enumerate(("t1", "t2")):
        shutil.copy(scans / "c3" / f"c3_{name}.nii.gz", tmp_path / f"nnunet/imagesTr/c3_{channel:04d}.nii.gz")
    labels = head_phantom(2)[1]
    renumbered = np.choose(labels, [0, 2, 1, 0, 3]).astype(np.uint8)
    write_image(tmp_path / "nnunet/labelsTr/c3.nii.gz", renumbered, HEAD_AFFINE, "test")
    names = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
    plan = {"channel_names": {"0": "T1", "1": "T2"}, "labels": names, "file_ending": ".nii.gz", "numTraining": 1}
    (tmp_path / "nnunet" / "dataset.json").write_text(json.dumps(plan))
    prepare(options(tmp_path / "nnunet", tmp_path / "out"))
    made, usual = (load_file(folder / "cases" / "c3.safetensors") for folder in (tmp_path / "out", prepared))
    assert all(np.array_equal(made[name], usual[name]) for name in usual)
    assert read_dataset_config(tmp_path / "out").provenance["options"]["labels"] == "1=2,2=1,3=3"


# --- jobs and the command line --------------------------------------------------------------------------------------
def test_scan_and_prepare_as_jobs(scans: Path, tmp_path: Path) -> None:
    handlers = default_handlers()
    folder = JobFolder(tmp_path / "scan")
    folder.create({"source": str(scans)}, "scan")
    handlers["scan"]({"source": str(scans)}, folder, SilentReporter())
    found = json.loads((folder.outputs / "scan.json").read_text())
    assert [case["id"] for case in found["cases"]] == list(CASES)
    assert found["cases"][2]["images"]["T1"] == str(scans / "c3" / "c3_t1.nii.gz")
    request = options(scans, tmp_path / "out", leave_out=("c4",)).to_dict()
    job = JobFolder(tmp_path / "prepare")
    job.create(request, "prepare")
    handlers["prepare"](json.loads(json.dumps(request)), job, SilentReporter())
    result = json.loads((job.outputs / "result.json").read_text())
    assert (result["dataset"], result["cases"], result["left_out"]) == (str(tmp_path / "out"), 3, ["c4"])
    assert Path(result["report"]).is_file()


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "medddpm.cli", "prepare", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, encoding="utf-8", check=False)


@pytest.mark.slow
def test_the_command_scans_and_prepares(scans: Path, tmp_path: Path) -> None:
    scan = command(scans, "--scan")
    assert scan.returncode == 0, scan.stderr
    assert f"{scans}: 4 cases of 3 patients in the layout 'brats', no errors, no warnings." in scan.stdout
    made = command(scans, tmp_path / "out", "--grid", GRID, "--test-case", "c3", "--workers", "1", "--note", "phantoms")
    assert made.returncode == 0, made.stderr
    assert f"{tmp_path / 'out'} holds 4 cases." in made.stdout
    config = read_dataset_config(tmp_path / "out")
    assert isinstance(config, DatasetConfig)
    assert {case.id for case in config.cases if case.split == "test"} == {"c3"}
    assert config.provenance["source"] == "phantoms"
    assert re.search(r"4 x 4 x 4 +voxel \(R x A x S\), mm", made.stdout)
    grid = config.statistics["suggested_grid"]
    assert f"{grid}  " in made.stdout and grid in config.statistics["memory"]["compact"]
    assert "multiples of 16" in made.stdout, "what the preset says to the grid of this dataset"


def test_the_command_ends_with_2_and_a_sentence(copied: Path) -> None:
    (copied / "c3" / "c3_t2.nii.gz").unlink()
    scan = command(copied, "--scan")
    assert scan.returncode == 2
    assert "Error: The case c3 has no T2 image" in scan.stdout
    assert "Note: The mask follows the numbers of" in scan.stdout
    nowhere = command(copied)
    assert nowhere.returncode == 2
    assert "Name the dataset folder to create" in nowhere.stderr


@pytest.mark.slow
def test_the_scan_and_the_report_tell_what_reading_changes(copied: Path, tmp_path: Path) -> None:
    path = copied / "c3" / "c3_t2.nii.gz"
    image = nibabel.load(path)
    data = np.asarray(image.dataobj, np.float32)
    data[:2] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, image.affine), path)
    scan = command(copied, "--scan")
    assert scan.returncode == 0 and "c3_t2.nii.gz has" in scan.stdout and "1 warning." in scan.stdout
    result = prepare(options(copied, tmp_path / "out"), SilentReporter())
    assert "The T2 image has" in Path(result.report).read_text(encoding="utf-8")
    path.write_bytes(path.read_bytes()[:-9])
    assert "c3_t2.nii.gz is truncated or damaged" in command(copied, "--scan").stdout


def test_the_state_of_a_case_follows_what_it_depends_on(scans: Path, tmp_path: Path) -> None:
    from medddpm.preparation.plan import make_plan

    def key(**changes: object) -> str:
        plan = make_plan(options(scans, tmp_path, **changes), SilentReporter())
        return stored.work_key(plan.cases[0], plan.options, plan.template)

    same = key()
    assert key(seed=3, validation=0.3, workers=2, leave_out=("c4",)) == same
    others = [
        key(intensities="min-max"),
        key(modalities=("T2",)),
        key(modalities=("T2", "T1")),
        key(grid="32x32x24:8:LPS"),
        key(labels="1=1,2=3,4=3"),
        key(register="modalities"),
        key(scheme="whole-head"),
    ]
    assert len({same, *others}) == len(others) + 1
