"""What a model is, as data: the contents of a model folder's ``config.json``.

Everything that another part of the program needs to know of a model (network, noise schedule, labels, grid,
modalities, intensities, terms of use) is here; nothing is hard-wired to the two published models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from .errors import InputError
from .labels.scheme import LabelScheme

FORMAT_VERSION = 1
PREDICTIONS = ("noise", "v", "x0")
# A config comes from a stranger: these bounds keep a hostile one from asking for absurd memory.
MAX_CHANNELS, MAX_LEVELS, MAX_BLOCKS, MAX_STEPS, MAX_AXIS = 2048, 8, 8, 10_000, 1024

T = TypeVar("T")


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the 3D U-Net.

    ``attention_factors`` are the downsampling factors at which residual blocks are followed by self-attention (8 means
    at one eighth of the resolution); the middle always has it. ``groups`` is the number of GroupNorm groups.
    """

    image_channels: int
    mask_channels: int
    base_channels: int = 64
    multipliers: tuple[int, ...] = (1, 1, 2, 3, 4)
    blocks_per_level: int = 1
    attention_factors: tuple[int, ...] = ()
    heads: int = 1
    groups: int = 32

    def __post_init__(self) -> None:
        _require(1 <= self.image_channels <= 64, "network.image_channels", self.image_channels, "1 to 64")
        _require(1 <= self.mask_channels <= 256, "network.mask_channels", self.mask_channels, "1 to 256")
        _require(1 <= len(self.multipliers) <= MAX_LEVELS, "network.multipliers", self.multipliers, "1 to 8 levels")
        _require(1 <= self.blocks_per_level <= MAX_BLOCKS, "network.blocks_per_level", self.blocks_per_level, "1 to 8")
        for channels in (self.base_channels, *self.level_channels):
            _require(2 <= channels <= MAX_CHANNELS, "network channels", channels, f"2 to {MAX_CHANNELS}")
            _require(
                self.groups > 0 and channels % self.groups == 0, "network channels", channels, f"{self.groups} groups"
            )
            _require(self.heads > 0 and channels % self.heads == 0, "network channels", channels, f"{self.heads} heads")

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels at each resolution level, finest first."""
        return tuple(self.base_channels * m for m in self.multipliers)

    @property
    def divisor(self) -> int:
        """Every side of the grid must be a multiple of this."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule, cosine (Nichol & Dhariwal, offset ``s``, betas clipped) or explicit ``betas``; the prediction."""

    steps: int = 250
    kind: str = "cosine"
    s: float = 0.008
    max_beta: float = 0.999
    betas: tuple[float, ...] | None = None
    prediction: str = "noise"

    def __post_init__(self) -> None:
        _require(1 <= self.steps <= MAX_STEPS, "schedule.steps", self.steps, f"1 to {MAX_STEPS}")
        _require(self.kind in ("cosine", "explicit"), "schedule.kind", self.kind, "cosine or explicit")
        _require(self.prediction in PREDICTIONS, "schedule.prediction", self.prediction, ", ".join(PREDICTIONS))
        _require((self.kind == "explicit") == (self.betas is not None), "schedule.betas", self.kind, "explicit betas")
        if self.betas is not None:
            good = len(self.betas) == self.steps and all(0 < b < 1 for b in self.betas)
            _require(good, "schedule.betas", f"{len(self.betas)} values", f"{self.steps} numbers between 0 and 1")


@dataclass(frozen=True)
class GridConfig:
    """The voxel grid of a model: ``shape`` and ``spacing`` (mm) along the axes named by ``orientation``.

    ``orientation`` gives the direction in which each array axis grows, as nibabel's axis codes: ``"LPS"`` means that
    the first index grows toward the patient's left.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    orientation: str = "RAS"

    def __post_init__(self) -> None:
        _require(
            len(self.shape) == 3 and all(1 <= n <= MAX_AXIS for n in self.shape), "grid.shape", self.shape, "1 to 1024"
        )
        good = len(self.spacing) == 3 and all(math.isfinite(s) and 0.05 <= s <= 50 for s in self.spacing)
        _require(good, "grid.spacing", self.spacing, "0.05 to 50 mm")
        axes = sorted("LRAPSI".index(c) // 2 if c in "LRAPSI" else -1 for c in self.orientation)
        _require(axes == [0, 1, 2], "grid.orientation", self.orientation, "one each of L/R, A/P and S/I")


@dataclass(frozen=True)
class MaskPrior:
    """What masks of the training data look like, for the plausibility check (volumes in milliliters).

    Each entry is a (low, high) pair of the 1st and 99th percentile over training cases, widened by the trainer.
    """

    outline_ml: tuple[float, float]
    tumor_ml: tuple[float, float]
    outline_extent_mm: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class ModelConfig:
    """All of a model but its weights; see the module docstring.

    ``mask_values`` are the condition's values for outside and inside of a label (published: -1/+1 whole head, 0/1
    BraTS). Images are in [-1, 1] inside the network; ``background`` is the value of empty space there.
    ``sampler`` and ``sampler_steps`` are what ``synth`` takes unless told otherwise.
    """

    name: str
    modalities: tuple[str, ...]
    network: NetworkConfig
    schedule: ScheduleConfig
    scheme: LabelScheme
    grid: GridConfig
    mask_values: tuple[float, float] = (0.0, 1.0)
    background: float = -1.0
    normalization: str = "min-max per volume to [-1, 1]"
    sampler: str = "dpm++2m"
    sampler_steps: int = 25
    prior: MaskPrior | None = None
    licence: str = "unknown"
    intended_use: str = "Research only. Not for diagnosis or treatment."
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _require(self.format_version == FORMAT_VERSION, "format_version", self.format_version, str(FORMAT_VERSION))
        _require(
            len(self.modalities) == self.network.image_channels,
            "modalities",
            self.modalities,
            f"{self.network.image_channels} names, one an image channel",
        )
        _require(
            len(self.scheme.labels) == self.network.mask_channels,
            "labels",
            self.scheme.values,
            f"{self.network.mask_channels} labels, one a mask channel",
        )
        for n in self.grid.shape:
            _require(n % self.network.divisor == 0, "grid.shape", self.grid.shape, f"{self.network.divisor} | n")

    def to_json(self) -> str:
        """The text of ``config.json``."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Parse ``config.json``. Raises InputError naming the field that is missing, unknown or out of range."""
        try:
            data = json.loads(text)
        except ValueError as exc:
            raise InputError(f"The model's config.json is not valid JSON: {exc}.") from exc
        return from_dict(cls, data, "config.json")


def _require(good: bool, what: str, value: object, allowed: str) -> None:
    if not good:
        raise InputError(f"The model's configuration has {what} = {value}, which does not fit: it must be {allowed}.")


def from_dict(cls: type[T], data: Any, where: str) -> T:
    """Build the dataclass ``cls`` from JSON data, by its type hints."""
    if not isinstance(data, Mapping):
        raise InputError(f"{where} must be an object with named fields, not {type(data).__name__}.")
    if cls is LabelScheme:
        return LabelScheme.from_dict(dict(data))  # type: ignore[return-value]
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - known)
    if unknown:
        raise InputError(f"{where} has the unknown field '{unknown[0]}'; it was perhaps written by a newer version.")
    try:
        return cls(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in data.items()})
    except TypeError as exc:
        raise InputError(f"{where} lacks a field or has one of the wrong type: {exc}.") from exc


def _convert(hint: Any, value: Any, where: str) -> Any:
    if value is None:
        return None
    if "None" in str(hint) and hasattr(hint, "__args__"):
        hint = next(arg for arg in hint.__args__ if arg is not type(None))
    if is_dataclass(hint) and isinstance(hint, type):
        return from_dict(hint, value, where)
    if str(hint).startswith("tuple"):
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list, not {value!r}.")
        inner = hint.__args__[0]
        return tuple(_convert(inner, item, where) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str) and (not isinstance(value, hint) or isinstance(value, bool)):
        raise InputError(f"{where} must be of type {hint.__name__}, not {value!r}.")
    return value
