"""What a job folder asks for: it reads back, and nothing in it leads elsewhere or is believed."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from job_folders import last, made_job, nothing
from medddpm import errors
from medddpm.jobs.folder import MAX_JOB_BYTES, JobFolder, State
from medddpm.jobs.runner import run_job


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return made_job(tmp_path)


def write_job(folder: JobFolder, **changes) -> None:
    data = json.loads((folder.path / "job.json").read_text())
    data.update(changes)
    (folder.path / "job.json").write_text(json.dumps({k: v for k, v in data.items() if v is not ...}))


def test_a_created_job_reads_back(folder):
    job = folder.read()
    assert job.kind == "toy" and job.request["sampler"] == "ddim" and abs(job.created - time.time()) < 60
    assert folder.state() is State.PENDING
    if os.name == "posix":
        assert folder.path.stat().st_mode & 0o777 == 0o700


def test_file_names_that_are_not_unicode_survive(tmp_path):
    folder = JobFolder(tmp_path / "job")
    folder.create({"mask": "/data/\udcff mask ä.nii"})
    assert folder.read().request == {"mask": "/data/\udcff mask ä.nii"}


@pytest.mark.parametrize("request_", [{"mask": Path("x")}, {"scale": float("nan")}, {"long": "x" * MAX_JOB_BYTES}, []])
def test_a_request_that_is_not_json_leaves_nothing_behind(tmp_path, request_):
    with pytest.raises(errors.InputError):
        JobFolder(tmp_path / "job").create(request_)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_taken_over(folder):
    with pytest.raises(errors.InputError, match="cannot be made"):
        folder.create({}, "toy")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"id": "../../etc"}, "id"),
        ({"id": ""}, "id"),
        ({"id": 7}, "id"),
        ({"kind": "../toy"}, "kind"),
        ({"kind": None}, "kind"),
        ({"created": "now"}, "created"),
        ({"created": True}, "created"),
        ({"created": -1}, "created"),
        ({"created": 10**400}, "created"),
        ({"format_version": 2}, "format_version"),
        ({"format_version": True}, "format_version"),
        ({"request": [1]}, "request"),
        ({"request": ...}, "lacks the field 'request'"),
        ({"surprise": 1}, "unknown field 'surprise'"),
    ],
)
def test_a_wrong_field_is_named(folder, changes, word):
    write_job(folder, **changes)
    with pytest.raises(errors.InputError, match=word):
        folder.read()
    assert run_job(folder, {"toy": nothing}) == 2
    assert folder.state() is State.FAILED and word in last(folder).message


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b'{"id": "a", "kind',
        b"[1, 2]",
        b'"text"',
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"created": NaN}',
        b'{"created": 1' + b"0" * 5000 + b"}",
        b"\x80\x04\x95pickle",
        b" " * (MAX_JOB_BYTES + 1),
    ],
)
def test_garbage_in_job_json_is_a_sentence(folder, text):
    (folder.path / "job.json").write_bytes(text)
    assert run_job(folder, {"toy": nothing}) == 2
    assert last(folder).event == "failed" and "job.json" in last(folder).message
    assert "Traceback" not in last(folder).message


@pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")
@pytest.mark.parametrize("name", ["job.json", "log.txt", "outputs"])
def test_links_out_of_the_folder_are_refused(folder, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir() if name == "outputs" else outside.write_text((folder.path / "job.json").read_text())
    (folder.path / name).unlink(missing_ok=True)
    (folder.path / name).symlink_to(outside)
    before = outside.stat().st_mtime_ns
    assert run_job(folder, {"toy": nothing}) == 2
    assert "link" in last(folder).message
    assert outside.stat().st_mtime_ns == before


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("name", ["outputs/brain", "outputs/brain/model-grid", "outputs/brain/brain_mask.nii.gz"])
def test_links_below_the_outputs_are_refused(folder, tmp_path, name):
    """Results would be written through them."""
    path = folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(tmp_path / "precious")
    assert run_job(folder, {"toy": nothing}) == 2
    assert "is a link" in last(folder).message and not (tmp_path / "precious").exists()


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_an_event_file_that_is_a_link_is_not_written(folder, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (folder.path / "events.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(errors.InputError, match="link"):
        run_job(folder, {"toy": nothing})
    assert (tmp_path / "precious").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_pipe_does_not_block(folder):
    (folder.path / "job.json").unlink()
    os.mkfifo(folder.path / "job.json")
    assert run_job(folder, {"toy": nothing}) == 2
    assert "not an ordinary file" in last(folder).message


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", "", "C:/x", "..\\x", "\\\\host\\x", "a\0b"]
)
def test_names_that_lead_out_are_refused(folder, name):
    with pytest.raises(errors.InputError, match="leads out"):
        folder.output(name)
    with pytest.raises(errors.InputError, match="leads out"):
        folder.inside(name)


def test_plain_names_lead_into_outputs(folder):
    assert folder.output("fall 1/T1.nii.gz") == folder.path / "outputs" / "fall 1" / "T1.nii.gz"
    if os.name == "posix":
        folder.outputs.mkdir()
        (folder.outputs / "fall 1").symlink_to("/tmp")
        with pytest.raises(errors.InputError, match="link"):
            folder.output("fall 1/T1.nii.gz")


def test_a_folder_without_job_is_not_touched(tmp_path):
    with pytest.raises(errors.InputError, match=r"no job\.json"):
        run_job(JobFolder(tmp_path), {"toy": nothing})
    assert list(tmp_path.iterdir()) == []
