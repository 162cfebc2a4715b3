"""Masks of tumor and brain, tumor alone, or some tissues get a whole anatomy."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from anatomy_phantoms import AFFINE, CORTEX, SHAPE, VENTRICLES, WHITE, ball, brain, points_of, turn
from medddpm.anatomy import completion
from medddpm.anatomy.brain_maps import bank_names, load_bank_map
from medddpm.anatomy.completion import Anatomy, complete_anatomy
from medddpm.anatomy.placement import BRATS_SHAPE, place_brain
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume, voxel_ml

CENTER = (-32.0, 5.0, 25.0)


def mask(radius: float = 20.0) -> np.ndarray:
    """Brain with a tumor of three parts on the left."""
    labels = np.where(brain().data > 0, 4, 0).astype(np.uint8)
    for value, factor in ((2, 1.4), (3, 1.0), (1, 0.6)):
        labels[ball(CENTER, radius * factor) & (labels > 0)] = value
    return labels


@lru_cache(maxsize=8)
def completed(seed: int = 3, mass_effect: float = 1.0, radius: float = 20.0) -> Anatomy:
    return complete_anatomy(Volume(mask(radius), AFFINE), seed, mass_effect=mass_effect)


def test_every_voxel_of_the_brain_has_its_tissue_and_the_tumor_stays() -> None:
    result, labels = completed(), mask()
    assert result.fractions.dtype == np.float32 and result.fractions.shape == (11, *SHAPE)
    assert result.labels.data.dtype == np.uint8 and np.array_equal(result.labels.affine, AFFINE)
    total = result.fractions.sum(axis=0)
    assert np.allclose(total[labels > 0], 1, atol=1e-5) and not total[labels == 0].any()
    for value in (1, 2, 3):
        assert np.array_equal(result.fractions[value - 1], (labels == value).astype(np.float32))
    assert not result.fractions[3].any()
    assert np.array_equal(result.labels.data, np.where(total > 0, result.fractions.argmax(axis=0) + 1, 0))
    assert set(np.unique(result.labels.data)) == {0, 1, 2, 3, *range(5, 12)}
    assert not result.sentences


def test_the_facts_tell_what_was_done() -> None:
    facts = completed().facts
    assert facts["map"] in bank_names() and isinstance(facts["mirrored"], bool)
    assert facts["outline_dice"] >= 0.97 and facts["mass_effect"] == 1
    assert facts["ventricles_after_ml"] < facts["ventricles_before_ml"]
    assert facts["ventricles_after_ml"] == pytest.approx(completed().fractions[5].sum() * voxel_ml(AFFINE), abs=0.01)
    assert facts["midline_shift_mm"] > 1


@pytest.mark.slow
def test_the_seed_alone_decides() -> None:
    again = complete_anatomy(Volume(mask(), AFFINE), 3)
    assert again.fractions.tobytes() == completed().fractions.tobytes() and again.facts == completed().facts
    chosen = {_choice(seed) for seed in range(60)}
    assert len(chosen) > len(bank_names())
    other = completed(seed=next(s for s in range(9) if _choice(s)[0] != completed().facts["map"]))
    assert (other.labels.data != completed().labels.data).mean() > 0.02


def _choice(seed: int) -> tuple[str, bool]:
    found = completion.bank_map(np.random.default_rng(seed))
    assert found.name is not None
    return found.name, found.mirrored


@pytest.mark.slow
def test_without_strength_nothing_is_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "push", lambda *args: pytest.fail("pushed"))
    still = complete_anatomy(Volume(mask(), AFFINE), 3, mass_effect=0)
    assert still.facts["midline_shift_mm"] == 0 and still.facts["mass_effect"] == 0
    healthy = complete_anatomy(Volume(np.where(mask() > 0, 4, 0), AFFINE), 3)
    outside = mask() == 4
    assert still.fractions[:, outside].tobytes() == healthy.fractions[:, outside].tobytes()
    assert healthy.facts["ventricles_before_ml"] == pytest.approx(healthy.facts["ventricles_after_ml"], rel=0.1)


@pytest.mark.slow
def test_a_larger_tumor_pushes_more() -> None:
    small, large = completed(radius=10.0), completed()
    assert small.facts["map"] == large.facts["map"]
    assert small.facts["midline_shift_mm"] < large.facts["midline_shift_mm"]
    assert small.facts["ventricles_after_ml"] > large.facts["ventricles_after_ml"]


def test_complete_tissues_are_taken_as_they_are_whatever_the_seed() -> None:
    given = completed().labels
    edited = given.data.copy()
    painted = ball((12, 0, 18), 15) & (edited >= 4)
    edited[painted] = VENTRICLES
    specks = tuple(np.argwhere(edited == WHITE)[::40].T)
    edited[specks] = 4
    results = [complete_anatomy(Volume(edited, AFFINE), seed) for seed in (0, 1)]
    assert np.array_equal(results[0].labels.data, edited) and np.array_equal(results[1].labels.data, edited)
    assert results[0].facts["map"] is None and "are used unchanged" in results[0].sentences[0]
    assert results[0].facts["ventricles_after_ml"] > completed().facts["ventricles_after_ml"]


def test_tissues_that_are_less_than_a_brain_are_said() -> None:
    labels = np.where(brain().data == VENTRICLES, VENTRICLES, 0).astype(np.uint8)
    sentences = complete_anatomy(Volume(labels, AFFINE), 0).sentences
    assert len(sentences) == 2 and "less than a brain" in sentences[1]


@pytest.mark.slow
def test_a_hole_in_the_tissues_is_filled_and_nothing_else_changes() -> None:
    holed = completed().labels.data.copy()
    removed = (holed > 0) & (holed < 4)
    holed[removed] = 4
    result = complete_anatomy(Volume(holed, AFFINE), 8)
    assert np.array_equal(result.labels.data[~removed], holed[~removed])
    assert set(np.unique(result.labels.data[removed])) <= set(range(5, 12))
    assert "no tissue label" in result.sentences[0] and result.facts["mass_effect"] == 0


@pytest.mark.slow
def test_a_hole_continues_its_surroundings_and_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = complete_anatomy(Volume(np.where(mask() > 0, 4, 0), AFFINE), 3).labels.data
    gap = ball((-16, -5, 22), 22) & (whole > 0)
    holed = Volume(np.where(gap, 4, whole).astype(np.uint8), AFFINE)
    assert _choice(1)[0] != _choice(3)[0]

    def agreement() -> float:
        found = complete_anatomy(holed, 1)
        assert found.sentences == (said,)
        return float((found.labels.data == whole)[gap].mean())

    said = "45 mL of the brain had no tissue label and was filled to continue the rest (90% of it the other side of "
    said += "this brain)."
    continued = agreement()
    said = "45 mL of the brain had no tissue label and was filled to continue the rest."
    monkeypatch.setattr(completion, "continued", lambda data, other, target, mirror: (other, 0.0))
    assert continued > agreement() + 0.15


@pytest.mark.slow
def test_ventricles_that_are_drawn_are_all_ventricles() -> None:
    labels = mask()
    drawn = (brain().data == VENTRICLES) & (labels == 4)
    labels[drawn] = VENTRICLES
    result = complete_anatomy(Volume(labels, AFFINE), 3)
    assert np.array_equal(result.fractions[VENTRICLES - 1] > 0, drawn)
    assert np.allclose(result.fractions.sum(axis=0)[labels > 0], 1, atol=1e-5)
    assert result.sentences == ("Kept as in the mask, with none added from the map: ventricles.",)
    assert (result.labels.data == CORTEX).sum() > 1000


@pytest.mark.slow(but="scheme")
@pytest.mark.parametrize("numbers", ["scheme", "freesurfer"])
def test_a_label_map_takes_the_place_of_the_bank(numbers: str) -> None:
    source = brain(pull=turn((10, 5, -8), (1.1, 0.95, 1.05)))
    if numbers == "freesurfer":
        table = np.array([0, 0, 0, 0, 0, 24, 43, 42, 49, 41, 47, 16], np.float32)
        source = Volume(table[source.data], AFFINE)
        source.data[: SHAPE[0] // 2][source.data[: SHAPE[0] // 2] == 47] = 46
        source.data[: SHAPE[0] // 2][source.data[: SHAPE[0] // 2] == 49] = 50
    results = [complete_anatomy(Volume(mask(), AFFINE), seed, mass_effect=0, source=source) for seed in (0, 1)]
    assert results[0].fractions.tobytes() == results[1].fractions.tobytes()
    assert results[0].facts["map"] is None and results[0].facts["outline_dice"] > 0.97
    outside = mask() == 4
    agree = (results[0].labels.data == WHITE) & (brain().data == WHITE) & outside
    assert 2 * agree.sum() / ((results[0].labels.data == WHITE).sum() + ((brain().data == WHITE) & outside).sum()) > 0.7


def test_a_label_map_of_the_same_brain_is_not_moved() -> None:
    result = complete_anatomy(Volume(mask(), AFFINE), 0, mass_effect=0, source=brain())
    outside = mask() == 4
    assert result.facts["outline_dice"] is None
    assert (result.labels.data[outside] == brain().data[outside]).mean() > 0.9


def test_a_label_map_without_ventricles_is_said() -> None:
    source = Volume(np.where(brain().data == VENTRICLES, WHITE, brain().data), AFFINE)
    source.data[ball((30, 0, 20), 10)] = 1
    result = complete_anatomy(Volume(mask(), AFFINE), 0, source=source)
    assert any("no ventricles" in sentence for sentence in result.sentences)
    assert any("Tumor and brain without tissue" in sentence for sentence in result.sentences)
    assert not (result.labels.data == VENTRICLES).any()


@pytest.mark.slow
def test_grids_turned_and_flipped_give_the_same_anatomy() -> None:
    labels = mask()
    turned_affine = AFFINE[:, [2, 0, 1, 3]] @ np.diag([-1.0, 1, -1, 1])
    turned_affine[:3, 3] += AFFINE[:3, 2] * (SHAPE[2] - 1) + AFFINE[:3, 1] * (SHAPE[1] - 1)
    moved = labels.transpose(2, 0, 1)[::-1, :, ::-1]
    assert np.allclose(points_of(moved.shape, turned_affine)[:, 0, 0, 0], points_of(SHAPE, AFFINE)[:, 0, -1, -1])
    result = complete_anatomy(Volume(moved, turned_affine), 3)
    back = result.labels.data[::-1, :, ::-1].transpose(1, 2, 0)
    assert (back == completed().labels.data).mean() > 0.99
    assert result.facts["midline_shift_mm"] == pytest.approx(completed().facts["midline_shift_mm"], abs=0.3)


@pytest.mark.slow
def test_a_tumor_alone_gets_a_brain_around_it() -> None:
    shape, affine = (90, 90, 90), np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = -135
    tumor = np.where(ball((30, -10, 10), 18, shape, affine), 1, 0).astype(np.uint8)
    result = complete_anatomy(Volume(tumor, affine), 5)
    inside = result.labels.data > 0
    assert 1000 < inside.sum() * voxel_ml(affine) < 1900
    assert np.array_equal(result.labels.data == 1, tumor == 1)
    around = ball((30, -10, 10), 24, shape, affine) & (tumor == 0)
    assert inside[around].mean() > 0.97
    assert "guess" in result.sentences[0] and result.facts["outline_dice"] is None
    middle = points_of(shape, affine)[:, inside].mean(axis=1)
    assert np.linalg.norm(middle) < 25


def test_on_the_grid_of_brats_the_brain_is_where_brains_are() -> None:
    tissues = load_bank_map(1)
    tumor = np.zeros(BRATS_SHAPE, bool)
    tumor[85:100, 110:130, 80:100] = True
    for affine in (np.diag([-1.0, -1, 1, 1]) + _shift(0, 239, 0), np.eye(4)):
        flip = tumor if affine[0, 0] < 0 else tumor[::-1, ::-1]
        placed = place_brain(tissues, flip, affine, np.random.default_rng(0))
        assert "BraTS" in placed.sentences[0] and len(placed.sentences) == 1
        found = placed.brain if affine[0, 0] < 0 else placed.brain[::-1, ::-1]
        middle = np.argwhere(found).mean(axis=0)
        assert np.abs(middle - [119.5, 125, 75]).max() < 12


def _shift(*shift: float) -> np.ndarray:
    matrix = np.zeros((4, 4))
    matrix[:3, 3] = shift
    return matrix


def test_a_tumor_in_the_frame_of_the_map_leaves_it_in_its_place() -> None:
    tissues = load_bank_map(0)
    white = np.argwhere(tissues.data == WHITE)
    spot = tissues.affine[:3, :3] @ white[len(white) // 2] + tissues.affine[:3, 3]
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = spot - 50
    tumor = ball(tuple(spot), 9, (50, 50, 50), affine)
    placed = place_brain(tissues, tumor, affine, np.random.default_rng(0))
    assert np.abs(placed.shift).max() < 6 and "place" in placed.sentences[0]
    assert any("outside of the mask's grid" in sentence for sentence in placed.sentences)


def bad(edit) -> np.ndarray:
    labels = mask()
    edit(labels)
    return labels


def _all_tumor(labels: np.ndarray) -> None:
    labels[(labels == 4) & (np.arange(SHAPE[0]) < 40)[:, None, None]] = 1


def _plate(labels: np.ndarray) -> None:
    labels[:] = 0
    labels[24:32, 4:-4, 4:-4] = 4


def _block(labels: np.ndarray) -> None:
    labels[1:-1, 1:-1, 1:-1] = 4


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (np.zeros(SHAPE, np.uint8), "empty"),
        (np.where(mask() == 4, 17, mask()), "does not have: 17"),
        (mask() + np.float32(0.5), "does not have"),
        (bad(_all_tumor), "of the brain"),
        (bad(_plate), "not plausible for a brain"),
        (bad(_block), "not plausible for a brain"),
        (np.where(ball((0, 0, 0), 80), 3, 0), "does not fit|of the brain"),
    ],
)
def test_what_can_be_no_brain_with_a_tumor_is_refused(labels: np.ndarray, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        complete_anatomy(Volume(labels, AFFINE), 0)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        (np.random.default_rng(0).random(SHAPE, np.float32), "fractional"),
        (mask(), "no tissues"),
        (brain().data * 20, "does not use the label values"),
        (np.where(ball((0, 0, 0), 25), brain().data, 0), "which is not plausible"),
        (np.zeros(SHAPE, np.uint8), "no tissues"),
    ],
)
def test_label_maps_that_are_no_brain_are_refused(source: np.ndarray, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        complete_anatomy(Volume(mask(), AFFINE), 0, source=Volume(source, AFFINE))


@pytest.mark.parametrize("strength", [-0.1, 1.01, float("nan")])
def test_the_strength_is_from_0_to_1(strength: float) -> None:
    with pytest.raises(InputError, match="strength of the mass effect"):
        complete_anatomy(Volume(mask(), AFFINE), 0, mass_effect=strength)


@pytest.mark.slow
def test_tumor_beyond_the_brain_stays_and_is_said() -> None:
    labels = mask()
    labels[1:3, 1:3, 1:3] = 3
    result = complete_anatomy(Volume(labels, AFFINE), 3)
    assert (result.labels.data[1:3, 1:3, 1:3] == 3).all()
    assert "outside of the brain" in result.sentences[0]


@pytest.mark.slow
def test_several_tumors_one_at_the_skull_and_one_on_the_midline() -> None:
    labels = mask()
    labels[ball((0, -20, 40), 14) & (labels == 4)] = 3
    labels[ball((60, 0, 10), 16) & (labels == 4)] = 1
    result = complete_anatomy(Volume(labels, AFFINE), 3)
    assert np.allclose(result.fractions.sum(axis=0)[labels > 0], 1, atol=1e-5)
    assert (result.labels.data[(labels > 0) & (labels < 4)] == labels[(labels > 0) & (labels < 4)]).all()
