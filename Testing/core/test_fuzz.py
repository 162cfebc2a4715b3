"""Parsers of strangers' files under mutation. ``MEDDDPM_FUZZ_INPUTS=5000`` takes as many inputs a parser."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from fuzzing import failures
from medddpm.geometry import read_mask, read_volume
from medddpm.geometry.io import geometry_warnings, read_geometry
from volume_files import LAYER_FIELDS, LPS, LPS_FIELDS, mha_bytes, nrrd_bytes, write_any

INPUTS = int(os.environ.get("MEDDDPM_FUZZ_INPUTS", "120"))


def read_voxels(path: Path) -> None:
    """Everything that is read of a file of voxels; each part must be able to refuse it."""
    for read in (read_geometry, read_mask, read_volume, geometry_warnings):
        read(path)


def voxel_files(folder: Path) -> dict[str, bytes]:
    """Sound files by their ending."""
    segment = {"Segment0_ID": "S", "Segment0_Name": "Tumor", "Segment0_LabelValue": "1", "Segment0_Layer": "0"}
    made = {
        ".nrrd": nrrd_bytes(LPS_FIELDS | {"kinds": "domain domain domain", "endian": "little"}, {}, bytes(210)),
        ".seg.nrrd": nrrd_bytes(LAYER_FIELDS, segment, bytes(420)),
        ".mha": mha_bytes(),
    }
    for ending in (".nii", ".nii.gz", ".mgz", ".mgh"):
        write_any(folder / f"seed{ending}", np.ones((5, 6, 7), np.uint8), LPS)
        made[ending] = (folder / f"seed{ending}").read_bytes()
    return made


@pytest.mark.parametrize("ending", (".nrrd", ".seg.nrrd", ".mha", ".nii", ".nii.gz", ".mgz", ".mgh"))
def test_files_of_voxels(tmp_path: Path, ending: str) -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    seeds = {ending: voxel_files(tmp_path)[ending]}
    assert list(failures(read_voxels, tmp_path / "fuzz", seeds, INPUTS)) == []
