"""The optimizers of a training: Adam, as in the paper, and Muon."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast, overload

import torch
from torch import Tensor, nn

from .sections import OptimizerConfig

# The quintic iteration whose slope at zero is steep, so that five rounds bring all singular values to about 1.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
RMS = 0.2  # of a step of Muon in units of the learning rate, about that of Adam's (Liu et al. 2025, section 2.2)
TINY = 1e-8
KERNEL = 5  # dimensions of the weights of a 3D convolution


def make_optimizer(network: nn.Module, plan: OptimizerConfig, precision: str) -> torch.optim.Optimizer:
    """The optimizer that ``plan`` says, of all weights of ``network``."""
    betas = (plan.beta1, plan.beta2)
    if plan.kind == "muon":
        return Muon(network.parameters(), plan.lr, betas)
    # A fused optimizer unscales fp16 gradients itself, so that they could not be clipped.
    return torch.optim.Adam(network.parameters(), plan.lr, betas, fused=precision != "fp16")


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the kernels of 3D convolutions, Adam with ``betas`` for all other parameters.

    The step of a kernel is its gradient's moving average (Nesterov's, ``momentum``), as a matrix of output channels by
    all else, with singular values of about 1: directions that few examples show count like all others.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.99), momentum: float = 0.95
    ) -> None:
        weights = list(params)
        groups = [
            {"params": [weight for weight in weights if (weight.ndim == KERNEL) is kernels], "kernels": kernels}
            for kernels in (True, False)
        ]
        super().__init__(
            [group for group in groups if group["params"]], {"lr": lr, "betas": betas, "momentum": momentum}
        )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step with the gradients at hand; ``closure`` as in every optimizer of torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            update = self._step_kernel if group["kernels"] else self._step_adam
            for weight in group["params"]:
                if weight.grad is not None:
                    update(weight, weight.grad, self.state[weight], group)
        return loss

    def _step_kernel(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        average = cast(Tensor, state["momentum"]).lerp_(gradient, 1 - group["momentum"])
        weight.add_(orthogonal(gradient.lerp(average, group["momentum"])), alpha=-group["lr"])

    def _step_adam(self, weight: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            zeros = torch.zeros_like(weight)
            state.update(step=torch.zeros(()), exp_avg=zeros, exp_avg_sq=zeros.clone())
        (beta1, beta2), count = group["betas"], state["step"].add_(1).item()
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        root = (square / (1 - beta2**count)).sqrt_().add_(TINY)
        weight.addcdiv_(mean, root, value=-group["lr"] / (1 - beta1**count))


def orthogonal(kernel: Tensor) -> Tensor:
    """The kernel (O, I, ...) with singular values of about 1 as a matrix of O rows, times what gives it ``RMS``."""
    matrix = kernel.flatten(1)
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + TINY)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ROUNDS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if tall else x).reshape(kernel.shape) * (RMS * max(matrix.shape) ** 0.5)
