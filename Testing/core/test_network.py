"""The network against the published code's numbers and layouts."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from medddpm.config import NetworkConfig
from medddpm.errors import InputError
from medddpm.network.blocks import Conv3d
from medddpm.network.layout import network_config
from medddpm.network.norm import NormSiLU
from medddpm.network.start import open_path
from medddpm.network.unet import UNet3D
from small_models import REFERENCE, SMALL, draw, reference_network
from torch.nn import functional as F

PUBLISHED = {
    "whole_head_128": (NetworkConfig(1, 2, 64, (1, 1, 2, 3, 4), 1, (8,)), 40_226_433),
    "brats_192x192x144": (NetworkConfig(4, 4, 64, (1, 1, 2, 3, 4), 2, ()), 57_562_564),
}


def test_forward_equals_the_published_code() -> None:
    expected = np.load(REFERENCE / "unet_small.npz")["forward"]
    with torch.no_grad():
        result = reference_network(SMALL)(draw("small/x", (2, 3, 16, 16, 16)), torch.tensor([0, 7]))
    assert np.abs(result.numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("name", PUBLISHED)
def test_layout_is_the_published_one(name: str) -> None:
    config, parameters = PUBLISHED[name]
    layout = json.loads((REFERENCE / "checkpoint_layout.json").read_text())[name]
    expected = {
        key.removeprefix("denoise_fn."): tuple(shape) for key, shape in layout.items() if key.startswith("denoise_fn.")
    }
    with torch.device("meta"):
        state = UNet3D(config).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == expected
    assert sum(tensor.numel() for tensor in state.values()) == parameters


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        NetworkConfig(3, 5, 32, (1, 2), 2, (1, 2)),
        NetworkConfig(2, 1, 64, (1,), 1),
        *[config for config, _ in PUBLISHED.values()],
    ],
)
def test_config_is_read_off_the_tensors(config: NetworkConfig) -> None:
    if config.base_channels == 64 and len(config.multipliers) == 5:
        state = {k: torch.zeros(()).expand(v.shape) for k, v in _meta_state(config).items()}
    else:
        state = UNet3D(config).state_dict()
    assert network_config(state) == config


def _meta_state(config: NetworkConfig) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return UNet3D(config).state_dict()


def test_other_architectures_are_refused() -> None:
    state = UNet3D(NetworkConfig(1, 1, 32, (1, 2), 1)).state_dict()
    state["input_blocks.1.0.in_layers.2.weight"] = torch.zeros(32, 16, 3, 3, 3)
    with pytest.raises(InputError, match=r"input_blocks\.1\.0\.in_layers\.2\.weight"):
        network_config(state)
    with pytest.raises(InputError, match="another architecture"):
        network_config({"conv.weight": torch.zeros(3)})


def test_not_a_number_weights_are_refused() -> None:
    state = UNet3D(NetworkConfig(1, 1, 32, (1,), 1)).state_dict()
    state["out.2.bias"] = torch.full((1,), float("nan"))
    with pytest.raises(InputError, match=r"out\.2\.bias holds values that are not finite"):
        network_config(state)


def test_heads_change_the_result_and_every_size_runs() -> None:
    outputs = []
    for heads in (1, 4):
        torch.manual_seed(0)
        network = UNet3D(NetworkConfig(2, 3, 32, (1, 2, 2), 1, (4,), heads=heads))
        with torch.no_grad():
            outputs.append(network(draw("x", (1, 5, 8, 12, 20)), torch.tensor([3])))
        assert outputs[-1].shape == (1, 2, 8, 12, 20)
    assert not torch.allclose(outputs[0], outputs[1])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_norm_silu_gradients_equal_autograd(layout: torch.memory_format) -> None:
    norm = NormSiLU(4, 16)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (2 * draw("norm", (2, 16, 3, 4, 5)) + 1).contiguous(memory_format=layout).requires_grad_()
    expected = F.silu(F.group_norm(x, 4, norm.weight, norm.bias, norm.eps))
    inputs = [x, norm.weight, norm.bias]
    gradient = draw("gradient", tuple(expected.shape))
    result = norm(x)
    torch.testing.assert_close(result, expected)
    for own, reference in zip(
        torch.autograd.grad(result, inputs, gradient), torch.autograd.grad(expected, inputs, gradient), strict=True
    ):
        torch.testing.assert_close(own, reference, rtol=1e-4, atol=1e-4)


def test_training_mode_and_inference_agree() -> None:
    network = reference_network(SMALL)
    x, t = draw("agree", (1, 3, 16, 16, 16)), torch.tensor([5])
    with_gradients = network(x, t).detach()
    with torch.no_grad():
        torch.testing.assert_close(network(x.clone(), t), with_gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        NetworkConfig(4, 4, base_channels=16, multipliers=(1, 2, 4), attention_factors=(4,), groups=8),
        NetworkConfig(1, 1, base_channels=16, multipliers=(2, 1), groups=8),  # a decoder block of equal width
    ],
)
def test_training_starts_with_an_open_path_for_detail(config: NetworkConfig) -> None:
    """The output follows the input's own noise, voxel by voxel, which torch's random start does not give."""
    torch.manual_seed(1)
    network = UNet3D(config)
    x, t = draw("open", (1, config.image_channels + config.mask_channels, 16, 16, 16)), torch.tensor([5])

    def follows() -> float:
        with torch.no_grad():
            output = network(x, t)
        return min(
            float(torch.corrcoef(torch.stack([output[0, c].flatten(), x[0, c].flatten()]))[0, 1])
            for c in range(config.image_channels)
        )

    assert follows() < 0.4
    open_path(network)
    assert follows() > 0.45


@pytest.mark.parametrize(("side", "stride"), [(1, 1), (2, 1), (3, 1), (1, 2), (2, 2), (3, 2)])
def test_gradients_of_kernels_in_bf16_are_right_on_small_volumes(side: int, stride: int) -> None:
    """Whatever was in the memory that torch takes for them."""
    convolution = Conv3d(32, 32, 3, stride=stride, padding=1)
    x = draw("small volume", (1, 32, side, side, 5)).contiguous(memory_format=torch.channels_last_3d)
    expected = torch.autograd.grad(convolution(x).square().sum(), convolution.weight)[0]
    for _ in range(4):
        rubbish = [torch.full((4**size,), torch.nan) for size in range(3, 10) for _ in range(10)]
        del rubbish
        with torch.autocast("cpu", torch.bfloat16):
            result = convolution(x)
        gradient = torch.autograd.grad(result.float().square().sum(), convolution.weight)[0]
        assert float((gradient - expected).norm() / expected.norm()) < 0.02
