"""What is asked of a generation, as plain data: from the parameter node, a script or the automatic update."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medddpm.errors import InputError

if TYPE_CHECKING:
    from MedDDPMSlicerLib.Models import ModelDescription

# The core takes 63 bits; a spin box holds 31.
MAX_SEED = 2**31 - 1
REFERENCE_SAMPLER = "ddpm"
# A preview takes this part of the model's usual number of steps, but no fewer than the fast samplers need.
PREVIEW_SHARE, MIN_PREVIEW_STEPS = 1 / 3, 4


class Quality(enum.Enum):
    """How much computing an image gets; see ``samplerAndSteps``."""

    PREVIEW = "preview"
    STANDARD = "standard"
    REFERENCE = "reference"
    CUSTOM = "custom"

    def label(self) -> str:
        """The text for people."""
        return _QUALITY_LABELS[self]


_QUALITY_LABELS = {
    Quality.PREVIEW: "Preview (fast)",
    Quality.STANDARD: "Standard",
    Quality.REFERENCE: "Reference (all steps)",
    Quality.CUSTOM: "Custom (see Advanced)",
}


class Anatomy(enum.Enum):
    """What completes a mask of tumor and brain, for models that are told tissues."""

    SEED = "seed"
    REFERENCE = "reference"
    SEGMENTATION = "segmentation"

    def label(self) -> str:
        """The text for people."""
        return {"seed": "By seed", "reference": "From the reference MRI", "segmentation": "From a segmentation"}[
            self.value
        ]


class Contrast(enum.Enum):
    """How bright the tissues are, for models that are told tissues."""

    SEED = "seed"
    MEAN = "mean"
    REFERENCE = "reference"

    def label(self) -> str:
        """The text for people."""
        return {"seed": "By seed", "mean": "Mean", "reference": "From the reference MRI"}[self.value]


@dataclass(frozen=True)
class SynthOptions:
    """Options of a generation. ``sampler`` and ``steps`` None mean the model's own; ``modalities`` empty means all.

    ``seamMm``: width of the soft seam of a local edit; ``marginMm``: what around the changed voxels is made anew.
    ``anatomy``, ``massEffect`` (0 to 1) and ``contrast`` count for models that are told tissues. ``frames`` above 1: a
    growth series of so many time points with one seed, in place of samples.
    """

    model: str = "demo"
    samples: int = 1
    seed: int = 0
    sampler: str | None = None
    steps: int | None = None
    modalities: tuple[str, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    showPreview: bool = True
    seamMm: float = 4.0
    marginMm: float = 6.0
    anatomy: Anatomy = Anatomy.SEED
    massEffect: float = 1.0
    contrast: Contrast = Contrast.SEED
    frames: int = 1

    @property
    def needsScan(self) -> bool:
        """Whether anatomy or contrast are those of a reference scan."""
        return self.anatomy is Anatomy.REFERENCE or self.contrast is Contrast.REFERENCE


@dataclass
class SynthInputs:
    """Nodes that a generation reads.

    ``knownVolumes`` (modality -> volume node of the real scan) together with ``originalSegmentation`` (the mask
    before the edit) make it a local edit. ``referenceScan`` (modality -> volume node) gives anatomy or contrast,
    ``anatomySource`` (a segmentation or label map) the anatomy, where the options say so.
    """

    segmentation: Any
    referenceVolume: Any = None
    knownVolumes: dict[str, Any] = field(default_factory=dict)
    originalSegmentation: Any = None
    referenceScan: dict[str, Any] = field(default_factory=dict)
    anatomySource: Any = None

    @property
    def isLocalEdit(self) -> bool:
        """Whether only the changed region of a real scan is regenerated."""
        return bool(self.knownVolumes)


def anatomyOf(wanted: Any) -> Anatomy:
    """The choice that a script means: "seed", "reference", or the node that the anatomy is taken from."""
    return _choiceOf(Anatomy, wanted, "anatomy") if isinstance(wanted, str) else Anatomy.SEGMENTATION


def contrastOf(wanted: str) -> Contrast:
    """The choice that a script means. Raises InputError for what is none."""
    return _choiceOf(Contrast, wanted, "contrast")


def _choiceOf(kind: Any, wanted: str, name: str) -> Any:
    try:
        return kind(wanted)
    except ValueError as exc:
        known = ", ".join(choice.value for choice in kind)
        raise InputError(f"The {name} '{wanted}' is not one of {known}.") from exc


def nextSeed(seed: int, samples: int, locked: bool) -> int:
    """The seed for the next generation: the same where it is locked, else the first that was not used yet."""
    if locked:
        return seed
    following = seed + max(1, samples)
    return following if following <= MAX_SEED else 0


def samplerAndSteps(
    quality: Quality, model: ModelDescription, sampler: str = "", steps: int = 0
) -> tuple[str | None, int | None]:
    """Sampler and steps of a quality, None where the model's own are meant.

    PREVIEW: the model's sampler with about a third of its steps; STANDARD: the model's own choice; REFERENCE: the
    published sampler with all steps; CUSTOM: ``sampler`` and ``steps`` ("" and 0 for the model's own).
    """
    if quality is Quality.PREVIEW:
        fewer = max(min(MIN_PREVIEW_STEPS, model.steps), round(model.steps * PREVIEW_SHARE))
        return model.sampler, fewer
    if quality is Quality.REFERENCE:
        return REFERENCE_SAMPLER, model.allSteps
    if quality is Quality.CUSTOM:
        return sampler or None, steps or None
    return None, None
