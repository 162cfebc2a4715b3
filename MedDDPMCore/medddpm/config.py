"""What a model is, as data: the contents of a model folder's ``config.json``.

Everything that another part of the program needs to know of a model (network, noise schedule, labels, grid,
modalities, intensities, terms of use) is here; nothing is hard-wired to the two published models.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from . import plugins
from .errors import InputError
from .labels.scheme import LabelScheme
from .parse import from_dict, parse_json, shown

FORMAT_VERSION = 2
PREDICTIONS = ("noise", "v", "x0")
DOMAINS = plugins.names("networks", ("voxels", "wavelet", "residual", "pix2pix", "discogan"))
SCHEDULES = ("cosine", "explicit", "flow", "bridge", "one-step")
MAX_NOISE = 10.0
# A config comes from a stranger: these bounds keep a hostile one from asking for absurd memory.
MAX_CHANNELS, MAX_LEVELS, MAX_BLOCKS, MAX_STEPS, MAX_AXIS = 2048, 8, 8, 10_000, 1024
# Beyond these the sampler's divisions by alpha_t and sigma_t lose all digits.
MIN_BETA, MAX_BETA, MIN_LOG_ALPHABAR = 1e-10, 0.9999, math.log(1e-14)
# Modalities become parts of file names.
MODALITY = re.compile(r"\w[\w.+-]{0,31}")
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class NetworkConfig:
    """Shape of the 3D U-Net.

    ``attention_factors`` are the downsampling factors at which residual blocks are followed by self-attention (8 means
    at one eighth of the resolution); the middle always has it. ``groups`` is the number of GroupNorm groups. ``domain``
    is "voxels" (published), or one that works on Haar bands at half the resolution (that is the resolution that its
    factors count from) and predicts x0: "residual", which generates what an image shows beyond the mean intensity of
    each label (see ``network.residual``; it has no attention), or "wavelet" (see ``network.compact``). ``position``
    tells the latter where within the mask a voxel lies. "pix2pix" and "discogan" are the generators of these GANs (see
    ``network.gan``), which halve the resolution at every level and have instance normalization throughout. Any other
    ``domain`` is the name of a network on voxels that an installed package registers (see ``plugins``).
    """

    image_channels: int
    mask_channels: int
    base_channels: int = 64
    multipliers: tuple[int, ...] = (1, 1, 2, 3, 4)
    blocks_per_level: int = 1
    attention_factors: tuple[int, ...] = ()
    heads: int = 1
    groups: int = 32
    domain: str = "voxels"
    position: bool = False

    def __post_init__(self) -> None:
        _require(1 <= self.image_channels <= 64, "network.image_channels", self.image_channels, "1 to 64")
        _require(1 <= self.mask_channels <= 256, "network.mask_channels", self.mask_channels, "1 to 256")
        allowed = f"{' or '.join(DOMAINS)}; a network of another package needs that package"
        _require(self.domain in DOMAINS, "network.domain", self.domain, allowed)
        good = not self.position or self.domain == "wavelet"
        _require(good, "network.position", self.position, "false unless network.domain is wavelet")
        least, most = (2, 1) if self.adversarial else (1, MAX_BLOCKS)
        good = least <= len(self.multipliers) <= MAX_LEVELS
        _require(good, "network.multipliers", self.multipliers, f"{least} to {MAX_LEVELS} levels")
        _require(1 <= self.blocks_per_level <= most, "network.blocks_per_level", self.blocks_per_level, f"1 to {most}")
        for channels in (self.base_channels, *self.level_channels):
            _require(2 <= channels <= MAX_CHANNELS, "network channels", channels, f"2 to {MAX_CHANNELS}")
            for name, parts in (("groups", self.groups), ("heads", self.heads)):
                good = parts > 0 and channels % parts == 0
                _require(good, f"network.{name}", parts, f"a divisor of the {channels} channels of a level")
        factors = [2**level for level in range(len(self.multipliers))]
        factors = [] if self.domain == "residual" or self.adversarial else factors
        good = set(self.attention_factors) <= set(factors)
        _require(good, "network.attention_factors", self.attention_factors, f"among {factors}")

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Channels at each resolution level, finest first."""
        return tuple(self.base_channels * m for m in self.multipliers)

    @property
    def divisor(self) -> int:
        """Every side of the grid must be a multiple of this."""
        deepest = 2 ** (len(self.multipliers) - 1)
        return 2 * deepest if self.on_bands or self.adversarial else deepest

    @property
    def on_bands(self) -> bool:
        """Whether the network works on Haar bands and predicts x0; else on voxels, as those of other packages do."""
        return self.domain in ("wavelet", "residual")

    @property
    def adversarial(self) -> bool:
        """Whether the network is the generator of a GAN, which makes an image in one pass."""
        return self.domain in ("pix2pix", "discogan")


@dataclass(frozen=True)
class ScheduleConfig:
    """The noise schedule, and what the network predicts.

    ``kind``: "cosine" (Nichol & Dhariwal, offset ``s``, betas clipped at ``max_beta``) or "explicit" (``betas``), both
    variance-preserving; "flow", x_t = (1 - t) x0 + t eps (flow matching, Lipman et al. 2023; rectified flow, Liu et al.
    2023); "bridge", x_t = (1 - t) x0 + ``noise`` sqrt(t (1 - t)) eps (Brownian bridge, Li et al. 2023), which begins
    at what the condition tells, without noise; or "one-step", where x_t is noise alone, from which the image is made in
    one pass. The latter three want x0 as prediction.
    """

    steps: int = 250
    kind: str = "cosine"
    s: float = 0.008
    max_beta: float = 0.999
    betas: tuple[float, ...] | None = None
    prediction: str = "noise"
    noise: float = 1.0

    def __post_init__(self) -> None:
        most = 1 if self.kind == "one-step" else MAX_STEPS
        _require(1 <= self.steps <= most, "schedule.steps", self.steps, f"1 to {most} for the kind {self.kind}")
        _require(self.kind in SCHEDULES, "schedule.kind", self.kind, ", ".join(SCHEDULES))
        predicted = PREDICTIONS if self.kind in ("cosine", "explicit") else ("x0",)
        _require(self.prediction in predicted, "schedule.prediction", self.prediction, ", ".join(predicted))
        _require(0 < self.noise <= MAX_NOISE, "schedule.noise", self.noise, f"above 0, at most {MAX_NOISE:g}")
        _require(0 <= self.s <= 1, "schedule.s", self.s, "0 to 1")
        _require(MIN_BETA <= self.max_beta <= MAX_BETA, "schedule.max_beta", self.max_beta, f"at most {MAX_BETA}")
        wanted = "given" if self.kind == "explicit" else "absent"
        _require(
            (self.betas is not None) == (wanted == "given"), "schedule.betas", self.betas, f"{wanted} ({self.kind})"
        )
        if self.betas is not None:
            self._check_betas(self.betas)

    def _check_betas(self, betas: tuple[float, ...]) -> None:
        _require(len(betas) == self.steps, "schedule.betas", f"{len(betas)} values", f"{self.steps}, one a step")
        for beta in betas:
            _require(MIN_BETA <= beta < 1, "a value of schedule.betas", beta, f"{MIN_BETA:g} or more and below 1")
        log_alphabar = sum(math.log1p(-beta) for beta in betas)
        _require(
            log_alphabar >= MIN_LOG_ALPHABAR, "schedule.betas", betas, "smaller: no signal is left at the last step"
        )


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
            len(self.shape) == 3 and all(1 <= n <= MAX_AXIS for n in self.shape),
            "grid.shape",
            self.shape,
            f"three numbers from 1 to {MAX_AXIS}",
        )
        good = len(self.spacing) == 3 and all(math.isfinite(s) and 0.05 <= s <= 50 for s in self.spacing)
        _require(good, "grid.spacing", self.spacing, "three numbers from 0.05 to 50 mm")
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

    def __post_init__(self) -> None:
        for low, high in (self.outline_ml, self.tumor_ml, *self.outline_extent_mm):
            _require(0 <= low <= high < 1e7, "a range of prior", (low, high), "0 or more, the lower number first")


@dataclass(frozen=True)
class ModelConfig:
    """All of a model but its weights; see the module docstring.

    ``mask_values`` are the condition's values for outside and inside of a label (published: -1/+1 whole head, 0/1
    BraTS). Images are in [-1, 1] inside the network; ``background`` is the value of empty space there.
    ``sampler`` and ``sampler_steps`` are what ``synth`` takes unless told otherwise. ``weights_sha256`` is the SHA-256
    of the weights file that belongs to this configuration (hexadecimal); None where nobody has recorded it.
    ``dropped_mask``: for models that were trained with masks left out at random, the share of each label that stood for
    a mask left out, wherever there was a label; None for the others. With it the strength of guidance can be chosen.
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
    license: str = "unknown"
    intended_use: str = "Research only. Not for diagnosis or treatment."
    training: dict[str, Any] = field(default_factory=dict)
    weights_sha256: str | None = None
    dropped_mask: tuple[float, ...] | None = None
    format_version: int = FORMAT_VERSION

    FORMER_NAMES: ClassVar[dict[str, str]] = {"licence": "license"}  # format 1

    def __post_init__(self) -> None:
        _require(self.format_version == FORMAT_VERSION, "format_version", self.format_version, str(FORMAT_VERSION))
        self._check_channels()
        self._check_values()
        for n in self.grid.shape:
            allowed = f"multiples of {self.network.divisor}, which the network's strides divide"
            _require(n % self.network.divisor == 0, "grid.shape", self.grid.shape, allowed)
        self._check_domain()

    def _check_domain(self) -> None:
        if self.network.adversarial:
            kind = self.schedule.kind
            _require(kind == "one-step", "schedule.kind", kind, f"one-step for the network {self.network.domain}")
        if not self.network.on_bands:
            return
        prediction = self.schedule.prediction
        domain = f"the {self.network.domain} domain"
        _require(prediction == "x0", "schedule.prediction", prediction, f"x0 for a network in {domain}")
        _require(self.mask_values == (0.0, 1.0), "mask_values", self.mask_values, f"0 and 1 for {domain}")

    def _check_channels(self) -> None:
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
        for name in self.modalities:
            allowed = "up to 32 letters, digits and . + - _, since it becomes part of file names"
            _require(MODALITY.fullmatch(name) is not None, "the modality", name, allowed)
        distinct = len({name.casefold() for name in self.modalities}) == len(self.modalities)
        _require(distinct, "modalities", self.modalities, "distinct names")

    def _check_values(self) -> None:
        low, high = self.mask_values
        good = low != high and max(abs(low), abs(high)) <= 100
        _require(good, "mask_values", self.mask_values, "two different numbers from -100 to 100")
        _require(-1 <= self.background <= 1, "background", self.background, "-1 to 1")
        _require(1 <= self.sampler_steps <= MAX_STEPS, "sampler_steps", self.sampler_steps, f"1 to {MAX_STEPS}")
        if self.dropped_mask is not None:
            shares = self.dropped_mask
            good = len(shares) == len(self.scheme.labels) and min(shares) >= 0 and sum(shares) <= 1 + 1e-6
            _require(good, "dropped_mask", shares, "a share from 0 to 1 for each label, together at most 1")
        digest = self.weights_sha256
        good = digest is None or SHA256.fullmatch(digest) is not None
        _require(good, "weights_sha256", digest, "64 hexadecimal digits, or absent")

    def to_json(self) -> str:
        """The text of ``config.json``."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Parse ``config.json``. Raises InputError naming the field that is missing, unknown or out of range."""
        data = parse_json(text, "The model's config.json")
        version = data.get("format_version") if isinstance(data, dict) else None
        if type(version) is int and version > FORMAT_VERSION:
            raise InputError(
                f"The model's config.json has format {shown(version)}, but this program reads {FORMAT_VERSION}: it was "
                "written by a newer version. Update MedDDPM."
            )
        if type(version) is int and version == 1:
            data["format_version"] = FORMAT_VERSION
        config = from_dict(cls, data, "The model's config.json")
        try:
            config.to_json().encode("utf-8")
        except UnicodeEncodeError as exc:  # JSON can spell half of a surrogate pair, files and terminals cannot
            raise InputError(f"The model's config.json has characters that are not valid text ({exc.reason}).") from exc
        return config


def _require(good: bool, what: str, value: object, allowed: str) -> None:
    if not good:
        raise InputError(f"The model's configuration has {what} = {shown(value)}; it must be {allowed}.")
