"""What is asked of a synthesis, as data: the same for the command line, Python and job folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..config import from_dict
from ..errors import InputError
from ..labels.conventions import parse_labels
from ..sampling.noise import MAX_SEED
from ..sampling.unconditional import require_guidance

MAX_SAMPLES = 1000
MAX_SEAM_MM = 50.0
ANATOMIES = ("seed", "reference")
CONTRASTS = ("seed", "mean", "reference")


def modality_files(entries: Sequence[str], kind: str = "known") -> dict[str, str]:
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

    A local edit of a real scan: ``known`` holds its images as "MODALITY=path", ``region`` is the label map (path) whose
    voxels above 0 are made anew, ``seam_mm`` (0 to 50) the width around them in which old and new are mixed; all else
    stays. In place of a region, ``before`` may name the mask before it was edited: the region is then where the tumor
    changed, and a little around it. ``guidance`` (0 to 20) is how strongly the mask guides, for models that were
    trained for it; 1 is plain, any other takes twice the time. Without ``compress`` images and masks are written as
    ``.nii``, which is faster to write and to load.

    For models that are told tissues: ``anatomy`` is what a mask of tumor and brain leaves open: "seed" (a brain of the
    bank that comes with the package, chosen by each sample's seed), "reference" (that of the reference scan), or the
    path of a label map (FreeSurfer's or SynthSeg's numbers, or the scheme's). ``mass_effect`` (0 to 1) is how strongly
    the tumor pushes that anatomy aside. ``contrast``: "seed" (drawn from that of the training cases), "mean" or
    "reference". ``reference`` holds the reference scan's images as "MODALITY=path"; in a local edit that is the real
    scan unless others are named, and decides both unless told otherwise.
    """

    masks: tuple[str, ...]
    model: str = "demo"
    samples: int = 1
    seed: int = 0
    sampler: str | None = None
    steps: int | None = None
    device: str = "auto"
    precision: str = "auto"
    images: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    labels: str | None = None
    ignore_memory: bool = False
    known: tuple[str, ...] = ()
    region: str | None = None
    before: str | None = None
    seam_mm: float = 4.0
    compress: bool = True
    guidance: float = 1.0
    anatomy: str = "seed"
    mass_effect: float = 1.0
    contrast: str = "seed"
    reference: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.masks:
            raise InputError("There is no mask to synthesize from. Name at least one mask file.")
        if self.images and len(self.images) != len(self.masks):
            raise InputError(
                f"There are {len(self.masks)} masks but {len(self.images)} images. Give one image a mask, in order."
            )
        if self.labels is not None:
            parse_labels(self.labels)
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise InputError(f"{self.samples} samples were asked for; it must be 1 to {MAX_SAMPLES}.")
        if not 0 <= self.seed <= MAX_SEED - MAX_SAMPLES:
            raise InputError(f"The seed {self.seed} is out of range: it must be 0 or more and below 2^63 - 1000.")
        require_guidance(self.guidance)
        self._check_anatomy()
        self._check_edit()

    def _check_anatomy(self) -> None:
        modality_files(self.reference, "reference")
        if self.contrast not in CONTRASTS:
            raise InputError(f"The contrast '{self.contrast}' is not one of {', '.join(CONTRASTS)}.")
        if not 0 <= self.mass_effect <= 1:
            raise InputError(f"The mass effect {self.mass_effect:g} is out of range: it must be 0 to 1.")
        for name in ("anatomy", "contrast"):
            if getattr(self, name) == "reference" and not (self.reference or self.known):
                raise InputError(f"The {name} is to be that of a reference scan, but none is given. Name its images.")
        if self.reference and "reference" not in (self.anatomy, self.contrast):
            raise InputError("There is a reference scan, but neither anatomy nor contrast is to be taken from it.")

    def _check_edit(self) -> None:
        modality_files(self.known)
        if self.region is not None and self.before is not None:
            raise InputError(
                "There are both a region and a mask before the edit. Give one: the region is where the masks differ."
            )
        region = self.region or self.before
        if self.known and region is None:
            raise InputError(
                "There are known images but no region. Give the label map of the voxels to make anew (--region)."
            )
        if region is not None and not self.known:
            raise InputError(
                "There is a region to make anew but no known image around it. Give the real scan's images (--known)."
            )
        if not 0 <= self.seam_mm <= MAX_SEAM_MM:
            raise InputError(f"The seam of {self.seam_mm:g} mm is out of range: it must be 0 to {MAX_SEAM_MM:g} mm.")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SynthesisRequest:
        """Parse the ``request`` of a job. Raises InputError naming the field that is missing, unknown or wrong."""
        return from_dict(cls, data, "The job's request")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)
