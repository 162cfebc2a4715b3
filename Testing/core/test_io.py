"""Reading and writing volumes: voxels and geometry through real files of every format."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from medddpm.errors import InputError
from medddpm.geometry.io import read_mask, read_volume
from medddpm.geometry.itk import check_data_file
from medddpm.geometry.nifti import write_image
from volume_files import LPS_FIELDS, SHAPE, SUFFIXES, mha_bytes, nrrd_bytes, numbered, refused, write_any


def oblique_affine() -> np.ndarray:
    """RAS+ affine with anisotropic spacing, rotated about two axes, off the origin."""
    a, b = np.radians([20.0, -35.0])
    first = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = first @ second * [0.8, 1.1, 2.5]
    affine[:3, 3] = [-31.5, 12.25, 77.0]
    return affine


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_keeps_voxels_and_places(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mask{suffix}"
    write_any(path, numbered(), oblique_affine())
    mask = read_mask(path)
    np.testing.assert_array_equal(mask.volume.data, numbered())
    np.testing.assert_allclose(mask.volume.affine, oblique_affine(), atol=1e-5)
    image = read_volume(path)
    assert image.data.dtype == np.float32
    np.testing.assert_array_equal(image.data, numbered())
    assert image.spacing == pytest.approx((0.8, 1.1, 2.5), abs=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_non_ascii_names_with_spaces_work(tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "Schädel Aufnahme – 脳"
    folder.mkdir()
    path = folder / f"Tumor é 1{suffix}"
    write_any(path, numbered(), np.diag([1.0, 1.0, 2.0, 1.0]))
    np.testing.assert_array_equal(read_mask(path).volume.data, numbered())


@pytest.mark.parametrize("suffix", (".NII", ".NII.GZ", ".NRRD", ".MHA"))
def test_upper_case_endings_work(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix.lower()}"
    write_any(path, numbered(), np.eye(4))
    loud = path.rename(tmp_path / f"SCAN{suffix}")
    np.testing.assert_array_equal(read_mask(loud).volume.data, numbered())


def test_world_axes_of_other_nrrd_spaces(tmp_path: Path) -> None:
    path = tmp_path / "ras.nrrd"
    fields = LPS_FIELDS | {"space": "right-anterior-superior"}
    path.write_bytes(nrrd_bytes(fields, data=bytes(210)))
    expected = np.diag([1.0, 1.0, 2.0, 1.0])
    expected[:3, 3] = [10, 20, 30]
    np.testing.assert_allclose(read_mask(path).volume.affine, expected)


def test_a_freesurfer_volume_without_a_place_says_so(tmp_path: Path) -> None:
    path = tmp_path / "aseg.mgh"
    nib.save(nib.MGHImage(numbered(np.int32), oblique_affine()), path)
    assert read_mask(path).volume.notes == ()
    whole = path.read_bytes()
    path.write_bytes(whole[:28] + bytes(2) + whole[30:])
    assert "left and right are a guess" in read_mask(path).volume.notes[0]


def test_mask_keeps_the_numbers_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(numbered(np.float64) / 2, np.eye(4)), path)
    mask = read_mask(path)
    assert mask.volume.data.dtype == np.float64 and mask.volume.data[0, 0, 1] == 0.5
    nib.save(nib.Nifti1Image(numbered(np.int32), np.eye(4)), path)
    assert read_mask(path).volume.data.dtype == np.int32


def test_scaled_and_big_endian_nifti(tmp_path: Path) -> None:
    path = tmp_path / "scaled.nii"
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(numbered(np.int16), np.eye(4), header)
    image.header.set_slope_inter(0.5, 3)
    nib.save(image, path)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.data, numbered() * 0.5 + 3)
    assert volume.data.dtype.isnative


@pytest.mark.parametrize("extra", (1, 2))
def test_trailing_axes_of_one_are_dropped(tmp_path: Path, extra: int) -> None:
    path = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(numbered().reshape(*SHAPE, *[1] * extra), oblique_affine()), path)
    np.testing.assert_array_equal(read_mask(path).volume.data, numbered())
    nrrd = tmp_path / "mask.nrrd"
    fields = LPS_FIELDS | {"dimension": "4", "sizes": "5 6 7 1", "kinds": "domain domain domain list"}
    fields["space directions"] += " none"
    nrrd.write_bytes(nrrd_bytes(fields, data=numbered().tobytes(order="F")))
    np.testing.assert_array_equal(read_mask(nrrd).volume.data, numbered())


@pytest.mark.parametrize("suffix", (".nii", ".nii.gz"))
@pytest.mark.parametrize("dtype", (np.float64, np.bool_, np.int64, np.uint16))
def test_written_images_come_back(tmp_path: Path, suffix: str, dtype: type) -> None:
    path = tmp_path / "new folder" / f"out{suffix}"
    data = numbered(np.int64).astype(dtype)
    write_image(path, data, oblique_affine(), "synthetic MRI, Med-DDPM, " + "ü" * 100)
    image = nib.load(path)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), data)
    assert image.get_data_dtype() == (np.float32 if dtype is np.float64 else np.int16 if data.max() > 255 else np.uint8)
    assert int(image.header["sform_code"]) == int(image.header["qform_code"]) == 1
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(image.header.get_sform(), oblique_affine(), atol=1e-5)
    np.testing.assert_allclose(image.header.get_qform(), oblique_affine(), atol=1e-4)
    description = bytes(image.header["descrip"]).rstrip(b"\x00")
    assert description.startswith(b"synthetic MRI, Med-DDPM, ???") and len(description) == 79
    back = sitk.ReadImage(str(path))
    point = np.array(back.TransformIndexToPhysicalPoint((4, 5, 6))) * [-1, -1, 1]
    np.testing.assert_allclose(point, (oblique_affine() @ [4, 5, 6, 1])[:3], atol=1e-3)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_write_refuses_other_endings_and_ranks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.nii\.gz"):
        write_image(tmp_path / "out.mha", numbered(), np.eye(4), "")
    with pytest.raises(ValueError, match="3D"):
        write_image(tmp_path / "out.nii", np.zeros((2, 2)), np.eye(4), "")
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.nii.gz"
    write_image(path, numbered(), np.eye(4), "")
    before = path.read_bytes()

    def full_disk(_image: object, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full_disk)
    with pytest.raises(InputError, match="No space left"):
        write_image(path, numbered(), np.eye(4), "")
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["out.nii.gz"]


def test_detached_data_beside_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    path.write_bytes(mha_bytes(b"", ElementDataFile="a.raw"))
    refused(path, "'a.raw'", "missing")
    (tmp_path / "a.raw").write_bytes(numbered().tobytes(order="F"))
    check_data_file(path)
    np.testing.assert_array_equal(read_mask(path).volume.data, numbered())


def test_open_geometry_is_told_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.nii"
    image = nib.Nifti1Image(numbered(), None)
    image.set_sform(np.diag([1, 1, 2, 1]), 1)
    image.set_qform(np.diag([-1, 1, 2, 1]), 1)
    nib.save(image, path)
    assert "more than 1 mm apart" in read_mask(path).volume.notes[0]
    image.set_qform(np.diag([1, 1, 2, 1]), 1)
    nib.save(image, path)
    assert read_mask(path).volume.notes == ()
    both = with_header(path, sform_code=1, qform_code=1, pixdim=[0, 2, 2, 2, 1, 1, 1, 1])
    assert read_mask(both).volume.notes == ()
    nrrd = tmp_path / "plain.nrrd"
    nrrd.write_bytes(nrrd_bytes({"spacings": "1 1 2"}, data=bytes(210)))
    assert read_mask(nrrd).volume.spacing == (1, 1, 2)
    assert "LPS axes are assumed" in read_mask(nrrd).volume.notes[0]


def with_header(path: Path, **fields: object) -> Path:
    """A NIfTI file whose header says what no library would write."""
    image = nib.Nifti1Image(numbered(), np.diag([-2.0, -2, 2, 1]))
    image.set_qform(image.affine, 1)
    nib.save(image, path)
    whole = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(whole[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    whole[:348] = header.binaryblock
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize(
    ("fields", "said"),
    (
        (
            {"sform_code": 1, "pixdim": [-1, 1, 1, 1, 1, 1, 1, 1]},
            "two voxel sizes, 1 x 1 x 1 mm (pixdim) and 2 x 2 x 2",
        ),
        ({"sform_code": 2, "qform_code": 1, "qoffset_x": 30}, "programs differ in which they take"),
    ),
)
def test_a_place_in_which_viewers_differ_is_refused(tmp_path: Path, fields: dict[str, object], said: str) -> None:
    refused(with_header(tmp_path / "mask.nii", **fields), said)


@pytest.mark.parametrize(
    "fields",
    (
        {"sform_code": 1, "qform_code": 0},
        {"sform_code": 0, "qform_code": 1},
        {"sform_code": 0, "qform_code": 1, "pixdim": [0, 2, 2, 2, 1, 1, 1, 1]},
        {"sform_code": 1, "qform_code": 4, "qoffset_x": 30},
        {"sform_code": 2, "qform_code": 2},
        {"sform_code": 1, "qform_code": 1},
        {"sform_code": 0, "qform_code": 0},
    ),
)
def test_a_place_that_is_read_is_that_of_itk(tmp_path: Path, fields: dict[str, object]) -> None:
    path = with_header(tmp_path / "mask.nii", **fields)
    seen = sitk.ReadImage(str(path))
    for index in ((0, 0, 0), (1, 2, 3)):
        own = read_mask(path).volume.affine @ [*index, 1]
        np.testing.assert_allclose(own[:3] * [-1, -1, 1], seen.TransformIndexToPhysicalPoint(index), atol=1e-4)


@pytest.mark.parametrize(
    ("fields", "words"),
    (
        ({"sform_code": 0, "qform_code": 0}, "Left and right are a guess"),
        ({"sform_code": 1, "qform_code": 0, "pixdim": [-1, -2, 2, 2, 1, 1, 1, 1]}, "3D Slicer mirrors"),
        ({"sform_code": 1, "qform_code": 4, "qoffset_x": 30}, "more than 1 mm apart"),
        (
            {
                "sform_code": 1,
                "qform_code": 1,
                "xyzt_units": 1,
                "pixdim": [1, 0.002, 0.002, 0.002, 1, 1, 1, 1],
                "srow_x": [-0.002, 0, 0, 0],
                "srow_y": [0, -0.002, 0, 0],
                "srow_z": [0, 0, 0.002, 0],
            },
            "in meters",
        ),
    ),
)
def test_what_is_written_lies_over_its_mask_in_every_program(
    tmp_path: Path, fields: dict[str, object], words: str
) -> None:
    path, out = with_header(tmp_path / "mask.nii", **fields), tmp_path / "out.nii.gz"
    mask = read_mask(path).volume
    assert any(words in note for note in mask.notes)
    write_image(out, mask.data, mask.affine, "", path)
    np.testing.assert_allclose(read_mask(out).volume.affine, mask.affine, atol=1e-5)
    one, other = (sitk.ReadImage(str(p)) for p in (path, out))
    assert (one.GetOrigin(), one.GetSpacing(), one.GetDirection()) == (
        other.GetOrigin(),
        other.GetSpacing(),
        other.GetDirection(),
    )
    np.testing.assert_array_equal(nib.load(path).affine, nib.load(out).affine)
    write_image(out, mask.data[1:], mask.affine, "", path)  # on another grid
    assert int(nib.load(out).header["sform_code"]) == int(nib.load(out).header["qform_code"]) == 1


@pytest.mark.parametrize("ending", ("nii.gz", "nrrd", "mha"))
def test_what_is_no_number_is_background(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan.{ending}"
    data = numbered(np.float32)
    data[:2], data[2, 0, 0] = np.nan, np.inf
    write_any(path, data, np.eye(4))
    expected = np.where(np.isfinite(data), data, 0)
    for read in (read_volume(path), read_mask(path).volume):
        np.testing.assert_array_equal(read.data, expected)
        assert "voxels that are NaN or infinite" in read.notes[0]
    write_any(path, np.full_like(data, np.nan), np.eye(4))
    refused(path, "has no finite value")


def test_the_background_of_a_standardized_image_is_darkest(tmp_path: Path) -> None:
    path = tmp_path / "scan.nii.gz"
    score = np.zeros((20, 20, 20), np.float32)
    score[4:16, 4:16, 4:16] = np.random.default_rng(0).normal(size=(12, 12, 12))
    for background in (0.0, 0.7, np.nan):
        write_any(path, np.where(score == 0, np.float32(background), score), np.eye(4))
        read = read_volume(path)
        brain = read.data[score != 0]
        np.testing.assert_array_equal(brain, score[score != 0])
        assert read.data[score == 0].max() < brain.min() and np.unique(read.data[score == 0]).size == 1
        assert ("is standardized" if np.isfinite(background) else "NaN or infinite") in read.notes[0]
    ringing = np.where(score == 0, 0, score + 1.5)  # some voxels of a resampled image lie below its background
    write_any(path, ringing.astype(np.float32), np.eye(4))
    assert read_volume(path).notes == () and (ringing < 0).any()


def test_meters_become_millimeters(tmp_path: Path) -> None:
    path = tmp_path / "meters.nii"
    image = nib.Nifti1Image(numbered(), np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, path)
    assert read_mask(path).volume.spacing == pytest.approx((1, 1, 2))
    assert "converted to millimeters" in read_mask(path).volume.notes[0]
