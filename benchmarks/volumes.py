"""Whole volumes: the published whole-head network with the default sampler, and the demo through the command line."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import medddpm
import torch
from medddpm.errors import InputError, MedDDPMError
from medddpm.memory import keep_freed_memory
from medddpm.models.device import DTYPES
from medddpm.models.model import Model
from medddpm.models.places import find_config, find_model
from medddpm.sampling.sample import SampleStep, sample

from .common import GB, Requirement, Suite, Table, in_fresh_process, peak_memory
from .cpu import CpuSettings, Evaluation
from .cpu import measure as measure_evaluation
from .networks import FAST, PLAIN, condition, config_named, reference_network
from .phantom import write_phantom

MAX_SECONDS, MAX_GB, MAX_DEMO_SECONDS = 360.0, 5.0, 60.0
TIMEOUT_SECONDS = 3600


@dataclass(frozen=True)
class VolumeSettings:
    """``sampler`` and ``steps`` empty or 0: the model's own. ``demo`` is a model for the command line, "" for none."""

    network: str = "whole-head"
    side: int = 128
    sampler: str = ""
    steps: int = 0
    threads: int = 0
    demo: str = "demo"


QUICK = VolumeSettings("small", side=16, steps=2)


@dataclass(frozen=True)
class VolumeRun:
    """Seconds (wall, CPU and of a typical step), network evaluations, peak memory (bytes) of one volume."""

    wall: float
    cpu: float
    step: float
    evaluations: int
    peak: int


def measure(settings: VolumeSettings) -> VolumeRun:
    """One volume in the fast path, in this process; call it in a fresh one. Loading the weights is not counted."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    keep_freed_memory()
    config, shape = config_named(settings.network), (settings.side,) * 3
    network = reference_network(config.network)
    model = Model(config, network, torch.device("cpu"), DTYPES[FAST.precision], "0" * 64)
    mask, ends = condition(config, shape), [time.perf_counter()]

    def on_step(step: SampleStep) -> None:
        ends.append(time.perf_counter())

    cpu = time.process_time()
    sample(model, mask, settings.sampler or config.sampler, settings.steps or config.sampler_steps, callback=on_step)
    wall, cpu = time.perf_counter() - ends[0], time.process_time() - cpu
    step = statistics.median(b - a for a, b in itertools.pairwise(ends))
    return VolumeRun(wall, cpu, step, len(ends) - 1, peak_memory())


def run(settings: VolumeSettings) -> Suite:
    """The whole-head volume in both paths, then the demo."""
    fast = in_fresh_process(measure, settings)
    one = CpuSettings(settings.network, settings.side, repeats=1, rounds=1, threads=settings.threads)
    plain = in_fresh_process(measure_evaluation, PLAIN, one)
    tables = [_volume_table(settings, fast, plain)]
    required = [
        Requirement("whole-head volume, default sampler", fast.wall, "at most", MAX_SECONDS, "s"),
        Requirement("its peak memory", fast.peak / GB, "at most", MAX_GB, "GB"),
    ]
    notes = [_NOTE]
    if settings.demo:
        try:
            find_model(settings.demo)
        except InputError:
            notes.append(f"The demo was not measured: there is no model '{Path(settings.demo).name}' here.")
        else:
            demo = measure_demo(settings.demo)
            tables.append(_demo_table(demo))
            required.append(Requirement("demo through the command line", demo.wall, "at most", MAX_DEMO_SECONDS, "s"))
    shown = {**asdict(settings), "demo": Path(settings.demo).name}
    return Suite(shown, tuple(tables), tuple(required), tuple(notes))


_NOTE = (
    "The plain path's volume is not run: its seconds are those of one measured evaluation times the 250 steps of the "
    "published rule."
)


def _volume_table(settings: VolumeSettings, fast: VolumeRun, plain: Evaluation) -> Table:
    config, timing = config_named(settings.network), plain.measured[0]
    steps = config.schedule.steps
    sampler = settings.sampler or config.sampler
    rows = (
        (f"fast path, {sampler}, measured", fast.evaluations, fast.step, fast.wall, fast.cpu, fast.peak / GB),
        (
            "plain path, ddpm, extrapolated from one evaluation",
            steps,
            timing.wall,
            timing.wall * steps,
            timing.cpu * steps,
            plain.peak / GB,
        ),
    )
    columns = ("path", "evaluations", "s an evaluation", "s a volume", "CPU s a volume", "peak memory GB")
    return Table(f"A {settings.side}^3 volume of the {settings.network} network", columns, rows)


def measure_demo(model: str) -> VolumeRun:
    """The default ``medddpm synth`` of one made-up mask as a process of its own, from its start to its end.

    Raises InputError where there is no such model, MedDDPMError with what the command said where it failed.
    """
    config = find_config(model)
    with tempfile.TemporaryDirectory() as folder:
        mask = Path(folder) / "made-up.nii.gz"
        write_phantom(mask, config)
        command = [sys.executable, "-m", "medddpm.cli", "synth", str(mask), "--model", model, "--out", f"{folder}/out"]
        measured = _run_command(command)
    return replace(measured, step=measured.wall / config.sampler_steps, evaluations=config.sampler_steps)


def environment() -> dict[str, str]:
    """This process' environment, with the package that it imported itself found first."""
    package = str(Path(medddpm.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}


def _run_command(command: list[str]) -> VolumeRun:
    """Run a command in a process whose only child it is, so that the child's usage is the command's."""
    wall, cpu, peak = in_fresh_process(_usage_of, command, environment())
    return VolumeRun(wall, cpu, wall, 1, peak)


def _usage_of(command: list[str], environment: dict[str, str]) -> tuple[float, float, int]:
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    wall = time.perf_counter() - started
    if done.returncode:
        raise MedDDPMError(
            f"The command 'medddpm {command[3]}' ended with code {done.returncode}: {done.stderr.strip()}"
        )
    return wall, *_usage_of_children()


def _usage_of_children() -> tuple[float, int]:
    """CPU seconds and peak memory (bytes) of the children that have ended; not to be had on Windows: zeros."""
    if sys.platform == "win32":
        return 0.0, 0
    import resource

    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _demo_table(demo: VolumeRun) -> Table:
    title = "The demo: `medddpm synth` of one mask with all defaults, from the start of the command to its end"
    columns = ("evaluations", "wall s", "CPU s", "peak memory GB")
    return Table(title, columns, ((demo.evaluations, demo.wall, demo.cpu, demo.peak / GB),))
