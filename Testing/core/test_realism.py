"""The measures of realism: what they say of images whose truth is known, and how sure they are."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.anatomy.tissues import Tissues
from medddpm.config import GridConfig
from medddpm.dataset import DatasetConfig, PreparedCase
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import Label, LabelScheme, load_scheme
from medddpm.models.segmenter import Segmenter, SegmenterConfig, overlap, read_segmenter, tumor_regions
from medddpm.network.segmentation import SegmentationUNet
from medddpm.progress import SilentReporter
from medddpm.training.dataset import PreparedDataset
from medddpm.training.evaluation import realism
from medddpm.training.evaluation.measures import (
    ALL,
    BASELINE,
    MEASURES,
    REAL,
    SYNTHETIC,
    Reading,
    mean_of,
    measured,
    ratio_of,
)
from medddpm.training.evaluation.realism import (
    BANDS,
    CaseMeasures,
    areas_under_curve,
    contrasts,
    slice_features,
    texture,
    tissue_masks,
    window,
)
from medddpm.training.evaluation.segmenter import Recipe, train_segmenter
from monai.metrics import (
    compute_confusion_matrix_metric,
    compute_dice,
    compute_iou,
    get_confusion_matrix,
)
from monai.networks.nets import BasicUNet
from safetensors.torch import save_file
from torch import Tensor

SIDE = 64
CPU = torch.device("cpu")


def ball(radius: float, side: int = SIDE) -> Tensor:
    axis = torch.arange(side) - (side - 1) / 2
    return sum(a.square() for a in torch.meshgrid(axis, axis, axis, indexing="ij")).sqrt() < radius  # type: ignore


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


WITHIN = ball(30)
WINDOW = window(WITHIN, (1, 1, 1))


# --- spectrum and kurtosis ------------------------------------------------------------------------------------------


def test_the_window_is_smooth_and_ends_at_the_outline() -> None:
    assert float(WINDOW[~WITHIN].max()) == 0 and float(WINDOW[ball(19)].min()) == 1
    assert float(WINDOW.diff(dim=0).abs().max()) < 0.2
    whole = window(torch.ones(24, 24, 24, dtype=torch.bool), (2, 2, 2))  # an outline that the volume cuts
    assert float(whole[0].max()) < 0.2 and float(whole.max()) == 1


@settings(max_examples=20, deadline=None)
@given(
    axis=st.integers(0, 2),
    wavelength=st.sampled_from([3.0, 5.6, 11.0, 22.0]),
    spacing=st.sampled_from([(1.0, 1.0, 1.0), (1.0, 0.8, 0.9)]),
    amplitude=st.floats(0.05, 0.5),
)
def test_a_wave_has_its_power_in_its_band(
    axis: int, wavelength: float, spacing: tuple[float, float, float], amplitude: float
) -> None:
    place = torch.arange(SIDE) * spacing[axis] * 2 * math.pi / wavelength
    wave = amplitude * torch.sin(place).view([-1 if i == axis else 1 for i in range(3)]).expand(SIDE, SIDE, SIDE)
    found = texture(wave + 0.3, window(WITHIN, spacing), spacing)
    (own,) = [name for name, (short, long) in BANDS.items() if short < wavelength < long and name != "power_2.5_4"]
    assert found[own] == pytest.approx((500 * amplitude) ** 2 / 2, rel=0.2)
    others = [found[name] for name in found if name.startswith("power") and name not in (own, "power_2.5_4")]
    assert max(others) < 0.2 * found[own]


def test_noise_has_no_kurtosis_and_blur_loses_the_finest_band_first() -> None:
    image = 0.2 * noise(1, SIDE, SIDE, SIDE)
    blurred = F.avg_pool3d(image[None], 3, 1, 1)[0]
    sharp, soft = texture(image, WINDOW, (1, 1, 1)), texture(blurred, WINDOW, (1, 1, 1))
    assert abs(sharp["kurtosis"]) < 0.2
    ratios = [soft[name] / sharp[name] for name in ("power_2_4", "power_4_8", "power_8_16", "power_16_32")]
    assert ratios == sorted(ratios) and ratios[0] < 0.2 and ratios[2] > 0.7
    assert texture(image * 2, WINDOW, (1, 1, 1))["power_2_4"] == pytest.approx(4 * sharp["power_2_4"], rel=1e-3)


def test_few_strong_structures_have_kurtosis() -> None:
    vessels = (noise(2, SIDE, SIDE, SIDE) > 3).float()
    assert texture(vessels, WINDOW, (1, 1, 1))["kurtosis"] > 2
    assert texture(torch.zeros(SIDE, SIDE, SIDE), WINDOW, (1, 1, 1))["kurtosis"] == 0


def test_what_is_outside_of_the_outline_does_not_count() -> None:
    image = 0.2 * noise(1, SIDE, SIDE, SIDE)
    changed = torch.where(WITHIN, image, 5.0)
    assert texture(changed, WINDOW, (1, 1, 1)) == pytest.approx(texture(image, WINDOW, (1, 1, 1)), rel=1e-3)


def test_bands_that_the_voxels_are_too_large_for_are_left_out() -> None:
    def names(mm: float) -> set[str]:
        return set(texture(noise(1, SIDE, SIDE, SIDE), window(WITHIN, (mm, mm, mm)), (mm, mm, mm)))

    assert names(1.0) == {*BANDS, "kurtosis"}
    assert names(2.0) == {*BANDS, "kurtosis"} - {"power_2_4", "power_2.5_4"}
    assert names(2.5) == {"power_8_16", "power_16_32", "power_32_64"}


# --- tissues --------------------------------------------------------------------------------------------------------


def test_the_contrast_of_tissues_by_hand() -> None:
    image = torch.tensor([0.4, 0.6, 0.0, 0.2, -0.6, -0.4]).view(1, 1, 6)
    masks = {name: torch.zeros(1, 1, 6, dtype=torch.bool) for name in ("white", "gray", "ventricles")}
    for i, name in enumerate(masks):
        masks[name][..., 2 * i : 2 * i + 2] = True
    deviation = statistics.stdev([0.4, 0.6])
    assert contrasts(image, masks) == pytest.approx({"gray_white": 0.4 / deviation, "ventricles": -1.0 / deviation})
    masks["gray"][..., 2] = False
    assert set(contrasts(image, masks)) == {"ventricles"}
    assert contrasts(image, {}) == {}


def test_tissues_are_known_by_their_role() -> None:
    scheme = load_scheme("glioma-anatomy")
    fractions = torch.zeros(len(scheme.labels), 1, 1, 11)
    for i, value in enumerate(scheme.values):
        fractions[i, ..., value - 1] = 1
    masks = {
        name: mask.flatten().nonzero().flatten().add(1).tolist()
        for name, mask in tissue_masks(fractions, scheme).items()
    }
    assert masks == {"ventricles": [6], "gray": [7, 8], "white": [9]}
    assert tissue_masks(torch.zeros(4, 1, 1, 1), load_scheme("brats")) == {}


def test_anatomy_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    """The segmentation finds all tissues in their place but half of the white matter, in which it sees gray matter."""
    scheme = load_scheme("glioma-anatomy")
    config = DatasetConfig(scheme, GridConfig((6, 5, 4), (1.0, 1.0, 1.0), "LPS"), ("T1", "PD"), ())
    fractions = torch.zeros(len(scheme.labels), 4, 5, 6)
    for x, value in enumerate((1, 6, 7, 8, 9, 9)):
        fractions[scheme.values.index(value), ..., x] = 1
    given: dict[str, Any] = {}

    def segment(images: dict[str, Volume], brain: np.ndarray, tumor: np.ndarray) -> Tissues:
        given.update(images=images, brain=brain, tumor=tumor)
        found = np.zeros((8, 6, 5, 4), np.float32)
        for x, value in enumerate((6, 7, 8, 9, 7), 1):
            found[value - 4, x] = 1
        return Tissues(found, (), {})

    monkeypatch.setattr(realism, "segment_tissues", segment)
    images = noise(1, 2, 4, 5, 6)
    found = realism.tissue_dice(images, fractions, config)
    assert found == pytest.approx({"anatomy_ventricles": 1, "anatomy_gray": 4 / 5, "anatomy_white": 2 / 3})
    assert set(given["images"]) == {"T1"} and given["images"]["T1"].shape == (6, 5, 4)
    assert given["images"]["T1"].data[3, 2, 1] == images[0, 1, 2, 3]
    assert bool(given["brain"].all()) and given["tumor"].sum(axis=(1, 2)).tolist() == [20, 0, 0, 0, 0, 0]
    assert realism.tissue_dice(images, fractions[:4], replace(config, scheme=load_scheme("brats"))) == {}
    assert realism.tissue_dice(images, fractions, replace(config, modalities=("PD", "DWI"))) == {}


def test_an_image_whose_tissues_cannot_be_segmented_is_told() -> None:
    config = DatasetConfig(load_scheme("glioma-anatomy"), GridConfig((8, 8, 8), (1.0, 1.0, 1.0), "LPS"), ("T1",), ())
    fractions = torch.zeros(11, 8, 8, 8)
    fractions[8] = 1
    reporter = Warned()
    measures = CaseMeasures(fractions, config, None, reporter)
    assert not [name for name, _, _ in measures.of(noise(1, 1, 8, 8, 8)) if name.startswith("anatomy")]
    (sentence,) = reporter.sentences
    assert "Anatomy fidelity leaves out" in sentence and "mL" in sentence
    assert list(measures.of(noise(1, 1, 8, 8, 8), anatomy=False)) and len(reporter.sentences) == 1


class Warned(SilentReporter):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def warning(self, sentence: str) -> None:
        self.sentences.append(sentence)


def test_the_measures_of_an_image() -> None:
    config = DatasetConfig(load_scheme("brats"), GridConfig((SIDE,) * 3, (1.0, 1.0, 1.0), "LPS"), ("T1", "T2"), ())
    fractions = torch.stack([torch.zeros(SIDE, SIDE, SIDE)] * 3 + [WITHIN.float()])
    found = list(CaseMeasures(fractions, config, None, SilentReporter()).of(0.1 * noise(4, 2, SIDE, SIDE, SIDE)))
    assert {(name, modality) for name, modality, _ in found} == {
        (name, modality) for name in (*BANDS, "kurtosis") for modality in ("T1", "T2")
    }


# --- tumor ----------------------------------------------------------------------------------------------------------


def test_the_regions_of_a_tumor() -> None:
    brats = {"tumor_whole": [0, 1, 2], "tumor_core": [0, 2], "tumor_enhancing": [2]}
    assert tumor_regions(load_scheme("brats")) == tumor_regions(load_scheme("glioma-anatomy")) == brats
    assert tumor_regions(load_scheme("whole-head")) == {"tumor_whole": [1]}
    assert tumor_regions(LabelScheme("x", (Label(1, "Brain", (0, 0, 0), ""),), 1, "")) == {}


def tumors(folder: Path) -> PreparedDataset:
    """Heads with a bright ball at a random place, on 32 voxels of 2 mm."""
    scheme, grid = load_scheme("whole-head"), GridConfig((32, 32, 32), (2.0, 2.0, 2.0), "LPS")
    (folder / "cases").mkdir(parents=True)
    for i in range(6):
        head, shifts = ball(14, 32), torch.randint(-5, 6, (3,), generator=torch.Generator().manual_seed(i)).tolist()
        tumor = ball(5, 32).roll(shifts, (0, 1, 2)) & head
        image = (head * 0.5 + tumor * 0.6 + 0.1 * noise(i, 32, 32, 32) - 0.5)[None]
        fractions = (torch.stack([head & ~tumor, tumor]) * 255).to(torch.uint8)
        save_file({"images": image.half(), "fractions": fractions}, folder / "cases" / f"{i}.safetensors")
    cases = tuple(PreparedCase(str(i), "train" if i < 4 else "test") for i in range(6))
    DatasetConfig(scheme, grid, ("T1",), cases).save(folder)
    return PreparedDataset(folder, "train")


@pytest.mark.slow
def test_a_segmenter_finds_tumors_where_images_show_them(tmp_path: Path) -> None:
    data = tumors(tmp_path)
    segmenter = Segmenter(SegmenterConfig.of(data.config, {}), data.config, CPU)
    before = torch.random.get_rng_state()
    train_segmenter(segmenter, data, Recipe(40, dice=True), SilentReporter())
    assert torch.equal(torch.random.get_rng_state(), before)
    (images, fractions), (others, _) = PreparedDataset(tmp_path, "test")
    assert segmenter.dice(images, fractions)["tumor_whole"] > 0.7
    assert segmenter.dice(others, fractions)["tumor_whole"] < 0.5  # a tumor at another place
    assert segmenter.dice(images, fractions * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)) == {}


def test_the_network_of_the_segmenter_is_monais() -> None:
    torch.manual_seed(0)
    own = SegmentationUNet(2, 3, 4)
    torch.manual_seed(0)
    monais = BasicUNet(3, 2, 3, (4, 8, 16, 32, 64, 4))
    states = own.state_dict(), monais.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    images = noise(1, 1, 2, 33, 39, 32)  # also of odd sides
    assert torch.equal(own(images), monais(images))


def test_the_figures_of_an_overlap_are_monais() -> None:
    found, truth = noise(1, 9, 9, 9) > 0.4, noise(2, 9, 9, 9) > 0
    one, other = found[None, None].float(), truth[None, None].float()
    counts = get_confusion_matrix(one, other)
    names = {"accuracy": "accuracy", "recall": "sensitivity", "precision": "precision", "dice": "f1 score"}
    wanted = {name: float(compute_confusion_matrix_metric(monais, counts)) for name, monais in names.items()}
    wanted["iou"] = float(compute_iou(one, other))
    assert overlap(found, truth) == pytest.approx(wanted)
    assert overlap(found, truth)["dice"] == pytest.approx(float(compute_dice(one, other)))
    assert overlap(torch.zeros_like(truth), truth)["precision"] == 0


def test_a_segmenter_is_a_file_that_says_what_it_is(tmp_path: Path) -> None:
    data = tumors(tmp_path)
    made = Segmenter(SegmenterConfig.of(data.config, {"dataset": "tumors"}), data.config, CPU, seed=1)
    told = made.save(tmp_path / "kept.safetensors", real_dice={"tumor_whole": 0.75}, real_cases=2)
    again = read_segmenter(tmp_path / "kept.safetensors", data.config, CPU)
    assert again.config == told and (told.real_cases, told.training) == (2, {"dataset": "tumors"})
    assert again.scores(*data[0]) == made.scores(*data[0])
    finer = replace(data.config, grid=GridConfig((64, 64, 64), (1.0, 1.0, 1.0), "LPS"))
    halves = [torch.nn.functional.interpolate(x[None], scale_factor=2)[0] for x in data[0]]
    assert read_segmenter(tmp_path / "kept.safetensors", finer, CPU).dice(*halves) == pytest.approx(made.dice(*data[0]))
    more = replace(data.config, modalities=("FLAIR", "T1"))
    both = torch.cat([noise(1, *data[0][0].shape), data[0][0]])
    assert read_segmenter(tmp_path / "kept.safetensors", more, CPU).dice(both, data[0][1]) == made.dice(*data[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"modalities": ("T2",)}, "looks at T1, but there is no T1, only T2"),
        ({"grid": GridConfig((32, 32, 32), (3.0, 3.0, 3.0), "LPS")}, "2 x 2 x 2 mm, axes LPS, which those of 3 x 3"),
        ({"grid": GridConfig((32, 32, 32), (2.0, 2.0, 2.0), "RAS")}, "axes RAS, do not make up"),
        ({"scheme": load_scheme("brats")}, ""),
    ],
)
def test_a_segmenter_of_other_images_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    data = tumors(tmp_path)
    Segmenter(SegmenterConfig.of(data.config, {}), data.config, CPU).save(tmp_path / "kept.safetensors")
    if not words:  # another scheme with tumors does
        read_segmenter(tmp_path / "kept.safetensors", replace(data.config, **changes), CPU)
        return
    with pytest.raises(InputError, match=words):
        read_segmenter(tmp_path / "kept.safetensors", replace(data.config, **changes), CPU)


def test_a_damaged_or_foreign_segmenter_is_refused(tmp_path: Path) -> None:
    data, path = tumors(tmp_path), tmp_path / "kept.safetensors"
    Segmenter(SegmenterConfig.of(data.config, {}), data.config, CPU).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InputError, match="its weights have another hash"):
        read_segmenter(path, data.config, CPU)
    path.write_bytes(whole[:100])
    with pytest.raises(InputError, match="cannot be read"):
        read_segmenter(path, data.config, CPU)
    path.write_bytes(whole.replace(b'\\"channels\\": 8', b'\\"channels\\": 4'))
    with pytest.raises(InputError, match="another network than it says"):
        read_segmenter(path, data.config, CPU)
    with pytest.raises(InputError, match="does not say that it is a segmenter"):
        read_segmenter(tmp_path / "cases" / "0.safetensors", data.config, CPU)
    with pytest.raises(InputError, match=r"none\.safetensors"):
        read_segmenter(tmp_path / "none.safetensors", data.config, CPU)


# --- real or synthetic ----------------------------------------------------------------------------------------------


def slices(seed: int, grain: float = 0.0) -> Tensor:
    """Features of a made-up patient: smooth texture of his own strength, and grain."""
    within = ball(11, 24)
    strength = 0.1 + 0.05 * float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
    smooth = F.avg_pool3d(noise(seed, 1, 2, 24, 24, 24), 3, 1, 1)[0]
    return slice_features(strength * smooth + grain * noise(seed + 1000, 2, 24, 24, 24), within)


def test_a_classifier_finds_noise_and_nothing_where_there_is_nothing() -> None:
    ids = {f"p{i}": f"p{i}" for i in range(10)}
    real = {name: slices(i) for i, name in enumerate(ids)}
    alike = areas_under_curve(real, {name: slices(i + 50) for i, name in enumerate(ids)}, ids)
    noisy = areas_under_curve(real, {name: slices(i + 50, 0.02) for i, name in enumerate(ids)}, ids)
    assert alike.keys() == noisy.keys() == ids.keys()
    assert statistics.fmean(noisy.values()) > 0.95
    estimate = mean_of(list(alike.values()))
    assert estimate is not None and estimate.low is not None and estimate.high is not None
    assert estimate.low < 0.5 < estimate.high and 0.3 < estimate.value < 0.7
    assert areas_under_curve(real, real, ids) == pytest.approx(dict.fromkeys(ids, 0.5))
    assert areas_under_curve(real, real, dict.fromkeys(ids, "the same patient")) == {}


# --- intervals ------------------------------------------------------------------------------------------------------


def test_intervals_of_few_patients_by_hand() -> None:
    """Of two patients: both twice with a chance of a quarter each."""
    found = mean_of([1.0, 3.0])
    assert found is not None and (found.value, found.low, found.high, found.patients) == (2, 1, 3, 2)
    (one,) = [mean_of([5.0])]
    assert one is not None and (one.value, one.low, one.high) == (5, None, None)
    assert mean_of([]) is None
    three = mean_of([0.0, 0.0, 1.0])  # thrice the last: 1 of 27, below the tail of 1 in 40 only with the next one
    assert three is not None and (three.low, three.high) == (0, 1)
    geometric = mean_of([1.0, 100.0], log=True)
    assert geometric is not None and geometric.value == pytest.approx(10)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=12))
def test_an_interval_holds_its_value_and_a_ratio_of_the_same_is_one(values: list[float]) -> None:
    found = mean_of(values)
    assert found is not None and found.low is not None and found.high is not None
    assert (
        min(values) - 1e-9 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= max(values) + 1e-9
    )
    doubled = ratio_of([2 * value for value in values], values)
    assert doubled is not None
    assert [doubled.value, doubled.low, doubled.high] == pytest.approx([2, 2, 2])


def test_counted_and_drawn_resamples_agree() -> None:
    values = [0.1, 0.4, 0.5, 0.9, 1.3, 2.0, 2.2]
    exact, drawn = mean_of(values), mean_of(values * 2)
    assert exact is not None and drawn is not None and exact.low is not None and drawn.low is not None
    assert exact.value == pytest.approx(drawn.value) and exact.low < drawn.low < exact.value  # twice the patients
    assert (exact.value - exact.low) / (drawn.value - drawn.low) == pytest.approx(math.sqrt(2), rel=0.1)


def test_a_ratio_to_what_may_be_zero_is_not_told() -> None:
    assert ratio_of([1.0, 1.0], [-1.0, 2.0]) is None
    assert ratio_of([1.0], [0.0]) is None
    negative = ratio_of([-1.0, -3.0], [-2.0, -2.0])
    assert negative is not None and negative.value == 1


def test_measures_are_means_over_patients() -> None:
    patients = {"a1": "a", "a2": "a", "b": "b"}
    rows = [(REAL, "a1", None, 1.0), (REAL, "a2", None, 3.0), (REAL, "b", None, 8.0), (BASELINE, "b", None, 0.0)]
    rows += [(SYNTHETIC, case, seed, 2.5) for case in patients for seed in (0, 1)]
    readings = [Reading("kurtosis", "T1", *row) for row in rows]
    readings += [Reading("among_masks", ALL, kind, "b", None, value) for kind, value in ((REAL, 0.3), (SYNTHETIC, 0.5))]
    kurtosis, among = measured(readings, patients)
    assert kurtosis.real is not None and (kurtosis.real.value, kurtosis.real.patients) == (5, 2)
    assert kurtosis.judged is not None and (kurtosis.judged.value, kurtosis.good) == (0.5, True)
    assert among.judged is not None and (among.judged.value, among.good) == (pytest.approx(0.2), False)
    assert all(measure.meaning.endswith(".") and "  " not in measure.meaning for measure in MEASURES.values())
