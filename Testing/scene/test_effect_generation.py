"""The button that generates, with a real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from effect_choices import Choices
from effect_phantom import (
    phantom,
    segmentationOf,
)
from medddpm.errors import InputError
from MedDDPMSynthLib.SynthService import SynthService
from scene_phantoms import GEOMETRIES
from SegmentEditorMedDDPMLib.Generation import Generation
from SegmentEditorMedDDPMLib.SchemeChoice import MODEL_ATTRIBUTE
from synth_helpers import lentService, pollUntil


@pytest.fixture
def node(scene: Any) -> Any:
    """The phantom with anisotropic, turned voxels."""
    return segmentationOf(scene, phantom(GEOMETRIES["oblique"]))


@pytest.fixture
def service(scene: Any, root: Path, workerPython: str) -> Any:
    """A real service. Its worker's Python has all packages, whatever the one of the tests lacks."""
    yield from lentService(root, workerPython, missing=lambda use: [])


def test_without_a_segmentation_the_button_says_so(service: SynthService) -> None:
    view = Generation(service, Choices()).view(None)
    assert not view.enabled and "segmentation" in view.toolTip


def test_the_button_is_disabled_with_the_reason_of_the_module(service: SynthService, node: Any) -> None:
    view = Generation(service, Choices(node, model="no such model")).view(node)
    assert not view.enabled
    assert "no such model" in view.toolTip and view.status == view.toolTip


@pytest.mark.slow
def test_a_press_generates_for_the_segmentation_of_the_editor(
    service: SynthService, scene: Any, node: Any, modelFolder: Path
) -> None:
    node.SetAttribute(MODEL_ATTRIBUTE, str(modelFolder))
    choices = Choices(segmentationOf(scene, phantom(GEOMETRIES["lps"])), editRealScan=True)
    generation = Generation(service, choices)
    assert generation.view(node).enabled
    with pytest.raises(InputError, match="terms of the model"):
        generation.press(node)
    service.library.acknowledge(str(modelFolder))
    generation.press(node)
    assert (choices.segmentation, choices.model, choices.editRealScan) == (node, str(modelFolder), False)
    view = generation.view(node)
    assert (view.text, view.enabled) == ("Cancel", True)
    assert view.percent is not None and view.status
    pollUntil(service, lambda: service.activeRun(node) is None)
    service.run.raiseFailure()
    assert len(service.run.volumes) == 2
    view = generation.view(node)
    assert (view.text, view.enabled, view.percent) == ("Generate MRI", True, None)
    assert view.status == service.run.message


@pytest.mark.slow
def test_a_second_press_cancels(service: SynthService, node: Any, modelFolder: Path) -> None:
    service.library.acknowledge(str(modelFolder))
    generation = Generation(service, Choices(node, str(modelFolder), steps=200, sampler="ddim"))
    generation.press(node)
    generation.press(node)
    assert not generation.view(node).enabled or generation.view(node).text == "Generate MRI"
    pollUntil(service, lambda: service.activeRun(node) is None)
    assert service.run.volumes == []
    assert generation.view(node).text == "Generate MRI"
