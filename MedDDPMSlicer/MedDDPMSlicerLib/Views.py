"""Volumes side by side in slice views of their own; no Qt, the layout manager follows the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import slicer

from .Nodes import VIEW_PREFIX, setLayers

# Layouts of modules start above Slicer's own; a fixed number for each count of views.
FIRST_LAYOUT_ID = 27100
# Linked views move together with those of their group only.
VIEW_GROUP = 27
# Slicer draws the label of a view on a bar of this color.
BAR_COLORS = ("#F34A33", "#4A90D9", "#6EB04B", "#EDD54C", "#B07AA1", "#E8853B")


def showSideBySide(volumes: Mapping[str, Any], layoutNode: Any) -> None:
    """Show volumes, by the titles of their views, in linked axial views: up to three in a row, rows one below another.

    The layout (vtkMRMLLayoutNode) is described and chosen, and the views get their volumes. In the application the
    layout manager makes the views as soon as the layout is chosen; their nodes are filled here.
    """
    layoutId, views = FIRST_LAYOUT_ID + len(volumes), []
    for index, title in enumerate(volumes):
        views.append(
            f'<item><view class="vtkMRMLSliceNode" singletontag={quoteattr(f"{VIEW_PREFIX}{index + 1}")}>'
            '<property name="orientation" action="default">Axial</property>'
            f'<property name="viewlabel" action="default">{escape(title)}</property>'
            f'<property name="viewgroup" action="default">{VIEW_GROUP}</property>'
            f'<property name="viewcolor" action="default">{BAR_COLORS[index % len(BAR_COLORS)]}</property>'
            "</view></item>"
        )
    columns = len(views) if len(views) <= 3 else -(-len(views) // -(-len(views) // 4))
    rows = ("".join(views[start : start + columns]) for start in range(0, len(views), columns))
    lines = "".join(f'<item><layout type="horizontal">{row}</layout></item>' for row in rows)
    xml = f'<layout type="vertical" split="false">{lines}</layout>'
    if layoutNode.IsLayoutDescription(layoutId):
        layoutNode.SetLayoutDescription(layoutId, xml)
    else:
        layoutNode.AddLayoutDescription(layoutId, xml)
    layoutNode.SetViewArrangement(layoutId)
    for index, volume in enumerate(volumes.values()):
        composite = compositeNode(f"{VIEW_PREFIX}{index + 1}")
        setLayers(composite, background=volume.GetID())
        composite.SetLinkedControl(True)


def compositeNode(viewName: str) -> Any:
    """The slice composite node of a view, made where it is not there yet."""
    scene = slicer.mrmlScene
    found = scene.GetSingletonNode(viewName, "vtkMRMLSliceCompositeNode")
    if found is None:
        found = slicer.vtkMRMLSliceCompositeNode()
        found.SetSingletonTag(viewName)
        found.SetLayoutName(viewName)
        found = scene.AddNode(found)
    return found
