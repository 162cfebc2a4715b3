"""Draws the demo model's card: loss curves, held-out samples beside the real images, and figures.

python tools/demo_card.py DATASET RUN Resources/Models/demo

RUN is the run folder of the training, or its ``metrics.jsonl``. The model is evaluated as ``medddpm evaluate`` does
(samples and reports stay in ``out/demo-card``, so that an interrupted drawing goes on): a network in the residual
domain with tissues and contrast of each case, and once more with anatomy from the bank and contrast from the seed.
Writes ``samples.png``, ``loss.png`` and ``figures.json`` into the model folder and fills the figures into its README.md
between the markers; ``--bounds docs/demo.md`` fills the measures of realism into that page as well.
Needs matplotlib, besides the packages of the extra ``dev``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import typer
from medddpm.cli.console import ConsoleReporter
from medddpm.files import write_text
from medddpm.models.config_file import read_config
from medddpm.training.dataset import PreparedDataset
from medddpm.training.evaluation.evaluate import evaluate
from medddpm.training.evaluation.measures import MEASURES
from medddpm.training.evaluation.request import EvaluationRequest
from medddpm.training.evaluation.results import Evaluation, summary
from medddpm.training.monitor.loss_chart import draw_loss
from medddpm.training.monitor.samples import read_sample
from medddpm.training.monitor.verdict import Metric

mpl.use("Agg")
from matplotlib import pyplot as plt

WAYS = {("mask", "real"): "own tissues and contrast", ("seed", "seed"): "anatomy from the bank, contrast from the seed"}
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"


def draw_samples(found: Evaluation, data: PreparedDataset, out: Path, path: Path, images: str) -> None:
    """A row a case, the dataset's ``images`` ("real") beside the synthetic ones: the axial slice with most tumor.

    Of a mask without a tumor it is the slice with most of the mask.
    """
    count = len(found.modalities)
    size = (1.35 * 2 * count, 1.55 * len(found.samples) + 0.5)
    figure, axes = plt.subplots(len(found.samples), 2 * count, figsize=size, facecolor="black", squeeze=False)
    tumor = [i for i, label in enumerate(data.config.scheme.labels) if label.tumor]
    index = {case.id: i for i, case in enumerate(data.cases)}
    for row, sample in zip(axes, found.samples, strict=True):
        real, fractions = data[index[sample.case]]
        synthetic = read_sample(out / sample.folder, found.modalities, real)
        shown = fractions[tumor] if fractions[tumor].any() else fractions
        z = int(shown.sum((0, 2, 3)).argmax())
        for offset, volumes in enumerate((real.numpy(), synthetic.numpy())):
            for m in range(count):
                seen = as_seen(volumes[m, z], data.config.grid.orientation)
                row[offset * count + m].imshow(seen, cmap="gray", vmin=-1, vmax=1, interpolation="bilinear")
    for panel in axes.flat:
        panel.axis("off")
    for column in range(2 * count):
        kind = images if column < count else "SYNTHETIC"
        axes[0, column].set_title(f"{found.modalities[column % count]}\n{kind}", color="white", fontsize=8)
    figure.subplots_adjust(left=0.005, right=0.995, top=1 - 0.42 / size[1], bottom=0.005, wspace=0.03, hspace=0.03)
    figure.savefig(path, dpi=120, facecolor="black")
    plt.close(figure)


def as_seen(axial: np.ndarray, orientation: str) -> np.ndarray:
    """An axial slice (y, x) with the front up and the patient's right on the left, as radiologists look at it."""
    return axial[:: -1 if "A" in orientation else 1, :: -1 if "R" in orientation else 1]


def read_metrics(run: Path) -> list[Metric]:
    """The lines of a run folder's ``metrics.jsonl`` (or of that file)."""
    path = run / "metrics.jsonl" if run.is_dir() else run
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def as_markdown(found: list[Evaluation], images: str) -> str:
    """The figures as the tables of the card; ``images``: what those of the dataset are called."""
    asked = found[0].request
    intro = (
        f"{asked.sampler}, {asked.steps} steps, seed {asked.seed}; baseline (in brackets): the mean intensity of each "
        f"label in {found[0].baseline_from}, and nothing else."
    )
    meaning = (
        f"Sharpness: strength of the finest detail over that of the {images} image. Label error: how far the mean "
        "intensity of a label is off, on a scale from -1 to 1."
    )
    title = f"Mean intensity inside each label (-1 to 1), {images} / synthetic:"
    parts = [[intro], _case_table(found[0]), [meaning], [_sets(found[0], images)], [title], _intensity_table(found[0])]
    return "\n\n".join("\n".join(part) for part in [*parts, bounds_table(found)])


def bounds_table(found: list[Evaluation]) -> list[str]:
    """A row a figure with its bound: of every modality, or of all images together; bold what is outside of it."""
    heads = [WAYS.get((each.request.anatomy, each.request.contrast), "synthetic") for each in found]
    lines = [f"| {' | '.join(['measure (' + ', '.join(found[0].modalities) + ')', 'good', *heads])} |"]
    lines += ["| --- " * (len(found) + 2) + "|"]
    for heading, figure, digits in (("PSNR inside, dB", "psnr", 2), ("MS-SSIM", "ms_ssim", 4)):
        pairs = [[getattr(mean, figure) for mean in (each.mean, each.baseline_mean)] for each in found]
        cells = [
            _bold(_text(made, digits), None if None in (made, base) else made > base) + f" ({_text(base, digits)})"
            for made, base in pairs
        ]
        lines.append(f"| {heading} (baseline) | above the baseline | {' | '.join(cells)} |")
    for name, measure in MEASURES.items():
        values = [[one for one in each.measures if one.name == name and one.judged] for each in found]
        if measure.good and any(values):
            low, high = measure.good
            bounds = f"{low:.2g} or more" if high is None else f"{low:.2g} to {high:.2g}"
            cells = [
                ", ".join(_bold(_text(one.judged.value, 2), one.good) for one in row if one.judged) for row in values
            ]
            lines.append(f"| {measure.heading} | {measure.against} {bounds} | {' | '.join(cells)} |")
    return lines


def _bold(text: str, good: bool | None) -> str:
    return f"**{text}**" if good is False else text


def _case_table(found: Evaluation) -> list[str]:
    lines = ["| held-out case | MS-SSIM | PSNR inside, dB | L1 inside | sharpness | label error |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    rows = [(sample.case, sample.mean, sample.baseline_mean) for sample in found.samples]
    for name, made, baseline in [*rows, ("**mean**", found.mean, found.baseline_mean)]:
        cells = [
            f"{_text(getattr(made, figure), digits)} ({_text(getattr(baseline, figure), digits)})"
            for figure, digits in (("ms_ssim", 3), ("psnr", 1), ("l1", 3), ("sharpness", 2), ("label_error", 3))
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _sets(found: Evaluation, images: str) -> str:
    sets, among = found.sets, found.measure("among_masks")
    synthetic, real = (None if one is None else one.value for one in (among.synthetic, among.real))
    return (
        f"MS-SSIM among synthetic images of different masks: {_text(synthetic, 3)}; among the "
        f"{images} ones: {_text(real, 3)}. MMD² of synthetic and {images} images: "
        f"{_text(sets.mmd, 4)}; of {images} ones to train on and held out: {_text(sets.mmd_of_training, 4)}."
    )


def _intensity_table(found: Evaluation) -> list[str]:
    tables = list(found.intensities.values())
    lines = ["| label | " + " | ".join(found.intensities) + " |", "| --- |" + " --- |" * len(tables)]
    for label in tables[0]:
        cells = [f"{_text(table[label]['real'], 2)} / {_text(table[label]['synthetic'], 2)}" for table in tables]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def main(
    dataset: Path,
    run: Path,
    model_folder: Path,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Steps of the sampler; left out: the model's.")] = None,
    out: Annotated[Path, typer.Option(help="Where the samples and the report go.")] = Path("out/demo-card"),
    images: Annotated[str, typer.Option(help='What the dataset\'s images are: "real" or "simulated".')] = "real",
    bounds: Annotated[Path | None, typer.Option(help="Page of the documentation to fill the measures into.")] = None,
) -> None:
    """Sample every held-out mask once and write the card's pictures and figures."""
    ways = WAYS if read_config(model_folder).network.domain == "residual" else (("mask", "seed"),)
    found = []
    with ConsoleReporter() as reporter:
        for anatomy, contrast in ways:
            place = str(out / f"{anatomy}-{contrast}")
            request = EvaluationRequest(
                str(model_folder), str(dataset), place, seed=seed, steps=steps, anatomy=anatomy, contrast=contrast
            )
            found.append(evaluate(request, reporter))
    shown = Path(found[0].request.out)
    draw_samples(found[0], PreparedDataset(dataset, "test"), shown, model_folder / "samples.png", images)
    draw_loss(read_metrics(run), model_folder / "loss.png", found[0].model)
    write_text(model_folder / "figures.json", json.dumps([summary(each) for each in found], indent=1) + "\n")
    fill(model_folder / "README.md", as_markdown(found, images))
    if bounds is not None:
        fill(bounds, "\n".join(bounds_table(found)))


def fill(page: Path, text: str) -> None:
    """Put ``text`` between the markers of a page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    write_text(page, f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    typer.run(main)
