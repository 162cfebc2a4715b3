"""The network that a training starts from: random weights, or those of a model, matched by name.

What belongs to a label or modality that the former model does not know begins at zero: the network neither looks at it
nor makes it, and for the others does exactly what the former one did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ..config import ModelConfig, NetworkConfig
from ..dataset import DatasetConfig
from ..errors import InputError
from ..models.registry import read_model
from ..network.build import Network
from ..network.compact import CompactUNet
from ..network.position import CHANNELS as POSITION_CHANNELS
from ..network.residual import ResidualUNet
from ..network.start import open_path
from ..network.unet import UNet3D, input_channels
from ..network.wavelet import BANDS
from ..progress import Reporter
from ..sampling.schedule import Schedule
from .adversarial import network_to_train
from .config import TrainConfig
from .dataset import PreparedDataset
from .resume import recorded_hashes

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
        training={} if former is None else {"training_hashes": recorded_hashes(former.training)},
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
    dataset: PreparedDataset | None,
    start: StartModel | None,
    reporter: Reporter,
) -> Network:
    """The network to train, on the CPU: with random weights, or with those of ``start`` as far as they fit.

    One on bands knows the schedule and the statistics of ``dataset``; None where they come with the weights of a
    checkpoint, since computing them takes a while.
    """
    network = network_to_train(model, config.loss)
    if isinstance(network, UNet3D):
        open_path(network)
    if isinstance(network, CompactUNet | ResidualUNet):
        network.use_schedule(torch.from_numpy(schedule.alpha), torch.from_numpy(schedule.sigma))
        if dataset is not None:
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


# First and last convolution of a U-Net: all of a network that knows of labels and modalities, but for the moments of a
# compact one.
_FIRST, _LAST = "input_blocks.0.0.", "out.2."


@dataclass(frozen=True)
class Match:
    """Where each modality and label of the new model was in the former one, by index; None for what it lacks."""

    images: tuple[int | None, ...]
    masks: tuple[int | None, ...]
    sentence: str

    @classmethod
    def of(cls, former: ModelConfig, new: ModelConfig) -> Match:
        """The match by name, without regard to capitals."""
        labels = [label.name for label in former.scheme.labels], [label.name for label in new.scheme.labels]
        parts = [
            _told("modalities", former.modalities, new.modalities),
            _told("labels", *labels),
        ]
        return cls(_places(former.modalities, new.modalities), _places(*labels), " ".join(parts))


def _places(former: Sequence[str], new: Sequence[str]) -> tuple[int | None, ...]:
    known = {_plain(name): i for i, name in enumerate(former)}
    return tuple(known.get(_plain(name)) for name in new)


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())


def _told(what: str, former: Sequence[str], new: Sequence[str]) -> str:
    """What is taken over, begins at zero, and is left behind, as a sentence for a person."""
    places = _places(former, new)
    kept = [name for name, place in zip(new, places, strict=True) if place is not None]
    fresh = [name for name, place in zip(new, places, strict=True) if place is None]
    left = [name for i, name in enumerate(former) if i not in places]
    parts = [f"{', '.join(kept) or 'none'} taken over"]
    parts += [f"{', '.join(fresh)} new"] if fresh else []
    parts += [f"{', '.join(left)} left behind"] if left else []
    return f"Its {what}: {'; '.join(parts)}."


def require_same_architecture(name: str, former: ModelConfig, new: ModelConfig) -> None:
    """Raise InputError naming the first option in which the networks differ by more than labels and modalities."""
    one, other = (replace(c.network, image_channels=1, mask_channels=1) for c in (former, new))
    if other.position:  # what a network was not told before begins at zero
        one = replace(one, position=True)
    for field in fields(NetworkConfig):
        _require_equal(name, f"network.{field.name}", getattr(one, field.name), getattr(other, field.name))
    _require_equal(name, "schedule.prediction", former.schedule.prediction, new.schedule.prediction)
    _require_equal(name, "schedule.steps", former.schedule.steps, new.schedule.steps)
    before, now = Schedule.from_config(former.schedule), Schedule.from_config(new.schedule)
    pairs = (before.alpha, now.alpha), (before.sigma, now.sigma)
    if not all(np.allclose(a**2, b**2, rtol=1e-3, atol=1e-6) for a, b in pairs):
        raise InputError(
            f"The model {name} has another noise schedule than this training. Leave [schedule] out of the training's "
            "configuration to take over that of the model."
        )


def _require_equal(name: str, option: str, former: object, new: object) -> None:
    if former != new:
        raise InputError(
            f"The model {name} has {option} = {former!r}, but this training has {new!r}, so that it cannot start from "
            f"it. Set {option} = {former!r}, or leave the section out to take over that of the model."
        )


def transplanted(
    former: Mapping[str, Tensor], fresh: Mapping[str, Tensor], old: ModelConfig, new: ModelConfig
) -> dict[str, Tensor]:
    """The tensors of the new network: those of ``former``, arranged for the labels and modalities of ``new``.

    ``fresh``: the tensors of the new network as it would start by itself. From it come the moments of what a compact
    network does not know yet, and all of the appearance of a residual network: that is of the new scans. ``former`` and
    ``fresh`` belong to ``old`` and ``new``, of the same architecture.
    """
    match, bands = Match.of(old, new), 1
    if new.network.domain == "residual":
        return _residual(former, fresh, match, old.network.image_channels)
    state = dict(former)
    prefix = ""
    if new.network.domain == "wavelet":
        prefix, bands = "body.", BANDS
        state["label_means"] = _moments(former["label_means"], fresh["label_means"], (*match.masks, -1), match.images)
        same_voxels = np.allclose(old.grid.spacing, new.grid.spacing, rtol=0.01)  # frequencies count in voxels
        state["power"] = _rows(former["power"], fresh["power"], match.images) if same_voxels else fresh["power"]
        state |= _atlas(former, fresh, old, new)
    first, last = prefix + _FIRST, prefix + _LAST
    masks = [None if place is None else old.network.image_channels + place for place in match.masks]
    channels = [*_in_bands([*match.images, *masks], bands), *_position(old.network, new.network, bands)]
    state[first + "weight"] = _spread(former[first + "weight"], channels, dim=1)
    state[first + "bias"] = former[first + "bias"] + _constant(former[first + "weight"], match, old, bands)
    for name in ("weight", "bias"):
        state[last + name] = _spread(former[last + name], _in_bands(match.images, bands), dim=0)
    return state


def _residual(
    former: Mapping[str, Tensor], fresh: Mapping[str, Tensor], match: Match, modalities: int
) -> dict[str, Tensor]:
    """The tensors of a residual network, which sees bands of the noisy images, of the image of means, and fractions."""
    images, count = _in_bands(match.images, BANDS), BANDS * modalities
    means = [None if place is None else count + place for place in images]
    masks = [None if place is None else 2 * count + place for place in match.masks]
    state = {name: former[name] for name in former if not name.startswith("appearance.")}
    state |= {name: fresh[name] for name in fresh if name.startswith("appearance.")}
    state["body.first.weight"] = _spread(former["body.first.weight"], [*images, *means, *masks], dim=1)
    for layer in ("body.last.2", "body.gain"):
        for name in (f"{layer}.weight", f"{layer}.bias"):
            state[name] = _spread(former[name], images, dim=0)
    return state


def _in_bands(places: Sequence[int | None], bands: int) -> list[int | None]:
    """Places of channels as places of their bands, which lie side by side."""
    return [None if place is None else place * bands + band for place in places for band in range(bands)]


def _atlas(
    former: Mapping[str, Tensor], fresh: Mapping[str, Tensor], old: ModelConfig, new: ModelConfig
) -> dict[str, Tensor]:
    """What a compact network knows of places. Where it is new, what is left to know is that of the fresh network."""
    if not new.network.position:
        return {}
    if not old.network.position:
        return {name: fresh[name] for name in ("atlas", "atlas_share", "power", "label_means")}
    match = Match.of(old, new)
    shares = [former["atlas_share"][i] if i is not None else torch.tensor(0.0) for i in match.masks]
    atlas = _rows(former["atlas"][0], fresh["atlas"][0], match.images)[None]
    return {"atlas": atlas, "atlas_share": torch.stack(shares)}


def _position(old: NetworkConfig, new: NetworkConfig, bands: int) -> list[int | None]:
    """Places of the position channels, which follow those of image and mask."""
    if not new.position:
        return []
    if not old.position:
        return [None] * POSITION_CHANNELS
    total = input_channels(old, bands)
    return list(range(total - POSITION_CHANNELS, total))


def _spread(former: Tensor, places: Sequence[int | None], dim: int) -> Tensor:
    """The slices of ``former`` along ``dim`` at ``places``, zeros where there is none."""
    zero = torch.zeros_like(former.select(dim, 0))
    return torch.stack([zero if place is None else former.select(dim, place) for place in places], dim)


def _constant(weight: Tensor, match: Match, old: ModelConfig, bands: int) -> Tensor:
    """What labels left behind, now nowhere, add to the first convolution: nothing where "nowhere" is 0."""
    off = old.mask_values[0]
    gone = [i for i in range(old.network.mask_channels) if i not in match.masks]
    if not off or not gone or bands != 1:  # a compact network's "nowhere" is always 0
        return torch.zeros(weight.shape[0])
    channels = [old.network.image_channels + i for i in gone]
    return off * weight[:, channels].sum(dim=(1, 2, 3, 4))


def _rows(former: Tensor, fresh: Tensor, places: Sequence[int | None]) -> Tensor:
    return torch.stack([fresh[i] if place is None else former[place] for i, place in enumerate(places)])


def _moments(former: Tensor, fresh: Tensor, labels: Sequence[int | None], images: Sequence[int | None]) -> Tensor:
    """``label_means`` (labels + 1, images): known pairs from ``former``, the others from ``fresh``."""
    means = fresh.clone()
    for row, label in enumerate(labels):
        for column, image in enumerate(images):
            if label is not None and image is not None:
                means[row, column] = former[label, image]
    return means
