"""The network that a training starts from: random weights, or those of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import ModelConfig
from ..dataset import DatasetConfig
from ..models.registry import read_model
from ..network.build import Network, build_network
from ..network.compact import CompactUNet
from ..network.residual import ResidualUNet
from ..network.start import open_path
from ..network.unet import UNet3D
from ..progress import Reporter
from ..sampling.schedule import Schedule
from .config import TrainConfig
from .dataset import PreparedDataset
from .transplant import Match, require_same_architecture, transplanted

StartModel = tuple[ModelConfig, dict[str, Tensor]]  # its configuration, and its network's tensors in float32


def read_start(place: str) -> StartModel:
    """A model folder, a published ``.pt``, or a bundled model by name; InputError where it cannot be used."""
    config, state, _ = read_model(place)
    return config, {name: tensor.float() for name, tensor in state.items()}


def model_config(
    config: TrainConfig,
    data: DatasetConfig,
    former: ModelConfig | None = None,
    dropped_mask: tuple[float, ...] | None = None,
) -> ModelConfig:
    """The configuration of the model that a run on the dataset ``data`` will produce.

    ``former``: the model that it starts from or, resumed, the one that it had begun. Its mask values stay, since its
    weights know them. Raises InputError where the network does not fit the dataset.
    """
    return ModelConfig(
        name=config.name,
        modalities=data.modalities,
        network=config.network,
        schedule=config.schedule,
        scheme=data.scheme,
        grid=data.grid,
        mask_values=data.mask_values if former is None else former.mask_values,
        background=data.background,
        normalization=data.normalization,
        sampler=config.monitor.sampler,
        sampler_steps=min(config.monitor.sample_steps, config.schedule.steps),
        prior=data.prior,
        license=config.license,
        intended_use=config.intended_use,
        dropped_mask=dropped_mask,
    )


def dropped_mask(config: TrainConfig, dataset: PreparedDataset) -> tuple[float, ...] | None:
    """What stands for a mask left out (see ``sampling.sample``): no label, or the mean share of each label.

    None where no mask is left out.
    """
    if not config.mask_dropout:
        return None
    if not config.network.on_bands:
        return (0.0,) * config.network.mask_channels
    covered = torch.zeros(config.network.mask_channels, dtype=torch.float64)
    for _, fractions in dataset:
        covered += fractions.sum((1, 2, 3), dtype=torch.float64)
    return tuple((covered / covered.sum().clamp_min(1e-9)).tolist())


def starting_network(
    config: TrainConfig,
    model: ModelConfig,
    schedule: Schedule,
    dataset: PreparedDataset,
    start: StartModel | None,
    reporter: Reporter,
) -> Network:
    """The network to train, on the CPU: with random weights, or with those of ``start`` as far as they fit.

    One on bands knows the schedule and the statistics of ``dataset``.
    """
    network = build_network(model.network)
    if isinstance(network, UNet3D):
        open_path(network)
    if isinstance(network, CompactUNet | ResidualUNet):
        network.use_schedule(torch.from_numpy(schedule.alpha), torch.from_numpy(schedule.sigma))
        (network.fit if isinstance(network, CompactUNet) else network.appearance.fit)(dataset)
    if start is not None:
        former, state = start
        require_same_architecture(str(config.start_from), former, model)
        network.load_state_dict(transplanted(state, network.state_dict(), former, model))
        sentence = Match.of(former, model).sentence
        reporter.warning(f"The training starts from {config.start_from}. {sentence}")
    return network


def use_activation_checkpointing(network: Network) -> None:
    """Let the U-Net compute its inner values again for the backward pass instead of keeping them."""
    (network.body if isinstance(network, CompactUNet | ResidualUNet) else network).checkpointing = True
