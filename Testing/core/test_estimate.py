"""The estimate of time and memory: against what a process really takes, and against limits of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mask_phantoms import config as mask_model
from medddpm import errors, memory
from medddpm.config import NetworkConfig
from medddpm.errors import OutOfMemory
from medddpm.network.cost import network_cost
from medddpm.synthesis import estimate as estimates
from medddpm.synthesis.estimate import BASE_BYTES, GIB, Estimate, duration, estimate, require_memory
from synthesis_phantoms import tiny_config

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
CPU = torch.device("cpu")
# Memory of one evaluation over that of the process before it; the grid makes activations outweigh all else.
MEASURE = """
import sys
from pathlib import Path
from medddpm.memory import keep_freed_memory, resident_memory
keep_freed_memory()
import torch
torch.set_num_threads(1)
from medddpm.config import NetworkConfig
from medddpm.network.unet import UNet3D
dtype = getattr(torch, sys.argv[1])
network = UNet3D(NetworkConfig(1, 2, 16, (1, 2, 2, 2), 1, (), 1, 8)).to(dtype, memory_format=torch.channels_last_3d)
x = torch.randn(1, 3, 96, 96, 96).to(dtype).contiguous(memory_format=torch.channels_last_3d)
before = resident_memory()
with torch.inference_mode():
    network(x, torch.tensor([3]))
# not getrusage: its maximum may be that of the process which started this one
status = Path('/proc/self/status').read_text()
print(1024 * int(status.split('VmHWM:')[1].split()[0]) - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("name", ["bfloat16", "float32"])
def test_the_memory_is_about_what_an_evaluation_takes(name: str) -> None:
    """Wide limits: which convolution runs, with how much scratch memory, depends on the processor."""
    line = [sys.executable, "-c", MEASURE, name]
    taken = float(subprocess.run(line, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout)
    dtype = getattr(torch, name)
    cost = network_cost(NetworkConfig(1, 2, 16, (1, 2, 2, 2), 1, (), 1, 8), (96, 96, 96))
    size = torch.finfo(dtype).bits // 8
    predicted = (cost.skip_values + estimates.WORKING_TENSORS[dtype] * cost.widest_values) * size
    assert 0.5 < predicted / taken < 2


def test_the_estimate_grows_with_the_work() -> None:
    config = tiny_config()
    few, many = (estimate(config, n, CPU, torch.float32) for n in (1, 1000))
    assert many.seconds == pytest.approx(1000 * few.seconds)  # the device was measured once
    assert many.memory_bytes == few.memory_bytes > BASE_BYTES
    assert estimate(config, 1, CPU, torch.bfloat16).memory_bytes < few.memory_bytes


def test_the_published_networks_are_estimated_near_their_measured_peaks() -> None:
    """Peaks of the calibration, GiB; see the comment there."""
    whole = NetworkConfig(1, 2, 64, (1, 1, 2, 3, 4), 1, (8,))
    brats = NetworkConfig(4, 4, 64, (1, 1, 2, 3, 4), 2, ())
    measured = [
        (whole, 64, torch.bfloat16, 0.82),
        (whole, 64, torch.float32, 1.34),
        (whole, 96, torch.bfloat16, 1.50),
        (whole, 96, torch.float32, 3.17),
        (brats, 64, torch.bfloat16, 0.96),
        (brats, 64, torch.float32, 1.54),
    ]
    for network, side, dtype, peak in measured:
        needed = estimates.memory_needed(network, (side, side, side), CPU, dtype) / GIB
        whole_run = peak + 0.1  # what reading, checking and writing a case adds
        assert 0.9 < needed / whole_run < 1.25


def test_completing_an_anatomy_takes_memory_besides_the_network() -> None:
    config = mask_model("glioma-anatomy")
    own = estimates.memory_needed(config.network, config.grid.shape[::-1], CPU, torch.float32)
    more = estimate(config, 1, CPU, torch.float32).memory_bytes - own
    assert more == estimates.ANATOMY_COPIES * 11 * 4 * 64**3


def test_advice_fits_the_request() -> None:
    config = tiny_config()
    short = Estimate(10.0, 8 * GIB, 2 * GIB)
    with pytest.raises(OutOfMemory, match=r"8\.0 GB .*'cuda:0', but only 2\.0 GB.*the precision bf16.*the device cpu"):
        require_memory(short, config, torch.device("cuda:0"), torch.float32)
    with pytest.raises(OutOfMemory) as raised:
        require_memory(short, config, CPU, torch.bfloat16)
    assert "bf16" not in str(raised.value) and "device cpu" not in str(raised.value)
    require_memory(Estimate(10.0, 8 * GIB, None), config, CPU, torch.float32)  # unknown: try it


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1 s"), (40.4, "40 s"), (99.6, "100 s"), (360, "6 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def write_group(folder: Path, version: int, limit: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = ("memory.max", "memory.current", "") if version == 2 else memory._CGROUP_FILES[1]
    (folder / names[0]).write_text(limit + "\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]}inactive_file {cache}\n{names[2]}active_file 0\n")


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up /sys/fs/cgroup; what /proc/self/cgroup says is in the file "self"."""
    monkeypatch.setattr(memory, "_CGROUP_ROOT", tmp_path / "fs")
    monkeypatch.setattr(memory, "_CGROUP_OF_PROCESS", tmp_path / "self")
    return tmp_path


def test_a_batch_job_has_what_its_control_group_leaves(groups: Path) -> None:
    (groups / "self").write_text("0::/slurm/job_7/step_0\n")
    write_group(groups / "fs" / "slurm" / "job_7" / "step_0", 2, "max", 100, 0)
    write_group(groups / "fs" / "slurm" / "job_7", 2, "1000", 700, 200)
    write_group(groups / "fs" / "slurm", 2, "9000", 700, 0)
    assert memory._cgroup_available() == 500  # files that are only cached can be given up


def test_version_1_groups_and_none_at_all(groups: Path) -> None:
    (groups / "self").write_text("5:devices:/x\n4:memory:/box\n0::/\n")
    write_group(groups / "fs" / "memory" / "box", 1, "1000", 400, 0)
    assert memory._cgroup_available() == 600
    (groups / "self").write_text("0::/elsewhere\n")
    assert memory._cgroup_available() is None
    (groups / "self").unlink()
    assert memory._cgroup_available() is None


def test_memory_held_already_counts_as_available(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a warm worker would refuse its second job for the memory that it kept from the first."""
    monkeypatch.setattr(memory, "_machine_available", lambda: 1e9)
    monkeypatch.setattr(memory, "_cgroup_available", lambda: None)
    monkeypatch.setattr(memory, "resident_memory", lambda: 5e8)
    assert memory.available_memory("cpu") == 1.5e9
