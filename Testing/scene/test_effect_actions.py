"""Buttons and parameters of the effect, which labels a mask has, and the button that generates; without widgets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from effect_phantom import (
    BRATS,
    CENTER,
    HEAD,
    TUMOR,
    UndoCounter,
    contents,
    motionOf,
    paint,
    phantom,
    segmentationOf,
    segmentOf,
    tumorMl,
    tumorPoints,
)
from medddpm.errors import InputError
from medddpm.masks.stack import tumor_roles
from MedDDPMSlicerLib.Background import finish
from MedDDPMSlicerLib.SegmentMasks import composeLabels
from scene_phantoms import GEOMETRIES
from SegmentEditorMedDDPMLib import Options
from SegmentEditorMedDDPMLib.EditActions import EditActions


class Bench:
    """Actions on a mask, with their parameters in a real segment editor node, as the effect keeps them."""

    def __init__(self, scene: Any, node: Any, synth: Any = None) -> None:
        self.node, self.undo = node, UndoCounter(node)
        self.editorNode = scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        for name, value in Options.DEFAULTS.items():
            self.write(name, value)
        self.actions = EditActions(self.read, self.write, lambda: node, lambda: synth, self.undo)

    def read(self, name: str) -> str:
        """A parameter."""
        return self.editorNode.GetAttribute(f"MedDDPM.{name}")

    def write(self, name: str, value: str) -> None:
        """Set a parameter."""
        self.editorNode.SetAttribute(f"MedDDPM.{name}", value)

    def set(self, **values: object) -> None:
        """Set several."""
        for name, value in values.items():
            self.write(name, str(value))


@pytest.fixture
def node(scene: Any) -> Any:
    """The phantom with anisotropic, turned voxels."""
    return segmentationOf(scene, phantom(GEOMETRIES["oblique"]))


@pytest.fixture
def bench(scene: Any, node: Any) -> Bench:
    """Actions on it."""
    return Bench(scene, node)


def test_parameters_are_read_as_typed_values() -> None:
    values = {**Options.DEFAULTS, "Diameter": "31.5", "Enhancing": "0", "Seed": "7", "ShiftA": "-4", "RotateS": "12.5"}
    lesion = Options.chosen(Options.LesionOptions, values.__getitem__)
    assert (lesion.diameter, lesion.parts, lesion.seed) == (31.5, ("necrotic", "edema"), 7)
    motion = Options.chosen(Options.Motion, values.__getitem__)
    assert (motion.shift, motion.degrees, motion.changes) == ((0.0, -4.0, 0.0), (0.0, 0.0, 12.5), True)
    assert not Options.chosen(Options.Motion, Options.DEFAULTS.__getitem__).changes


@pytest.mark.parametrize("text", ["", "abc", "nan?"])
def test_a_spoiled_parameter_counts_as_its_default(text: str) -> None:
    values = dict.fromkeys(Options.DEFAULTS, text)
    assert Options.chosen(Options.LesionOptions, values.__getitem__).diameter == 25.0
    assert not Options.chosen(Options.Motion, values.__getitem__).changes
    assert Options.picked({**values, "OnlyPicked": "1"}.__getitem__) is None


def test_points_survive_as_parameters() -> None:
    point = Options.parsePoint(Options.formatPoint((1.25, -20.5, 3.0)))
    assert point == (1.25, -20.5, 3.0)
    assert Options.parsePoint("1,2") is None


def test_apply_does_all_values_in_one_step_and_puts_them_back(bench: Bench) -> None:
    volume, before = tumorMl(bench.node), contents(bench.node)
    bench.set(Scale=110, ShiftR=-6, Grow=1)
    outcome = finish(bench.actions.apply())
    assert outcome.changed
    assert tumorMl(bench.node) > 1.3 * volume
    assert tumorPoints(bench.node).mean(axis=0)[0] == pytest.approx(TUMOR[0] - 6, abs=0.7)
    assert all(bench.read(name) == Options.DEFAULTS[name] for name in Options.MOTION_NAMES)
    assert bench.undo.count == 1
    bench.undo.history.RestorePreviousState()
    assert contents(bench.node) == before


def test_values_of_a_change_that_cannot_be_done_stay(bench: Bench) -> None:
    bench.set(Grow=-19)
    with pytest.raises(InputError):
        finish(bench.actions.apply())
    assert bench.read("Grow") == "-19"


def test_the_lesion_that_was_placed_last_is_the_one_that_is_changed(bench: Bench) -> None:
    place = np.add(CENTER, [-14.0, -6.0, 4.0])
    bench.set(Diameter=10, EdemaWidth=2, OnlyPicked=1)
    finish(bench.actions.place(tuple(place)))
    old = tumorPoints(bench.node)
    bench.set(ShiftS=4, ShiftA=2)
    finish(bench.actions.apply())
    new = tumorPoints(bench.node)
    right = old[:, 0] > CENTER[0] + 1
    np.testing.assert_array_equal(np.sort(old[right], axis=0), np.sort(new[new[:, 0] > CENTER[0] + 1], axis=0))
    # It is still known after it has moved.
    np.testing.assert_allclose(Options.parsePoint(bench.read("Picked")), np.add(place, [0, 2, 4]), atol=0.01)
    bench.set(Scale=150)
    finish(bench.actions.apply())


def test_a_dragged_lesion_is_chosen_where_it_was_dropped(bench: Bench) -> None:
    finish(bench.actions.drop(tuple(TUMOR), motionOf(shift=(-5.0, 0.0, 0.0))))
    np.testing.assert_allclose(Options.parsePoint(bench.read("Picked")), TUMOR - [5, 0, 0], atol=0.01)


def test_mirror_and_new_shape(bench: Bench) -> None:
    finish(bench.actions.mirror())
    assert tumorPoints(bench.node).mean(axis=0)[0] < CENTER[0]
    bench.set(Seed=Options.MAX_SEED)
    bench.actions.newShape()
    assert bench.read("Seed") == "1"
    bench.actions.newShape()
    assert bench.read("Seed") == "2"


def test_the_preview_of_a_change_follows_the_values(bench: Bench) -> None:
    assert bench.actions.ghostOfChange() is None
    bench.set(ShiftR=3)
    ghost, motion = bench.actions.ghostOfChange()
    assert motion.shift == (3.0, 0.0, 0.0)
    bench.set(ShiftR=4)
    assert bench.actions.ghostOfChange()[0] is ghost
    assert bench.actions.ghostAt(tuple(TUMOR)).centroid == pytest.approx(ghost.centroid)


def test_parts_are_those_of_the_mask(scene: Any, bench: Bench) -> None:
    assert set(tumor_roles(bench.actions.knownScheme())) == {"necrotic", "enhancing", "edema"}
    head = segmentationOf(scene, phantom(GEOMETRIES["lps"], HEAD), HEAD)
    assert set(tumor_roles(Bench(scene, head).actions.knownScheme())) == {"tumor"}


def test_an_edit_between_two_lesions_keeps_the_other(scene: Any) -> None:
    volume = phantom(GEOMETRIES["ras"])
    paint(volume.data, volume.affine, np.add(CENTER, [-14.0, -6.0, 4.0]))
    bench = Bench(scene, segmentationOf(scene, volume))
    bench.actions.pick(tuple(TUMOR))
    bench.set(OnlyPicked=1, Grow=3)
    finish(bench.actions.apply())
    after = composeLabels(bench.node, BRATS).data
    left = np.indices(after.shape)[0] < after.shape[0] // 2
    np.testing.assert_array_equal(after[left & (volume.data != 4)], volume.data[left & (volume.data != 4)])
    assert segmentOf(bench.node, 2)
