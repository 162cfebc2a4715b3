"""Draws the picture of the README: an axial slice of a mask and of the images that were made from it, side by side.

medddpm synth Resources/SampleMasks/glioma.nii.gz --seed 8 --contrast mean --out out/picture
python tools/readme_picture.py out/picture/glioma docs/images/mask-to-mri.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from medddpm.models.places import find_config
from PIL import Image, ImageDraw, ImageFont

HEIGHT, GAP, TITLE = 300, 6, 26  # pixels of a panel, between panels, above them


def axial(path: Path) -> np.ndarray:
    """A volume in RAS+ voxel order, as (X, Y, Z)."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)


def panel(pixels: np.ndarray, title: str) -> Image.Image:
    """An axial slice (X, Y) or (X, Y, 3) of uint8 in radiological convention: the patient's right is on the left."""
    seen = np.rot90(pixels)[:, ::-1]
    image = Image.fromarray(np.ascontiguousarray(seen)).convert("RGB")
    image = image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS)
    whole = Image.new("RGB", (image.width, HEIGHT + TITLE))
    whole.paste(image, (0, TITLE))
    ImageDraw.Draw(whole).text((8, 4), title, "white", ImageFont.load_default(16))
    return whole


def colored(labels: np.ndarray, colors: dict[int, tuple[int, int, int]]) -> np.ndarray:
    """A slice of labels in the colors of its scheme."""
    pixels = np.zeros((*labels.shape, 3), np.uint8)
    for value, color in colors.items():
        pixels[labels == value] = color
    return pixels


def gray(image: np.ndarray, level: int) -> np.ndarray:
    """A slice, from empty space (black) to the 99.5th percentile of the volume inside the head (white)."""
    high = np.percentile(image[image > 0], 99.5)
    return np.asarray(np.clip(image[:, :, level] / high, 0, 1) * 255, np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", type=Path, help="folder of a case that synth has written")
    parser.add_argument("out", type=Path, help="picture to write (.png)")
    parser.add_argument("--sample", default="01")
    parser.add_argument(
        "--level", type=int, default=None, help="axial slice of the mask; by default that of most tumor"
    )
    parser.add_argument("--model", default="demo", help="whose colors the labels have")
    asked = parser.parse_args()

    scheme = find_config(asked.model).scheme
    mask = axial(next(asked.case.glob("*_mask.nii.gz")))
    tumor = np.isin(mask, [label.value for label in scheme.labels if label.tumor])
    level = int(tumor.sum(axis=(0, 1)).argmax()) if asked.level is None else asked.level
    head = np.nonzero((mask > 0).any(axis=2))
    box = tuple(slice(max(0, axis.min() - 6), axis.max() + 7) for axis in head)
    panels = [panel(colored(mask[:, :, level], {label.value: label.color for label in scheme.labels})[box], "mask")]
    for name in ("T1", "T1ce", "T2", "FLAIR"):
        path = next(asked.case.glob(f"*_sample-{asked.sample}_{name}.nii.gz"))
        panels.append(panel(gray(axial(path), level)[box], f"{name} (synthetic)"))
    whole = Image.new("RGB", (sum(p.width + GAP for p in panels) - GAP, panels[0].height))
    left = 0
    for one in panels:
        whole.paste(one, (left, 0))
        left += one.width + GAP
    whole.quantize(128).save(asked.out, optimize=True)


if __name__ == "__main__":
    main()
