"""Checkpoints and model folders of bad intent: no code is run, and no claimed size believed."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from medddpm.config import NetworkConfig
from medddpm.errors import InputError
from medddpm.models.config_file import CONFIG_NAME, WEIGHTS_NAME
from medddpm.models.registry import load_model
from medddpm.network.unet import UNet3D
from model_files import NO_CHECKPOINT, refused, weights, write_models, write_zip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound model in each form: zip.pt, legacy.pt and folder."""
    return write_models(tmp_path_factory.mktemp("Modelle mit Lücke"))


# Code
class _Evil:
    """Pickles into a call of os.system that makes the file ``marker``."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f'echo ran > "{self.marker}"',)


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Evil(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "form", ["zip", "legacy", "beside tensors", "protocol 4", "plain pickle", "tar", "torchscript"]
)
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, form: str) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "ran"
    evil = _Evil(marker)
    if form == "beside tensors":
        torch.save({"ema": weights(), "step": evil}, path)
    elif form == "plain pickle":
        path.write_bytes(pickle.dumps(evil))
    elif form == "tar":
        payload = pickle.dumps(evil, protocol=2)
        with tarfile.open(path, "w") as archive:
            for name in ("storages", "tensors", "pickle"):
                info = tarfile.TarInfo(name)
                info.size = len(payload)
                archive.addfile(info, io.BytesIO(payload))
    elif form == "torchscript":
        payload = pickle.dumps(evil, protocol=2)
        write_zip(path, {f"m/{name}": payload for name in ("data.pkl", "constants.pkl")} | {"m/version": b"3\n"})
    else:
        options = {
            "_use_new_zipfile_serialization": form != "legacy",
            "pickle_protocol": 4 if form == "protocol 4" else 2,
        }
        torch.save({"ema": evil}, path, **options)
    reason = {"plain pickle": NO_CHECKPOINT, "tar": NO_CHECKPOINT, "torchscript": "is a TorchScript program"}
    refused(path, reason.get(form, "contains something other than tensors (possibly code)"))
    assert not marker.exists()


@pytest.mark.parametrize("name", [WEIGHTS_NAME, "model-{digest}.safetensors", CONFIG_NAME])
def test_code_under_the_names_of_a_folder_is_not_run(files: Path, tmp_path: Path, name: str) -> None:
    folder, marker = tmp_path / "m", tmp_path / "ran"
    shutil.copytree(files / "folder", folder)
    digest = json.loads((folder / CONFIG_NAME).read_text())["weights_sha256"]
    torch.save({"ema": _Evil(marker)}, folder / name.format(digest=digest[:16]))
    with pytest.raises(InputError, match=name.format(digest=digest[:16])):
        load_model(folder)
    assert not marker.exists()


# Sizes that are claimed
@pytest.mark.parametrize("entries", [1, 3])
def test_zip_bombs_are_not_opened(tmp_path: Path, entries: int) -> None:
    write_zip(tmp_path / "bomb.pt", {f"m/data/{i}": bytes(2**24) for i in range(entries)}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < 2**17
    refused(tmp_path / "bomb.pt", "unpacks to more than its own size")


def test_compressed_copies_of_a_checkpoint_are_refused(files: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(files / "zip.pt") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    write_zip(tmp_path / "again.pt", entries, zipfile.ZIP_DEFLATED)
    refused(tmp_path / "again.pt", "unpacks to more than its own size, unlike a PyTorch checkpoint")


@pytest.mark.parametrize("zipped", [True, False])
def test_enormous_tensors_of_a_few_bytes_are_refused(tmp_path: Path, zipped: bool) -> None:
    network = NetworkConfig(1, 2, 1024, (1,))
    with torch.device("meta"):
        shapes = UNet3D(network).state_dict()
    state = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in shapes.items()}
    torch.save({"ema": state}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "a.pt", "claim 1560961028 bytes, but the file has")


def test_storages_that_claim_more_than_the_file_has_are_refused(tmp_path: Path) -> None:
    """The number of elements in data.pkl is the file's claim; nothing beyond the file may be read for it."""
    torch.save({"ema": {"a": torch.zeros(1000)}}, tmp_path / "sound.pt")
    with zipfile.ZipFile(tmp_path / "sound.pt") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    small, large = b"M" + struct.pack("<H", 1000), b"J" + struct.pack("<i", 10**9)
    assert entries[name].count(small) == 2  # the storage's length and the tensor's shape
    write_zip(tmp_path / "a.pt", entries | {name: entries[name].replace(small, large)})
    refused(tmp_path / "a.pt", "damaged or is not a PyTorch checkpoint")


HEADERS = {
    "huge header": struct.pack("<Q", 2**40) + b"{}",
    "larger than any header": struct.pack("<Q", 2**63) + b"{}",
    "header of 99 MB": struct.pack("<Q", 99 * 2**20) + b"{}",
    "no object": struct.pack("<Q", 2) + b"[]",
    "deep": struct.pack("<Q", 10**5) + b"[" * 10**5,
    "no tensors": struct.pack("<Q", 2) + b"{}",
}


def _header(shape: list[int], end: int, dtype: str = "F32") -> bytes:
    header = json.dumps({"out.2.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}).encode()
    return struct.pack("<Q", len(header)) + header


HEADERS |= {
    "huge shape": _header([2**40, 2**20], 4) + bytes(4),
    "overflow": _header([2**62, 4], 4) + bytes(4),
    "beyond the end": _header([2**30], 2**32),
    "huge empty": _header([0, 2**62], 0),
    "negative": _header([-1], 4) + bytes(4),
    "unknown type": _header([1], 4, "F33") + bytes(4),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_claims_in_a_safetensors_header_are_not_believed(files: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "m"
    shutil.copytree(files / "folder", folder)
    (folder / WEIGHTS_NAME).write_bytes(HEADERS[kind])
    with pytest.raises(InputError, match=r"model\.safetensors.* again"):
        load_model(folder)


def test_a_configuration_for_an_enormous_network_costs_no_memory(files: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(files / "folder", folder)
    data = json.loads((folder / CONFIG_NAME).read_text())
    data["network"] |= {"base_channels": 2048, "multipliers": [1] * 8, "blocks_per_level": 8}
    (folder / CONFIG_NAME).write_text(json.dumps(data))
    with pytest.raises(InputError, match="do not fit the network"):
        load_model(folder)


def test_a_huge_configuration_is_not_read(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files / "folder", tmp_path / "m")
    with (tmp_path / "m" / CONFIG_NAME).open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(InputError, match=r"config\.json has more than 4,194,304 bytes"):
        load_model(tmp_path / "m")
