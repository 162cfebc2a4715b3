"""Synthesis from end to end: what is written and where it lies, batches, labels, and what logs name."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.models.model import Model
from medddpm.progress import SilentReporter
from medddpm.synthesis.names import case_names
from medddpm.synthesis.pipeline import run_batch
from medddpm.synthesis.request import SynthesisRequest
from patience import patient
from PIL import Image
from small_models import reference_network
from synthesis_phantoms import centroid, contents, save_mask, tiny_config, voxels
from synthesis_runs import command, leftovers, record, run_command, synthesize

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_command_writes_all_that_it_promises(tmp_path: Path, tiny: Path, mask: Path) -> None:
    out = tmp_path / "results with spaces and ü"
    process = command("synth", mask, "--model", tiny, "--out", out, "--samples", "2", "--seed", "5", "--device", "cpu")
    said, progress = process.communicate(timeout=patient(30))
    assert process.returncode == 0, progress
    names = [f"brain_sample-0{k}_{m}.nii.gz" for k in (1, 2) for m in ("T1", "FLAIR")] + ["brain_mask.nii.gz"]
    pictures = ["brain_sample-01.png", "brain_sample-02.png"]
    expected = {*names, *pictures, *(f"model-grid/{n}" for n in names)}
    assert set(contents(out / "brain")) == expected
    assert not leftovers(out)
    assert f"Open {out / 'brain' / pictures[0]}" in said and "1 of 1 mask synthesized" in said
    assert "This will take about" in progress and "GB of memory" in progress
    check_record(record(out / "brain"), tiny, mask)
    # another process, one sample at a time, by its own seed: the same bytes
    synthesize(mask, tmp_path / "alone", tiny, seed=6, device="cpu")
    alone = contents(tmp_path / "alone" / "brain")
    both = contents(out / "brain")
    for modality in ("T1", "FLAIR"):
        for folder in ("", "model-grid/"):
            one = alone[f"{folder}brain_sample-01_{modality}.nii.gz"]
            assert one == both[f"{folder}brain_sample-02_{modality}.nii.gz"]
            assert one != both[f"{folder}brain_sample-01_{modality}.nii.gz"]


def check_record(found: dict[str, Any], model: Path, mask: Path) -> None:
    from medddpm.files import sha256

    assert found["synthetic"] is True and "SYNTHETIC" in found["statement"]
    assert found["mask_sha256"] == sha256(mask) and found["model_sha256"] == sha256(model / "model.safetensors")
    assert found["seeds"] == [5, 6] and found["sampler"] == "dpm++2m" and found["steps"] == 3
    assert found["versions"]["torch"] == torch.__version__ and found["versions"]["medddpm"]
    assert [sample["seed"] for sample in found["samples"]] == [5, 6]
    assert str(mask.parent) not in json.dumps(found)  # a record is passed on; where the mask lay is nobody's business


FORMATS = [
    ("ras.nii.gz", "RAS", (4.0, 4.0, 4.0), (42, 50, 40), 0),
    ("lps.nii", "LPS", (4.0, 4.0, 4.0), (42, 50, 40), 0),
    ("oblique.nii.gz", "PIR", (4.0, 4.0, 4.0), (52, 42, 46), 17),
    ("thick.mha", "LAS", (2.0, 3.0, 9.0), (84, 66, 18), 0),
    ("turned.seg.nrrd", "SAL", (3.0, 5.0, 4.0), (52, 38, 44), -8),
]


class Echo(Model):
    """A model whose images are its condition: bright where the tumor is."""

    def predict_x0(self, x_t: torch.Tensor, condition: torch.Tensor, t: int) -> torch.Tensor:
        tumor = condition[:, :3].float().sum(dim=1, keepdim=True)
        return (2 * tumor - 1).expand(-1, x_t.shape[1], -1, -1, -1).clone()


@pytest.mark.parametrize(("name", "codes", "spacing", "shape", "degrees"), FORMATS)
def test_images_lie_on_the_mask(
    tmp_path: Path,
    name: str,
    codes: str,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
    degrees: float,
) -> None:
    labels, affine = save_mask(tmp_path / name, codes, spacing, shape, degrees)
    config = tiny_config()
    model = Echo(config, reference_network(config.network), torch.device("cpu"), torch.float32, "0" * 64)
    [result] = run_batch(SynthesisRequest((str(tmp_path / name),)), model, tmp_path / "out", SilentReporter())
    assert result.state == "done", result.message
    written = [p for p in result.folder.glob("*.nii.gz")]
    assert len(written) == 3
    for path in written:
        data, found = voxels(path)
        assert data.shape == shape
        np.testing.assert_allclose(found, affine, atol=1e-4)
        assert nib.load(path).header["sform_code"] == 1 == nib.load(path).header["qform_code"]
    used, _ = voxels(result.folder / f"{result.folder.name}_mask.nii.gz")
    np.testing.assert_array_equal(used, labels)
    tumor = np.isin(labels, (1, 2, 3)).astype(float)
    where = centroid(tumor, affine)
    stem = f"{result.folder.name}_sample-01_FLAIR.nii.gz"
    for path in (result.folder / stem, result.folder / "model-grid" / stem):
        description = bytes(nib.load(path).header["descrip"]).decode()
        assert description.startswith("SYNTHETIC")
        data, found = voxels(path)
        assert data.min() >= 0 and data.max() <= 1000
        assert np.linalg.norm(centroid(data, found) - where) < 0.5 * min(spacing)


def test_only_the_wanted_modality_is_written(tmp_path: Path, tiny: Path, mask: Path) -> None:
    [result] = synthesize(mask, tmp_path / "out", tiny, modalities=("flair",))
    images = [p.name for p in result.folder.glob("*sample*.nii.gz")]
    assert images == ["brain_sample-01_FLAIR.nii.gz"]
    assert record(result.folder)["modalities"] == ["FLAIR"]
    with Image.open(result.sheets[0]) as sheet:
        assert sheet.width < 800  # one modality
    with pytest.raises(InputError, match=r"makes no T2; it makes T1, FLAIR\."):
        synthesize(mask, tmp_path / "out", tiny, modalities=("T2",))


def test_the_seed_decides(tmp_path: Path, tiny: Path, mask: Path) -> None:
    folders = [synthesize(mask, tmp_path / out, tiny, seed=s)[0].folder for out, s in (("a", 1), ("b", 1), ("c", 2))]
    first, again, other = (contents(folder) for folder in folders)
    assert first == again
    assert first["brain_sample-01_T1.nii.gz"] != other["brain_sample-01_T1.nii.gz"]
    assert first["brain_mask.nii.gz"] == other["brain_mask.nii.gz"]


def test_a_batch_goes_on_past_bad_masks(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "masks"
    save_mask(folder / "a.nii.gz")
    (folder / "b.nii.gz").write_text("a shopping list")
    save_mask(folder / "c.nii.gz", shift=1)
    (folder / "._c.nii.gz").write_bytes(b"a companion file of a Mac")
    missing = tmp_path / "missing.nii.gz"
    out = tmp_path / "out"
    code = run_command(monkeypatch, "synth", folder, missing, "--model", tiny, "--out", out, "--device", "cpu")
    said = capsys.readouterr()
    assert code == 2
    assert "2 of 4 masks synthesized" in said.out and "2 failed" in said.out
    assert f"{folder / 'b.nii.gz'}: " in said.err and f"{missing} does not exist" in said.err
    assert "Traceback" not in said.err and "Open " + str(out / "c") in said.out
    assert {p.name for p in out.iterdir()} == {"a", "c"}


def test_masks_of_one_name_do_not_overwrite_each_other(tmp_path: Path, tiny: Path) -> None:
    paths = [tmp_path / "p1" / "mask.nii.gz", tmp_path / "p2" / "mask.nii.gz"]
    save_mask(paths[0])
    save_mask(paths[1], shift=2)
    results = synthesize(paths, tmp_path / "out", tiny)
    assert [r.folder.name for r in results] == ["p1_mask", "p2_mask"]
    hashes = [record(r.folder)["mask_sha256"] for r in results]
    assert hashes[0] != hashes[1]


NAMES = st.lists(
    st.sampled_from(["a/m.nii", "b/m.nii.gz", "a/M.nrrd", "c/m_1.nii", "c/.nii", "d/x.seg.nrrd"]), min_size=1
)


@given(NAMES)
def test_case_names_differ_even_without_case(masks: list[str]) -> None:
    names = case_names([Path(m) for m in masks])
    assert len({name.casefold() for name in names}) == len(masks)
    assert all(name and not name.startswith(".") and "/" not in name for name in names)


def test_logs_name_neither_patient_nor_place(
    tmp_path: Path, tiny: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Muster_Max_1970"
    save_mask(folder / "Muster_Max_seg.nii.gz")
    (folder / "Muster_Max_bad.nii.gz").write_text("no mask")
    with caplog.at_level(logging.DEBUG):
        results = synthesize(sorted(folder.iterdir()), tmp_path / "out", tiny)
    assert {r.state for r in results} == {"done", "failed"}
    assert caplog.records and "Muster" not in caplog.text and str(tmp_path) not in caplog.text


def test_labels_say_what_the_values_mean(tmp_path: Path, tiny: Path, mask: Path) -> None:
    """The same mask with its tumor labels exchanged by the user, not by recognition."""
    [result] = synthesize(mask, tmp_path / "out", tiny, labels="1=2,2=1,3=3,4=4")
    source = read_mask(mask).volume.data
    used = read_mask(result.folder / f"{result.folder.name}_mask.nii.gz").volume.data
    for value, meaning in ((1, 2), (2, 1), (4, 4)):
        assert np.array_equal(used == meaning, source == value)
    assert record(result.folder)["labels"] == "1=2,2=1,3=3,4=4"
    with pytest.raises(InputError, match="1:2"):
        synthesize(mask, tmp_path / "out", tiny, labels="1:2")
