"""Published Med-DDPM checkpoints (``.pt``): read without unpickling code, recognized by their tensor shapes."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from ..errors import InputError
from ..labels.scheme import load_scheme
from ..network.layout import network_config, without_prefixes
from ..sampling.schedule import cosine_betas

MAX_CHECKPOINT_BYTES = 16 * 2**30
SCHEDULE_BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "posterior_mean_coef3",
)
PUBLISHED_LICENCE = (
    "Weights published by the authors of Med-DDPM; their repository is GPL-3.0 and states no separate licence for the "
    "weights. Check their terms before sharing anything made with them."
)


def read_published(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and network tensors of a ``.pt`` file in any of the published variants.

    Accepts ``{'step', 'model', 'ema'}`` (ema is used), only ``model``, or a bare state dict, with or without the
    prefixes ``module.`` and ``denoise_fn.``. A ``<name>.config.json`` beside the file describes networks of other
    channels.
    Raises InputError naming the file where it is damaged, holds code, or is of another architecture.
    """
    path = Path(path)
    state = _network_state(_load_tensors(path), path)
    buffers = {name: state.pop(name) for name in SCHEDULE_BUFFERS if name in state}
    try:
        network = network_config(state)
        schedule = _schedule(buffers)
        config = _described(path, network, schedule)
    except InputError as exc:
        raise InputError(f"{path}: {exc}") from exc
    return config, state


def _load_tensors(path: Path) -> object:
    _check_container(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as exc:
        raise InputError(
            f"{path} holds something else than tensors (possibly code) and was not opened. "
            "Use the checkpoint as its authors published it."
        ) from exc
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, AttributeError, TypeError, IndexError) as exc:
        raise InputError(f"{path} is damaged or is no PyTorch checkpoint. Download it again.") from exc


def _check_container(path: Path) -> None:
    """Refuse what is missing, empty, too large, or a zip archive with wrong checksums or compressed entries."""
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            stream.read(1)
    except OSError as exc:
        raise InputError(f"The checkpoint {path} cannot be read: {exc.strerror}.") from exc
    if not 0 < size <= MAX_CHECKPOINT_BYTES:
        raise InputError(f"The checkpoint {path} has {size} bytes, which no checkpoint of this network has.")
    if not zipfile.is_zipfile(path):
        return  # torch's older format; weights_only reads that as well
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > size:
                raise InputError(f"{path} claims to unpack to more than its own size and was not opened.")
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as exc:
        raise InputError(f"{path} is a damaged archive. Download it again.") from exc
    if damaged is not None:
        raise InputError(f"{path} is damaged: the checksum of its part '{damaged}' is wrong. Download it again.")


def _network_state(loaded: object, path: Path) -> dict[str, Tensor]:
    """The tensors to sample with: ``ema`` before ``model`` before the dictionary itself."""
    for key in ("ema", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping):
        raise InputError(f"{path} holds a {type(loaded).__name__}, not the tensors of a network.")
    tensors = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{path} holds no tensors: it is no checkpoint of a network.")
    return without_prefixes(tensors)


def _schedule(buffers: Mapping[str, Tensor]) -> ScheduleConfig:
    """T and the betas of the schedule buffers; the published cosine schedule of 250 steps where there are none."""
    if "betas" not in buffers:
        return ScheduleConfig()
    betas = buffers["betas"].double().flatten().numpy()
    config = ScheduleConfig(steps=len(betas)) if 0 < len(betas) <= 10_000 else None
    if config is None:
        raise InputError(f"the noise schedule has {len(betas)} steps, which is not plausible.")
    if abs(cosine_betas(config.steps) - betas).max() < 1e-6:
        return config
    return ScheduleConfig(steps=len(betas), kind="explicit", betas=tuple(float(b) for b in betas))


def _described(path: Path, network: NetworkConfig, schedule: ScheduleConfig) -> ModelConfig:
    beside = path.with_name(path.stem + ".config.json")
    if beside.is_file():
        given = ModelConfig.from_json(beside.read_text(encoding="utf-8"))
        if given.network != network:
            raise InputError(f"{beside.name} describes another network than the checkpoint holds: {network}.")
        return given
    layouts = {(1, 2): whole_head_config, (4, 4): brats_config}
    known = layouts.get((network.image_channels, network.mask_channels))
    if known is None:
        raise InputError(
            f"the network makes {network.image_channels} images from {network.mask_channels} mask channels, which is "
            f"neither published model. Put a {beside.name} beside the file that names its labels, grid and modalities."
        )
    return known(network, schedule)


def whole_head_config(network: NetworkConfig, schedule: ScheduleConfig) -> ModelConfig:
    """The published whole-head model: T1ce from head and tumor, 128^3 at 1.5 mm, mask values -1/+1."""
    return ModelConfig(
        name="Med-DDPM whole head",
        modalities=("T1ce",),
        network=network,
        schedule=schedule,
        scheme=load_scheme("whole-head"),
        grid=_fitting(GridConfig((128, 128, 128), (1.5, 1.5, 1.5), "RAS"), network),
        mask_values=(-1.0, 1.0),
        normalization="min-max per axial slice to [-1, 1]",
        licence=PUBLISHED_LICENCE,
    )


def brats_config(network: NetworkConfig, schedule: ScheduleConfig) -> ModelConfig:
    """The published BraTS model: T1, T1ce, T2, FLAIR, 192x192x144 at 1 mm, mask values 0/1."""
    return ModelConfig(
        name="Med-DDPM BraTS",
        modalities=("T1", "T1ce", "T2", "FLAIR"),
        network=network,
        schedule=schedule,
        scheme=load_scheme("brats"),
        grid=_fitting(GridConfig((192, 192, 144), (1.0, 1.0, 1.0), "LPS"), network),
        mask_values=(0.0, 1.0),
        licence=PUBLISHED_LICENCE,
    )


def _fitting(grid: GridConfig, network: NetworkConfig) -> GridConfig:
    """``grid`` with every side rounded up to what the network's strides divide."""
    d = network.divisor
    x, y, z = (-(-n // d) * d for n in grid.shape)
    return replace(grid, shape=(x, y, z))
