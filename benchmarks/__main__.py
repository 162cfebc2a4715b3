"""``python -m benchmarks``: one command for each suite; results go to ``benchmarks/results/<device>.json``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from medddpm.errors import MedDDPMError
from medddpm.models.device import choose_device

from .common import RESULTS, Suite, cpu_device, machine, save
from .render import render, suite_section

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Results = Annotated[Path, typer.Option(help="Folder for the result files.")]
Quick = Annotated[bool, typer.Option(help="A tiny network and grid, to see that it runs; nothing is kept.")]
Threads = Annotated[int, typer.Option(help="Threads to compute with; 0 leaves it to torch.")]


def report(name: str, device: str, results: Path | None, measure: Callable[[], Suite], threads: int = 0) -> Suite:
    """Measure, show and keep one suite; ``results`` None keeps nothing."""
    if threads:
        torch.set_num_threads(threads)
    before = machine()  # its load average is that of other work only before the measurement
    suite = replace(measure(), machine=before)
    typer.echo(suite_section(name, suite.to_dict()))
    if results is not None:
        typer.echo(
            f"\nKept in {save(results, device, name, suite)}. Show it in docs/ with: python -m benchmarks render"
        )
    return suite


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_device()


@app.command("cpu")
def cpu_command(
    side: Annotated[int, typer.Option(help="Voxels along each side of the grid.")] = 64,
    repeats: Annotated[int, typer.Option(help="Measured evaluations in each process.")] = 3,
    rounds: Annotated[int, typer.Option(help="Processes for each path.")] = 2,
    training: Annotated[bool, typer.Option(help="Measure a training step, too.")] = True,
    threads: Threads = 0,
    quick: Quick = False,
    results: Results = RESULTS,
) -> None:
    """One evaluation of the published whole-head network: plain path, fast path, and each choice undone."""
    from . import cpu

    settings = cpu.CpuSettings(side=side, repeats=repeats, rounds=rounds, threads=threads)
    settings = replace(cpu.QUICK, threads=threads) if quick else settings
    report("cpu", cpu_device(), None if quick else results, lambda: cpu.run(settings, training=training), threads)


@app.command("volumes")
def volumes_command(
    side: Annotated[int, typer.Option(help="Voxels along each side of the grid.")] = 128,
    demo: Annotated[str, typer.Option(help="Model for the run of the command line; empty for none.")] = "demo",
    threads: Threads = 0,
    quick: Quick = False,
    results: Results = RESULTS,
) -> None:
    """A whole-head volume with the default sampler, and the demo from command to result."""
    from . import volumes

    settings = volumes.VolumeSettings(side=side, threads=threads, demo=demo)
    settings = replace(volumes.QUICK, threads=threads, demo=demo) if quick else settings
    report("volumes", cpu_device(), None if quick else results, lambda: volumes.run(settings), threads)


@app.command("anatomy")
def anatomy_command(
    seeds: Annotated[int, typer.Option(help="How many anatomies.")] = 8,
    threads: Threads = 0,
    results: Results = RESULTS,
) -> None:
    """How long it takes to complete a mask of tumor and brain with an anatomy of the bank, at 1 mm."""
    from . import anatomy

    settings = anatomy.AnatomySettings(seeds=seeds, threads=threads or 2)
    report("anatomy", cpu_device(), results, lambda: anatomy.run(settings), threads)


@app.command("inpainting")
def inpainting_command(
    source: Annotated[Path, typer.Argument(help="Folder of BraTS cases.")],
    out: Annotated[Path, typer.Option(help="Folder for a picture of each case: before, and after.")],
    model: Annotated[str, typer.Option(help="Model folder or name.")] = "demo",
    case: Annotated[list[str] | None, typer.Option(help="Only this case; repeatable.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 1,
    threads: Threads = 0,
    results: Results = RESULTS,
) -> None:
    """The tumor removed from real scans: what fills the region beside healthy brain."""
    from . import inpainting

    settings = inpainting.InpaintingSettings(str(source), model, tuple(case or ()), seed, str(out), threads or 2)
    report("inpainting", cpu_device(), results, lambda: inpainting.run(settings), threads)


@app.command("worker")
def worker_command(
    model: Annotated[str, typer.Option(help="Model folder or name.")] = "demo",
    jobs: Annotated[int, typer.Option(help="Measured jobs.")] = 5,
    steps: Annotated[int, typer.Option(help="Sampling steps of each.")] = 5,
    results: Results = RESULTS,
) -> None:
    """How long a second job waits in the warm worker before its first step."""
    from . import worker

    settings = worker.WorkerSettings(model, jobs, steps)
    report("worker", cpu_device(), results, lambda: worker.run(settings))


@app.command("sweep")
def sweep_command(
    out: Annotated[Path, typer.Option(help="Folder for points and strips; the same again goes on where it stopped.")],
    masks: Annotated[list[Path] | None, typer.Argument(help="Mask files.", metavar="[MASK...]")] = None,
    model: Annotated[str, typer.Option(help="Model folder or name.")] = "demo",
    dataset: Annotated[Path | None, typer.Option(help="A prepared dataset, with real images.")] = None,
    split: Annotated[str, typer.Option(help="Its split to use.")] = "test",
    samplers: Annotated[str, typer.Option(help="Samplers, separated by commas.")] = "ddim,dpm++2m,dpm++3m,unipc,ddpm",
    steps: Annotated[str, typer.Option(help="Numbers of steps, separated by commas.")] = "5,10,15,20,25,50",
    reference_steps: Annotated[int, typer.Option(help="Steps of the reference; 0: all of the schedule.")] = 0,
    cases: Annotated[int, typer.Option(help="At most so many cases; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    threads: Threads = 0,
    results: Results = RESULTS,
) -> None:
    """Samplers and numbers of steps against the result of all steps, on the same noise."""
    from . import sweep

    settings = sweep.SweepSettings(
        folder=str(out),
        model=model,
        masks=tuple(str(mask) for mask in masks or ()),
        dataset=str(dataset or ""),
        split=split,
        samplers=tuple(samplers.split(",")),
        steps=tuple(int(n) for n in steps.split(",")),
        reference_steps=reference_steps,
        cases=cases,
        seed=seed,
        device=device,
        precision=precision,
    )
    name = f"sweep:{Path(model).name}"
    report(name, _device_name(choose_device(device)), results, lambda: sweep.run(settings, typer.echo), threads)


@app.command("training")
def training_command(
    side: Annotated[int, typer.Option(help="Voxels along each side of the grid (CPU).")] = 64,
    iterations: Annotated[int, typer.Option(help="Measured iterations in each process.")] = 3,
    rounds: Annotated[int, typer.Option(help="Processes for each path.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, or cuda: the published networks on their grids.")] = "cpu",
    threads: Threads = 0,
    quick: Quick = False,
    results: Results = RESULTS,
) -> None:
    """Training: the plain path beside the Trainer, and the compact network; exit code 1 where a bound is missed."""
    from . import training

    where = choose_device(device)
    settings = training.TrainingSettings(
        shape=(side, side, side), iterations=iterations, rounds=rounds, threads=threads, device=where.type
    )
    if quick:
        settings = replace(training.QUICK, threads=threads, device=where.type)
    on_gpu = replace(settings, shape=(128, 128, 128), iterations=10 * iterations, warmup=5, augment=True)
    brats = replace(on_gpu, network="brats", shape=(144, 192, 192))
    gpu = where.type == "cuda" and not quick
    suite = report(
        "training",
        _device_name(where),
        None if quick else results,
        lambda: training.run_gpu(on_gpu, brats) if gpu else training.run(settings),
        threads,
    )
    if not quick and not all(requirement.met for requirement in suite.requirements):
        raise typer.Exit(1)


@app.command("train-estimate")
def train_estimate_command(threads: Threads = 0, quick: Quick = False, results: Results = RESULTS) -> None:
    """Memory and time of trainings on a CPU as they are estimated, beside what they really take."""
    from . import training_estimate

    cases = training_estimate.QUICK if quick else training_estimate.CASES
    kept = None if quick else results
    report("train-estimate", cpu_device(), kept, lambda: training_estimate.run(cases, threads), threads)


@app.command("gpu")
def gpu_command(results: Results = RESULTS) -> None:
    """All checks on the GPU; ends with exit code 1 where a requirement is missed."""
    if not torch.cuda.is_available():
        typer.echo("PyTorch sees no CUDA GPU on this machine, so there is nothing to check.")
        return
    from . import gpu

    device = torch.device("cuda", 0)
    suite = report("gpu", _device_name(device), results, lambda: gpu.run(gpu.GpuSettings(), device))
    if not all(requirement.met for requirement in suite.requirements):
        raise typer.Exit(1)


@app.command("render")
def render_command(results: Results = RESULTS) -> None:
    """Write the tables of docs/benchmarks.md from the result files."""
    render(results=results)


def main() -> None:
    """Run the command; an error becomes one plain message and the exit code of the job contract."""
    try:
        app(prog_name="python -m benchmarks")
    except MedDDPMError as exc:
        typer.echo(f"Error: {exc}", err=True)
        sys.exit(exc.exit_code)


if __name__ == "__main__":
    main()
