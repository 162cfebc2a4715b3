"""Models that are told tissues: what completes a mask, how the contrast is chosen, and what the record says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medddpm.anatomy.completion import complete_anatomy
from medddpm.config import GridConfig, ModelConfig, NetworkConfig, ScheduleConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.errors import InputError
from medddpm.geometry.grid import to_network
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import load_scheme
from medddpm.masks import growth_series
from medddpm.models.registry import save_model_folder
from medddpm.network.appearance import Look
from medddpm.network.build import build_network
from medddpm.network.residual import ResidualUNet
from medddpm.synthesis.results import CaseResult
from medddpm.training.evaluation.evaluate import evaluate
from medddpm.training.evaluation.request import EvaluationRequest
from medddpm.training.evaluation.results import write_tables
from safetensors.torch import save_file
from synthesis_phantoms import affine_of, phantom, positions, voxels
from synthesis_runs import synthesize

SCHEME = load_scheme("glioma-anatomy")
SHAPE, SPACING = (48, 56, 48), (4.0, 4.0, 4.0)
AFFINE = affine_of("LPS", SPACING, SHAPE)
# Of T1 and T2, in the order of the labels; distinct for every tissue.
MEANS = torch.tensor(
    [
        *([-0.5, 0.6], [-0.2, 0.5], [0.3, 0.4], [0.0, 0.0], [-0.8, 0.85], [-0.9, 0.9]),
        *([-0.1, 0.2], [0.1, 0.1], [0.4, -0.2], [-0.15, 0.15], [0.35, -0.1]),
    ]
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with tissues at 4 mm whose untrained network adds texture to the image of means."""
    network = NetworkConfig(2, len(SCHEME.labels), 8, (1, 2), groups=4, domain="residual")
    config = ModelConfig(
        name="tissues",
        modalities=("T1", "T2"),
        network=network,
        schedule=ScheduleConfig(50, kind="flow", prediction="x0"),
        scheme=SCHEME,
        grid=GridConfig(SHAPE, SPACING, "LPS"),
        normalization="percentile",
        sampler="ddpm",
        sampler_steps=2,
    )
    torch.manual_seed(0)
    built = build_network(network)
    assert isinstance(built, ResidualUNet)
    look = replace(Look.plain(MEANS), spreads=torch.full_like(MEANS, 0.02))
    built.appearance.mean.copy_(torch.cat([look.means.flatten(), look.spreads.log().flatten(), look.scales.log()]))
    built.appearance.factors[0, : MEANS.numel()] = 0.05
    folder = tmp_path_factory.mktemp("model") / "tissues"
    save_model_folder(folder, config, built.state_dict())
    return folder


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tumor and brain only."""
    path = tmp_path_factory.mktemp("mask") / "brain.nii.gz"
    write_image(path, phantom(positions(SHAPE, AFFINE)), AFFINE, "mask")
    return path


def made(mask: Path, out: Path, model: Path, **options: Any) -> CaseResult:
    [result] = synthesize(mask, out, model, device="cpu", precision="fp32", **options)
    assert result.state == "done", result.message
    return result


def record(result: CaseResult) -> dict[str, Any]:
    return json.loads((result.folder / "provenance.json").read_text(encoding="utf-8"))


def anatomy_of(result: CaseResult, k: int = 1) -> np.ndarray:
    return voxels(result.folder / f"brain_sample-{k:02d}_anatomy.nii.gz")[0]


@pytest.mark.slow
def test_every_sample_has_its_own_anatomy_and_the_same_seed_the_same(tmp_path: Path, model: Path, mask: Path) -> None:
    result = made(mask, tmp_path / "a", model, samples=2, seed=4)
    given = phantom(positions(SHAPE, AFFINE))
    first, second = anatomy_of(result, 1), anatomy_of(result, 2)
    for labels in (first, second):
        np.testing.assert_array_equal(np.where(np.isin(given, (1, 2, 3)), given, 0), np.where(labels < 4, labels, 0))
        assert set(np.unique(labels[given == 4])) >= {5, 6, 7, 8, 9, 10, 11}
        assert (labels[given == 0] == 0).all()
    assert (first != second).mean() > 0.02
    facts = [sample["anatomy"] for sample in record(result)["samples"]]
    assert facts[0]["map"] and facts[0] != facts[1]
    assert facts[0]["ventricles_after_ml"] < facts[0]["ventricles_before_ml"]
    again = made(mask, tmp_path / "b", model, seed=5)
    for name in ("T1", "T2", "anatomy"):
        one, other = (f"brain_sample-{k:02d}_{name}.nii.gz" for k in (2, 1))
        np.testing.assert_array_equal(voxels(result.folder / one)[0], voxels(again.folder / other)[0])
    image, _ = voxels(result.folder / "brain_sample-01_T1.nii.gz")
    assert image[first == 9].mean() > image[first == 7].mean() > image[first == 6].mean()
    assert (image[first == 0] == 0).all()


@pytest.mark.slow
def test_a_given_anatomy_is_taken_as_it_is_and_can_be_edited(tmp_path: Path, model: Path, mask: Path) -> None:
    first = made(mask, tmp_path / "a", model)
    labels = anatomy_of(first)
    larger = labels.copy()
    ventricles = labels == 6
    for axis in range(3):
        ventricles |= np.roll(ventricles, 1, axis) | np.roll(ventricles, -1, axis)
    larger[ventricles & (labels > 4)] = 6
    edited = tmp_path / "brain.nii.gz"
    write_image(edited, larger, AFFINE, "mask")
    result = made(edited, tmp_path / "b", model)
    np.testing.assert_array_equal(anatomy_of(result), larger)
    assert record(result)["samples"][0]["anatomy"]["map"] is None
    before, after = (voxels(r.folder / "brain_sample-01_T1.nii.gz")[0] for r in (first, result))
    grown = (larger == 6) & (labels != 6)
    assert grown.sum() > 50 and after[grown].mean() < before[grown].mean() - 100


@pytest.mark.slow
def test_the_anatomy_is_that_of_a_label_map(tmp_path: Path, model: Path, mask: Path) -> None:
    given = phantom(positions(SHAPE, AFFINE))
    source = complete_anatomy(Volume(np.where(given > 0, 4, 0).astype(np.uint8), AFFINE), 11, mass_effect=0.0).labels
    write_image(tmp_path / "map.nii.gz", source.data, AFFINE, "label map")
    result = made(mask, tmp_path / "out", model, anatomy=tmp_path / "map.nii.gz", mass_effect=0.0)
    outside = given == 4
    agreement = (anatomy_of(result)[outside] == source.data[outside]).mean()
    by_seed = (
        anatomy_of(made(mask, tmp_path / "seed", model, mass_effect=0.0))[outside] == source.data[outside]
    ).mean()
    assert agreement > 0.75 > 0.65 > by_seed
    assert record(result)["samples"][0]["anatomy"]["map"] is None
    assert len(record(result)["anatomy"]["anatomy"]) == 64  # the hash of the file, not its name
    pushed = made(mask, tmp_path / "pushed", model, anatomy=tmp_path / "map.nii.gz", mass_effect=1.0)
    assert (anatomy_of(pushed) != anatomy_of(result)).sum() > 50
    with pytest.raises(InputError, match="no tissues"):
        made_or_raise(mask, tmp_path / "refused", model, anatomy=mask)


def made_or_raise(mask: Path, out: Path, model: Path, **options: Any) -> None:
    [result] = synthesize(mask, out, model, device="cpu", precision="fp32", **options)
    if result.state == "failed":
        raise InputError(result.message)


@pytest.mark.slow
def test_the_contrast_is_drawn_or_the_mean(tmp_path: Path, model: Path, mask: Path) -> None:
    def white_matter(name: str, **options: Any) -> float:
        result = made(mask, tmp_path / name, model, **options)
        image, _ = voxels(result.folder / "brain_sample-01_T1.nii.gz")
        return float(image[anatomy_of(result) == 9].mean())

    expected = (1 + float(MEANS[8, 0])) * 500  # of pure white matter; voxels of 4 mm have gray matter in them
    means = [white_matter(f"mean{seed}", seed=seed, contrast="mean") for seed in range(3)]
    drawn = [white_matter(f"drawn{seed}", seed=seed) for seed in range(3)]
    assert expected - 80 < min(means) and max(means) < expected
    assert np.std(drawn) > np.std(means)
    assert np.abs(np.subtract(drawn, means)).max() > 10
    with pytest.raises(InputError, match="there is no reference scan"):
        made(mask, tmp_path / "x", model, contrast="reference")
    with pytest.raises(InputError, match="contrast is 'loud', but must be one of seed, mean"):
        made(mask, tmp_path / "x", model, contrast="loud")
    with pytest.raises(InputError, match="mass_effect is 2, but must be 0 to 1"):
        made(mask, tmp_path / "x", model, mass_effect=2)


def reference_scan(folder: Path, seed: int = 21) -> tuple[tuple[str, ...], np.ndarray]:
    """T1 and T2 of a brain with the mask's outline and a contrast of its own, and its labels."""
    given = phantom(positions(SHAPE, AFFINE))
    labels = complete_anatomy(Volume(given, AFFINE), seed, mass_effect=0.5).labels.data
    rng = np.random.default_rng(0)
    entries = []
    for column, name in enumerate(("T1", "T2")):
        means = np.append(-1.0, MEANS[:, column].numpy())
        image = (means[labels] + 1) * 300 + rng.normal(0, 4, labels.shape) * (labels > 0)
        write_image(folder / f"{name}.nii.gz", np.where(labels > 0, image + 20, 0).astype(np.float32), AFFINE, "scan")
        entries.append(f"{name}={folder / name}.nii.gz")
    return tuple(entries), labels


@pytest.mark.slow
def test_anatomy_and_contrast_are_those_of_a_reference_scan(tmp_path: Path, model: Path, mask: Path) -> None:
    entries, labels = reference_scan(tmp_path)
    result = made(mask, tmp_path / "out", model, reference=entries, anatomy="reference", contrast="reference")
    found = anatomy_of(result)
    for value in (6, 9):
        one, other = found == value, labels == value
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.6, value
    assert record(result)["samples"][0]["anatomy"]["mass_effect"] == 0.0  # what the tumor did is there already
    assert set(record(result)["anatomy"]["reference_sha256"]) == {"T1", "T2"}


@pytest.mark.slow
def test_a_reference_that_is_something_else_is_refused(tmp_path: Path, model: Path, mask: Path) -> None:
    entries, _ = reference_scan(tmp_path)
    paths = [entry.split("=")[1] for entry in entries]
    swapped = (f"T1={paths[1]}", f"T2={paths[0]}")
    with pytest.raises(InputError, match=r"given as .* has the contrast of"):
        made_or_raise(mask, tmp_path / "a", model, reference=swapped, contrast="reference")
    far = AFFINE.copy()
    far[0, 3] += 500
    write_image(tmp_path / "far.nii.gz", voxels(Path(paths[0]))[0], far, "scan")
    with pytest.raises(InputError, match="does not overlap"):
        made_or_raise(mask, tmp_path / "b", model, reference=(f"T1={tmp_path / 'far.nii.gz'}",), contrast="reference")
    with pytest.raises(InputError, match="reference image for PD"):
        made(mask, tmp_path / "c", model, reference=(f"PD={paths[0]}",), contrast="reference")


@pytest.mark.slow
def test_only_the_tumor_and_what_it_displaces_change_in_a_growth_series(
    tmp_path: Path, model: Path, mask: Path
) -> None:
    frames = list(growth_series(phantom(positions(SHAPE, AFFINE)), AFFINE, SCHEME, 3, 0.5))
    files = []
    for i, frame in enumerate(frames):
        files.append(tmp_path / f"frame-{i}.nii.gz")
        write_image(files[-1], frame, AFFINE, "mask")
    results = synthesize(files, tmp_path / "out", model, device="cpu", precision="fp32", seed=3)
    assert [result.state for result in results] == ["done"] * 3
    images, labels = [], []
    for result, file in zip(results, files, strict=True):
        name = file.name.removesuffix(".nii.gz")
        images.append(voxels(result.folder / f"{name}_sample-01_T1.nii.gz")[0].astype(float))
        labels.append(voxels(result.folder / f"{name}_sample-01_anatomy.nii.gz")[0])
    shifts = [abs(record(result)["samples"][0]["anatomy"]["midline_shift_mm"]) for result in results]
    assert shifts == sorted(shifts)
    for i in (0, 1):
        moved = labels[i] != labels[i + 1]
        assert moved.any()
        near = moved.copy()
        for _ in range(3):
            for axis in range(3):
                near |= np.roll(near, 1, axis) | np.roll(near, -1, axis)
        change = np.abs(images[i + 1] - images[i])
        assert np.median(change[~near & (labels[i] > 0)]) < 0.1 * np.median(change[moved])


def test_models_without_tissues_have_no_anatomy_to_choose(tmp_path: Path, mask: Path, tiny: Path) -> None:
    with pytest.raises(InputError, match="anatomy and contrast cannot be chosen"):
        synthesize(mask, tmp_path, tiny, contrast="mean", device="cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One test case: white and gray matter as in ``MEANS``, the other way round in T1."""
    folder = tmp_path_factory.mktemp("data")
    fractions = to_network(complete_anatomy(Volume(phantom(positions(SHAPE, AFFINE)), AFFINE), 7).fractions)
    look = Look.plain(MEANS * torch.tensor([-1.0, 1.0]))
    stored = torch.from_numpy(fractions).mul(255).to(torch.uint8)
    images = look.source(torch.from_numpy(fractions)[None])[0].half()
    (folder / "cases").mkdir()
    save_file({"images": images, "fractions": stored}, folder / "cases" / "one.safetensors")
    case = PreparedCase("one", "test")
    DatasetConfig(SCHEME, GridConfig(SHAPE, SPACING, "LPS"), ("T1", "T2"), (case,)).save(folder)
    return folder


@pytest.mark.slow
def test_an_evaluation_chooses_anatomy_and_contrast(dataset: Path, model: Path, tmp_path: Path) -> None:
    def evaluated(anatomy: str, contrast: str) -> tuple[np.ndarray, np.ndarray]:
        out = tmp_path / f"{anatomy} {contrast}"
        asked = {"anatomy": anatomy, "contrast": contrast, "sampler": "ddpm", "steps": 2, "tumor_iterations": 0}
        found = evaluate(EvaluationRequest(str(model), str(dataset), str(out), device="cpu", precision="fp32", **asked))
        write_tables(out, found)
        said = json.loads((out / "figures.json").read_text(encoding="utf-8"))
        assert (said["anatomy"], said["contrast"]) == (anatomy, contrast)
        folder = out / found.samples[0].folder
        return voxels(folder / "mask.nii.gz")[0], voxels(folder / "synthetic-T1.nii.gz")[0]

    own, image = evaluated("mask", "real")
    assert image[own == 9].mean() < image[own == 7].mean(), "white matter darker than gray, as in the real image"
    again, mean = evaluated("mask", "mean")
    np.testing.assert_array_equal(own, again)
    assert mean[own == 9].mean() > mean[own == 7].mean()
    other, image = evaluated("seed", "seed")
    np.testing.assert_array_equal(np.where(own < 4, own, 4), np.where(other < 4, other, 4))  # tumor and outline
    assert (own != other).mean() > 0.02
    assert image[other == 9].mean() > image[other == 7].mean()
