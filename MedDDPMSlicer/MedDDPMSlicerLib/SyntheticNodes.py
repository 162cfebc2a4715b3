"""Marks of synthetic volumes: attributes that stay with the node in saved scenes and tell where it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PREFIX = "MedDDPM."
SEGMENTATION_ROLE = "MedDDPM.segmentation"
# Attributes with a text each; "provenance" is JSON.
FIELDS = ("model", "modelSha256", "seed", "sampler", "steps", "modality", "sample")


def markSynthetic(
    node: Any, segmentationNode: Any, fields: Mapping[str, object], provenance: Mapping[str, Any] | None = None
) -> None:
    """Mark ``node`` as synthetic, made from ``segmentationNode`` (None: not from one of this scene).

    ``fields`` are some of FIELDS; ``provenance`` is JSON data. Raises KeyError for another field.
    """
    for name, value in fields.items():
        if name not in FIELDS:
            raise KeyError(name)
        node.SetAttribute(PREFIX + name, None if value is None else str(value))
    node.SetAttribute(PREFIX + "synthetic", "1")
    if provenance is not None:
        node.SetAttribute(PREFIX + "provenance", json.dumps(provenance, sort_keys=True))
    node.SetNodeReferenceID(SEGMENTATION_ROLE, None if segmentationNode is None else segmentationNode.GetID())


def isSynthetic(node: Any) -> bool:
    """Whether a node carries the mark."""
    return node is not None and node.GetAttribute(PREFIX + "synthetic") == "1"


def field(node: Any, name: str) -> str | None:
    """One of FIELDS as text; None where it is not known."""
    return node.GetAttribute(PREFIX + name)


def provenanceOf(node: Any) -> dict[str, Any]:
    """The provenance record; empty where there is none or it is damaged."""
    text = node.GetAttribute(PREFIX + "provenance")
    try:
        record = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def segmentationOf(node: Any) -> Any:
    """The segmentation node that a synthetic volume was made from; None where it is not in the scene."""
    return node.GetNodeReference(SEGMENTATION_ROLE)


def syntheticVolumes(scene: Any, segmentationNode: Any = None) -> list[Any]:
    """The synthetic volumes of a scene, of one segmentation where given, in the order in which they were made."""
    return _marked(scene, segmentationNode, "vtkMRMLVolumeNode")


def syntheticAnatomies(scene: Any, segmentationNode: Any) -> list[Any]:
    """The segmentations of the tissues that synthetic volumes of a mask were made from."""
    return _marked(scene, segmentationNode, "vtkMRMLSegmentationNode")


def _marked(scene: Any, segmentationNode: Any, className: str) -> list[Any]:
    found = scene.GetNodesByClass(className)
    found.UnRegister(None)
    nodes = [found.GetItemAsObject(n) for n in range(found.GetNumberOfItems())]
    marked = [node for node in nodes if isSynthetic(node)]
    if segmentationNode is None:
        return marked
    wanted = segmentationNode.GetID()
    return [node for node in marked if node.GetNodeReferenceID(SEGMENTATION_ROLE) == wanted]
