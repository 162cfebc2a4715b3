"""The smallest model in each form that models come in, for the tests of reading them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from medddpm.config import NetworkConfig, ScheduleConfig
from medddpm.errors import InputError
from medddpm.models.published import whole_head_config
from medddpm.models.registry import load_model, save_model_folder
from medddpm.network.unet import UNet3D

State = dict[str, torch.Tensor]
TINY = NetworkConfig(1, 2, 32, (1,), 1)


def weights() -> State:
    """Weights of the smallest network with the published names."""
    torch.manual_seed(0)
    return UNet3D(TINY).state_dict()


def refused(path: Path, *words: str) -> str:
    """Loading ``path`` ends in an InputError that names it and has ``words``; returns the sentence."""
    with pytest.raises(InputError) as caught:
        load_model(path)
    sentence = str(caught.value)
    for word in (str(path), *words):
        assert word in sentence
    assert len(sentence.removeprefix(str(path))) < 700
    return sentence


def write_zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """A zip archive of ``entries``: their names and contents."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


NO_CHECKPOINT = "is not a PyTorch checkpoint, despite its name"


def write_models(place: Path) -> Path:
    """One sound model in each form: zip.pt, legacy.pt and folder."""
    state = {f"denoise_fn.{name}": tensor.half() for name, tensor in weights().items()}
    torch.save({"step": 1, "ema": state}, place / "zip.pt")
    torch.save({"step": 1, "ema": state}, place / "legacy.pt", _use_new_zipfile_serialization=False)
    save_model_folder(place / "folder", whole_head_config(TINY, ScheduleConfig(10)), weights(), torch.float16)
    return place
