"""What is asked of a generation, as plain data, and how it comes from the parameter node or a script."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medddpm.errors import InputError
from medddpm.options import Option, check_options, options_of
from medddpm.synthesis.request import ANATOMIES, SynthesisRequest
from MedDDPMSlicerLib.RequestOptions import MAX_INT, parameterName, shownOptions, valuesOf

if TYPE_CHECKING:
    from MedDDPMSlicerLib.Models import ModelDescription

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


class Anatomy(enum.StrEnum):
    """What completes a mask of tumor and brain, for models with tissue labels."""

    SEED = "seed"
    REFERENCE = "reference"
    SEGMENTATION = "segmentation"

    def label(self) -> str:
        """The text for people."""
        return {"seed": "By seed", "reference": "From the reference MRI", "segmentation": "From a segmentation"}[
            self.value
        ]


class Contrast(enum.StrEnum):
    """How bright the tissues are, for models with tissue labels."""

    SEED = "seed"
    MEAN = "mean"
    REFERENCE = "reference"

    def label(self) -> str:
        """The text for people."""
        return {"seed": "By seed", "mean": "Mean", "reference": "From the reference MRI"}[self.value]


@dataclass(frozen=True)
class SynthOptions(SynthesisRequest):
    """Options of a generation: those of the core, whose files come only with the request of the job.

    ``marginMm``: what around the changed voxels of a local edit is generated, too. ``frames`` above 1: a growth series
    of so many time points with one seed, in place of samples.
    """

    masks: tuple[str, ...] = ()
    anatomy: Anatomy = Anatomy.SEED
    showPreview: bool = True
    marginMm: float = 6.0
    frames: int = 1

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def needsScan(self) -> bool:
        """Whether anatomy or contrast are those of a reference scan."""
        return self.anatomy == Anatomy.REFERENCE or self.contrast == Contrast.REFERENCE


# Those with a widget in a section of their own; all others come under Advanced.
PLACED = ("samples", "seed", "mass_effect", "contrast", "seam_mm")


def advancedOptions(request: type = SynthesisRequest) -> list[Option]:
    """What the section Advanced shows, in order."""
    return [told for told in shownOptions(request) if told.name not in PLACED]


def withWidget(sentence: str, option: str | None) -> str:
    """``sentence`` of an error with the place of the ``option`` that helps, where the panel has one."""
    label = next((told.label for told in advancedOptions() if told.name == option), None)
    return sentence if label is None else f"{sentence} See '{label}' under Advanced."


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


def optionsOfScript(anatomy: Any = Anatomy.SEED, **given: Any) -> SynthOptions:
    """The options that a script names as Slicer does ("massEffect"); ``anatomy``: "seed", "reference", or a node.

    Raises InputError for an option that there is not, and for a value that it cannot have.
    """
    if isinstance(anatomy, str) and anatomy not in ANATOMIES:
        raise InputError(f"The anatomy '{anatomy}' is not one of {', '.join(ANATOMIES)}.")
    names = {parameterName(told.name): told.name for told in options_of(SynthesisRequest)}
    names |= {f.name: f.name for f in fields(SynthOptions) if f.name not in SynthesisRequest.__dataclass_fields__}
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise InputError(f"There is no option '{unknown}'. Known are: {', '.join(sorted(names))}.")
    chosen = Anatomy(anatomy) if isinstance(anatomy, str) else Anatomy.SEGMENTATION
    return SynthOptions(anatomy=chosen, **{names[name]: value for name, value in given.items()})


def unguided(model: ModelDescription) -> str | None:
    """A sentence where a model was not trained for guidance, so that there is nothing to choose; None where it was."""
    if model.config.dropped_mask is not None:
        return None
    return f"The model '{model.title}' was not trained for guidance."


def nextSeed(seed: int, samples: int, locked: bool) -> int:
    """The seed for the next generation: the same where it is locked, else the first that was not used yet."""
    if locked:
        return seed
    following = seed + max(1, samples)
    return following if following <= MAX_INT else 0


def samplerAndSteps(
    quality: Quality, model: ModelDescription, sampler: str | None = None, steps: int | None = None
) -> tuple[str | None, int | None]:
    """Sampler and steps of a quality, None where the model's own are meant.

    PREVIEW: the model's sampler with about a third of its steps; STANDARD: the model's own choice; REFERENCE: the
    published sampler with all steps; CUSTOM: ``sampler`` and ``steps``.
    """
    if quality is Quality.PREVIEW:
        fewer = max(min(MIN_PREVIEW_STEPS, model.steps), round(model.steps * PREVIEW_SHARE))
        return model.config.sampler, fewer
    if quality is Quality.REFERENCE:
        return REFERENCE_SAMPLER, model.config.schedule.steps
    if quality is Quality.CUSTOM:
        return sampler, steps
    return None, None


def inputsOf(parameterNode: Any, options: SynthOptions) -> SynthInputs:
    """The nodes that the user chose, as far as they count: those of a real scan while it is edited or a reference."""
    inputs = anatomyInputsOf(parameterNode, options)
    inputs.segmentation, inputs.referenceVolume = parameterNode.segmentation, parameterNode.referenceVolume
    if parameterNode.editRealScan:
        inputs.knownVolumes, inputs.referenceScan = realScan(parameterNode), {}
        inputs.originalSegmentation = parameterNode.originalSegmentation
    return inputs


def anatomyInputsOf(parameterNode: Any, options: SynthOptions) -> SynthInputs:
    """What gives anatomy and contrast, where the options say so; without a mask."""
    scan = realScan(parameterNode) if options.needsScan else {}
    source = parameterNode.anatomySource if options.anatomy == Anatomy.SEGMENTATION else None
    return SynthInputs(None, referenceScan=scan, anatomySource=source)


def batchSource(parameterNode: Any) -> Any:
    """The sequence node or folder (Path) of the masks of a batch; None where none is chosen."""
    if parameterNode.batchSequence is not None:
        return parameterNode.batchSequence
    return Path(parameterNode.batchSource) if parameterNode.batchSource else None


def realScan(parameterNode: Any) -> dict[str, Any]:
    """The volumes of the real scan that are in the scene, by modality."""
    import slicer

    chosen = {m: slicer.mrmlScene.GetNodeByID(i) for m, i in dict(parameterNode.knownVolumes).items() if i}
    return {m: node for m, node in chosen.items() if node is not None}


def optionsOf(parameterNode: Any, model: ModelDescription) -> SynthOptions:
    """The options that the user chose, as far as ``model`` has them: some know neither anatomy nor guidance."""
    node, chosen = parameterNode, valuesOf(parameterNode, SynthesisRequest)
    chosen["sampler"], chosen["steps"] = samplerAndSteps(node.quality, model, chosen["sampler"], chosen["steps"])
    if unguided(model):
        chosen["guidance"] = 1.0
    told = bool(model.config.scheme.tissue_values)
    if not told:
        chosen["contrast"] = Contrast.SEED
    wanted = {str(m).casefold() for m in node.modalities}
    return SynthOptions(
        **chosen,
        model=node.model,
        modalities=tuple(m for m in model.modalities if m.casefold() in wanted),
        anatomy=node.anatomy if told else Anatomy.SEED,
        showPreview=node.showPreview,
        marginMm=node.marginMm,
    )
