"""From the parameter node to what is asked for."""

from __future__ import annotations

from typing import Any

import slicer
from MedDDPMSlicerLib.Models import ModelDescription

from .Options import Anatomy, Contrast, SynthInputs, SynthOptions, samplerAndSteps


def inputsOf(parameterNode: Any, options: SynthOptions) -> SynthInputs:
    """The nodes that the user chose, as far as they count: those of a real scan while it is edited or a reference."""
    inputs = anatomyInputsOf(parameterNode, options)
    inputs.segmentation, inputs.referenceVolume = parameterNode.segmentation, parameterNode.referenceVolume
    if parameterNode.editRealScan:
        inputs.knownVolumes, inputs.referenceScan = _realScan(parameterNode), {}
        inputs.originalSegmentation = parameterNode.originalSegmentation
    return inputs


def anatomyInputsOf(parameterNode: Any, options: SynthOptions) -> SynthInputs:
    """What gives anatomy and contrast, where the options say so; without a mask."""
    scan = _realScan(parameterNode) if options.needsScan else {}
    source = parameterNode.anatomySource if options.anatomy is Anatomy.SEGMENTATION else None
    return SynthInputs(None, referenceScan=scan, anatomySource=source)


def _realScan(parameterNode: Any) -> dict[str, Any]:
    """The volumes of the real scan that are in the scene, by modality."""
    chosen = {m: slicer.mrmlScene.GetNodeByID(i) for m, i in dict(parameterNode.knownVolumes).items() if i}
    return {m: node for m, node in chosen.items() if node is not None}


def optionsOf(parameterNode: Any, model: ModelDescription) -> SynthOptions:
    """The options that the user chose, for ``model``; one that is told no tissues leaves no choice of anatomy."""
    node = parameterNode
    told = bool(model.config.scheme.tissue_values)
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
        anatomy=node.anatomy if told else Anatomy.SEED,
        massEffect=node.massEffect,
        contrast=node.contrast if told else Contrast.SEED,
    )
