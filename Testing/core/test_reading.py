"""A reader study: blinded images, answers that survive anything, figures that agree with other implementations."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from medddpm.errors import InputError
from medddpm.geometry.marks import DESCRIPTION, PARTLY_DESCRIPTION, is_marked
from medddpm.geometry.nifti import write_image
from medddpm.studies.agreement import Share, agreement_of, analyze, figures_of, p_of_chance
from medddpm.studies.reading import (
    KEY,
    PLAN,
    REAL,
    SLICES,
    SYNTHETIC,
    VOLUMES,
    Item,
    Reading,
    ReadingRequest,
    Session,
    plan_reading,
    read_answers,
    read_key,
    read_plan,
)
from scipy import stats
from synthesis_runs import run_command


def head(seed: int, shape: tuple[int, int, int], scale: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    points = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    return np.where((points**2).sum(0) < 100, scale * rng.uniform(0.2, 1, shape), 0).astype(np.float32)


@pytest.fixture
def request_(tmp_path: Path) -> ReadingRequest:
    """Two folders with images of two modalities each, on different grids and scales."""
    real, synthetic = tmp_path / "real", tmp_path / "synthetic"
    real.mkdir()
    synthetic.mkdir()
    for n in range(4):
        for modality in ("t1", "t1ce"):
            affine = np.diag([-1.0, 1.0, 1.0, 1.0])
            write_image(real / f"P{n}_{modality}.nii.gz", head(n, (30, 34, 28), 731), affine, "scanner")
        case, affine = f"mask{n}", np.diag([-1.0, -1.0, 1.0, 1.0])
        for k in (1, 2):
            path = synthetic / case / f"{case}_sample-0{k}_T1ce.nii.gz"
            write_image(path, head(10 * k + n, (26, 26, 26), 1000), affine, DESCRIPTION)
    return ReadingRequest(str(real), str(synthetic), str(tmp_path / "study"), each=3)


def test_nothing_but_the_key_tells_real_from_synthetic(request_: ReadingRequest) -> None:
    plan = plan_reading(request_)
    out = Path(request_.out)
    key = json.loads((out / KEY).read_text(encoding="utf-8"))
    assert sorted(entry["kind"] for entry in key.values()) == [REAL] * 3 + [SYNTHETIC] * 3
    assert all("t1ce" in entry["file"].casefold() for entry in key.values())
    patients = {Path(entry["file"]).name.split("_")[0] for entry in key.values()}
    assert len(patients) == 6  # one sample a mask while there are enough
    headers = set()
    for number in range(1, 7):
        image = nib.load(out / Item(VOLUMES, number).file)
        headers.add(image.header.binaryblock)
        data = np.asarray(image.dataobj)
        assert data.min() == 0 and data.max() == 1000
        slice_ = np.asarray(nib.load(out / Item(SLICES, number).file).dataobj)
        np.testing.assert_array_equal(slice_[..., 0], data[:, :, data.shape[2] // 2])
    assert len(headers) == 1
    told = b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file() and path.name != KEY)
    assert b"mask0" not in told and b"P0" not in told and b"scanner" not in told
    assert read_plan(out) == plan and set(read_key(out, plan).values()) == {REAL, SYNTHETIC}


def test_a_blinded_image_on_the_same_lattice_is_not_interpolated(request_: ReadingRequest) -> None:
    plan_reading(request_)
    key = json.loads((Path(request_.out) / KEY).read_text(encoding="utf-8"))
    for number, entry in key.items():
        given = nib.as_closest_canonical(nib.load(entry["file"])).get_fdata()
        made = nib.as_closest_canonical(nib.load(Path(request_.out) / Item(VOLUMES, int(number)).file)).get_fdata()
        expected = np.rint(np.clip(given / np.percentile(given, 99.9), 0, 1) * 1000)
        assert np.count_nonzero(made) == np.count_nonzero(expected)
        assert sorted(made[made > 0]) == sorted(expected[expected > 0])


def test_the_same_seed_chooses_the_same_and_each_reader_has_an_own_order(
    request_: ReadingRequest, tmp_path: Path
) -> None:
    plan = plan_reading(request_)
    again = replace(request_, out=str(tmp_path / "again"))
    assert plan_reading(again) == plan
    assert (tmp_path / "again" / KEY).read_text() == (Path(request_.out) / KEY).read_text()
    one, other = plan.order("R1"), plan.order("R2")
    assert one != other and one == plan.order("R1")
    assert [item.part for item in one] == [VOLUMES] * 6 + [SLICES] * 6
    assert sorted(item.number for item in one[:6]) == list(range(1, 7))


BAD_REQUESTS = {
    "too few": ({"each": 5}, "has 4 T1ce images, but 5 real"),
    "another modality": ({"modality": "FLAIR"}, "has 0 FLAIR images"),
    "a mask is no image": ({"modality": ""}, "Name the modality"),
    "swapped": (None, "says that it is synthetic"),
    "no folder": ({"real": "/nowhere"}, "is no folder"),
}


@pytest.mark.parametrize(("change", "sentence"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_what_cannot_be_planned_is_refused(request_: ReadingRequest, change: dict | None, sentence: str) -> None:
    swapped = {"real": request_.synthetic, "synthetic": request_.real}
    with pytest.raises(InputError, match=sentence):
        plan_reading(replace(request_, **(change or swapped)))
    assert not (Path(request_.out) / PLAN).exists()


def test_images_of_any_modality_are_known_by_the_end_of_their_names(request_: ReadingRequest) -> None:
    for folder, mark in ((Path(request_.real), "scanner"), (Path(request_.synthetic), DESCRIPTION)):
        for name in ("A_T1w_post.nii.gz", "B-t1w_post.nii", "C_T1W_POST.nii.gz", "C_mask.nii.gz", "D_T1w_postx.nii"):
            image = head(len(name) + ord(name[0]) + len(mark), (24, 24, 24), 500)
            write_image(folder / name, image, np.eye(4), mark)
    plan_reading(replace(request_, modality="T1w_post"))
    key = json.loads((Path(request_.out) / KEY).read_text(encoding="utf-8"))
    assert {Path(entry["file"]).name[0] for entry in key.values()} == {"A", "B", "C"}


def test_the_same_image_twice_constant_images_and_a_folder_in_use_are_refused(request_: ReadingRequest) -> None:
    real = Path(request_.real)
    every = replace(request_, each=4)
    (real / "P1_t1ce.nii.gz").write_bytes((real / "P0_t1ce.nii.gz").read_bytes())
    with pytest.raises(InputError, match="same file"):
        plan_reading(every)
    write_image(real / "P1_t1ce.nii.gz", np.full((30, 34, 28), 7.0), np.eye(4), "")
    with pytest.raises(InputError, match="one intensity only"):
        plan_reading(every)
    plan_reading(replace(request_, each=1))
    with pytest.raises(InputError, match="holds a reader study already"):
        plan_reading(replace(request_, each=1))


def test_synthetic_images_are_known_by_their_header(tmp_path: Path) -> None:
    for name, text in (("whole.nii.gz", DESCRIPTION), ("part.nii", PARTLY_DESCRIPTION), ("real.nii", "scanner")):
        write_image(tmp_path / name, np.zeros((4, 4, 4)), np.eye(4), text)
        assert is_marked(tmp_path / name) is (text != "scanner")


def test_a_reader_is_resumed_where_it_was_left(request_: ReadingRequest) -> None:
    plan_reading(request_)
    folder = Path(request_.out)
    session = Session(folder, "R1")
    with pytest.raises(InputError, match="in use"):
        Session(folder, "R1")
    other = Session(folder, "R2")  # two readers at once
    for n in range(4):
        item = session.next()
        assert item == session.order[n]
        session.answer(item, SYNTHETIC if n % 2 else REAL, 1 + n, 2.5)
    assert session.take_back() == session.order[3]
    session.close()
    session = Session(folder, "R1")
    assert [reading.confidence for reading in session.done] == [1, 2, 3] and session.next() == session.order[3]
    assert other.done == []
    with pytest.raises(InputError, match="1 to 5"):
        session.answer(session.next(), REAL, 6, 1.0)
    assert len(list(read_answers(folder / "readings" / "R1.csv", session.plan))) == 3
    for item in session.order[3:]:
        session.answer(item, REAL, 3, 1.0)
    assert session.next() is None
    session.close()
    other.close()
    for name in ("", "R 1", "../R1"):
        with pytest.raises(InputError, match="Name the reader"):
            Session(folder, name)


BAD_ANSWERS = {
    "other columns": "a,b\n1,2\n",
    "an image that there is not": '"part","number","answer","confidence","seconds"\n"volumes",99,"real",3,1\n',
    "an image twice": '"part","number","answer","confidence","seconds"\n' + '"volumes",1,"real",3,1\n' * 2,
    "no answer": '"part","number","answer","confidence","seconds"\n"volumes",1,"maybe",3,1\n',
    "a line that breaks off": '"part","number","answer","confidence","seconds"\n"volumes",1,"re\n',
}


@pytest.mark.parametrize("text", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_what_is_no_list_of_answers_is_refused(request_: ReadingRequest, text: str) -> None:
    plan_reading(request_)
    (Path(request_.out) / "readings").mkdir()
    (Path(request_.out) / "readings" / "R1.csv").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="no list of answers"):
        Session(Path(request_.out), "R1")
    with pytest.raises(InputError, match="no list of answers"):
        analyze(Path(request_.out))
    (Path(request_.out) / "readings" / "R1.csv").unlink()
    Session(Path(request_.out), "R1").close()  # what was refused holds no place


@pytest.mark.parametrize(("hits", "cases"), [(0, 20), (20, 20), (13, 20), (21, 40), (1, 1), (400, 900)])
def test_intervals_and_tests_are_those_of_scipy(hits: int, cases: int) -> None:
    test = stats.binomtest(hits, cases)
    low, high = Share(hits, cases).interval
    assert (low, high) == pytest.approx(tuple(test.proportion_ci(method="exact")), abs=1e-9)
    assert p_of_chance(hits, cases) == pytest.approx(test.pvalue, abs=1e-9)


def test_figures_by_hand(request_: ReadingRequest) -> None:
    key = {n: SYNTHETIC if n <= 10 else REAL for n in range(1, 21)}
    # 8 of 10 synthetic recognized, 7 of 10 real ones.
    one = [Reading(VOLUMES, n, SYNTHETIC if n <= 8 or n > 17 else REAL, 4, 2.0) for n in key]
    figures = figures_of(VOLUMES, "R1", one, key)
    assert [s.value for s in (figures.accuracy, figures.sensitivity, figures.specificity)] == [0.75, 0.8, 0.7]
    quantile = stats.norm.ppf
    assert figures.d_prime == pytest.approx(quantile(8.5 / 11) - quantile(3.5 / 11))
    other = [Reading(VOLUMES, n, SYNTHETIC if n <= 10 else REAL, 4, 2.0) for n in key]
    agreed = agreement_of(VOLUMES, ("R1", "R2"), one, other)
    # Agreement 0.75; calls 11/20 and 10/20: chance 0.5.
    assert (agreed.agreement, agreed.kappa) == pytest.approx((0.75, 0.5))
    assert np.isnan(agreement_of(VOLUMES, ("R1", "R2"), other[:5], other[:5]).kappa)
    assert agreement_of(VOLUMES, ("R1", "R2"), other[:5], other[6:]).cases == 0


def test_the_study_is_analyzed_with_unfinished_readers(request_: ReadingRequest) -> None:
    plan_reading(request_)
    folder = Path(request_.out)
    with pytest.raises(InputError, match="Nobody has read"):
        analyze(folder)
    key = read_key(folder, read_plan(folder))
    for reader, count in (("R1", 12), ("R2", 5)):
        session = Session(folder, reader)
        for item in session.order[:count]:
            session.answer(item, key[item.number] if reader == "R1" else REAL, 5, 1.0)
        session.close()
    found = analyze(folder)
    assert found.unfinished == {"R2": 7}
    assert [(f.part, f.reader) for f in found.figures] == [
        *((VOLUMES, "R1"), (VOLUMES, "R2"), (VOLUMES, "all readers"), (SLICES, "R1")),
    ]
    assert found.figures[0].accuracy.value == 1 and found.figures[0].p_chance == pytest.approx(2 * 0.5**6)
    assert found.figures[0].d_prime > 2
    page = (folder / "readers.html").read_text(encoding="utf-8")
    assert "R2 has not read 7 images" in page and "100% (54% to 100%)" in page
    assert (folder / "readers.csv").read_text(encoding="utf-8").count("\n") == 5
    assert (folder / "readers.md").read_text(encoding="utf-8").startswith("| Part | Reader |")
    (folder / KEY).write_text('{"1": {"kind": "real"}}', encoding="utf-8")
    with pytest.raises(InputError, match="does not belong"):
        analyze(folder)


def test_a_study_is_made_and_analyzed_by_two_commands(
    request_: ReadingRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = partial(run_command, monkeypatch, "study")
    assert run("reading", request_.real, request_.synthetic, "--out", request_.out, "--each", "2") == 0
    assert "4 images" in capsys.readouterr().out
    session = Session(Path(request_.out), "R1")
    key = read_key(session.folder, session.plan)
    for item in session.order:
        session.answer(item, key[item.number], 5, 1.0)
    session.close()
    assert run("readers", request_.out) == 0
    assert "volumes, R1: 100% right (95 % interval 40% to 100%)" in capsys.readouterr().out
    assert run("readers", request_.real) == 2
