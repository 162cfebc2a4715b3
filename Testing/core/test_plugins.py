"""Samplers, networks, layouts and schemes of another package, installed as pip would leave it: code and metadata."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from medddpm import plugins
from medddpm.errors import InputError
from medddpm.labels.scheme import LabelScheme
from patience import patient
from source_phantoms import write_tiny
from training_runs import make_dataset

CODE = '''
"""What a lab adds."""
import torch
from medddpm.labels.scheme import Label, LabelScheme
from medddpm.preparation.sources.folders import MASK, Collector

SCHEME = LabelScheme("lab", (Label(1, "head", (1, 2, 3), "SCT^69536005^Head"),), 1, "air")

def euler(denoiser, path, noise, on_step):
    """One step from noise to image."""
    x0 = denoiser.x0(next(noise), int(path.timesteps[0]))
    on_step(0, x0)
    return x0

class Net(torch.nn.Module):
    """A single convolution."""
    def __init__(self, config):
        super().__init__()
        channels = config.image_channels
        self.only = torch.nn.Conv3d(channels + config.mask_channels, channels, 3, padding=1)
    def forward(self, x, t):
        return self.only(x)

def folders(source):
    """case/scan.nii.gz and case/labels.nii.gz"""
    found = Collector(source)
    for path in sorted(source.glob("*/*.nii.gz")):
        found.add(path.parent.name, MASK if path.name.startswith("labels") else "T1", path)
    return found
'''
USE = '''
"""All that the lab adds, by its names."""
import sys
from pathlib import Path
import medddpm
from medddpm.cli.app import main
from medddpm.labels.scheme import load_scheme
from medddpm.preparation.scan import scan_source

work, tiny, mask = map(Path, sys.argv[1:])
assert load_scheme("lab").label(1).name == "head"
assert [case.id for case in scan_source(work / "scans", "lab-folders").cases] == ["p1"]
case = medddpm.synthesize(mask, model=tiny, sampler="lab-euler", steps=1)
assert case.provenance["sampler"] == "lab-euler"
sys.argv[1:] = ["train", str(work / "train.toml")]
try:
    main()
except SystemExit as end:
    assert not end.code
model = medddpm.load_model(work / "run" / "outputs" / "model")
assert model.config.network.domain == "lab-net" and model.config.sampler_steps
'''
TOML = """
dataset = "set"
output = "run"
iterations = 2
precision = "fp32"
device = "cpu"
[network]
domain = "lab-net"
base_channels = 8
multipliers = [1, 2]
groups = 4
[schedule]
steps = 20
[monitor]
sample_every = 2
sample_steps = 2
validate_every = 0
tensorboard = false
"""
POINTS = """
[medddpm.samplers]
lab-euler = lab:euler
[medddpm.networks]
lab-net = lab:Net
[medddpm.layouts]
lab-folders = lab:folders
[medddpm.schemes]
lab = lab:SCHEME
"""


def install(folder: Path, name: str, code: str, points: str) -> None:
    """``name`` in ``folder``, as a wheel is unpacked."""
    (folder / f"{name}.py").write_text(code)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(points)


@pytest.mark.slow
def test_what_a_package_adds_is_used_by_its_name(tmp_path: Path, tiny: Path, mask: Path) -> None:
    install(tmp_path, "lab", CODE, POINTS)
    make_dataset(tmp_path / "set")
    (tmp_path / "train.toml").write_text(TOML)
    for name in ("scan", "labels"):
        write_tiny(tmp_path / "scans" / "p1" / f"{name}.nii.gz")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-c", USE, str(tmp_path), str(tiny), str(mask)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=patient(30))
    assert ended.returncode == 0, ended.stderr[-3000:]
    command = [sys.executable, "-m", "medddpm.cli", "synth", "--help"]
    ended = subprocess.run(
        command, env={**environment, "COLUMNS": "200"}, capture_output=True, text=True, timeout=patient(30)
    )
    assert "lab-euler" in ended.stdout


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that packages are found in."""
    monkeypatch.syspath_prepend(tmp_path)
    plugins._registered.cache_clear()
    yield tmp_path
    plugins._registered.cache_clear()


def test_what_cannot_be_used_is_told(installed: Path) -> None:
    points = "[medddpm.schemes]\ngone = labs:NOTHING\ntext = labs:TEXT\n[medddpm.samplers]\nddim = labs:TEXT\n"
    install(installed, "labs", "TEXT = 'labels'", points)
    install(installed, "broken", "raise OSError('no license server')", "[medddpm.samplers]\nbad = broken:run\n")
    install(installed, "other", "", "[medddpm.schemes]\ntext = other:TEXT\n[medddpm.samplers]\ntext = labs:TEXT\n")
    with pytest.warns(UserWarning, match="labs registers ddim in medddpm.samplers, which MedDDPM has itself"):
        assert plugins.names("samplers", ("ddpm", "ddim")) == ("ddpm", "ddim", "bad", "text")
    for kind, name, wanted, words in (
        ("schemes", "gone", LabelScheme, r"'gone' \(medddpm.schemes\) of labs cannot be loaded: AttributeError"),
        ("schemes", "text", LabelScheme, "two 'text' .* of labs and other. Uninstall one"),
        ("samplers", "text", None, "of other is a str, but must be a function"),
        ("samplers", "bad", None, "of broken cannot be loaded: OSError: no license server"),
    ):
        with pytest.raises(InputError, match=words):
            plugins.load(kind, name, wanted)
