"""The three rules of intensities: what they make of a scan, the way back, and that local edits follow the model's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from head_phantoms import options, template, write_case
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from medddpm.config import GridConfig
from medddpm.errors import InputError
from medddpm.geometry.grid import Placement, image_to_grid, place
from medddpm.geometry.intensity import OTHER_NAMES, RULES, IntensityRange, SliceRanges, axial_axis, intensity_rule
from medddpm.geometry.nifti import write_image
from medddpm.geometry.volume import Volume
from medddpm.models.places import find_config
from medddpm.preparation.case import prepare_one
from medddpm.preparation.options import INTENSITIES
from synthesis_phantoms import affine_of, phantom, positions, save_mask, save_tiny, voxels
from synthesis_runs import synthesize

SHAPE = (16, 20, 12)
GRID = GridConfig(SHAPE, (3.0, 3.0, 3.0), "LPS")
AFFINE = affine_of("LPS", (3.0, 3.0, 3.0), SHAPE)


def volume(seed: int = 0, low: float = 0.0) -> Volume:
    """Bright in the middle, every slice of another brightness, ``low`` around."""
    random = np.random.default_rng(seed)
    data = np.full(SHAPE, low, np.float32)
    inside = random.uniform(50, 100, (10, 14, 12)) * np.linspace(0.5, 2, 12)
    data[3:13, 3:17] = inside
    return Volume(data, AFFINE)


def placement(grid: GridConfig = GRID, affine: np.ndarray = AFFINE) -> Placement:
    return place(SHAPE, affine, volume().data > 0, grid)


def scaled(name: str, source: Volume) -> tuple[np.ndarray, object]:
    return RULES[name].to_grid(source, source.data[source.data > 0], placement(), -1.0)


def test_the_rules_are_those_that_can_be_asked_for() -> None:
    assert tuple(RULES) == tuple(INTENSITIES)
    assert all(intensity_rule(name).name == name for name in RULES)


def test_what_older_models_say_is_understood() -> None:
    """Of the shipped demo and of the published checkpoints."""
    assert intensity_rule(find_config("demo").normalization).name == "percentile"
    assert {intensity_rule(text).name for text in OTHER_NAMES} == set(RULES)
    with pytest.raises(
        InputError, match=r"The intensity normalization 'z-score' is unknown\. Known are percentile, min-max"
    ):
        intensity_rule("z-score")


def test_percentiles_are_not_moved_by_single_voxels() -> None:
    source = volume()
    spoiled = Volume(source.data.copy(), AFFINE)
    spoiled.data[8, 8, 6], spoiled.data[0, 0, 0] = 1e6, -1e6
    for name, share in (("percentile", 0.05), ("min-max", 0.9)):
        image, other = scaled(name, source)[0], scaled(name, spoiled)[0]
        other[8, 8, 6] = image[8, 8, 6]
        other[0, 0, 0] = image[0, 0, 0]
        assert (np.abs(image - other).max() > share) == (name == "min-max")


def test_the_robust_range_leaves_a_thousandth_at_either_end() -> None:
    found = IntensityRange.of(np.arange(1001), np.arange(500, 1501))
    assert (found.low, found.high) == (1.0, 1499.0)


def test_what_is_beyond_the_range_is_clipped_on_both_ways() -> None:
    found = IntensityRange(100.0, 300.0)
    assert found.to_network(np.array([0.0, 100, 250, 900])).tolist() == [-1, -1, 0.5, 1]
    assert found.from_network(np.array([-2.0, -1, 0.5, 3])).tolist() == [100, 100, 250, 300]


def test_min_max_is_that_of_the_paper() -> None:
    source = volume(low=5.0)
    image, scale = scaled("min-max", source)
    expected = (source.data - 5.0) / (source.data.max() - 5.0) * 2 - 1
    np.testing.assert_allclose(image, expected, atol=1e-6)
    assert scale.limits == (5.0, pytest.approx(source.data.max()))  # type: ignore[attr-defined]


def test_slices_are_scaled_as_published() -> None:
    """Each axial slice by itself, from its smallest to its largest value, written out."""
    source = volume()
    image, _ = scaled("slice-min-max", source)
    for k in range(SHAPE[2]):
        part = source.data[:, :, k]
        np.testing.assert_allclose(image[:, :, k], (part - part.min()) / (part.max() - part.min()) * 2 - 1, atol=1e-5)


@pytest.mark.parametrize("codes", ["LPS", "SRA", "ASL"])
def test_slices_are_axial_whatever_the_axes(codes: str) -> None:
    grid = GridConfig(tuple(20 for _ in range(3)), (3.0, 3.0, 3.0), codes)  # type: ignore[arg-type]
    where = place(SHAPE, AFFINE, volume().data > 0, grid)
    axis = axial_axis(np.array(where.grid_affine))
    assert codes[axis] == "S"
    image, _ = RULES["slice-min-max"].to_grid(volume(), np.ones(3) + np.arange(3), where, -1.0)
    tops = image.max(axis=tuple(a for a in range(3) if a != axis))
    assert set(np.round(tops, 5)) <= {-1.0, 1.0} and (tops > 0).sum() == SHAPE[2]


def test_empty_slices_and_what_the_scan_does_not_reach_are_background() -> None:
    source = volume()
    source.data[:, :, 0] = 7.0
    grid = GridConfig((24, 24, 24), (3.0, 3.0, 3.0), "LPS")
    where = place(SHAPE, AFFINE, source.data > 0, grid)
    image, _ = RULES["slice-min-max"].to_grid(source, source.data[source.data > 7], where, -1.0)
    reached = image_to_grid(Volume(np.ones(SHAPE, np.float32), AFFINE), where, 0.0) > 0
    assert reached.sum() == source.data.size
    assert (image[~reached] == -1).all() and image.min() == -1 and image.max() == 1
    flat = image_to_grid(Volume((source.data == 7).astype(np.float32), AFFINE), where, 0.0) > 0
    assert flat.sum() == SHAPE[0] * SHAPE[1] and (image[flat] == -1).all()


@pytest.mark.parametrize("name", list(RULES))
def test_there_and_back_on_both_grids(name: str) -> None:
    """What was not clipped comes back; slices, too, as long as the scan's own ranges are known."""
    source = volume(3)
    image, scale = scaled(name, source)
    atol = 0.5 if name == "percentile" else 1e-3
    near = source.data <= np.percentile(source.data[source.data > 0], 99.5)
    np.testing.assert_allclose(scale.from_network(image)[near], source.data[near], atol=atol)  # type: ignore[attr-defined]
    own = scale.on_source(placement())  # type: ignore[attr-defined]
    np.testing.assert_allclose(own.from_network(image)[near], source.data[near], atol=atol)


def test_ranges_of_slices_go_to_a_finer_grid() -> None:
    """Between two slices of the model, the range is between theirs; above and below it stays what it is."""
    fine = affine_of("LPS", (3.0, 3.0, 1.5), (16, 20, 24))
    grid = GridConfig((16, 20, 12), (3.0, 3.0, 3.0), "LPS")
    where = place((16, 20, 24), fine, np.ones((16, 20, 24), bool), grid)
    steps = np.arange(12, dtype=np.float32)[None, None]
    own = SliceRanges(steps * 0, steps * 10 + 100).on_source(where)
    assert own.high.shape == (16, 20, 24)
    assert (np.diff(own.high[8, 10]) >= -1e-4).all() and own.high[8, 10, 1:-1].min() >= 100 and own.high.max() <= 210
    np.testing.assert_allclose(own.high[8, 10, 11], 100 + 10 * 5.25, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(-1e4, 1e4, width=32)), st.sampled_from([0, 1, 2]))
def test_any_slices_stay_within_the_networks_range(data: np.ndarray, axis: int) -> None:
    there = SliceRanges.of(data, axis)
    image = there.to_network(data)
    assert image.dtype == np.float32 and image.min() >= -1 and image.max() <= 1
    flat = (there.low == there.high) & np.ones(data.shape, bool)
    assert (image[flat] == -1).all()
    np.testing.assert_allclose(there.from_network(image), data, atol=1e-6 * (np.abs(data).max() + 1) * 4)


@pytest.mark.parametrize("name", list(RULES))
def test_an_image_of_one_value_is_refused(name: str) -> None:
    flat = Volume(np.full(SHAPE, 3.0, np.float32), AFFINE)
    with pytest.raises(InputError, match=r"^t1\.nii is constant inside"):
        RULES[name].to_grid(flat, flat.data[4:6].ravel(), placement(), -1.0, "t1.nii")
    with pytest.raises(InputError, match="is constant inside"):
        IntensityRange.between(1.0, 1.0)


@pytest.mark.parametrize("name", list(RULES))
def test_a_dataset_is_prepared_by_the_rule_that_is_asked_for(tmp_path: Path, name: str) -> None:
    case = write_case(tmp_path)
    tensors, facts = prepare_one(case, options(intensities=name), template())
    images = tensors["images"].astype(float)
    assert images.min() == -1 and images.max() <= 1
    tops = images[0].max(axis=(1, 2))
    inside = tensors["fractions"].sum(axis=(0, 2, 3), dtype=int) > 0
    if name == "slice-min-max":
        np.testing.assert_allclose(tops[inside], 1, atol=1e-3)
    else:
        assert tops[inside].min() < 0.9
    assert facts.images[0].high > facts.images[0].low


# Local edits

EDIT_SHAPE, EDIT_SPACING = (42, 50, 40), (4.0, 4.0, 4.0)
EDIT_AFFINE = affine_of("LPS", EDIT_SPACING, EDIT_SHAPE)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mask, region and a T1 whose slices get brighter upward, with one voxel that is far brighter than the rest."""
    folder = tmp_path_factory.mktemp("scan")
    points = positions(EDIT_SHAPE, EDIT_AFFINE)
    save_mask(folder / "mask.nii.gz")
    labels = phantom(points)
    t1 = np.where(labels > 0, 300 + 2 * points[2] + 20 * np.sin(points[0] / 9), 0)
    t1[21, 25, 20] = 3000
    write_image(folder / "t1.nii.gz", t1.astype(np.float32), EDIT_AFFINE, "scan")
    region = np.zeros(EDIT_SHAPE, np.uint8)
    region[15:22, 15:22, 15:22] = 1
    write_image(folder / "region.nii.gz", region, EDIT_AFFINE, "region")
    return folder


def edited(scan: Path, folder: Path, normalization: str) -> tuple[np.ndarray, dict, list[str]]:
    """T1 after a local edit with a model of a normalization, its record, and what was told."""
    model = save_tiny(folder / "model")
    text = (model / "config.json").read_text()
    config = json.loads(text) | {"normalization": normalization}
    (model / "config.json").write_text(json.dumps(config))
    known = (f"T1={scan / 't1.nii.gz'}",)
    told: list[str] = []

    class Listening:
        """Keeps the warnings."""

        def __getattr__(self, _: str):
            return lambda *args, **kwargs: None

        def warning(self, sentence: str) -> None:
            told.append(sentence)

    [result] = synthesize(
        scan / "mask.nii.gz",
        folder / "out",
        model,
        context=known,
        region=scan / "region.nii.gz",
        seam_mm=4.0,
        device="cpu",
        reporter=Listening(),
    )
    if result.state != "done":
        raise InputError(result.message)
    data, _ = voxels(result.folder / "mask_sample-01_T1.nii.gz")
    return data, json.loads((result.folder / "provenance.json").read_text()), told


@pytest.mark.parametrize("name", list(RULES))
def test_a_local_edit_uses_the_rule_of_its_model(scan: Path, tmp_path: Path, name: str) -> None:
    data, record, told = edited(scan, tmp_path, name)
    real, _ = voxels(scan / "t1.nii.gz")
    made = np.zeros(EDIT_SHAPE, bool)
    made[16:21, 16:21, 16:21] = True
    kept = np.ones(EDIT_SHAPE, bool)
    kept[13:24, 13:24, 13:24] = False
    np.testing.assert_array_equal(data[kept], real[kept])
    assert (data[made] != real[made]).mean() > 0.9
    low, high = record["real_intensity"]["T1"]
    assert record["real_intensity_rule"] == RULES[name].sentence
    assert low == 0 and data[made].max() <= high * 1.001
    assert (high == 3000) == (name == "min-max")  # the mean of a model voxel and percentiles do not see one voxel
    assert any("cannot be recovered exactly" in sentence for sentence in told) == (name == "slice-min-max")


def test_a_model_of_unknown_intensities_is_refused(scan: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The intensity normalization 'z-score' is unknown"):
        edited(scan, tmp_path, "z-score")
