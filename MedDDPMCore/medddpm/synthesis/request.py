"""What is asked of a synthesis, as data: the same for the command line, Python and job folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ..config import MAX_STEPS, from_dict
from ..errors import InputError
from ..labels.conventions import parse_labels
from ..options import check_options, option
from ..sampling import names

MAX_SAMPLES = 1000
MAX_SEAM_MM = 50.0
ANATOMIES = ("seed", "reference")
UNVERIFIED, OWN = "none", "model"
MAX_BEST_OF = 50
Shard = tuple[int, int]  # (i, n): of the cases, those [i::n]
WHOLE: Shard = (0, 1)


def modality_files(entries: Sequence[str], kind: str = "context") -> dict[str, str]:
    """Modality -> path of "MODALITY=path" entries. Raises InputError for another form and a modality given twice.

    ``kind``: what the images are, for the sentence.
    """
    files: dict[str, str] = {}
    for entry in entries:
        modality, equals, path = entry.partition("=")
        modality = modality.strip()
        if not (equals and modality and path.strip()):
            raise InputError(
                f"The {kind} image '{entry}' is not understood. Write it as MODALITY=FILE, as in T1=t1.nii."
            )
        if modality.casefold() in {name.casefold() for name in files}:
            raise InputError(f"There are two {kind} images for {modality}. Give one image for each modality.")
        files[modality] = path
    return files


@dataclass(frozen=True)
class SynthesisRequest:
    """One synthesis of one or more masks.

    ``masks`` and ``images`` are paths; ``images`` is empty or holds one reference image a mask, from which a missing
    brain or head label is made. ``sampler`` and ``steps`` None mean what the model's configuration says. Sample number
    k of every mask has the seed ``seed + k``. ``modalities`` names those to write, empty for all. ``labels`` says what
    the masks' values mean to the model ("1=1,2=2,4=3", file value = model value); None leaves it to recognition.

    A local edit of a real scan: ``context`` holds its images as "MODALITY=path", ``region`` is the label map (path)
    whose voxels above 0 are generated, ``seam_mm`` (0 to 50) the blend width around them; all else stays. In place of a
    region, ``before`` may name the mask before it was edited: the region is then where the tumor changed, and a little
    around it. ``guidance`` (0 to 20) is how strongly the mask guides, for models that were trained for it; 1 is plain,
    any other takes twice the time. Without ``compress`` images and masks are written as ``.nii``, which is faster to
    write and to load.

    For models with tissue labels: ``anatomy`` is what a mask of tumor and brain leaves open: "seed" (a brain of the
    bank that comes with the package, chosen by each sample's seed), "reference" (that of the reference scan), or the
    path of a label map (FreeSurfer's or SynthSeg's numbers, or the scheme's). ``mass_effect`` (0 to 1) is how strongly
    the tumor pushes that anatomy aside. ``contrast``: "seed" (drawn from that of the training cases), "mean" or
    "reference". ``reference`` holds the reference scan's images as "MODALITY=path"; in a local edit that is the real
    scan unless others are named, and decides both unless told otherwise.

    ``verify``: the segmenter (path, or "model": the one beside the model's weights) that segments every sample again.
    With ``best_of`` N every sample is the best of N by its Dice: sample k of those with the seeds seed + k N to
    seed + k N + N - 1.
    """

    masks: tuple[str, ...]
    model: str = option(
        "demo", "The model: a name (see 'medddpm models list'), a model folder or a published .pt file."
    )
    samples: int = option(1, "Number of samples (different images) for each mask.", low=1, high=MAX_SAMPLES)
    seed: int = option(
        0,
        "Seed: the same one gives the same image again.",
        low=0,
        high=names.MAX_SEED - MAX_SAMPLES * MAX_BEST_OF,
    )
    sampler: str | None = option(None, names.SAMPLER_HELP, choices=names.SAMPLERS)
    steps: int | None = option(None, names.STEPS_HELP, label="Sampling steps", low=1, high=MAX_STEPS)
    guidance: float = option(1.0, names.GUIDANCE_HELP, label="Guidance scale", low=0, high=names.MAX_GUIDANCE)
    device: str = option("auto", names.DEVICE_HELP, choices=names.DEVICES, more=True)
    precision: str = option("auto", names.PRECISION_HELP, choices=names.PRECISIONS)
    images: tuple[str, ...] = option(
        (),
        "An MRI of the same patient, from which a missing brain or head label is made. With several masks give one for "
        "each, in the same order.",
        flag="--image",
        metavar="FILE",
    )
    modalities: tuple[str, ...] = option(
        (), "Write only this kind of image, such as T1ce; may be given several times. Default: all.", flag="--modality"
    )
    labels: str | None = option(None, "What the masks' values mean to the model, as 1=1,2=2,4=3. Default: recognized.")
    context: tuple[str, ...] = option(
        (),
        "Inpainting: an image of a real scan of which only a region is generated, as T1=scan_t1.nii.gz; give one for "
        "each modality of the scan.",
        metavar="MODALITY=FILE",
    )
    region: str | None = option(
        None,
        "Inpainting: a label map; its voxels above 0 are generated, the rest stays the scan's own.",
        metavar="FILE",
    )
    before: str | None = option(
        None,
        "Inpainting, in place of a region: the mask before the edit; generated is where the tumor differs.",
        metavar="FILE",
    )
    seam_mm: float = option(
        4.0, "Inpainting: blend width around the region.", low=0, high=MAX_SEAM_MM, unit="mm", flag="--blend-width"
    )
    anatomy: str = option(
        "seed",
        "For models with tissue labels: 'seed' completes tumor and brain with a brain of the bank, 'reference' with "
        "that of the reference scan, and a label map (FreeSurfer, SynthSeg or the model's labels) with that one.",
        metavar="seed|reference|FILE",
    )
    mass_effect: float = option(1.0, "How strongly the tumor displaces the completed anatomy.", low=0, high=1)
    contrast: str = option(
        "seed",
        "Contrast of the tissues: 'seed' draws it from that of the training cases, 'mean' takes their mean, "
        "'reference' that of the reference scan.",
        choices=("seed", "mean", "reference"),
    )
    reference: tuple[str, ...] = option(
        (),
        "An image of a reference scan in the space of the mask, as T1=t1.nii.gz; give one for each modality.",
        metavar="MODALITY=FILE",
    )
    verify: str = option(
        UNVERIFIED,
        "Segment every sample again and compare that with the mask: by the segmenter beside the model's weights "
        "('model'), or by the file of one.",
        label="Verify",
        choices={UNVERIFIED: "No", OWN: "By the model's segmenter"},
        more=True,
        metavar="none|model|FILE",
    )
    best_of: int = option(
        1,
        "Make so many samples for each one wanted and keep the best by its Dice; needs a segmenter, and takes so many "
        "times as long.",
        label="Best of",
        low=1,
        high=MAX_BEST_OF,
    )
    on: str = option(
        "",
        "Compute on another computer that ssh reaches without a password and that has MedDDPM: masks, images and the "
        "model are sent there, the results come back, and nothing stays. HOST:COMMAND where 'medddpm' is not on its "
        "path.",
        label="Compute on",
        metavar="HOST",
    )
    ignore_memory: bool = option(
        False,
        "Start even if the memory will probably not be enough.",
        label="Start even if memory is short",
        flag="--ignore-memory",
    )
    compress: bool = True

    FORMER_NAMES: ClassVar[dict[str, str]] = {"known": "context"}

    def __post_init__(self) -> None:
        if not self.masks:
            raise InputError("There is no mask to synthesize from. Name at least one mask file.")
        if self.images and len(self.images) != len(self.masks):
            raise InputError(
                f"There are {len(self.masks)} masks but {len(self.images)} images. Give one image per mask, in order."
            )
        if self.labels is not None:
            parse_labels(self.labels)
        check_options(self)
        self._check_anatomy()
        self._check_edit()
        if self.best_of > 1 and self.verify == UNVERIFIED:
            raise InputError(
                "The best of several samples is chosen by segmenting them, but no segmenter is named.", option="verify"
            )

    def _check_anatomy(self) -> None:
        modality_files(self.reference, "reference")
        for name in ("anatomy", "contrast"):
            if getattr(self, name) == "reference" and not (self.reference or self.context):
                raise InputError(f"The {name} is 'reference', but there is no reference scan. Name its images.")
        if self.reference and "reference" not in (self.anatomy, self.contrast):
            raise InputError(
                "There is a reference scan, but neither anatomy nor contrast is 'reference'. Set one of them, or "
                "leave the scan out."
            )

    def _check_edit(self) -> None:
        modality_files(self.context)
        if self.region is not None and self.before is not None:
            raise InputError(
                "There are both a region and a mask before the edit. Give one: the region is where the masks differ."
            )
        region = self.region or self.before
        if self.context and region is None:
            raise InputError(
                "There are context images but no region. Give the label map of the voxels to generate.", option="region"
            )
        if region is not None and not self.context:
            raise InputError(
                "There is a region to generate but no context image. Give the images of the scan.",
                option="context",
            )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SynthesisRequest:
        """Parse the ``request`` of a job. Raises InputError naming the field that is missing, unknown or wrong."""
        return from_dict(cls, data, "The job's request")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)
