"""Local edits of a real scan: the seam, what samplers make of known voxels, files and units, and what is refused."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm import sample, synthesize
from medddpm.errors import InputError
from medddpm.geometry.intensity import IntensityRange
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import load_scheme
from medddpm.models.model import Model
from medddpm.progress import SilentReporter
from medddpm.sampling.known import Known
from medddpm.sampling.solvers import SOLVERS, Trajectory
from medddpm.synthesis.local_edit import seam_weight
from medddpm.synthesis.pipeline import run_batch
from medddpm.synthesis.planes import Case
from medddpm.synthesis.request import SynthesisRequest
from PIL import Image
from small_models import reference_network
from synthesis_phantoms import (
    CENTER,
    affine_of,
    contents,
    phantom,
    positions,
    save_mask,
    save_tiny,
    tiny_config,
    voxels,
)

SHAPE, SPACING = (42, 50, 40), (4.0, 4.0, 4.0)
AFFINE = affine_of("LPS", SPACING, SHAPE)
SEAM = 10.0
# The voxels to make anew: a ball around the middle of the brain, mm.
RADIUS = 25.0


def distances() -> np.ndarray:
    """Of every voxel of the mask's grid to the center of the brain, mm."""
    return np.sqrt(sum((p - c) ** 2 for p, c in zip(positions(SHAPE, AFFINE), CENTER, strict=True)))


def scan(factor: float, offset: float = 0.0) -> np.ndarray:
    """A skull-stripped image with a texture by which every voxel can be told from its neighbors."""
    points = positions(SHAPE, AFFINE)
    texture = 60 + sum(10 * np.sin(p / w) for p, w in zip(points, (9.0, 13.0, 17.0), strict=True))
    return np.where(phantom(points) > 0, texture * factor + offset, 0.0)


# The weight of the seam


def oracle(region: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Distance of every voxel center to the nearest one of the region, by comparing with all of them."""
    points = np.indices(region.shape).reshape(3, -1).T * spacing
    inside = points[region.ravel()]
    return np.sqrt(((points[:, None] - inside[None]) ** 2).sum(axis=2)).min(axis=1).reshape(region.shape)


REGIONS = st.sets(st.tuples(st.integers(0, 6), st.integers(0, 7), st.integers(0, 5)), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(REGIONS, st.tuples(*[st.sampled_from([0.5, 1.0, 2.5])] * 3), st.sampled_from([0.0, 0.4, 1.0, 3.0, 7.5]))
def test_the_weight_falls_smoothly_with_the_distance(
    spots: set[tuple[int, int, int]], spacing: tuple[float, float, float], seam: float
) -> None:
    region = np.zeros((7, 8, 6), bool)
    for spot in spots:
        region[spot] = True
    weight, distance = seam_weight(region, spacing, seam), oracle(region, spacing)
    assert weight.dtype == np.float32 and (weight[region] == 1).all()
    assert (weight[distance >= seam + 1e-4] == 0)[~region[distance >= seam + 1e-4]].all()
    between = ~region & (distance < seam - 1e-4)
    assert ((weight[between] > 0) & (weight[between] < 1)).all()
    order = np.argsort(distance.ravel(), kind="stable")
    assert (np.diff(weight.ravel()[order]) <= 1e-5).all()
    if seam:
        share = np.clip(1 - distance / seam, 0, 1)
        np.testing.assert_allclose(weight, share**2 * (3 - 2 * share), atol=1e-4)


# What samplers make of known voxels


class Watched(Model):
    """A model that averages over neighbors, so that what is known is seen around it, and mixes the channels.

    It remembers every noisy image that it was asked about.
    """

    def __init__(self, steps: int = 6) -> None:
        config = tiny_config(steps)
        super().__init__(config, reference_network(config.network), torch.device("cpu"), torch.float32, "0" * 64)
        self.seen: dict[int, torch.Tensor] = {}

    def predict_x0(self, x_t: torch.Tensor, condition: torch.Tensor, t: int) -> torch.Tensor:
        self.seen[t] = x_t[0].clone()
        near = sum(x_t.roll(step, axis) for step in (-1, 0, 1) for axis in (2, 3, 4)) / 9
        return 1.1 * torch.tanh(near + 0.3 * near.flip(1) + 0.5 * condition[:, 3:])

    def predict_noise(self, x_t: torch.Tensor, condition: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = int(t[0])
        alpha, sigma = float(self.schedule.alpha[level]), float(self.schedule.sigma[level])
        return (x_t - alpha * self.predict_x0(x_t, condition, level)) / sigma


GRID = (16, 24, 16)


def half_known() -> Known:
    """Both channels known in one half of the grid, the second with a seam, where the weight is 0.5."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((2, *GRID), generator=generator) * 2 - 1
    weight = torch.ones((2, *GRID))
    weight[:, :, :12] = 0
    weight[1, :, 11] = 0.5
    return Known(images, weight)


def condition() -> torch.Tensor:
    labels = torch.zeros((1, 4, *GRID))
    labels[:, 3, 2:14, 2:22, 2:14] = 1
    return labels


@pytest.mark.parametrize("name", SOLVERS)
def test_known_voxels_come_out_as_they_are(name: str) -> None:
    model, known = Watched(), half_known()
    result = sample(model, condition(), name, steps=5, seed=3, known=known)[0]
    free = sample(model, condition(), name, steps=5, seed=3)[0]
    kept, made = known.weight == 0, known.weight == 1
    torch.testing.assert_close(result[kept], known.images[kept], rtol=0, atol=1e-4 if name == "ddpm-paper" else 1e-6)
    assert (result[made] != free[made]).any(), "the model sees what is known around the region"
    assert (result[made] != known.images[made]).all()


@pytest.mark.parametrize("name", ["ddim", "dpm++2m", "dpm++3m", "unipc"])
def test_known_voxels_are_the_noised_real_ones_at_every_step(name: str) -> None:
    """x_t = alpha_t x0 + sigma_t eps with one eps, also for samplers with a history of former predictions."""
    model, known = Watched(60), half_known()
    path = Trajectory.of(model.schedule, 12)
    sample(model, condition(), name, steps=12, seed=3, known=known)
    kept = known.weight == 0
    start = model.seen[path.timesteps[0]]
    eps = (start - path.alpha[0] * known.images) / path.sigma[0]
    for i, t in enumerate(path.timesteps):
        expected = path.alpha[i] * known.images + path.sigma[i] * eps
        torch.testing.assert_close(model.seen[t][kept], expected[kept].float(), rtol=1e-4, atol=2e-5)


def variance(name: str, path: Trajectory) -> Iterator[float]:
    """Of the noise in known voxels at every level: sigma_t^2 (DDPM, eq. 4).

    "ddpm-paper" adds beta_t at each step where DDPM adds the posterior's variance, and so has a little more.
    """
    found = 1.0
    for i in range(len(path.timesteps)):
        yield path.sigma[i] ** 2 if name == "ddpm" else found
        kept = (path.alpha[i] / path.alpha[i + 1]) ** 2
        found = found * (1 - (1 - kept) / path.sigma[i] ** 2) ** 2 / kept + 1 - kept


@pytest.mark.parametrize(("name", "steps"), [("ddpm", 60), ("ddpm", 9), ("ddpm-paper", 60)])
def test_known_voxels_have_the_distribution_of_the_noised_real_ones(name: str, steps: int) -> None:
    """x_t - alpha_t x0 is normal with the variance of the noise, and without a trace of x0."""
    model, known = Watched(60), half_known()
    path = Trajectory.of(model.schedule, steps)
    sample(model, condition(), name, steps=steps, seed=3, known=known)
    kept = known.weight == 0
    real = known.images[kept].double()
    for (i, t), expected in zip(enumerate(path.timesteps), variance(name, path), strict=True):
        noise = (model.seen[t][kept].double() - path.alpha[i] * real) / expected**0.5
        count = noise.numel()
        assert abs(float(noise.mean())) < 4 / count**0.5
        assert abs(float(noise.var()) - 1) < 4 * (2 / count) ** 0.5
        assert abs(float((noise.abs() < 1).double().mean()) - 0.6827) < 0.02
        assert abs(float(torch.corrcoef(torch.stack([noise, real]))[0, 1])) < 5 / count**0.5


def test_it_equals_replacing_known_voxels_at_every_step() -> None:
    """DDIM written out, with the known voxels of x_t overwritten by the noised real ones before every evaluation."""
    model, images = Watched(60), half_known().images
    kept = half_known().weight[0].expand(2, *GRID) == 0
    known = Known(images, (~kept).float())
    result = sample(model, condition(), "ddim", steps=10, seed=5, known=known)[0]
    path = Trajectory.of(model.schedule, 10)
    x = model.seen[path.timesteps[0]]
    eps = (x - path.alpha[0] * images) / path.sigma[0]
    for i, t in enumerate(path.timesteps):
        x = torch.where(kept, path.alpha[i] * images + path.sigma[i] * eps, x)
        x0 = model.predict_x0(x[None].float(), condition(), t)[0].clamp(-1, 1)
        x = path.alpha[i + 1] * x0 + path.sigma[i + 1] * (x - path.alpha[i] * x0) / path.sigma[i]
    torch.testing.assert_close(result[~kept], x[~kept].float(), rtol=1e-3, atol=1e-4)


def test_known_images_must_fit() -> None:
    good = half_known()
    with pytest.raises(
        InputError, match=r"known images have shape \(2, 8, 24, 16\), but this model and condition need"
    ):
        sample(Watched(), condition(), known=Known(good.images[:, :8], good.weight[:, :8]))
    with pytest.raises(InputError, match=r"both must be \(C, D, H, W\)"):
        Known(good.images, good.weight[0])
    for images, weight in ((good.images * 2, good.weight), (good.images, good.weight - 0.1)):
        with pytest.raises(InputError, match=r"within -1 to 1, and their weights within 0 to 1"):
            Known(images, weight)


# Intensities


@given(st.floats(-1e4, 1e4), st.floats(1e-2, 1e5), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_intensities_go_to_the_network_and_back(low: float, width: float, shares: list[float]) -> None:
    there = IntensityRange(low, low + width)
    data = np.array([low + share * width for share in shares])
    image = there.to_network(data)
    assert image.dtype == np.float32 and image.min() >= -1 and image.max() <= 1
    np.testing.assert_allclose(there.from_network(image), data, atol=1e-6 * (abs(low) + width) + 1e-6)
    assert there.to_network(np.array([low - width, low + 2 * width])).tolist() == [-1, 1]


# Files


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


Edit = dict[str, Any]


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Mask, region and the two images of a scan as files, and the options that make it a local edit."""
    folder = tmp_path / "in"
    save_mask(folder / "brain.nii.gz")
    write_image(folder / "region.nii.gz", (distances() <= RADIUS).astype(np.uint8), AFFINE, "region")
    write_image(folder / "t1.nii.gz", np.rint(scan(7.0)).astype(np.int16), AFFINE, "scan")
    write_image(folder / "flair.nii.gz", scan(0.013, 0.5).astype(np.float32), AFFINE, "scan")
    known = (f"T1={folder / 't1.nii.gz'}", f"flair={folder / 'flair.nii.gz'}")
    return {"known": known, "region": folder / "region.nii.gz", "seam_mm": SEAM, "device": "cpu"}


def mask_of(edit: Edit) -> Path:
    return Path(edit["region"]).parent / "brain.nii.gz"


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "provenance.json").read_text())


def zones() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels of the mask's grid that are kept, in the seam, and made anew."""
    weight = seam_weight(distances() <= RADIUS, SPACING, SEAM)
    return weight == 0, (weight > 0) & (weight < 1), weight == 1


def test_the_scan_stays_outside_the_region(tmp_path: Path, tiny: Path, edit: Edit) -> None:
    [result] = synthesize(mask_of(edit), tmp_path / "out", tiny, **edit)
    assert result.state == "done", result.message
    kept, _, made = zones()
    for modality, name in (("T1", "t1"), ("FLAIR", "flair")):
        real, _ = voxels(mask_of(edit).parent / f"{name}.nii.gz")
        for file in (f"brain_sample-01_{modality}.nii.gz", f"model-grid/brain_sample-01_{modality}.nii.gz"):
            image = nib.load(result.folder / file)
            assert bytes(image.header["descrip"]).startswith(b"PARTLY SYNTHETIC")
            assert image.get_data_dtype() == (np.int16 if modality == "T1" else np.float32)
        data, affine = voxels(result.folder / f"brain_sample-01_{modality}.nii.gz")
        np.testing.assert_allclose(affine, AFFINE, atol=1e-4)
        np.testing.assert_array_equal(data[kept], real[kept])
        assert (data[made] != real[made]).mean() > 0.95
        low, high = record(result.folder)["real_intensity"][modality]
        assert low == 0 and data[made].min() >= low and data[made].max() <= high * 1.001
    found = record(result.folder)
    assert found["synthetic"] is True and found["partly_synthetic"] == ["T1", "FLAIR"]
    assert "PARTLY SYNTHETIC" in found["statement"] and "the patient's own" in found["statement"]
    assert found["local_edit"]["seam_mm"] == SEAM and len(found["local_edit"]["region_sha256"]) == 64
    assert set(found["local_edit"]["known_sha256"]) == {"T1", "FLAIR"}
    assert str(tmp_path) not in json.dumps(found)
    with Image.open(result.sheets[0]) as sheet:
        assert sheet.text["Description"].startswith("PARTLY SYNTHETIC")  # type: ignore[attr-defined]


class Bright(Model):
    """A model whose images are the brightest value everywhere."""

    def predict_x0(self, x_t: torch.Tensor, condition: torch.Tensor, t: int) -> torch.Tensor:
        return torch.ones_like(x_t)


def bright() -> Model:
    config = tiny_config()
    return Bright(config, reference_network(config.network), torch.device("cpu"), torch.float32, "0" * 64)


def run(edit: Edit, model: Model, out: Path, **options: Any) -> Path:
    """One case with a model in memory; the folder of its results."""
    values = {**edit, "region": str(edit["region"]), **options}
    [result] = run_batch(SynthesisRequest((str(mask_of(edit)),), **values), model, out, SilentReporter())
    assert result.state == "done", result.message
    return result.folder


def test_the_seam_leads_from_old_to_new(tmp_path: Path, edit: Edit) -> None:
    folder = run(edit, bright(), tmp_path / "out")
    kept, seam, _ = zones()
    real = scan(0.013, 0.5).astype(np.float32)
    data, _ = voxels(folder / "brain_sample-01_FLAIR.nii.gz")
    _, high = record(folder)["real_intensity"]["FLAIR"]
    np.testing.assert_array_equal(data[kept], real[kept])
    np.testing.assert_allclose(data[distances() <= RADIUS - 15], high, rtol=1e-3)  # farther in than a model voxel
    assert data[seam].min() >= real[seam].min() and data[seam].max() <= real.max()
    away = distances() - RADIUS
    shells = [seam & (away >= mm) & (away < mm + 2) for mm in (8, 6, 4, 2, 0)]
    steps = [(data - real)[shell].sum() / (high - real)[shell].sum() for shell in shells]
    assert 0 <= steps[0] < 0.05 and 0.3 < steps[-1] < 1
    assert (np.diff(steps) > 0).all() and np.diff(steps).max() < 0.3, "no edge is seen"


def test_only_the_given_modalities_are_held(tmp_path: Path, edit: Edit) -> None:
    folder = run(edit, bright(), tmp_path / "out", known=edit["known"][:1])
    data, _ = voxels(folder / "brain_sample-01_FLAIR.nii.gz")
    inside = phantom(positions(SHAPE, AFFINE)) > 0
    assert (data[inside] == 1000).all()
    descriptions = [bytes(nib.load(folder / f"brain_sample-01_{m}.nii.gz").header["descrip"]) for m in ("T1", "FLAIR")]
    assert descriptions[0].startswith(b"PARTLY SYNTHETIC") and descriptions[1].startswith(b"SYNTHETIC")
    found = record(folder)
    assert found["partly_synthetic"] == ["T1"] and "other images are synthetic throughout" in found["statement"]
    alone = record(run(edit, bright(), tmp_path / "alone", known=edit["known"][:1], modalities=("FLAIR",)))
    assert "partly_synthetic" not in alone and alone["statement"].startswith("SYNTHETIC")


def turned(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same image with its axes in another order and direction."""
    turn = np.array([[2, -1], [0, 1], [1, -1]])
    return nib.orientations.apply_orientation(data, turn), AFFINE @ nib.orientations.inv_ornt_aff(turn, data.shape)


def test_a_scan_with_other_axes_is_the_same_scan(tmp_path: Path, edit: Edit) -> None:
    first = run(edit, bright(), tmp_path / "a")
    for name in ("t1", "flair", "region"):
        path = mask_of(edit).parent / f"{name}.nii.gz"
        data, affine = turned(np.asarray(nib.load(path).dataobj))
        write_image(path, data, affine, "turned")
    second = run(edit, bright(), tmp_path / "b")
    for path in first.glob("*.nii.gz"):
        np.testing.assert_array_equal(voxels(path)[0], voxels(second / path.name)[0])
    for path in first.glob("model-grid/*.nii.gz"):
        np.testing.assert_allclose(voxels(path)[0], voxels(second / "model-grid" / path.name)[0], rtol=1e-5)


def test_a_scan_on_another_grid_is_resampled(tmp_path: Path, edit: Edit) -> None:
    shape = (84, 100, 80)
    affine = affine_of("LPS", (2.0, 2.0, 2.0), shape)
    x, _, _ = positions(shape, affine)
    slope = np.where(phantom(positions(shape, affine)) > 0, 500.25 + x, 0).astype(np.float32)
    path = mask_of(edit).parent / "fine.nii.gz"
    write_image(path, slope, affine, "scan")
    folder = run(edit, bright(), tmp_path / "out", known=(f"T1={path}",))
    data, _ = voxels(folder / "brain_sample-01_T1.nii.gz")
    kept, _, _ = zones()
    own = positions(SHAPE, AFFINE)
    deep = kept & (phantom(own) > 0)
    for axis in range(3):
        deep &= np.roll(phantom(own) > 0, 1, axis) & np.roll(phantom(own) > 0, -1, axis)
    np.testing.assert_allclose(data[deep], 500.25 + own[0][deep], atol=1e-2)


# Going on, and doing again what changed


def change_region(edit: Edit) -> Edit:
    write_image(edit["region"], (distances() <= RADIUS + 8).astype(np.uint8), AFFINE, "region")
    return {}


def change_scan(edit: Edit) -> Edit:
    write_image(mask_of(edit).parent / "t1.nii.gz", np.rint(scan(7.5)).astype(np.int16), AFFINE, "scan")
    return {}


def change_seam(edit: Edit) -> Edit:
    return {"seam_mm": 0.0}


def change_format(edit: Edit) -> Edit:
    return {"compress": False}


def drop_the_scan(edit: Edit) -> Edit:
    return {"known": (), "region": None}


@pytest.mark.parametrize("change", [change_region, change_scan, change_seam, change_format, drop_the_scan])
def test_what_changed_is_done_again(tmp_path: Path, tiny: Path, edit: Edit, change: Callable[[Edit], Edit]) -> None:
    def go(out: str, **options: Any) -> str:
        [result] = synthesize(mask_of(edit), tmp_path / out, tiny, **{**edit, **options})
        assert result.state != "failed", result.message
        return result.state

    assert [go("out"), go("out")] == ["done", "already done"]
    options = change(edit)
    assert [go("out", **options), go("out", **options)] == ["done", "already done"]
    go("fresh", **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_without_compression_the_same_images(tmp_path: Path, edit: Edit) -> None:
    packed = run(edit, bright(), tmp_path / "packed", known=(), region=None)
    plain = run(edit, bright(), tmp_path / "plain", known=(), region=None, compress=False)
    names = {name.removesuffix(".gz") for name in contents(packed)}
    assert set(contents(plain)) == names and "model-grid/brain_mask.nii" in names
    listed = [*record(plain)["mask_files"], *record(plain)["samples"][0]["files"]]
    assert set(listed) == names
    for name in (n for n in names if n.endswith(".nii")):
        np.testing.assert_array_equal(voxels(plain / name)[0], voxels(packed / f"{name}.gz")[0])


# What is refused


def elsewhere(edit: Edit, name: str) -> Path:
    """The file ``name`` of the edit, moved half a meter away."""
    path = mask_of(edit).parent / f"{name}.nii.gz"
    moved = AFFINE.copy()
    moved[0, 3] += 500
    write_image(path, np.asarray(nib.load(path).dataobj), moved, "moved")
    return path


def far_region(edit: Edit) -> Edit:
    elsewhere(edit, "region")
    return {}


def far_image(edit: Edit) -> Edit:
    elsewhere(edit, "t1")
    return {}


def half_image(edit: Edit) -> Edit:
    path = mask_of(edit).parent / "t1.nii.gz"
    write_image(path, np.asarray(nib.load(path).dataobj)[:20], AFFINE, "half")
    return {}


def empty_region(edit: Edit) -> Edit:
    write_image(edit["region"], np.zeros(SHAPE, np.uint8), AFFINE, "empty")
    return {}


def flat_image(edit: Edit) -> Edit:
    write_image(mask_of(edit).parent / "t1.nii.gz", np.full(SHAPE, 7, np.int16), AFFINE, "flat")
    return {}


def missing_image(edit: Edit) -> Edit:
    return {"known": ("T1=nowhere.nii.gz",)}


REFUSED = [
    (
        lambda e: {"known": ("T1 t1.nii",)},
        r"The known image 'T1 t1\.nii' is not understood\. Write it as MODALITY=FILE",
    ),
    (lambda e: {"known": ("=t1.nii",)}, r"The known image '=t1\.nii' is not understood"),
    (lambda e: {"known": ("T1=a.nii", "t1=b.nii")}, r"two known images for t1\. Give one image for each modality\."),
    (lambda e: {"known": ("T2=a.nii",)}, r"a known image for T2, but the model 'tiny' makes T1, FLAIR\."),
    (lambda e: {"region": None}, r"known images but no region\. Give the label map"),
    (lambda e: {"known": ()}, r"a region to make anew but no known image around it\. Give the real scan's images"),
    (lambda e: {"seam_mm": -1.0}, r"The seam of -1 mm is out of range: it must be 0 to 50 mm\."),
    (lambda e: {"seam_mm": float("nan")}, r"The seam of nan mm is out of range"),
    (missing_image, r"nowhere\.nii\.gz does not exist"),
]
REFUSED_CASES = [
    (far_region, r"The region .*region\.nii\.gz lies elsewhere in space than the mask\."),
    (empty_region, r"The region .* is empty: it has no voxel above 0\."),
    (far_image, r"The known image .*t1\.nii\.gz lies elsewhere in space than the mask\."),
    (half_image, r"The known image .*t1\.nii\.gz covers only \d\d% of the mask\. Register it"),
    (flat_image, r"The known image .*t1\.nii\.gz has one value only inside its mask\."),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_an_impossible_edit_is_refused(
    tmp_path: Path, tiny: Path, edit: Edit, change: Callable[[Edit], Edit], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        synthesize(mask_of(edit), tmp_path / "out", tiny, **{**edit, **change(edit)})
    assert not contents(tmp_path / "out")


@pytest.mark.parametrize(("change", "sentence"), REFUSED_CASES)
def test_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, edit: Edit, change: Callable[[Edit], Edit], sentence: str
) -> None:
    values = {**edit, "region": str(edit["region"]), **change(edit)}
    request = SynthesisRequest((str(mask_of(edit)),), **values)
    [result] = run_batch(request, bright(), tmp_path / "out", SilentReporter())
    assert result.state == "failed" and result.exit_code == 2
    assert re.search(sentence, result.message), result.message
    assert not contents(tmp_path / "out")


def test_a_request_goes_through_a_job_file(edit: Edit) -> None:
    request = SynthesisRequest(("m.nii",), known=edit["known"], region="r.nrrd", seam_mm=2.5, compress=False)
    assert SynthesisRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    with pytest.raises(InputError, match="seam_mm must be a number"):
        SynthesisRequest.from_dict({"masks": ["m.nii"], "seam_mm": "wide"})


# Command line and picture


def test_the_command_edits_a_scan(
    tmp_path: Path, tiny: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from medddpm.cli.app import main

    def command(*more: str | Path) -> int:
        line = ["synth", mask_of(edit), "--out", tmp_path / "out", "--model", tiny, "--device", "cpu", *more]
        monkeypatch.setattr(sys, "argv", ["medddpm", *map(str, line)])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0)

    known = [part for entry in edit["known"] for part in ("--known", entry)]
    assert command(*known, "--region", edit["region"], "--seam", "6") == 0
    assert record(tmp_path / "out" / "brain")["local_edit"]["seam_mm"] == 6
    assert command(*known) == 2
    assert "no region" in capsys.readouterr().err.replace("\n", " ")


def test_the_pictures_go_through_the_region() -> None:
    labels = phantom(positions(SHAPE, AFFINE))
    region = np.zeros(SHAPE, bool)
    region[8:12, 20:25, 30:34] = True
    images = np.zeros((1, *SHAPE), np.float32)
    plain, edited = (Case(images, Volume(labels, AFFINE), load_scheme("brats"), r) for r in (None, region))
    assert edited.region is not None and edited.region[edited.center]
    assert not edited.region[plain.center]
