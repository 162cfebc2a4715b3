"""Samples segmented again: what is said of them, the best of several, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from medddpm import synthesize as keywords
from medddpm.errors import Cancelled, InputError, MedDDPMError
from medddpm.models.model import Model
from medddpm.models.segmenter import OWN_NAME, Segmenter, SegmenterConfig
from medddpm.progress import SilentReporter
from medddpm.synthesis import verify
from medddpm.synthesis.case import prepare_case
from medddpm.synthesis.elsewhere import _with_whole_paths
from medddpm.synthesis.pipeline import run_batch
from medddpm.synthesis.request import SynthesisRequest
from medddpm.synthesis.results import summary
from medddpm.synthesis.verify import TABLE
from small_models import reference_network
from synthesis_phantoms import contents, save_mask, tiny_config
from synthesis_runs import Recorder, record, run_command, synthesize

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
REAL = {"tumor_whole": 0.8, "tumor_core": 0.7, "tumor_enhancing": 0.6}


def described(**changes: object) -> SegmenterConfig:
    grid = tiny_config().grid
    return SegmenterConfig(tuple(REAL), ("T1", "FLAIR"), grid.spacing, grid.orientation, 2, **changes)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segmenter that finds something or other."""
    path = tmp_path_factory.mktemp("segmenter") / "segmenter.safetensors"
    Segmenter(described(), tiny_config(), CPU, seed=3).save(path, real_dice=REAL, real_cases=4)
    return path


def test_the_command_says_and_writes_how_well_samples_show_their_mask(
    tmp_path: Path,
    tiny: Path,
    mask: Path,
    untrained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["synth", mask, "--model", tiny, "--out", tmp_path / "out", "--samples", "2", "--verify", untrained]
    assert run_command(monkeypatch, *arguments, "--device", "cpu") == 0
    said = capsys.readouterr().out
    found = record(tmp_path / "out" / "brain")
    told = found["verification"]
    assert (told["best_of"], told["real_dice"], told["real_cases"]) == (1, REAL, 4) and "0.85" in told["rule"]
    lines = list(csv.DictReader((tmp_path / "out" / TABLE).open(encoding="utf-8")))
    for line, sample in zip(lines, found["samples"], strict=True):
        one = sample["verification"]
        assert one["score"] == pytest.approx(np.mean(list(one["dice"].values())), abs=1e-4) and "rejected" not in one
        assert one["expected"] == pytest.approx(0.7) and one["word"] == ("poor" if one["score"] < 0.35 else "doubtful")
        assert (line["case"], line["seed"], line["word"]) == ("brain", str(sample["seed"]), one["word"])
        assert float(line["tumor_whole"]) == one["dice"]["tumor_whole"] and line["made"] == "1"
    assert "Segmented again: 2 " in said and "in real images 0.70" in said
    assert run_command(monkeypatch, *arguments, "--device", "cpu") == 0  # all is there
    again = capsys.readouterr().out
    assert "done before and left as is. Segmented again: 2 " in again


def test_the_best_of_several_is_kept_and_the_others_are_told(
    tmp_path: Path, tiny: Path, mask: Path, untrained: Path
) -> None:
    reporter = Recorder()
    common = {"verify": str(untrained), "device": "cpu"}
    [result] = synthesize(mask, tmp_path / "best", tiny, reporter, samples=2, seed=5, best_of=3, **common)
    assert reporter.steps[-1] == (18, 18)  # two samples, three tries each, of three steps
    each = {}
    for seed in range(5, 11):  # alone, each by its own seed
        synthesize(mask, tmp_path / str(seed), tiny, seed=seed, **common)
        each[seed] = record(tmp_path / str(seed) / "brain")["samples"][0]["verification"]
    found = record(result.folder)
    assert found["verification"]["best_of"] == 3
    for k, sample in enumerate(found["samples"]):
        seeds = list(range(5 + 3 * k, 8 + 3 * k))
        best = max(seeds, key=lambda seed: each[seed]["score"])
        assert sample["seed"] == found["seeds"][k] == best
        rejected = {one.pop("seed"): one for one in sample["verification"].pop("rejected")}
        assert rejected == {seed: each[seed] for seed in seeds if seed != best}
        assert sample["verification"] == each[best]
        alone = contents(tmp_path / str(best) / "brain")
        name = "brain_sample-0{}_T1.nii.gz"
        assert contents(result.folder)[name.format(k + 1)] == alone[name.format(1)]


def test_a_stopped_best_of_goes_on_and_another_request_is_made_anew(
    tmp_path: Path, tiny: Path, mask: Path, untrained: Path
) -> None:
    asked = {"verify": str(untrained), "best_of": 2, "samples": 2, "device": "cpu"}
    with pytest.raises(Cancelled):
        synthesize(mask, tmp_path / "out", tiny, Recorder(stop_after=8), **asked)
    reporter = Recorder()
    assert synthesize(mask, tmp_path / "out", tiny, reporter, **asked)[0].state == "done"
    assert reporter.steps[-1] == (6, 6)  # one of the two samples was there
    assert synthesize(mask, tmp_path / "out", tiny, **asked)[0].state == "already done"
    assert synthesize(mask, tmp_path / "out", tiny, samples=2, device="cpu")[0].state == "done"
    plain = record(tmp_path / "out" / "brain")
    assert plain["seeds"] == [0, 1] and "verification" not in {**plain, **plain["samples"][0]}


class Echo(Model):
    """A model whose images are its condition."""

    def predict_x0(self, x_t: torch.Tensor, condition: torch.Tensor, t: int) -> torch.Tensor:
        weights = torch.tensor([1.0, 0.8, 1.4, 0.4]).view(1, 4, 1, 1, 1)
        return ((condition.float() * weights).sum(1, keepdim=True) - 1).clamp(-1, 1).repeat(1, 2, 1, 1, 1)


def test_images_are_good_where_they_show_the_tumor_of_the_mask(
    tmp_path: Path, mask: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    model = Echo(config, reference_network(config.network), CPU, torch.float32, "")
    own = Segmenter(replace(described(), regions=("tumor_whole",)), config, CPU)
    own.save(tmp_path / "own.safetensors", real_dice={"tumor_whole": 0.9}, real_cases=1)
    monkeypatch.setattr(Segmenter, "logits", lambda self, volumes: volumes[:1] - 0.7)  # what is bright is tumor
    request = SynthesisRequest((str(mask),), verify=str(tmp_path / "own.safetensors"))
    results = run_batch(request, model, tmp_path / "out", SilentReporter())
    (sample,) = record(results[0].folder)["samples"]
    assert sample["verification"]["word"] == "good" and sample["verification"]["dice"]["tumor_whole"] > 0.8
    assert "1 good" in summary(results, 1)
    checker, fractions = verify.Verifier(request, model), prepare_case(mask, None, config).fractions
    empty = np.full((2, *fractions.shape[1:]), -0.5, np.float32)
    assert checker.verified(empty, fractions) == {
        "dice": {"tumor_whole": 0.0}, "score": 0.0, "expected": 0.9, "word": "poor"
    }  # fmt: skip
    fractions[:3] = 0
    assert checker.verified(empty, fractions) == {"dice": {}, "word": "no tumor"}


def test_one_region_that_is_not_there_is_doubtful_whatever_the_others_are() -> None:
    found = {"tumor_whole": 0.9, "tumor_core": 0.9, "tumor_enhancing": 0.5}
    assert verify._word(found, REAL) == "good"
    assert verify._word({**found, "tumor_enhancing": 0.29}, REAL) == "doubtful"
    assert verify._word({**found, "tumor_enhancing": 0.0}, {"tumor_whole": 0.8}) == "not rated"
    assert verify._word(dict.fromkeys(REAL, 0.34), REAL) == "poor"
    assert verify._word(dict.fromkeys(REAL, 0.36), REAL) == "doubtful"


def test_a_model_brings_its_own_segmenter(tmp_path: Path, tiny: Path, mask: Path, untrained: Path) -> None:
    with pytest.raises(MedDDPMError, match=r"'tiny' has no segmenter of its own.*segmenter\.safetensors") as refused:
        synthesize(mask, tmp_path / "out", tiny, verify="model", device="cpu")
    assert refused.value.option == "verify"
    shutil.copytree(tiny, tmp_path / "model")
    shutil.copy(untrained, tmp_path / "model" / OWN_NAME)
    found = keywords(mask, model=tmp_path / "model", verify="model", best_of=2, device="cpu")
    assert len(found.provenance["samples"][0]["verification"]["rejected"]) == 1
    assert found.provenance["verification"]["segmenter_sha256"]


def test_what_cannot_be_verified_is_refused(tmp_path: Path, tiny: Path, mask: Path, untrained: Path) -> None:
    with pytest.raises(InputError, match="no segmenter is named") as refused:
        SynthesisRequest((str(mask),), best_of=2)
    assert refused.value.option == "verify"
    with pytest.raises(InputError, match="best_of is 51, but must be 1 to 50"):
        SynthesisRequest((str(mask),), best_of=51, verify="model")
    other = tmp_path / "other.safetensors"
    Segmenter(replace(described(), modalities=("T2",)), replace(tiny_config(), modalities=("T2", "T1")), CPU).save(
        other
    )
    with pytest.raises(InputError, match="looks at T2, but there is no T2, only T1, FLAIR"):
        synthesize(mask, tmp_path / "out", tiny, verify=str(other), device="cpu")
    with pytest.raises(InputError, match="does not say that it is a segmenter"):
        synthesize(mask, tmp_path / "out", tiny, verify=str(tiny / "model.safetensors"), device="cpu")


def test_the_best_of_samples_without_a_tumor_cannot_be_told(
    tmp_path: Path, tiny: Path, untrained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import synthesis_phantoms

    monkeypatch.setattr(synthesis_phantoms, "TUMOR", (500.0, 0.0, 0.0))
    healthy = tmp_path / "healthy.nii.gz"
    save_mask(healthy)
    [result] = synthesize(healthy, tmp_path / "out", tiny, verify=str(untrained), best_of=2, device="cpu")
    assert (result.state, result.option) == ("failed", "best_of") and "has no tumor" in result.message
    assert not list((tmp_path / "out").rglob("*.nii.gz"))
    [result] = synthesize(healthy, tmp_path / "out", tiny, verify=str(untrained), device="cpu")
    assert record(result.folder)["samples"][0]["verification"] == {"dice": {}, "word": "no tumor"}


def test_a_segmenter_without_held_out_images_does_not_rate(tmp_path: Path, tiny: Path, mask: Path) -> None:
    Segmenter(described(), tiny_config(), CPU).save(tmp_path / "own.safetensors")
    [result] = synthesize(mask, tmp_path / "out", tiny, verify=str(tmp_path / "own.safetensors"), device="cpu")
    (sample,) = record(result.folder)["samples"]
    assert sample["verification"]["word"] == "not rated" and "expected" not in sample["verification"]


def test_a_segmenter_goes_to_another_computer_by_its_whole_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for named, sent in (("own.safetensors", str(tmp_path / "own.safetensors")), ("model", "model"), ("none", "none")):
        assert _with_whole_paths(SynthesisRequest(("mask.nii",), verify=named)).verify == sent


def test_a_growth_series_has_one_seed(tmp_path: Path, tiny: Path, mask: Path, untrained: Path) -> None:
    from medddpm.jobs.folder import JobFolder
    from medddpm.jobs.handlers import ModelCache
    from medddpm.models.registry import load_model
    from medddpm.synthesis.job import growth

    request = {"masks": [str(mask)], "model": str(tiny), "frames": 2, "best_of": 2, "verify": str(untrained)}
    with pytest.raises(InputError, match="one seed for all frames"):
        growth(request, JobFolder(tmp_path / "job"), SilentReporter(), ModelCache(load_model))


def test_an_estimate_counts_all_tries(tmp_path: Path, tiny: Path) -> None:
    from medddpm.jobs.folder import JobFolder
    from medddpm.synthesis.estimate import estimate_job

    seconds = []
    for number, best in enumerate((1, 20)):
        folder = JobFolder(tmp_path / str(number))
        request = {"masks": ["none.nii"], "model": str(tiny), "samples": 4, "verify": "model", "best_of": best}
        estimate_job(request, folder, SilentReporter())
        seconds.append(json.loads((folder.path / "outputs" / "estimate.json").read_text())["seconds"])
    assert seconds[1] == pytest.approx(20 * seconds[0])
