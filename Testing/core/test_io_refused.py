"""Files of voxels that must be refused with a sentence: foreign, damaged, or of other kinds."""

from __future__ import annotations

import bz2
import gzip
import struct
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError, MedDDPMError
from medddpm.geometry.io import read_mask, read_volume
from volume_files import (
    LAYER_FIELDS,
    LPS,
    LPS_FIELDS,
    SHAPE,
    SUFFIXES,
    mha_bytes,
    nrrd_bytes,
    numbered,
    refused,
    write_any,
)


def nifti_bytes(shape: tuple[int, ...] = SHAPE, dtype: type = np.uint8, affine: np.ndarray | None = None) -> bytearray:
    data = np.zeros(shape, dtype)
    return bytearray(nib.Nifti1Image(data, np.eye(4) if affine is None else affine).to_bytes())


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
        (".mgz", "a.mgh", ".mgz"),
        (".mgh", "a.nii", ".mgh"),
    ),
)
def test_mislabeled_files_say_their_format(tmp_path: Path, content: str, name: str, ending: str) -> None:
    true = tmp_path / f"true{content}"
    write_any(true, numbered(), np.eye(4))
    refused(true.rename(tmp_path / name), "Rename it to end in " + ending)


@pytest.mark.parametrize("suffix", (".nii.gz", ".mgz"))
def test_a_gzip_file_whose_checksum_is_wrong_is_refused(tmp_path: Path, suffix: str) -> None:
    """Its voxels can all be unpacked, but they are not what was written."""
    path = tmp_path / f"damaged{suffix}"
    write_any(path, np.random.default_rng(0).integers(0, 255, (40, 40, 40)).astype(np.uint8), LPS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(byte ^ 255 for byte in whole[-8:-4]) + whole[-4:])
    for read in (read_volume, read_mask):
        with pytest.raises(InputError, match=r"damaged\.\S+ is truncated or damaged: its checksum is wrong"):
            read(path)


@pytest.mark.parametrize("suffix", (".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".mgh"))
@pytest.mark.parametrize("share", (0.003, 0.2, 0.6, 0.95))
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
    struct.pack_into("<h", block, 254, 0)  # no sform
    path = tmp_path / ("bad.nii.gz" if packed else "bad.nii")
    path.write_bytes(gzip.compress(block) if packed else block)
    refused(path, "spacing of", f"{'xyz'[axis]} axis", "header")


@pytest.mark.parametrize("packed", (False, True))
def test_freesurfer_headers_are_not_believed(tmp_path: Path, packed: bool) -> None:
    block = nib.MGHImage(numbered(), np.eye(4)).to_bytes()
    path = tmp_path / ("bad.mgz" if packed else "bad.mgh")
    for place, value, words in (
        (30, struct.pack(">f", 0.0), ("spacing of 0 mm", "x axis")),
        (4, struct.pack(">i", 2**20), ("from the origin",)),
        (42, struct.pack(">f", float("nan")), ("not a number",)),
        (20, struct.pack(">i", 77), ("header",)),
    ):
        damaged = block[:place] + value + block[place + 4 :]
        path.write_bytes(gzip.compress(damaged) if packed else damaged)
        refused(path, *words)


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
    refused(tmp_path / "wide.mha", "GB of voxels")


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


def test_colors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "colors.nii"
    colors = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colors, np.eye(4)), path)
    refused(path, "colors")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.complex64), np.eye(4)), tmp_path / "two.nii")
    fields = LAYER_FIELDS | {"type": "float", "kinds": "complex domain domain domain", "endian": "little"}
    (tmp_path / "two.nrrd").write_bytes(nrrd_bytes(fields, data=bytes(8 * 210)))
    for name in ("two.nii", "two.nrrd"):
        refused(tmp_path / name, "complex numbers, but one number per voxel is needed")


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


@pytest.mark.parametrize(
    ("name", "content", "words"),
    (
        ("blank_line_lost.nrrd", nrrd_bytes({}).rstrip() + b"\n" + bytes([7] * 210), "line 6 is not a known field"),
        ("long_kinds.nrrd", nrrd_bytes({"kinds": "A" * 1200}, {}, bytes(210)), "line 6 is not a known field"),
        ("long_name.nrrd", nrrd_bytes({"s" * 1200: "1"}, {}, bytes(210)), "line 6 is not a known field"),
        ("long_pair.nrrd", nrrd_bytes({"x": "A" * 1200}, {}).rstrip() + b":=\n\n" + bytes(210), "line 6 is not a"),
        ("wrapped.seg.nrrd", nrrd_bytes({}, {"Segment0_Name": "x\n" + "y" * 1200}, bytes(210)), "line 7 is not a"),
        ("endless.nrrd", b"NRRD0004\n" + b"#\n" * 2**22, "does not end"),
        ("no_axes.mha", mha_bytes(NDims="-1"), "wrong number of axes"),
        ("axes.mha", mha_bytes(NDims="1000"), "wrong number of axes"),
        ("axes.nrrd", nrrd_bytes({"dimension": "1e9"}, {}, bytes(210)), "wrong number of axes"),
        ("wrapped.mha", mha_bytes(Comment="x\n" + "y" * 1200), "line 10 is not a known field"),
    ),
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_headers_that_would_end_the_process_in_itk(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, words)


def test_long_texts_that_do_no_harm_are_read(tmp_path: Path) -> None:
    path = tmp_path / "long.nrrd"
    path.write_bytes(nrrd_bytes(LPS_FIELDS | {"content": "x" * 9000}, {"comment": "y" * 100_000}, bytes(210)))
    assert read_mask(path).volume.shape == SHAPE
    path.write_bytes(nrrd_bytes(LPS_FIELDS, {"k" + " " * 30_000 + "k": "y" + " " * 30_000 + "y"}, bytes(210)))
    started = time.process_time()
    assert read_mask(path).volume.shape == SHAPE
    assert time.process_time() - started < 1


LARGE = {"type": "double", "sizes": "512 512 1024", "encoding": "gzip", "endian": "little"}


@pytest.mark.parametrize("suffix", (".nii.gz", ".nrrd"))
def test_some_bytes_of_header_do_not_take_gigabytes(tmp_path: Path, suffix: str) -> None:
    """2 GiB of zeros are 2 MB of gzip: what is claimed is refused before it is unpacked."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".nrrd":
        path.write_bytes(nrrd_bytes(LARGE, {}, bytes(99)))
    else:
        header = nifti_bytes(dtype=np.float64)[:352]
        struct.pack_into("<4h", header, 40, 3, 512, 512, 1024)
        path.write_bytes(gzip.compress(bytes(header)))
    refused(path, "claims 2.0 GB of voxels")


def patched(path: Path, at: int, form: str, *values: float) -> Path:
    """A gzipped NIfTI file with values of its header replaced."""
    block = nifti_bytes(affine=np.diag([-2.0, -2.0, 2.0, 1.0]))
    struct.pack_into(form, block, at, *values)
    path.write_bytes(gzip.compress(bytes(block)))
    return path


def test_oddities_of_nifti_headers_are_told_by_their_true_reason(tmp_path: Path) -> None:
    refused(patched(tmp_path / "bits.nii.gz", 70, "<2h", 1, 1), "single bits")
    refused(patched(tmp_path / "meters.nii.gz", 123, "<b", 1), "spacings are in meters; perhaps 2 mm is meant")
    for offset in (0.0, 20.0, -1.0, float("nan"), 1e12):
        refused(patched(tmp_path / "offset.nii.gz", 108, "<f", offset), "voxels begin at byte")
    twice = tmp_path / "twice.nii.gz"
    twice.write_bytes(gzip.compress(gzip.compress(nifti_bytes())))
    refused(twice, "is gzipped twice")
    bzip2 = tmp_path / "bzip2.nrrd"
    bzip2.write_bytes(nrrd_bytes({"encoding": "bzip2"}, {}, bz2.compress(bytes(210))))
    refused(bzip2, "compressed with bzip2")
