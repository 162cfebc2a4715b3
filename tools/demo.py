r"""How the bundled demo models and the sample mask were made. From the repository's folder:

medddpm prepare BRATS_FOLDER out/demo-data --scheme glioma-anatomy \
    --grid 192x192x144:1:LPS --validation 0 --test-case ID --test-case ID ...
medddpm train --dataset out/demo-data --preset demo --out out/demo-run
python tools/demo.py package out/demo-run/outputs/model Resources/Models/demo \
    "Demo: glioma masks to T1, T1ce, T2, FLAIR at 1 mm" --steps 12
python tools/demo_card.py out/demo-data out/demo-run Resources/Models/demo --bounds docs/demo.md
python tools/demo.py sample-mask Resources/SampleMasks/glioma.nii.gz

and for whole heads, from label maps without any scan,

the two commands at the top of tools/whole_head_simulation.py, then
medddpm train --dataset out/heads-data --preset demo --out out/heads-run
python tools/demo.py package out/heads-run/outputs/model Resources/Models/whole-head-demo \
    "Demo: whole-head masks to T1ce at 3 mm, from simulated scans" --license Apache-2.0
python tools/demo_card.py out/heads-data out/heads-run Resources/Models/whole-head-demo --out out/heads-card \
    --images simulated

The shipped weights went through more stages than one; their cards tell them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import typer
from medddpm.anatomy.brain_maps import load_bank_map
from medddpm.geometry.nifti import write_image
from medddpm.geometry.resample import index_map, resample
from medddpm.geometry.volume import centered_affine
from medddpm.labels.scheme import load_scheme
from medddpm.masks.lesions import LesionSpec, add_lesion
from medddpm.models.registry import read_model_folder, save_model_folder

LICENSE = (
    "The weights were trained on BraTS 2018, 2019 and 2021 scans, whose terms restrict use to research. "
    "Use them for demonstration and research only."
)
INTENDED_USE = (
    "A demonstration of mask-to-MRI synthesis, not for clinical or scientific conclusions. "
    "Not for diagnosis, treatment, or as evidence of how a patient looks or will look."
)

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def package(model: Path, out: Path, name: str, license: str = LICENSE, sampler: str = "ddpm", steps: int = 25) -> None:
    """Store the trained weights as float16 (half the size) with name, terms of use and default sampler."""
    trained, state, _ = read_model_folder(model)
    config = replace(
        trained, name=name, license=license, intended_use=INTENDED_USE, sampler=sampler, sampler_steps=steps
    )
    save_model_folder(out, config, state, torch.float16)


@app.command("sample-mask")
def sample_mask(out: Path, brain: int = 3, seed: int = 11) -> None:
    """Draw the shipped sample mask: the outline of a brain of the bank, with a generated glioma, at 1 mm."""
    bank, shape = load_bank_map(brain), (160, 192, 160)
    affine = centered_affine(shape, (1.0, 1.0, 1.0), "LPS")
    ends = np.argwhere(bank.data > 0)
    there = affine.copy()  # the middle of the brain becomes that of the mask
    there[:3, 3] += bank.affine[:3, :3] @ (ends.min(axis=0) + ends.max(axis=0)) / 2 + bank.affine[:3, 3]
    outline = resample((bank.data > 0).astype(np.float32), index_map(there, bank.affine), shape, 0.0) > 0.5
    scheme = load_scheme("brats")
    labels = np.where(outline, scheme.surround, 0).astype(np.uint8)
    spec = LesionSpec(center_mm=(-30.0, -4.0, 16.0), diameter_mm=36.0, edema_mm=9.0)
    write_image(out, add_lesion(labels, affine, scheme, spec, seed).labels, affine, "MedDDPM sample mask, no patient")


if __name__ == "__main__":
    app()
