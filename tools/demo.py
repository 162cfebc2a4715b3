r"""How the bundled demo models and the sample mask were made. From the repository's folder:

medddpm prepare BRATS_FOLDER out/demo-data --grid demo-2mm --validation 0 --test-case ID --test-case ID ...
medddpm train --dataset out/demo-data --preset demo --out out/demo-run
python tools/demo.py package out/demo-run/outputs/model Resources/Models/demo
python tools/demo_card.py out/demo-data out/demo-run Resources/Models/demo
python tools/demo.py sample-mask out/demo-data Resources/SampleMasks/glioma.nii.gz

and for whole heads, from label maps without any scan,

the two commands at the top of tools/whole_head_simulation.py, then
medddpm train --dataset out/heads-data --preset demo --out out/heads-run
python tools/demo.py package out/heads-run/outputs/model Resources/Models/whole-head-demo --licence Apache-2.0
python tools/demo_card.py out/heads-data out/heads-run Resources/Models/whole-head-demo --out out/heads-card \
    --images simulated

The shipped weights went through more stages than one; their cards tell them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import torch
import typer
from medddpm.geometry.grid import from_network
from medddpm.geometry.nifti import write_image
from medddpm.labels.scheme import load_scheme
from medddpm.masks.lesions import LesionSpec, add_lesion
from medddpm.models.folder import read_model_folder, save_model_folder
from medddpm.training.dataset import PreparedDataset

LICENCE = (
    "The weights were trained on BraTS 2018/2021 scans, whose terms restrict use to research. "
    "Use them for demonstration and research only."
)
INTENDED_USE = (
    "A demonstration of mask-to-MRI synthesis, not for clinical or scientific conclusions. "
    "Not for diagnosis, treatment, or as evidence of how a patient looks or will look."
)

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def package(model: Path, out: Path, licence: str = LICENCE, sampler: str = "ddpm", steps: int = 25) -> None:
    """Store the trained weights as float16 (half the size) with terms of use and default sampler."""
    trained, state, _ = read_model_folder(model)
    config = replace(trained, licence=licence, intended_use=INTENDED_USE, sampler=sampler, sampler_steps=steps)
    save_model_folder(out, config, state, torch.float16)


@app.command("sample-mask")
def sample_mask(dataset: Path, out: Path, seed: int = 7) -> None:
    """Draw the shipped sample mask: the average outline of the training brains, with a generated glioma at 1 mm.

    An average over all training cases is no patient's outline; the lesion comes from the seeded generator.
    """
    scheme, cases = load_scheme("brats"), PreparedDataset(dataset, "train")
    distances = [_signed_distance(from_network(cases[i][1].sum(0).numpy()) >= 0.5) for i in range(len(cases))]
    x = np.mean(distances, axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray((x + x[::-1]).T / 2))  # left-right symmetric
    fine = sitk.Expand(image, [2, 2, 2], sitk.sitkBSpline)
    brain = sitk.GetArrayFromImage(fine).T < 0
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] = [79.5, 95.5, -79.5]
    labels = np.where(brain, scheme.surround, 0).astype(np.uint8)
    spec = LesionSpec(center_mm=(-32.0, 8.0, 12.0), diameter_mm=34.0, edema_mm=12.0)
    write_image(out, add_lesion(labels, affine, scheme, spec, seed).labels, affine, "MedDDPM sample mask, no patient")


def _signed_distance(inside: np.ndarray) -> np.ndarray:
    image = sitk.GetImageFromArray(np.ascontiguousarray(inside.T.astype(np.uint8)))
    return sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(image, squaredDistance=False)).T


if __name__ == "__main__":
    app()
