"""Reading and writing volumes: geometry through real files of every format, and files that must be refused."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError, MedDDPMError
from medddpm.geometry import Segment, geometry_warnings, read_mask, read_volume
from medddpm.geometry.itk import check_data_file
from medddpm.geometry.nifti import write_image

SHAPE = (5, 6, 7)
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".seg.nrrd", ".mha", ".mhd")
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique_affine() -> np.ndarray:
    """RAS+ affine with anisotropic spacing, rotated about two axes, off the origin."""
    a, b = np.radians([20.0, -35.0])
    first = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    second = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = first @ second * [0.8, 1.1, 2.5]
    affine[:3, 3] = [-31.5, 12.25, 77.0]
    return affine


def numbered(dtype: type = np.uint8) -> np.ndarray:
    return np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)


def write_itk(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Written by ITK itself from LPS geometry, independently of the code under test."""
    image = sitk.GetImageFromArray(data.transpose(2, 1, 0))
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))


def write_any(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    if ".nii" in path.name:
        nib.save(nib.Nifti1Image(data, affine), path)
    else:
        write_itk(path, data, affine)


def nrrd_bytes(fields: dict[str, str], pairs: dict[str, str] | None = None, data: bytes = b"") -> bytes:
    base = {"type": "uint8", "dimension": "3", "sizes": "5 6 7", "encoding": "raw"}
    lines = ["NRRD0004", *(f"{k}: {v}" for k, v in (base | fields).items())]
    lines += [f"{k}:={v}" for k, v in (pairs or {}).items()]
    return "\n".join(lines).encode() + b"\n\n" + data


LPS_FIELDS = {
    "space": "left-posterior-superior",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "space origin": "(10,20,30)",
}
LAYER_FIELDS = LPS_FIELDS | {
    "dimension": "4",
    "space directions": "none (1,0,0) (0,1,0) (0,0,2)",
    "kinds": "list domain domain domain",
    "sizes": "2 5 6 7",
}


def mha_bytes(data: bytes = bytes(210), **fields: str) -> bytes:
    base = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "0 0 0",
        "ElementSpacing": "1 1 1",
        "DimSize": "5 6 7",
        "ElementType": "MET_UCHAR",
        "ElementDataFile": "LOCAL",
    }
    merged = {**{k: v for k, v in (base | fields).items() if k != "ElementDataFile"}}
    merged["ElementDataFile"] = fields.get("ElementDataFile", "LOCAL")
    return "".join(f"{k} = {v}\n" for k, v in merged.items()).encode() + data


def nifti_bytes(shape: tuple[int, ...] = SHAPE, dtype: type = np.uint8, affine: np.ndarray | None = None) -> bytearray:
    data = np.zeros(shape, dtype)
    return bytearray(nib.Nifti1Image(data, np.eye(4) if affine is None else affine).to_bytes())


def refused(path: Path, *words: str) -> None:
    """Reading as mask and as image both end in one InputError that names the file and every one of ``words``."""
    for read in (read_mask, read_volume):
        with pytest.raises(InputError) as info:
            read(path)
        for word in (str(path), *words):
            assert word in str(info.value)


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


TAGS = (
    "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - DICOM master list"
    "~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^~Anatomic codes~^^~^^|"
)


def layered(path: Path, pairs: dict[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """A two-layer file: a large head (layer 0, value 1) and a small tumor inside it (layer 1, value 1)."""
    head, tumor = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    head[1:5, 1:5, 1:6] = 1
    tumor[2, 2:4, 2] = 1
    stacked = np.stack([head, tumor])
    path.write_bytes(nrrd_bytes(LAYER_FIELDS, pairs, stacked.tobytes(order="F")))
    return head, tumor


def test_segments_with_names_and_codes(tmp_path: Path) -> None:
    path = tmp_path / "one.seg.nrrd"
    data = np.zeros(SHAPE, np.uint8)
    data[1:4, 1:4, 1:4], data[2, 2, 2] = 3, 7
    pairs = {
        "Segment0_ID": "Segment_1",
        "Segment0_LabelValue": "3",
        "Segment0_Layer": "0",
        "Segment0_Name": "Schädel",
        "Segment1_ID": "Segment_2",
        "Segment1_LabelValue": "7",
        "Segment1_Name": "tumor",
        "Segment1_Tags": TAGS,
    }
    path.write_bytes(nrrd_bytes(LPS_FIELDS, pairs, data.tobytes(order="F")))
    mask = read_mask(path)
    np.testing.assert_array_equal(mask.volume.data, data)
    assert mask.segments == (Segment(3, "Schädel"), Segment(7, "tumor", "SCT^4147007^Mass"))
    np.testing.assert_allclose(mask.volume.affine[:3, 3], [-10, -20, 30])


def test_overlapping_layers_keep_the_smaller_segment(tmp_path: Path) -> None:
    path = tmp_path / "layers.seg.nrrd"
    pairs = {"Segment0_Name": "tumor", "Segment0_LabelValue": "1", "Segment0_Layer": "1"}
    pairs |= {"Segment1_Name": "head", "Segment1_LabelValue": "1", "Segment1_Layer": "0"}
    head, tumor = layered(path, pairs)
    mask = read_mask(path)
    assert mask.segments == (Segment(1, "tumor"), Segment(2, "head"))
    np.testing.assert_array_equal(mask.volume.data, np.where(tumor > 0, 1, np.where(head > 0, 2, 0)))
    assert mask.volume.shape == SHAPE and mask.volume.spacing == (1.0, 1.0, 2.0)


def test_layers_without_values_are_one_segment_each(tmp_path: Path) -> None:
    path = tmp_path / "old.seg.nrrd"
    head, tumor = layered(path, {"Segment0_Name": "head", "Segment1_Name": "tumor"})
    mask = read_mask(path)
    assert mask.segments == (Segment(1, "head"), Segment(2, "tumor"))
    np.testing.assert_array_equal(mask.volume.data, np.where(tumor > 0, 2, head))


def test_cropped_segmentation_lies_where_its_reference_does(tmp_path: Path) -> None:
    whole = np.zeros((12, 12, 12), np.uint8)
    whole[6:9, 5:9, 4:8] = 1
    cropped = whole[5:10, 4:10, 3:10]
    fields = LPS_FIELDS | {"space origin": f"({10 + 5},{20 + 4},{30 + 2 * 3})"}
    pairs = {"Segment0_Name": "tumor", "Segment0_LabelValue": "1", "Segmentation_ReferenceImageExtentOffset": "5 4 3"}
    path = tmp_path / "crop.seg.nrrd"
    path.write_bytes(nrrd_bytes(fields, pairs, cropped.tobytes(order="F")))
    volume = read_mask(path).volume
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[:3, 3] = [-10, -20, 30]
    points = np.argwhere(volume.data) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    np.testing.assert_allclose(points, np.argwhere(whole) @ affine[:3, :3].T + affine[:3, 3])


def test_bad_segment_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.seg.nrrd"
    for pairs, word in (
        ({"Segment0_LabelValue": "one"}, "Segment0_LabelValue = 'one'"),
        ({"Segment0_LabelValue": "0"}, "Segment0_LabelValue = 0"),
        ({"Segment0_Layer": "9"}, "Segment0_Layer = 9"),
        ({"Segment0_ID": "a", "Segmentation_MasterRepresentation": "Fractional labelmap"}, "fractional"),
    ):
        layered(path, pairs)
        with pytest.raises(InputError, match=word) as info:
            read_mask(path)
        assert str(path) in str(info.value)


def test_layers_without_segments_are_refused(tmp_path: Path) -> None:
    layered(tmp_path / "vector.nrrd", {})
    refused(tmp_path / "vector.nrrd", "2 values a voxel", "scalar")


def test_missing_folder_empty_and_foreign_files(tmp_path: Path) -> None:
    refused(tmp_path / "none.nii.gz", "does not exist")
    refused(tmp_path, "is a folder")
    for suffix in SUFFIXES:
        path = tmp_path / f"empty{suffix}"
        path.touch()
        refused(path, "0 bytes")
        path.write_bytes(b"hello world " * 100)
        refused(path, "its content is something else")
    text = tmp_path / "notes.txt"
    text.write_text("x" * 500)
    refused(text, "accepted format", ".nii.gz")


@pytest.mark.parametrize(
    ("content", "name", "ending"),
    (
        (".nii", "a.nii.gz", ".nii."),
        (".nii.gz", "a.nii", ".nii.gz"),
        (".nrrd", "a.mha", ".nrrd"),
        (".mha", "a.nii", ".mha"),
    ),
)
def test_mislabeled_files_say_their_format(tmp_path: Path, content: str, name: str, ending: str) -> None:
    true = tmp_path / f"true{content}"
    write_any(true, numbered(), np.eye(4))
    refused(true.rename(tmp_path / name), "Rename it to end in " + ending)


def test_a_gzip_file_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    """Its voxels can all be unpacked, but they are not what was written."""
    path = tmp_path / "damaged.nii.gz"
    write_image(path, np.random.default_rng(0).integers(0, 255, (40, 40, 40)), LPS, "test")
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(byte ^ 255 for byte in whole[-8:-4]) + whole[-4:])
    for read in (read_volume, read_mask):
        with pytest.raises(InputError, match=r"damaged\.nii\.gz is truncated or damaged: its checksum is wrong"):
            read(path)


@pytest.mark.parametrize("suffix", (".nii", ".nii.gz", ".nrrd", ".mha"))
@pytest.mark.parametrize("share", (0.2, 0.6, 0.95))
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 20)).astype(np.uint8)
    write_any(path, noise, np.eye(4))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path)


@pytest.mark.parametrize(("axis", "value"), ((0, 0.0), (1, -1.0), (2, float("nan")), (0, float("inf")), (2, 1e-9)))
@pytest.mark.parametrize("packed", (False, True))
def test_nifti_spacing_must_be_positive(tmp_path: Path, axis: int, value: float, packed: bool) -> None:
    block = nifti_bytes()
    struct.pack_into("<f", block, 76 + 4 * (axis + 1), value)
    path = tmp_path / ("bad.nii.gz" if packed else "bad.nii")
    path.write_bytes(gzip.compress(block) if packed else block)
    refused(path, "spacing of", f"{'xyz'[axis]} axis", "header")


def test_other_formats_spacing_must_be_positive(tmp_path: Path) -> None:
    for spacing in ("1 -1 1", "1 0 1", "1 1 nan", "1 inf 1"):
        path = tmp_path / "bad.mha"
        path.write_bytes(mha_bytes(ElementSpacing=spacing))
        refused(path)
    path.write_bytes(mha_bytes(ElementSpacing="1 -2 1"))
    refused(path, "spacing of -2 mm", "y axis")
    nrrd = tmp_path / "bad.nrrd"
    nrrd.write_bytes(nrrd_bytes(LPS_FIELDS | {"space directions": "(1,0,0) (0,0,0) (0,0,2)"}, data=bytes(210)))
    refused(nrrd, "spacing of 0 mm", "y axis")


def test_zero_and_sheared_affines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.nii"
    block = nifti_bytes()
    struct.pack_into("<4f", block, 280, 0, 0, 0, 0)
    path.write_bytes(block)
    refused(path, "spacing of 0 mm", "x axis")
    sheared = np.eye(4)
    sheared[0, 1] = np.tan(np.radians(10))
    path.write_bytes(nifti_bytes(affine=sheared))
    refused(path, "shear of 10.0 degrees", "Resample it to a plain grid first")
    nrrd = tmp_path / "bad.nrrd"
    fields = LPS_FIELDS | {"space directions": "(1,0,0) (0.17632698,1,0) (0,0,2)"}
    nrrd.write_bytes(nrrd_bytes(fields, data=bytes(210)))
    refused(nrrd, "shear of 10.0 degrees")


def test_header_bombs_are_refused_before_allocation(tmp_path: Path) -> None:
    block = nifti_bytes()
    struct.pack_into("<8h", block, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)
    for name, content in (("bomb.nii", bytes(block)), ("bomb.nii.gz", gzip.compress(block))):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "30000 x 30000 x 30000", "cropped or resampled")
    (tmp_path / "bomb.mha").write_bytes(mha_bytes(DimSize="90000 90000 90000"))
    refused(tmp_path / "bomb.mha", "90000 x 90000 x 90000")
    (tmp_path / "bomb.nrrd").write_bytes(nrrd_bytes(LPS_FIELDS | {"sizes": "90000 90000 90000"}))
    refused(tmp_path / "bomb.nrrd", "90000 x 90000 x 90000")
    (tmp_path / "wide.mha").write_bytes(mha_bytes(DimSize="500 500 500", ElementNumberOfChannels="200"))
    refused(tmp_path / "wide.mha", "200 values a voxel")


@pytest.mark.parametrize(("shape", "word"), (((5, 6), "2D"), ((5, 6, 7, 3), "4D"), ((5, 6, 1), "single slice")))
def test_other_ranks_are_refused(tmp_path: Path, shape: tuple[int, ...], word: str) -> None:
    path = tmp_path / "rank.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)
    refused(path, word, " x ".join(map(str, shape)))
    if len(shape) != 3:
        other = tmp_path / "rank.mha"
        size = len(shape)
        identity = " ".join(str(int(v)) for v in np.eye(size).ravel())
        dims, ones, zeros = " ".join(map(str, shape)), " ".join("1" * size), " ".join("0" * size)
        other.write_bytes(
            mha_bytes(NDims=str(size), DimSize=dims, ElementSpacing=ones, Offset=zeros, TransformMatrix=identity)
        )
        refused(other, word)


def test_not_finite_voxels_and_colors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "nan.nii"
    data = np.zeros(SHAPE, np.float32)
    data[0, 0, :2] = np.nan, np.inf
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    refused(path, "2 voxels that are not finite", "Replace")
    write_itk(tmp_path / "nan.mha", data, np.eye(4))
    refused(tmp_path / "nan.mha", "2 voxels that are not finite")
    colors = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colors, np.eye(4)), path)
    refused(path, "colors")


@pytest.mark.parametrize(
    "name", ("../secret.raw", "/etc/hostname", "sub/../../x.raw", "C:\\x.raw", "LIST", "v%03d.raw 1 3")
)
def test_headers_may_not_point_elsewhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(210))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.mhd").write_bytes(mha_bytes(b"", ElementDataFile=name))
    refused(folder / "a.mhd", name)
    (folder / "a.nhdr").write_bytes(nrrd_bytes(LPS_FIELDS | {"data file": name}))
    refused(folder / "a.nhdr", name)


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
    image.header.set_zooms((1, 1, 2))
    nib.save(image, path)
    np.testing.assert_allclose(read_mask(path).volume.affine, image.header.get_base_affine())
    assert "left and right are a guess" in geometry_warnings(path)[0]
    image.set_sform(np.diag([1, 1, 2, 1]), 1)
    image.set_qform(np.diag([-1, 1, 2, 1]), 1)
    nib.save(image, path)
    assert "more than 1 mm apart" in geometry_warnings(path)[0]
    image.set_qform(np.diag([1, 1, 2, 1]), 1)
    nib.save(image, path)
    assert geometry_warnings(path) == ()
    nrrd = tmp_path / "plain.nrrd"
    nrrd.write_bytes(nrrd_bytes({"spacings": "1 1 2"}, data=bytes(210)))
    assert read_mask(nrrd).volume.spacing == (1, 1, 2)
    assert "LPS axes are assumed" in geometry_warnings(nrrd)[0]


def test_meters_become_millimeters(tmp_path: Path) -> None:
    path = tmp_path / "meters.nii"
    image = nib.Nifti1Image(numbered(), np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, path)
    assert read_mask(path).volume.spacing == pytest.approx((1, 1, 2))
    assert "converted to millimeters" in geometry_warnings(path)[0]


def damaged(path: Path, whole: bytes, position: int, value: int) -> None:
    """One byte changed, and then cut there: reading gives a volume or a sentence, never another error."""
    changed = bytearray(whole)
    changed[position] = value
    for content in (bytes(changed), whole[:position]):
        path.write_bytes(content)
        try:
            volume = read_mask(path).volume
        except MedDDPMError as exc:
            assert str(path) in str(exc) and str(exc).endswith(".")
        else:
            assert np.isfinite(volume.affine).all() and min(volume.spacing) > 0


@settings(max_examples=120, deadline=None)
@given(st.sampled_from((".nii", ".nii.gz", ".nrrd", ".mha")), st.floats(0, 1), st.integers(0, 255))
def test_any_damaged_byte_ends_in_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, where: float, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"damaged{suffix}"
    if suffix == ".nii":
        whole = bytes(nifti_bytes())
    elif suffix == ".nii.gz":
        whole = gzip.compress(nifti_bytes())
    elif suffix == ".nrrd":
        whole = nrrd_bytes(LPS_FIELDS, {"Segment0_Name": "a", "Segment0_LabelValue": "1"}, numbered().tobytes())
    else:
        whole = mha_bytes()
    damaged(path, whole, min(int(where * len(whole)), len(whole) - 1), value)
