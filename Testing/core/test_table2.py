"""``medddpm study table2``: masks to train on, arms, their test, the export for nnU-Net, and what is refused."""

from __future__ import annotations

import csv
import importlib.util
import json
import types
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import nibabel
import numpy as np
import pytest
import torch
from medddpm.anatomy.brain_maps import TISSUES
from medddpm.config import NetworkConfig, ScheduleConfig
from medddpm.dataset import read_dataset_config
from medddpm.errors import Cancelled, InputError
from medddpm.files import sha256
from medddpm.geometry.volume import centered_affine
from medddpm.labels.scheme import load_scheme
from medddpm.models.registry import read_model, save_model_folder
from medddpm.models.segmenter import read_segmenter
from medddpm.network.build import build_network
from medddpm.preparation.scan import scan_source
from medddpm.progress import SilentReporter
from medddpm.studies import nnunet, synthetic
from medddpm.studies import table2 as studied
from medddpm.studies.request import Arm, Table2Request, read_study
from medddpm.studies.results import Table2, holm, signed_rank
from medddpm.studies.synthetic import new_mask
from medddpm.studies.table2 import table2
from medddpm.studies.table2_report import CSV, MARKDOWN, PAGE, write_table2
from medddpm.training.start import model_config
from safetensors import safe_open
from safetensors.torch import load_file
from scipy.stats import wilcoxon
from training_runs import make_dataset, tiny_config
from typer.testing import CliRunner

STUDY = """
dataset = "set"
device = "cpu"
precision = "fp32"
iterations = 2
batch = 2
seeds = 2
channels = 2
nnunet = true
[[models]]
model = "first"
steps = 1
[[models]]
model = "second"
steps = 1
[[arms]]
name = "Real"
real = true
[[arms]]
name = "Mixed 3"
synthetic = 3
[[arms]]
name = "Real + second 2"
real = true
synthetic = 2
models = ["second"]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """See ``studied_in``."""
    return studied_in(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Table2]:
    """A finished study, to look at."""
    place = studied_in(tmp_path_factory.mktemp("table2"))
    return place, compared(place)


def studied_in(tmp_path: Path) -> Path:
    """A dataset with three training and three test cases, two models that have seen the former, and ``study.toml``."""
    make_dataset(tmp_path / "set", cases=6)
    described = json.loads((tmp_path / "set" / "dataset.json").read_text(encoding="utf-8"))
    for i in (3, 4, 5):
        described["cases"][i]["split"] = "test"
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    gan = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="pix2pix")
    base = replace(tiny_config(tmp_path / "set"), network=gan, schedule=ScheduleConfig(1, "one-step", prediction="x0"))
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        made = model_config(base, read_dataset_config(tmp_path / "set"))
        hashes = {f"case{i}": [sha256(tmp_path / "set" / "cases" / f"case{i}.safetensors")[:16]] for i in range(3)}
        training = {"training_cases": list(hashes), "training_hashes": hashes}
        save_model_folder(tmp_path / name, replace(made, training=training), build_network(made.network).state_dict())
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    return tmp_path


class Stopping(SilentReporter):
    """Stops in the second training."""

    trainings = 0

    def stage(self, name: str, message: str = "") -> None:
        self.trainings += name == "train"

    def check_cancelled(self) -> None:
        if self.trainings == 2:
            raise Cancelled("stop")


def compared(place: Path) -> Table2:
    return table2(read_study(place / "study.toml", Table2Request))


def test_a_killed_study_goes_on_and_its_report_says_what_was_compared(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Cancelled):
        table2(read_study(place / "study.toml", Table2Request), Stopping())
    kept = [*(place / "table2").rglob("*.safetensors"), *(place / "table2").rglob("*.nii.gz")]
    times = {path: path.stat().st_mtime_ns for path in kept}
    found = compared(place)
    assert len(times) > 6 and all(path.stat().st_mtime_ns == time for path, time in times.items())
    monkeypatch.setattr(studied, "train_segmenter", None)  # all trainings are there
    assert compared(place) == found
    assert [(one.arm.name, one.real, one.synthetic, len(one.runs)) for one in found.arms] == [
        ("Real", 3, 0, 2), ("Mixed 3", 0, 3, 2), ("Real + second 2", 3, 2, 2),
    ]  # fmt: skip
    page = write_table2(found)
    lines = list(csv.DictReader((place / "table2" / CSV).open(encoding="utf-8")))
    assert len(lines) == 3 * 2 * 3 and {line["patient"] for line in lines} == {"case3", "case4", "case5"}
    mine = [[float(line["dice"]) for line in lines if (line["arm"], line["seed"]) == ("Real", s)] for s in "01"]
    mean, deviation = found.over_seeds(found.arms[0], "tumor_whole", "dice")
    assert mean == pytest.approx(fmean(map(fmean, mine)), abs=1e-5)
    assert deviation == pytest.approx(np.std([fmean(one) for one in mine], ddof=1), abs=1e-5)
    html, text = page.read_text(encoding="utf-8"), (place / "table2" / MARKDOWN).read_text(encoding="utf-8")
    for told in (html, text):
        assert "0.4704" in told and "accuracy equals recall" in told and "Other data" in told
        assert "share of the voxels inside the outline" in told and "3 patients" in told and "below 0.25" in told
        assert "too few for firm conclusions" in told
    assert "http" not in html.replace("http-equiv", "") and page.name == PAGE
    assert found.sheets["second"][0] in html and (place / "table2" / found.sheets["second"][0]).is_file()


def test_the_segmenter_of_an_arm_is_kept_with_what_it_can_do(done: tuple[Path, Table2]) -> None:
    place, found = done
    config = read_dataset_config(place / "set")
    kept = read_segmenter(place / "table2/arms/Mixed 3/seed-1.safetensors", config, torch.device("cpu")).config
    mean = fmean(found.by_patient(found.arms[1].runs[1], "tumor_whole", "dice").values())
    assert kept.real_dice["tumor_whole"] == pytest.approx(mean, abs=1e-4) and kept.real_cases == 3
    assert (kept.training["arm"], kept.training["synthetic_cases"], kept.training["iterations"]) == ("Mixed 3", 3, 2)


def test_synthetic_cases_have_masks_of_training_cases_only(done: tuple[Path, Table2]) -> None:
    place, sources = done[0], set()
    for path in (place / "table2" / "synthetic").rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            sources.add(json.loads(file.metadata()["mask"])["case"])
    assert sources <= {"case0", "case1", "case2"} and len(sources) > 1
    one, other = (load_file(place / f"table2/synthetic/{name}/00001.safetensors") for name in ("first", "second"))
    (third,) = (place / "table2/synthetic/first").glob("00002.safetensors")  # by turns: numbers 0 and 2
    assert torch.equal(one["fractions"], other["fractions"]) and third.is_file()


def test_every_arm_is_a_data_set_of_nnunet(done: tuple[Path, Table2]) -> None:
    place, root = done[0], done[0] / "table2" / "nnunet"
    assert sorted(path.name for path in root.iterdir()) == [
        "Dataset501_Real", "Dataset502_Mixed_3", "Dataset503_Real___second_2", "plan.txt",
    ]  # fmt: skip
    folder = root / "Dataset503_Real___second_2"
    told = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    assert (told["numTraining"], told["channel_names"], told["file_ending"]) == (5, {"0": "T1"}, ".nii.gz")
    assert list(told["labels"].values()) == [0, 1]
    names = {path.name.removesuffix("_0000.nii.gz") for path in (folder / "imagesTr").iterdir()}
    assert names == {path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir()}
    assert names == {"case0", "case1", "case2", "synthetic_second_00000", "synthetic_second_00001"}
    image, labels = (nibabel.load(folder / part) for part in ("imagesTs/case3_0000.nii.gz", "labelsTs/case3.nii.gz"))
    assert image.shape == labels.shape and np.allclose(image.affine, labels.affine)
    stored = load_file(place / "set/cases/case3.safetensors")
    assert np.array_equal(np.asarray(labels.dataobj).transpose(2, 1, 0) == 1, stored["fractions"][1].numpy() == 255)
    assert b"SYNTHETIC" in nibabel.load(folder / "imagesTr/synthetic_second_00000_0000.nii.gz").header["descrip"].item()
    assert len(scan_source(folder).cases) == 5  # the reader of such data sets takes it
    plan = (root / "plan.txt").read_text(encoding="utf-8")
    assert "nnUNetv2_train 502 3d_fullres all" in plan and str(root) in plan


@pytest.mark.parametrize("name", ["whole-head", "brats", pytest.param("glioma-anatomy", marks=pytest.mark.slow)])
def test_new_masks_have_a_tumor_inside_of_the_same_outline(name: str) -> None:
    scheme = load_scheme(name)
    axes = np.meshgrid(*[np.arange(40) - 19.5] * 3, indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    off = np.sqrt((axes[0] - 6) ** 2 + axes[1] ** 2 + axes[2] ** 2)
    labels = np.where(radius < 18, scheme.surround, 0)
    for value, size in zip(reversed(scheme.tumor_values), (7, 5, 3), strict=False):
        labels[off < size] = value
    fractions = np.stack([labels == value for value in scheme.values]).astype(np.float32)
    affine = centered_affine((40, 40, 40), (4.0, 4.0, 4.0), "RAS")
    kinds, tumor = set(), [scheme.values.index(value) for value in scheme.tumor_values]
    for seed in range(2 if name == "glioma-anatomy" else 6):
        mask, how = new_mask(fractions, affine, scheme, seed)
        kinds.add(how["kind"])
        assert mask.shape == fractions.shape and mask[tumor].sum() > 0
        assert np.array_equal(mask.sum(0) > 0.5, fractions.sum(0) > 0.5)
        assert not np.array_equal(mask[tumor], fractions[tumor])
        again, _ = new_mask(fractions, affine, scheme, seed)
        assert np.array_equal(mask, again)
        if scheme.tissue_values:
            assert sum(mask[scheme.values.index(value)].sum() > 0 for value in TISSUES) > 3
    assert name == "glioma-anatomy" or kinds == {"tumor moved", "new lesion"}


def test_no_tumor_finds_a_place_in_an_empty_mask() -> None:
    with pytest.raises(InputError, match="no tumor found a place"):
        new_mask(np.zeros((2, 8, 8, 8), np.float32), np.eye(4), load_scheme("whole-head"), 0)


def test_paired_tests_are_scipys_and_holms() -> None:
    one, other = np.random.default_rng(1).random((2, 9))
    assert signed_rank(one, other) == pytest.approx(((one - other).mean(), wilcoxon(one, other).pvalue))
    assert signed_rank(one, one) == (0, 1)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # as R's p.adjust
    assert holm([0.5, 0.9]) == [1, 1] and holm([]) == []


def test_the_usual_arms() -> None:
    models = [{"model": "a", "name": "A"}, {"model": "b", "name": "B"}]
    from medddpm.parse import from_dict

    asked = from_dict(Table2Request, {"dataset": "set", "models": models, "synthetic": 7}, "The study")
    assert [(arm.name, arm.real, arm.synthetic, arm.augmentation) for arm in asked.all_arms] == [
        ("Real", True, 0, "none"),
        ("Real, nnU-Net augmentation", True, 0, "nnunet"),
        ("A 7", False, 7, "none"),
        ("B 7", False, 7, "none"),
        ("A + B 7", False, 7, "none"),
        ("Real + A 7", True, 7, "none"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "Mixed 3"', 'name = "Real"', "calls an arm 'Real', but every arm needs a name of its own"),
        ('name = "Mixed 3"', 'name = "../x"', "that can be that of a folder"),
        ("synthetic = 3", "", "The arm 'Mixed 3' has no cases"),
        ('models = ["second"]', 'models = ["third"]', "names the model 'third', but the study has first, second"),
        ("iterations = 2", "iterations = 0", "iterations is 0, but must be 1 to"),
        ("seeds = 2", "samples = 2", "unknown field 'samples'"),
        ("real = true", 'real = true\naugmentation = "strong"', "arms.augmentation is 'strong'"),
        ('model = "first"', 'model = "nowhere"', "nowhere' does not exist"),
        ('dataset = "set"', 'dataset = "none"', "none"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_computed(place: Path, old: str, new: str, words: str) -> None:
    assert old in STUDY
    (place / "study.toml").write_text(STUDY.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        compared(place)
    assert not (place / "table2").exists()


def edited(place: Path, **changes: object) -> None:
    path = place / "set" / "dataset.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    for case in described["cases"][3:]:
        case.update(changes)
    path.write_text(json.dumps(described), encoding="utf-8")


def test_test_patients_among_the_training_cases_are_refused(place: Path) -> None:
    config, state, _ = read_model(place / "second")
    digest = sha256(place / "set/cases/case4.safetensors")[:16]
    save_model_folder(place / "second", replace(config, training={"training_hashes": {"x": [digest]}}), state)
    with pytest.raises(InputError, match=r"'case4' was a training case of the model 'second', by the hash"):
        compared(place)
    for name in ("first", "second"):
        save_model_folder(place / name, replace(config, training={}), state)
    whole = (place / "set/cases/case5.safetensors").read_bytes()
    (place / "set/cases/case5.safetensors").write_bytes((place / "set/cases/case1.safetensors").read_bytes())
    with pytest.raises(InputError, match="test case 'case5' is the same patient as the training case 'case1'"):
        compared(place)
    (place / "set/cases/case5.safetensors").write_bytes(whole)
    path = place / "set" / "dataset.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    described["cases"][0]["patient"] = described["cases"][3]["patient"] = "one"
    path.write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match="test case 'case3' is the same patient as the training case 'case0'"):
        compared(place)


def test_one_test_patient_or_a_model_of_another_scheme_or_grid_is_refused(place: Path) -> None:
    config, state, _ = read_model(place / "second")
    save_model_folder(place / "second", replace(config, modalities=("FLAIR",)), state)
    with pytest.raises(InputError, match=r"modalities is \('FLAIR',\)"):
        compared(place)
    save_model_folder(place / "second", replace(config, grid=replace(config.grid, spacing=(5.0, 5.0, 5.0))), state)
    with pytest.raises(InputError, match="do not differ by one whole factor"):
        compared(place)
    edited(place, patient="one")
    save_model_folder(place / "second", config, state)
    with pytest.raises(InputError, match="has one patient in the split 'test'"):
        compared(place)


@pytest.mark.slow
def test_constant_images_are_told(place: Path) -> None:
    config, state, _ = read_model(place / "second")
    for name in state:
        if name.startswith("up.1."):
            state[name] = torch.zeros_like(state[name])
    save_model_folder(place / "second", config, state)
    assert "The model 'second' made constant images for 2 synthetic case(s) (0, 1)." in " ".join(compared(place).doubts)


def test_missing_packages_are_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        nnunet, "importlib", types.SimpleNamespace(util=types.SimpleNamespace(find_spec=lambda name: None))
    )
    text = STUDY.replace("real = true", 'real = true\naugmentation = "nnunet"', 1)
    (place / "study.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"needs the package batchgeneratorsv2.*medddpm\[study\]"):
        compared(place)
    assert not (place / "table2").exists()


@pytest.mark.skipif(importlib.util.find_spec("batchgeneratorsv2") is None, reason="needs batchgeneratorsv2")
def test_the_augmentation_of_nnunet_is_repeatable_and_keeps_images_and_regions_together() -> None:
    augment = nnunet.nnunet_augmentation()
    images, truth = torch.zeros(2, 24, 24, 24), torch.zeros(2, 24, 24, 24)
    images[:, 4:20, 4:20, 4:20] = 0.1
    images[:, 6:12, 6:12, 6:12] = 5.0
    truth[0, 6:12, 6:12, 6:12] = truth[1, 8:10, 8:10, 8:10] = 1
    before = torch.random.get_rng_state(), np.random.get_state()[1]
    changed = 0
    for seed in range(12):
        made, again = (augment(images, truth, torch.Generator().manual_seed(seed)) for _ in range(2))
        assert all(torch.equal(*pair) for pair in zip(made, again, strict=True))
        assert set(made[1].unique().tolist()) <= {0.0, 1.0} and bool((made[1][1] <= made[1][0]).all())
        bright, tumor = made[0][0] > 2.5, made[1][0] > 0
        assert float((bright == tumor).float().mean()) > 0.97
        changed += not torch.equal(made[1], truth)
    assert changed > 6 and bool((images[:, 4:20].amax() == 5).all())
    assert torch.equal(torch.random.get_rng_state(), before[0]) and np.array_equal(np.random.get_state()[1], before[1])


@pytest.mark.slow
def test_the_command(place: Path) -> None:
    from medddpm.cli.commands import app

    result = CliRunner().invoke(app, ["study", "table2", str(place / "study.toml"), "--out", str(place / "there")])
    assert result.exit_code == 0, result.output
    assert "table2.html" in result.stdout and (place / "there" / PAGE).is_file()


@pytest.mark.slow
def test_workers_make_the_synthetic_cases_and_no_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medddpm.cli.commands import app

    there = place / "shared"
    for shard in ("1/2", "2/2"):
        line = ["study", "table2", str(place / "study.toml"), "--out", str(there), "--shard", shard]
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
    assert not list(there.rglob("*.html")) and list((there / "synthetic").rglob("*.safetensors"))
    monkeypatch.setattr(synthetic.SyntheticCases, "_made", None)  # all are there
    result = CliRunner().invoke(app, ["study", "table2", str(place / "study.toml"), "--out", str(there)])
    assert result.exit_code == 0, result.output


def test_an_arm_needs_cases() -> None:
    with pytest.raises(InputError, match="has no cases"):
        Arm("nothing")
