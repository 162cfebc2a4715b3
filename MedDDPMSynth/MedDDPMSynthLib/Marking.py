"""What files of a synthetic volume say of it: as the user saves it from Slicer, and as DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import vtk
from medddpm.errors import InputError
from medddpm.geometry.marks import DESCRIPTION, ENDINGS, PARTLY_DESCRIPTION, mark_image
from MedDDPMSlicerLib.Nodes import ITK_STORAGE, NRRD_STORAGE, PREFIX, field, isSynthetic, provenanceOf, storeAs
from MedDDPMSlicerLib.Texts import sentenceOf

PROVENANCE = f"{PREFIX}provenance"


def isEdited(node: Any) -> bool:
    """Whether a volume is a real scan of which a region was generated."""
    return field(node, "modality") in (provenanceOf(node).get("partly_synthetic") or ())


def derivationOf(node: Any) -> str:
    """How a volume was made, for reading: "made from a label map by the model 'x' with seed 3, ddim, 50 steps." """
    known = provenanceOf(node).get("derivation")
    if isinstance(known, str) and known:  # it was loaded from DICOM
        return known
    told = [("model", "by the model '{}'"), ("seed", "with seed {}")]
    said = " ".join(words.format(field(node, name)) for name, words in told if field(node, name))
    how = [field(node, "sampler"), f"{field(node, 'steps')} steps" if field(node, "steps") else None]
    return ", ".join(part for part in (f"made from a label map {said}".strip(), *how) if part) + "."


def descriptionOf(node: Any) -> str:
    """What a volume is, as the core writes it into NIfTI files."""
    return PARTLY_DESCRIPTION if isEdited(node) else DESCRIPTION


def saveMarked(node: Any, path: Path, compress: bool | None = None) -> None:
    """Save a synthetic volume by its storage node, so that the file's header says what it is.

    ``compress`` None: as that node says. Raises InputError where it cannot be written, or the format has no place for
    that; no unmarked file is left.
    """
    if not path.name.lower().endswith(ENDINGS):
        raise InputError(
            f"A synthetic image is saved only in files whose header says that it is one: {', '.join(ENDINGS)}. Choose "
            "one of these formats."
        )
    storage = storeAs(node, NRRD_STORAGE if path.suffix.lower() in (".nrrd", ".nhdr") else ITK_STORAGE)
    if compress is not None:
        storage.SetUseCompression(int(compress))
    storage.SetFileName(str(path))
    storage.SetURI(None)
    if not storage.WriteData(node):
        raise InputError(f"{path} could not be written. Choose another folder, or free space.", path=path)
    told = {name: node.GetAttribute(name) for name in node.GetAttributeNames() if name.startswith(PREFIX)}
    try:
        mark_image(path, descriptionOf(node), {"synthetic": "true", **told, "derivation": derivationOf(node)})
    except InputError:
        path.unlink(missing_ok=True)
        raise


class SyntheticFileWriter:
    """A writer of Slicer that goes before its own for synthetic volumes; the module's file derives one of this name.

    See ``qSlicerScriptedFileWriter``, whose C++ object is ``parent``.
    """

    def __init__(self, parent: Any) -> None:
        self.parent = parent

    def description(self) -> str:
        """For the list of formats."""
        return "Synthetic MRI"

    def fileType(self) -> str:
        """A name of our own, so that no other writer gets the file."""
        return "MedDDPMSyntheticVolumeFile"

    def extensions(self, _node: Any) -> list[str]:
        """Formats whose headers can say what the image is; other endings are refused with a sentence."""
        named = {".nrrd": "NRRD", ".nhdr": "NRRD", ".nii.gz": "NIfTI", ".nii": "NIfTI", ".mha": "MetaImage"}
        return [f"{name} (*{ending})" for ending, name in named.items()] + ["MetaImage (*.mhd)"]

    def canWriteObjectConfidence(self, node: Any) -> float:
        """Before all others for what we have made."""
        return 0.95 if self.canWriteObject(node) else 0.0

    def canWriteObject(self, node: Any) -> bool:
        """For versions of Slicer that do not ask for the confidence."""
        return node is not None and node.IsA("vtkMRMLScalarVolumeNode") and isSynthetic(node)

    def write(self, properties: dict[str, Any]) -> bool:
        """Write the node of ``nodeID`` into ``fileName``; what goes wrong is among the user messages."""
        import slicer

        node = slicer.mrmlScene.GetNodeByID(properties["nodeID"])
        try:
            saveMarked(node, Path(properties["fileName"]), properties.get("useCompression"))
        except InputError as error:
            self.parent.userMessages().AddMessage(vtk.vtkCommand.ErrorEvent, sentenceOf(error))
            return False
        self.parent.writtenNodes = [node.GetID()]
        return True
