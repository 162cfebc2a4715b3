"""What Slicer must know of a job to bring its results into a scene, kept in the job's own folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from medddpm.errors import InputError
from medddpm.files import read_bounded, write_text
from medddpm.parse import from_dict

NAME, MAX_BYTES = "scene.json", 64 * 1024


@dataclass(frozen=True)
class SceneRecord:
    """``caseName``: what the results are called; ``segmentationId``: the node they belong to, in its own scene;
    ``model``: key of the model; ``output``: the folder to deliver to, for a case of a batch.
    """

    caseName: str
    segmentationId: str = ""
    model: str = ""
    automatic: bool = False
    localEdit: bool = False
    output: str = ""

    def write(self, folder: Any) -> None:
        """Put it into a JobFolder. Raises InputError on a full disk."""
        write_text(folder.inside(NAME), json.dumps(asdict(self)) + "\n")


def readSceneRecord(folder: Any) -> SceneRecord | None:
    """The record in a JobFolder; None where there is none of ours."""
    try:
        return from_dict(SceneRecord, json.loads(read_bounded(folder.inside(NAME), MAX_BYTES)), NAME)
    except (OSError, ValueError, RecursionError, InputError):
        return None
