"""Facts of made-up cases, for the tests of the outlier check and the report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from medddpm.geometry.volume import Volume
from medddpm.preparation.facts import CaseFacts, Geometry, ImageFacts, MaskFacts
from medddpm.preparation.outliers import fingerprint

SIZE = (20, 24, 18)
AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])
OUTLINE = np.ones(SIZE, bool)


def picture(seed: int, mirrored: bool = False, noise: float = 0.0) -> str:
    """The fingerprint of a head that no other seed has."""
    random = np.random.default_rng(seed)
    data = random.uniform(-1, 1, SIZE) + noise * np.random.default_rng(99).normal(0, 1, SIZE)
    return fingerprint(Volume(np.clip(data[::-1] if mirrored else data, -1, 1).astype(np.float32), AFFINE), OUTLINE)


def image_facts(modality: str, number: int, **changes: Any) -> ImageFacts:
    """An image like that of every other case, but for its content."""
    geometry = Geometry((192, 192, 144), (1.0, 1.0, 1.0), "LPS")
    random = np.random.default_rng(number)
    facts = ImageFacts(
        modality=modality,
        geometry=geometry,
        low=0.0,
        high=400.0 + number,
        mean=float(random.normal(0.1, 0.03)),
        std=float(random.normal(0.25, 0.015)),
        surroundings=-1.0,
        histogram=tuple(int(n) for n in random.integers(0, 50, 32)),
        covered=1.0,
        empty=0.0,
        tumor_empty=0.0,
        sha256=f"{modality}-{number}",
        voxels=f"{modality}-{number}",
    )
    return replace(facts, **changes)


def case_facts(number: int, mask: dict[str, Any] | None = None, **changes: Any) -> CaseFacts:
    """An ordinary case; ``mask`` changes its mask, ``changes`` the case."""
    random = np.random.default_rng(1000 + number)
    tumor = float(random.uniform(20, 90))
    ordinary = MaskFacts(
        kind="brain",
        geometry=Geometry((192, 192, 144), (1.0, 1.0, 1.0), "LPS"),
        sha256=f"mask-{number}",
        outline_ml=float(random.normal(1400, 80)),
        tumor_ml=tumor,
        labels_ml=((1, tumor / 4), (2, tumor / 2), (3, tumor / 4), (4, 1300.0)),
        extent_mm=tuple(float(v) for v in random.normal((135, 170, 135), 4)),  # type: ignore[arg-type]
        lost_ml=0.0,
        lost_share=0.0,
        tumor_lost_ml=0.0,
        made=True,
        voxels=f"mask-{number}",
    )
    facts = CaseFacts(
        id=f"case-{number:02d}",
        patient=f"case-{number:02d}",
        images=(image_facts("T1", number), image_facts("T2", number)),
        mask=replace(ordinary, **(mask or {})),
        grid_affine=tuple(tuple(float(v) for v in row) for row in AFFINE),
        findings=(),
        sentences=("The mask follows the BraTS convention.",),
        fingerprint=picture(number),
    )
    return replace(facts, **changes)


def with_images(case: CaseFacts, **changes: Any) -> CaseFacts:
    """All images of a case with the same changes."""
    return replace(case, images=tuple(replace(image, **changes) for image in case.images))
