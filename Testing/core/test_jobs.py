"""Job folders without other processes: requests, events, states, previews, logs, outcomes, the model cache."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm import errors
from medddpm.files import atomic_path
from medddpm.jobs import owner as owners
from medddpm.jobs.cache import ModelCache
from medddpm.jobs.events import MAX_LINE, Event, EventLog
from medddpm.jobs.folder import MAX_ATTEMPTS, MAX_JOB_BYTES, JobFolder, State
from medddpm.jobs.handlers import default_handlers
from medddpm.jobs.log import Redactor
from medddpm.jobs.outcome import DONE, EXIT_SENTENCES, outcome_of
from medddpm.jobs.owner import Held, OwnerFile
from medddpm.jobs.preview import read_preview, write_preview
from medddpm.jobs.reporter import JobReporter, Pace
from medddpm.jobs.runner import run_job
from medddpm.jobs.stop import Stop


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    made = JobFolder(tmp_path / "Aufträge für ÄÖ 日本" / "job 1")
    made.create({"mask": "/data/DOE_JOHN/knochen.nii.gz", "sampler": "ddim"}, "toy")
    return made


def nothing(request, folder, reporter) -> None:
    """A handler with no work to do."""


def last(folder: JobFolder) -> Event:
    return folder.events()[0][-1]


def write_job(folder: JobFolder, **changes) -> None:
    data = json.loads((folder.path / "job.json").read_text())
    data.update(changes)
    (folder.path / "job.json").write_text(json.dumps({k: v for k, v in data.items() if v is not ...}))


# The request


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


# Events

numbers = st.one_of(st.none(), st.floats(-1e9, 1e9))
event_lists = st.lists(
    st.builds(
        Event,
        event=st.sampled_from(["stage", "step", "warning", "done"]),
        time=st.floats(0, 1e10),
        stage=st.one_of(st.none(), st.text(max_size=8)),
        step=st.one_of(st.none(), st.integers(0, 10**6)),
        seconds_left=numbers,
        message=st.one_of(st.none(), st.text(max_size=40)),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(events=event_lists, cuts=st.lists(st.integers(0, 2000), max_size=12), junk=st.binary(max_size=20))
def test_events_arrive_whole_however_the_bytes_come(tmp_path_factory, events, cuts, junk):
    log = EventLog(tmp_path_factory.mktemp("events") / "events.jsonl")
    data = junk.replace(b"\n", b" ") + b"\n" + b"".join(event.to_line() for event in events)
    seen, offset = [], 0
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(edges):
        with log.path.open("ab") as stream:
            stream.write(data[start:end])
        new, offset = log.read(offset)
        seen += new
    assert seen == events
    assert offset == len(data)
    assert log.last() == (events[-1] if events else None)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.recursive(st.none() | st.floats() | st.text(), st.lists).map(json.dumps)))
def test_no_line_of_a_stranger_breaks_the_reader(line):
    assert Event.from_line(line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")) is None


@pytest.mark.parametrize(
    "line",
    [b'{"event":"x","time":1e999}', b'{"event":"x","time":1,"step":"3"}', b'{"event":["x"],"time":1}', b"[" * 9999],
)
def test_lines_of_the_wrong_types_are_no_events(line):
    assert Event.from_line(line) is None


def test_a_line_broken_by_a_crash_is_closed_by_the_next(folder):
    folder.append(Event("stage", stage="load"))
    with (folder.path / "events.jsonl").open("ab") as stream:
        stream.write(b'{"event": "st')
    assert [e.event for e in folder.events()[0]] == ["stage"]
    folder.append(Event("done"))
    assert [e.event for e in folder.events()[0]] == ["stage", "done"]
    assert folder.state() is State.DONE


def test_the_longest_event_is_read_back_and_endless_lines_are_passed_over(folder):
    text = "\U0001f9e0" * 100_000
    folder.append(Event("warning", stage=text, message=text, path=text))
    assert last(folder).message.endswith("...")
    with (folder.path / "events.jsonl").open("ab") as stream:
        stream.write(b"x" * (3 * MAX_LINE))
    folder.append(Event("done"))
    events, offset = folder.events()
    assert [e.event for e in events] == ["warning", "done"]
    assert folder.events(offset) == ([], offset)
    assert folder.events(10**9)[0] == events, "a job made anew is read from its start"


# States


def test_the_states_of_a_life(folder):
    states = []
    handlers = {"toy": lambda request, job, reporter: states.append(job.state())}
    assert run_job(folder, handlers) == 0
    assert states == [State.RUNNING] and folder.state() is State.DONE
    assert run_job(folder, handlers) == 0 and len(states) == 1, "a job that is done is not done again"
    assert not folder.claim.exists()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def claim(folder: JobFolder, pid: int, token: str | None = None, host: str | None = None, attempt: int = 1) -> None:
    data = {"pid": pid, "token": token, "host": host or socket.gethostname(), "attempt": attempt}
    folder.claim.path.write_text(json.dumps(data))


def test_a_claim_of_the_dead_is_an_interruption_and_is_inherited(folder):
    claim(folder, dead_pid())
    assert folder.state() is State.INTERRUPTED
    assert run_job(folder, {"toy": nothing}) == 0 and folder.state() is State.DONE


@pytest.mark.skipif(sys.platform != "linux", reason="start times are known on Linux and Windows")
def test_a_process_number_used_again_is_not_the_owner(folder):
    claim(folder, os.getpid(), token="another start")
    assert folder.state() is State.INTERRUPTED


def test_a_living_owner_is_respected(folder):
    claim(folder, os.getpid())
    assert folder.state() is State.RUNNING
    with pytest.raises(Held, match=str(os.getpid())):
        run_job(folder, {"toy": nothing})
    past = time.time() - owners.STALE_SECONDS - 5
    os.utime(folder.claim.path, (past, past))
    assert folder.state() is State.INTERRUPTED, "its heartbeat is stale"


def test_on_another_machine_only_the_heartbeat_counts(folder):
    claim(folder, dead_pid(), host="elsewhere")
    assert folder.state() is State.RUNNING
    past = time.time() - owners.STALE_SECONDS - 5
    os.utime(folder.claim.path, (past, past))
    assert folder.state() is State.INTERRUPTED


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"pid": "x", "token": 1, "host": 2}', "x" * 9999])
def test_an_unreadable_claim_belongs_to_nobody(folder, text):
    folder.claim.path.write_text(text)
    assert folder.state() is State.INTERRUPTED
    assert run_job(folder, {"toy": nothing}) == 0


def test_a_job_that_kills_its_process_again_and_again_is_given_up(folder):
    claim(folder, dead_pid(), attempt=MAX_ATTEMPTS)
    assert run_job(folder, {"toy": nothing}) == 5
    assert folder.state() is State.FAILED and "abruptly" in last(folder).message


def test_only_one_of_many_takes_a_claim_left_by_the_dead(folder):
    claim(folder, dead_pid())
    taken, refused = [], []
    gate = threading.Barrier(8)

    def take() -> None:
        gate.wait()
        try:
            taken.append(OwnerFile(folder.claim.path).take("the job"))
        except Held:
            refused.append(1)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [2] and len(refused) == 7


def test_cancel_before_the_start_and_again_after(folder):
    folder.request_cancel()
    assert run_job(folder, {"toy": nothing}) == 3
    assert folder.state() is State.CANCELLED and last(folder).exit_code == 3
    assert run_job(folder, {"toy": nothing}) == 0, "the request to stop was used up"


def test_the_loss_of_the_parent_leaves_an_interrupted_job(folder):
    stop = Stop()

    def handler(request, job, reporter):
        stop.reason = Stop.PARENT
        reporter.check_cancelled()

    assert run_job(folder, {"toy": handler}, stop) == 3
    assert folder.state() is State.INTERRUPTED


def test_half_written_outputs_are_swept_before_the_next_run(folder):
    folder.outputs.mkdir()
    (folder.outputs / ".part-1-T1.nii").write_text("half")
    (folder.outputs / "whole.nii").write_text("whole")
    (folder.path / "preview-000003.npy").write_text("old")
    assert run_job(folder, {"toy": nothing}) == 0
    assert sorted(p.name for p in folder.path.rglob("*.n*")) == ["whole.nii"]


def test_a_disk_so_full_that_the_end_cannot_be_written(folder, monkeypatch):
    def full(event):
        raise OSError(errno.ENOSPC, "No space left on device")

    def handler(request, job, reporter):
        monkeypatch.setattr(job, "append", full)
        with atomic_path(job.output("T1.nii")) as temporary:
            temporary.write_bytes(b"half")
            full(None)

    assert run_job(folder, {"toy": handler}) == 2
    assert folder.state() is State.INTERRUPTED and list(folder.outputs.iterdir()) == []
    monkeypatch.undo()
    assert run_job(folder, {"toy": nothing}) == 0


# Outcomes

TorchOutOfMemory = type("OutOfMemoryError", (RuntimeError,), {"__module__": "torch"})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InputError("The mask is empty."), 2),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 2),
        (OSError(errno.ENOSPC, "No space left on device", "T1.nii"), 2),
        (errors.Cancelled(""), 3),
        (KeyboardInterrupt(), 3),
        (errors.OutOfMemory("Too large."), 4),
        (MemoryError(), 4),
        (TorchOutOfMemory("CUDA out of memory. Tried to allocate"), 4),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), 4),
        (RuntimeError("could not create a primitive: not enough memory"), 4),
        (RuntimeError("MPS backend out of memory"), 4),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 4),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), 5),
        (ModuleNotFoundError("No module named 'torch'", name="torch"), 5),
        (SystemExit(0), 5),
        (ZeroDivisionError("division by zero"), 5),
        (OSError("no number"), 5),
    ],
)
def test_every_exception_has_a_code_and_a_sentence(folder, error, code):
    def handler(request, job, reporter):
        raise error

    assert run_job(folder, {"toy": handler}) == code
    message = last(folder).message
    assert last(folder).exit_code == code and last(folder).event == ("cancelled" if code == 3 else "failed")
    assert message.endswith((".", ".)")) and "Traceback" not in message
    assert outcome_of(error).exit_code == code


def test_real_allocation_failure_of_torch_is_out_of_memory():
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert outcome_of(caught.value).exit_code == 4


def test_sentences_for_all_codes():
    assert set(EXIT_SENTENCES) == {0, 2, 3, 4, 5} and all(s.endswith(".") for s in EXIT_SENTENCES.values())
    assert DONE.exit_code == 0


def test_an_unknown_kind_names_the_known_ones(folder):
    assert run_job(folder, {"synthesis": nothing}) == 2
    assert "'toy'" in last(folder).message and "synthesis" in last(folder).message


# The log


def test_the_log_tells_where_but_not_who(folder):
    def handler(request, job, reporter):
        logging.getLogger("medddpm.somewhere").info("reading %s", request["mask"])
        reporter.warning("Doe_John is small.")
        try:
            raise FileNotFoundError(2, "No such file", request["mask"])
        except FileNotFoundError as exc:
            raise ValueError("knochen failed with ddim") from exc

    run_job(folder, {"toy": handler})
    text = folder.log_path.read_text(encoding="utf-8")
    assert folder.read().id in text and "in handler" in text and "ValueError" in text and "FileNotFoundError" in text
    assert "ddim" in text
    for secret in ("DOE", "Doe", "JOHN", "knochen", "nii.gz", str(folder.path)):
        assert secret not in text
    before = len(text)
    logging.getLogger("medddpm.somewhere").warning("after the job")
    assert len(folder.log_path.read_text(encoding="utf-8")) == before


@given(st.lists(st.text(min_size=5, max_size=12), min_size=1, max_size=4))
def test_no_long_text_of_the_request_gets_through(texts):
    redact = Redactor(texts)
    for text in texts:
        blotted = redact(f"read {text}!")
        assert text not in blotted or text in "read [input]!"


# Reporter and previews


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_forgets_the_slow_first_step_and_stands_an_outlier():
    pace, now = Pace(), 0.0
    pace.finished(1, 60.0)
    assert pace.seconds_left(24) is None
    for done in range(2, 11):
        now = 60.0 + (done - 1) * 2.0 + (30.0 if done >= 6 else 0.0)
        pace.finished(done, now)
    assert pace.seconds_left(15) == pytest.approx(30.0)
    pace.resumed(now + 50.0)
    pace.finished(11, now + 52.0)
    assert pace.seconds_left(1) == pytest.approx(2.0) and pace.seconds_left(0) == 0.0


def test_step_lines_are_thinned_but_the_last_is_written(folder):
    clock = Clock()
    reporter = JobReporter(folder, clock=clock)
    reporter.stage("sample", "Sampling begins.")
    for done in range(1, 1001):
        clock.now += 0.001
        reporter.step(done, 1000)
    steps = [e for e in folder.events()[0] if e.event == "step"]
    assert 9 <= len(steps) <= 13 and steps[0].step == 1 and steps[-1].step == 1000 and steps[-1].seconds_left == 0
    assert steps[5].seconds_left == pytest.approx((1000 - steps[5].step) * 0.001, abs=0.02)
    assert {e.stage for e in steps} == {"sample"}


def test_previews_cost_a_few_percent_and_two_are_kept(folder):
    clock, taken = Clock(), []
    reporter = JobReporter(folder, clock=clock)

    def preview():
        clock.now += 0.3
        taken.append(clock.now)
        return np.full((2, 3, 4, 5), len(taken) / 10, np.float32)

    for done in range(1, 401):
        clock.now += 0.25
        reporter.step(done, 400, preview)
    assert len(taken) >= 5 and 0.3 * len(taken) <= 0.03 * (clock.now - 100) + 0.3
    named = [e.path for e in folder.events()[0] if e.event == "preview"]
    assert len(named) == len(taken)
    assert sorted(p.name for p in folder.path.glob("*.npy")) == named[-2:]
    picture = read_preview(folder.inside(named[-1]))
    assert picture.shape == (2, 3, 4, 5) and picture[0, 0, 0, 0] == np.float16(len(taken) / 10)


def test_a_preview_that_fails_costs_nothing_but_previews(folder):
    clock, calls = Clock(), []
    reporter = JobReporter(folder, clock=clock)

    def preview():
        calls.append(1)
        raise RuntimeError("CUDA out of memory")

    for done in range(1, 100):
        clock.now += 10
        reporter.step(done, 100, preview)
    assert len(calls) == 1 and last(folder).step == 99


def test_previews_are_clipped_and_shaped(tmp_path):
    path = tmp_path / "preview-1.npy"
    write_preview(path, np.array([np.nan, 7.0, -3.0, 0.5], np.float32).reshape(1, 4, 1, 1))
    assert read_preview(path).ravel().tolist() == [-1.0, 1.0, -1.0, 0.5]
    with pytest.raises(ValueError, match="axes"):
        write_preview(path, np.zeros((2, 2)))


@pytest.mark.parametrize("shape", [(10**6, 10**6, 10**6, 1), (1, 1, 1, 2), (-1, -4, 1, 1), (4,)])
def test_a_preview_whose_header_lies_is_refused(tmp_path, shape):
    path = tmp_path / "preview.npy"
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "<f2", "fortran_order": False, "shape": shape})
        stream.write(b"\0" * 8)
    with pytest.raises(errors.InputError, match="not a preview"):
        read_preview(path)


def test_previews_of_pickles_and_scraps_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01")
    (tmp_path / "c.npy").write_bytes(b"")
    for name in "abc":
        with pytest.raises(errors.InputError, match="not a preview"):
            read_preview(tmp_path / f"{name}.npy")


# The model cache and the handlers


def test_the_cache_keeps_one_model_and_notices_changes(tmp_path):
    loaded, alive = [], set()

    class Model:
        def __init__(self, *key):
            assert not alive, "the former model was still held"
            alive.add(id(self))
            loaded.append(key)

        def __del__(self):
            alive.discard(id(self))

    model = tmp_path / "modell ä"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    cache = ModelCache(Model)
    cache.get(model, "cpu", "bf16")
    cache.get(model, "cpu", "bf16")
    assert len(loaded) == 1 and cache.held() == "modell ä on cpu, bf16"
    cache.get(model, "cpu", "fp32")
    (model / "model.safetensors").write_bytes(b"22")
    cache.get(model, "cpu", "fp32")
    assert len(loaded) == 3 and cache.held() == "modell ä on cpu, fp32"
    cache.clear()
    assert cache.held() is None and not alive
    with pytest.raises(errors.InputError, match="nowhere"):
        cache.get(tmp_path / "nowhere")


def test_the_synthesis_handler_gets_the_cache_and_frees_it_when_memory_is_short(folder, monkeypatch, tmp_path):
    import types

    cache = ModelCache(lambda *key: object())
    seen = []

    def run(request, job, reporter, models):
        models.get(tmp_path)
        seen.append((request["sampler"], models.held() is not None))
        raise MemoryError

    monkeypatch.setitem(sys.modules, "medddpm.synthesis.job", types.SimpleNamespace(run=run))
    assert run_job(folder, {"toy": default_handlers(cache)["synthesis"]}) == 4
    assert seen == [("ddim", True)] and cache.held() is None


def test_watching_jobs_needs_neither_torch_nor_numpy():
    code = "import sys, medddpm.jobs.spool; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert result.stdout.strip() == "[]"


def test_the_worker_needs_no_command_line_packages():
    code = "import sys, medddpm.jobs.__main__; print([m for m in ('torch', 'typer', 'rich') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert result.stdout.strip() == "[]"


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
