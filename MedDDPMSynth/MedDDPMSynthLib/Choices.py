"""From the parameter node to what is asked for."""

from __future__ import annotations

from typing import Any

import slicer
from MedDDPMSlicerLib.Models import ModelDescription

from .Options import SynthInputs, SynthOptions, samplerAndSteps


def inputsOf(parameterNode: Any) -> SynthInputs:
    """The nodes that the user chose. Nodes of a real scan count only while it is being edited."""
    inputs = SynthInputs(parameterNode.segmentation, parameterNode.referenceVolume)
    if parameterNode.editRealScan:
        chosen = {m: slicer.mrmlScene.GetNodeByID(i) for m, i in dict(parameterNode.knownVolumes).items() if i}
        inputs.knownVolumes = {m: node for m, node in chosen.items() if node is not None}
        inputs.originalSegmentation = parameterNode.originalSegmentation
    return inputs


def optionsOf(parameterNode: Any, model: ModelDescription) -> SynthOptions:
    """The options that the user chose, for ``model``."""
    node = parameterNode
    sampler, steps = samplerAndSteps(node.quality, model, node.sampler, node.steps)
    wanted = {str(m).casefold() for m in node.modalities}
    return SynthOptions(
        model=node.model,
        samples=node.samples,
        seed=node.seed,
        sampler=sampler,
        steps=steps,
        modalities=tuple(m for m in model.modalities if m.casefold() in wanted),
        device=node.device or "auto",
        precision=node.precision or "auto",
        showPreview=node.showPreview,
        seamMm=node.seamMm,
        marginMm=node.marginMm,
    )
