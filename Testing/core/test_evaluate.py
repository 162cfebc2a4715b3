"""``medddpm evaluate``: figures, tables and a page for the held-out cases of a dataset; pages in general."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nibabel
import pytest
import torch
import torch.nn.functional as F
from medddpm.config import ModelConfig
from medddpm.dataset import read_dataset_config
from medddpm.errors import Cancelled, InputError
from medddpm.models.registry import save_model_folder
from medddpm.models.segmenter import read_segmenter
from medddpm.network.build import build_network
from medddpm.network.compact import CompactUNet
from medddpm.network.unet import UNet3D
from medddpm.page import address, number
from medddpm.progress import SilentReporter
from medddpm.training.dataset import PreparedDataset
from medddpm.training.evaluation.evaluate import evaluate
from medddpm.training.evaluation.measures import MEASURES
from medddpm.training.evaluation.report import page, write_report
from medddpm.training.evaluation.request import EvaluationRequest
from medddpm.training.evaluation.results import (
    EVALUATED,
    MODEL,
    OWN,
    TRAINING,
    Evaluation,
    figures_csv,
    summary,
    write_tables,
)
from medddpm.training.monitor.samples import as_written, read_sample
from medddpm.training.start import model_config
from safetensors.torch import load_file, save_file
from training_runs import make_dataset, tiny_config
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
FAST: dict[str, Any] = {"sampler": "ddim", "steps": 2, "device": "cpu", "precision": "fp32", "tumor_iterations": 3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three training cases, one for validation, two for tests."""
    folder = make_dataset(tmp_path_factory.mktemp("data") / "set", cases=6)
    text = (folder / "dataset.json").read_text(encoding="utf-8")
    described = json.loads(text)
    described["cases"][3]["split"] = "test"
    (folder / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def config(dataset: Path) -> ModelConfig:
    made = model_config(tiny_config(dataset), read_dataset_config(dataset))
    return replace(made, name="tiny <model>", training={"training_cases": ["case0", "case1", "case2"]})


@pytest.fixture(scope="module")
def model(config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    folder = tmp_path_factory.mktemp("model")
    save_model_folder(folder, config, UNet3D(config.network).state_dict())
    return folder


Ask = Callable[..., EvaluationRequest]


@pytest.fixture
def ask(model: Path, dataset: Path, tmp_path: Path) -> Ask:
    def request(**changes: object) -> EvaluationRequest:
        base = EvaluationRequest(str(model), str(dataset), str(tmp_path / "out"), **FAST)
        return replace(base, **{"tumor_iterations": 0} | changes)

    return request


class Counter(SilentReporter):
    """Counts the steps of samples, and cancels after so many masks."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.done, self.warnings, self._stop = 0, [], stop_after

    def step(self, done: int, total: int, preview: object = None) -> None:
        self.done = done

    def warning(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def check_cancelled(self) -> None:
        if self._stop is not None and self.done >= self._stop:
            raise Cancelled("stop")


@pytest.fixture(scope="module")
def found(model: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    """An evaluation with two samples of each of the two test cases, and its folder."""
    out = tmp_path_factory.mktemp("evaluation")
    request = EvaluationRequest(str(model), str(dataset), str(out), samples=2, **FAST)
    result = evaluate(request)
    return result, out


def test_every_sample_has_figures_and_a_baseline(found: tuple[Evaluation, Path]) -> None:
    result, _ = found
    assert [(sample.case, sample.seed) for sample in result.samples] == [
        *(("case3", 0), ("case3", 1), ("case5", 0), ("case5", 1)),
    ]
    for sample in result.samples:
        assert sample.figures["T1"].l1 > sample.baseline["T1"].l1  # the network knows nothing yet
        assert sample.nearest is not None and sample.nearest.case in {"case0", "case1", "case2"}
        assert sample.copy is False
    one, other = result.samples[:2]
    assert one.figures != other.figures and one.baseline == other.baseline
    assert result.mean.l1 == pytest.approx(sum(s.figures["T1"].l1 for s in result.samples) / 4)
    assert result.intensities["T1"]["Tumor"]["real"] == pytest.approx(1, abs=0.01)


def test_the_figures_of_sets(found: tuple[Evaluation, Path]) -> None:
    sets = found[0].sets
    assert sets.mmd is not None and sets.mmd_of_training is not None
    assert sets.mmd > sets.mmd_of_training


def test_the_measures_of_realism(found: tuple[Evaluation, Path], dataset: Path) -> None:
    result, out = found
    assert result.measure("among_masks").real is None  # the grid is smaller than the window
    told = result.measure("classifier")
    assert told.synthetic is not None and told.baseline is not None and told.real is None
    assert (told.synthetic.value, told.synthetic.patients, told.good) == (1.0, 2, False)
    tumor = result.measure("tumor_whole")
    assert tumor.real is not None and tumor.synthetic is not None and tumor.baseline is not None
    assert tumor.real.patients == 2 and 0 <= tumor.synthetic.value <= 1
    read = list(csv.DictReader((out / "measures.csv").read_text(encoding="utf-8").splitlines()))
    mine = [row for row in read if (row["name"], row["kind"]) == ("tumor_whole", "synthetic")]
    assert [(row["case"], row["seed"]) for row in mine] == [(s.case, str(s.seed)) for s in result.samples]
    assert sum(float(row["value"]) for row in mine) / 4 == pytest.approx(tumor.synthetic.value)
    data = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    (shown,) = [one for one in data["measures"] if one["name"] == "classifier"]
    assert (shown["synthetic"]["patients"], shown["against"], shown["good"]) == (2, "value", False)
    seen = parsed((out / "report.html").read_text(encoding="utf-8")).text
    assert all(MEASURES[one.name].meaning in seen for one in result.measures)


@pytest.mark.slow
def test_the_segmenter_of_a_dataset_is_trained_once(ask: Ask, dataset: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    reporter = Counter()
    reporter.stage = lambda name, message="": stages.append(name)  # type: ignore[method-assign]
    shutil.copytree(dataset, tmp_path / "set", ignore=shutil.ignore_patterns("segmenter"))
    request = ask(dataset=str(tmp_path / "set"), cases=("case5",), tumor_iterations=2)
    first, again = evaluate(request, reporter), evaluate(request, reporter)
    assert summary(first) == summary(again) and stages.count("segmenter") == 1
    (kept,) = (tmp_path / "set" / "segmenter").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])  # a damaged one is trained again
    assert summary(evaluate(request, reporter)) == summary(first) and stages.count("segmenter") == 2
    save_file(load_file(kept), kept)  # as former versions wrote it: weights without a description
    assert summary(evaluate(request, reporter)) == summary(first) and stages.count("segmenter") == 2
    told = read_segmenter(kept, read_dataset_config(tmp_path / "set"), torch.device("cpu")).config
    assert told.real_cases > 0 and "tumor_whole" in told.real_dice and told.training["dataset"] == "set"
    evaluate(replace(request, tumor_iterations=3), reporter)
    assert stages.count("segmenter") == 3
    without = evaluate(replace(request, tumor_iterations=0), reporter)
    assert stages.count("segmenter") == 3 and without.measure("tumor_whole").synthetic is None


def test_the_tables(found: tuple[Evaluation, Path]) -> None:
    result, out = found
    data = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    assert data == json.loads(json.dumps(summary(result)))
    assert data["mean"]["synthetic"]["l1"] == pytest.approx(result.mean.l1, abs=1e-4)
    assert (data["steps"], data["sampler"], data["split"]) == (2, "ddim", "test")
    rows = list(csv.DictReader((out / "figures.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 8
    assert {row["modality"] for row in rows} == {"all", "T1"}
    assert float(rows[1]["l1"]) == pytest.approx(result.samples[0].figures["T1"].l1, abs=1e-4)
    assert float(rows[1]["baseline_psnr"]) > 0
    assert rows[0]["ms_ssim"] == ""
    assert figures_csv(result).count("\n") == 9


class Seen(HTMLParser):
    """Addresses, anchors, and tags that are open, of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.anchors: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [] if tag in ("meta", "img") else [tag]
        for name, value in attrs:
            if name in ("src", "href"):
                self.addresses.append(value or "")
            elif name == "id":
                self.anchors.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(text: str) -> Seen:
    seen = Seen()
    seen.feed(text)
    assert seen.open == []
    return seen


def test_the_page_opens_offline(found: tuple[Evaluation, Path]) -> None:
    result, out = found
    text = (out / "report.html").read_text(encoding="utf-8")
    seen = parsed(text)
    assert "Evaluation of tiny <model>" in seen.text
    assert "not images of patients" in seen.text
    sheets = [link for link in seen.addresses if link.endswith("sheet.png")]
    assert len(set(sheets)) == 4
    for link in seen.addresses:
        assert link.startswith("#") or (out / link).is_file()
        assert not link.startswith("#") or link[1:] in seen.anchors
    assert not re.search(r"https?:|<script", text)
    assert f"{result.mean.l1:.3f}" in seen.text


def test_figures_are_those_of_the_written_images(found: tuple[Evaluation, Path], dataset: Path) -> None:
    result, out = found
    sample, (real, fractions) = result.samples[0], PreparedDataset(dataset, "test")[0]
    images = read_sample(out / sample.folder, ("T1",), real)
    assert images is not None
    within = fractions.sum(0) > 0.5
    assert sample.figures["T1"].l1 == pytest.approx(float((images - real).abs()[:, within].mean()), rel=1e-5)
    assert torch.equal(as_written(images), images)
    assert read_sample(out / "nowhere", ("T1",), real) is None
    assert read_sample(out / sample.folder, ("T1",), real[:, 1:]) is None


def test_an_interrupted_evaluation_goes_on(ask: Ask) -> None:
    with pytest.raises(Cancelled):
        evaluate(ask(), Counter(stop_after=1))
    (record,) = Path(ask().out).rglob("record.json")
    made = record.stat().st_mtime_ns
    resumed = evaluate(ask(), Counter())
    assert record.stat().st_mtime_ns == made
    fresh = evaluate(ask(out=ask().out + "-fresh"))
    assert summary(resumed) == summary(fresh)
    other = evaluate(ask(seed=3))  # another request does not take the old images
    assert record.stat().st_mtime_ns != made
    assert other.samples[0].figures != fresh.samples[0].figures


def test_damaged_samples_are_made_again(ask: Ask) -> None:
    first = evaluate(ask(cases=("case3",)))
    image = Path(ask().out) / first.samples[0].folder / "synthetic-T1.nii.gz"
    image.write_bytes(image.read_bytes()[:200])
    assert summary(evaluate(ask(cases=("case3",)))) == summary(first)


def test_doubts_are_told(ask: Ask, tmp_path: Path, dataset: Path) -> None:
    reporter = Counter()
    result = evaluate(ask(split="train"), reporter)
    assert "3 of 3 cases were training cases" in result.doubts[0]
    assert list(result.doubts) == reporter.warnings
    assert result.samples[0].nearest is None
    only_test = tmp_path / "set"
    make_dataset(only_test, cases=3)
    text = (only_test / "dataset.json").read_text(encoding="utf-8").replace('"train"', '"test"')
    (only_test / "dataset.json").write_text(text, encoding="utf-8")
    alone = evaluate(ask(dataset=str(only_test)))
    assert any("no training cases" in sentence for sentence in alone.doubts)
    assert any("those of the evaluated cases themselves" in sentence for sentence in alone.doubts)
    assert (result.baseline_from, alone.baseline_from) == (TRAINING, EVALUATED)
    write_report(tmp_path, alone)


def test_with_the_contrast_of_the_case_the_baseline_has_it_too(ask: Ask, config: ModelConfig, tmp_path: Path) -> None:
    network = replace(config.network, domain="residual", attention_factors=())
    schedule = replace(config.schedule, kind="flow", prediction="x0")
    built = build_network(network)
    save_model_folder(tmp_path / "model", replace(config, network=network, schedule=schedule), built.state_dict())
    own, typical = (
        evaluate(ask(model=str(tmp_path / "model"), contrast=contrast, out=str(tmp_path / contrast)))
        for contrast in ("real", "mean")
    )
    assert (own.baseline_from, typical.baseline_from) == (OWN, MODEL)
    assert own.baseline_mean.mse < 0.5 * typical.baseline_mean.mse


def test_the_baseline_is_that_of_the_model_and_opposite_images_are_told(
    ask: Ask, config: ModelConfig, tmp_path: Path
) -> None:
    folder = make_dataset(tmp_path / "set", cases=4)
    text = (folder / "dataset.json").read_text(encoding="utf-8")
    (folder / "dataset.json").write_text(text.replace('"train"', '"test"').replace('"validation"', '"test"'))
    described = read_dataset_config(folder)
    grid = replace(described.grid, shape=tuple(2 * n for n in described.grid.shape))
    replace(described, grid=grid).save(folder)
    for path in (folder / "cases").iterdir():
        fine = {name: F.interpolate(tensor[None].half(), scale_factor=2)[0] for name, tensor in load_file(path).items()}
        fractions = fine["fractions"].to(torch.uint8)
        save_file({"images": -0.5 - fractions.sum(0, keepdim=True).half() / 510, "fractions": fractions}, path)
    network = replace(config.network, domain="wavelet")
    compact, schedule = CompactUNet(network), replace(config.schedule, prediction="x0")
    compact.label_means.copy_(torch.tensor([[-0.5], [-0.5], [-1.0]]))  # opposite to the images
    save_model_folder(
        tmp_path / "compact", replace(config, network=network, schedule=schedule, grid=grid), compact.state_dict()
    )
    reporter = Counter()
    found = evaluate(ask(model=str(tmp_path / "compact"), dataset=str(folder)), reporter)
    write_report(tmp_path, found)
    write_tables(tmp_path, found)
    assert found.baseline_from == MODEL and not any("evaluated cases" in sentence for sentence in found.doubts)
    assert "of the model&#39;s training data" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(s.baseline_mean.ms_ssim == 0 and s.baseline_mean.ms_ssim_lowest < 0 for s in found.samples)
    (told,) = [sentence for sentence in reporter.warnings if "counts as 0" in sentence]
    assert "4 of 4 comparisons of the baseline and real images (lowest term -0." in told and told in found.doubts
    rows = list(csv.DictReader((tmp_path / "figures.csv").read_text(encoding="utf-8").splitlines()))
    assert all(float(row["baseline_ms_ssim_lowest"]) < 0 for row in rows)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"split": "held-out"}, "split is 'held-out', but must be one of test"),
        ({"samples": 0}, "samples is 0, but must be 1 to 100"),
        ({"seed": -1}, "seed is -1"),
        ({"cases": ("case9",)}, "no case 'case9' in the split 'test'"),
        ({"dataset": "nowhere"}, "cannot be read"),
        ({"model": "no-such-model"}, "no-such-model"),
        ({"sampler": "euler"}, "euler"),
        ({"guidance": 3.0}, "guidance"),
        ({"tumor_iterations": -1}, "tumor_iterations is -1"),
        ({"anatomy": "bank"}, "anatomy is 'bank', but must be one of mask, seed"),
        ({"contrast": "T1"}, "contrast is 'T1'"),
        ({"anatomy": "seed"}, "has no tissue labels"),
        ({"contrast": "mean"}, "No contrast can be chosen"),
    ],
)
def test_what_cannot_be_done_is_explained(ask: Ask, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(ask(**changes))


def test_images_lie_where_the_patient_does(ask: Ask, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "set")
    described = json.loads((dataset / "dataset.json").read_text(encoding="utf-8"))
    place = [[-16.0, 0, 0, 31], [0, -12.0, 0, 42], [0, 0, 20.0, -173], [0, 0, 0, 1]]
    described["cases"][5]["affine"] = place
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    made = evaluate(ask(dataset=str(tmp_path / "set"), cases=("case5",)))
    for name in ("synthetic-T1", "real-T1", "mask"):
        image = nibabel.load(tmp_path / "out" / made.samples[0].folder / f"{name}.nii.gz")
        assert image.affine.tolist() == place
    described["cases"][5]["affine"] = place[:3]
    (tmp_path / "set" / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(InputError, match=r"case5.*is not a 4 x 4 matrix"):
        evaluate(ask(dataset=str(tmp_path / "set")))


def test_a_dataset_of_another_kind_is_refused(ask: Ask, config: ModelConfig, tmp_path: Path) -> None:
    other = replace(config, modalities=("FLAIR",))
    save_model_folder(tmp_path / "other", other, UNet3D(config.network).state_dict())
    with pytest.raises(InputError, match=r"model's modalities is \('FLAIR',\), the dataset's \('T1',\)"):
        evaluate(ask(model=str(tmp_path / "other")))


def test_a_model_of_larger_voxels_is_measured_on_the_datasets(ask: Ask, config: ModelConfig, tmp_path: Path) -> None:
    coarse = replace(config.grid, spacing=tuple(2 * mm for mm in config.grid.spacing))
    torch.manual_seed(5)
    save_model_folder(tmp_path / "coarse", replace(config, grid=coarse), UNet3D(config.network).state_dict())
    reporter = Counter()
    made = evaluate(ask(model=str(tmp_path / "coarse"), cases=("case5",)), reporter)
    assert any("interpolated" in sentence for sentence in made.doubts) and set(made.doubts) <= set(reporter.warnings)
    image = nibabel.load(tmp_path / "out" / made.samples[0].folder / "synthetic-T1.nii.gz")
    assert (image.shape, image.header.get_zooms()) == (config.grid.shape, config.grid.spacing)
    assert made.samples[0].mean.ms_ssim is None and made.samples[0].mean.l1 >= 0


def test_the_command(model: Path, dataset: Path, tmp_path: Path) -> None:
    from medddpm.cli import evaluate as command  # registers itself
    from medddpm.cli.commands import app

    options = ["--steps", "2", "--sampler", "ddim", "--device", "cpu", "--precision", "fp32", "--case", "case5"]
    options += ["--tumor-iterations", "2"]
    result = CliRunner().invoke(app, ["evaluate", str(model), str(dataset), "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 0, result.output
    assert "report.html" in result.output and "baseline" in result.output
    assert {"figures.json", "figures.csv", "report.html"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert command.evaluate_command.__doc__


@pytest.mark.slow
def test_the_demo_card(model: Path, dataset: Path, tmp_path: Path) -> None:
    for path in model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "README.md").write_text("# Card\n<!-- figures -->\nold\n<!-- /figures -->\nend\n", encoding="utf-8")
    lines = [{"kind": "train", "iteration": i, "loss": 1 / i} for i in range(1, 200)]
    lines += [{"kind": "validation", "iteration": i, "loss": 2 / i} for i in range(50, 200, 50)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    card = runpy.run_path(str(ROOT / "tools" / "demo_card.py"))
    card["main"](dataset, tmp_path, tmp_path, steps=2, out=tmp_path / "out")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "old" not in text and text.startswith("# Card") and text.endswith("end\n")
    assert "| case5 |" in text and "| **mean** |" in text and "| Tumor |" in text
    assert {"samples.png", "loss.png", "figures.json"} <= {path.name for path in tmp_path.iterdir()}


# --- pages ----------------------------------------------------------------------------------------------------------


def test_a_page_escapes_what_it_is_told(found: tuple[Evaluation, Path]) -> None:
    evil = '<script>alert("x")</script>&'
    commands = "\x1b]0;x\x07\x9b\u202e\udcff"
    sample = replace(found[0].samples[0], case=evil, folder="a b/ü")
    text = page(replace(found[0], model=evil, doubts=(evil, commands), samples=(sample,)))
    assert "<script" not in text and text.replace("\n", "").isprintable() and "?]0;x???" in text
    seen = parsed(text)
    assert seen.text.count(evil) >= 6  # the title is there twice
    assert "a%20b/%C3%BC/sheet.png" in seen.addresses


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.png", "a/../../x.png", "http://x/y.png", "javascript:x", ""])
def test_a_page_links_to_nothing_outside_its_folder(path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        address(path)


def test_a_figure_that_is_not_known_is_a_dash() -> None:
    assert [number(value).text for value in (None, float("nan"), 0.12345)] == ["–", "–", "0.123"]
