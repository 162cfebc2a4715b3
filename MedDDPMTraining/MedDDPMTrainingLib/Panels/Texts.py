"""What the panels say and offer, without Qt."""

from __future__ import annotations

from MedDDPMSlicerLib.Texts import duration

# (what a person reads, what the parameter node holds)
Choices = tuple[tuple[str, str], ...]

LAYOUTS: Choices = (
    ("Recognize", "auto"),
    ("BraTS: a folder or prefix for each case", "brats"),
    ("Med-DDPM: a folder for each kind of image", "med-ddpm"),
    ("nnU-Net dataset", "nnunet"),
    ("Named in a table (CSV)", "table"),
)
SCHEMES: Choices = (
    ("Glioma: edema, enhancing tumor, necrosis, brain", "brats"),
    ("Glioma and anatomy: also ventricles, gray and white matter", "glioma-anatomy"),
    ("Whole head: head and tumor", "whole-head"),
)
OWN_GRID = "own"
GRIDS: Choices = (
    ("As published for these labels", "auto"),
    ("2 mm (80 x 96 x 80), for ordinary computers", "demo-2mm"),
    ("1.5 mm (128 x 128 x 128), whole head", "whole-head-1.5mm"),
    ("1 mm (192 x 192 x 144)", "brats-1mm"),
    ("Own…", OWN_GRID),
)
REGISTRATIONS: Choices = (
    ("None: the images of a case lie on each other", "none"),
    ("Images of a case onto each other", "modalities"),
    ("All cases onto a template", "template"),
)
INTENSITIES: Choices = (
    ("Robust percentiles of each image", "percentile"),
    ("Min-max of each image", "min-max"),
    ("Min-max of each slice, as published", "slice-min-max"),
)
OUTLINES: Choices = (
    ("As the labels need it", "auto"),
    ("Brain", "brain"),
    ("Head", "head"),
    ("From the mask only", "none"),
)
DEVICES: Choices = (
    ("Automatic", "auto"),
    ("Processor (CPU)", "cpu"),
    ("NVIDIA graphics card", "cuda"),
    ("Apple graphics", "mps"),
)
PRECISIONS: Choices = (
    ("Automatic", "auto"),
    ("Single (32 bit)", "fp32"),
    ("Half, bfloat16", "bf16"),
    ("Half, float16", "fp16"),
)
# The word for the list; its severity decides the color.
VERDICTS = {
    "improving": ("improving", "info"),
    "early": ("too early to tell", "info"),
    "flat": ("no longer improving", "warning"),
    "diverging": ("getting worse", "error"),
    "overfitting": ("overfitting", "warning"),
    "memorizing": ("memorization", "warning"),
}


def preparationText(stage: str, step: int | None, total: int | None, secondsLeft: float | None) -> str:
    """ "Preparing cases – 3 of 20 – about 2 min left", as far as it is known."""
    words = {"scan": "Scanning the files", "prepare": "Preparing cases", "report": "Writing the report"}
    parts = [words.get(stage, stage) or "Waiting for the process"]
    if step is not None and total:
        parts.append(f"{step} of {total}")
    if secondsLeft is not None:
        parts.append(f"about {duration(secondsLeft)} left")
    return " – ".join(parts)


def verdictWords(verdict: str | None) -> tuple[str, str]:
    """The verdict in a few words, and the severity that it is shown with."""
    return VERDICTS.get(verdict or "", (verdict or "", "info"))


def figure(value: float | None) -> str:
    """A loss for reading: "0.0213"; empty where there is none."""
    return "" if value is None else f"{value:.3g}"
