"""Synthetic volumes in Slicer's DICOM export: a plugin of our own, and none of the others, which would not say so."""

from __future__ import annotations

import functools
import logging
import re
from pathlib import Path
from typing import Any

import slicer
from medddpm.errors import MedDDPMError
from MedDDPMSlicerLib.Nodes import field, hierarchyOf, isSynthetic
from MedDDPMSlicerLib.Texts import sentenceOf
from MedDDPMSlicerLib.Volumes import transformToSame, volumeOf

from .Marking import derivationOf, isEdited

logger = logging.getLogger(__name__)

KEY = "DICOMMedDDPMPlugin"
WHOLE, PARTLY = "Synthetic", "Partly synthetic: edited scan"
# What the user may say of patient, study and series; the core writes the rest. Identifiers are always new.
PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientComments")
STUDY = ("StudyID", "StudyDate", "StudyTime", "StudyDescription")
SERIES = ("SeriesNumber", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime")


def registerDicomPlugin() -> None:
    """Offer the plugin to the DICOM module, where there is one, and take synthetic volumes from the others."""
    plugins = getattr(slicer.modules, "dicomPlugins", None)
    if plugins is None:
        logger.info("the DICOM module is not loaded")
        return
    try:
        from DICOMLib import DICOMPlugin
    except ImportError:
        logger.info("the DICOM module cannot be used")
        return
    for key, pluginClass in plugins.items():
        if key != KEY:
            plugins[key] = withoutSynthetic(pluginClass)
    plugins[KEY] = pluginOn(DICOMPlugin)


def withoutSynthetic(pluginClass: Any) -> Any:
    """The class of a plugin, which from now on offers no export of synthetic volumes; import is as before."""
    offered = pluginClass.examineForExport
    if not hasattr(offered, "__wrapped__"):

        @functools.wraps(offered)
        def examineForExport(self: Any, subjectHierarchyItemID: int) -> list[Any]:
            node = hierarchyOf().GetItemDataNode(subjectHierarchyItemID)
            return [] if _ours(node) else offered(self, subjectHierarchyItemID)

        pluginClass.examineForExport = examineForExport
    return pluginClass


def pluginOn(base: type) -> type:
    """The class of the plugin; ``base`` is DICOMLib's DICOMPlugin."""

    class DICOMMedDDPMPluginClass(base):  # type: ignore[misc]
        """Exports synthetic volumes as MR series that say so; imports nothing: the series are ordinary ones."""

        def __init__(self) -> None:
            super().__init__()
            self.loadType = "Synthetic MRI (MedDDPM)"

        def examineForExport(self, subjectHierarchyItemID: int) -> list[Any]:
            """See DICOMPlugin."""
            node = hierarchyOf().GetItemDataNode(subjectHierarchyItemID)
            return [_exportable(node, subjectHierarchyItemID)] if _ours(node) else []

        def export(self, exportables: list[Any]) -> str:
            """Write series of one study; returns what went wrong, in a sentence, or nothing."""
            return exportSeries(exportables)

    return DICOMMedDDPMPluginClass


def exportSeries(exportables: list[Any]) -> str:
    """Write each exportable as a series into a folder of its own; returns what went wrong, or an empty text."""
    from medddpm.geometry.dicom import new_study, write_dicom
    from medddpm.geometry.volume import Volume

    study = new_study()
    for exportable in exportables:
        node = hierarchyOf().GetItemDataNode(exportable.subjectHierarchyItemID)
        if not _ours(node):
            return "A series is not a synthetic volume any more. Close the dialog and export again."
        try:
            told = {name: text for name in (*PATIENT, *STUDY, *SERIES) if (text := exportable.tag(name) or "")}
            volume = volumeOf(node)
            placed = Volume(volume.data, transformToSame(node, None) @ volume.affine)
            folder = Path(exportable.directory) / f"Synthetic_{exportable.subjectHierarchyItemID}"
            name = _shownName(exportable.tag("SeriesDescription") or "", node)
            tags = {**study, **told}
            write_dicom(placed, folder, name, derivationOf(node), edited=isEdited(node), tags=tags)
        except MedDDPMError as error:
            return sentenceOf(error)
    return ""


def _ours(node: Any) -> bool:
    return node is not None and node.IsA("vtkMRMLScalarVolumeNode") and isSynthetic(node)


def _exportable(node: Any, itemId: int) -> Any:
    exportable = slicer.qSlicerDICOMExportable()
    exportable.name = "Synthetic MRI (MedDDPM)"
    exportable.tooltip = "A series of MR images, each of which says that it is synthetic."
    exportable.subjectHierarchyItemID = itemId
    exportable.pluginClass = KEY
    exportable.confidence = 1.0
    about = PARTLY if isEdited(node) else WHOLE
    exportable.setTag("SeriesDescription", f"{about} {field(node, 'modality') or ''}".strip())
    exportable.setTag("Modality", "MR")
    exportable.setTag("SeriesNumber", field(node, "sample") or "1")
    for name in SERIES[1:]:
        exportable.setTag(name, "")
    return exportable


def _shownName(description: str, node: Any) -> str:
    """What the user calls the series, without the words that the core puts before it."""
    name = re.sub(rf"^\s*(?:{PARTLY}|{WHOLE})\s*", "", description)
    return name or field(node, "modality") or "MRI"
