r"""How well the tissues of a scan are found: the table in docs/anatomy.md. From the repository's folder:

python tools/tissues.py                       scans simulated from maps of the bank, each left out of the prior
python tools/tissues.py T1.nii.gz LABELS      a T1 with FreeSurfer's or SynthSeg's labels, e.g. aparc+aseg.mgz
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from medddpm.anatomy import prior
from medddpm.anatomy.brain_maps import TISSUES, bank_names, load_bank_map, tissues_of
from medddpm.anatomy.tissues import most_of, segment_tissues
from medddpm.geometry.io import read_mask, read_volume
from medddpm.geometry.volume import Volume

# Of the values 4 to 11; the fluid outside of the ventricles stands for what else there is, too.
MEANS = {
    "T1": (55, 25, 25, 62, 72, 100, 60, 92),
    "T1ce": (90, 28, 28, 60, 70, 92, 60, 86),
    "T2": (60, 180, 180, 88, 74, 62, 85, 68),
    "FLAIR": (60, 22, 22, 92, 82, 72, 88, 74),
}
NOISE, BIAS, BLUR = 5.0, 0.25, 0.55  # standard deviation; largest share; mm
COLUMNS = {"gray matter": (7, 8, 10), "white matter": (9,), "ventricles": (6,), "other fluid": (5,)}


def simulated(truth: Volume, modality: str, rng: np.random.Generator) -> Volume:
    """A scan of the label map ``truth`` with blur, a smooth bias of the coil, and noise; 0 outside of the brain."""
    image = np.full(truth.data.shape, float(MEANS[modality][1]), np.float32)
    for value, mean in zip(TISSUES, MEANS[modality], strict=True):
        image[truth.data == value] = mean
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(image), BLUR))
    coarse = sitk.GetImageFromArray(rng.normal(size=(4, 4, 4)))
    fine = sitk.Expand(coarse, [-(-n // 4) for n in reversed(truth.data.shape)], sitk.sitkBSpline)
    bias = sitk.GetArrayFromImage(fine)[tuple(slice(n) for n in truth.data.shape)]
    found = smooth * np.exp(BIAS * bias / np.abs(bias).max()) + NOISE * rng.normal(size=image.shape)
    return Volume(np.where(truth.data > 0, np.maximum(found, 1), 0).astype(np.float32), truth.affine)


def row(name: str, images: dict[str, Volume], truth: Volume) -> str:
    """A line of the table: Dice of each of ``COLUMNS``."""
    start = time.process_time()
    found = most_of(segment_tissues(images, truth.data > 0).fractions)
    print(f"{name}, {len(images)} image(s): {time.process_time() - start:.0f} s of CPU", file=sys.stderr)
    pairs = [(np.isin(found, values), np.isin(truth.data, values)) for values in COLUMNS.values()]
    dice = [2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)) for a, b in pairs]
    return f"| {name} | {', '.join(images)} | {' | '.join(f'{d:.2f}' for d in dice)} |"


def main(files: list[str]) -> None:
    """Print the table."""
    print(f"| scan | images | {' | '.join(COLUMNS)} |\n| --- | --- |{' ---: |' * len(COLUMNS)}")
    if files:
        truth, _ = tissues_of(read_mask(Path(files[1])).volume)
        print(row(Path(files[0]).name, {"T1": read_volume(Path(files[0]))}, truth))
        return
    everything = prior.some_maps
    for index, name in list(enumerate(bank_names()))[::3]:
        padded = load_bank_map(index)
        affine = padded.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, 3.0)
        truth = Volume(np.pad(padded.data, 3), affine)
        prior.some_maps = lambda left_out=index: tuple(i for i in everything() if i != left_out)
        rng = np.random.default_rng(index)
        scans = {modality: simulated(truth, modality, rng) for modality in MEANS}
        for chosen in (tuple(MEANS), ("T1",), ("T2",), ("FLAIR",)):
            print(row(name, {modality: scans[modality] for modality in chosen}, truth), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
