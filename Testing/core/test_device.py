"""The choice of device and precision, and the self-test that guards reduced precision."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from medddpm.errors import InputError
from medddpm.models import device as device_module
from medddpm.models.device import choose_device, choose_precision, convolutions_agree
from medddpm.models.model import Model
from medddpm.sampling.sample import sample
from small_models import SMALL, draw, reference_network, small_config
from torch.nn import functional as F

CPU = torch.device("cpu")


def _pretend(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("cuda", "mps", "expected"), [(0, False, "cpu"), (2, False, "cuda"), (0, True, "mps")])
def test_auto_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, expected: str) -> None:
    _pretend(monkeypatch, cuda, mps)
    assert choose_device("auto") == torch.device(expected)
    assert choose_device("cpu") == CPU


def test_cuda_devices_are_chosen_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch, cuda=2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cuda").index is None
    for name in ("cuda:2", "cuda:7", "cuda:128", "cuda:256"):  # torch takes the last for cuda:0
        with pytest.raises(InputError, match=rf"'{name}' is not available: PyTorch sees 2 CUDA device\(s\)"):
            choose_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_on_a_cpu_build_is_said(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _pretend(monkeypatch)
    with pytest.raises(InputError, match=rf"'{name}' is not available: .* no CUDA device .* Choose another device"):
        choose_device(name)


def test_an_apple_gpu_elsewhere_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    _pretend(monkeypatch)
    with pytest.raises(InputError, match=r"'mps' is not available: it needs an Apple GPU\. Choose cpu or auto"):
        choose_device("mps")


@pytest.mark.parametrize("name", ["tpu", "", "CUDA", "cuda:", "cuda:-1", "cuda:1x", "cuda:9999", "cpu:3", "mps:1",
                                  "xpu", "meta", "cuda:١", "auto ", "\x1b[2J"])  # fmt: skip
def test_unknown_devices_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _pretend(monkeypatch, cuda=2, mps=True)
    with pytest.raises(InputError, match=r"The device .*\. Choose auto, cpu, cuda, cuda:1 or mps") as caught:
        choose_device(name)
    assert str(caught.value).isprintable()


def test_precisions_by_name() -> None:
    assert choose_precision("fp32", CPU) == torch.float32
    assert choose_precision("bf16", CPU) == torch.bfloat16
    for name in ("fp64", "", "BF16", "int8"):
        with pytest.raises(InputError, match=r"The precision .*\. Choose auto, fp32, bf16, fp16"):
            choose_precision(name, CPU)


def _wrong(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
    """``conv3d`` with ``change`` applied to results of reduced precision, as a broken library would."""
    right = F.conv3d

    def conv3d(x: torch.Tensor, *args: object, **options: object) -> torch.Tensor:
        result = right(x, *args, **options)  # type: ignore[arg-type]
        return result if x.dtype == torch.float32 else change(result)

    return conv3d


def _impossible(result: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("conv3d is not implemented for this dtype")


BROKEN = {
    "slightly wrong": lambda y: y * 1.05,
    "one channel": lambda y: y.index_fill(1, torch.tensor([3]), 0),
    "not a number": lambda y: y * float("nan"),
    "zeros": torch.zeros_like,
    "impossible": _impossible,
}


@pytest.mark.parametrize("name", BROKEN)
def test_wrong_convolutions_are_found_and_auto_falls_back(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: True)
    assert convolutions_agree(CPU, torch.bfloat16)
    assert choose_precision("auto", CPU) == torch.bfloat16
    monkeypatch.setattr(F, "conv3d", _wrong(BROKEN[name]))
    assert not convolutions_agree(CPU, torch.bfloat16)
    assert choose_precision("auto", CPU) == torch.float32
    with pytest.raises(InputError, match=r"'cpu' convolutions in bf16 are wrong or impossible\. Use fp32"):
        choose_precision("bf16", CPU)
    assert choose_precision("fp32", CPU) == torch.float32


def test_auto_is_fp32_where_bf16_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: False)
    assert choose_precision("auto", CPU) == torch.float32


@pytest.mark.parametrize(("capability", "expected"), [(9, "bfloat16"), (8, "bfloat16"), (7, "float16"), (6, "float32")])
def test_auto_on_cuda_follows_the_card(monkeypatch: pytest.MonkeyPatch, capability: int, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (capability, 0))
    monkeypatch.setattr(device_module, "convolutions_agree", lambda device, dtype: True)
    assert choose_precision("auto", torch.device("cuda")) == getattr(torch, expected)


def test_bf16_predictions_and_samples_are_close_to_fp32(small_model: Model) -> None:
    low = Model(small_config(), reference_network(SMALL), CPU, torch.bfloat16, "0" * 64)
    condition = (draw("bf16/condition", (1, 2, 16, 16, 16)) > 0).float() * 2 - 1
    x, t = draw("bf16/x", (1, 1, 16, 16, 16)), torch.tensor([7])
    exact, rounded = (model.predict_noise(x, condition, t) for model in (small_model, low))
    assert rounded.dtype == torch.float32
    assert 1e-5 < float((rounded - exact).norm() / exact.norm()) < 0.02
    results = [sample(model, condition, "ddim", 1, seed=3) for model in (small_model, low)]
    # from one step x0 = (x - sigma eps) / alpha at the noisiest level, where alpha divides the rounding error
    assert float((results[1] - results[0]).norm() / results[0].norm()) < 0.1
