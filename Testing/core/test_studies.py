"""``medddpm study``: distances against independent ones, what is refused, and whole studies on tiny models."""

from __future__ import annotations

import csv
import json
import pickle
import types
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from medddpm.config import NetworkConfig, ScheduleConfig
from medddpm.dataset import read_dataset_config
from medddpm.errors import Cancelled, InputError
from medddpm.files import sha256
from medddpm.models.registry import read_model, save_model_folder
from medddpm.network.build import build_network
from medddpm.progress import SilentReporter
from medddpm.studies import features, radiomics
from medddpm.studies import table1 as studied
from medddpm.studies.agreement import Share
from medddpm.studies.anonymity import BEYOND, IMAGES, OUTLINE, OWN, TUMOR, Anonymity, anonymity
from medddpm.studies.anonymity_report import links, write_anonymity
from medddpm.studies.features import open_features, standard
from medddpm.studies.memorization import RESIDUAL, FeatureSpace, Memorization, memorization
from medddpm.studies.memorization_report import shares as copies_of
from medddpm.studies.memorization_report import write_memorization
from medddpm.studies.report import CSV, MARKDOWN, PAGE, write_table1
from medddpm.studies.request import AnonymityRequest, MemorizationRequest, Table1Request, read_study
from medddpm.studies.results import Table1
from medddpm.studies.table1 import equalized, table1
from medddpm.training.evaluation.distances import frechet, mmd_of, over_patients
from medddpm.training.monitor.neighbors import is_copy
from medddpm.training.start import model_config
from monai.networks.nets.resnet import ResNet
from safetensors.torch import load_file, save_file
from scipy.linalg import sqrtm
from scipy.stats import beta
from torch.nn import functional as F
from training_runs import make_dataset, tiny_config
from typer.testing import CliRunner

CPU = torch.device("cpu")
HALF = np.full(2, 0.5)


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def shares(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def published_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """As in the papers, by scipy."""
    one, other = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = np.trace(np.real(sqrtm(one @ other)))
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(one) + np.trace(other) - 2 * root)


# --- distances --------------------------------------------------------------------------------------------------------


def test_the_frechet_distance_is_that_of_scipy() -> None:
    a, b = rows(1, 40, 6), 2 * rows(2, 30, 6) + 0.5
    assert frechet(a, b)(shares(40), shares(30)) == pytest.approx(published_frechet(a, b), rel=1e-8)
    assert frechet(a, a)(shares(40), shares(40)) == pytest.approx(0, abs=1e-9)
    apart = frechet(rows(1, 5, 50), rows(1, 5, 50) + 3.0)  # fewer members than features; the same but for the mean
    assert apart(shares(5), shares(5)) == pytest.approx(50 * 9, rel=1e-6)


def test_weights_are_members_that_are_there_several_times() -> None:
    a, b = rows(1, 6, 3), rows(2, 5, 3)
    counts, others = np.array([3, 0, 1, 1, 0, 1]), np.array([2, 1, 1, 0, 1])
    repeated = published_frechet(np.repeat(a, counts, 0), np.repeat(b, others, 0))
    assert frechet(a, b)(counts / 6, others / 5) == pytest.approx(repeated, rel=1e-6)


def test_mmd_counts_no_member_against_itself() -> None:
    a, b = torch.from_numpy(rows(1, 4, 3)), torch.from_numpy(rows(2, 5, 3))
    squares = torch.cdist(torch.cat([a, b]), torch.cat([a, b])).square()
    kernel = torch.exp(-squares / 2 / squares[~torch.eye(9, dtype=torch.bool)].median())
    counts = [2, 1, 0, 1]
    picked = [i for i, count in enumerate(counts) for _ in range(count)]
    pairs = [(i, j) for i in picked for j in picked if i != j]
    own = sum(float(kernel[i, j]) for i, j in pairs) / len(pairs)
    other = (kernel[4:, 4:].sum() - 5) / 20
    across = torch.stack([kernel[i, 4:].mean() for i in picked]).mean()
    found = mmd_of(list(a), list(b))(np.array(counts) / 4, shares(5))
    assert found == pytest.approx(float(own + other - 2 * across), rel=1e-9)


def test_intervals_are_over_patients_and_around_the_value() -> None:
    a, b = rows(1, 12, 4), rows(2, 12, 4) + 1
    patients = [f"p{i // 2}" for i in range(12)]  # two cases each
    found = over_patients(frechet(a, b), patients, patients)
    assert found is not None and found.patients == 6
    assert found.value == pytest.approx(published_frechet(a, b))
    assert found.low < found.value < found.high
    same = over_patients(frechet(a, a), patients, patients)
    assert same is not None and same.value == pytest.approx(0, abs=1e-9) and same.high < 1e-6
    assert over_patients(lambda p, q: float("nan"), patients, patients) is None


def test_equalized_images_are_evenly_spread_inside() -> None:
    within = torch.zeros(8, 8, 8, dtype=torch.bool)
    within[1:7] = True
    image = torch.from_numpy(rows(3, 1, 8, 8, 8)).float().div(4).exp() - 1.5
    made = equalized(image, within)
    assert float(made[0][~within].max()) == -1
    inside = made[0][within].sort().values
    assert torch.allclose(inside, torch.linspace(-1, 1, len(inside)), atol=0.05)
    assert bool(equalized(torch.zeros(1, 8, 8, 8), within).isfinite().all())


# --- features ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_hd_bet(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a smaller encoder of the same shape; volumes on coarse voxels."""
    monkeypatch.setattr(features, "FILTERS", 2)
    monkeypatch.setattr(features, "VOXEL", 16.0)
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("weights") / "0.model"
    torch.save(features._HDBET().state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def test_medicalnet_is_read_from_its_checkpoints(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"n_input_channels": 1, "conv1_t_stride": 2, "feed_forward": False}
    network = ResNet("basic", [1, 1, 1, 1], [64, 128, 256, 512], bias_downsample=False, **options).eval()
    path = tmp_path / "resnet_10.pth"
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in network.state_dict().items()}}, path)
    found = open_features("medicalnet", str(path), CPU)
    assert found.name == "MedicalNet ResNet-10 (resnet_10.pth)" and found.weights == sha256(path)
    images = torch.from_numpy(rows(4, 2, 16, 16, 16)).float()
    with torch.no_grad():
        wanted = network(standard(images[1:, None]))
    assert torch.allclose(found.of(images, (1.5, 1.5, 1.5))[1:], wanted, atol=1e-5)


def test_radimagenet_is_read_from_its_checkpoints(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"spatial_dims": 2, "conv1_t_stride": 2, "feed_forward": False, "bias_downsample": False}
    network = ResNet("bottleneck", [3, 4, 6, 3], [64, 128, 256, 512], **options).eval()
    places = {"conv1": "0", "bn1": "1", **{f"layer{i}": str(i + 3) for i in range(1, 5)}}
    state = {}
    for name, tensor in network.state_dict().items():
        first, rest = name.split(".", 1)
        state[f"backbone.{places[first]}.{rest}"] = tensor
    torch.save(state, tmp_path / "ResNet50.pt")
    found = open_features("radimagenet", str(tmp_path / "ResNet50.pt"), CPU)
    image = torch.full((1, 6, 32, 32), -1.0)
    image[0, 2:4] = torch.from_numpy(rows(5, 2, 32, 32)).float().clamp(-1, 1)
    shift = torch.tensor(features.RADIMAGENET_MEANS)[:, None, None]
    with torch.no_grad():
        wanted = network((image[0, 2:4, None] + 1) / 2 - shift).mean(0)
    assert found.name.startswith("RadImageNet ResNet-50 on axial slices")
    assert torch.allclose(found.of(image, (1.5, 1.5, 1.5))[0], wanted, atol=1e-4)


def test_hd_bet_pads_and_is_the_same_for_every_gain(small_hd_bet: Path) -> None:
    found = open_features("hd-bet", str(small_hd_bet), CPU)
    images = torch.from_numpy(rows(4, 1, 5, 7, 9)).float()
    one, other = (found.of(image, (16.0, 16.0, 16.0)) for image in (images, images / 2 + 0.1))
    assert one.shape == (1, 32) and torch.allclose(one, other, atol=1e-4)
    assert bool(found.of(torch.zeros(1, 5, 7, 9), (16.0, 16.0, 16.0)).isfinite().all())


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1",)


def test_weights_that_are_missing_others_or_code_are_refused(
    tmp_path: Path, small_hd_bet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"features\.weights does not hold a ResNet"):
        open_features("medicalnet", str(small_hd_bet), CPU)
    with pytest.raises(InputError, match=r"none\.pth cannot be read"):
        open_features("medicalnet", str(tmp_path / "none.pth"), CPU)
    torch.save({"state_dict": _Code()}, tmp_path / "code.pth")
    with pytest.raises(InputError, match="possibly code"):
        open_features("medicalnet", str(tmp_path / "code.pth"), CPU)
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(_Code()))
    with pytest.raises(InputError, match="not a PyTorch checkpoint"):
        open_features("hd-bet", str(tmp_path / "raw.pth"), CPU)
    monkeypatch.setattr(features.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"hd-bet has no weights here.*medddpm\[study\].*features.network = 'none'"):
        open_features("hd-bet", None, CPU)
    with pytest.raises(InputError, match="medicalnet has no weights here"):
        open_features("medicalnet", None, CPU)


def test_radiomics_are_standardized_by_the_real_ones_as_frd_score_does() -> None:
    real, made = rows(1, 9, 5), rows(2, 7, 5)
    real[:, 1], made[3, 2] = 4.0, np.nan
    one, other = radiomics.comparable(real, made)
    kept = [0, 3, 4]
    assert np.allclose(one, (real - real.mean(0))[:, kept] / real.std(0)[kept])
    assert np.allclose(other, (made - real.mean(0))[:, kept] / real.std(0)[kept])


@pytest.mark.slow
def test_radiomics_of_pyradiomics() -> None:
    pytest.importorskip("radiomics")
    images = torch.from_numpy(rows(1, 2, 12, 12, 12)).float()
    found = radiomics.radiomics_features(images, torch.ones(12, 12, 12, dtype=torch.bool), (2.0, 2.0, 2.0))
    assert found.shape[0] == 2 and found.shape[1] > 900


# --- the study --------------------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path, small_hd_bet: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with three test cases, two models and ``study.toml``; PyRadiomics as means of blocks."""
    make_dataset(tmp_path / "set", cases=6)
    described = json.loads((tmp_path / "set" / "dataset.json").read_text(encoding="utf-8"))
    for i in (3, 4, 5):
        described["cases"][i]["split"] = "test"
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    base = tiny_config(tmp_path / "set")
    gan = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="pix2pix")
    kinds = {"ddpm": base, "gan": replace(base, network=gan, schedule=ScheduleConfig(1, "one-step", prediction="x0"))}
    for name, config in kinds.items():
        torch.manual_seed(5)
        made = model_config(config, read_dataset_config(tmp_path / "set"))
        hashes = {f"case{i}": [sha256(tmp_path / "set" / "cases" / f"case{i}.safetensors")[:16]] for i in range(3)}
        training = {"training_cases": list(hashes), "training_hashes": hashes}
        save_model_folder(tmp_path / name, replace(made, training=training), build_network(made.network).state_dict())
    (tmp_path / "study.toml").write_text(
        'dataset = "set"\ndevice = "cpu"\nprecision = "fp32"\nsamples = 2\ntumor_iterations = 0\n'
        f'[features]\nweights = "{small_hd_bet}"\n'
        '[[models]]\nmodel = "ddpm"\nname = "Diffusion"\nsampler = "ddim"\nsteps = 2\n[[models]]\nmodel = "gan"\n',
        encoding="utf-8",
    )

    def moments(images: torch.Tensor, inside: torch.Tensor, spacing: object) -> np.ndarray:
        return F.avg_pool3d(images, 4).flatten(1).numpy()

    monkeypatch.setattr(studied, "radiomics_features", moments)
    monkeypatch.setattr(studied, "require_radiomics", lambda: None)
    return tmp_path


class Stopping(SilentReporter):
    """Stops after so many samples."""

    def __init__(self, after: int) -> None:
        self.done, self.after = 0, after

    def step(self, done: int, total: int, preview: object = None) -> None:
        self.done += 1

    def check_cancelled(self) -> None:
        if self.done >= self.after:
            raise Cancelled("stop")


def compared(place: Path, name: str = "study.toml") -> Table1:
    return table1(read_study(place / name, Table1Request))


def test_the_whole_study_resumes_and_says_what_it_compared(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Cancelled):
        table1(read_study(place / "study.toml", Table1Request), Stopping(8))  # in the middle of the second model
    times = {path: path.stat().st_mtime_ns for path in (place / "table1").rglob("*.nii.gz")}
    found = compared(place)
    assert times and all(path.stat().st_mtime_ns == time for path, time in times.items())
    page = write_table1(found)
    monkeypatch.setattr(studied, "evaluate", None)  # all rows are there
    assert compared(place) == found
    assert [row.name for row in found.rows] == ["Diffusion", "gan"]
    assert (found.patients, found.network) == (3, "HD-BET encoder (0.model)")
    for row in found.rows:
        for name in ("mse", "mmd", "fid", "fid_equalized", "frd"):
            figure = row.figure(name)
            assert figure is not None and figure.low <= figure.value <= figure.high and figure.patients == 3
        assert len(row.sheets) == 6
    assert (found.rows[1].sampler, found.rows[1].steps) == ("dpm++2m", 1)
    samples = json.loads((place / "table1/models/gan/figures.json").read_text())["samples"]
    assert found.rows[1].figure("mse").value == pytest.approx(
        np.mean([s["mean"]["mse_volume"] for s in samples]), abs=1e-4
    )
    lines = list(csv.DictReader((place / "table1" / CSV).open(encoding="utf-8")))
    (fid,) = [line for line in lines if (line["model"], line["name"]) == ("gan", "fid")]
    assert float(fid["value"]) == pytest.approx(found.rows[1].figure("fid").value)
    assert fid["feature_network"] == "HD-BET encoder (0.model)"
    html, text = page.read_text(encoding="utf-8"), (place / "table1" / MARKDOWN).read_text(encoding="utf-8")
    for told in (html, text):
        assert "HD-BET encoder (0.model)" in told and "Other data (208 whole-head" in told and "0.0548" in told
        assert "Gaussian kernel of the median distance" in told and "FRD v1, PyRadiomics" in told
    assert "http" not in html.replace("http-equiv", "") and page.name == PAGE
    assert (place / "table1" / found.rows[0].sheets[0]).is_file() and found.rows[0].sheets[0] in html


@pytest.mark.slow
def test_other_settings_make_a_new_row(place: Path) -> None:
    first = compared(place)
    text = (place / "study.toml").read_text(encoding="utf-8")
    (place / "other.toml").write_text(text.replace("samples = 2", "samples = 1\nfrd = false"), encoding="utf-8")
    other = compared(place, "other.toml")
    assert other.rows[0].figure("frd") is None and first.rows[0].figure("frd") is not None
    assert "FRD: left out" in write_table1(other).read_text(encoding="utf-8")


@pytest.mark.slow
def test_constant_images_are_told(place: Path) -> None:
    config, state, _ = read_model(place / "gan")
    for name in state:
        if name.startswith("up.1."):
            state[name] = torch.zeros_like(state[name])
    save_model_folder(place / "gan", config, state)
    doubts = " ".join(compared(place).rows[1].doubts)
    assert "made constant images for 3 case(s) (case3, case4, case5)" in doubts
    assert "made the same images for different masks" in doubts


def spoil(place: Path, name: str = "gan", **training: object) -> None:
    config, state, _ = read_model(place / name)
    save_model_folder(place / name, replace(config, training=training), state)


def test_test_cases_among_the_training_cases_are_refused_by_hash(place: Path) -> None:
    digest = sha256(place / "set" / "cases" / "case4.safetensors")[:16]
    spoil(place, training_cases=["other name"], training_hashes={"other name": [digest]})
    with pytest.raises(
        InputError, match=r"'case4' was a training case of the model 'gan', by the hash .* \('other name'\)"
    ):
        compared(place)
    assert not (place / "table1").exists()
    spoil(place, training_cases=["case5"])
    with pytest.raises(InputError, match=r"'case5' was a training case .* by its name"):
        compared(place)
    spoil(place, training_cases=["case0"])
    assert "records the names only of 1 of its 1 training cases" in compared(place).doubts[0]
    spoil(place)
    assert "does not record its training cases" in compared(place).doubts[0]


def test_a_training_records_the_hashes_of_its_cases(place: Path) -> None:
    from medddpm.training.trainer import Trainer

    config = tiny_config(place / "set", iterations=1)
    made = read_model(Trainer(config, place / "run", SilentReporter()).run())[0]
    digest = sha256(place / "set" / "cases" / "case0.safetensors")[:16]
    assert made.training["training_hashes"]["case0"] == [digest]
    spoil(place, "ddpm", training_cases=["seen before"], training_hashes={"and this": ["1" * 16]})
    further = replace(config, start_from=str(place / "ddpm"))
    for iterations in (1, 2):  # also after a resume
        Trainer(replace(further, iterations=iterations), place / "further", SilentReporter()).run()
    known = read_model(place / "further" / "outputs" / "model")[0].training["training_hashes"]
    assert known == made.training["training_hashes"] | {"seen before": [], "and this": ["1" * 16]}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "Diffusion"', 'name = "gan"', "calls a model 'gan', but every model needs a name of its own"),
        ('name = "Diffusion"', 'name = "../x"', "that can be that of a folder"),
        ('model = "gan"', 'model = "nowhere"', "nowhere' does not exist"),
        ("samples = 2", "samples = 0", "samples is 0, but must be 1 to 100"),
        ("samples = 2", "sample = 2", "unknown field 'sample'"),
        ("samples = 2", "samples = = 2", "not valid TOML"),
        ("[features]", "[features]\nnetwork = 'inception'", "features.network is 'inception'"),
        ("[features]\nweights", "[features]\nnetwork = 'medicalnet'\nweights", "does not hold"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_sampled(place: Path, old: str, new: str, words: str) -> None:
    text = (place / "study.toml").read_text(encoding="utf-8")
    assert old in text
    (place / "study.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        compared(place)
    assert not (place / "table1").exists()


def test_one_test_patient_and_missing_radiomics_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = json.loads((place / "set" / "dataset.json").read_text(encoding="utf-8"))
    for case in described["cases"][3:]:
        case["patient"] = "one"
    monkeypatch.setattr(studied, "require_radiomics", radiomics.require_radiomics)
    monkeypatch.setattr(
        radiomics, "importlib", types.SimpleNamespace(util=types.SimpleNamespace(find_spec=lambda n: None))
    )
    with pytest.raises(InputError, match=r"FRD needs PyRadiomics.*or set frd = false"):
        compared(place)
    (place / "set" / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match="has one patient in the split 'test'"):
        compared(place)


def test_the_command(place: Path) -> None:
    from medddpm.cli.commands import app

    result = CliRunner().invoke(app, ["study", "table1", str(place / "study.toml"), "--out", str(place / "there")])
    assert result.exit_code == 0, result.output
    assert "table1.html" in result.stdout and (place / "there" / PAGE).is_file()


# --- memorization -----------------------------------------------------------------------------------------------------


def test_the_exact_interval_is_that_of_scipy() -> None:
    for hits, trials in ((0, 6), (1, 6), (6, 6), (3, 40), (17, 3000)):
        low = beta.ppf(0.025, hits, trials - hits + 1) if hits else 0
        high = beta.ppf(0.975, hits + 1, trials - hits) if hits < trials else 1
        assert Share(hits, trials).interval == pytest.approx((low, high), abs=1e-9)


def test_features_tell_a_copy_from_a_stranger() -> None:
    known = rows(1, 9, 40) * np.linspace(1, 50, 40) + 7
    space = FeatureSpace([f"case{i}" for i in range(9)], known)
    copy = space.nearest(np.stack([rows(2, 40), known[4] * 1.001]))
    stranger = space.nearest(np.stack([rows(3, 40) * np.linspace(1, 50, 40) + 7] * 2))
    assert copy.case == "case4" and copy.similarity > 0.99 and abs(copy.others) < 0.5
    assert stranger.similarity < 0.7 and is_copy(copy, stranger) and not is_copy(stranger, stranger)


def searched(place: Path) -> Memorization:
    text = (place / "study.toml").read_text(encoding="utf-8")
    (place / "search.toml").write_text(text.replace("tumor_iterations = 0", ""), encoding="utf-8")
    return memorization(read_study(place / "search.toml", MemorizationRequest))


def distinct(place: Path) -> None:
    """Images of its own for every case of the dataset, beyond what masks tell; models know them by name."""
    for i in range(6):
        path = place / "set" / "cases" / f"case{i}.safetensors"
        tensors = load_file(path)
        head = tensors["fractions"].sum(0) > 0
        texture = torch.from_numpy(rows(100 + i, 1, *head.shape)).float().div(3).clamp(-0.9, 0.9)
        save_file({**tensors, "images": torch.where(head, texture, -1.0).half()}, path)
    for name in ("ddpm", "gan"):
        spoil(place, name, training_cases=["case0", "case1", "case2"])


@pytest.mark.slow
def test_a_planted_copy_is_found(place: Path) -> None:
    distinct(place)
    first = searched(place)
    assert not any(pair.copy for pair in first.pairs)
    images = load_file(place / "set" / "cases" / "case1.safetensors")["images"][0].float()
    sample = place / "memorization/models/gan/cases/case4/sample-02/synthetic-T1.nii.gz"
    image = nibabel.load(sample)
    planted = (images.flip(-1).numpy().transpose(2, 1, 0) + 1) * 500  # mirrored
    nibabel.save(nibabel.Nifti1Image(planted.round().astype(np.int16), image.affine), sample)
    found = searched(place)
    copies = [pair for pair in found.pairs if pair.copy]
    assert {(pair.model, pair.case, pair.seed, pair.nearest.case) for pair in copies} == {("gan", "case4", 1, "case1")}
    assert {pair.space for pair in copies} == {RESIDUAL, "HD-BET encoder (0.model)"}
    assert min(pair.nearest.similarity for pair in copies) > 0.9
    page = write_memorization(found).read_text(encoding="utf-8")
    assert ["gan", RESIDUAL, "6", "1", "16.7% (0.4% to 64.1%)"] in [line[:5] for line in copies_of(found)]
    assert "What this cannot show" in page and "http" not in page.replace("http-equiv", "")
    assert copies[0].picture in page and (place / "memorization" / copies[0].picture).is_file()
    assert sum(bool(pair.picture) for pair in found.pairs) == 16  # four of each model in each space
    lines = list(csv.DictReader((place / "memorization/memorization.csv").open(encoding="utf-8")))
    assert sum(line["copy"] == "yes" for line in lines) == 2


@pytest.mark.slow
def test_a_model_of_other_training_cases_is_refused(place: Path) -> None:
    spoil(place, training_cases=["stranger"])
    with pytest.raises(InputError, match="None of the training cases of the model 'gan' is in the split 'train'"):
        searched(place)
    spoil(place, training_cases=["case0", "stranger"])
    assert "1 of 2 training cases of the model 'gan' are not in this dataset" in " ".join(searched(place).doubts)


# --- anonymity --------------------------------------------------------------------------------------------------------


def attacked(place: Path) -> Anonymity:
    text = (place / "study.toml").read_text(encoding="utf-8").replace("samples = 2\ntumor_iterations = 0", "")
    (place / "attack.toml").write_text(text, encoding="utf-8")
    return anonymity(read_study(place / "attack.toml", AnonymityRequest))


@pytest.mark.slow
def test_cases_are_linked_to_the_patient_whom_they_resemble(place: Path) -> None:
    distinct(place)
    first = attacked(place)
    by_attack = {key[2]: share for *key, share in links(first) if key[0] == "gan"}
    assert by_attack[TUMOR].value == 1  # the masks are the patients' own
    assert set(by_attack) == {IMAGES, BEYOND, TUMOR, OUTLINE, "features of HD-BET encoder (0.model)"}
    assert first.patients == 6 and {link.anatomy for link in first.links} == {OWN}
    own = load_file(place / "set" / "cases" / "case4.safetensors")["images"][0].float()
    other = load_file(place / "set" / "cases" / "case0.safetensors")["images"][0].float()
    for case, planted in (("case4", own.flip(-1)), ("case5", other)):
        path = place / f"anonymity/models/gan/cases/{case}/sample-01/synthetic-T1.nii.gz"
        stored = (planted.numpy().transpose(2, 1, 0) + 1) * 500
        nibabel.save(nibabel.Nifti1Image(stored.round().astype(np.int16), nibabel.load(path).affine), path)
    found = attacked(place)
    linked = {link.case: link for link in found.links if (link.model, link.attack) == ("gan", IMAGES)}
    assert linked["case4"].linked and linked["case4"].nearest.similarity > 0.99  # mirrored
    assert not linked["case5"].linked and linked["case5"].nearest.case == "case0"
    page = write_anonymity(found).read_text(encoding="utf-8")
    assert "What this cannot show" in page and "17%" in page
    told = json.loads((place / "anonymity/anonymity.json").read_text(encoding="utf-8"))
    assert {"anatomy": OWN, "attack": TUMOR, "linked": 3, "cases": 3} in told["models"][read_model(place / "gan")[2]]


@pytest.mark.slow
def test_workers_of_a_study_sample_and_no_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medddpm.cli.commands import app
    from medddpm.training.evaluation import samples as evaluated

    for shard in ("1/2", "2/2"):
        line = ["study", "anonymity", str(place / "study.toml"), "--out", str(place / "there"), "--shard", shard]
        text = (place / "study.toml").read_text(encoding="utf-8").replace("tumor_iterations = 0", "")
        (place / "study.toml").write_text(text, encoding="utf-8")
        result = CliRunner().invoke(app, line)
        assert result.exit_code == 0, result.output
        assert not list((place / "there").rglob("*.html"))
    assert len(list((place / "there").rglob("synthetic-T1.nii.gz"))) == 12
    monkeypatch.setattr(evaluated, "draw_sample", None)  # all samples are there
    assert len(anonymity(read_study(place / "study.toml", AnonymityRequest, place / "there")).links) == 2 * 6 * 5


def test_workers_tell_what_is_missing_before_they_sample(place: Path) -> None:
    from medddpm.cli.commands import app

    text = (place / "study.toml").read_text(encoding="utf-8").replace("tumor_iterations = 0", "")
    (place / "study.toml").write_text(
        text.replace("[features]", '[features]\nnetwork = "medicalnet"'), encoding="utf-8"
    )
    line = ["study", "anonymity", str(place / "study.toml"), "--out", str(place / "there"), "--shard", "1/2"]
    result = CliRunner().invoke(app, line)
    assert isinstance(result.exception, InputError) and "does not hold" in str(result.exception)
    assert not list((place / "there").rglob("*.nii.gz"))
