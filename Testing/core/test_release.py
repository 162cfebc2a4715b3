"""``medddpm release``: a data set that says what it is, and leads back to no mask by its names."""

from __future__ import annotations

import csv
import gzip
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from medddpm.errors import InputError, MedDDPMError
from medddpm.geometry.io import content_hash
from medddpm.models.registry import read_model
from medddpm.progress import SilentReporter
from medddpm.sampling.names import MAX_SEED
from medddpm.studies.release import Released, release
from medddpm.studies.release_request import ReleaseRequest
from medddpm.synthesis.request import SynthesisRequest
from synthesis_phantoms import save_mask
from synthesis_runs import Recorder, run_command

SECRET = "Meier_19610304"  # a name as in a clinic


@pytest.fixture
def masks(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "masks" / f"{SECRET}_{i}.nii.gz" for i in range(2)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        save_mask(path, shift=i)
    return [str(path) for path in paths]


def study(folder: Path, model: Path, kind: str, **found: Any) -> str:
    """The record of a study of the model."""
    folder.mkdir(exist_ok=True)
    weights = read_model(model)[2]
    links = [{"anatomy": "the patient's", "attack": "mask: tumor", "linked": 5, "cases": 6}]
    known = links if kind == "anonymity" else {"samples": 6, "copies": 0, **found}
    told = {"training_cases": 45, "patients": 51, "models": {weights: known}}
    (folder / f"{kind}.json").write_text(json.dumps(told), encoding="utf-8")
    return str(folder)


@pytest.fixture
def memorization(tmp_path: Path, tiny: Path) -> str:
    return study(tmp_path / "study", tiny, "memorization")


def released(masks: list[str], tiny: Path, out: Path, reporter: Any = None, **asked: Any) -> Released:
    own = {name: asked.pop(name) for name in ReleaseRequest.__dataclass_fields__ if name in asked}
    rest = {"model": str(tiny), "samples": 2, "steps": 2, "device": "cpu", "precision": "fp32", **asked}
    made = release(ReleaseRequest(**own), SynthesisRequest(tuple(masks), **rest), out, reporter or SilentReporter())
    assert made is not None
    return made


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8"), delimiter="\t"))


def test_a_bids_data_set_names_no_mask(tmp_path: Path, tiny: Path, masks: list[str], memorization: str) -> None:
    made = released(masks, tiny, tmp_path / "out", memorization=memorization, author=("A. Author",), seed=3)
    root = made.folder
    assert made.cases == 4 and root == tmp_path / "out" / "dataset"
    files = [path for path in root.rglob("*") if path.is_file()]
    for path in files:
        stored = path.read_bytes()
        stored += gzip.decompress(stored) if path.suffix == ".gz" else b""
        assert SECRET not in str(path), path
        for secret in (SECRET, str(tmp_path), *map(content_hash, map(Path, masks))):
            assert secret.encode() not in stored, (path, secret)
    assert sorted(path.name for path in root.glob("sub-*")) == [f"sub-000{i}" for i in range(1, 5)]
    described = json.loads((root / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative" and described["Authors"] == ["A. Author"]
    assert json.loads((root / "T1w.json").read_text())["SyntheticData"] is True
    image = nibabel.load(root / "sub-0001" / "anat" / "sub-0001_T1w.nii.gz")
    mask = nibabel.load(root / "sub-0001" / "anat" / "sub-0001_seg-tumor_dseg.nii.gz")
    assert b"SYNTHETIC" in image.header["descrip"].tobytes().upper() and image.shape == mask.shape
    np.testing.assert_array_equal(image.affine, mask.affine)
    rows, key = table(root / "participants.tsv"), table(tmp_path / "out" / "private" / "key.tsv")
    assert len({row["seed"] for row in rows}) == 4 and {row["seed"] for row in rows} == {"3", "4", "5", "6"}
    assert {row["mask_group"] for row in rows} == {"1", "2"}
    for row, known in zip(rows, key, strict=True):
        assert row["seed"] == known["seed"] and known["mask"] in masks
        same = [other["mask_group"] for other, k in zip(rows, key, strict=True) if k["mask"] == known["mask"]]
        assert set(same) == {row["mask_group"]}
    sizes = [float(value) for row in rows for name, value in row.items() if name.endswith("_ml")]
    assert sizes and all(size > 0.5 for size in sizes)
    card = (root / "README.md").read_text()
    assert "SYNTHETIC image" in card and "Of 6 samples of held-out masks, 0 were copies of one of 45" in card
    assert "**Not measured.**" in card and "CC-BY-4.0" in (root / "LICENSE").read_text()
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=root, check=False, capture_output=True)
    assert checked.returncode == 0, checked.stdout
    assert len((root / "SHA256SUMS").read_text().splitlines()) == len(files) - 1


def test_a_stopped_release_goes_on_and_other_words_do_not_sample_again(
    tmp_path: Path, tiny: Path, masks: list[str], memorization: str
) -> None:
    with pytest.raises(MedDDPMError):
        released(masks, tiny, tmp_path / "out", Recorder(stop_after=3), memorization=memorization)
    assert not (tmp_path / "out" / "dataset").exists()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "private").rglob("*T1.nii.gz")}
    assert times
    anonymity = study(tmp_path / "study", tiny, "anonymity")
    root = released(masks, tiny, tmp_path / "out", memorization=memorization, anonymity=anonymity).folder
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    first = {path.name: path.read_bytes() for path in root.rglob("*_T1w.nii.gz")}
    assert "| the patient's | mask: tumor | 5 of 6 | 83% (36% to 100%) |" in (root / "README.md").read_text()
    recorder = Recorder()
    again = released(masks, tiny, tmp_path / "out", recorder, memorization=memorization, title="Another title").folder
    assert "sample" not in recorder.stages and (again / "README.md").read_text().startswith("# Another title")
    assert {path.name: path.read_bytes() for path in again.rglob("*_T1w.nii.gz")} == first


def test_nnunet_reads_its_layout(tmp_path: Path, tiny: Path, masks: list[str], memorization: str) -> None:
    root = released(masks, tiny, tmp_path / "out", memorization=memorization, layout="nnunet").folder
    described = json.loads((root / "dataset.json").read_text())
    images = sorted(path.name for path in (root / "imagesTr").iterdir())
    channels = len(described["channel_names"])
    assert described["numTraining"] == 4 and len(images) == 4 * channels
    assert all(re.fullmatch(r"case_\d{4}_\d{4}\.nii\.gz", name) for name in images)
    labels = nibabel.load(root / "labelsTr" / "case_0001.nii.gz").get_fdata()
    assert set(np.unique(labels)) == set(described["labels"].values())
    assert table(root / "cases.tsv")[0]["participant_id"] == "case_0001"


def test_it_refuses_without_a_clean_study_of_this_model(
    tmp_path: Path, tiny: Path, masks: list[str], memorization: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="needs a memorization study"):
        released(masks, tiny, out)
    record = Path(memorization) / "memorization.json"
    whole = record.read_text()
    record.write_text(whole.replace(read_model(tiny)[2], "0" * 64))
    with pytest.raises(InputError, match="is not of the model"):
        released(masks, tiny, out, memorization=memorization)
    for damaged in ("", "[]", whole[:-9], whole.replace("6", '"x"')):
        record.write_text(damaged)
        with pytest.raises(InputError, match=r"no record of the study|is not of the model"):
            released(masks, tiny, out, memorization=memorization)
    study(tmp_path / "study", tiny, "memorization", copies=2)
    with pytest.raises(InputError, match="2 of 6 samples of this model are copies"):
        released(masks, tiny, out, memorization=memorization)
    assert not out.exists()
    card = released(masks, tiny, out, memorization=memorization, accept_copies=True).folder / "README.md"
    assert "2 were copies of one of 45 training cases (33%" in card.read_text()


def test_a_folder_in_use_and_what_is_no_release_are_refused(
    tmp_path: Path, tiny: Path, masks: list[str], memorization: str
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(InputError, match="holds other files"):
        released(masks, tiny, tmp_path / "used", memorization=memorization)
    released(masks[:1], tiny, tmp_path / "out", memorization=memorization)
    with pytest.raises(InputError, match="holds another release"):
        released(masks, tiny, tmp_path / "out", memorization=memorization)
    for options, words in (
        ({"context": ("T1=a.nii",), "region": "r.nii"}, "wholly synthetic"),
        ({"anatomy": "map.nii"}, "wholly synthetic"),
        ({"license": "nothing known"}, "is not known"),
        (
            {"seed": MAX_SEED - 50_000, "samples": 900, "verify": "model", "best_of": 50},
            "seeds of this release would go up to",
        ),
    ):
        with pytest.raises(InputError, match=words):
            released(masks, tiny, tmp_path / "other", memorization=memorization, **options)
    Path(masks[1]).write_bytes(b"")
    with pytest.raises(MedDDPMError, match=SECRET):
        released(masks, tiny, tmp_path / "other", memorization=memorization)
    assert not (tmp_path / "other" / "dataset").exists()


def test_workers_that_begin_at_once_are_of_one_release(
    tmp_path: Path, tiny: Path, masks: list[str], memorization: str
) -> None:
    """One has made the folder and not yet written the plan; what values mean may be told to workers."""
    (tmp_path / "out" / "private").mkdir(parents=True)
    first = released(masks, tiny, tmp_path / "out", memorization=memorization).folder
    plan = json.loads((tmp_path / "out" / "private" / "plan.json").read_text())
    assert first.is_dir() and plan["masks"] == masks
    told = {"labels": plan["labels"]} if plan["labels"] else {}
    recorder = Recorder()
    released(masks, tiny, tmp_path / "out", recorder, memorization=memorization, **told)
    assert "sample" not in recorder.stages


def test_the_command(
    tmp_path: Path,
    tiny: Path,
    masks: list[str],
    memorization: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = [*masks, "--out", tmp_path / "out", "--model", tiny, "--steps", "1", "--device", "cpu"]
    assert run_command(monkeypatch, "release", *line) == 2
    assert "See --memorization." in capsys.readouterr().err
    for shard in ("1/2", "2/2"):
        assert run_command(monkeypatch, "release", *line, "--memorization", memorization, "--shard", shard) == 0
        assert not (tmp_path / "out" / "dataset").exists()
    assert run_command(monkeypatch, "release", *line, "--memorization", memorization) == 0
    assert "2 cases are in" in capsys.readouterr().out and (tmp_path / "out" / "dataset").is_dir()
