"""The sample case: a glioma mask that comes with the extension."""

from __future__ import annotations

import logging
from collections.abc import Generator
from pathlib import Path
from typing import Any

import slicer
from medddpm.geometry.volume import Volume
from medddpm.labels.scheme import LabelScheme, load_scheme
from MedDDPMSlicerLib.Background import finish
from MedDDPMSlicerLib.SegmentMasks import applyInSteps
from MedDDPMSlicerLib.Segments import createSegments
from MedDDPMSlicerLib.Storage import sampleMaskPath
from MedDDPMSlicerLib.Volumes import loadVolume, volumeOf

logger = logging.getLogger(__name__)

NODE_NAME = "Glioma sample"
CATEGORY, SAMPLE_NAME = "MedDDPM", "MedDDPM glioma mask"
PICTURE = Path(__file__).resolve().parents[1] / "Resources" / "Icons" / "MedDDPMGlioma.png"
# The values in the file are those of this scheme.
SCHEME = "brats"


def loadSampleCase(scheme: LabelScheme | None = None) -> Any:
    """Load the sample case; returns its segmentation node with the segments of ``scheme`` (by default the demo's).

    Parts that ``scheme`` has no label for become its nearest one: a whole-head model gets one tumor.
    """
    return finish(sampleCaseSteps(scheme))


def sampleCaseSteps(scheme: LabelScheme | None = None) -> Generator[None, None, Any]:
    """``loadSampleCase`` in steps."""
    scheme = scheme or load_scheme(SCHEME)
    aside = slicer.vtkMRMLScene()
    loaded = loadVolume(sampleMaskPath(), NODE_NAME, aside)
    yield
    volume = volumeOf(loaded)
    labels = Volume(_inScheme(volume.data, scheme), volume.affine)
    yield
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", NODE_NAME)
    segmentation.CreateDefaultDisplayNodes()
    createSegments(segmentation, scheme)
    yield from applyInSteps(segmentation, scheme, labels)
    return segmentation


def registerSampleData() -> None:
    """List the sample case in the module Sample Data. Call it when the application has started up."""
    try:
        import SampleData
    except ImportError:
        logger.info("the module Sample Data is not loaded")
        return
    path = sampleMaskPath()
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris=path.as_uri(),
        fileNames=path.name,
        nodeNames=NODE_NAME,
        loadFileTypes="SegmentationFile",
        thumbnailFileName=str(PICTURE),
        customDownloader=lambda _source: loadSampleCase(),
    )


def _inScheme(data: Any, scheme: LabelScheme) -> Any:
    from medddpm.labels.conventions import label_role, scheme_value
    from medddpm.labels.recognize import apply_mapping

    own = load_scheme(SCHEME)
    return apply_mapping(data, {label.value: scheme_value(label_role(label, own), scheme) for label in own.labels})
