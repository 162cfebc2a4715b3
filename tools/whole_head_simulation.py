"""Simulated T1ce heads with tumors, from label maps of whole heads, to train a whole-head model without any scan.

python tools/whole_head_simulation.py LABELMAPS out/heads --variants 12 --test training_seg_06
medddpm prepare out/heads/cases.csv out/heads-data --scheme whole-head --grid 64x64x64:3:RAS --validation 0 --test 0

LABELMAPS is a folder of NIfTI label maps in FreeSurfer's numbers, with what lies outside of the brain numbered as in
the training maps of SynthSeg (Billot et al. 2023, doi:10.1016/j.media.2023.102789). As there, images are drawn from
label maps, but of one contrast instead of random ones: T1 after gadolinium. Each variant of a map has another shape,
mirrored in half of the cases, other intensities and, mostly, a tumor of the project's own lesion generator. Written
are 128^3 voxels of 1.5 mm, the field of view of the published whole-head model, and masks with 1 for the head and 2
for the tumor's core. Variants of a map count as one patient.
"""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np
import SimpleITK as sitk  # noqa: N813
import typer
from medddpm.files import csv_text, write_text
from medddpm.geometry.nifti import write_image
from medddpm.labels.scheme import load_scheme
from medddpm.masks.lesions import LesionSpec, add_lesion
from scipy import ndimage

SIDE_MM, SPACING_MM = 192, 1.5
HEALTHY = 0.15  # share of the cases without tumor
VENTRICLES = (4, 5, 14, 15, 43, 44, 72)
CSF, AIR, AIRWAY = 24, 0, 900
EYE, SOFT, MUCOSA, SKIN, VEIN, BONE, MARROW = 506, 507, 509, 511, 514, 515, 516
# Parts that the label maps do not tell apart.
FAT, DIPLOE, DURA, SULCAL_VEIN = 901, 902, 903, 904
NECROSIS, EDEMA, RIM = 911, 912, 913
# Labels, mean signal and its spread within the tissue, white matter being 1.
TISSUES = (
    ((2, 41, 7, 46, 85, 508), 1.00, 0.03),
    ((16, 28, 60, 512), 0.94, 0.04),
    ((3, 42, 8, 47), 0.70, 0.05),
    ((11, 12, 26, 50, 51, 58, 17, 18, 53, 54), 0.76, 0.04),
    ((10, 49), 0.86, 0.04),
    ((13, 52), 0.92, 0.03),
    ((25, 57), 0.72, 0.05),
    (VENTRICLES, 0.24, 0.02),
    ((CSF,), 0.30, 0.05),
    ((136, 137, 163, 164), 1.05, 0.20),
    ((30, 62), 0.50, 0.10),
    ((VEIN,), 1.90, 0.25),
    ((502,), 1.60, 0.25),
    ((530,), 1.70, 0.15),
    ((EYE,), 0.26, 0.02),
    ((SOFT,), 0.72, 0.15),
    ((MUCOSA,), 1.45, 0.35),
    ((SKIN,), 1.00, 0.15),
    ((BONE,), 0.12, 0.04),
    ((MARROW,), 1.00, 0.25),
    ((FAT,), 1.70, 0.25),
    ((DIPLOE,), 0.90, 0.25),
    ((DURA,), 0.60, 0.20),
    ((SULCAL_VEIN,), 1.40, 0.25),
    ((NECROSIS,), 0.42, 0.08),
    ((EDEMA,), 0.68, 0.05),
    ((RIM,), 1.75, 0.22),
)
BRAIN = tuple(label for labels, _, _ in TISSUES[:10] for label in labels if label not in (CSF, 85, 508, 512))


def read_labels(path: Path) -> sitk.Image:
    """The label map without specks around the head, its airways told from the air, int16, voxel axes R, A, S."""
    image = sitk.DICOMOrient(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkInt16), "RAS")
    head = sitk.RelabelComponent(sitk.ConnectedComponent(image != AIR)) == 1
    inside = sitk.GetArrayFromImage(sitk.BinaryMorphologicalClosing(head, [5, 5, 5])) > 0
    filled = sitk.GetImageFromArray(np.stack([ndimage.binary_fill_holes(level) for level in inside]).astype(np.int16))
    filled.CopyInformation(image)
    return sitk.Mask(image, head) + AIRWAY * sitk.Cast(sitk.And(filled != 0, sitk.Not(head)), sitk.sitkInt16)


def random_transform(labels: sitk.Image, rng: np.random.Generator) -> sitk.Transform:
    """From the points of a variant to those of ``labels``: mirroring, rotation, scaling, bending, wider ventricles."""
    center = brain_center(labels)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(center)
    affine.Scale((rng.uniform(0.9, 1.1) * rng.choice([-1, 1]), *rng.uniform(0.92, 1.08, 2)))
    for first, second, degrees in ((0, 1, 6), (0, 2, 5), (1, 2, 10)):
        affine.Rotate(first, second, np.radians(rng.uniform(-degrees, degrees)))
    field = bending(labels, rng) + widening(labels, VENTRICLES, rng.uniform(-1.5, 5.0))
    return sitk.CompositeTransform([displacement(field, labels), affine])


def brain_center(labels: sitk.Image) -> tuple[float, float, float]:
    """LPS mm."""
    inside = np.argwhere(np.isin(sitk.GetArrayViewFromImage(labels)[::3, ::3, ::3], BRAIN)).mean(0) * 3
    return labels.TransformContinuousIndexToPhysicalPoint(inside[::-1].tolist())


def bending(labels: sitk.Image, rng: np.random.Generator) -> np.ndarray:
    """A smooth random displacement in mm, on every fourth voxel (z, y, x, 3): up to some 5 mm, 50 mm wide."""
    shape = tuple(-(-n // 4) for n in labels.GetSize()[::-1])
    waves = [ndimage.gaussian_filter(rng.standard_normal(shape), 50 / 4 / 2) for _ in range(3)]
    return np.stack([wave / wave.std() * 1.6 for wave in waves], axis=-1)


def widening(labels: sitk.Image, parts: tuple[int, ...], most_mm: float) -> np.ndarray:
    """A displacement that makes ``parts`` wider by up to ``most_mm`` (below 0: narrower); as ``bending``."""
    inside = np.isin(sitk.GetArrayViewFromImage(labels)[::4, ::4, ::4], parts).astype(float)
    towards = np.gradient(ndimage.gaussian_filter(inside, 1.5))
    flips = np.diag(np.reshape(labels.GetDirection(), (3, 3)))
    field = np.stack([component * flip for component, flip in zip(towards[::-1], flips, strict=True)], axis=-1)
    return field * most_mm / max(np.linalg.norm(field, axis=-1).max(), 1e-6)


def displacement(field: np.ndarray, labels: sitk.Image) -> sitk.Transform:
    image = sitk.GetImageFromArray(field, isVector=True)
    image.CopyInformation(labels[::4, ::4, ::4])
    return sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))


def field_of_view(labels: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    """Voxels of 1 mm where a scanner might have put its cube: the vertex below its top, the brain in its middle."""
    x, y, _ = brain_center(labels)
    highest = np.argwhere(sitk.GetArrayViewFromImage(labels).any((1, 2))).max()
    top = labels.TransformIndexToPhysicalPoint((0, 0, int(highest)))[2] + rng.uniform(10, 22)
    cube = sitk.Image([SIDE_MM] * 3, sitk.sitkInt16)
    cube.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    cube.SetOrigin((x + SIDE_MM / 2 + rng.uniform(-4, 4), y + SIDE_MM / 2 + rng.uniform(-8, 4), top - SIDE_MM))
    return cube


def finer_parts(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Split what looks different in one label: fat and muscle, tables and diploe, dura and veins along the brain."""
    out = labels.copy()
    soft, bone, fluid = labels == SOFT, labels == BONE, labels == CSF
    near_skin = ndimage.binary_dilation(labels == SKIN, iterations=int(rng.integers(3, 8)))
    near_eye = ndimage.binary_dilation(labels == EYE, iterations=12)
    on_bone = ndimage.binary_dilation(bone, iterations=2)  # galea, periosteum, muscle
    streaks = texture(labels.shape, 2.0, rng) > rng.uniform(1.2, 2.0)
    out[soft & ((near_skin & ~on_bone) | near_eye | streaks)] = FAT
    out[ndimage.binary_erosion(bone, iterations=2)] = DIPLOE
    out[fluid & ndimage.binary_dilation(bone, iterations=1)] = DURA
    out[fluid & (texture(labels.shape, 1.2, rng) > rng.uniform(1.8, 2.6))] = SULCAL_VEIN
    return out


def paint_tumor(labels: np.ndarray, affine: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``labels`` (z, y, x) with rim, necrosis and edema of a random tumor in the brain."""
    scheme = load_scheme("brats")
    brain = ndimage.binary_closing(np.isin(labels, BRAIN), iterations=3) & (labels != BONE)
    plain = np.where(brain, scheme.surround, 0).astype(np.uint8).T
    ring = rng.random() < 0.7
    parts = ("necrotic", "enhancing", "edema") if ring else ("enhancing", "edema")
    size = float(np.clip(24 * np.exp(0.4 * rng.standard_normal()), 8, 50))
    spec = LesionSpec(diameter_mm=size, irregularity=rng.uniform(0.3, 0.9), parts=parts, rim_mm=rng.uniform(2.5, 5.5))
    drawn = add_lesion(plain, affine, scheme, spec, int(rng.integers(2**31))).labels.T
    out = labels.copy()
    matter = (drawn == 2) & np.isin(labels, (2, 41, 7, 46, 16, 25, 57))  # edema spreads along white matter
    for where, part in ((drawn == 1, NECROSIS), (matter, EDEMA), (drawn == 3, RIM)):
        out[where] = part
    return out


def signal(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What a T1ce scan shows of ``labels`` (1 mm): tissue, texture, partial volume, coil and receiver noise."""
    mean, spread = np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    for members, average, deviation in TISSUES:
        mean[list(members)] = average * np.exp(rng.normal(0, 0.06))
        spread[list(members)] = deviation
    grain = 0.7 * texture(labels.shape, 1.0, rng) + 0.7 * texture(labels.shape, 4.0, rng)
    clean = ndimage.gaussian_filter(mean[labels] + spread[labels] * grain, rng.uniform(0.6, 0.9))
    return rician(clean * bias_field(labels.shape, rng), rng.uniform(0.02, 0.05), rng)


def texture(shape: tuple[int, ...], width: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of standard deviation 1 whose bumps are ``width`` voxels wide."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), width)
    return noise / noise.std()


def bias_field(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A smooth factor around 1, as of receiver coils."""
    knots = rng.normal(0, 0.15, (4, 4, 4)).astype(np.float32)
    return np.exp(ndimage.zoom(knots, [n / 4 for n in shape], order=1, mode="nearest", grid_mode=True))


def rician(clean: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Magnitude of the signal with noise in both channels."""
    real, imaginary = rng.standard_normal((2, *clean.shape), dtype=np.float32) * sigma
    return np.hypot(clean + real, imaginary)


def simulate(labels: sitk.Image, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A case of a label map: image, mask (X, Y, Z; 1 head, 2 tumor) and affine (RAS mm), voxels of ``SPACING_MM``."""
    rng = np.random.default_rng(seed)
    cube = field_of_view(labels, rng)
    warped = sitk.Resample(labels, cube, random_transform(labels, rng), sitk.sitkNearestNeighbor)
    anatomy = sitk.GetArrayFromImage(warped)
    affine = np.eye(4)
    affine[:3, 3] = np.array(cube.GetOrigin()) * (-1, -1, 1)
    outline = anatomy != AIR
    if rng.random() >= HEALTHY:
        anatomy = paint_tumor(anatomy, affine, rng)
    mask = np.where(np.isin(anatomy, (NECROSIS, RIM)), 2, outline).astype(np.uint8)
    image = signal(finer_parts(anatomy, rng), rng)
    return coarser(image, sitk.sitkLinear), coarser(mask, sitk.sitkNearestNeighbor), coarser_affine(affine)


def coarser(array: np.ndarray, interpolator: int) -> np.ndarray:
    """(z, y, x) of 1 mm to (X, Y, Z) of ``SPACING_MM``."""
    source = sitk.GetImageFromArray(array)
    first, count = (SPACING_MM - 1) / 2, round(SIDE_MM / SPACING_MM)
    found = sitk.Resample(
        source, [count] * 3, sitk.Transform(), interpolator, [first] * 3, [SPACING_MM] * 3, source.GetDirection()
    )
    return sitk.GetArrayFromImage(found).T


def coarser_affine(affine: np.ndarray) -> np.ndarray:
    """The affine of ``coarser`` for that of the voxels of 1 mm."""
    step = np.diag([SPACING_MM] * 3 + [1.0])
    step[:3, 3] = (SPACING_MM - 1) / 2
    return affine @ step


def main(
    labelmaps: Path,
    out: Path,
    variants: int = 12,
    test: Annotated[list[str], typer.Option(help="A map that is only for testing; repeat.")] = [],  # noqa: B006
    seed: int = 0,
) -> None:
    """Write images, masks and ``cases.csv`` into OUT; variants that are there already are kept."""
    maps = {path.name.split(".")[0]: read_labels(path) for path in sorted(labelmaps.glob("*.nii*"))}
    rows = [("case", "patient", "T1ce", "mask", "split")]
    for name, variant in itertools.product(maps, range(variants)):
        case = f"{name}-{variant:02d}"
        rows.append((case, name, f"image/{case}.nii.gz", f"mask/{case}.nii.gz", "test" if name in test else "train"))
        if not (out / rows[-1][3]).exists():
            write_case(out, case, *simulate(maps[name], zlib.crc32(f"{seed}/{case}".encode())))
    write_text(out / "cases.csv", csv_text(rows))


def write_case(out: Path, case: str, image: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> None:
    """The mask comes last: where it is, the case is whole."""
    for folder in ("image", "mask"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    scaled = np.round(image * 500).astype(np.int16)
    write_image(out / "image" / f"{case}.nii.gz", scaled, affine, "MedDDPM simulated T1ce, no patient")
    write_image(out / "mask" / f"{case}.nii.gz", mask, affine, "MedDDPM simulated mask, no patient")


if __name__ == "__main__":
    typer.run(main)
