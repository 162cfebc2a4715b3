"""Synthetic images as DICOM series, read back by ITK and looked at by a validator where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import medddpm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.geometry.dicom import write_dicom
from medddpm.geometry.volume import Volume, centered_affine
from synthesis_phantoms import affine_of

SAID = "made by the model 'tiny' with seed 3 from a label map."


def volume(codes: str = "LPS", spacing: tuple[float, float, float] = (1.0, 1.2, 0.9), degrees: float = 0) -> Volume:
    data = np.random.default_rng(0).integers(0, 900, (7, 9, 6)).astype(np.int16)
    return Volume(data, affine_of(codes, spacing, data.shape, degrees))


def read(folder: Path) -> sitk.Image:
    """The series as ITK reads it."""
    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    return reader.Execute()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codes=st.sampled_from(["LPS", "RAS", "PIR", "ASL", "SRA", "RSP", "IPL"]),
    thick=st.sampled_from([None, 0, 1, 2]),
    degrees=st.sampled_from([0, 12]),
)
def test_every_voxel_is_where_it_was(
    tmp_path_factory: pytest.TempPathFactory, codes: str, thick: int | None, degrees: float
) -> None:
    spacing = tuple(5.0 if axis == thick else 1.0 + axis / 100 for axis in range(3))
    image = volume(codes, (spacing[0], spacing[1], spacing[2]), degrees)
    folder = tmp_path_factory.mktemp("dicom") / "series"
    files = write_dicom(image, folder, "T1", SAID)
    found = read(folder)
    assert thick is None or len(files) == image.shape[thick]
    index = np.argwhere(np.ones(image.shape))
    world = index @ image.affine[:3, :3].T + image.affine[:3, 3]
    for voxel, point in list(zip(index, world, strict=True))[::5]:
        place = found.TransformPhysicalPointToContinuousIndex((-point[0], -point[1], point[2]))
        assert np.allclose(place, np.rint(place), atol=2e-3)
        assert found[[round(p) for p in place]] == image.data[tuple(voxel)]


def test_each_slice_says_that_it_is_synthetic(tmp_path: Path) -> None:
    tags = {"PatientName": "Doe^Jane", "PatientID": "7", "StudyInstanceUID": "1.2.3", "SeriesNumber": "4"}
    write_dicom(volume(), tmp_path / "a", "T1ce", SAID, tags=tags)
    files = write_dicom(volume(), tmp_path / "b", "FLAIR", SAID, edited=True)
    first, second = (pydicom.dcmread(next(folder.iterdir())) for folder in (tmp_path / "a", tmp_path / "b"))
    assert (first.Modality, first.SyntheticData, list(first.ImageType[:2])) == ("MR", "YES", ["DERIVED", "SECONDARY"])
    assert first.SeriesDescription == "Synthetic T1ce" and first.ImageComments.startswith("Synthetic.")
    assert SAID in first.DerivationDescription and first.PatientName == "Doe^Jane" and first.SeriesNumber == 4
    assert second.SeriesDescription == "Partly synthetic: edited scan FLAIR" and second.PatientID == "SYNTHETIC"
    assert second.SeriesInstanceUID != first.SeriesInstanceUID and first.StudyInstanceUID == "1.2.3"
    instances = {pydicom.dcmread(path).SOPInstanceUID for path in files}
    assert len(instances) == len(files)


def test_a_case_is_saved_as_one_study(tmp_path: Path, tiny: Path, mask: Path) -> None:
    case = medddpm.synthesize(mask, model=tiny, samples=2, seed=5)
    saved = case.save(tmp_path, dicom=True) / "dicom"
    assert sorted(folder.name for folder in saved.iterdir()) == [
        f"seed-{n}_{m}" for n in (5, 6) for m in ("FLAIR", "T1")
    ]
    first = [pydicom.dcmread(min(folder.iterdir())) for folder in saved.iterdir()]
    assert len({one.StudyInstanceUID for one in first}) == len({one.FrameOfReferenceUID for one in first}) == 1
    assert len({one.SeriesInstanceUID for one in first}) == 4
    told = pydicom.dcmread(min((saved / "seed-6_T1").iterdir()))
    assert told.DerivationDescription == "Synthetic: made from a label map by the model 'tiny' with seed 6."
    assert sitk.GetArrayFromImage(read(saved / "seed-6_T1")).max() == np.asarray(case.samples[1]["T1"].dataobj).max()


def test_values_stay_or_are_said_to_be_scaled(tmp_path: Path) -> None:
    image = volume()
    cases = {"signed": image.data - 400, "whole": image.data.astype(np.float32), "fraction": image.data / 7.0}
    for name, data in cases.items():
        files = write_dicom(Volume(data, image.affine), tmp_path / name, "T1", SAID)
        found = np.sort(sitk.GetArrayFromImage(read(tmp_path / name)).ravel()).astype(float)
        told = pydicom.dcmread(files[0]).DerivationDescription
        if name == "fraction":
            assert "Values were scaled: 0.03" in told
            step, offset = re.search(r"scaled: (\S+) x value (\S+)\.", told).groups()  # type: ignore[union-attr]
            found = found * float(step) + float(offset)
        assert np.allclose(found, np.sort(data.ravel()), atol=0.02)


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    image, sheared = volume(), volume()
    sheared.affine[0, 1] += 0.4
    bad = np.where(image.data > 800, np.nan, image.data)
    for words, made, tags in (
        ("right angles", sheared, {}),
        ("not finite", Volume(bad, image.affine), {}),
        ("no attribute 'PatientNom'", image, {"PatientNom": "x"}),
        ("Modality of synthetic images cannot be chosen", image, {"Modality": "CT"}),
    ):
        with pytest.raises(InputError, match=words):
            write_dicom(made, tmp_path / "out", "T1", SAID, tags=tags)
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="already exists"):
        write_dicom(image, tmp_path / "out", "T1", SAID)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools are not installed")
def test_a_validator_finds_no_error(tmp_path: Path) -> None:
    image = Volume(volume().data, centered_affine((7, 9, 6), (1.0, 1.0, 1.0), "LPS"))
    for path in write_dicom(image, tmp_path / "series", "T1", SAID):
        told = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        # Editions of the validator from before 2023 do not know the attribute SyntheticData.
        lines = [line for line in (told.stdout + told.stderr).splitlines() if "Error" in line and "001c" not in line]
        assert lines == []
