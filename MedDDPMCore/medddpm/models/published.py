"""Published Med-DDPM checkpoints (``.pt``): read without unpickling code, recognized by their tensor shapes."""

from __future__ import annotations

import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from ..errors import InputError, MedDDPMError
from ..files import open_blocks
from ..labels.scheme import load_scheme
from ..network.layout import check_fits, network_config, without_prefixes
from ..parse import shown
from ..sampling.schedule import cosine_betas
from .config_file import read_config_file, require_file

MAX_CHECKPOINT_BYTES = 16 * 2**30
# torch's format before 1.6 begins with its magic number, pickled
LEGACY_START = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
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
# What trainers call the weights in a checkpoint, averaged ones first; and how the averages' names begin in what
# ema-pytorch stores, where the plain weights (``online_model.``) lie beside them.
WRAPPERS = ("ema", "ema_model", "model_ema", "ema_state_dict", "model", "state_dict", "model_state_dict", "network")
AVERAGED = "ema_model."
# Numbers of numpy that trainers store beside the weights (a step, a loss): plain data, no code.
_MULTIARRAY = np.float64(0).__reduce__()[0]
_NUMPY_NUMBERS: list[Any] = [
    _MULTIARRAY,
    *((_MULTIARRAY, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]
PUBLISHED_LICENSE = (
    "Weights published by the authors of Med-DDPM; their repository is GPL-3.0 and states no separate license for the "
    "weights. Check their terms before sharing anything made with them."
)


def read_published(path: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Configuration and network tensors of a ``.pt`` file in any of the published variants.

    Accepts ``{'step', 'model', 'ema'}`` (ema is used), only ``model``, what other trainers call these (``WRAPPERS``),
    or a bare state dict, with or without the prefixes of ``network.layout.without_prefixes``. A ``<name>.config.json``
    beside the file describes networks of other channels, heads or groups; the noise schedule is the checkpoint's own
    wherever it holds one. Raises InputError naming the file where it is damaged, holds code, or is of another
    architecture.
    """
    path = Path(path)
    size = require_file(path, "The checkpoint")
    beside = path.with_name(path.stem + ".config.json")
    given = read_config_file(beside) if beside.is_file() else None
    loaded = _load_tensors(path, size)
    try:
        state = _network_state(loaded, size)
        buffers = {name: state.pop(name) for name in SCHEDULE_BUFFERS if name in state}
        schedule = _schedule(buffers)
        network = network_config(state) if given is None else given.network
        if given is not None:
            check_fits(state, network)
    except InputError as exc:
        raise InputError(f"{path}: {exc} Use the checkpoint as its authors published it.") from exc
    config = _recognized(path, network, schedule) if given is None else _with_schedule(given, schedule)
    # clone: the tensors are views of the file, which may be replaced or cut while the model is in use
    return config, {name: tensor.clone() for name, tensor in state.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in any PyTorch checkpoint, by name without wrappers' prefixes.

    Raises InputError naming the file where it is missing, damaged, or holds code.
    """
    size = require_file(path, "The weights file")
    try:
        state = _network_state(_load_tensors(path, size), size)
    except InputError as exc:
        raise exc if str(path) in str(exc) else InputError(f"{path}: {exc}") from exc
    return {name: tensor.clone() for name, tensor in state.items()}


def _load_tensors(path: Path, size: int) -> object:
    zipped = _check_container(path, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on how the file was written help nobody here
            # mmap: only the tensors that are kept take memory, and no size that the file claims reaches beyond it
            with torch.serialization.safe_globals(_NUMPY_NUMBERS):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as exc:
        raise InputError(
            f"{path} contains something other than tensors (possibly code) and was not opened. Use the checkpoint as "
            "its authors published it."
        ) from exc
    except Exception as exc:  # whatever the reader trips over in such a file, the file is the reason
        raise InputError(f"{path} is damaged or is not a PyTorch checkpoint. Download it again.") from exc


def _check_container(path: Path, size: int) -> bool:
    """True for torch's zip format, False for its older one.

    Raises InputError for anything else: empty, too large, another kind of file, wrong checksums, compressed entries.
    """
    if path.suffix == ".safetensors":
        raise InputError(f"{path} is the weights file of a model folder. Name the folder instead.")
    if not 0 < size <= MAX_CHECKPOINT_BYTES:
        raise InputError(
            f"The checkpoint {path} has {size} bytes, which is not the size of a checkpoint. Download it again."
        )
    with path.open("rb") as stream:
        start = stream.read(len(LEGACY_START))
    if start.startswith(b"PK\x03\x04"):
        _check_archive(path, size)
        return True
    # torch before 2.6 runs code in tar archives, weights_only or not (CVE-2025-32434); a tar can begin with anything
    if start != LEGACY_START or _is_tar(path):
        raise InputError(f"{path} is not a PyTorch checkpoint, despite its name. Choose the .pt file or model folder.")
    return False


def _is_tar(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:"):
            return True
    except tarfile.TarError:
        return False


def _check_archive(path: Path, size: int) -> None:
    try:
        with open_blocks(path) as stream, zipfile.ZipFile(stream) as archive:
            entries = archive.infolist()
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            if not stored or sum(entry.file_size for entry in entries) > size:
                raise InputError(
                    f"{path} unpacks to more than its own size, unlike a PyTorch checkpoint, and was not opened. "
                    "Download it again."
                )
            if any(Path(entry.filename).name == "constants.pkl" for entry in entries):
                raise InputError(f"{path} is a TorchScript program, not a checkpoint, and was not opened.")
            damaged = archive.testzip()
    except MedDDPMError:
        raise
    except Exception as exc:  # zipfile raises many kinds for hostile archives; each means the same
        raise InputError(f"{path} is a damaged or incomplete archive. Download it again.") from exc
    if damaged is not None:
        raise InputError(f"{path} is damaged: the checksum of its part {shown(damaged)} is wrong. Download it again.")


def _network_state(loaded: object, size: int) -> dict[str, Tensor]:
    """The tensors to sample with: those of the first of ``WRAPPERS`` that is there, or the dictionary's own."""
    for _ in range(3):  # one may lie in another
        entries = [loaded.get(key) for key in WRAPPERS] if isinstance(loaded, Mapping) else []
        loaded = next((entry for entry in entries if isinstance(entry, Mapping)), loaded)
    if not isinstance(loaded, Mapping):
        raise InputError(f"The file holds a {type(loaded).__name__}, not the tensors of a network.")
    tensors = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError("The file holds no tensors: it is not a checkpoint of a network.")
    for name, tensor in tensors.items():
        if not _is_plain(tensor):
            raise InputError(
                f"The tensor {shown(name)} is of a special kind (sparse, quantized ...), not plain numbers."
            )
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > size:  # strides of 0 make enormous tensors of a few bytes
        raise InputError(f"The tensors claim {claimed} bytes, but the file has {size}.")
    averaged = {name: tensor for name, tensor in tensors.items() if name.startswith(AVERAGED)}
    return without_prefixes(averaged or tensors)


def _is_plain(tensor: Tensor) -> bool:
    dense = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_quantized
    return dense and tensor.device.type == "cpu" and type(tensor) in (Tensor, torch.nn.Parameter)


def _schedule(buffers: Mapping[str, Tensor]) -> ScheduleConfig | None:
    """T and the betas of the schedule buffers; None where there are none."""
    if "betas" not in buffers:
        return None
    if not buffers["betas"].is_floating_point():
        raise InputError("The noise schedule (betas) does not hold floating-point numbers.")
    betas = buffers["betas"].double().flatten().numpy()
    config = ScheduleConfig(steps=len(betas))
    if abs(cosine_betas(config.steps) - betas).max() < 1e-6:
        return config
    return ScheduleConfig(steps=len(betas), kind="explicit", betas=tuple(float(b) for b in betas))


def _with_schedule(given: ModelConfig, schedule: ScheduleConfig | None) -> ModelConfig:
    """``given`` with the checkpoint's own betas, where it holds them; what is predicted no checkpoint tells."""
    if schedule is not None:
        given = replace(given, schedule=replace(schedule, prediction=given.schedule.prediction))
    return replace(given, weights_sha256=None)


def _recognized(path: Path, network: NetworkConfig, schedule: ScheduleConfig | None) -> ModelConfig:
    """The published model whose channels ``network`` has. Raises InputError where neither has them."""
    layouts = {(1, 2): whole_head_config, (4, 4): brats_config}
    known = layouts.get((network.image_channels, network.mask_channels))
    if known is None:
        raise InputError(
            f"{path}: The network makes {network.image_channels} images from {network.mask_channels} mask channels, "
            f"which matches neither published model. Put a {path.stem}.config.json beside the file that names its "
            "labels, grid and modalities."
        )
    return known(network, schedule or ScheduleConfig())


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
        license=PUBLISHED_LICENSE,
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
        license=PUBLISHED_LICENSE,
    )


def _fitting(grid: GridConfig, network: NetworkConfig) -> GridConfig:
    """``grid`` with every side rounded up to what the network's strides divide."""
    d = network.divisor
    x, y, z = (-(-n // d) * d for n in grid.shape)
    return replace(grid, shape=(x, y, z))
