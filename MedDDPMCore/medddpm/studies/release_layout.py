"""Where the files of a released case lie: BIDS derivatives (BIDS 1.10), or the raw data set of nnU-Net v2."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import ModelConfig
from ..errors import InputError
from ..files import read_json, write_text
from ..geometry.io import read_mask
from ..geometry.nifti import write_image
from ..geometry.volume import Volume
from ..labels.conventions import BRAIN, outline_kind
from ..synthesis.batch import MODEL_GRID
from ..synthesis.names import anatomy_name, image_name, mask_name
from ..synthesis.provenance import MAX_BYTES, NAME, STATEMENT
from ..version import __version__
from .nnunet import description, numbered
from .release_request import ReleaseRequest

BIDS_VERSION = "1.10.0"
BIDS_NAMES = {"t1": "T1w", "t1w": "T1w", "t1ce": "ce-gadolinium_T1w", "t1gd": "ce-gadolinium_T1w", "t2": "T2w",
              "t2w": "T2w", "flair": "FLAIR"}  # fmt: skip
MASK, ANATOMY = "tumor", "anatomy"


@dataclass(frozen=True)
class Case:
    """A released case: its number, and the number of its mask, as the data set has them; then what only its maker
    knows: ``sample`` (from 0), the file of the mask, and the folder of its results.
    """

    id: str
    group: int
    sample: int
    mask: str
    folder: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the results say of how they were made. Raises InputError."""
        return read_json(self.folder / NAME, MAX_BYTES, f"{self.folder / NAME} cannot be read. Run the command again.")

    @property
    def made(self) -> dict[str, Any]:
        """The record of the sample: seed, and anatomy and verification where there are any."""
        return dict(self.record["samples"][self.sample])

    @property
    def anatomy(self) -> dict[str, Any]:
        """What is known of the sample's anatomy; empty for models without tissue labels."""
        found = self.made.get("anatomy")
        return found if isinstance(found, dict) else {}

    def grid_file(self, name: str) -> Path:
        """A file of the results on the model's grid."""
        return self.folder / MODEL_GRID / name

    @cached_property
    def labels(self) -> Volume:
        """The mask, in the labels of the model. Raises InputError."""
        return read_mask(self.grid_file(mask_name(self.folder.name))).volume


class Layout:
    """``root``: the folder of the data set. ``manifest``: the name of its table of cases."""

    manifest = "cases.tsv"
    files: Sequence[tuple[str, str]] = ()

    def __init__(self, config: ModelConfig, modalities: tuple[str, ...]) -> None:
        wanted = {name.casefold() for name in modalities}
        self.config = config
        self.modalities = tuple(m for m in config.modalities if not wanted or m.casefold() in wanted)

    def case_id(self, case: Case) -> str:
        """What the table calls it."""
        return f"case_{case.id}"

    def place(self, case: Case, root: Path) -> None:
        """Put its files into the data set."""
        raise NotImplementedError

    def describe(self, cases: Sequence[Case], root: Path, asked: ReleaseRequest) -> None:
        """Write what the format wants beside the cases."""
        raise NotImplementedError

    def _anatomy(self, case: Case) -> Path | None:
        return case.grid_file(anatomy_name(case.folder.name, case.sample)) if case.anatomy else None


class Bids(Layout):
    """A subject for each case."""

    manifest = "participants.tsv"
    files = (
        ("sub-*/anat/*_T1w.nii.gz, ...", "images; with contrast agent: ce-gadolinium"),
        ("sub-*/anat/*_seg-tumor_dseg.nii.gz", "the mask: tumor parts and outline"),
        ("sub-*/anat/*_seg-anatomy_dseg.nii.gz", "the label map with all tissues that the images were made from"),
        ("seg-*_dseg.tsv", "what the labels mean"),
        ("provenance/sub-*.json", "how each case was made"),
        ("participants.tsv", "a line for each case"),
    )

    def __init__(self, config: ModelConfig, modalities: tuple[str, ...]) -> None:
        super().__init__(config, modalities)
        for name in self.modalities:
            if name.casefold() not in BIDS_NAMES:
                raise InputError(f"BIDS has no name for images called {name}. Choose the layout nnunet.")

    def case_id(self, case: Case) -> str:
        """See Layout."""
        return f"sub-{case.id}"

    def place(self, case: Case, root: Path) -> None:
        """See Layout."""
        subject, name = self.case_id(case), case.folder.name
        folder = root / subject / "anat"
        for modality in self.modalities:
            file = case.grid_file(image_name(name, case.sample, modality))
            put(file, folder / f"{subject}_{BIDS_NAMES[modality.casefold()]}.nii.gz")
        put(case.grid_file(mask_name(name)), folder / f"{subject}_seg-{MASK}_dseg.nii.gz")
        if anatomy := self._anatomy(case):
            put(anatomy, folder / f"{subject}_seg-{ANATOMY}_dseg.nii.gz")
        write_text(root / "provenance" / f"{subject}.json", json.dumps(public_record(case), indent=1) + "\n")

    def describe(self, cases: Sequence[Case], root: Path, asked: ReleaseRequest) -> None:
        """See Layout."""
        about = {
            "Name": asked.title,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "License": asked.license if not Path(asked.license).is_file() else "See LICENSE",
            "Authors": list(asked.author),
            "GeneratedBy": [{"Name": "MedDDPM", "Version": __version__, "Description": STATEMENT}],
        }
        write_text(root / "dataset_description.json", json.dumps(about, indent=1) + "\n")
        write_text(root / ".bidsignore", "provenance/\nSHA256SUMS\n")
        stripped = outline_kind(self.config.scheme) == BRAIN
        for suffix in dict.fromkeys(BIDS_NAMES[m.casefold()].rpartition("_")[2] for m in self.modalities):
            told = {"Description": STATEMENT, "SkullStripped": stripped, "SyntheticData": True}
            write_text(root / f"{suffix}.json", json.dumps(told, indent=1) + "\n")
        labels = ["index\tname\tcolor", "0\tbackground\t#000000"]
        for label in self.config.scheme.labels:
            labels.append(f"{label.value}\t{label.name}\t#{bytes(label.color).hex()}")
        for what in (MASK, ANATOMY) if cases[0].anatomy else (MASK,):
            write_text(root / f"seg-{what}_dseg.tsv", "\n".join(labels) + "\n")


class NnUNet(Layout):
    """Channels are the modalities, labels the parts of the tumor from 1 on; what surrounds it is background."""

    files = (
        ("imagesTr/case_*_0000.nii.gz, ...", "images; the number at the end is the channel, see dataset.json"),
        ("labelsTr/case_*.nii.gz", "the tumor; labels are in dataset.json"),
        ("anatomy/case_*.nii.gz", "the label map with all tissues that the images were made from"),
        ("provenance/case_*.json", "how each case was made"),
        ("cases.tsv", "a line for each case"),
    )

    def place(self, case: Case, root: Path) -> None:
        """See Layout."""
        id, name = self.case_id(case), case.folder.name
        for channel, modality in enumerate(self.modalities):
            file = case.grid_file(image_name(name, case.sample, modality))
            put(file, root / "imagesTr" / f"{id}_{channel:04d}.nii.gz")
        parts = numbered(case.labels.data, self.config.scheme)
        write_image(root / "labelsTr" / f"{id}.nii.gz", parts, case.labels.affine, "Mask used by MedDDPM")
        if anatomy := self._anatomy(case):
            put(anatomy, root / "anatomy" / f"{id}.nii.gz")
        write_text(root / "provenance" / f"{id}.json", json.dumps(public_record(case), indent=1) + "\n")

    def describe(self, cases: Sequence[Case], root: Path, asked: ReleaseRequest) -> None:
        """See Layout."""
        about = description(asked.title, self.modalities, self.config.scheme, len(cases)) | {"description": STATEMENT}
        write_text(root / "dataset.json", json.dumps(about, indent=1) + "\n")


def layout_of(name: str, config: ModelConfig, modalities: tuple[str, ...]) -> Layout:
    """The layout of that name. Raises InputError where it cannot hold the modalities."""
    return {"bids": Bids, "nnunet": NnUNet}[name](config, modalities)


def put(source: Path, target: Path) -> None:
    """The file at another place, as a further name of the same bytes where the disk can do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as exc:
            raise InputError(f"{target} could not be written: {exc.strerror or exc}. Free space on the disk.") from exc


def public_record(case: Case) -> dict[str, Any]:
    """What others may know of how a case was made: nothing that names the mask, its file or its place."""
    record = case.record
    kept = ("synthetic", "statement", "intensity", "model", "model_sha256", "sampler", "steps", "guidance", "precision")
    told = {name: record[name] for name in kept if name in record}
    told |= {"mask_group": case.group, "outline_invented": record.get("outline_invented")}
    made = {name: value for name, value in case.made.items() if name in ("seed", "anatomy", "verification")}
    return told | made | {"versions": record.get("versions")}
