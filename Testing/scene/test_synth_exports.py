"""Synthetic volumes that leave Slicer: files that the user saves, and DICOM. What they are stands in their headers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import vtk

slicer = pytest.importorskip("slicer")
nib, pydicom = pytest.importorskip("nibabel"), pytest.importorskip("pydicom")

from medddpm.errors import InputError  # noqa: E402
from MedDDPMSlicerLib.Nodes import field, isSynthetic, itemOf, markSynthetic  # noqa: E402
from MedDDPMSlicerLib.Volumes import affineOf, loadVolume, volumeOf  # noqa: E402
from MedDDPMSynthLib import DicomPlugin  # noqa: E402
from MedDDPMSynthLib.Marking import SyntheticFileWriter, isEdited, saveMarked  # noqa: E402
from scene_phantoms import volumeNodeFromArray  # noqa: E402

FIELDS = {"model": "Demo", "seed": 7, "sampler": "ddim", "steps": 20, "modality": "T1ce", "sample": 2}


@pytest.fixture
def volume(scene, affine):
    """A synthetic volume, in every geometry."""
    data = np.random.default_rng(0).integers(0, 1000, (8, 9, 10)).astype(np.int16)
    node = volumeNodeFromArray(scene, "T1ce 02 – Case (synthetic)", data, affine)
    markSynthetic(node, None, FIELDS, {"statement": "a\nb"})
    return node


@pytest.fixture
def edited(volume):
    """The same as a real scan of which a region was generated."""
    markSynthetic(volume, None, FIELDS, {"partly_synthetic": ["T1ce"]})
    return volume


def rightHanded(data, affine):
    """As Slicer reads every image."""
    if np.linalg.det(affine) > 0:
        return data, affine
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = data.shape[2] - 1
    return data[:, :, ::-1], affine @ flip


def properties(node, path, **more):
    return {"nodeID": node.GetID(), "fileName": str(path), **more}


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_saved_files_say_what_they_are_and_hold_the_image(volume, tmp_path, ending):
    writer, path = SyntheticFileWriter(SimpleNamespace()), tmp_path / f"é 1{ending}"
    assert writer.canWriteObjectConfidence(volume) > 0.9
    for _again in range(2):
        assert writer.write(properties(volume, path, useCompression=1))
    assert writer.parent.writtenNodes == [volume.GetID()]
    assert volume.GetStorageNode().GetFileName() == str(path) and not volume.GetModifiedSinceRead()
    again = loadVolume(path, "again")
    data, affine = rightHanded(volumeOf(volume).data, affineOf(volume))
    np.testing.assert_allclose(affineOf(again), affine, atol=1e-4)
    np.testing.assert_array_equal(volumeOf(again).data, data)
    if ending.startswith(".nii"):
        image = nib.load(path)
        assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC by MedDDPM")
    elif ending == ".nrrd":
        image = sitk.ReadImage(str(path))
        told = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
        assert told["synthetic"] == "true" and told["MedDDPM.synthetic"] == "1"
        assert '"a\\n' in told["MedDDPM.provenance"]
        assert told["derivation"] == "made from a label map by the model 'Demo' with seed 7, ddim, 20 steps."
        assert path.read_bytes().count(b"synthetic:=true") == 1
    else:
        assert path.read_bytes().startswith(b"Comment = SYNTHETIC by MedDDPM")


def test_the_files_in_a_bundle_say_it_too(volume, scene, tmp_path):
    logic = slicer.vtkMRMLApplicationLogic()
    logic.SetMRMLScene(scene)
    (tmp_path / "saved").mkdir()
    for number, path in enumerate((None, tmp_path / "saved" / "a.nrrd")):
        if path is not None:
            saveMarked(volume, path)
        bundle = tmp_path / f"bundle{number}"
        bundle.mkdir()
        assert logic.SaveSceneToSlicerDataBundleDirectory(str(bundle), None)
        headers = [file for file in (bundle / "Data").iterdir() if file.suffix in (".nrrd", ".nhdr")]
        assert len(headers) == 1 and b"MedDDPM.synthetic:=1" in headers[0].read_bytes()
        other = slicer.vtkMRMLScene()
        other.SetURL(str(next(bundle.glob("*.mrml"))))
        assert other.Connect()
        again = other.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        np.testing.assert_allclose(affineOf(again), affineOf(volume), atol=1e-4)
        np.testing.assert_array_equal(volumeOf(again).data, volumeOf(volume).data)
        assert isSynthetic(again)


def test_edited_scans_are_called_partly_synthetic(edited, tmp_path):
    saveMarked(edited, tmp_path / "a.nii.gz")
    assert bytes(nib.load(tmp_path / "a.nii.gz").header["descrip"]).startswith(b"PARTLY SYNTHETIC by MedDDPM")


def test_a_format_without_place_for_it_is_refused_with_a_sentence(volume, tmp_path, scene):
    messages = slicer.vtkMRMLMessageCollection()
    writer = SyntheticFileWriter(SimpleNamespace(userMessages=lambda: messages))
    assert not writer.write(properties(volume, tmp_path / "a.tif"))
    assert "says that it is one: .nii.gz" in messages.GetAllMessagesAsString() and not list(tmp_path.iterdir())
    (tmp_path / "a.nrrd").mkdir()
    with pytest.raises(InputError, match="could not be written"):
        saveMarked(volume, tmp_path / "a.nrrd")
    real = volumeNodeFromArray(scene, "MRI", np.zeros((2, 3, 4), np.int16), np.eye(4))
    assert writer.canWriteObjectConfidence(real) == 0 and not writer.canWriteObject(None)


class Exportable:
    """Stands in for qSlicerDICOMExportable, a Qt class."""

    def __init__(self) -> None:
        self._tags: dict[str, str] = {}

    def setTag(self, name, value):
        self._tags[name] = value

    def tag(self, name):
        return self._tags.get(name)


class Plugin:
    """Stands in for DICOMLib's base of plugins, and for a plugin that offers every volume."""

    def __init__(self) -> None:
        self.loadType = "Generic DICOM"

    def examineForExport(self, _item):
        return ["unmarked"]

    def load(self, loadable):
        return loadVolume(Path(loadable.files[0]), "loaded")


@pytest.fixture
def plugins(scene, monkeypatch):
    """The plugins of the DICOM module: one of another's, and ours."""

    class ScalarVolumePlugin(Plugin):
        def examineForExport(self, item):
            return [*super().examineForExport(item), "as CT"]

        def load(self, loadable):
            return super().load(loadable)

    known = {"DICOMScalarVolumePlugin": ScalarVolumePlugin}
    monkeypatch.setattr(slicer.modules, "dicomPlugins", known, raising=False)
    monkeypatch.setattr(slicer, "qSlicerDICOMExportable", Exportable, raising=False)
    monkeypatch.setitem(sys.modules, "DICOMLib", SimpleNamespace(DICOMPlugin=Plugin))
    for _again in range(2):  # Slicer reloads modules
        DicomPlugin.registerDicomPlugin()
    return known


def exported(plugins, node, folder, **tags):
    """The series that the export dialog would write, each slice as a data set."""
    plugin = plugins[DicomPlugin.KEY]()
    (exportable,) = plugin.examineForExport(itemOf(node))
    assert exportable.confidence == 1 and exportable.pluginClass == DicomPlugin.KEY
    exportable.directory = str(folder)
    for name, value in tags.items():
        exportable.setTag(name, value)
    assert plugin.export([exportable]) == ""
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def test_only_our_plugin_offers_synthetic_volumes(plugins, volume, scene):
    real = volumeNodeFromArray(scene, "MRI", np.zeros((2, 3, 4), np.int16), np.eye(4))
    other = plugins["DICOMScalarVolumePlugin"]()
    assert other.examineForExport(itemOf(volume)) == []
    assert other.examineForExport(itemOf(real)) == ["unmarked", "as CT"]
    assert plugins[DicomPlugin.KEY]().examineForExport(itemOf(real)) == []


def test_a_slicer_without_dicom_module_says_nothing(scene, monkeypatch):
    monkeypatch.delattr(slicer.modules, "dicomPlugins", raising=False)
    DicomPlugin.registerDicomPlugin()


def test_dicom_is_marked_whatever_the_user_types(plugins, volume, tmp_path):
    typed = {"Modality": "CT", "PatientName": "Doe^Jane", "SeriesDescription": "Follow-up", "StudyInstanceUID": "1.2.3"}
    slices = exported(plugins, volume, tmp_path, **typed, ImageType="ORIGINAL", ImageComments="", StudyDate="20240102")
    first = slices[0]
    assert {s.Modality for s in slices} == {"MR"} and list(first.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    assert first.SeriesDescription == "Synthetic Follow-up"
    assert first.ImageComments.startswith("Synthetic. Generated by")
    assert "by the model 'Demo' with seed 7" in first.DerivationDescription
    assert first.PatientName == "Doe^Jane" and first.StudyInstanceUID != "1.2.3" and first.StudyDate == "20240102"
    assert len({s.SOPInstanceUID for s in slices}) == len(slices) and first.SeriesNumber == 2


def test_dicom_of_an_edited_scan_and_the_synthetic_patient(plugins, edited, tmp_path):
    first = exported(plugins, edited, tmp_path)[0]
    assert first.SeriesDescription == "Partly synthetic: edited scan T1ce" and first.PatientID == "SYNTHETIC"
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", first.filename], capture_output=True, text=True, check=False).stderr
        # SyntheticData is younger than the validator.
        errors = [line for line in said.splitlines() if line.startswith("Error") and "(0x0008,0x001c)" not in line]
        assert not errors, said


def test_dicom_lies_where_the_volume_lies_in_the_world(plugins, volume, scene, tmp_path):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    for row, shift in enumerate((11.0, -7.0, 5.0)):
        matrix.SetElement(row, 3, shift)
    transform.SetMatrixTransformToParent(matrix)
    volume.SetAndObserveTransformNodeID(transform.GetID())
    files = [str(s.filename) for s in exported(plugins, volume, tmp_path)]
    found = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(Path(files[0]).parent)))
    data = volumeOf(volume).data
    place = affineOf(volume) @ [3, 4, 5, 1] + [11.0, -7.0, 5.0, 0]
    index = found.TransformPhysicalPointToContinuousIndex((-place[0], -place[1], place[2]))
    assert np.allclose(index, np.rint(index), atol=2e-3)
    assert found[[round(i) for i in index]] == data[3, 4, 5]


def test_what_cannot_be_exported_is_said(plugins, volume, tmp_path):
    plugin = plugins[DicomPlugin.KEY]()
    (exportable,) = plugin.examineForExport(itemOf(volume))
    exportable.directory = str(tmp_path)
    assert plugin.export([exportable]) == ""
    assert "already exists" in plugin.export([exportable])
    exportable.directory = str(tmp_path / "other")
    exportable.setTag("StudyDate", "yesterday")
    assert plugin.export([exportable]).startswith("DICOM does not allow")
    volume.SetAttribute("MedDDPM.synthetic", None)
    assert "not a synthetic volume any more" in plugin.export([exportable])


class Database:
    """Stands in for the DICOM database."""

    def fileValue(self, file, tag):
        group, element = (int(part, 16) for part in tag.split(","))
        return str(pydicom.dcmread(file).get((group, element), pydicom.DataElement(0x00104000, "LT", "")).value)


def test_what_is_loaded_from_dicom_keeps_its_mark(plugins, edited, scene, tmp_path, monkeypatch):
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    first = exported(plugins, edited, tmp_path / "a")[0]
    loadable = SimpleNamespace(files=[str(first.filename)])
    node = plugins["DICOMScalarVolumePlugin"]().load(loadable)
    assert isSynthetic(node) and isEdited(node) and field(node, "modality") == "T1ce"
    again = exported(plugins, node, tmp_path / "b")[0]
    assert again.SeriesDescription == first.SeriesDescription
    assert again.DerivationDescription == first.DerivationDescription
    real = Database()
    real.fileValue = lambda file, tag: "MPRAGE"
    monkeypatch.setattr(slicer, "dicomDatabase", real)
    assert not isSynthetic(plugins["DICOMScalarVolumePlugin"]().load(loadable))
