"""Muon: what a step of it is, and that what it leaves to Adam is Adam's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from medddpm.training.optimizers import RMS, Muon, make_optimizer, orthogonal
from medddpm.training.sections import OptimizerConfig
from torch import nn


@given(
    rows=st.integers(1, 24), inputs=st.integers(1, 3), seed=st.integers(0, 99), size=st.sampled_from([1e-6, 1.0, 1e3])
)
def test_all_directions_of_a_step_count_alike(rows: int, inputs: int, seed: int, size: float) -> None:
    """Singular values of about 1 whatever those of the gradient; the gradient's own singular vectors."""
    kernel = size * torch.randn(rows, inputs, 2, 2, 2, generator=torch.Generator().manual_seed(seed))
    matrix, step = kernel.flatten(1), orthogonal(kernel).flatten(1) / (RMS * max(rows, 8 * inputs) ** 0.5)
    left, strengths, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ step @ right.T
    clear = strengths > 0.02 * strengths.norm()  # weaker ones need more rounds
    assert ((found.diagonal() > 0.5) & (found.diagonal() < 1.4))[clear].all()
    assert (found - found.diagonal().diag()).abs().max() < 0.02


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(2, 6, 3), nn.SiLU(), nn.Linear(4, 3))


def trained(optimizer: torch.optim.Optimizer, made: nn.Module, steps: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        made(torch.randn(1, 2, 6, 6, 6, generator=generator)).square().mean().backward()
        optimizer.step()
    return list(made.parameters())


def test_everything_but_kernels_is_trained_by_adam() -> None:
    """With the kernel held, Muon and torch's own Adam do the same to the rest."""
    ours, torchs = network(), network()
    for each in (ours, torchs):
        each[0].weight.requires_grad_(False)
    trained(Muon(ours.parameters(), 1e-2, (0.8, 0.9)), ours)
    trained(torch.optim.Adam(torchs.parameters(), 1e-2, (0.8, 0.9)), torchs)
    for found, wanted in zip(ours.parameters(), torchs.parameters(), strict=True):
        assert torch.allclose(found, wanted, atol=1e-6)


def test_a_step_of_a_kernel_is_as_long_as_said() -> None:
    made = network()
    before = made[0].weight.detach().clone()
    trained(Muon(made.parameters(), 0.01), made, 1)
    step = made[0].weight.detach() - before
    assert float(step.square().mean().sqrt()) == pytest.approx(0.01 * RMS, rel=0.3)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("kind", "made"), [("adam", torch.optim.Adam), ("muon", Muon)])
def test_the_configuration_decides(kind: str, made: type, precision: str) -> None:
    optimizer = make_optimizer(network(), OptimizerConfig(lr=0.5, beta1=0.3, kind=kind), precision)
    assert type(optimizer) is made
    assert all(group["lr"] == 0.5 and group["betas"] == (0.3, 0.999) for group in optimizer.param_groups)
