"""Which labels the segments of a mask stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from effect_choices import Choices
from effect_phantom import (
    BRATS,
    HEAD,
    phantom,
    segmentationOf,
)
from medddpm.config import ModelConfig
from medddpm.errors import InputError
from medddpm.labels.scheme import LabelScheme, load_scheme
from MedDDPMSlicerLib.Segments import createSegments
from scene_phantoms import GEOMETRIES
from SegmentEditorMedDDPMLib.SchemeChoice import MODEL_ATTRIBUTE, chooseScheme


@pytest.fixture
def node(scene: Any) -> Any:
    """The phantom with anisotropic, turned voxels."""
    return segmentationOf(scene, phantom(GEOMETRIES["oblique"]))


ANATOMY = load_scheme("glioma-anatomy")


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (("Head", "Tumor"), HEAD),
        (("Brain", "Tumor"), BRATS),
        (("Brain", "Ventricles", "Tumor"), ANATOMY),
        (("Gray matter", "White matter", "CSF", "Edema"), ANATOMY),
    ],
)
def test_labels_are_recognized_by_the_segments(scene: Any, names: tuple[str, ...], scheme: LabelScheme) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Case")
    for name in names:
        node.GetSegmentation().AddEmptySegment("", name)
    assert chooseScheme(node) == scheme


@pytest.mark.parametrize("scheme", [HEAD, BRATS, ANATOMY])
def test_labels_are_recognized_from_what_was_created(scene: Any, scheme: LabelScheme) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Case")
    createSegments(node, scheme)
    assert chooseScheme(node) == scheme


def test_a_segmentation_of_something_else_gets_a_sentence(scene: Any) -> None:
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Knee")
    node.GetSegmentation().AddEmptySegment("", "Meniscus")
    with pytest.raises(InputError, match="None of the segments of 'Knee'"):
        chooseScheme(node)


@pytest.fixture
def ownModel(tmp_path: Path) -> str:
    """A model folder whose labels are those of BraTS with a name of their own."""
    demo = Path(__file__).resolve().parents[2] / "Resources" / "Models" / "demo" / "config.json"
    config = json.loads(demo.read_text(encoding="utf-8"))
    config["scheme"]["name"] = "own"
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert ModelConfig.from_json(json.dumps(config)).scheme.name == "own"
    return str(tmp_path)


def test_the_model_of_the_segmentation_decides_on_its_labels(node: Any, ownModel: str) -> None:
    node.SetAttribute(MODEL_ATTRIBUTE, ownModel)
    assert chooseScheme(node).name == "own"


def test_the_model_chosen_in_the_module_counts_for_its_segmentation_only(scene: Any, node: Any, ownModel: str) -> None:
    other = segmentationOf(scene, phantom(GEOMETRIES["lps"]))
    assert chooseScheme(node, Choices(node, ownModel)).name == "own"
    assert chooseScheme(other, Choices(node, ownModel)).name == "brats"


def test_a_model_that_is_gone_leaves_the_segments_to_be_recognized(node: Any, tmp_path: Path) -> None:
    node.SetAttribute(MODEL_ATTRIBUTE, str(tmp_path / "gone"))
    assert chooseScheme(node) == BRATS
