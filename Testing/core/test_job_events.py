"""What a job tells while it runs: events that arrive whole, steps with the time left, previews."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_folders import last, made_job
from medddpm import errors
from medddpm.jobs.events import MAX_LINE, Event, EventLog
from medddpm.jobs.folder import JobFolder, State
from medddpm.jobs.preview import read_preview, write_preview
from medddpm.jobs.reporter import JobReporter, Pace

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


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return made_job(tmp_path)


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


def test_time_left_of_processes_that_end_together(folder):
    clock = Clock()
    reporter = JobReporter(folder, clock=clock)
    reporter.stage("prepare", "Preparing 8 cases")
    for done in range(1, 9):
        clock.now += 80 * (done % 4 == 1)
        reporter.step(done, 8)
    left = [e.seconds_left for e in folder.events()[0] if e.event == "step"]
    assert left == pytest.approx([560, 96, 0])


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
