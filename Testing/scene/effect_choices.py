"""What a generation reads of the parameter node of MedDDPM Synth, whose real class needs the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from MedDDPMSynthLib.Options import Anatomy, Contrast, Quality


@dataclass
class Choices:
    """The fields of MedDDPM Synth's parameter node that a generation reads."""

    segmentation: Any = None
    model: str = "demo"
    referenceVolume: Any = None
    samples: int = 1
    seed: int = 3
    lockSeed: bool = True
    quality: Quality = Quality.CUSTOM
    sampler: str = "dpm++2m"
    steps: int = 2
    modalities: list[str] = field(default_factory=list)
    device: str = "cpu"
    precision: str = "fp32"
    showPreview: bool = False
    editRealScan: bool = False
    knownVolumes: dict[str, str] = field(default_factory=dict)
    originalSegmentation: Any = None
    guidance: float = 1.0
    verify: str = "none"
    bestOf: int = 1
    on: str = ""
    ignoreMemory: bool = False
    seamMm: float = 4.0
    marginMm: float = 6.0
    anatomy: Anatomy = Anatomy.SEED
    massEffect: float = 1.0
    contrast: Contrast = Contrast.SEED
