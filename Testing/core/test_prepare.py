"""The whole preparation: what it writes, that it goes on where it stopped, and that it says what is wrong."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from medddpm.config import GridConfig
from medddpm.dataset import DatasetConfig, read_dataset_config
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.files import sha256
from medddpm.geometry.nifti import write_image
from medddpm.jobs.folder import JobFolder
from medddpm.jobs.handlers import default_handlers
from medddpm.jobs.owner import OwnerFile
from medddpm.labels.scheme import load_scheme
from medddpm.preparation import pipeline, stored
from medddpm.preparation.options import GRIDS, PrepareOptions, grid_text, parse_grid, read_scheme
from medddpm.preparation.pipeline import prepare
from medddpm.preparation.pool import work_through
from medddpm.progress import SilentReporter
from safetensors.numpy import load_file
from source_phantoms import HEAD_AFFINE, brats_case, head_phantom, write_head, write_tiny

GRID = "24x32x24:8:LPS"
CASES = ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "c3", "c4")


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small cases of three patients; read only."""
    folder = tmp_path_factory.mktemp("scans")
    for number, case in enumerate(CASES):
        write_head(folder, case, number)
    return folder


@pytest.fixture
def copied(scans: Path, tmp_path: Path) -> Path:
    """The cases, to be spoiled."""
    return Path(shutil.copytree(scans, tmp_path / "scans"))


@pytest.fixture(scope="session")
def prepared(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of them, with one worker; read only."""
    out = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(options(scans, out))
    return out


def options(source: Path, out: Path, **changes: object) -> PrepareOptions:
    return replace(PrepareOptions(str(source), str(out), grid=GRID, workers=1), **changes)


def contents(out: Path) -> dict[str, bytes]:
    files = [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".claim")]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def states(out: Path) -> dict[str, int]:
    """When the tensors were written of each case that is whole (one without its .json is made again)."""
    whole = [path.with_suffix(".safetensors") for path in (out / "cases").glob("*.json")]
    return {path.name: path.stat().st_mtime_ns for path in whole}


# --- what it makes --------------------------------------------------------------------------------------------------


def test_a_dataset_describes_itself(scans: Path, prepared: Path) -> None:
    config = read_dataset_config(prepared)
    assert (config.scheme, config.grid) == (load_scheme("brats"), GridConfig((24, 32, 24), (8.0, 8.0, 8.0), "LPS"))
    assert (config.modalities, config.normalization) == (("T1", "T2"), "percentile")
    assert [case.id for case in config.cases] == list(CASES)
    assert Counter(case.split for case in config.cases)["train"] in (1, 2)
    visits = {case.split for case in config.cases if case.patient == "BraTS-GLI-00001"}
    assert len(visits) == 1
    for case in config.cases:
        assert config.hashes[case.id]["tensors"] == sha256(prepared / "cases" / f"{case.id}.safetensors")
        assert config.hashes[case.id]["mask"] == sha256(scans / case.id / f"{case.id}_seg.nii.gz")
    assert config.provenance["source"] == scans.name
    assert str(scans.parent) not in (prepared / "dataset.json").read_text(encoding="utf-8")
    assert config.prior is not None
    assert config.statistics["images"]["T1"]["mean"][0] > -1


def test_tensors_follow_the_geometry_and_the_intensities(prepared: Path) -> None:
    images, labels = head_phantom(2)
    tensors = load_file(prepared / "cases" / "c3.safetensors")
    assert tensors["images"].dtype == np.float16
    assert tensors["images"].shape == (2, 24, 32, 24)
    fractions = tensors["fractions"].astype(np.float32) / 255
    assert fractions.shape == (4, 24, 32, 24)
    assert fractions.sum() * 8**3 == pytest.approx((images["t1"] > 0).sum() * 4**3, rel=0.01)
    assert fractions[1].sum() * 8**3 == pytest.approx((labels == 2).sum() * 4**3, rel=0.03)
    assert fractions[2].sum() * 8**3 == pytest.approx((labels == 4).sum() * 4**3, rel=0.03)
    assert tensors["images"][:, fractions.sum(0) == 0].max() < -0.99
    edema, brain = fractions[1] > 0.99, fractions[3] > 0.99
    assert tensors["images"][1][edema].mean() > tensors["images"][1][brain].mean() + 0.5


def test_processes_make_the_same_as_one(scans: Path, prepared: Path, tmp_path: Path) -> None:
    prepare(options(scans, tmp_path / "out", workers=2))
    one, two = contents(prepared), contents(tmp_path / "out")
    assert one.keys() == two.keys()
    assert all(one[name] == two[name] for name in one if name.startswith("cases/") or name == "dataset.json")


def test_the_dataset_can_be_read_by_others(prepared: Path) -> None:
    if os.name == "posix":
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in (prepared / "cases").glob("*.safetensors"))


def test_an_nnunet_dataset_keeps_the_meaning_of_its_labels(scans: Path, prepared: Path, tmp_path: Path) -> None:
    """Its numbering exchanges edema and necrosis; the result is that of the BraTS numbering all the same."""
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / "nnunet" / folder).mkdir(parents=True)
    for channel, name in enumerate(("t1", "t2")):
        shutil.copy(scans / "c3" / f"c3_{name}.nii.gz", tmp_path / f"nnunet/imagesTr/c3_{channel:04d}.nii.gz")
    labels = head_phantom(2)[1]
    renumbered = np.choose(labels, [0, 2, 1, 0, 3]).astype(np.uint8)
    write_image(tmp_path / "nnunet/labelsTr/c3.nii.gz", renumbered, HEAD_AFFINE, "test")
    names = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
    plan = {"channel_names": {"0": "T1", "1": "T2"}, "labels": names, "file_ending": ".nii.gz", "numTraining": 1}
    (tmp_path / "nnunet" / "dataset.json").write_text(json.dumps(plan))
    prepare(options(tmp_path / "nnunet", tmp_path / "out"))
    made, usual = (load_file(folder / "cases" / "c3.safetensors") for folder in (tmp_path / "out", prepared))
    assert all(np.array_equal(made[name], usual[name]) for name in usual)
    assert read_dataset_config(tmp_path / "out").provenance["options"]["labels"] == "1=2,2=1,3=3"


# --- resuming -------------------------------------------------------------------------------------------------------


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
    prepare(options(scans, out))
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


@pytest.mark.parametrize("workers", [1, 2])
def test_cancel_keeps_what_is_finished(scans: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"

    began = time.monotonic()
    with pytest.raises(Cancelled):
        prepare(options(scans, out, workers=workers), CancelAt("prepare", 2))
    assert time.monotonic() - began < 60
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
    deadline = time.monotonic() + 90
    while not list(out.glob("cases/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    children = _children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert children
    assert _gone(children, 20)
    for state in out.glob("cases/*.json"):
        assert json.loads(state.read_text())["sha256"] == sha256(state.with_suffix(".safetensors"))
    assert not (out / "dataset.json").exists()
    prepare(options(scans, out))
    after = contents(out)
    assert all(after[name] == data for name, data in contents(prepared).items() if name.startswith("cases/"))
    assert not list(out.rglob(".part-*"))


def _children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _gone(pids: list[int], seconds: float) -> bool:
    import psutil

    def alive(pid: int) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        return False

    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(alive(pid) for pid in pids)


def test_two_preparations_never_share_a_folder(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    claim = OwnerFile(out / "claim.json")
    claim.take("it")
    with pytest.raises(InputError, match="in the hands of process"):
        prepare(options(scans, out))
    claim.release()


def test_a_process_that_dies_is_told() -> None:
    with pytest.raises(MedDDPMError, match=r"ended from outside.*fewer workers"):
        list(work_through(os._exit, [3, 3], 2, SilentReporter()))


# --- bad input ------------------------------------------------------------------------------------------------------


def refused(source: Path, out: Path, **changes: object) -> str:
    with pytest.raises(InputError) as caught:
        prepare(options(source, out, **changes))
    assert not (out / "dataset.json").exists()
    return str(caught.value)


def test_mixed_modalities_are_refused_until_settled(copied: Path, tmp_path: Path) -> None:
    (copied / "c3" / "c3_t2.nii.gz").unlink()
    out = tmp_path / "out"
    assert "The case c3 has no T2 image; 3 of 4 cases have one" in refused(copied, out)
    assert prepare(options(copied, out, modalities=("T1",))).cases == 4
    result = prepare(options(copied, out, leave_out=("c3",)))
    assert (result.cases, result.left_out) == (3, ("c3",))
    assert read_dataset_config(out).provenance["left_out"] == {"c3": "Left out as asked."}


def test_mismatched_grids_are_refused(copied: Path, tmp_path: Path) -> None:
    write_image(copied / "c3" / "c3_t2.nii.gz", head_phantom(2)[0]["t2"][:, :, :40], HEAD_AFFINE, "test")
    text = refused(copied, tmp_path / "out")
    assert "The T2 image of the case c3 (c3/c3_t2.nii.gz) has another grid than its mask: 50 x 60 x 40" in text


def test_a_half_copied_file_is_named_before_any_work(copied: Path, tmp_path: Path) -> None:
    path = copied / "c4" / "c4_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:20_000])
    assert f"{path} is truncated" in refused(copied, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damage_that_a_scan_cannot_see_is_told_with_all_other_cases_kept(copied: Path, tmp_path: Path) -> None:
    """Bytes turned over in the middle: the length is right, the voxels are not."""
    for case in ("c3", "c4"):
        path = copied / case / f"{case}_t1.nii.gz"
        data = bytearray(path.read_bytes())
        data[len(data) // 2 : len(data) // 2 + 500] = bytes(500)
        path.write_bytes(data)
    out = tmp_path / "out"
    text = refused(copied, out)
    assert text.startswith("2 of 4 cases could not be prepared; the others are kept")
    assert "--leave-out c3 --leave-out c4" in text
    assert f"{copied / 'c3' / 'c3_t1.nii.gz'} is truncated or damaged: " in text
    assert len(states(out)) == 2
    assert prepare(options(copied, out, leave_out=("c3", "c4"))).cases == 2


def test_labels_outside_the_scheme_are_named_and_can_be_given(copied: Path, tmp_path: Path) -> None:
    labels = head_phantom(3)[1]
    write_image(copied / "c4" / "c4_seg.nii.gz", np.where(labels == 2, 77, labels), HEAD_AFFINE, "test")
    text = refused(copied, tmp_path / "out")
    assert "c4" in text
    assert "77" in text
    with_labels = options(copied, tmp_path / "out", labels="1=1,2=2,4=3,77=2")
    assert prepare(with_labels).cases == 4


def test_two_cases_give_a_dataset_and_a_warning(copied: Path, tmp_path: Path) -> None:
    result = prepare(options(copied, tmp_path / "out", leave_out=("BraTS-GLI-00001",)))
    assert result.cases == 2
    assert "There are 2 patients only" in result.sentences[0]
    assert {case.split for case in read_dataset_config(tmp_path / "out").cases} == {"train"}


def doubled(copied: Path) -> Path:
    """c3 once more, under another name."""
    home = copied / "again"
    home.mkdir()
    for path in (copied / "c3").iterdir():
        shutil.copy(path, home / path.name.replace("c3_", "again_"))
    return copied


def test_a_duplicated_patient_is_flagged_and_left_out_only_when_asked(copied: Path, tmp_path: Path) -> None:
    result = prepare(options(doubled(copied), tmp_path / "out"))
    assert result.cases == 5
    assert {flag["case"] for flag in result.flags if flag["code"] == "duplicate"} == {"again", "c3"}
    left_out = prepare(options(copied, tmp_path / "out", leave_out_flagged=True)).left_out
    assert "c3" in left_out
    assert "again" not in left_out
    assert "has the same" in read_dataset_config(tmp_path / "out").provenance["left_out"]["c3"]


def test_a_duplicated_patient_is_never_in_two_splits(copied: Path, tmp_path: Path) -> None:
    prepare(options(doubled(copied), tmp_path / "out", test_cases=("again",)))
    tested = {case.id for case in read_dataset_config(tmp_path / "out").cases if case.split == "test"}
    assert tested == {"c3", "again"}
    text = refused(copied, tmp_path / "other", test_cases=("c3",), validation_cases=("again",))
    assert "named for two splits" in text
    assert "Cases with the same images count as one patient" in text


def test_a_full_disk_is_told_before_the_work(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pipeline.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    text = refused(scans, tmp_path / "out")
    assert "4 cases need 0.6 MB in" in text
    assert "but 0.1 MB are free" in text


def test_a_disk_that_fills_up_ends_the_work_and_keeps_what_is_whole(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third case finds no space; what is written before is whole and found again."""
    write, written = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        if path.suffix == ".safetensors":
            written.append(path)
            if len(written) > 2:
                write(path, data[:1000])
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    out = tmp_path / "out"
    text = refused(scans, out)
    assert "No space left on device" in text
    assert len(written) == 3
    assert len(states(out)) == 2
    assert not list(out.rglob(".part-*"))
    monkeypatch.undo()
    assert prepare(options(scans, out)).cases == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"leave_out": ("c9",)}, "'c9' is to be left out, but no case, patient or file has that name"),
        ({"leave_out": CASES}, "All 4 cases of"),
        ({"modalities": ("T1", "ADC")}, "The modality ADC was asked for, but"),
        ({"test_cases": ("c9",)}, "test case 'c9' is not among the cases"),
        ({"table": "nothing.csv"}, "nothing.csv"),
    ],
)
def test_wishes_that_the_source_cannot_fulfill(scans: Path, tmp_path: Path, changes: dict, words: str) -> None:
    assert words in refused(scans, tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_a_stray_file_stops_until_it_is_left_out(copied: Path, tmp_path: Path) -> None:
    write_tiny(copied / "c3" / "scan.nii.gz")
    assert "c3/scan.nii.gz belongs to no case" in refused(copied, tmp_path / "out")
    assert prepare(options(copied, tmp_path / "out", leave_out=("c3/scan.nii.gz",))).cases == 4


def test_source_and_dataset_lie_apart(copied: Path, tmp_path: Path) -> None:
    for out in (copied, copied / "out", tmp_path):
        assert "lie in one another" in refused(copied, out)
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(copied, tmp_path / "file")


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    brats_case(tmp_path / "scans", "whole")
    for number in range(14):
        brats_case(tmp_path / "scans", f"c{number}", ("t1", "t1ce", "t2", "flair"))
    text = refused(tmp_path / "scans", tmp_path / "out")
    assert "has 14 problems" in text
    assert text.endswith("And 4 more.")


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layout": "bids"}, "layout is 'bids'"),
        ({"register": "template"}, "needs an image as template"),
        ({"template": "t.nii"}, "needs an image as template"),
        ({"intensities": "z"}, "intensities is 'z'"),
        ({"validation": 0.6, "test": 0.4}, "leave nothing to train on"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"modalities": ["T1", "t1"]}, "name one twice"),
        ({"modalities": ["../T1"]}, "is not possible"),
        ({"workers": 1000}, "workers is 1000"),
        ({"labels": "1->2"}, "is not understood"),
        ({"test_cases": ["a"], "validation_cases": ["a"]}, "'a' is named for validation and for test"),
        ({"color": "red"}, "unknown field 'color'"),
        ({"seed": "1"}, "seed must be a whole number"),
    ],
)
def test_options_that_make_no_sense(changes: dict, words: str) -> None:
    with pytest.raises(InputError) as caught:
        PrepareOptions.from_dict({"source": "s", "out": "o", **changes})
    assert words in str(caught.value)


def test_options_travel_as_plain_data() -> None:
    wanted = PrepareOptions("s", "o", modalities=("T1", "T2"), leave_out=("a",), labels="1=1")
    assert PrepareOptions.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted


@given(
    st.tuples(*[st.integers(1, 1024)] * 3),
    st.tuples(*[st.sampled_from([0.05, 0.5, 1.0, 1.25, 7.5, 50.0])] * 3),
    st.sampled_from(["RAS", "LPS", "SAR"]),
)
def test_grids_as_text(shape: tuple[int, int, int], spacing: tuple[float, float, float], axes: str) -> None:
    grid = GridConfig(shape, spacing, axes)
    assert parse_grid(grid_text(grid)) == grid


@given(st.text(alphabet="0123456789x:.LPSRA", max_size=24))
def test_any_grid_text_is_understood_or_refused_with_a_sentence(text: str) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(parse_grid(text), GridConfig)


def test_the_grid_follows_the_scheme() -> None:
    for scheme, name in (("brats", "brats-1mm"), ("whole-head", "whole-head-1.5mm")):
        wanted = PrepareOptions("s", "o", scheme=scheme)
        assert wanted.grid_config(wanted.label_scheme()) == GRIDS[name]


def test_schemes_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "scheme.json"
    path.write_text(json.dumps(load_scheme("brats").to_dict()))
    assert read_scheme(str(path)) == load_scheme("brats")
    assert read_scheme("whole_head") == load_scheme("whole-head")
    for text, words in (("{", "not valid JSON"), ("[]", "must be an object"), ("{}", "lacks a field")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            read_scheme(str(path))
    with pytest.raises(InputError, match="'lungs' is not known"):
        read_scheme("lungs")


# --- jobs and the command line --------------------------------------------------------------------------------------


def test_scan_and_prepare_as_jobs(scans: Path, tmp_path: Path) -> None:
    handlers = default_handlers()
    folder = JobFolder(tmp_path / "scan")
    folder.create({"source": str(scans)}, "scan")
    handlers["scan"]({"source": str(scans)}, folder, SilentReporter())
    found = json.loads((folder.outputs / "scan.json").read_text())
    assert [case["id"] for case in found["cases"]] == list(CASES)
    assert found["cases"][2]["images"]["T1"] == str(scans / "c3" / "c3_t1.nii.gz")
    request = options(scans, tmp_path / "out", leave_out=("c4",)).to_dict()
    job = JobFolder(tmp_path / "prepare")
    job.create(request, "prepare")
    handlers["prepare"](json.loads(json.dumps(request)), job, SilentReporter())
    result = json.loads((job.outputs / "result.json").read_text())
    assert (result["dataset"], result["cases"], result["left_out"]) == (str(tmp_path / "out"), 3, ["c4"])
    assert Path(result["report"]).is_file()


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "medddpm.cli", "prepare", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_command_scans_and_prepares(scans: Path, tmp_path: Path) -> None:
    scan = command(scans, "--scan")
    assert scan.returncode == 0, scan.stderr
    assert f"{scans}: 4 cases of 3 patients in the layout 'brats', no errors, no warnings." in scan.stdout
    made = command(scans, tmp_path / "out", "--grid", GRID, "--test-case", "c3", "--workers", "1", "--note", "phantoms")
    assert made.returncode == 0, made.stderr
    assert f"{tmp_path / 'out'} holds 4 cases." in made.stdout
    config = read_dataset_config(tmp_path / "out")
    assert isinstance(config, DatasetConfig)
    assert {case.id for case in config.cases if case.split == "test"} == {"c3"}
    assert config.provenance["source"] == "phantoms"


def test_the_command_ends_with_2_and_a_sentence(copied: Path) -> None:
    (copied / "c3" / "c3_t2.nii.gz").unlink()
    scan = command(copied, "--scan")
    assert scan.returncode == 2
    assert "Error: The case c3 has no T2 image" in scan.stdout
    nowhere = command(copied)
    assert nowhere.returncode == 2
    assert "Name the dataset folder to make" in nowhere.stderr


def test_the_state_of_a_case_follows_what_it_depends_on(scans: Path, tmp_path: Path) -> None:
    from medddpm.preparation.plan import make_plan

    def key(**changes: object) -> str:
        plan = make_plan(options(scans, tmp_path, **changes), SilentReporter())
        return stored.work_key(stored.CaseWork(plan.cases[0], tmp_path, plan.options, plan.template))

    same = key()
    assert key(seed=3, validation=0.3, workers=2, leave_out=("c4",)) == same
    others = [
        key(intensities="min-max"),
        key(modalities=("T2",)),
        key(modalities=("T2", "T1")),
        key(grid="32x32x24:8:LPS"),
        key(labels="1=1,2=2,4=3"),
        key(register="modalities"),
        key(scheme="whole-head"),
    ]
    assert len({same, *others}) == len(others) + 1
