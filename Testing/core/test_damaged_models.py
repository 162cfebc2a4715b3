"""Checkpoints and model folders that are cut, flipped, or something else: one clear sentence."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medddpm.errors import InputError
from medddpm.models.config_file import CONFIG_NAME, WEIGHTS_NAME
from medddpm.models.published import LEGACY_START, read_published
from medddpm.models.registry import load_model, read_model_folder
from model_files import NO_CHECKPOINT, refused, write_models, write_zip

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound model in each form: zip.pt, legacy.pt and folder."""
    return write_models(tmp_path_factory.mktemp("Modelle mit Lücke"))


# Cut and flipped
@pytest.mark.parametrize("name", ["zip.pt", "legacy.pt"])
def test_truncated_checkpoints_are_refused(files: Path, tmp_path: Path, name: str) -> None:
    data = (files / name).read_bytes()
    path = tmp_path / "truncated.pt"
    lengths = {1, 2, 3, 4, 13, 16, 64, 100, len(data) // 2, len(data) - 1000, len(data) - 23, len(data) - 1}
    for length in sorted(lengths | set(range(0, len(data), len(data) // 15))):
        path.write_bytes(data[:length])
        sentence = refused(path, "has 0 bytes" if length == 0 else "")
        assert "Download it again" in sentence or "Choose the .pt file" in sentence


@pytest.mark.parametrize("name", [WEIGHTS_NAME, CONFIG_NAME])
def test_truncated_folders_are_refused(files: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(files / "folder", tmp_path / "m")
    data = (files / "folder" / name).read_bytes()
    harmless = {len(data), len(data) - 1}  # the last byte of a configuration is a line feed
    for length in sorted({0, 1, 7, 8, 9, 100, len(data) - 2, *range(0, len(data), len(data) // 10)} - harmless):
        (tmp_path / "m" / name).write_bytes(data[:length])
        with pytest.raises(InputError, match=rf"{name}.*Copy the (whole model folder|file) again"):
            load_model(tmp_path / "m")


def _flip(data: bytes, place: float, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[min(int(place * len(data)), len(data) - 1)] ^= 1 << bit
    return bytes(flipped)


PLACES = st.one_of(st.floats(0, 1), st.floats(0, 0.01), st.floats(0.97, 1))


@FUZZ
@given(place=PLACES, bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_checkpoint_is_found_or_harmless(
    files: Path, tmp_path: Path, place: float, bit: int
) -> None:
    sound = read_published(files / "zip.pt")[1]
    path = tmp_path / "flipped.pt"
    path.write_bytes(_flip((files / "zip.pt").read_bytes(), place, bit))
    try:
        state = read_published(path)[1]
    except InputError as exc:
        assert str(path) in str(exc)
    else:  # in padding or a time stamp
        assert all(torch.equal(state[name], tensor) for name, tensor in sound.items())


@FUZZ
@given(place=st.one_of(st.floats(0, 0.02), st.floats(0.99, 1)), bit=st.integers(0, 7))
def test_flipped_bits_in_the_older_format_raise_nothing_else(
    files: Path, tmp_path: Path, place: float, bit: int
) -> None:
    path = tmp_path / "flipped.pt"
    path.write_bytes(_flip((files / "legacy.pt").read_bytes(), place, bit))
    try:
        read_published(path)
    except InputError as exc:
        assert str(path) in str(exc)


@FUZZ
@given(place=PLACES, bit=st.integers(0, 7))
def test_every_flipped_bit_in_the_weights_of_a_folder_is_found(
    files: Path, tmp_path: Path, place: float, bit: int
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(files / "folder", folder, dirs_exist_ok=True)
    (folder / WEIGHTS_NAME).write_bytes(_flip((files / "folder" / WEIGHTS_NAME).read_bytes(), place, bit))
    with pytest.raises(InputError, match=rf"{WEIGHTS_NAME}.* again"):
        read_model_folder(folder)


@FUZZ
@given(place=st.floats(0, 1), bit=st.integers(0, 7))
def test_flipped_bits_in_the_configuration_raise_nothing_else(
    files: Path, tmp_path: Path, place: float, bit: int
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(files / "folder", folder, dirs_exist_ok=True)
    (folder / CONFIG_NAME).write_bytes(_flip((files / "folder" / CONFIG_NAME).read_bytes(), place, bit))
    try:
        read_model_folder(folder)
    except InputError as exc:
        assert str(folder) in str(exc)


@FUZZ
@given(
    data=st.binary(max_size=200), start=st.sampled_from([b"", b"PK\x03\x04", LEGACY_START, LEGACY_START + b"\x80\x02"])
)
def test_noise_is_refused(tmp_path: Path, data: bytes, start: bytes) -> None:
    (tmp_path / "noise.pt").write_bytes(start + data)
    refused(tmp_path / "noise.pt")


def _tar(path: Path, name: str = "storages") -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"abcd"))


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("epoch,loss\n1,0.5\n"), NO_CHECKPOINT),
    "html": (lambda p: p.write_text("<!DOCTYPE html><title>Quota exceeded</title>"), NO_CHECKPOINT),
    "jpeg": (lambda p: p.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(500)), NO_CHECKPOINT),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08\x00" + bytes(50)), NO_CHECKPOINT),
    "plain pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1})), NO_CHECKPOINT),
    "zip of text": (lambda p: write_zip(p, {"readme.txt": b"hello"}), "damaged or is not a PyTorch checkpoint"),
    "empty zip": (lambda p: write_zip(p, {}), NO_CHECKPOINT),
    "tar": (_tar, NO_CHECKPOINT),
    "tar that begins as a checkpoint": (lambda p: _tar_as_legacy(p), NO_CHECKPOINT),
    "empty": (lambda p: p.write_bytes(b""), "0 bytes"),
    "folder": (lambda p: p.mkdir(), "not a model folder: it has no config.json"),
    "list": (lambda p: torch.save([1, 2], p), "holds a list"),
    "number": (lambda p: torch.save(3, p), "holds a int"),
    "one tensor": (lambda p: torch.save(torch.zeros(3), p), "holds a Tensor"),
    "no tensors": (lambda p: torch.save({"ema": {"a": 1}}, p), "holds no tensors"),
}


def _tar_as_legacy(path: Path) -> None:
    """A valid tar archive whose first bytes are those of torch's older format (its first member's name)."""
    _tar(path, "x" * len(LEGACY_START))
    header = bytearray(path.read_bytes())
    header[: len(LEGACY_START)] = LEGACY_START
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    path.write_bytes(header)
    assert tarfile.is_tarfile(path)


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_under_the_name_are_refused(tmp_path: Path, kind: str) -> None:
    write, words = OTHERS[kind]
    write(tmp_path / "model.pt")
    refused(tmp_path / "model.pt", words)


def test_the_weights_file_alone_is_not_the_model(files: Path) -> None:
    refused(files / "folder" / WEIGHTS_NAME, "weights file of a model folder. Name the folder instead")
    refused(files / "folder" / CONFIG_NAME, "is not a PyTorch checkpoint", "model folder")


@pytest.mark.parametrize("name", ["nowhere.pt", "~nobody-of-that-name/model", "x" * 5000, "a\0b", "Köpfe/模型 1.pt"])
def test_what_is_not_there_is_said(name: str) -> None:
    with pytest.raises(InputError, match=r"The model .* does not exist: no such file or folder"):
        load_model(name)


def test_unreadable_files_are_named(files: Path, tmp_path: Path) -> None:
    shutil.copy(files / "zip.pt", tmp_path / "m.pt")
    (tmp_path / "m.pt").chmod(0)
    if os.access(tmp_path / "m.pt", os.R_OK):
        pytest.skip("this user may read everything")
    refused(tmp_path / "m.pt", "cannot be read: Permission denied", "permissions")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_do_not_block(files: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    refused(tmp_path / "pipe.pt", "is not a file")
    for name in (CONFIG_NAME, WEIGHTS_NAME):
        folder = tmp_path / name
        shutil.copytree(files / "folder", folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(InputError, match=rf"{name} is not (a|an ordinary) file"):
            load_model(folder)
