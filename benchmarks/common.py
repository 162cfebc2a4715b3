"""What every benchmark needs: timing in a fresh process, a description of the machine, and the result file."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
from medddpm.errors import InputError, OutOfMemory
from medddpm.files import write_text

GB = 1e9
FORMAT_VERSION = 1
RESULTS = Path(__file__).parent / "results"

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Timing:
    """Seconds that something took: ``wall`` on the clock, ``cpu`` summed over all threads (user + system)."""

    wall: float
    cpu: float


def timings(action: Callable[[], object], repeats: int, warmup: int = 1) -> list[Timing]:
    """Run ``action`` on the CPU ``warmup`` times unmeasured, then ``repeats`` times measured."""
    for _ in range(warmup):
        action()
    measured = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        measured.append(Timing(time.perf_counter() - wall, time.process_time() - cpu))
    return measured


def median(measured: Sequence[Timing]) -> Timing:
    """The median of each figure by itself."""
    return Timing(statistics.median(m.wall for m in measured), statistics.median(m.cpu for m in measured))


def in_fresh_process(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call ``function`` (of module scope) in a new interpreter, so that allocator settings and peaks are its own.

    Raises what it raises, and OutOfMemory where the process was killed.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as exc:
            raise OutOfMemory(
                "A measuring process ended abruptly, most likely for lack of memory. Close other programs, or measure "
                "a smaller size with --side."
            ) from exc


def peak_memory() -> int:
    """The largest resident memory of this process so far, bytes.

    From the kernel's record of this address space where there is one: getrusage would count the parent's as well.
    """
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="ascii").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@dataclass(frozen=True)
class Table:
    """Figures as measured, unrounded; each column's title names its unit. ``title`` says what was measured."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Requirement:
    """A figure and the bound that it must keep: ``bound`` is "at least" or "at most"."""

    what: str
    measured: float
    bound: str
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the figure keeps the bound; False where it is not a number."""
        return self.measured >= self.limit if self.bound == "at least" else self.measured <= self.limit


@dataclass(frozen=True)
class Suite:
    """The outcome of one benchmark command. ``settings`` are sizes and repeats; ``notes`` are sentences."""

    settings: dict[str, Any]
    tables: tuple[Table, ...]
    requirements: tuple[Requirement, ...] = ()
    notes: tuple[str, ...] = ()
    machine: dict[str, Any] = field(default_factory=lambda: machine())
    command: str = field(default_factory=lambda: command_line(sys.argv[1:]))
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data, with ``met`` beside every requirement."""
        requirements = [{**asdict(r), "met": r.met} for r in self.requirements]
        return {**asdict(self), "requirements": requirements}


def machine() -> dict[str, Any]:
    """CPU, memory, GPU and versions of this machine, and its 1-minute load: ask before a measurement, not after."""
    flags = {
        "AVX512-bf16": getattr(torch.cpu, "_is_avx512_bf16_supported", bool)(),
        "AMX": getattr(torch.cpu, "_is_amx_tile_supported", bool)(),
        "Arm bf16": getattr(torch.cpu, "_is_arm_bf16_supported", bool)(),
    }
    described = {
        "cpu": cpu_name(),
        "cores": cores(),
        "bf16": [name for name, present in flags.items() if present],
        "memory_gb": _memory_gb(),
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    return {**described, **(_gpu() if torch.cuda.is_available() else {})}


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor as it names itself."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text(encoding="utf-8").splitlines() if info.is_file() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    if not hasattr(os, "sysconf"):
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB, 1)


def _gpu() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "gpu_memory_gb": round(properties.total_memory / GB, 1),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def command_line(arguments: Sequence[str]) -> str:
    """The command as typed, with paths shortened to their last part: folders of one machine mean nothing elsewhere."""
    return shlex.join(["python", "-m", "benchmarks", *(_without_folders(a) for a in arguments)])


def _without_folders(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    return option + equals + (re.split(r"[\\/]", value.rstrip("\\/"))[-1] if re.search(r"[\\/]", value) else value)


def save(folder: Path, device: str, name: str, suite: Suite) -> Path:
    """Put ``suite`` as ``name`` into the result file of ``device`` in ``folder``, beside the other suites there."""
    path = Path(folder) / f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.json"
    empty: dict[str, Any] = {"format_version": FORMAT_VERSION, "device": device, "suites": {}}
    content = load(path) if path.is_file() else empty
    content["suites"][name] = _without_nan(suite.to_dict())
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _without_nan(value: Any) -> Any:
    """JSON has no not-a-number: what could not be measured is null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def load(path: Path) -> dict[str, Any]:
    """A result file. Raises InputError naming it where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        good = content["format_version"] == FORMAT_VERSION and isinstance(content["suites"], dict)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(f"{path} is not a benchmark result ({exc!r}). Delete it and measure again.") from exc
    if not good:
        raise InputError(f"{path} was written by another version of the benchmarks. Delete it and measure again.")
    return dict(content)


def cpu_device() -> str:
    """The name of a CPU's result file: processor and number of cores."""
    return f"{cpu_name()}, {cores()} core{'s' * (cores() != 1)}"
