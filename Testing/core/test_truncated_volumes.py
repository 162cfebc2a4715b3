"""Files with fewer bytes than their header promises, found by their size in the scan as in reading, or with more."""

from __future__ import annotations

import gzip
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.geometry.io import content_hash, read_geometry, read_mask, read_volume
from medddpm.preparation.scan import scan_source
from source_phantoms import BRATS_2021, brats_case
from volume_files import LPS, LPS_FIELDS, mha_bytes, nrrd_bytes, numbered, refused, write_any

# The file of a name, and the one that its voxels are in.
PLACES = {".nrrd": ".nrrd", ".nhdr": ".raw", ".mha": ".mha", ".mhd": ".raw"}
PACKED = {".nrrd": ".nrrd", ".nhdr": ".raw.gz", ".mha": ".mha", ".mhd": ".zraw"}
DTYPES = (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64)
NRRD = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 5 6 7\nspacings: 1 1 1\nendian: little\nencoding: {}\n{}"
META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = {}\nDimSize = 5 6 7\nElementType = MET_SHORT\n{}ElementDataFile = {}\n"
)
VOXELS = np.arange(210, dtype=np.int16).tobytes()
TEXT = " ".join(map(str, range(210))).encode() + b"\n"
PACKED_HALVES = b"".join(gzip.compress(half, mtime=0) for half in (VOXELS[:100], VOXELS[100:]))


def written(path: Path, data: np.ndarray, packed: bool) -> Path:
    """Written by ITK; the file of the voxels."""
    sitk.WriteImage(sitk.GetImageFromArray(data), str(path), packed)
    return path.with_name(path.stem + (PACKED if packed else PLACES)[path.suffix])


@settings(max_examples=150, deadline=None)
@given(
    suffix=st.sampled_from(sorted(PLACES)),
    packed=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    kept=st.floats(0, 1, exclude_max=True),
)
def test_however_little_is_missing_the_header_is_not_believed(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, packed: bool, dtype: type, shape: tuple[int], kept: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"image{suffix}"
    voxels = written(path, np.random.default_rng(0).integers(0, 99, shape).astype(dtype), packed)
    assert read_geometry(path)[0] == shape[::-1]
    whole = voxels.read_bytes()
    voxels.write_bytes(whole[: int(kept * len(whole))])
    for read in (read_geometry, read_volume, read_mask):
        with pytest.raises(InputError, match=r"image\.") as caught:
            read(path)
        assert str(path) in str(caught.value)
    voxels.write_bytes(whole + bytes(9))
    assert read_geometry(path)[0] == shape[::-1]


@pytest.mark.parametrize("packed", (False, True))
@pytest.mark.parametrize("suffix", sorted(PLACES))
def test_one_byte_less_is_told_by_the_scan(tmp_path: Path, suffix: str, packed: bool) -> None:
    home = brats_case(tmp_path, "a", tuple(part for part in BRATS_2021 if part != "t2"))
    data = np.random.default_rng(0).integers(0, 99, (4, 5, 6)).astype(np.int16)
    voxels = written(home / f"a_t2{suffix}", data, packed)
    assert scan_source(tmp_path).problems == ()
    voxels.write_bytes(voxels.read_bytes()[:-1])
    (problem,) = scan_source(tmp_path).problems
    assert (problem.code, problem.part, problem.file) == ("unreadable", "T2", f"a/a_t2{suffix}")
    assert f"a_t2{suffix} is truncated" in problem.sentence and problem.sentence.endswith("again.")


def test_the_sentence_tells_both_sizes_and_the_file_beside(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    written(path, np.zeros((4, 5, 6), np.int16), False).write_bytes(bytes(100))
    with pytest.raises(InputError) as caught:
        read_geometry(path)
    assert str(caught.value) == (
        f"{path} is truncated: 100 bytes in a.raw where its header promises 240. Copy both files again."
    )


@pytest.mark.parametrize(
    ("name", "header", "content"),
    (
        ("a.nrrd", NRRD.format("raw", "byte skip: 7\n\n"), b"7 bytes" + VOXELS),
        ("a.nrrd", NRRD.format("raw", "line skip: 2\n\n"), b"one\ntwo\n" + VOXELS),
        ("a.nrrd", NRRD.format("raw", "byteskip: -1\n\n"), b"how long?" + VOXELS),
        (
            "a.nrrd",
            NRRD.format("gz", "\n"),
            gzip.compress(VOXELS[:100], mtime=0) + gzip.compress(VOXELS[100:], mtime=0),
        ),
        ("a.nrrd", NRRD.format("gzip", "byte skip: 7\n\n"), gzip.compress(b"7 bytes" + VOXELS, mtime=0)),
        ("a.nrrd", NRRD.format("ascii", "encoding:=raw\n\n"), TEXT),
        ("a.mha", META.format("True", "", "LOCAL"), VOXELS),
        ("a.mha", META.format("True", "HeaderSize = -1\n", "LOCAL"), b"how long?" + VOXELS),
        ("a.mha", META.format("False", "", "LOCAL"), TEXT),
    ),
)
def test_voxels_are_looked_for_where_the_header_says(tmp_path: Path, name: str, header: str, content: bytes) -> None:
    """Whole files of every way to store voxels are read; none of them is taken for a truncated one."""
    path = tmp_path / name
    path.write_bytes(header.encode() + content)
    assert read_geometry(path)[0] == (5, 6, 7)
    np.testing.assert_array_equal(read_mask(path).volume.data.ravel(order="F"), np.arange(210))


@pytest.mark.parametrize(
    ("name", "header", "content"),
    (
        ("a.nrrd", NRRD.format("raw", "byte skip: 7\n\n"), b"7 bytes" + VOXELS[1:]),
        ("a.nrrd", NRRD.format("gzip", "byte skip: 7\n\n"), gzip.compress(b"7 bytes" + VOXELS[1:], mtime=0)),
        ("a.nrrd", NRRD.format("gzip", "\n"), gzip.compress(VOXELS[:100], mtime=0)),
        ("a.mha", META.format("True", "HeaderSize = 200\n", "LOCAL"), VOXELS),
    ),
)
def test_skipped_bytes_are_no_voxels(tmp_path: Path, name: str, header: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(header.encode() + content)
    with pytest.raises(InputError, match=r"is truncated.* again\."):
        read_geometry(path)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(("byte skip", "line skip", "encoding", "HeaderSize", "CompressedDataSize", "CompressedData")),
    st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=12)
    | st.integers(-(10**30), 10**30).map(str),
)
def test_any_word_about_the_voxels_is_understood_or_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "odd.nrrd").write_bytes(NRRD.format("raw", f"{field}: {value}\n\n").encode() + VOXELS)
    (folder / "odd.mha").write_bytes(META.format("True", f"{field} = {value}\n", "LOCAL").encode() + VOXELS)
    for name in ("odd.nrrd", "odd.mha"):
        try:
            shape, _ = read_geometry(folder / name)
        except InputError as exc:
            assert name in str(exc) and str(exc).endswith(".")
        else:
            assert shape == (5, 6, 7)


def odd_tails(folder: Path) -> dict[str, str]:
    """Files that end otherwise than their header says, and words of the sentence about it."""
    tail, found = b"\nend of transfer\n" * 9, {}
    for ending in (".nii", ".nii.gz", ".nrrd", ".mha", ".mgz"):
        write_any(folder / f"seed{ending}", numbered(), LPS)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    packed = gzip.compress(numbered().tobytes(order="F"))
    zipped = zlib.compress(numbered().tobytes(order="F"))
    size = {"CompressedData": "True", "CompressedDataSize": str(len(zipped))}
    for name, data, words in (
        ("tail.nii", whole["seed.nii"] + tail, "more bytes than its header promises"),
        ("tail.nrrd", whole["seed.nrrd"] + tail, "more bytes than its header promises"),
        ("tail.mha", whole["seed.mha"] + tail, "more bytes than its header promises"),
        ("packed.mha", mha_bytes(zipped + tail, **size), "more bytes than its header promises"),
        ("inner.nii.gz", gzip.compress(whole["seed.nii"] + tail), "more bytes than its header promises"),
        ("tail.nii.gz", whole["seed.nii.gz"] + tail, "after its gzip data"),
        ("tail.mgz", whole["seed.mgz"] + tail, "after its gzip data"),
        ("packed.nrrd", nrrd_bytes(LPS_FIELDS | {"encoding": "gzip"}, {}, packed + tail), "after its gzip data"),
        ("padded.nii.gz", whole["seed.nii.gz"] + bytes(5000), ""),
        ("tags.mgz", gzip.compress(gzip.decompress(whole["seed.mgz"]) + tail), ""),
        ("skip.mha", mha_bytes(tail + numbered().tobytes(order="F"), HeaderSize="-1"), ""),
        ("packed2.mha", mha_bytes(zipped, **size), ""),
    ):
        (folder / name).write_bytes(data)
        found[name] = words
    return found


def test_what_follows_the_voxels_is_told(tmp_path: Path) -> None:
    for name, words in odd_tails(tmp_path).items():
        read_geometry(tmp_path / name)
        volume = read_mask(tmp_path / name).volume
        np.testing.assert_array_equal(volume.data, numbered(), name)
        told = volume.notes
        assert len(told) == bool(words) and words in "".join(told), (name, told)


def test_packed_voxels_of_a_meta_image_are_whole(tmp_path: Path) -> None:
    """ITK reads on with what it has got, and says so to nobody."""
    voxels = numbered().tobytes(order="F")
    zipped = zlib.compress(voxels)
    half, path = zlib.compress(voxels[:100]), tmp_path / "a.mha"
    for data, size, words in (
        (zipped, None, "does not state the size"),
        (zipped, len(zipped) - 20, "is truncated"),
        (half, len(half), "is truncated"),
        (zipped[:30] + b"\0\0" + zipped[32:], len(zipped), "truncated or damaged"),
        (zipped[:-1] + b"\0", len(zipped), "truncated or damaged"),
    ):
        path.write_bytes(
            mha_bytes(data, CompressedData="True", **({} if size is None else {"CompressedDataSize": str(size)}))
        )
        refused(path, words)
    (tmp_path / "b.zraw").write_bytes(zipped)
    path.write_bytes(mha_bytes(b"", CompressedData="True", ElementDataFile="b.zraw"))
    np.testing.assert_array_equal(read_mask(path).volume.data, numbered())


@pytest.mark.parametrize("name", ("a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mgz"))
@pytest.mark.skipif(sys.platform == "win32", reason="a file whose zeros are not on the disk")
def test_a_file_far_larger_than_its_voxels_is_refused_at_once(tmp_path: Path, name: str) -> None:
    write_any(tmp_path / name, numbered(), LPS)
    os.truncate(tmp_path / name, 2**38)
    refused(tmp_path / name, "has 256 GB")
    for read in (read_geometry, content_hash):
        with pytest.raises(InputError, match="has 256 GB"):
            read(tmp_path / name)
