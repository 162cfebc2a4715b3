"""Synthesis from end to end: what is written and where it lies, batches, resuming, and everything that can go wrong."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from medddpm import errors, synthesize
from medddpm.errors import Cancelled, InputError, OutOfMemory
from medddpm.geometry.io import read_mask
from medddpm.geometry.itk import read_itk
from medddpm.models.model import Model
from medddpm.progress import SilentReporter
from medddpm.synthesis import batch, estimate
from medddpm.synthesis.names import case_names
from medddpm.synthesis.pipeline import raise_failures, run_batch, summary
from medddpm.synthesis.request import SynthesisRequest
from PIL import Image
from small_models import reference_network
from synthesis_phantoms import centroid, contents, save_mask, save_tiny, tiny_config, voxels

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """A good mask."""
    save_mask(tmp_path / "in" / "brain.nii.gz")
    return tmp_path / "in" / "brain.nii.gz"


class Recorder(SilentReporter):
    """Keeps what it is told, and asks to stop after so many steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.stages: list[str] = []
        self.warnings: list[str] = []
        self._stop_after = stop_after

    def stage(self, name: str, message: str = "") -> None:
        self.stages.append(name)

    def step(self, done: int, total: int, preview: Any = None) -> None:
        self.steps.append((done, total))

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def check_cancelled(self) -> None:
        if self._stop_after is not None and len(self.steps) >= self._stop_after:
            raise Cancelled("enough")


def leftovers(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.name.startswith(".")]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "provenance.json").read_text())


# What is written


def command(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "medddpm.cli", *map(str, arguments)]
    return subprocess.Popen(
        line, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", **options
    )


def test_the_command_writes_all_that_it_promises(tmp_path: Path, tiny: Path, mask: Path) -> None:
    out = tmp_path / "results with spaces and ü"
    process = command("synth", mask, "--model", tiny, "--out", out, "--samples", "2", "--seed", "5", "--device", "cpu")
    said, progress = process.communicate(timeout=120)
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


# Batches


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The command in this process; returns its exit code."""
    from medddpm.cli.app import main

    monkeypatch.setattr(sys, "argv", ["medddpm", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


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


# Going on, and doing again what changed


def test_what_is_there_is_not_computed_again(tmp_path: Path, tiny: Path, mask: Path) -> None:
    out, reporter = tmp_path / "out", Recorder()
    synthesize(mask, out, tiny)
    before = contents(out)
    [result] = synthesize(mask, out, tiny, reporter=reporter)
    assert result.state == "already done" and not reporter.steps and "prepare" not in reporter.stages
    assert contents(out) == before
    assert summary([result], 1) == "1 of 1 mask done before and left as is."


def test_more_samples_go_on_and_fewer_are_there(tmp_path: Path, tiny: Path, mask: Path) -> None:
    out, reporter = tmp_path / "out", Recorder()
    synthesize(mask, out, tiny, samples=1)
    first = out / "brain" / "brain_sample-01_T1.nii.gz"
    changed = first.stat().st_mtime_ns
    [result] = synthesize(mask, out, tiny, samples=3, reporter=reporter)
    assert result.state == "done" and reporter.steps[-1] == (6, 6)  # two samples of three steps
    assert first.stat().st_mtime_ns == changed
    assert synthesize(mask, out, tiny, samples=2)[0].state == "already done"
    synthesize(mask, tmp_path / "at once", tiny, samples=3)
    assert contents(out) == contents(tmp_path / "at once")


def change_seed(mask: Path, model: Path) -> dict[str, Any]:
    return {"seed": 3}


def change_steps(mask: Path, model: Path) -> dict[str, Any]:
    return {"steps": 2}


def change_mask(mask: Path, model: Path) -> dict[str, Any]:
    save_mask(mask, shift=1)
    return {}


def change_model(mask: Path, model: Path) -> dict[str, Any]:
    save_tiny(model, change=lambda weight: weight * 1.1)
    return {}


def lose_a_file(mask: Path, model: Path) -> dict[str, Any]:
    (mask.parents[1] / "out" / "brain" / "model-grid" / "brain_sample-01_T1.nii.gz").unlink()
    return {}


def empty_a_file(mask: Path, model: Path) -> dict[str, Any]:
    (mask.parents[1] / "out" / "brain" / "brain_mask.nii.gz").write_bytes(b"")
    return {}


def spoil_the_record(mask: Path, model: Path) -> dict[str, Any]:
    (mask.parents[1] / "out" / "brain" / "provenance.json").write_text('{"samples": [[[')
    return {}


CHANGES = [change_seed, change_steps, change_mask, change_model, lose_a_file, empty_a_file, spoil_the_record]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_done_again(tmp_path: Path, tiny: Path, mask: Path, change: Any) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny, model)
    synthesize(mask, out, model, samples=2)
    options = change(mask, model)
    [result] = synthesize(mask, out, model, **options)
    assert result.state == "done"
    synthesize(mask, tmp_path / "fresh", model, **options)
    fresh = contents(tmp_path / "fresh")
    found = contents(out)
    assert {name: found[name] for name in fresh} == fresh
    if change is not spoil_the_record:  # which alone knew of the second sample
        assert found == fresh


def test_a_record_never_speaks_for_images_of_another_request(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 0, then seed 9 stopped while it writes, then seed 0 again: its images must come from seed 0."""
    out = tmp_path / "out"
    synthesize(mask, out, tiny, samples=2)
    good = contents(out)

    def stop(*arguments: Any) -> None:
        raise Cancelled("in the middle of the files of a sample")

    with monkeypatch.context() as patched:
        patched.setattr(batch, "write_sheet", stop)
        with pytest.raises(Cancelled):
            synthesize(mask, out, tiny, samples=2, seed=9)
    assert not (out / "brain" / "provenance.json").exists()
    synthesize(mask, out, tiny, samples=2)
    assert contents(out) == good


def test_a_record_from_a_stranger_deletes_nothing_elsewhere(tmp_path: Path, tiny: Path, mask: Path) -> None:
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me")
    folder = tmp_path / "out" / "brain"
    folder.mkdir(parents=True)
    names = ["../../precious.txt", str(precious), "..\\..\\precious.txt"]
    (folder / "provenance.json").write_text(json.dumps({"mask_files": names, "samples": [{"seed": 0, "files": names}]}))
    [result] = synthesize(mask, tmp_path / "out", tiny)
    assert result.state == "done" and precious.read_text() == "keep me"


@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_a_stopped_run_leaves_nothing_half_and_goes_on(tmp_path: Path, tiny: Path, mask: Path, after: int) -> None:
    out = tmp_path / "out"
    with pytest.raises(Cancelled):
        synthesize(mask, out, tiny, samples=2, reporter=Recorder(stop_after=after))
    done = contents(out)
    assert not leftovers(out)
    assert sum("sample-01" in name for name in done) in (0, 5)  # all of a sample or nothing: four images and a sheet
    assert not any("sample-02" in name for name in done)
    reporter = Recorder()
    synthesize(mask, out, tiny, samples=2, reporter=reporter)
    assert reporter.steps[-1] == ((3, 3) if after > 3 else (6, 6))
    synthesize(mask, tmp_path / "fresh", tiny, samples=2)
    assert contents(out) == contents(tmp_path / "fresh")


def test_an_edited_detached_mask_counts_as_changed(tmp_path: Path, tiny: Path) -> None:
    header = tmp_path / "in" / "brain.mhd"
    save_mask(header)
    synthesize(header, tmp_path / "out", tiny)
    same = header.read_bytes()
    save_mask(header, shift=1)
    assert header.read_bytes() == same  # only the voxels beside it are others
    assert read_itk(header, "MetaImageIO").layers.any()
    assert synthesize(header, tmp_path / "out", tiny)[0].state == "done"


# Killed, interrupted, out of space


def _child(mask: Path, out: Path, model: Path, limit: int, answer: Any) -> None:
    torch.set_num_threads(1)
    if limit:
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    results = synthesize(mask, out, model, samples=4)
    if answer is not None:
        answer.send([(r.state, r.message, r.exit_code) for r in results])


@pytest.fixture(scope="module")
def children() -> Any:
    """Processes that have torch loaded already when they start."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["medddpm.synthesis.pipeline", "synthesis_phantoms"])
    return context


@POSIX
def test_a_killed_run_is_completed_by_the_next(tmp_path: Path, tiny: Path, mask: Path, children: Any) -> None:
    out, chance = tmp_path / "out", random.Random(1)
    killed = 0
    for _ in range(5):
        child = children.Process(target=_child, args=(mask, out, tiny, 0, None))
        known = {p.name for p in out.rglob("*")}
        child.start()
        while child.is_alive() and {p.name for p in out.rglob("*")} == known:
            time.sleep(0.005)  # until it has written something, wherever it stands in the case
        time.sleep(chance.uniform(0, 0.1))
        if child.is_alive():
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
        child.join()
        for path in out.rglob("*.nii.gz"):
            if not path.name.startswith("."):
                voxels(path)  # whole: it can be read to its end
    assert killed
    [result] = synthesize(mask, out, tiny, samples=4)
    assert result.state in ("done", "already done") and not leftovers(out)
    synthesize(mask, tmp_path / "fresh", tiny, samples=4)
    assert contents(out) == contents(tmp_path / "fresh")


def test_leftovers_of_the_dead_go_and_of_the_living_stay(tmp_path: Path, tiny: Path, mask: Path) -> None:
    folder = tmp_path / "out" / "brain"
    (folder / "model-grid").mkdir(parents=True)
    dead = [folder / ".part-4194000-x.nii.gz", folder / "model-grid" / ".part-4194000-y.nii.gz"]
    alive = folder / f".part-{os.getppid()}-z.nii.gz"
    for path in (*dead, alive):
        path.write_bytes(b"half")
    synthesize(mask, tmp_path / "out", tiny)
    assert leftovers(tmp_path / "out") == [alive]


@POSIX
def test_a_full_disk_is_told_in_a_sentence(tmp_path: Path, tiny: Path, mask: Path, children: Any) -> None:
    receiver, sender = children.Pipe(duplex=False)
    child = children.Process(target=_child, args=(mask, tmp_path / "out", tiny, 6000, sender))
    child.start()
    assert receiver.poll(60)
    [(state, message, code)] = receiver.recv()
    child.join()
    assert state == "failed" and code == 2
    assert "could not be written" in message and "Free space or choose another folder" in message
    assert not leftovers(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.nii.gz"):
        voxels(path)
    assert not (tmp_path / "out" / "brain" / "provenance.json").exists()


@POSIX
def test_control_c_stops_the_command_cleanly(tmp_path: Path, mask: Path) -> None:
    slow = save_tiny(tmp_path / "slow", steps=400)
    out = tmp_path / "out"
    process = command("synth", mask, "--model", slow, "--out", out, "--sampler", "ddpm", "--samples", "500")
    end = time.monotonic() + 90
    while (
        not (out / "brain" / "model-grid" / "brain_mask.nii.gz").exists()
        and time.monotonic() < end
        and process.poll() is None
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, progress = process.communicate(timeout=60)
    assert process.returncode == 3, progress
    assert "Run the same command again to go on where it was stopped." in progress and "Traceback" not in progress
    assert not leftovers(out)


# Requests that cannot be met


BAD = [
    ({"model": "no-such-model"}, r"There is no model 'no-such-model'.*known by name"),
    ({"device": "cuda:63"}, r"The device 'cuda:63' is not there"),
    ({"device": "toaster"}, r"There is no device 'toaster'\. Choose auto, cpu"),
    ({"precision": "fp8"}, r"There is no precision 'fp8'\. Choose auto, fp32"),
    ({"sampler": "euler"}, r"euler"),
    ({"steps": 0}, r"0 sampling steps were asked for; this model allows 1 to 6\."),
    ({"steps": 7}, r"7 sampling steps were asked for; this model allows 1 to 6\."),
    ({"samples": 0}, r"0 samples were asked for; it must be 1 to"),
    ({"seed": -1}, r"The seed -1 is out of range"),
    ({"images": ("a.nii", "b.nii")}, r"1 masks? but 2 images"),
]


@pytest.mark.parametrize(("options", "sentence"), BAD)
def test_an_impossible_request_is_refused(
    tmp_path: Path, tiny: Path, mask: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        synthesize(mask, tmp_path / "out", **{"model": tiny, **options})
    assert not contents(tmp_path).keys() - {"in/brain.nii.gz"}


def test_the_out_folder_must_be_one(tmp_path: Path, tiny: Path, mask: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"The folder .*file/below cannot be made: .* Choose another folder\."):
        synthesize(mask, tmp_path / "file" / "below", tiny)


def test_a_write_that_fails_is_told_by_its_file(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(nib, "save", full)
    [result] = synthesize(mask, tmp_path / "out", tiny)
    assert (result.state, result.exit_code) == ("failed", 2)
    assert "brain_mask.nii.gz could not be written: No space left on device." in result.message
    assert not contents(tmp_path / "out") and not leftovers(tmp_path / "out")


MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: can't allocate memory: you tried 9"),
    MemoryError(),
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda e: type(e).__name__)
def test_out_of_memory_has_its_exit_code_and_advice(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(batch, "sample", fail)
    [result] = synthesize(mask, tmp_path / "out", tiny)
    assert result.exit_code == 4 and "There was not enough memory" in result.message and "choose" in result.message
    with pytest.raises(errors.MedDDPMError) as raised:
        raise_failures([result])
    assert raised.value.exit_code == 4


def test_what_cannot_fit_is_not_started(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(estimate, "available_memory", lambda *device: 1e6)
    reporter = Recorder()
    with pytest.raises(OutOfMemory, match=r"'tiny' needs about 0\.\d GB .* only 0\.0 GB are free\. What helps: close"):
        synthesize(mask, tmp_path / "out", tiny, precision="fp32", reporter=reporter)
    assert not reporter.steps
    code = run_command(monkeypatch, "synth", mask, "--model", tiny, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 4 and "--ignore-memory starts all the same." in capsys.readouterr().err
    assert synthesize(mask, tmp_path / "out", tiny, ignore_memory=True)[0].state == "done"


def test_weights_that_are_no_numbers_are_told(tmp_path: Path, mask: Path) -> None:
    broken = save_tiny(tmp_path / "broken", change=lambda weight: weight * float("nan"))
    sentences = []
    with contextlib.suppress(InputError):
        sentences = [result.message for result in synthesize(mask, tmp_path / "out", broken)]
    if not sentences:  # refused when it was loaded, even better
        with pytest.raises(InputError, match=r"NaN|not numbers|not finite"):
            synthesize(mask, tmp_path / "out", broken)
    else:
        assert "not numbers" in sentences[0]
    assert not list((tmp_path / "out").rglob("*sample*"))


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


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Results do not depend on how many threads other tests left torch with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
