"""The simulated scans to try a training with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask
from medddpm.preparation.scan import scan_source
from MedDDPMTrainingLib.SampleScans import sampleScans


def written(folder: Path) -> Path:
    steps = sampleScans(folder, cases=2, coarser=8)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_sample_scans_are_a_source_without_problems(tmp_path):
    scan = scan_source(written(tmp_path / "scans"))
    assert (scan.layout, scan.modalities, len(scan.cases)) == ("brats", ("T1", "T1ce", "T2", "FLAIR"), 2)
    assert not scan.problems


def test_patients_differ_and_have_a_tumor_within_the_brain(tmp_path):
    folder = written(tmp_path / "scans")
    masks = [read_mask(folder / name / f"{name}_seg.nrrd").volume.data for name in ("Sample_01", "Sample_02")]
    assert (masks[0] != masks[1]).any()
    for mask in masks:
        assert {1, 2, 3, 4} >= set(np.unique(mask[mask > 0])) > {4}


def test_the_same_scans_come_again(tmp_path):
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    name = Path("Sample_02") / "Sample_02_t1ce.nrrd"
    assert (first / name).read_bytes() == (second / name).read_bytes()


def test_nothing_is_written_over(tmp_path):
    (tmp_path / "scans").mkdir()
    with pytest.raises(InputError, match="already exists"):
        written(tmp_path / "scans")
