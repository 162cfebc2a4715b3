"""Nodes of a scene without Qt: how they are shown, where they are in the tree of the Data module, what is synthetic.

Synthetic volumes are marked by attributes that stay with the node in saved scenes and tell where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import slicer
import vtk

from .Lattice import toMatrix

GRAY = "vtkMRMLColorTableNodeGrey"
KEY_ATTRIBUTE = "MedDDPM.key"
PREFIX = "MedDDPM."
SEGMENTATION_ROLE = "MedDDPM.segmentation"
NRRD_STORAGE, ITK_STORAGE = "vtkMRMLNRRDStorageNode", "vtkMRMLVolumeArchetypeStorageNode"
# Attributes with a text each; "provenance" is JSON.
FIELDS = ("model", "modelSha256", "seed", "sampler", "steps", "modality", "sample")
# Slice views of a comparison, which shows what it was asked to.
VIEW_PREFIX = "MedDDPM"


def setAffine(volumeNode: Any, affine: np.ndarray) -> None:
    """Set the matrix voxel index -> RAS mm (4x4)."""
    volumeNode.SetIJKToRASMatrix(toMatrix(affine))


def placeLike(volumeNode: Any, segmentationNode: Any) -> None:
    """Put a volume in segmentation coordinates where the segmentation is: under its parent transform."""
    volumeNode.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())


def displayGray(volumeNode: Any, low: float, high: float) -> None:
    """Gray levels from ``low`` (black) to ``high`` (white).

    Call it before the voxels are set: then nothing looks through all voxels for a window of its own.
    """
    display = volumeNode.GetDisplayNode()
    if display is None:
        display = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeDisplayNode")
        display.SetAndObserveColorNodeID(GRAY)
        volumeNode.SetAndObserveDisplayNodeID(display.GetID())
    display.SetAutoWindowLevel(False)
    display.SetAutoThreshold(False)
    display.SetWindowLevelMinMax(float(low), float(high))


def showOutline(segmentationNode: Any) -> None:
    """Show a mask as outlines, so that the images below can be seen."""
    display = segmentationNode.GetDisplayNode()
    if display is not None:
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)


def removeNode(node: Any) -> None:
    """Remove a node with its display and storage nodes, if any; nothing happens where it has gone already."""
    if node is None or node.GetScene() is None:
        return
    scene = node.GetScene()
    tree = hierarchyOf(scene)
    item = tree.GetItemByDataNode(node)
    for kind in ("GetDisplayNode", "GetStorageNode"):
        companion = getattr(node, kind)() if hasattr(node, kind) else None
        if companion is not None:
            scene.RemoveNode(companion)
    scene.RemoveNode(node)
    if item and tree.GetItemDataNode(item) is not None:  # without Qt nobody else removes it
        tree.RemoveItem(item, False, False)


class NodeList:
    """Nodes that may leave their scene at any time; they are not kept alive, with all their voxels, by being listed."""

    def __init__(self, nodes: Iterable[Any] = ()) -> None:
        self._references = []
        for node in nodes:
            self._references.append(vtk.vtkWeakReference())
            self._references[-1].Set(node)

    def inScene(self) -> list[Any]:
        """Those that are still in a scene."""
        nodes = (reference.Get() for reference in self._references)
        return [node for node in nodes if node is not None and node.GetScene() is not None]


def hierarchyOf(scene: Any = None) -> Any:
    """The subject hierarchy node of ``scene`` (by default Slicer's), made where there is none."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene if scene is None else scene)


def folderFor(name: str, parent: int | None = None, key: str = "", scene: Any = None) -> int:
    """The item of the folder ``name`` under the item ``parent`` (by default the top), made where it is not there.

    Folders of equal names are told apart by ``key``, which is kept with the folder.
    """
    tree = hierarchyOf(scene)
    above = tree.GetSceneItemID() if parent is None else parent
    for item in _children(tree, above):
        same = tree.GetItemName(item) == name and tree.GetItemAttribute(item, KEY_ATTRIBUTE) == key
        if same and tree.GetItemDataNode(item) is None:
            return item
    folder = int(tree.CreateFolderItem(above, name))
    if key:
        tree.SetItemAttribute(folder, KEY_ATTRIBUTE, key)
    return folder


def itemOf(node: Any) -> int:
    """The item of a data node of a scene, made (at the top) where it has none."""
    tree = hierarchyOf(node.GetScene())
    item = int(tree.GetItemByDataNode(node))
    return item or int(tree.CreateItem(tree.GetSceneItemID(), node))


def parentOf(node: Any) -> int:
    """The item that a node lies under: a folder, study or patient, or the scene."""
    return int(hierarchyOf(node.GetScene()).GetItemParent(itemOf(node)))


def patientOf(node: Any) -> str:
    """The name of the patient that a node lies under in the subject hierarchy; empty where it lies under none."""
    tree = hierarchyOf(node.GetScene())
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelPatient()
    item = tree.GetItemAncestorAtLevel(itemOf(node), level)
    return str(tree.GetItemName(item)) if item else ""


def putUnder(node: Any, folder: int) -> int:
    """Move a node below the item ``folder``; returns the node's item."""
    item = itemOf(node)
    hierarchyOf(node.GetScene()).SetItemParent(item, folder)
    return item


def nodesUnder(folder: int, recursive: bool = True, scene: Any = None) -> list[Any]:
    """The data nodes below an item, in the order of the tree."""
    tree = hierarchyOf(scene)
    nodes = (tree.GetItemDataNode(item) for item in _children(tree, folder, recursive))
    # Without the application's plugins the item of a removed node stays, and keeps it alive.
    return [node for node in nodes if node is not None and node.GetScene() is not None]


def removeIfEmpty(folder: int, scene: Any = None) -> bool:
    """Remove a folder in which no data node is left, with the empty folders in it; returns whether it was removed."""
    tree = hierarchyOf(scene)
    if folder == tree.GetSceneItemID() or nodesUnder(folder, scene=scene):
        return False
    return bool(tree.RemoveItem(folder, False, True))


def _children(tree: Any, item: int, recursive: bool = False) -> list[int]:
    ids = vtk.vtkIdList()
    tree.GetItemChildren(item, ids, recursive)
    return [int(ids.GetId(n)) for n in range(ids.GetNumberOfIds())]


def markSynthetic(
    node: Any, segmentationNode: Any, fields: Mapping[str, object], provenance: Mapping[str, Any] | None = None
) -> None:
    """Mark ``node`` as synthetic, made from ``segmentationNode`` (None: not from one of this scene).

    ``fields`` are some of FIELDS; ``provenance`` is JSON data. A volume is saved as NRRD unless the user decides
    otherwise: that writer of Slicer puts the mark into the file's header, also within an .mrb file. Raises KeyError for
    another field.
    """
    for name, value in fields.items():
        if name not in FIELDS:
            raise KeyError(name)
        node.SetAttribute(PREFIX + name, None if value is None else str(value))
    node.SetAttribute(PREFIX + "synthetic", "1")
    if node.IsA("vtkMRMLScalarVolumeNode") and node.GetScene() is not None and node.GetStorageNode() is None:
        storeAs(node, NRRD_STORAGE)
    if provenance is not None:
        node.SetAttribute(PREFIX + "provenance", json.dumps(provenance, sort_keys=True))
    node.SetNodeReferenceID(SEGMENTATION_ROLE, None if segmentationNode is None else segmentationNode.GetID())


def storeAs(node: Any, kind: str) -> Any:
    """Let a node be saved by a storage node of this class, instead of another one; returns that."""
    storage = node.GetStorageNode()
    if storage is None or storage.GetClassName() != kind:
        scene = node.GetScene()
        if storage is not None:
            scene.RemoveNode(storage)
        storage = scene.AddNewNodeByClass(kind)
        node.SetAndObserveStorageNodeID(storage.GetID())
    return storage


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


def syntheticVolumes(segmentationNode: Any = None) -> list[Any]:
    """The synthetic volumes of the scene, of one segmentation where given, in the order in which they were made."""
    return _marked(segmentationNode, "vtkMRMLVolumeNode")


def syntheticAnatomies(segmentationNode: Any) -> list[Any]:
    """The segmentations of the tissues that synthetic volumes of a mask were made from."""
    return _marked(segmentationNode, "vtkMRMLSegmentationNode")


def _marked(segmentationNode: Any, className: str) -> list[Any]:
    marked = [node for node in slicer.util.getNodesByClass(className) if isSynthetic(node)]
    if segmentationNode is None:
        return marked
    wanted = segmentationNode.GetID()
    return [node for node in marked if node.GetNodeReferenceID(SEGMENTATION_ROLE) == wanted]


def showInSlices(volumeNode: Any) -> None:
    """Make a volume the background of all slice views but those of a comparison."""
    for composite in _ordinaryViews():
        setLayers(composite, background=volumeNode.GetID())


def isShown(volumeNodes: Iterable[Any]) -> bool:
    """Whether an ordinary slice view has one of the volumes as its background."""
    ids = {node.GetID() for node in volumeNodes}
    return any(composite.GetBackgroundVolumeID() in ids for composite in _ordinaryViews())


def shownModality(segmentationNode: Any) -> str:
    """The modality of the synthetic volume of a segmentation that a slice view shows; empty where none does."""
    for composite in _ordinaryViews():
        volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if volume is not None and segmentationOf(volume) is segmentationNode:
            return field(volume, "modality") or ""
    return ""


def shownVolume() -> Any:
    """The real scan that a slice view shows: its scalar volume, no label map, color image or blank one; or None."""
    for composite in _ordinaryViews():
        volume = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        scalar = volume is not None and volume.GetClassName() == "vtkMRMLScalarVolumeNode"
        if scalar and not volume.GetHideFromEditors() and not isSynthetic(volume):
            return volume
    return None


class SliceLayers:
    """What the slice views showed at one moment, to be brought back."""

    def __init__(self) -> None:
        self._shown = [(c.GetID(), c.GetBackgroundVolumeID()) for c in _ordinaryViews()]

    def restore(self, instead: Any) -> None:
        """Bring it back in the views that still show the node with the ID ``instead``."""
        for compositeId, volumeId in self._shown:
            composite = slicer.mrmlScene.GetNodeByID(compositeId)
            if composite is not None and composite.GetBackgroundVolumeID() == instead:
                gone = volumeId is None or slicer.mrmlScene.GetNodeByID(volumeId) is None
                composite.SetBackgroundVolumeID(None if gone else volumeId)


def _ordinaryViews() -> list[Any]:
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [view for view in views if not (view.GetSingletonTag() or "").startswith(VIEW_PREFIX)]


def setLayers(composite: Any, background: str) -> None:
    """Make the volume with this ID the background of a slice view, and nothing else of it."""
    with slicer.util.NodeModify(composite):
        composite.SetBackgroundVolumeID(background)
        if composite.GetForegroundVolumeID() == background:
            composite.SetForegroundVolumeID(None)
