"""From the parameter node to what is asked for."""

from __future__ import annotations

from typing import Any

import slicer
from medddpm.synthesis.request import SynthesisRequest
from MedDDPMSlicerLib.Models import ModelDescription
from MedDDPMSlicerLib.RequestOptions import valuesOf

from .Options import Anatomy, Contrast, SynthInputs, SynthOptions, samplerAndSteps, unguided


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
    source = parameterNode.anatomySource if options.anatomy == Anatomy.SEGMENTATION else None
    return SynthInputs(None, referenceScan=scan, anatomySource=source)


def _realScan(parameterNode: Any) -> dict[str, Any]:
    """The volumes of the real scan that are in the scene, by modality."""
    chosen = {m: slicer.mrmlScene.GetNodeByID(i) for m, i in dict(parameterNode.knownVolumes).items() if i}
    return {m: node for m, node in chosen.items() if node is not None}


def optionsOf(parameterNode: Any, model: ModelDescription) -> SynthOptions:
    """The options that the user chose, as far as ``model`` has them: some know neither anatomy nor guidance."""
    node, chosen = parameterNode, valuesOf(parameterNode, SynthesisRequest)
    chosen["sampler"], chosen["steps"] = samplerAndSteps(node.quality, model, chosen["sampler"], chosen["steps"])
    if unguided(model):
        chosen["guidance"] = 1.0
    told = bool(model.config.scheme.tissue_values)
    if not told:
        chosen["contrast"] = Contrast.SEED
    wanted = {str(m).casefold() for m in node.modalities}
    return SynthOptions(
        **chosen,
        model=node.model,
        modalities=tuple(m for m in model.modalities if m.casefold() in wanted),
        anatomy=node.anatomy if told else Anatomy.SEED,
        showPreview=node.showPreview,
        marginMm=node.marginMm,
    )
