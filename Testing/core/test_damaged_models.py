"""Checkpoints and model folders that are damaged, mislabeled or malicious: one clear sentence, and no code is run."""

from __future__ import annotations

import collections
import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from medddpm.config import NetworkConfig, ScheduleConfig
from medddpm.errors import InputError
from medddpm.models.folder import read_model_folder, save_model_folder
from medddpm.models.places import CONFIG_NAME, WEIGHTS_NAME
from medddpm.models.published import LEGACY_START, read_published, whole_head_config
from medddpm.models.registry import load_model
from medddpm.network.unet import UNet3D
from safetensors.torch import save_file
from small_models import small_config

State = dict[str, torch.Tensor]
TINY = NetworkConfig(1, 2, 32, (1,), 1)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def weights() -> State:
    """Weights of the smallest network with the published names."""
    torch.manual_seed(0)
    return UNet3D(TINY).state_dict()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound model in each form: zip.pt, legacy.pt and folder."""
    place = tmp_path_factory.mktemp("Modelle mit Lücke")
    state = {f"denoise_fn.{name}": tensor.half() for name, tensor in weights().items()}
    torch.save({"step": 1, "ema": state}, place / "zip.pt")
    torch.save({"step": 1, "ema": state}, place / "legacy.pt", _use_new_zipfile_serialization=False)
    save_model_folder(place / "folder", whole_head_config(TINY, ScheduleConfig(10)), weights(), torch.float16)
    return place


def refused(path: Path, *words: str) -> str:
    """Loading ``path`` ends in an InputError that names it and has ``words``; returns the sentence."""
    with pytest.raises(InputError) as caught:
        load_model(path)
    sentence = str(caught.value)
    for word in (str(path), *words):
        assert word in sentence
    assert len(sentence.removeprefix(str(path))) < 700
    return sentence


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
    for length in sorted({0, 1, 7, 8, 9, 100, len(data) - 2, *range(0, len(data), len(data) // 10)} - {len(data)}):
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


# Something else under the name


def _zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def _tar(path: Path, name: str = "storages") -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"abcd"))


NO_CHECKPOINT = "is no PyTorch checkpoint, whatever its name says"
OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda p: p.write_text("epoch,loss\n1,0.5\n"), NO_CHECKPOINT),
    "html": (lambda p: p.write_text("<!DOCTYPE html><title>Quota exceeded</title>"), NO_CHECKPOINT),
    "jpeg": (lambda p: p.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(500)), NO_CHECKPOINT),
    "gzip": (lambda p: p.write_bytes(b"\x1f\x8b\x08\x00" + bytes(50)), NO_CHECKPOINT),
    "plain pickle": (lambda p: p.write_bytes(pickle.dumps({"a": 1})), NO_CHECKPOINT),
    "zip of text": (lambda p: _zip(p, {"readme.txt": b"hello"}), "damaged or is no PyTorch checkpoint"),
    "empty zip": (lambda p: _zip(p, {}), NO_CHECKPOINT),
    "tar": (_tar, NO_CHECKPOINT),
    "tar that begins as a checkpoint": (lambda p: _tar_as_legacy(p), NO_CHECKPOINT),
    "empty": (lambda p: p.write_bytes(b""), "0 bytes"),
    "folder": (lambda p: p.mkdir(), "no model folder: it has no config.json"),
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
    refused(files / "folder" / CONFIG_NAME, "is no PyTorch checkpoint", "model folder")


@pytest.mark.parametrize("name", ["nowhere.pt", "~nobody-of-that-name/model", "x" * 5000, "a\0b", "Köpfe/模型 1.pt"])
def test_what_is_not_there_is_said(name: str) -> None:
    with pytest.raises(InputError, match=r"There is no model .*no such file or folder"):
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
        with pytest.raises(InputError, match=rf"{name} is not a file"):
            load_model(folder)


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
        _zip(path, {f"m/{name}": payload for name in ("data.pkl", "constants.pkl")} | {"m/version": b"3\n"})
    else:
        options = {
            "_use_new_zipfile_serialization": form != "legacy",
            "pickle_protocol": 4 if form == "protocol 4" else 2,
        }
        torch.save({"ema": evil}, path, **options)
    reason = {"plain pickle": NO_CHECKPOINT, "tar": NO_CHECKPOINT, "torchscript": "is a TorchScript program"}
    refused(path, reason.get(form, "holds something else than tensors (possibly code)"))
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
    _zip(tmp_path / "bomb.pt", {f"m/data/{i}": bytes(2**24) for i in range(entries)}, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "bomb.pt").stat().st_size < 2**17
    refused(tmp_path / "bomb.pt", "unpacks to more than its own size")


def test_compressed_copies_of_a_checkpoint_are_refused(files: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(files / "zip.pt") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    _zip(tmp_path / "again.pt", entries, zipfile.ZIP_DEFLATED)
    refused(tmp_path / "again.pt", "no PyTorch checkpoint")


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
    _zip(tmp_path / "a.pt", entries | {name: entries[name].replace(small, large)})
    refused(tmp_path / "a.pt", "damaged or is no PyTorch checkpoint")


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
    with pytest.raises(InputError, match=r"config\.json has 1099511627776 bytes"):
        load_model(tmp_path / "m")


# Other networks, other numbers


def _without(state: State) -> State:
    del state["middle_block.1.qkv.weight"]
    return state


CHANGES: dict[str, tuple[Callable[[State], State], list[str]]] = {
    "missing tensor": (_without, ["middle_block.1.qkv.weight is missing"]),
    "extra tensor": (lambda s: s | {"head.weight": torch.zeros(3)}, ["no tensor 'head.weight'"]),
    "hostile name": (lambda s: s | {"\x1b[2J" + "x" * 9999: torch.zeros(3)}, ["no tensor '\\x1b"]),
    "wrong shape": (
        lambda s: s | {"out.0.bias": torch.zeros(7)},
        ["out.0.bias should have shape (32,), but has [7]"],
    ),
    "2D U-Net": (
        lambda s: {k: v.flatten(3) if v.ndim == 5 else v for k, v in s.items()},
        ["should have shape"],
    ),
    "nan": (
        lambda s: s | {"out.0.bias": torch.full((32,), float("nan"))},
        ["out.0.bias holds values that are not finite"],
    ),
    "inf": (lambda s: s | {"out.0.bias": torch.full((32,), float("-inf"))}, ["not finite"]),
    "beyond float32": (lambda s: s | {"out.0.bias": torch.full((32,), 1e300, dtype=torch.float64)}, ["not finite"]),
    "integers": (lambda s: s | {"out.0.bias": torch.ones(32, dtype=torch.int32)}, ["out.0.bias holds int32"]),
    "booleans": (lambda s: s | {"out.0.bias": torch.ones(32, dtype=torch.bool)}, ["out.0.bias holds bool"]),
    "complex": (lambda s: s | {"out.0.bias": torch.ones(32, dtype=torch.complex64)}, ["out.0.bias holds complex64"]),
    "8-bit floats": (lambda s: s | {"out.0.bias": torch.ones(32).to(torch.float8_e4m3fn)}, ["holds float8_e4m3fn"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_weights_are_refused(tmp_path: Path, change: str) -> None:
    edit, words = CHANGES[change]
    state = edit(weights())
    torch.save({"ema": state}, tmp_path / "other.pt")
    refused(tmp_path / "other.pt", *words, "Use the checkpoint as its authors published it")
    config = whole_head_config(TINY, ScheduleConfig(10))
    save_model_folder(tmp_path / "m", config, state)
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / "m")
    for word in (str(tmp_path / "m" / WEIGHTS_NAME), *words, "Copy the whole model folder again"):
        assert word in str(caught.value)


SPECIAL: dict[str, Callable[[], object]] = {
    "sparse": lambda: torch.ones(32).to_sparse(),
    "compressed sparse": lambda: torch.eye(32).to_sparse_csr(),
    "quantized": lambda: torch.quantize_per_tensor(torch.ones(32), 0.1, 0, torch.qint8),
    "meta": lambda: torch.ones(32, device="meta"),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(3), torch.ones(4)]),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, on making these kinds
@pytest.mark.parametrize("kind", SPECIAL)
def test_tensors_of_special_kinds_are_refused(tmp_path: Path, kind: str) -> None:
    torch.save({"ema": weights() | {"out.0.bias": SPECIAL[kind]()}}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt")


NETWORKS: dict[str, State] = {
    "no unet": {"fc.weight": torch.zeros(3, 3)},
    "scalars": {"input_blocks.0.0.weight": torch.tensor(1.0), "out.2.weight": torch.tensor(1.0)},
    "no channels": {"input_blocks.0.0.weight": torch.zeros(0, 3, 3, 3, 3), "out.2.weight": torch.zeros(1, 0, 3, 3, 3),
                    "input_blocks.1.0.in_layers.2.weight": torch.zeros(0, 0, 3, 3, 3)},
    "more images than inputs": {"input_blocks.0.0.weight": torch.zeros(32, 3, 1), "out.2.weight": torch.zeros(9, 1)},
    "odd channels": {"input_blocks.0.0.weight": torch.zeros(7, 3, 1, 1, 1), "out.2.weight": torch.zeros(1, 1),
                     "input_blocks.1.0.in_layers.2.weight": torch.zeros(7, 1)},
    "many levels": {"input_blocks.0.0.weight": torch.zeros(32, 3, 1), "out.2.weight": torch.zeros(1, 1)}
    | {f"input_blocks.{2 * i + 1}.0.in_layers.2.weight": torch.zeros(32, 1) for i in range(20)}
    | {f"input_blocks.{2 * i + 2}.0.op.weight": torch.zeros(32, 1) for i in range(20)},
}  # fmt: skip


@pytest.mark.parametrize("kind", NETWORKS)
def test_other_architectures_are_refused(tmp_path: Path, kind: str) -> None:
    torch.save({"ema": NETWORKS[kind]}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "another architecture")


def test_the_same_tensor_twice_is_refused(tmp_path: Path) -> None:
    state = weights()
    torch.save({"ema": state | {f"module.{name}": -tensor for name, tensor in state.items()}}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "is there twice")


def test_odd_but_sound_containers_are_read(tmp_path: Path) -> None:
    """Ordered dictionaries, parameters and tensors that are views: torch users save them, and they are fine."""
    state = collections.OrderedDict((k, torch.nn.Parameter(v)) for k, v in weights().items())
    block = torch.stack([v.T.contiguous() for v in (state["time_embed.2.weight"],) * 2])
    state["time_embed.2.weight"] = block[1].T
    torch.save({"ema": state}, tmp_path / "a.pt")
    _, found = read_published(tmp_path / "a.pt")
    assert all(torch.equal(found[name], tensor) for name, tensor in weights().items())


# Folders whose parts do not belong together


def test_a_folder_lacks_a_file(files: Path, tmp_path: Path) -> None:
    for name, words in ((CONFIG_NAME, "is no model folder"), (WEIGHTS_NAME, "cannot be read: No such file")):
        folder = tmp_path / f"ohne {name}"
        shutil.copytree(files / "folder", folder)
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"{name}.*{words}|{words}.*{name}"):
            load_model(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format_version": 99}, "Update MedDDPM"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"modalities": ["T1", "T2"]}, "1 names, one an image channel"),
        ({"weights_sha256": "0" * 64}, "damaged or belong to another config.json"),
        ({"weights_sha256": "../../../etc/passwd"}, "64 hexadecimal digits"),
    ],
)
def test_configurations_that_do_not_fit_name_their_file(
    files: Path, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = tmp_path / "ein Modell, 模型"
    shutil.copytree(files / "folder", folder)
    data = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    (folder / CONFIG_NAME).write_text(json.dumps(data | change))
    refused(folder, words, CONFIG_NAME)


def test_a_configuration_that_is_no_text_is_refused(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files / "folder", tmp_path / "m")
    (tmp_path / "m" / CONFIG_NAME).write_bytes(b"\xff\xfe\x00{")
    refused(tmp_path / "m", "is not UTF-8 text")


def test_a_byte_order_mark_does_no_harm(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files / "folder", tmp_path / "m")
    path = tmp_path / "m" / CONFIG_NAME
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_model(tmp_path / "m").config.network == TINY


def test_weights_without_a_checksum_are_still_checked(tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in weights().items()}
    state["out.2.bias"] = torch.tensor([float("inf")])
    save_file(state, tmp_path / WEIGHTS_NAME)
    (tmp_path / CONFIG_NAME).write_text(whole_head_config(TINY, ScheduleConfig(10)).to_json())
    refused(tmp_path, "out.2.bias holds values that are not finite")


def test_a_damaged_configuration_beside_a_checkpoint_is_named(files: Path, tmp_path: Path) -> None:
    shutil.copy(files / "zip.pt", tmp_path / "m.pt")
    for data in (b"{", b"\xff", b"", small_config().to_json().encode().replace(b'"steps": 12', b'"steps": 0')):
        (tmp_path / "m.config.json").write_bytes(data)
        with pytest.raises(InputError, match=r"m\.config\.json"):
            load_model(tmp_path / "m.pt")
