"""How a data set of synthetic cases is put together, as data. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import check_options, option

LICENSES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "CC-BY-NC-4.0": "https://creativecommons.org/licenses/by-nc/4.0/legalcode",
}


@dataclass(frozen=True)
class ReleaseRequest:
    """How a data set of synthetic cases is put together."""

    memorization: str | None = option(
        None, "Folder of the model's memorization study. A release needs it.", metavar="FOLDER"
    )
    anonymity: str | None = option(
        None,
        "Folder of the model's anonymity study, for the data card; without it, the card says so.",
        metavar="FOLDER",
    )
    accept_copies: bool = option(
        False, "Release although the study found copies of training cases.", flag="--accept-copies"
    )
    layout: str = option(
        "bids", "bids: BIDS derivatives; nnunet: raw data set of nnU-Net v2.", choices=("bids", "nnunet")
    )
    title: str = option("Synthetic brain MRI", "Title of the data set.")
    license: str = option(
        "CC-BY-4.0", "License of the data set, or a file with its text.", choices=tuple(LICENSES), more=True
    )
    author: tuple[str, ...] = option((), "Who releases it; may be given several times.", metavar="NAME")

    def __post_init__(self) -> None:
        check_options(self)
