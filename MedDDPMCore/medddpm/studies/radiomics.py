"""Radiomics features of volumes, for the Frechet radiomics distance (FRD; Konz, Osuala et al. 2026), by PyRadiomics.

Image filters, features and settings are those of FRD version 1 in 3D, as the package ``frd-score`` has them.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from torch import Tensor

from ..errors import InputError

NAME = "FRD v1, PyRadiomics"
GLCM = (
    "Autocorrelation JointAverage ClusterProminence ClusterShade ClusterTendency Contrast Correlation "
    "DifferenceAverage DifferenceEntropy DifferenceVariance JointEnergy JointEntropy Imc1 Imc2 Idm Idmn Id Idn "
    "InverseVariance MaximumProbability SumEntropy SumSquares"
)
SETTINGS: dict[str, Any] = {
    "imageType": {"Original": {}, "LoG": {"sigma": [2.0, 3.0, 4.0, 5.0]}, "Wavelet": {}},
    "featureClass": {
        "firstorder": None,
        "glcm": GLCM.split(),
        "glrlm": None,
        "glszm": None,
        "ngtdm": None,
    },
    "setting": {
        "normalize": True,
        "normalizeScale": 100,
        "interpolator": "sitkBSpline",
        "resampledPixelSpacing": [2, 2, 2],
        "padDistance": 10,
        "preCrop": True,
        "binWidth": 5,
        "voxelArrayShift": 300,
        "correctMask": True,
        "minimumROIDimensions": 1,
        "label": 1,
    },
}


def require_radiomics() -> None:
    """Raise InputError where PyRadiomics is not installed."""
    if importlib.util.find_spec("radiomics") is None:
        raise InputError(
            'FRD needs PyRadiomics, which is not installed. Install it (pip install "medddpm[study]"), or set '
            "frd = false for a table without FRD."
        )


def radiomics_features(images: Tensor, inside: Tensor, spacing: Sequence[float]) -> np.ndarray:
    """Features (C, F) of images (C, D, H, W) inside an outline (D, H, W); ``spacing``: mm along D, H and W.

    NaN where PyRadiomics knows no value.
    """
    from radiomics import featureextractor

    logging.getLogger("radiomics").setLevel(logging.ERROR)
    extractor = featureextractor.RadiomicsFeatureExtractor(SETTINGS)
    mask = _image(inside.numpy().astype(np.uint8), spacing)
    rows = []
    for image in images:
        found = extractor.execute(_image(image.float().numpy(), spacing), mask)
        rows.append([value for value in map(_number, found.values()) if value is not None])
    return np.array(rows)


def _image(volume: np.ndarray, spacing: Sequence[float]) -> sitk.Image:
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing([float(mm) for mm in spacing[::-1]])
    return image


def _number(value: Any) -> float | None:
    """As frd-score: what is a single number counts, also where PyRadiomics reports it about the image."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def comparable(real: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features (N, F) and (M, F), standardized by the real one, in which some may not vary or be finite:
    these are left out.
    """
    spread = real.std(0)
    kept = np.isfinite(np.concatenate([real, made])).all(0) & (spread > 0)
    center = real[:, kept].mean(0)
    return (real[:, kept] - center) / spread[kept], (made[:, kept] - center) / spread[kept]


def frd(distance: float) -> float:
    """FRD, the logarithm of the squared Frechet distance; NaN where that is 0."""
    return math.log(distance) if distance > 0 else math.nan
