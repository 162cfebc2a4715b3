"""``medddpm study``: the paper's studies, each by one command and a TOML file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..memory import keep_freed_memory
from ..progress import Reporter
from ..studies.reading import ReadingRequest
from ..synthesis.request import WHOLE, Shard
from .console import ConsoleReporter, say
from .options import given, with_options
from .root import app
from .workers import ShardOption, WorkersOption, given_to_workers, shard_of

if TYPE_CHECKING:
    from ..studies.request import StudyRequest

study = typer.Typer(no_args_is_help=True, help="The paper's studies on a dataset of your own.")
app.add_typer(study, name="study")


@study.callback()
def studies(context: typer.Context) -> None:
    """Raise where the packages of training, which studies of models need, are missing."""
    if context.invoked_subcommand not in ("reading", "readers") and importlib.util.find_spec("monai") is None:
        raise InputError('Studies need further packages. Install them with: pip install "medddpm[train]"')


ConfigArgument = Annotated[Path, typer.Argument(help="A TOML file: dataset, models and what to compute.")]
OutOption = Annotated[
    Path | None, typer.Option(help="Folder for tables and samples. Default: as the file says.", show_default=False)
]


@study.command("table1")
def table1_command(
    config: ConfigArgument, out: OutOption = None, workers: WorkersOption = "", shard: ShardOption = ""
) -> None:
    """Compare models on the same test masks: MSE, MMD, 3D-FID, MS-SSIM, FRD and the measures of 'medddpm evaluate'.

    Writes table1.html, table1.csv and table1.md. The same command again goes on where it was stopped.
    """
    from ..studies.request import Table1Request, read_study

    def compute(reporter: Reporter) -> Path:
        from ..studies.report import write_table1
        from ..studies.table1 import table1

        return write_table1(table1(request, reporter))

    request = read_study(config, Table1Request, out)
    _run(request, workers, shard, compute)


@study.command("table2")
def table2_command(
    config: ConfigArgument, out: OutOption = None, workers: WorkersOption = "", shard: ShardOption = ""
) -> None:
    """Train segmenters on real, augmented and synthetic cases, and compare them on the test patients.

    Writes table2.html, table2.csv and table2.md. The same command again goes on where it was stopped.
    """
    from ..studies.request import Table2Request, read_study

    def compute(reporter: Reporter) -> Path:
        from ..studies.table2 import table2
        from ..studies.table2_report import write_table2

        return write_table2(table2(request, reporter))

    def share(reporter: Reporter, part: Shard) -> None:
        from ..studies.table2 import make_share

        make_share(request, reporter, part)

    request = read_study(config, Table2Request, out)
    _run(request, workers, shard, compute, share)


@study.command("memorization")
def memorization_command(
    config: ConfigArgument, out: OutOption = None, workers: WorkersOption = "", shard: ShardOption = ""
) -> None:
    """Look for the nearest training case of every sample: does the model repeat patients?

    Writes memorization.html, memorization.csv and memorization.md. The same command again goes on where it was stopped.
    """
    from ..studies.request import MemorizationRequest, read_study

    def compute(reporter: Reporter) -> Path:
        from ..studies.memorization import memorization
        from ..studies.memorization_report import shares, write_memorization

        found = memorization(request, reporter)
        page = write_memorization(found)
        for model, space, samples, copies, *_ in shares(found):
            say(f"{model}: {copies} of {samples} samples are copies ({space}).")
        return page

    request = read_study(config, MemorizationRequest, out)
    _run(request, workers, shard, compute)


@study.command("anonymity")
def anonymity_command(
    config: ConfigArgument, out: OutOption = None, workers: WorkersOption = "", shard: ShardOption = ""
) -> None:
    """Try to link synthetic cases to the patients whose masks they were made from, by images and by masks.

    Writes anonymity.html, anonymity.csv and anonymity.md. The same command again goes on where it was stopped.
    """
    from ..studies.request import AnonymityRequest, read_study

    def compute(reporter: Reporter) -> Path:
        from ..studies.anonymity import anonymity
        from ..studies.anonymity_report import links, write_anonymity

        found = anonymity(request, reporter)
        page = write_anonymity(found)
        for model, anatomy, attack, share in links(found):
            say(f"{model}, anatomy {anatomy}: {share.hits} of {share.cases} cases linked by {attack}.")
        return page

    request = read_study(config, AnonymityRequest, out)
    _run(request, workers, shard, compute)


def _run(
    request: StudyRequest,
    workers: str,
    shard: str,
    compute: Callable[[Reporter], Path],
    share: Callable[[Reporter, Shard], None] | None = None,
) -> None:
    """Compute a study of models here, by workers, or as a worker its ``share``: without one, that of the samples."""

    def sample(reporter: Reporter, part: Shard) -> None:
        from ..studies.features import open_study
        from ..studies.radiomics import require_radiomics
        from ..studies.request import SamplesRequest
        from ..training.evaluation.samples import sample_share

        assert isinstance(request, SamplesRequest)
        open_study(request, reporter)  # what is missing is told before anything is sampled
        if getattr(request, "frd", False):
            require_radiomics()
        for asked in [asked for model in request.models for asked in request.evaluations(model)]:
            sample_share(asked, reporter, part)

    if given_to_workers(workers, shard, Path(request.output)):
        return
    keep_freed_memory()
    with ConsoleReporter() as reporter:
        if (part := shard_of(shard)) and part != WHOLE:
            return (share or sample)(reporter, part)
        page = compute(reporter)
    say(f"Open {page}")


@study.command("reading")
@with_options(ReadingRequest)
def reading_command(
    real: Annotated[Path, typer.Argument(help="Folder of real images, with names as in BraTS: case_t1ce.nii.gz.")],
    synthetic: Annotated[Path, typer.Argument(help="Folder of synthetic images, as 'medddpm synth' writes them.")],
    out: Annotated[Path, typer.Option(help="Folder for the study; created if it does not exist.")],
    **options: Any,
) -> None:
    """Make a reader study: can experts tell synthetic from real images?

    Writes blinded copies of real and synthetic images. Experts read them in 3D Slicer (MedDDPM Synth, Reader study);
    'medddpm study readers' computes what they found.
    """
    from ..studies.reading import KEY, plan_reading

    with ConsoleReporter() as reporter:
        plan = plan_reading(ReadingRequest(str(real), str(synthetic), str(out), **given(options)), reporter)
    say(f"{plan.count} images to be read. Keep {out / KEY} from the readers: it says which of them are real.")


@study.command("readers")
def readers_command(folder: Annotated[Path, typer.Argument(help="The folder of a reader study.")]) -> None:
    """Compute what readers found: accuracy, sensitivity and specificity with exact intervals, d' and kappa.

    Writes readers.html, readers.csv and readers.md into the folder.
    """
    from ..studies.agreement import REPORT, analyze

    found = analyze(folder)
    for one in found.figures:
        low, high = one.accuracy.interval
        words = f"{one.accuracy.value:.0%} right (95 % interval {low:.0%} to {high:.0%}), d' {one.d_prime:.2f}"
        say(f"{one.part}, {one.reader}: {words}, of {one.accuracy.cases} images.")
    for reader, left in found.unfinished.items():
        say(f"{reader} has not read {left} images yet.")
    say(f"Open {folder / REPORT}")
