"""Preparing once more: what is there is kept, what changed is made again, whatever ended the one before."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from medddpm.dataset import read_dataset_config
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.files import sha256
from medddpm.jobs.owner import OwnerFile
from medddpm.preparation.pipeline import prepare, work_through
from medddpm.progress import SilentReporter
from patience import patient
from prepared_scans import CASES, GRID, contents, options, states
from source_phantoms import write_head


def test_nothing_is_computed_twice_and_changed_inputs_and_options_are(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    prepare(options(copied, out))
    first = states(out)
    prepare(options(copied, out, seed=5, test=0.4))
    assert states(out) == first
    write_head(copied, "c4", 77)
    prepare(options(copied, out))
    second = states(out)
    assert {name for name in first if first[name] != second[name]} == {"c4.safetensors"}
    prepare(options(copied, out, intensities="min-max"))
    assert not set(states(out).values()) & set(second.values())
    assert read_dataset_config(out).normalization == "min-max"


def test_a_spoiled_or_missing_prepared_file_is_made_again(scans: Path, prepared: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(prepared, tmp_path / "out"))
    tensors = out / "cases" / "c3.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\0")
    (out / "cases" / "c4.json").write_text('{"key": 3')
    (out / "cases" / f"{CASES[0]}.safetensors").unlink()
    reporter, told = SilentReporter(), []
    reporter.stage = lambda name, message="": told.append(message)  # type: ignore[method-assign]
    reporter.step = lambda done, total, preview=None: told.append((done, total))  # type: ignore[method-assign]
    prepare(options(scans, out), reporter)
    there = len(states(prepared)) - 1  # whose share of the time says nothing of that of the one left
    assert told[told.index(f"Updating {there} cases") :] == [
        f"Updating {there} cases",
        *((done, there) for done in range(1, there + 1)),
        *("Preparing 1 case", (1, 1), "Looking for outliers and writing the report"),
    ]
    before, after = contents(prepared), contents(out)
    assert {name: after[name] for name in before if name.startswith("cases/")} == {
        name: data for name, data in before.items() if name.startswith("cases/")
    }


class CancelAt(SilentReporter):
    """Cancels as soon as so many steps of a stage are done."""

    def __init__(self, stage: str, step: int) -> None:
        self._stage, self._at, self._now, self._done = stage, step, "", 0

    def stage(self, name: str, message: str = "") -> None:
        self._now, self._done = name, 0

    def step(self, done: int, total: int, preview: object = None) -> None:
        self._done = done

    def check_cancelled(self) -> None:
        if self._now == self._stage and self._done >= self._at:
            raise Cancelled("stop")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_cancel_keeps_what_is_finished(scans: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"

    with pytest.raises(Cancelled):
        prepare(options(scans, out, workers=workers), CancelAt("prepare", 2))
    assert not (out / "dataset.json").exists()
    assert not (out / "claim.json").exists()
    assert not list(out.rglob(".part-*"))
    first = states(out)
    assert 2 <= len(first) < len(CASES) + 1
    prepare(options(scans, out))
    assert {name: when for name, when in states(out).items() if name in first} == first


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_kill_leaves_nothing_half_written_and_no_process(scans: Path, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import sys; from medddpm.preparation.options import PrepareOptions;"
        "from medddpm.preparation.pipeline import prepare\n"
        "if __name__ == '__main__':\n"
        f"    prepare(PrepareOptions(sys.argv[1], sys.argv[2], grid='{GRID}', workers=2))"
    )
    script = tmp_path / "prepare_them.py"
    script.write_text(code)
    process = subprocess.Popen([sys.executable, str(script), str(scans), str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + patient(30)
    while not list(out.glob("cases/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = _children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert children
    assert _gone(children, 20)
    for state in out.glob("cases/[!.]*.json"):
        assert json.loads(state.read_text())["sha256"] == sha256(state.with_suffix(".safetensors"))
    assert not (out / "dataset.json").exists()
    prepare(options(scans, out))
    after = contents(out)
    assert all(after[name] == data for name, data in contents(prepared).items() if name.startswith("cases/"))
    assert not list(out.rglob(".part-*"))


def test_a_kill_between_the_voxels_of_the_first_case_and_its_facts_is_gone_over(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "cases").mkdir(parents=True)
    (out / "cases" / "c1.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="not part of a prepared dataset"):
        prepare(options(scans, out))
    (out / "claim.json").write_text("{}")
    assert prepare(options(scans, out)).cases == 4


def _children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _gone(pids: list[int], seconds: float) -> bool:
    import psutil

    def alive(pid: int) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return False

    deadline = time.monotonic() + patient(seconds)
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def test_two_preparations_never_share_a_folder(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    claim = OwnerFile(out / "claim.json")
    claim.take("it")
    with pytest.raises(InputError, match="in use by process"):
        prepare(options(scans, out))
    claim.release()


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(MedDDPMError, match=r"was killed.*fewer workers"):
        list(work_through(os._exit, [3, 3], 2, SilentReporter()))
