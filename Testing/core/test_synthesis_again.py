"""Synthesis once more: going on, doing again what changed, killed, interrupted, out of space."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from medddpm.errors import Cancelled
from medddpm.geometry import io
from medddpm.geometry.itk import read_itk
from medddpm.jobs.owner import OwnerFile
from medddpm.synthesis import batch
from medddpm.synthesis.provenance import CLAIM
from medddpm.synthesis.results import summary
from patience import patient
from synthesis_phantoms import contents, save_mask, save_tiny, voxels
from synthesis_runs import Recorder, command, leftovers, synthesize

pytestmark = pytest.mark.usefixtures("one_thread")

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


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


@pytest.mark.parametrize("name", ("brain_sample-01_T1.nii.gz", "brain_mask.nii.gz", "model-grid/brain_mask.nii.gz"))
def test_a_file_that_is_not_what_was_written_is_made_again(tmp_path: Path, tiny: Path, mask: Path, name: str) -> None:
    synthesize(mask, tmp_path / "out", tiny)
    before, path = contents(tmp_path / "out"), tmp_path / "out" / "brain" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert synthesize(mask, tmp_path / "out", tiny)[0].state == "done"
    assert contents(tmp_path / "out") == before


def test_two_runs_into_one_folder_do_not_mix(tmp_path: Path, tiny: Path, mask: Path) -> None:
    """The second says who is at work; were both to write, the record would be true of neither."""
    out = tmp_path / "out"
    (out / "brain").mkdir(parents=True)
    other = OwnerFile(out / "brain" / CLAIM)
    other.take("The folder")
    [result] = synthesize(mask, out, tiny)
    assert result.state == "failed" and result.exit_code == 2
    assert f"in use by process {os.getpid()}" in result.message
    assert [path.name for path in (out / "brain").iterdir()] == [CLAIM]
    other.release()
    assert synthesize(mask, out, tiny)[0].state == "done"
    assert not [path for path in out.rglob(".*")]


@POSIX
def test_a_mask_that_kills_its_reader_does_not_hold_up_the_others(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly, good, out = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz", tmp_path / "out"
    shutil.copy(mask, deadly)
    shutil.copy(mask, good)
    process = multiprocessing.get_context("fork").Process(target=die_at, args=(deadly, good, out, tiny))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL and not (out / "b").exists()
    monkeypatch.setattr(io, "_SCRIPT", "import os, sys; 'a.nii' in sys.argv[1] and os.kill(os.getpid(), 11)")
    first, second = synthesize([deadly, good], out, tiny)
    assert (first.state, first.exit_code, second.state) == ("failed", 2, "done")
    assert "a.nii.gz is damaged" in first.message and "code -11" in first.message
    assert [result.state for result in synthesize([deadly, good], out, tiny)] == ["done", "already done"]


def die_at(deadly: Path, good: Path, out: Path, model: Path) -> None:
    def prepare_case(path: Path, *rest: Any) -> Any:
        if path == deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(path, *rest)

    original, batch.prepare_case = batch.prepare_case, prepare_case
    synthesize([deadly, good], out, model)


def test_a_sound_file_after_a_death_is_read(mask: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.nii.gz").write_bytes(b"damaged")
    io.require_survivable([mask, tmp_path / "damaged.nii.gz"])


def test_what_another_run_has_made_meanwhile_is_not_made_again(
    tmp_path: Path, tiny: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, announce, reporter = tmp_path / "out", batch.Batch.announce, Recorder()

    def slow(self: batch.Batch, plans: Any) -> None:
        monkeypatch.setattr(batch.Batch, "announce", announce)
        synthesize(mask, out, tiny)
        announce(self, plans)

    monkeypatch.setattr(batch.Batch, "announce", slow)
    assert synthesize(mask, out, tiny, reporter=reporter)[0].state == "done"
    assert "sample" not in reporter.stages


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


@pytest.mark.slow(but="change_seed")
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


@pytest.mark.slow(but="1")
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


@pytest.mark.slow
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


@pytest.mark.slow
@POSIX
def test_control_c_stops_the_command_cleanly(tmp_path: Path, mask: Path) -> None:
    slow = save_tiny(tmp_path / "slow", steps=400)
    out = tmp_path / "out"
    process = command("synth", mask, "--model", slow, "--out", out, "--sampler", "ddpm", "--samples", "500")
    end = time.monotonic() + patient(30)
    while (
        not (out / "brain" / "model-grid" / "brain_mask.nii.gz").exists()
        and time.monotonic() < end
        and process.poll() is None
    ):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, progress = process.communicate(timeout=patient(30))
    assert process.returncode == 3, progress
    assert "Run the same command again to resume." in progress and "Traceback" not in progress
    assert not leftovers(out)
