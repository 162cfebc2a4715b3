"""Draws the demo model's card: loss curve, held-out samples beside the real images, and figures.

python tools/demo_card.py DATASET LOG.jsonl Resources/Models/demo

Writes ``samples.png``, ``loss.png`` and ``figures.json`` into the model folder and fills the figures into its README.md
between the markers. Needs matplotlib, besides the packages of the extra ``dev``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import torch
import typer
from medddpm import load_model, sample
from medddpm.files import write_text
from medddpm.models.model import Model
from medddpm.training.dataset import PreparedDataset

mpl.use("Agg")
from matplotlib import pyplot as plt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.similarity import ms_ssim

BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
SMOOTHING = 10  # log lines that a point of the smoothed loss curve averages


def held_out(model: Model, data: PreparedDataset, seed: int) -> list[dict[str, torch.Tensor]]:
    """For each held-out case: the real images, the label fractions and one sample, (C, D, H, W)."""
    config = model.config
    off, on = config.mask_values
    results = []
    for images, fractions in data:
        condition = (off + (on - off) * fractions)[None]
        made = sample(model, condition, config.sampler, config.sampler_steps, seed=seed)[0]
        results.append({"real": images, "fractions": fractions, "synthetic": made})
    return results


def figures(cases: list[dict[str, torch.Tensor]], names: list[str], labels: list[str], modalities: list[str]) -> dict:
    """L1 and MS-SSIM against the real image, and the mean intensity of every label in real and synthetic images."""
    rows = []
    for name, case in zip(names, cases, strict=True):
        inside = case["fractions"].sum(0) > 0.5
        error = (case["real"] - case["synthetic"]).abs()[:, inside].mean()
        similarity = ms_ssim(case["synthetic"][None], case["real"][None])
        rows.append({"case": name, "l1_inside": float(error), "ms_ssim": similarity})
    between = [ms_ssim(a["real"][None], b["real"][None]) for a, b in zip(cases, cases[1:] + cases[:1], strict=True)]
    means = {kind: _label_means(cases, kind) for kind in ("real", "synthetic")}
    return {
        "cases": rows,
        "ms_ssim_between_different_real_patients": float(np.mean(between)),
        "mean_intensity": {
            modality: {
                label: {kind: round(float(means[kind][m, i]), 3) for kind in means} for i, label in enumerate(labels)
            }
            for m, modality in enumerate(modalities)
        },
    }


def _label_means(cases: list[dict[str, torch.Tensor]], kind: str) -> np.ndarray:
    """Mean over cases of the mean intensity (modality, label), -1 to 1, where a label fills more than half a voxel."""
    values = np.full((len(cases), len(cases[0]["real"]), len(cases[0]["fractions"])), np.nan)
    for n, case in enumerate(cases):
        for i, fraction in enumerate(case["fractions"]):
            inside = fraction > 0.5
            if inside.any():
                values[n, :, i] = case[kind][:, inside].mean(1).numpy()
    return np.nanmean(values, axis=0)


def draw_samples(cases: list[dict[str, torch.Tensor]], modalities: list[str], path: Path) -> None:
    """A row a case: axial slice with most tumor, the real images beside the synthetic ones."""
    count = len(modalities)
    size = (1.35 * 2 * count, 1.55 * len(cases) + 0.5)
    figure, axes = plt.subplots(len(cases), 2 * count, figsize=size, facecolor="black")
    for row, case in zip(axes, cases, strict=True):
        z = int(case["fractions"][:-1].sum((0, 2, 3)).argmax())
        for offset, kind in enumerate(("real", "synthetic")):
            for m in range(count):
                row[offset * count + m].imshow(case[kind][m, z], cmap="gray", vmin=-1, vmax=1, interpolation="bilinear")
    for panel in axes.flat:
        panel.axis("off")
    for column in range(2 * count):
        kind = "real" if column < count else "SYNTHETIC"
        axes[0, column].set_title(f"{modalities[column % count]}\n{kind}", color="white", fontsize=8)
    figure.subplots_adjust(left=0.005, right=0.995, top=1 - 0.42 / size[1], bottom=0.005, wspace=0.03, hspace=0.03)
    figure.savefig(path, dpi=120, facecolor="black")
    plt.close(figure)


def draw_loss(log: Path, path: Path) -> None:
    """The training loss as logged, thin, and smoothed, thick, over iterations."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    by_step = {line["iteration"]: line["loss"] for line in lines}  # iterations that a stopped run repeated count once
    steps = np.array(sorted(by_step))
    losses = np.array([by_step[step] for step in steps])
    figure, panel = plt.subplots(figsize=(7, 3.2))
    panel.plot(steps, losses, color="#9ecae1", linewidth=0.8, label="as logged")
    if len(losses) > SMOOTHING:
        smooth = np.convolve(losses, np.ones(SMOOTHING) / SMOOTHING, "valid")
        panel.plot(steps[SMOOTHING - 1 :], smooth, color="#08519c", label=f"mean of {SMOOTHING}")
    panel.set(xlabel="iteration", ylabel="L1 loss", ylim=(0, float(np.percentile(losses, 98)) * 1.1))
    panel.grid(alpha=0.3)
    panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def as_markdown(found: dict) -> str:
    """The figures as the tables of the card."""
    lines = ["| held-out case | L1 inside the brain | MS-SSIM to the real image |", "| --- | --- | --- |"]
    lines += [f"| {row['case']} | {row['l1_inside']:.3f} | {row['ms_ssim']:.3f} |" for row in found["cases"]]
    between = found["ms_ssim_between_different_real_patients"]
    lines += ["", f"MS-SSIM between the real images of different patients, for comparison: {between:.3f}.", ""]
    modalities = found["mean_intensity"]
    lines += ["Mean intensity inside each label (-1 to 1), real / synthetic:", ""]
    lines += ["| label | " + " | ".join(modalities) + " |", "| --- |" + " --- |" * len(modalities)]
    for label in next(iter(modalities.values())):
        cells = [f"{m[label]['real']:.2f} / {m[label]['synthetic']:.2f}" for m in modalities.values()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(
    dataset: Path,
    log: Path,
    model_folder: Path,
    seed: Annotated[int, typer.Option(help="Seed of the samples.")] = 0,
) -> None:
    """Sample every held-out mask once and write the card's pictures and figures."""
    model = load_model(model_folder, "auto", "auto")
    data = PreparedDataset(dataset, "test")
    modalities = list(model.config.modalities)
    cases = held_out(model, data, seed)
    labels = [label.name for label in model.config.scheme.labels]
    found = figures(cases, [case.id for case in data.cases], labels, modalities)
    draw_samples(cases, modalities, model_folder / "samples.png")
    draw_loss(log, model_folder / "loss.png")
    write_text(model_folder / "figures.json", json.dumps(found, indent=2) + "\n")
    card = model_folder / "README.md"
    text = card.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    write_text(card, f"{before}{BEGIN}\n{as_markdown(found)}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    typer.run(main)
