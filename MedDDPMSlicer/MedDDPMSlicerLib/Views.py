"""Which volume goes into which slice view; no Qt, the layout manager follows the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import slicer

from .Nodes import VIEW_PREFIX, segmentationOf, setLayers

# Layouts of modules start above Slicer's own; a fixed number for each count of views.
FIRST_LAYOUT_ID = 27100
# Linked views move together with those of their group only.
VIEW_GROUP = 27
MAX_VIEWS = 12
# Slicer draws the label of a view on a bar of this color.
BAR_COLORS = ("#F34A33", "#4A90D9", "#6EB04B", "#EDD54C", "#B07AA1", "#E8853B")


@dataclass(frozen=True)
class ComparePlan:
    """Views side by side. ``volumes``: singleton tag of a slice view -> volume node; ``outline``: the segmentation
    whose outline lies over them. All views have the same orientation and are linked.
    """

    layoutId: int
    layoutXml: str
    volumes: dict[str, Any]
    outline: Any = None
    titles: dict[str, str] = field(default_factory=dict)


def compareSamples(samples: Sequence[Any], modality: str, orientation: str = "Axial") -> ComparePlan:
    """The volumes of one modality of several ``Results.Sample`` side by side, at most ``MAX_VIEWS``."""
    shown = [(s, s.volume(modality)) for s in samples]
    pairs = [(str(s.number), volume) for s, volume in shown if volume is not None][:MAX_VIEWS]
    return _plan(pairs, orientation)


def compareWithReal(referenceVolume: Any, volume: Any, orientation: str = "Axial") -> ComparePlan:
    """The real image beside a synthetic one."""
    return _plan([("Real", referenceVolume), ("Synthetic", volume)], orientation)


def applyPlan(plan: ComparePlan, layoutNode: Any) -> None:
    """Show the plan: the layout (vtkMRMLLayoutNode) is described and chosen, and the views get their volumes.

    In the application the layout manager makes the views as soon as the layout is chosen; their nodes are filled here.
    """
    if not layoutNode.IsLayoutDescription(plan.layoutId):
        layoutNode.AddLayoutDescription(plan.layoutId, plan.layoutXml)
    else:
        layoutNode.SetLayoutDescription(plan.layoutId, plan.layoutXml)
    layoutNode.SetViewArrangement(plan.layoutId)
    for name, volume in plan.volumes.items():
        composite = compositeNode(name)
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


def _plan(pairs: list[tuple[str, Any]], orientation: str) -> ComparePlan:
    names = [f"{VIEW_PREFIX}{number}" for number in range(1, len(pairs) + 1)]
    volumes = {name: volume for name, (_, volume) in zip(names, pairs, strict=True)}
    titles = {name: title for name, (title, _) in zip(names, pairs, strict=True)}
    outline = next((segmentationOf(v) for v in reversed(list(volumes.values())) if segmentationOf(v) is not None), None)
    return ComparePlan(FIRST_LAYOUT_ID + len(pairs), _layoutXml(titles, orientation), volumes, outline, titles)


def _layoutXml(titles: dict[str, str], orientation: str) -> str:
    """Slicer's layout description: up to three views in a row, the rows below each other."""
    columns = len(titles) if len(titles) <= 3 else -(-len(titles) // -(-len(titles) // 4))
    views = [sliceViewXml(i, name, title, orientation) for i, (name, title) in enumerate(titles.items())]
    rows = [views[start : start + columns] for start in range(0, len(views), columns)]
    lines = "".join(f'<item><layout type="horizontal">{"".join(row)}</layout></item>' for row in rows)
    return f'<layout type="vertical" split="false">{lines}</layout>'


def sliceViewXml(index: int, name: str, title: str, orientation: str) -> str:
    """A slice view in Slicer's layout description: its singleton tag, label and color (by ``index``)."""
    return (
        f'<item><view class="vtkMRMLSliceNode" singletontag={quoteattr(name)}>'
        f'<property name="orientation" action="default">{escape(orientation)}</property>'
        f'<property name="viewlabel" action="default">{escape(title)}</property>'
        f'<property name="viewgroup" action="default">{VIEW_GROUP}</property>'
        f'<property name="viewcolor" action="default">{BAR_COLORS[index % len(BAR_COLORS)]}</property>'
        "</view></item>"
    )
