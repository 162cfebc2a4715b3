"""Masks left out in training, and the strength of their guidance chosen when sampling."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from medddpm.cli.commands import app
from medddpm.cli.synth import synth_command  # noqa: F401 - registers its command
from medddpm.config import ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.errors import InputError
from medddpm.models.model import Model
from medddpm.models.registry import load_model, save_model_folder
from medddpm.network.build import build_network
from medddpm.network.compact import CompactUNet
from medddpm.progress import SilentReporter
from medddpm.sampling.sample import condition_without_mask, evaluations_per_step, sample, without_mask
from medddpm.synthesis.estimate import estimate_job
from medddpm.synthesis.request import SynthesisRequest
from medddpm.training.dataset import PreparedDataset
from medddpm.training.trainer import Trainer
from small_models import reference_network
from synthesis_phantoms import save_mask, tiny_config
from synthesis_runs import synthesize
from torch import Tensor
from training_runs import make_dataset
from training_runs import tiny_config as tiny_training
from typer.testing import CliRunner

NONE = (0.0, 0.0, 0.0, 0.0)


def guided_model(config: ModelConfig | None = None) -> Model:
    config = config or replace(tiny_config(), dropped_mask=NONE)
    return Model(config, reference_network(config.network), torch.device("cpu"), torch.float32, "0" * 64)


def condition(config: ModelConfig) -> Tensor:
    off, on = config.mask_values
    mask = torch.full((1, 4, 8, 8, 8), off)
    mask[:, 3, 1:7, 1:7, 1:7] = on
    mask[:, 3, 3:5, 3:5, 3:5] = off
    mask[:, 0, 3:5, 3:5, 3:5] = on
    return mask


def count_evaluations(model: Model) -> list[int]:
    calls: list[int] = []
    model._network.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize("sampler", ["ddpm", "ddpm-paper", "ddim", "dpm++2m", "unipc"])
def test_plain_guidance_is_the_plain_image_and_costs_no_second_evaluation(sampler: str) -> None:
    model = guided_model()
    calls = count_evaluations(model)
    plain = sample(model, condition(model.config), sampler, 3, seed=4)
    assert len(calls) == 3
    assert torch.equal(plain, sample(model, condition(model.config), sampler, 3, seed=4, guidance=1.0))
    assert len(calls) == 6
    stronger = sample(model, condition(model.config), sampler, 3, seed=4, guidance=3.0)
    assert len(calls) == 12
    assert float((stronger - plain).abs().mean()) > 1e-3


def test_the_prediction_is_extrapolated_from_the_one_without_the_mask() -> None:
    """Ho & Salimans 2022, eq. 6, for x0 as well as for the noise."""
    model = guided_model()
    mask = condition(model.config)
    nothing = torch.zeros_like(mask)
    noise = torch.randn(1, 2, 8, 8, 8, generator=torch.Generator().manual_seed(1))
    one = sample(model, mask, "ddim", 1, noise=iter([noise] * 2), guidance=2.5)
    with_mask, without = (model.predict_x0(noise, m, model.schedule.steps - 1) for m in (mask, nothing))
    assert torch.allclose(one, (without + 2.5 * (with_mask - without)).clamp(-1, 1), atol=1e-4)
    paper = sample(model, mask, "ddpm-paper", 1, noise=iter([noise] * 2), guidance=2.5)
    t = torch.tensor([model.schedule.steps - 1])
    with_mask, without = (model.predict_noise(noise, m, t) for m in (mask, nothing))
    alpha, sigma = float(model.schedule.alpha[-1]), float(model.schedule.sigma[-1])
    expected = (noise - sigma * (without + 2.5 * (with_mask - without))) / alpha
    assert torch.allclose(paper, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_no_guidance_ignores_the_mask() -> None:
    model = guided_model()
    mask = condition(model.config)
    one = sample(model, mask, "ddim", 2, seed=1, guidance=0.0)
    assert torch.allclose(one, sample(model, torch.zeros_like(mask), "ddim", 2, seed=1), atol=1e-5)


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.0, 1.0)])
def test_a_mask_left_out_is_off_everywhere(values: tuple[float, float]) -> None:
    config = replace(tiny_config(), mask_values=values, dropped_mask=NONE)
    assert torch.equal(condition_without_mask(condition(config), config), torch.full((1, 4, 8, 8, 8), values[0]))


def test_a_compact_network_keeps_the_outline_and_gets_mean_shares() -> None:
    shares = (0.1, 0.2, 0.05, 0.65)
    config = replace(tiny_config(), dropped_mask=shares)
    mask = condition(config)
    mask[0, 3, 1] *= 0.5  # half-covered voxels stay half-covered
    dropped = without_mask(mask, config)
    assert torch.allclose(dropped.sum(1), mask.sum(1))
    inside = dropped[0, :, 4, 4, 4]
    assert inside.tolist() == pytest.approx(shares)
    assert not dropped[0, :, 0, 0, 0].any()


def test_models_trained_with_every_mask_refuse() -> None:
    model = guided_model(tiny_config())
    with pytest.raises(InputError, match=r"scale 2 cannot be used with the model 'tiny'.*Set it to 1"):
        sample(model, condition(model.config), "ddim", 2, guidance=2.0)


@pytest.mark.parametrize("strength", [-0.5, 21.0, float("nan")])
def test_impossible_strengths_are_refused(strength: float) -> None:
    model = guided_model()
    with pytest.raises(InputError, match="must be 0 to 20"):
        sample(model, condition(model.config), "ddim", 2, guidance=strength)
    with pytest.raises(InputError, match="must be 0 to 20"):
        SynthesisRequest(("mask.nii",), guidance=strength)


@pytest.mark.parametrize("shares", [(0.5,), (0.5, 0.4, 0.3, 0.2), (-0.1, 0, 0, 0)])
def test_configurations_with_impossible_shares_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="dropped_mask"):
        replace(tiny_config(), dropped_mask=shares)


def test_what_stands_for_a_mask_is_part_of_the_model_folder(tmp_path: Path) -> None:
    model = guided_model()
    save_model_folder(tmp_path, model.config, model._network.state_dict())
    assert load_model(tmp_path).config.dropped_mask == NONE
    old = json.loads((tmp_path / "config.json").read_text())
    del old["dropped_mask"]
    assert ModelConfig.from_json(json.dumps(old)).dropped_mask is None


@pytest.mark.parametrize("domain", ["voxels", "wavelet"])
def test_training_with_masks_left_out_makes_a_model_that_can_be_guided(tmp_path: Path, domain: str) -> None:
    dataset = make_dataset(tmp_path / "data")
    network = NetworkConfig(1, 2, 8, (1, 2), groups=4, domain=domain)
    schedule = ScheduleConfig(steps=20, prediction="x0")
    config = tiny_training(dataset, network=network, schedule=schedule, mask_dropout=0.5, iterations=3)
    model = load_model(Trainer(config, tmp_path / "run", SilentReporter()).run())
    fractions = PreparedDataset(dataset, "test")[0][1][None]
    shares = model.config.dropped_mask
    assert shares is not None
    if domain == "voxels":
        assert shares == (0, 0)
    else:
        cases = PreparedDataset(dataset, "train")
        volumes = sum(cases[i][1].sum((1, 2, 3)) for i in range(len(cases)))
        assert shares == pytest.approx((volumes / volumes.sum()).tolist(), rel=1e-4)
    plain, strong = (sample(model, fractions, "ddim", 3, guidance=g) for g in (1.0, 4.0))
    assert not torch.equal(plain, strong)
    unguided = Trainer(replace(config, mask_dropout=0.0), tmp_path / "other", SilentReporter()).context.model
    assert unguided.dropped_mask is None


def test_untrained_the_compact_network_without_a_mask_estimates_the_mean_of_the_outline() -> None:
    """Its linear estimate stays the best one: at full noise, the mean intensity of what training saw there."""
    network = build_network(NetworkConfig(1, 2, 8, (1, 2), groups=4, domain="wavelet"))
    assert isinstance(network, CompactUNet)
    network.use_schedule(torch.tensor([0.0]), torch.tensor([1.0]))
    network.label_means.copy_(torch.tensor([[0.2], [0.8], [-1.0]]))
    fractions = torch.zeros(1, 2, 8, 8, 8)
    fractions[:, 0, 2:6] = 1
    config = replace(tiny_config(), dropped_mask=None)
    dropped = fractions.sum(1, keepdim=True) * torch.tensor([0.75, 0.25])[:, None, None, None]
    assert config.dropped_mask is None
    found = network(torch.cat([torch.randn(1, 1, 8, 8, 8), dropped], 1), torch.tensor([0]))
    assert torch.allclose(found[:, :, 2:6], torch.tensor(0.35), atol=1e-4)
    assert torch.allclose(found[:, :, :2], torch.tensor(-1.0), atol=1e-4)


@pytest.fixture
def guided_folder(tmp_path: Path) -> Path:
    model = guided_model()
    save_model_folder(tmp_path / "model", model.config, model._network.state_dict())
    return tmp_path / "model"


@pytest.fixture
def mask_file(tmp_path: Path) -> Path:
    save_mask(tmp_path / "in" / "brain.nii.gz")
    return tmp_path / "in" / "brain.nii.gz"


def test_guidance_is_recorded_and_another_one_computes_anew(
    guided_folder: Path, mask_file: Path, tmp_path: Path
) -> None:
    options = {"steps": 2, "device": "cpu", "precision": "fp32"}
    (first,) = synthesize(mask_file, tmp_path / "out", guided_folder, **options)
    record = json.loads((first.folder / "provenance.json").read_text())
    assert record["guidance"] == 1.0
    assert [r.state for r in synthesize(mask_file, tmp_path / "out", guided_folder, **options)] == ["already done"]
    (again,) = synthesize(mask_file, tmp_path / "out", guided_folder, guidance=2.0, **options)
    assert again.state == "done"
    assert json.loads((again.folder / "provenance.json").read_text())["guidance"] == 2.0
    record = json.loads((again.folder / "provenance.json").read_text())
    record.pop("guidance")  # as a version before wrote it
    (again.folder / "provenance.json").write_text(json.dumps(record))
    (plain,) = synthesize(mask_file, tmp_path / "out", guided_folder, **options)
    assert plain.state == "already done"


def test_the_command_takes_it_and_refuses_where_the_model_cannot(
    guided_folder: Path, mask_file: Path, tmp_path: Path
) -> None:
    arguments = ["synth", str(mask_file), "--out", str(tmp_path / "o"), "--steps", "1", "--guidance", "1.5"]
    done = CliRunner().invoke(app, [*arguments, "--model", str(guided_folder), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    refused = CliRunner().invoke(app, [*arguments, "--model", "demo", "--device", "cpu"])
    assert isinstance(refused.exception, InputError)
    assert "cannot be used with the model" in str(refused.exception)


def test_the_estimate_counts_two_evaluations(
    guided_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medddpm.jobs.folder import JobFolder

    seconds = []
    monkeypatch.setattr("medddpm.synthesis.estimate._flops_per_second", lambda *_: 1e9)
    for guidance in (1.0, 2.0):
        request = SynthesisRequest(("m.nii",), str(guided_folder), guidance=guidance, device="cpu", precision="fp32")
        job = JobFolder(tmp_path / f"job{guidance}")
        job.create(asdict(request), "estimate")
        estimate_job(job.read().request, job, SilentReporter())
        seconds.append(json.loads((job.path / "outputs/estimate.json").read_text())["seconds"])
    assert seconds[1] == pytest.approx(2 * seconds[0])
    assert (evaluations_per_step(1.0), evaluations_per_step(1.1), evaluations_per_step(0.0)) == (1, 2, 2)
