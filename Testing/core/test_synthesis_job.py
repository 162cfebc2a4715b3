"""Synthesis through the real worker process: two jobs with one warm model, cancel, death and resuming, previews."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from medddpm import errors
from medddpm.errors import InputError, MedDDPMError
from medddpm.jobs.events import Event
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.handlers import ModelCache, load
from medddpm.jobs.preview import read_preview
from medddpm.jobs.reporter import JobReporter
from medddpm.jobs.spool import submit
from medddpm.synthesis.job import run
from medddpm.synthesis.request import SynthesisRequest
from patience import patient
from synthesis_phantoms import contents, save_mask, save_tiny, voxels
from synthesis_runs import synthesize

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
SECONDS = patient(30)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a schedule long enough to be stopped in."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", steps=250)


def start(spool: Path) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-m", "medddpm.jobs", str(spool), "--idle-seconds", "60"]
    return subprocess.Popen(line, env=ENVIRONMENT, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A spool served by a worker process."""
    folder = tmp_path_factory.mktemp("spool")
    worker = start(folder)
    yield folder
    worker.kill()
    worker.wait()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def finished(job: JobFolder) -> bool:
    return job.state() not in (State.PENDING, State.RUNNING)


def events(job: JobFolder, kind: str) -> list[Event]:
    return [event for event in job.events()[0] if event.event == kind]


def request(mask: Path, model: Path, **options: object) -> dict[str, object]:
    wanted = {"masks": (str(mask),), "model": str(model), "device": "cpu", "precision": "fp32", **options}
    return SynthesisRequest(**wanted).to_dict()  # type: ignore[arg-type]


def results(job: JobFolder) -> dict[str, str]:
    return contents(job.outputs)


def test_two_jobs_one_warm_model(spool: Path, tiny: Path, tmp_path: Path) -> None:
    """The second, of an edited mask, says nothing slow before its first step; how fast is measured in benchmarks."""
    paths = [tmp_path / "Muster_Max_1.nii.gz", tmp_path / "Muster_Max_2.nii.gz"]
    save_mask(paths[0])
    save_mask(paths[1], shift=1)
    jobs = [submit(spool, request(path, tiny, seed=4)) for path in paths]
    for job in jobs:
        wait_for(lambda job=job: finished(job))
        assert job.state() is State.DONE, job.events()
        stages = [event.stage for event in events(job, "stage")]
        assert stages == ["load", "estimate", "prepare", "sample", "write"]
        assert not list(job.path.rglob(".part-*"))
    assert results(jobs[0]).keys() != results(jobs[1]).keys()
    for job, path in zip(jobs, paths, strict=True):
        direct = tmp_path / f"direct {path.name}"
        synthesize(path, direct, tiny, seed=4, device="cpu", precision="fp32")
        assert results(job) == contents(direct)
        log = (job.path / "log.txt").read_text()
        assert log and "Muster" not in log and str(tmp_path) not in log


def test_a_job_is_cancelled_within_a_step(spool: Path, tiny: Path, tmp_path: Path) -> None:
    save_mask(tmp_path / "m.nii.gz")
    job = submit(spool, request(tmp_path / "m.nii.gz", tiny, sampler="ddpm", samples=100))
    wait_for(lambda: bool(events(job, "step")))
    job.request_cancel()
    wait_for(lambda: finished(job))
    assert job.state() is State.CANCELLED and events(job, "cancelled")[0].exit_code == 3
    last = events(job, "step")[-1]
    assert last.total == 25_000 and last.step is not None and last.step < last.total
    assert not list(job.path.rglob(".part-*")) and not list(job.path.glob("preview-*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_job_whose_worker_was_killed_is_resumed(tiny: Path, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    save_mask(tmp_path / "m.nii.gz")
    first = start(spool)
    job = submit(spool, request(tmp_path / "m.nii.gz", tiny, steps=8, samples=3))
    record = job.outputs / "m" / "provenance.json"
    wait_for(lambda: record.exists() or finished(job))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert job.state() is State.INTERRUPTED
    whole = json.loads(record.read_text())["samples"][0]["files"]
    written = {name: (job.outputs / "m" / name).stat().st_mtime_ns for name in whole}
    second = start(spool)
    try:
        wait_for(lambda: job.state() is State.DONE)
    finally:
        second.kill()
        second.wait()
    synthesize(tmp_path / "m.nii.gz", tmp_path / "direct", tiny, steps=8, samples=3, device="cpu", precision="fp32")
    assert results(job) == contents(tmp_path / "direct")
    assert written == {name: (job.outputs / "m" / name).stat().st_mtime_ns for name in whole}  # not done twice
    assert not list(job.path.rglob(".part-*"))


def job_here(tmp_path: Path) -> JobFolder:
    job = JobFolder(tmp_path / "job")
    job.path.mkdir()
    job.prepare()
    return job


def test_previews_lie_on_the_grid_that_is_told(tiny: Path, tmp_path: Path) -> None:
    save_mask(tmp_path / "m.mha", "PIR")
    job = job_here(tmp_path)
    seen: list[tuple[int, ...]] = []

    class Reader(JobReporter):
        def step(self, done: int, total: int, preview: Callable[[], np.ndarray] | None = None) -> None:
            super().step(done, total, preview)
            for event in events(job, "preview")[len(seen) :]:
                picture = read_preview(job.inside(event.path or ""))
                assert np.isfinite(picture).all() and np.abs(picture).max() <= 1
                seen.append(picture.shape)

    reporter = Reader(job, preview_seconds=0.0, preview_share=1e9)
    run(request(tmp_path / "m.mha", tiny, steps=5), job, reporter, ModelCache(load))
    grid = json.loads((job.path / "grid.json").read_text())
    written, affine = voxels(job.outputs / "m" / "model-grid" / "m_sample-01_T1.nii.gz")
    assert seen and set(seen) == {(2, *written.shape)}
    assert tuple(grid["shape"]) == written.shape and grid["modalities"] == ["T1", "FLAIR"] and grid["case"] == "m"
    np.testing.assert_allclose(grid["affine"], affine, atol=1e-4)


def test_a_job_names_what_failed(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.nii.gz").write_text("no mask")
    job = job_here(tmp_path)
    with pytest.raises(MedDDPMError, match=r"bad\.nii\.gz") as raised:
        run(request(tmp_path / "bad.nii.gz", tiny), job, JobReporter(job), ModelCache(load))
    assert raised.value.exit_code == 2


BAD = [
    ({"masks": ["m.nii"], "sampleCount": 3}, "unknown field 'sampleCount'"),
    ({"masks": "m.nii"}, "masks must be a list"),
    ({"masks": ["m.nii"], "seed": "x"}, "seed must be"),
    ({"model": "demo"}, "lacks the field"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("data", "sentence"), BAD)
def test_a_request_that_is_none_is_refused(tmp_path: Path, data: dict[str, object], sentence: str) -> None:
    job = job_here(tmp_path)
    with pytest.raises(InputError, match=sentence):
        run(data, job, JobReporter(job), ModelCache(load))
