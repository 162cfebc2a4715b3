"""``medddpm synth``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..memory import keep_freed_memory
from ..synthesis.request import modality_files
from .app import app
from .console import ConsoleReporter, say
from .folders import masks_among

SAMPLERS = "ddpm, ddpm-paper, ddim, dpm++2m, dpm++3m or unipc"

MasksArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Segmentations to make MRI from (.nii, .nii.gz, .nrrd, .seg.nrrd, .mha, .mhd, .mgz), or folders, of whose "
        "files those that are masks are taken.",
        metavar="MASK...",
    ),
]
OutOption = Annotated[Path, typer.Option(help="Folder for the results; made if it is not there.")]
ModelOption = Annotated[
    str,
    typer.Option(help="Which model: a name (see 'medddpm models list'), a model folder or a published .pt file."),
]
SamplesOption = Annotated[int, typer.Option(help="How many different images to make for each mask.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the random numbers: the same one gives the same image again.")]
SamplerOption = Annotated[
    str | None,
    typer.Option(
        help=f"The sampler, which turns noise into an image: {SAMPLERS}. Left out: what suits the model.",
    ),
]
StepsOption = Annotated[
    int | None,
    typer.Option(help="Sampling steps: more take longer and may look better. Left out: what suits the model."),
]
GuidanceOption = Annotated[
    float,
    typer.Option(
        help="How strongly the mask guides, for models that were trained for it: 1 is plain; more follows the mask "
        "more strictly, with less variety, and takes twice the time."
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(help="Where to compute: auto, cpu, cuda (NVIDIA card), cuda:1 (the second one) or mps (Apple)."),
]
PrecisionOption = Annotated[
    str, typer.Option(help="Precision: auto, fp32, or bf16 and fp16, which need half of the memory.")
]
ImageOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--image",
        help="An MRI of the same patient, from which a missing brain or head label is made. "
        "With several masks give one for each, in the same order.",
    ),
]
ModalityOption = Annotated[
    list[str] | None,
    typer.Option(
        "--modality", help="Write only this kind of image, such as T1ce; may be given several times. Left out: all."
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(help="What the masks' values mean to the model, as 1=1,2=2,4=3. Left out: it is recognized."),
]
KnownOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Inpainting: an image of a real scan of which only --region is generated, as T1=scan_t1.nii.gz; "
        "give one for each modality of the scan.",
        metavar="MODALITY=FILE",
    ),
]
RegionOption = Annotated[
    Path | None,
    typer.Option(help="With --known: a label map; its voxels above 0 are generated, the rest stays the scan's own."),
]
BeforeOption = Annotated[
    Path | None,
    typer.Option(help="With --known, in place of --region: the mask before; generated is where the tumor differs."),
]
SeamOption = Annotated[
    float,
    typer.Option("--seam", help="With --region: width of the blend around it, in mm.", metavar="MM"),
]
AnatomyOption = Annotated[
    str,
    typer.Option(
        help="For models that are told tissues: 'seed' completes tumor and brain with a brain of the bank, 'reference' "
        "with that of --reference, and a label map (FreeSurfer, SynthSeg or the model's labels) with that one.",
        metavar="seed|reference|FILE",
    ),
]
MassEffectOption = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, help="How strongly the tumor displaces the completed anatomy, 0 to 1."),
]
ContrastOption = Annotated[
    str,
    typer.Option(
        help="Contrast of the tissues: 'seed' draws it from that of the training cases, 'mean' takes their mean, "
        "'reference' that of --reference.",
        metavar="seed|mean|reference",
    ),
]
ReferenceOption = Annotated[
    list[str] | None,
    typer.Option(
        help="An image of a reference scan in the space of the mask, as T1=t1.nii.gz; give one for each modality.",
        metavar="MODALITY=FILE",
    ),
]
IgnoreMemoryOption = Annotated[
    bool, typer.Option("--ignore-memory", help="Start even if the memory will probably not be enough.")
]


@app.command("synth")
def synth_command(
    context: typer.Context,
    masks: MasksArgument,
    out: OutOption,
    model: ModelOption = "demo",
    samples: SamplesOption = 1,
    seed: SeedOption = 0,
    sampler: SamplerOption = None,
    steps: StepsOption = None,
    guidance: GuidanceOption = 1.0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    images: ImageOption = None,
    modalities: ModalityOption = None,
    labels: LabelsOption = None,
    known: KnownOption = None,
    region: RegionOption = None,
    before: BeforeOption = None,
    seam_mm: SeamOption = 4.0,
    anatomy: AnatomyOption = "seed",
    mass_effect: MassEffectOption = 1.0,
    contrast: ContrastOption = "seed",
    reference: ReferenceOption = None,
    ignore_memory: IgnoreMemoryOption = False,
) -> None:
    """Make synthetic MRI from segmentation masks.

    For every mask a folder with the images, the mask as it was used, a picture to look at first, and a record of how
    they were made. The same command again goes on where it was stopped. With --known and --region a real scan is
    changed only there. All images are synthetic, wholly or in part: not for diagnosis.
    """
    keep_freed_memory()
    started = time.monotonic()
    options = {name: value for name, value in context.params.items() if name not in ("masks", "out", "model")}
    options |= {name: tuple(options[name] or ()) for name in ("images", "modalities", "known", "reference")}
    scans = {**modality_files(options["known"]), **modality_files(options["reference"], "reference")}
    others = [*options["images"], *scans.values(), *(path for path in (region, before, anatomy) if path)]
    with ConsoleReporter() as reporter:
        files = masks_among(masks, model, others, reporter)
        from ..synthesis.pipeline import raise_failures, summary, synthesize_files  # which takes a while: torch

        results = synthesize_files(files, out, model, reporter=reporter, **options)
    say(summary(results, time.monotonic() - started))
    for result in results:
        for sheet in result.sheets if result.state != "failed" else ():
            say(f"Open {sheet}")
    raise_failures(results)
