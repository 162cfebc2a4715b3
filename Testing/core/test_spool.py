"""The folder that jobs are submitted to, whatever lies in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from medddpm import errors
from medddpm.jobs import spool as spools
from medddpm.jobs.runner import run_job
from medddpm.jobs.spool import submit
from worker_processes import made_spool, toy, worker_alive


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return made_spool(tmp_path)


def test_submission_is_whole_private_and_in_order(spool):
    folders = [toy(spool, str(i)) for i in range(20)]
    assert [f.path.name for f in spools.jobs(spool)] == [f.path.name for f in folders]
    assert [f.read().request["name"] for f in spools.jobs(spool)] == [str(i) for i in range(20)]
    assert not [p for p in spool.iterdir() if p.name.startswith(".new")]


def test_order_holds_when_the_clock_goes_back(spool, monkeypatch):
    first = toy(spool)
    monkeypatch.setattr(time, "time_ns", lambda: 5)
    assert toy(spool).path.name > first.path.name


def test_a_submission_that_fails_leaves_nothing(spool, tmp_path):
    with pytest.raises(errors.InputError):
        submit(spool, {"mask": object()}, "toy")
    with pytest.raises(errors.InputError, match="kind"):
        submit(spool, {}, "../toy")
    assert list(spool.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.InputError, match="cannot be made"):
        submit(tmp_path / "file", {}, "toy")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_writing_to_a_full_device_is_told_as_such(spool):
    def handler(request, folder, reporter):
        with open("/dev/full", "wb") as stream:  # noqa: PTH123 - a device
            stream.write(b"x")

    job = toy(spool)
    assert run_job(job, {"toy": handler}) == 2
    assert "the disk is full" in job.events()[0][-1].message


def test_garbage_in_the_files_of_a_spool(spool):
    for text in ("", "[]", "{}", '{"time": 1e999, "pid": 1}', '{"pid": "x", "time": 1}', "[" * 5000, "x" * 50_000):
        (spool / "worker.json").write_text(text)
        assert not worker_alive(spool)


@pytest.mark.skipif(os.name != "posix", reason="users of POSIX")
def test_a_spool_of_another_user_is_refused(tmp_path, monkeypatch):
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(errors.InputError, match="belongs to another user"):
        submit(tmp_path, {})
