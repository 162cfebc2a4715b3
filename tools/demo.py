"""How the bundled demo model was made: prepare its dataset from BraTS folders, and package the trained model.

python tools/demo.py prepare BRATS_FOLDER DATASET --test ID --test ID ...
medddpm train tools/demo.toml
python tools/demo.py package RUN_FOLDER/model Resources/Models/demo
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from medddpm.cli.console import ConsoleReporter
from medddpm.config import GridConfig
from medddpm.errors import InputError
from medddpm.labels.scheme import load_scheme
from medddpm.models.folder import read_config, read_state, save_model_folder
from medddpm.training.prepare import CaseSource, prepare_dataset

MODALITIES = {"T1": "t1", "T1ce": "t1ce", "T2": "t2", "FLAIR": "flair"}
GRID = GridConfig((80, 96, 80), (2.0, 2.0, 2.0), "LPS")
LICENCE = (
    "The weights were trained on BraTS 2018/2021 scans, whose terms restrict use to research. "
    "Use them for demonstration and research only."
)
INTENDED_USE = (
    "A demonstration of mask-to-MRI synthesis, not for clinical or scientific conclusions. "
    "Not for diagnosis, treatment, or as evidence of how a patient looks or will look."
)

app = typer.Typer(no_args_is_help=True, add_completion=False)


def brats_cases(folder: Path, test: list[str]) -> list[CaseSource]:
    """Cases of a BraTS folder: ``<id>/<id>_{t1,t1ce,t2,flair,seg}.nii.gz``."""
    sources = []
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        images = tuple(case / f"{case.name}_{suffix}.nii.gz" for suffix in MODALITIES.values())
        split = "test" if case.name in test else "train"
        sources.append(CaseSource(case.name, split, images, case / f"{case.name}_seg.nii.gz"))
    missing = sorted(set(test) - {source.id for source in sources})
    if missing:
        raise InputError(f"The test case {missing[0]} is not in {folder}.")
    return sources


@app.command()
def prepare(folder: Path, out: Path, test: Annotated[list[str], typer.Option()]) -> None:
    """Bring BraTS cases to the demo's grid."""
    with ConsoleReporter() as reporter:
        provenance = {"source": "BraTS 2018 and 2021 training cases, 192x192x144 at 1 mm, 8 bits"}
        prepare_dataset(
            brats_cases(folder, test), out, load_scheme("brats"), GRID, tuple(MODALITIES), reporter, provenance
        )


@app.command()
def package(model: Path, out: Path, sampler: str = "dpm++2m", steps: int = 25) -> None:
    """Store the trained weights as float16 (half the size) with terms of use and default sampler."""
    config = replace(
        read_config(model), licence=LICENCE, intended_use=INTENDED_USE, sampler=sampler, sampler_steps=steps
    )
    save_model_folder(out, config, read_state(model), torch.float16)


if __name__ == "__main__":
    app()
