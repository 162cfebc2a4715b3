"""The numbers of FreeSurfer and SynthSeg, the outline of a skull-stripped brain, the maps that are shipped."""

from __future__ import annotations

import numpy as np
import pytest
from anatomy_phantoms import AFFINE, CSF, SHAPE, VENTRICLES, WHITE, ball, brain
from medddpm.anatomy.brain_maps import (
    FOLDER,
    TISSUES,
    bank_names,
    brain_outline,
    is_freesurfer,
    load_bank_map,
    nearest_tissue,
    tissues_of,
)
from medddpm.errors import InputError
from medddpm.geometry.volume import Volume, voxel_ml
from medddpm.labels.morphology import components, dilate, erode, fill_holes
from medddpm.labels.scheme import load_scheme

# A number of each kind in FreeSurfer's table, by tissue.
NUMBERS = {
    5: (24,),
    6: (4, 43, 5, 14, 15, 72, 31, 63, 136, 164),
    7: (3, 42, 1001, 1035, 2000, 2035, 11101, 12175),
    8: (10, 49, 11, 50, 12, 51, 13, 17, 53, 18, 54, 26, 58),
    9: (2, 41, 7, 46, 28, 60, 85, 25, 57, 77, 251, 255, 3001, 4035, 5001, 5002, 13101, 14175),
    10: (8, 47, 172),
    11: (16,),
}
ASEG = {5: 24, 6: 4, 7: 42, 8: 50, 9: 41, 10: 47, 11: 16}


def structures() -> np.ndarray:
    """The phantom in FreeSurfer's numbers, different on the left."""
    found = np.zeros(12, np.int32)
    found[list(ASEG)] = list(ASEG.values())
    labels = found[brain().data]
    left = np.zeros(SHAPE, bool)
    left[SHAPE[0] // 2 :] = True
    for right, other in ((42, 3), (41, 2), (50, 11), (47, 8)):
        labels[left & (labels == right)] = other
    labels[left & (labels == 4)] = 43
    return labels


def test_the_tissues_are_those_of_the_scheme() -> None:
    scheme = load_scheme("glioma-anatomy")
    assert tuple(label.value for label in scheme.labels if not label.tumor) == TISSUES


@pytest.mark.parametrize(("tissue", "number"), [(t, n) for t, numbers in NUMBERS.items() for n in numbers])
def test_structures_become_their_tissue(tissue: int, number: int) -> None:
    labels = structures()
    where = ball((15, 20, 20), 14)
    labels[where] = number
    assert (tissues_of(Volume(labels, AFFINE))[0].data[where] == tissue).all()


def test_fluid_counts_inside_of_the_outline_only() -> None:
    labels = structures()
    labels[labels == 24] = 0
    head = dilate(labels > 0, 15, (3, 3, 3))
    labels[head & (labels == 0)] = 24
    labels[0] = 515  # bone
    tissues = tissues_of(Volume(labels, AFFINE))[0]
    solid = brain().data > CSF
    inside = tissues.data > 0
    assert not inside[0].any()
    assert inside.sum() < 1.15 * brain_outline(solid, (3, 3, 3)).sum()
    assert (tissues.data[solid] == brain().data[solid]).mean() > 0.999  # a corner may go with the stalks
    assert (inside & ~solid).sum() > 300 and (tissues.data[inside & ~solid] == CSF).all()


def test_sulci_are_fluid_though_the_map_has_none() -> None:
    labels = structures()
    labels[labels == 24] = 0
    tissues = tissues_of(Volume(labels, AFFINE))[0].data
    assert np.array_equal(tissues > 0, fill_holes(tissues > 0))
    assert (tissues[labels > 0] > CSF).mean() > 0.999
    assert tissues[SHAPE[0] // 2, SHAPE[1] // 2, 36] == CSF  # between the hemispheres


def test_what_hangs_on_a_thin_stalk_is_no_brain() -> None:
    labels = structures()
    labels[:] = np.where(np.abs(np.indices(SHAPE)[2] - 3) < 2, 0, labels)
    stalk = (slice(27, 29), slice(30, 32), slice(46, 56))
    labels[stalk] = 42
    assert not tissues_of(Volume(labels, AFFINE))[0].data[27:29, 30:32, 52:].any()


def test_numbers_that_are_unknown_become_the_nearest_tissue_and_are_named() -> None:
    labels = structures()
    where = ball((20, 0, 40), 7)
    assert (labels[where] == 41).all()
    labels[where] = 9999
    tissues, sentences = tissues_of(Volume(labels, AFFINE))
    assert (tissues.data[where] == WHITE).all()
    assert len(sentences) == 1 and "9999" in sentences[0]
    assert not tissues_of(Volume(structures(), AFFINE))[1]


def test_other_maps_are_refused() -> None:
    assert is_freesurfer(np.unique(structures()).tolist())
    assert not is_freesurfer(np.unique(brain().data).tolist())
    with pytest.raises(InputError, match="does not use the label values of FreeSurfer"):
        tissues_of(brain())


def test_nearest_tissue_looks_at_millimeters() -> None:
    labels = np.zeros((3, 9, 3), np.uint8)
    labels[0, 4, 1], labels[1, 6, 1] = WHITE, CSF
    where = np.zeros(labels.shape, bool)
    where[1, 4, 1] = True
    assert nearest_tissue(labels, where, (1.0, 1.0, 1.0))[1, 4, 1] == WHITE
    assert nearest_tissue(labels, where, (4.0, 1.0, 1.0))[1, 4, 1] == CSF


def test_the_bank_is_small_and_has_maps_enough() -> None:
    assert len(bank_names()) >= 6
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2.5e6


@pytest.mark.parametrize("index", range(len(bank_names())))
def test_a_map_of_the_bank_is_a_brain_in_the_frame_of_brats(index: int) -> None:
    volume = load_bank_map(index)
    data, ml = volume.data, voxel_ml(volume.affine)
    assert data.dtype == np.uint8 and not data.flags.writeable
    assert volume.spacing == pytest.approx((1, 1, 1), abs=1e-5)
    assert sorted(np.unique(data)) == [0, *TISSUES[1:]]
    sizes = np.bincount(data.ravel()) * ml
    assert 1100 < sizes[1:].sum() < 1800
    assert 5 < sizes[VENTRICLES] < 120
    assert len(components(data > 0)[1]) == 1
    rim = (data > 0) & ~erode(data > 0, 1.0, (1, 1, 1), padding=True)
    assert (data[rim] == CSF).mean() > 0.9
    index_of = np.argwhere(data > 0)[::1000] @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    assert (index_of.min(axis=0) > [-239, 0, -15]).all() and (index_of.max(axis=0) < [0, 239, 154]).all()
    left, right = (np.count_nonzero(index_of[:, 0] < -119.5), np.count_nonzero(index_of[:, 0] > -119.5))
    assert 0.7 < left / right < 1.4


def test_there_is_no_map_beyond_the_last() -> None:
    with pytest.raises(IndexError):
        load_bank_map(len(bank_names()))
