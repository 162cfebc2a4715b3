"""Folders of the subject hierarchy (the tree of the Data module)."""

from __future__ import annotations

from typing import Any

KEY_ATTRIBUTE = "MedDDPM.key"


def hierarchyOf(scene: Any = None) -> Any:
    """The subject hierarchy node of ``scene`` (by default Slicer's), made where there is none."""
    import slicer

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
    import vtk

    ids = vtk.vtkIdList()
    tree.GetItemChildren(item, ids, recursive)
    return [int(ids.GetId(n)) for n in range(ids.GetNumberOfIds())]
