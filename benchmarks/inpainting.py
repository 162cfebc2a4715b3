"""What is left of a tumor where it is removed from a real scan: does the region continue what is around it?"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import medddpm
import numpy as np
import torch
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask, read_volume
from medddpm.geometry.nifti import write_image
from medddpm.labels.scheme import load_scheme
from medddpm.preparation.facts import CaseFiles
from medddpm.preparation.sources.folders import scan_brats
from PIL import Image
from scipy import ndimage

from .common import Suite, Table

COLUMNS = ("case", "modality", "healthy", "with tumor", "inpainted", "fine detail", "changed outside of the brain")
FAR_MM, WITHIN_MM, FINE_MM = 8.0, 2.0, 1.5
BRIGHTEST = 99.5  # percentile of the scan that is white in the picture


@dataclass(frozen=True)
class InpaintingSettings:
    """``source``: a folder of BraTS cases; ``cases``: names of some of them (empty: all); ``out``: for pictures."""

    source: str
    model: str
    cases: tuple[str, ...]
    seed: int
    out: str
    threads: int = 2


def run(settings: InpaintingSettings) -> Suite:
    """Remove the whole tumor from each case with the option ``before`` and compare with healthy brain."""
    torch.set_num_threads(settings.threads)
    found = [case for case in scan_brats(Path(settings.source)).cases() if case.mask is not None and case.images]
    chosen = [case for case in found if not settings.cases or case.id in settings.cases]
    if not chosen:
        raise InputError(f"{settings.source} has none of the cases asked for with images and a mask.")
    Path(settings.out).mkdir(parents=True, exist_ok=True)
    rows = tuple(row for case in chosen for row in _measured(case, settings))
    notes = (
        "Medians in the scan's own units: of the brain at least 8 mm from the tumor, and of the region 2 mm within the "
        "tumor's border, before and after. Fine detail: the standard deviation of what a Gaussian of "
        "1.5 mm takes away, in the region beside the healthy brain (1: as strong).",
    )
    told = asdict(settings) | {"source": Path(settings.source).name, "model": Path(settings.model).name}
    return Suite({k: v for k, v in told.items() if k != "out"}, (Table("Tumors removed", COLUMNS, rows),), notes=notes)


def _measured(case: CaseFiles, settings: InpaintingSettings) -> list[tuple[object, ...]]:
    tumor_file = read_mask(case.mask).volume
    scans = {name: read_volume(path) for name, path in case.images.items()}
    tumor, spacing = tumor_file.data > 0, tumor_file.spacing
    brain = ndimage.binary_fill_holes(np.any([scan.data > 0 for scan in scans.values()], axis=0) | tumor)
    with tempfile.TemporaryDirectory(prefix="medddpm-") as folder:
        healthy_mask = Path(folder) / "healthy.nii.gz"
        value = load_scheme("brats").surround
        write_image(healthy_mask, brain.astype(np.uint8) * value, tumor_file.affine, "brain without tumor")
        made = medddpm.synthesize(
            healthy_mask,
            model=settings.model,
            seed=settings.seed,
            anatomy="reference",
            contrast="reference",
            reference=case.images,
            context=case.images,
            before=case.mask,
        )
    healthy = brain & (ndimage.distance_transform_edt(~tumor, spacing) > FAR_MM)
    inner = brain & (ndimage.distance_transform_edt(brain, spacing) > 2 * WITHIN_MM)
    core = ndimage.distance_transform_edt(tumor, spacing) > WITHIN_MM
    middle = round(ndimage.center_of_mass(tumor)[2])
    rows, strips = [], []
    for name, scan in scans.items():
        before, after = scan.data.astype(np.float32), np.asarray(made.images[name].dataobj, np.float32)
        kept = healthy & (before > 0)
        after *= np.median(before[kept]) / np.median(after[kept])  # results are stored from 0 to 1000
        fine = after - ndimage.gaussian_filter(after, [FINE_MM / side for side in spacing])
        levels = [float(np.median(part)) for part in (before[kept], before[core], after[core])]
        detail = float(fine[core].std() / fine[healthy & inner].std())
        rows.append((case.id, name, *levels, detail, int(((before != after) & ~brain).sum())))
        white = float(np.percentile(before[brain], BRIGHTEST))
        strips.append(np.hstack([np.clip(one[:, :, middle].T / white, 0, 1) for one in (before, after)]))
    picture = (np.vstack(strips) * 255).astype(np.uint8)
    Image.fromarray(picture).save(Path(settings.out) / f"{case.id}.png")
    return rows
