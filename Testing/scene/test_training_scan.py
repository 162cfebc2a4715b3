"""Looking at a source folder: the job, its table, and what is said of it."""

from __future__ import annotations

import pytest

slicer = pytest.importorskip("slicer")
pytest.importorskip("nibabel")

from medddpm.errors import InputError  # noqa: E402
from medddpm.jobs.events import State  # noqa: E402
from medddpm.preparation.facts import SourceScan  # noqa: E402
from MedDDPMSlicerLib.Jobs import ask, readScan  # noqa: E402
from MedDDPMTrainingLib.SourceTable import linesOf, obstacles, summary  # noqa: E402
from training_helpers import parameters, pollUntil  # noqa: E402

from source_phantoms import brats_case  # noqa: E402  # isort: skip - its folder is found by training_helpers


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Three whole cases of two patients, and one without its mask."""
    folder = tmp_path_factory.mktemp("scans")
    for case in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS2021_00002"):
        brats_case(folder, case)
    brats_case(folder, "BraTS2021_00003", ("t1", "t1ce", "t2", "flair"))
    return folder


def scanned(service, source, told=None, **values):
    service.scanSource(parameters(sourceFolder=str(source), **values))
    assert not service.scan.finished
    if told is not None:
        service.scan.observers.append(lambda scan: told.append(scan.finished))
    pollUntil(service, lambda: service.scan.finished)
    return service.scan.result


def test_a_folder_becomes_a_table_that_explains_itself(trainingService, source):
    told = []
    table = scanned(trainingService, source, told)
    assert trainingService.scan.message == "" and told[-1]
    assert table.layout == "brats" and table.modalities == ("T1", "T1ce", "T2", "FLAIR")
    assert len({case.patient for case in table.cases}) == 3
    bad, *others = linesOf(table)
    assert [line.key for line in others][:2] == ["BraTS-GLI-00001-000", "BraTS-GLI-00001-001"]
    assert bad.files == "4 of 4, no mask" and bad.severity == "error" and "BraTS2021_00003" in bad.text
    assert "4 cases of 3 patients" in summary(table) and "Fix 1 problem" in summary(table)


def test_a_case_left_out_is_no_obstacle(trainingService, source):
    table = scanned(trainingService, source)
    assert obstacles(table) and not obstacles(table, ["BraTS2021_00003"])
    said = summary(table, ["BraTS2021_00003"])
    assert "3 cases of 2 patients" in said and "1 left out" in said and "can be prepared" in said


def test_no_job_stays_behind(trainingService, source):
    scanned(trainingService, source)
    assert not [path for path in trainingService.toolsJobs.spool.iterdir() if path.is_dir()]


def test_a_folder_without_cases_is_told(trainingService, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    table = scanned(trainingService, tmp_path)
    said = trainingService.scan.message if table is None else summary(table)
    assert str(tmp_path) in said or "No cases" in said
    node = parameters(sourceFolder=str(tmp_path), datasetFolder=str(tmp_path / "out"))
    if table is not None:
        assert "No cases" in trainingService.blockedReason("prepare", node)


def test_a_newer_scan_replaces_the_one_that_goes_on(trainingService, source, tmp_path):
    trainingService.scanSource(parameters(sourceFolder=str(source)))
    for _ in range(3):
        trainingService.poll()
    other = tmp_path / "other"
    brats_case(other, "BraTS2021_00009")
    former = trainingService.scan
    trainingService.scan = ask(former, "scan", {"source": str(other)}, readScan)
    assert former.state in (State.CANCELLING, State.CANCELLED)
    pollUntil(trainingService, lambda: trainingService.scan.finished)
    assert trainingService.scanOf(str(other)) is trainingService.scan.result
    assert [case.id for case in trainingService.scan.result.cases] == ["BraTS2021_00009"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sourceFolder": "none"}, "does not exist"),
        ({"sourceFolder": ".", "layout": "table", "tableFile": "none.csv"}, "The table .* does not exist"),
        ({}, "Choose the folder"),
        ({"sourceFolder": ".", "layout": "table"}, "CSV"),
    ],
)
def test_impossible_orders_are_refused(trainingService, tmp_path, monkeypatch, values, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        trainingService.scanSource(parameters(**values))


@pytest.mark.parametrize(
    "scan", [{}, {"cases": 3}, [], {"layout": "x", "modalities": [], "cases": [{}], "problems": []}]
)
def test_a_damaged_result_is_told(scan):
    with pytest.raises(InputError, match="result of the scan"):
        SourceScan.from_dict(scan)
