"""Sound files that are no model of ours: other networks and numbers, parts that do not belong together."""

from __future__ import annotations

import collections
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from medddpm.config import ScheduleConfig
from medddpm.errors import InputError
from medddpm.models.config_file import CONFIG_NAME, WEIGHTS_NAME
from medddpm.models.published import read_published, whole_head_config
from medddpm.models.registry import load_model, save_model_folder
from model_files import TINY, State, refused, weights, write_models
from safetensors.torch import save_file
from small_models import small_config


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound model in each form: zip.pt, legacy.pt and folder."""
    return write_models(tmp_path_factory.mktemp("Modelle mit Lücke"))


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
    for name, words in ((CONFIG_NAME, "is not a model folder"), (WEIGHTS_NAME, "cannot be read: No such file")):
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
