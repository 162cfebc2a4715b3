"""Tissues of a scan: found again in images that were made from known ones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from medddpm.anatomy.bank import load_bank_map
from medddpm.anatomy.numbering import TISSUES
from medddpm.anatomy.tissues import segment_tissues
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume

# T1 and T2 of the values 4 to 11.
MEANS = {"T1": (60, 25, 20, 70, 80, 105, 72, 92), "T2": (90, 200, 210, 105, 95, 75, 102, 85)}


@lru_cache(maxsize=1)
def truth() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of the values 4 to 11 in voxels of 2 mm, the brain, and the affine, from a map of the bank."""
    source = load_bank_map(1)
    data = np.pad(source.data, [(2, 2 + n % 2) for n in source.data.shape])
    shape = [n // 2 for n in data.shape]
    blocks = data.reshape(shape[0], 2, shape[1], 2, shape[2], 2)
    shares = np.stack([(blocks == value).mean(axis=(1, 3, 5)) for value in TISSUES])
    affine = source.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.full(3, -1.5)
    affine[:3, :3] *= 2
    return shares, shares.sum(axis=0) > 0.5, affine


def scan(modality: str, seed: int = 0) -> Volume:
    """An image with noise and a smooth bias of a fifth."""
    shares, brain, affine = truth()
    image = np.einsum("t...,t->...", shares, np.array(MEANS[modality], float))
    x, y, z = (np.linspace(-1, 1, n) for n in brain.shape)
    bias = 1 + 0.2 * (x[:, None, None] * 0.6 + y[None, :, None] * 0.5 - z[None, None, :] ** 2 * 0.5)
    noisy = image * bias + np.random.default_rng(seed).normal(0, 4, image.shape)
    return Volume(np.where(brain, np.maximum(noisy, 1), 0).astype(np.float32), affine)


def dice(found: np.ndarray, values: tuple[int, ...]) -> float:
    """Of what is mostly of ``values``, with the truth."""
    rows = [TISSUES.index(value) for value in values]
    one, other = (part[rows].sum(axis=0) > 0.5 for part in (found, truth()[0]))
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


@pytest.mark.slow
@pytest.mark.parametrize("modalities", [("T1", "T2"), ("T1",)], ids="+".join)
def test_tissues_are_found_again(modalities: tuple[str, ...]) -> None:
    _, brain, _ = truth()
    tumor = np.zeros_like(brain)
    tumor[tuple(slice(n // 3, n // 3 + 8) for n in brain.shape)] = True
    tumor &= brain
    found = segment_tissues({name: scan(name) for name in modalities}, None, tumor)
    total = found.fractions.sum(axis=0)
    np.testing.assert_allclose(total[brain & ~tumor], 1, atol=1e-4)
    assert not total[tumor | ~brain].any()
    kept = found.fractions.copy()
    kept[:, tumor] = truth()[0][:, tumor]
    least = 0.85 if len(modalities) == 2 else 0.8
    for values in ((6,), (7, 8, 10), (9,)):
        assert dice(kept, values) > least, values


def test_an_image_with_its_skull_needs_the_outline() -> None:
    _, brain, affine = truth()
    whole = Volume(np.where(brain, scan("T1").data, 30 + np.random.default_rng(0).random(brain.shape) * 20), affine)
    with pytest.raises(InputError, match="brain"):
        segment_tissues({"T1": whole}, None, None)
