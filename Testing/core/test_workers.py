"""``--workers``: shares of a command's cases in processes of their own and in SLURM, and what becomes of lost ones."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from medddpm.cli.workers import FOLDER, given_to_workers, shard_of
from medddpm.errors import InputError
from medddpm.geometry.nifti import write_image
from medddpm.jobs.owner import Held, OwnerFile
from patience import patient
from synthesis_phantoms import save_mask
from synthesis_runs import ENVIRONMENT, command, leftovers, record, run_command

pytest.importorskip("submitit")

STAND_IN = f"""#!{sys.executable}
# Stands in for SLURM: runs what it is given at once, in this computer; a task is a process.
import os, re, subprocess, sys
from pathlib import Path
name, place = Path(sys.argv[0]).name, Path(sys.argv[0]).parent
if name == "sbatch":
    text = Path(sys.argv[1]).read_text()
    (place / "asked").open("a").write(text)
    number = str(len(list(place.glob("job-*"))) + 100)
    array = re.search(r"--array=0-(\\d+)", text)
    for task in range(int(array[1]) + 1) if array else [None]:
        of_array = {{}} if task is None else {{"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": str(task)}}
        env = dict(os.environ, SLURM_JOB_ID=number, SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_NODEID="0", **of_array)
        env |= dict(SLURM_NTASKS="1", SLURM_JOB_NUM_NODES="1", SLURM_JOB_NODELIST="here")
        process = subprocess.Popen(["bash", sys.argv[1]], env=env, start_new_session=True, stdout=-3, stderr=-3)
        (place / f"job-{{number}}{{'' if task is None else f'_{{task}}'}}").write_text(str(process.pid))
    print(f"Submitted batch job {{number}}")
elif name == "srun":
    rest = sys.argv[1:]
    while rest[0].startswith("--"):
        rest = rest[1 if "=" in rest[0] or rest[0] == "--unbuffered" else 2 :]
    os.execvp(rest[0], rest)
elif name == "sacct":
    print("JobID|State|NodeList")
    for job in place.glob("job-*"):
        try:
            state = Path(f"/proc/{{job.read_text()}}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            state = "Z"
        print(f"{{job.name[4:]}}|{{'COMPLETED' if state == 'Z' else 'RUNNING'}}|here")
"""


@pytest.fixture
def masks(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"case{i}.nii.gz" for i in range(3)]
    for path in paths:
        save_mask(path)
    return paths


def ended(process: object) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=patient(60))  # type: ignore[attr-defined]
    return process.returncode, out, err  # type: ignore[attr-defined]


def images(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.nii.gz"))}


def workers_of(process: object) -> Iterator[psutil.Process]:
    """The processes that work for a command."""
    for child in psutil.Process(process.pid).children(recursive=True):  # type: ignore[attr-defined]
        with contextlib.suppress(psutil.Error):
            if "submitit.core._submit" in child.cmdline():
                yield child


@pytest.mark.slow
def test_workers_make_what_one_process_makes(tmp_path: Path, tiny: Path, masks: list[Path]) -> None:
    rest = ["--model", tiny, "--steps", "2", "--samples", "2", "--device", "cpu"]
    code, told, problems = ended(command("synth", *masks, "--out", tmp_path / "two", *rest, "--workers", "2"))
    assert code == 0, problems
    assert "3 of 3 masks done before and left as is." in told and told.count("Open ") == 6
    assert not (tmp_path / "two" / FOLDER).exists() and not leftovers(tmp_path / "two")
    assert ended(command("synth", *masks, "--out", tmp_path / "one", *rest))[0] == 0
    assert images(tmp_path / "two") == images(tmp_path / "one") and len(images(tmp_path / "one")) > 12


@pytest.mark.slow
def test_masks_are_read_together_once(tmp_path: Path, tiny: Path) -> None:
    """Of a folder, and where one mask alone would be read otherwise; what is no mask is left out by all workers."""
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, swap in (("a", {}), ("b", {}), ("c", {4: 0})):
        labels, affine = save_mask(folder / f"{name}.nii.gz")
        changed = labels.copy()
        for old, new in {4: 4, 3: 4 if name != "c" else 3, **swap}.items():
            changed[labels == old] = new
        write_image(folder / f"{name}.nii.gz", changed, affine, "mask")
    write_image(folder / "scan.nii.gz", np.random.default_rng(0).random(labels.shape) * 900, affine, "scan")
    rest = ["--model", tiny, "--steps", "1", "--device", "cpu"]
    one = ended(command("synth", folder, "--out", tmp_path / "one", *rest))
    two = ended(command("synth", folder, "--out", tmp_path / "two", *rest, "--workers", "2"))
    assert one[0] == two[0] and "scan.nii.gz is left out" in two[2]
    assert images(tmp_path / "two") == images(tmp_path / "one") and images(tmp_path / "one")
    labels_of = [record(tmp_path / run / "a")["labels"] for run in ("one", "two")]
    assert labels_of[0] == labels_of[1]


@pytest.mark.slow
def test_the_share_of_a_lost_worker_is_run_again(tmp_path: Path, tiny: Path, masks: list[Path]) -> None:
    process = command(
        "synth",
        *masks,
        "--out",
        tmp_path / "out",
        "--model",
        tiny,
        "--samples",
        "20",
        "--device",
        "cpu",
        "--workers",
        "2",
    )
    until = time.monotonic() + patient(60)
    while not list((tmp_path / "out").glob("case*/provenance.json")):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    next(workers_of(process)).kill()
    code, _, problems = ended(process)
    assert code == 0, problems
    assert "was lost (job" in problems and "It starts again." in problems
    assert [len(record(tmp_path / "out" / f"case{i}")["seeds"]) for i in range(3)] == [20, 20, 20]


@pytest.mark.slow
def test_a_mask_that_cannot_be_used_is_told_as_ever(tmp_path: Path, tiny: Path, masks: list[Path]) -> None:
    masks[1].write_bytes(b"nothing")
    rest = ["--model", tiny, "--steps", "2", "--device", "cpu"]
    code, _, problems = ended(command("synth", *masks, "--out", tmp_path / "out", *rest, "--workers", "2"))
    alone, _, expected = ended(command("synth", *masks, "--out", tmp_path / "out", *rest))
    assert code == alone == 2 and "1 of 3 masks could not be synthesized" in problems
    assert [line for line in expected.splitlines() if "case1" in line][-1] in problems
    assert all((tmp_path / "out" / f"case{i}" / "provenance.json").exists() for i in (0, 2))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="SLURM runs on Linux")
def test_an_array_of_slurm_does_the_same(tmp_path: Path, tiny: Path, masks: list[Path]) -> None:
    place = tmp_path / "bin"
    place.mkdir()
    for name in ("sbatch", "srun", "sacct", "scancel"):
        (place / name).write_text(STAND_IN, encoding="utf-8")
        (place / name).chmod(0o755)
    environment = {**ENVIRONMENT, "PATH": f"{place}:{os.environ['PATH']}"}
    rest = ["--model", tiny, "--steps", "2", "--device", "cpu", "--workers", "slurm:2"]
    line = [sys.executable, "-m", "medddpm.cli", "synth", *masks, "--out", tmp_path / "out", *rest]
    process = psutil.Popen([str(word) for word in line], env=environment, stdout=-1, stderr=-1, encoding="utf-8")
    code, told, problems = ended(process)
    assert code == 0, problems
    assert "3 of 3 masks done before" in told
    asked = (place / "asked").read_text(encoding="utf-8")
    assert "--array=0-1%2" in asked and "--job-name=medddpm" in asked and asked.count("#!/bin/bash") == 2


def test_words_that_are_not_understood_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in ("0", "two", "slurm:", "pbs:4", "slurm:99999", "-1"):
        with pytest.raises(InputError, match=r"workers '.*' are not understood"):
            given_to_workers(words, "", tmp_path / "out")
    for words in ("0/2", "3/2", "1", "1/0", "a/b", "1/2/3"):
        with pytest.raises(InputError, match="Write 3/64"):
            shard_of(words)
    assert shard_of("3/64") == (2, 64) and shard_of("") is None
    assert not given_to_workers("", "", tmp_path / "out") and not given_to_workers("2", "1/2", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("sbatch") is None
    with pytest.raises(InputError, match="no SLURM on this computer"):
        given_to_workers("slurm:2", "", tmp_path / "out")


def test_workers_on_another_computer_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ("synth", tmp_path / "a.nii", "--out", tmp_path / "out", "--on", "box", "--workers", "2")
    assert run_command(monkeypatch, *line) == 2 and not (tmp_path / "out").exists()
    assert "Choose one of both." in capsys.readouterr().err


def test_the_folder_of_job_files_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medddpm.cli import workers

    seen: list[int] = []
    monkeypatch.setattr(
        workers._Crew, "run", lambda crew: seen.append(stat.S_IMODE((tmp_path / "out" / FOLDER).stat().st_mode))
    )
    assert given_to_workers("2", "", tmp_path / "out")
    assert os.name == "nt" or seen == [0o700]
    assert not (tmp_path / "out" / FOLDER).exists()


def test_other_workers_and_what_is_in_the_way_are_refused(tmp_path: Path) -> None:
    with OwnerFile(tmp_path / f"{FOLDER}.json").held("it"), pytest.raises(Held, match="is in use by process"):
        given_to_workers("2", "", tmp_path)
    (tmp_path / FOLDER).touch()
    with pytest.raises(InputError, match=r"\.workers cannot be made .*Delete it"):
        given_to_workers("2", "", tmp_path)
