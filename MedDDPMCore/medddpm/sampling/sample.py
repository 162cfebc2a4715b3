"""``medddpm.sample``: masks in, images out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import ModelConfig
from ..errors import InputError
from ..models.frame import Frame
from ..models.model import Model
from ..network.appearance import Look
from .names import MAX_GUIDANCE, MAX_SEED
from .solvers import Trajectory, check_finite, default_steps, solver

FAST_STEPS = 25
LOOK_STREAM = 0x6C6F6F6B  # keeps the draws of the contrast apart from those of the noise


def seeded_noise(seed: int, shape: tuple[int, ...]) -> Iterator[Tensor]:
    """Endless standard normal tensors of ``shape``, float32 on the CPU; the first is x_T, then one a step.

    Drawn on the CPU because a GPU's generator gives other numbers than the CPU's for the same seed.
    """
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"The seed {seed} is out of range: it must be between 0 and {MAX_SEED}.")
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield torch.randn(shape, generator=generator)


def without_mask(fractions: Tensor, config: ModelConfig) -> Tensor:
    """What stands for the mask of ``fractions`` (B, L, D, H, W) where it is left out, as fractions.

    A U-Net on voxels gets no label anywhere. The compact network cannot do without the outline, inside of which all
    that it computes lies; it gets the outline filled with the average share of each label, for which the mean of its
    linear estimate is the best that the outline alone can tell. No real mask looks like that.
    Raises InputError where the model knows none (its ``dropped_mask`` is None).
    """
    if config.dropped_mask is None:
        raise InputError(f"The model '{config.name}' was trained without mask_dropout, so guidance is not possible.")
    shares = torch.tensor(config.dropped_mask, dtype=fractions.dtype, device=fractions.device)
    return fractions.sum(1, keepdim=True).clamp(0, 1) * shares[:, None, None, None]


def condition_without_mask(condition: Tensor, config: ModelConfig) -> Tensor:
    """The same for a condition that is encoded as ``config.mask_values`` says."""
    off, on = config.mask_values
    return off + (on - off) * without_mask((condition - off) / (on - off), config)


def check_guidance(guidance: float, config: ModelConfig) -> None:
    """Raise InputError for a strength out of range, and for any but 1 where the model cannot vary it."""
    if not 0 <= guidance <= MAX_GUIDANCE:
        raise InputError(f"The option guidance is {guidance:g}, but must be 0 to {MAX_GUIDANCE:g}, where 1 is plain.")
    if guidance != 1 and config.dropped_mask is None:
        raise InputError(
            f"The guidance scale {guidance:g} cannot be used with the model '{config.name}', which was trained without "
            "mask_dropout. Set it to 1, or use a model that was trained with mask_dropout."
        )


def evaluations_per_step(guidance: float) -> int:
    """How often the network is evaluated in a sampling step."""
    return 1 if guidance == 1 else 2


@dataclass(frozen=True)
class Known:
    """``images`` (C, D, H, W) in [-1, 1] hold where ``weight`` (same shape) is 0; where it is 1 the model decides.

    Between the two, in the seam, the weight mixes them. A channel that is not known has weight 1 everywhere. Samplers
    turn every prediction of x0 into the next noisy image; where it is the same known image at each step, that is the
    known voxels, noised. So this does for every sampler, also for one that extrapolates from former predictions, what
    replacing voxels of x_t (Lugmayr et al. 2022, eq. 8) does for DDPM.
    """

    images: Tensor
    weight: Tensor

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape != self.weight.shape:
            raise InputError(
                f"The known images have shape {tuple(self.images.shape)} and their weights "
                f"{tuple(self.weight.shape)}, but both must be (C, D, H, W)."
            )
        if not (self.images.abs() <= 1).all() or not ((self.weight >= 0) & (self.weight <= 1)).all():
            raise InputError("The known images must be within -1 to 1, and their weights within 0 to 1.")

    def to(self, device: torch.device) -> Known:
        """The same as float32 on ``device``."""
        return Known(self.images.to(device, torch.float32), self.weight.to(device, torch.float32))

    def blend(self, x0: Tensor) -> Tensor:
        """A prediction of x0 (1, C, D, H, W) with what is known put in; exact at the weights 0 and 1."""
        return torch.lerp(self.images, x0, self.weight)

    def blend_noise(self, noise: Tensor, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """A prediction of the noise in ``x`` that implies the blended x0: x0 is linear in it."""
        return torch.lerp((x - alpha * self.images) / sigma, noise, self.weight)


@dataclass(frozen=True)
class SampleStep:
    """What a callback learns after each network evaluation, and before the first where an image is known by then.

    ``step`` of ``steps`` evaluations of sample ``sample`` are done; ``x0`` is the current estimate of the clean image,
    (1, C, D, H, W), nominally in [-1, 1].
    """

    sample: int
    step: int
    steps: int
    x0: Tensor


class _Bound:
    """A model with one condition bound to it, and what is known of the image: the Denoiser that the solvers see.

    With a guidance other than 1 every prediction is extrapolated from the one without the mask, by as much as that says
    (Ho & Salimans 2022, eq. 6, whose w is the guidance less 1). x0 is linear in the noise, so either will do.
    """

    def __init__(self, model: Model, frame: Frame, condition: Tensor, known: Known | None, guidance: float) -> None:
        self._model, self._frame, self._known, self._guidance = model, frame, known, guidance
        if guidance != 1:
            self._unconditional = model.frame(condition_without_mask(condition, model.config)).condition

    def x0(self, x: Tensor, t: int) -> Tensor:
        x0 = self._guided(lambda condition: self._model.predict_x0(x, condition, t))
        images = self._frame.decode(x0).clamp_(-1, 1)
        return self._frame.encode(images if self._known is None else self._known.blend(images))

    def _guided(self, predict: Callable[[Tensor], Tensor]) -> Tensor:
        prediction = predict(self._frame.condition)
        if self._guidance == 1:
            return prediction
        return torch.lerp(predict(self._unconditional), prediction, self._guidance)

    def noise(self, x: Tensor, t: int) -> Tensor:
        noise = self._guided(lambda condition: self._model.predict_noise(x, condition, torch.tensor([t])))
        if self._known is None:
            return noise
        schedule = self._model.schedule
        return self._known.blend_noise(noise, x, float(schedule.alpha[t]), float(schedule.sigma[t]))


@torch.inference_mode()
def sample(
    model: Model,
    condition: Tensor,
    sampler: str = "ddpm",
    steps: int | None = None,
    seed: int = 0,
    noise: Iterator[Tensor] | None = None,
    callback: Callable[[SampleStep], None] | None = None,
    known: Known | None = None,
    guidance: float = 1.0,
    look: Look | None = None,
) -> Tensor:
    """Synthesize one image for each mask of ``condition``.

    ``condition``: (B, mask channels, D, H, W), encoded as ``config.mask_values`` says. ``sampler``: "ddpm" (the
    published rule), "ddpm-paper" (Algorithm 2), "ddim", "dpm++2m", "dpm++3m" or "unipc". ``steps``: evaluations of the
    network, None for all T ("ddpm", "ddpm-paper") or 25. Sample ``i`` draws its noise from ``seed + i`` alone and is
    computed alone, so that a volume does not depend on the batch it was made in. ``noise``: instead of the seed, an
    iterator of tensors (B, image channels, D, H, W): x_T first, then one for each step, also for the last. ``callback``
    is called after every evaluation, in the residual domain also before the first, with the image of means; an
    exception that it raises (such as Cancelled) ends the sampling. ``known``: what of the images is there already and
    stays, of (image channels, D, H, W); the same for every mask of the batch.
    ``guidance``: how strongly the mask guides, 0 to 20; 1 is plain, more follows the mask more strictly. Any but 1
    takes two evaluations a step and a model that was trained with masks left out (``config.dropped_mask``). ``look``:
    the contrast wanted, for models whose network is in the residual domain; None draws it from the sample's seed.

    Returns float32 (B, image channels, D, H, W) on the CPU, in [-1, 1] ("ddpm-paper": unbounded). Raises InputError for
    an unknown sampler, an impossible number of steps, or a condition, known images or a guidance that do not fit the
    model.
    """
    run = solver(sampler)
    _check_condition(model, condition)
    check_guidance(guidance, model.config)
    path = Trajectory.of(model.schedule, default_steps(sampler, model.schedule, FAST_STEPS) if steps is None else steps)
    drawn = None if noise is None else itertools.tee(noise, condition.shape[0])
    held = None if known is None else _fitting(known, model, condition).to(model.device)
    results = []
    for i in range(condition.shape[0]):
        shape = (1, model.config.network.image_channels, *condition.shape[2:])
        own = seeded_noise(seed + i, shape) if drawn is None else (batch[i : i + 1] for batch in drawn[i])
        one = condition[i : i + 1]
        frame = model.frame(one, look or model.look(torch.Generator().manual_seed((seed + i) ^ LOOK_STREAM)))
        on_device = (frame.noise(z.to(model.device, torch.float32)) for z in own)

        def tell(step: int, images: Tensor, i: int = i) -> None:
            if callback is not None:
                callback(SampleStep(i, step, len(path.timesteps), images))

        def on_step(done: int, x0: Tensor, frame: Frame = frame) -> None:
            tell(done + 1, frame.decode(x0))

        first = frame.source() if callback is not None else None
        if first is not None:
            tell(0, first if held is None else held.blend(first))
        made = run(_Bound(model, frame, one, held, guidance), path, on_device, on_step)
        results.append(frame.decode(check_finite(made)).float().cpu())
    return torch.cat(results)


def _fitting(known: Known, model: Model, condition: Tensor) -> Known:
    needed = (model.config.network.image_channels, *condition.shape[2:])
    if tuple(known.images.shape) != needed:
        raise InputError(
            f"The known images have shape {tuple(known.images.shape)}, but this model and condition need {needed}."
        )
    return known


def _check_condition(model: Model, condition: Tensor) -> None:
    network = model.config.network
    if condition.ndim != 5 or condition.shape[1] != network.mask_channels:
        raise InputError(
            f"The condition has shape {tuple(condition.shape)}, but this model needs "
            f"(B, {network.mask_channels}, D, H, W)."
        )
    if any(n % network.divisor for n in condition.shape[2:]):
        raise InputError(
            f"The grid {tuple(condition.shape[2:])} does not fit the network: each side must be a multiple of "
            f"{network.divisor}."
        )
