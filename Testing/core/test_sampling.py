"""Schedule, noise and samplers: against the published numbers, diffusers, and their own promises."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from medddpm import sample
from medddpm.config import ScheduleConfig
from medddpm.errors import Cancelled, InputError
from medddpm.models.model import Model
from medddpm.sampling.sample import SampleStep, seeded_noise
from medddpm.sampling.schedule import Schedule, cosine_betas, target, to_noise, to_x0
from medddpm.sampling.solvers import SOLVERS, Trajectory, dpm_multistep, sampler_and_steps, unipc
from small_models import REFERENCE, SMALL, draw, reference_network, small_config

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler


def condition(batch: int = 1) -> torch.Tensor:
    return draw("small-trajectory/cond", (1, 2, 16, 16, 16)).expand(batch, -1, -1, -1, -1)


def test_schedule_equals_the_published_buffers() -> None:
    stored = np.load(REFERENCE / "schedule_250.npz")
    schedule = Schedule.from_config(ScheduleConfig())
    own = {"betas": schedule.betas, "sqrt_alphas_cumprod": schedule.alpha}
    for name, values in {**own, "sqrt_one_minus_alphas_cumprod": schedule.sigma}.items():
        np.testing.assert_allclose(values, stored[name], rtol=2e-4, atol=1e-7, err_msg=name)
    assert schedule.half_log_snr[-2:] == pytest.approx([-5.08, -8.53], abs=0.01)


def test_trajectory_equals_the_published_code(small_model: Model) -> None:
    expected = np.load(REFERENCE / "unet_small.npz")["trajectory"]
    noises = (draw(f"small-trajectory/noise/{i}", (1, 1, 16, 16, 16)) for i in range(13))
    result = sample(small_model, condition(), sampler="ddpm", noise=noises)
    assert np.abs(result.numpy() - expected).max() < 1e-3
    assert next(noises, None) is None, "one noise a step must be drawn, also for the last"


def test_the_posterior_equals_the_published_buffers() -> None:
    """With all T steps the coefficients of the sampler are those of the published checkpoints."""
    stored = np.load(REFERENCE / "schedule_250.npz")
    path = Trajectory.of(Schedule.from_config(ScheduleConfig()), 250)
    coefficients = np.array([path.posterior(i) for i in reversed(range(250))]).T
    names = ("posterior_mean_coef1", "posterior_mean_coef2", "posterior_variance")
    for name, values in zip(names, coefficients, strict=True):
        np.testing.assert_allclose(values, stored[name], rtol=2e-4, atol=1e-7, err_msg=name)


class BoundedDenoiser:
    """A smooth, known x0 within [-1, 1], so that no clamp interferes with the comparison."""

    def x0(self, x: torch.Tensor, t: int) -> torch.Tensor:
        return 0.8 * torch.tanh(x + 0.01 * t)

    def noise(self, x: torch.Tensor, t: int) -> torch.Tensor:
        raise AssertionError("not used")


def _diffusers_run(scheduler_class: type, order: int | None, path: Trajectory, x: torch.Tensor) -> torch.Tensor:
    betas = cosine_betas(250)
    options = {"trained_betas": betas, "prediction_type": "sample"}
    if order is not None:
        options |= {"solver_order": order, "final_sigmas_type": "zero", "lower_order_final": True}
    scheduler = scheduler_class(num_train_timesteps=250, **options)
    scheduler.set_timesteps(len(path.timesteps))
    if scheduler_class is DDIMScheduler:
        raise AssertionError("DDIM is compared by its formula")
    # the same levels as ours, which diffusers' own spacings do not give
    scheduler.timesteps = torch.tensor(path.timesteps)
    scheduler.sigmas = torch.tensor(np.append(path.sigma[:-1] / path.alpha[:-1], 0.0), dtype=torch.float64)
    for t in scheduler.timesteps:
        x = scheduler.step(BoundedDenoiser().x0(x, int(t)), t, x).prev_sample
    return x


# diffusers lowers the order of the last two steps only below 15 steps; ours always, which matters for order 3 alone.
@pytest.mark.parametrize(("order", "steps"), [(2, 6), (2, 17), (2, 40), (3, 6), (3, 10), (3, 14)])
def test_dpm_solver_equals_diffusers(order: int, steps: int) -> None:
    path = Trajectory.of(Schedule.from_config(ScheduleConfig()), steps)
    x = draw("x_T", (1, 1, 4, 4, 4)).double()
    own = dpm_multistep(BoundedDenoiser(), path, iter([x]), lambda i, x0: None, order=order, history_from=-np.inf)
    torch.testing.assert_close(own, _diffusers_run(DPMSolverMultistepScheduler, order, path, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [6, 17, 40])
def test_unipc_equals_diffusers(steps: int) -> None:
    path = Trajectory.of(Schedule.from_config(ScheduleConfig()), steps)
    x = draw("x_T", (1, 1, 4, 4, 4)).double()
    own = unipc(BoundedDenoiser(), path, iter([x]), lambda i, x0: None, history_from=-np.inf)
    torch.testing.assert_close(own, _diffusers_run(UniPCMultistepScheduler, 2, path, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "dpm++3m", "unipc"])
def test_fast_samplers_converge_to_one_solution(name: str) -> None:
    """All of them solve the same ODE: with many steps they agree with a fine DDIM."""
    schedule = Schedule.from_config(ScheduleConfig())
    x = draw("x_T", (1, 1, 4, 4, 4)).double()
    fine = SOLVERS["ddim"](BoundedDenoiser(), Trajectory.of(schedule, 250), iter([x]), lambda i, x0: None)
    own = SOLVERS[name](BoundedDenoiser(), Trajectory.of(schedule, 80), iter([x]), lambda i, x0: None)
    assert float((own - fine).abs().mean()) < 0.02


@pytest.mark.parametrize("kind", ["noise", "v", "x0"])
def test_predictions_convert_exactly(kind: str) -> None:
    x0, noise = draw("x0", (2, 3)).double(), draw("eps", (2, 3)).double()
    alpha, sigma = 0.6, 0.8
    x_t = alpha * x0 + sigma * noise
    output = target(kind, x0, noise, alpha, sigma)
    torch.testing.assert_close(to_x0(kind, output, x_t, alpha, sigma), x0)
    torch.testing.assert_close(to_noise(kind, output, x_t, alpha, sigma), noise)


@pytest.mark.slow(but="dpm++2m")
@pytest.mark.parametrize("name", SOLVERS)
def test_a_sample_does_not_depend_on_its_batch(small_model: Model, name: str) -> None:
    batch = sample(small_model, condition(2), sampler=name, steps=5, seed=10)
    alone = sample(small_model, condition(1), sampler=name, steps=5, seed=11)
    assert torch.equal(batch[1:], alone)
    assert not torch.allclose(batch[0], batch[1])
    assert torch.equal(sample(small_model, condition(1), sampler=name, steps=5, seed=10), batch[:1])


def test_batched_noise_iterator_gives_each_sample_its_own(small_model: Model) -> None:
    noises = [draw(f"n{i}", (2, 1, 16, 16, 16)) for i in range(5)]
    both = sample(small_model, condition(2), sampler="ddpm", steps=4, noise=iter(noises))
    second = sample(small_model, condition(1), sampler="ddpm", steps=4, noise=iter([n[1:] for n in noises]))
    assert torch.equal(both[1:], second)


def test_results_are_clamped_and_the_callback_sees_every_step(small_model: Model) -> None:
    seen: list[SampleStep] = []
    result = sample(small_model, condition(2), sampler="dpm++2m", steps=4, callback=seen.append)
    assert result.abs().max() <= 1
    order = [(i, k, 4) for i, k in itertools.product((0, 1), (1, 2, 3, 4))]
    assert [(s.sample, s.step, s.steps) for s in seen] == order
    assert seen[0].x0.shape == (1, 1, 16, 16, 16)


def test_a_callback_can_cancel(small_model: Model) -> None:
    calls = []

    def stop(step: SampleStep) -> None:
        calls.append(step)
        if step.step == 2:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        sample(small_model, condition(), callback=stop)
    assert len(calls) == 2


def test_v_and_noise_networks_give_consistent_predictions() -> None:
    model = Model(small_config(prediction="v"), reference_network(SMALL), torch.device("cpu"), torch.float32, "")
    x, t = draw("x", (2, 1, 16, 16, 16)), torch.tensor([3, 3])
    eps = model.predict_noise(x, condition(2), t)
    x0 = model.predict_x0(x, condition(2), 3)
    alpha, sigma = model.schedule.alpha[3], model.schedule.sigma[3]
    torch.testing.assert_close(alpha * x0 + sigma * eps, x, rtol=1e-4, atol=1e-4)


def test_bf16_stays_near_fp32() -> None:
    models = [
        Model(small_config(), reference_network(SMALL), torch.device("cpu"), dtype, "")
        for dtype in (torch.float32, torch.bfloat16)
    ]
    x, t = draw("x", (1, 1, 16, 16, 16)), torch.tensor([6])
    full, low = (model.predict_noise(x, condition(), t) for model in models)
    assert float((full - low).norm() / full.norm()) < 0.02


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sampler": "euler"}, "sampler 'euler' is unknown"),
        ({"steps": 0}, "0 sampling steps"),
        ({"steps": 13}, "13 sampling steps"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_impossible_requests_are_refused(small_model: Model, arguments: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sample(small_model, condition(), **arguments)


@pytest.mark.parametrize("shape", [(1, 3, 16, 16, 16), (1, 2, 16, 16, 12), (2, 16, 16, 16)])
def test_conditions_that_do_not_fit_are_refused(small_model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError):
        sample(small_model, torch.zeros(shape))


@pytest.mark.parametrize(
    ("own", "named", "meant"),
    [
        (("dpm++2m", 25), (None, None), ("dpm++2m", 25)),
        (("dpm++2m", 25), (None, 4), ("dpm++2m", 4)),
        (("dpm++2m", 25), ("ddim", None), ("ddim", 25)),
        (("dpm++2m", 25), ("ddpm", None), ("ddpm", 100)),
        (("ddpm", 25), (None, None), ("ddpm", 25)),
        (("ddpm", 25), ("ddpm", None), ("ddpm", 100)),
        (("ddpm", 25), ("unipc", 3), ("unipc", 3)),
        (("ddpm", 500), (None, None), ("ddpm", 100)),
    ],
)
def test_what_is_not_named_is_the_models_own(
    small_model: Model, own: tuple[str, int], named: tuple[str | None, int | None], meant: tuple[str, int]
) -> None:
    schedule = ScheduleConfig(steps=100)
    config = replace(small_model.config, sampler=own[0], sampler_steps=own[1], schedule=schedule)
    assert sampler_and_steps(config, *named) == meant


def test_steps_out_of_range_are_refused(small_model: Model) -> None:
    with pytest.raises(InputError, match=r"t = \[12\]"):
        small_model.predict_noise(torch.zeros(1, 1, 16, 16, 16), condition(), torch.tensor([12]))


def test_noise_is_reproducible_and_differs_by_seed() -> None:
    first, again, other = (list(itertools.islice(seeded_noise(seed, (2, 3)), 3)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])
