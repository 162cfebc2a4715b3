"""Names of labels: one table for what files, descriptions of data sets and segments call them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_phantoms import SHAPE, ball, brain, config, mask, med_ddpm, tumor
from medddpm.geometry.segments import StoredSegment, flatten
from medddpm.geometry.volume import Mask, Segment, Volume
from medddpm.labels.check import check_mask, mend_mask
from medddpm.labels.conventions import (
    BRAIN,
    BRAINSTEM,
    CAVITY,
    CORE,
    CORTEX,
    CSF,
    CYST,
    DEEP_GRAY,
    EDEMA,
    ENHANCING,
    HEAD,
    NECROTIC,
    OUTSIDE,
    TUMOR,
    WHITE,
    WHOLE,
    read_names,
    role_of,
)
from medddpm.labels.recognize import labels_from_names, recognize
from medddpm.labels.scheme import load_scheme

BRATS = config("brats")
SCHEME = load_scheme("brats")
DENIALS = ("non-{}", "non {}", "{}-free", "no {}", "not {}", "without {}", "excluding {}", "{} removed")
NAMES = {
    BRAIN: (
        "Non-tumor brain",
        "nonTumorBrain",
        "Brain without tumor",
        "brain w/o lesion",
        "Normal brain (no tumor)",
        "Tumor-free brain",
        "Brain (tumor removed)",
        "Brain minus tumor",
        "Brain outside tumor",
        "Brain without enhancing tumor",
        "Brain with tumor",
        "non-neoplastic brain",
        "healthy tissue",
        "brain_mask",
        "Rest of brain",
    ),
    NECROTIC: (
        "Necrotic and non-enhancing tumor core",
        "Non-Enhancing Tumor Core (NETC)",
        "NonEnhancingTumor",
        "non_enh_core",
        "not contrast-enhancing",
        "Unenhanced tumor",
        "unenhancing",
        "Tumor without enhancement",
        "Tumor core without enhancing tumor",
        "NCR/NET",
        "NETC",
        "Nécrose",
    ),
    EDEMA: (
        "peritumoral edematous/invaded tissue",
        "Surrounding non-enhancing FLAIR hyperintensity (SNFH)",
        "Non-enhancing T2/FLAIR signal abnormality",
        "Edema without enhancement",
        "edema (no enhancement)",
        "tumor-infiltrated brain",
        "seg_ED",
        "Ödem",
    ),
    ENHANCING: ("GD-enhancing tumor", "enhancingTumor", "Enhancing tumor without necrosis", "ET (label 3)", "GTV_enh"),
    CAVITY: ("Resection cavity", "surgical_cavity", "RC"),
    CYST: ("Cystic component (CC)", "cyst", "CC"),
    WHOLE: ("WholeTumor", "whole_tumor", "Whole Tumor (WT)", "WT", "Tumor and edema"),
    CORE: ("Tumor core", "tumorCore", "TC", "Tumor without edema", "Enhancing + necrosis"),
    TUMOR: ("GTVp", "BrainMets", "non-necrotic tumor", "residual tumor", "tumor_mask", "Brain tumor"),
    HEAD: ("Head", "Head with tumor"),
    WHITE: ("WM-hypointensities", "white matter hyperintensities", "CC_Posterior", "normal-appearing white matter"),
    CORTEX: ("GM", "greyMatter"),
    CSF: ("CSF",),
    DEEP_GRAY: ("L_Thal", "Left-Accumbens-area"),
    BRAINSTEM: ("BrStem",),
    OUTSIDE: ("Background", "Non-brain", "not brain"),
    None: (
        "patient01_brain_t1c_seg",
        "BraTS-GLI-00001-000-t1c_seg",
        "brain_tumor_flair_seg.nii.gz",
        "matière grise et blanche",
        "Meninges",
        "no residual tumor",
        "not tumor",
        "CTV",
        "Electrode",
        "Segment_1",
    ),
}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in NAMES.items() for name in names])
def test_what_a_name_says(role: str | None, name: str) -> None:
    assert role_of(name, "") == role


@given(
    denied=st.sampled_from(
        ["non-{}", "non {}", "no {}", "not {}", "without {}", "excluding {}", "{}-free", "{} removed"]
    ),
    what=st.sampled_from(["tumor", "tumour", "lesion", "glioma", "metastases"]),
    front=st.booleans(),
    separator=st.sampled_from([" ", "_", "-", ", ", " ("]),
)
@settings(max_examples=60, deadline=None)
def test_what_is_denied_is_never_a_tumor(denied: str, what: str, front: bool, separator: str) -> None:
    words = denied.format(what)
    attribute = denied in ("non-{}", "non {}", "{}-free")
    name = f"{words}{separator}brain" if front and attribute else f"brain{separator}{words}"
    assert role_of(name, "") == BRAIN


@given(
    words=st.sampled_from(
        [("non", "enhancing", "tumor"), ("whole", "tumor"), ("resection", "cavity"), ("tumor", "core")]
    ),
    style=st.sampled_from(["_", "-", " ", ".", "camel", "upper", "title"]),
)
@settings(max_examples=40, deadline=None)
def test_separators_do_not_matter(words: tuple[str, ...], style: str) -> None:
    plain = " ".join(words)
    written = {
        "camel": words[0] + "".join(word.title() for word in words[1:]),
        "upper": plain.upper().replace(" ", "_"),
        "title": plain.title(),
    }.get(style) or style.join(words)
    assert role_of(written, "") == role_of(plain, "") is not None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("Whole tumor", "Tumor core", "Enhancing tumor"), (EDEMA, NECROTIC, ENHANCING)),
        (("WT", "TC", "ET", "RC"), (EDEMA, NECROTIC, ENHANCING, CAVITY)),
        (("Whole tumor", "Necrosis", "Tumor core"), (EDEMA, NECROTIC, ENHANCING)),
        (("Whole tumor",), (TUMOR,)),
        (("Tumor core", "Edema"), (TUMOR, EDEMA)),
    ],
)
def test_regions_are_what_the_next_has_not(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    for order in itertools.permutations(range(len(names))):
        roles = read_names((names[i], names[i], "") for i in order)
        assert tuple(roles[name] for name in names) == expected


@pytest.mark.parametrize(
    "names", [("Whole tumor", "Tumor core", "Enhancing tumor", "Brain"), ("WT", "TC", "ET", "Brain")]
)
def test_overlapping_regions_become_parts(names: tuple[str, ...], tmp_path) -> None:
    whole, parts = med_ddpm(), tumor(3)
    layers = np.stack([parts > 0, (parts == 1) | (parts == 3), parts == 3, whole > 0], -1).astype(np.uint8)
    stored = [StoredSegment(i, 1, name, "") for i, name in enumerate(names)]
    data, segments = flatten(tmp_path, layers, stored)
    fixed, done, _ = mend_mask(mask(data, segments=segments), BRATS)
    assert np.array_equal(fixed.volume.data, whole)
    assert not done


def test_regions_of_a_description_mean_the_same() -> None:
    names = ((1, "whole tumor"), (2, "tumor core"), (3, "enhancing tumor"), (4, "resection cavity"), (5, "spleen"))
    assert labels_from_names(names, SCHEME) == {1: 2, 2: 1, 3: 3, 4: 1}
    assert labels_from_names(((1, "Peritumoral edema"), (2, "NETC")), SCHEME) == {1: 2, 2: 1}


def test_a_drawn_brain_is_kept_whatever_it_or_others_are_called() -> None:
    labels = med_ddpm()
    labels[ball((-30, 0, 0), 6)] = 5
    segments = tuple(
        Segment(value, name)
        for value, name in enumerate(("Necrotic core", "Edema", "Enhancing", "patient01_t1c_seg", "Electrode"), 1)
    )
    found = recognize(mask(labels, segments=segments), SCHEME)
    assert found.mapping == {1: 1, 2: 2, 3: 3, 4: 4}
    assert (found.outline, found.kind, found.unknown) == ((4,), "brain", (5,))
    fixed, done, _ = mend_mask(mask(labels, segments=segments), BRATS)
    assert np.array_equal(fixed.volume.data, med_ddpm())
    assert [finding.code for finding in done] == ["unknown-values"]


def test_the_reading_of_each_value_is_told_before_and_after_a_repair() -> None:
    segments = (Segment(1, "NCR"), Segment(2, "Edema"), Segment(3, "ET"), Segment(4, "Non-tumor brain"))
    source = mask(med_ddpm(), segments=segments)
    said = "1 'NCR' -> necrotic or non-enhancing core, 2 'Edema' -> edema, 3 'ET' -> enhancing tumor, "
    said += "4 'Non-tumor brain' -> brain."
    assert said in check_mask(source, BRATS).findings[0].sentence
    assert "2 -> edema, 4 -> enhancing tumor" in recognize(mask(tumor(4)), SCHEME).reading


def test_an_unknown_value_that_may_be_the_tumor_is_asked_for() -> None:
    labels = np.where(brain(), 1, 0).astype(np.uint8)
    labels[ball((25, -10, 15), 18)] = 2
    result = check_mask(mask(labels, segments=(Segment(1, "Brain"), Segment(2, "Target"))), BRATS)
    assert not result.usable and not result.fixable
    assert "1=4,2=N" in str(result.errors[0])
    assert "2 'Target' -> not known" in result.findings[0].sentence


def test_an_outside_that_is_named_is_nothing() -> None:
    labels = np.full(SHAPE, 9, np.uint8)
    labels[brain()] = med_ddpm()[brain()]
    named = tuple(Segment(v, n) for v, n in ((1, "NCR"), (2, "ED"), (3, "ET"), (4, "Brain"), (9, "Background")))
    fixed, *_ = mend_mask(Mask(Volume(labels, mask(labels).volume.affine), named), BRATS)
    assert np.array_equal(fixed.volume.data, med_ddpm())


def test_numbers_tell_the_tumor_where_names_tell_the_brain_only() -> None:
    source = med_ddpm()
    segments = (Segment(4, "Skull-stripped brain"), *(Segment(v, f"Segment_{v}") for v in (1, 2, 3)))
    found = recognize(mask(source, segments=segments), SCHEME)
    assert (found.mapping, found.outline, found.kind) == ({1: 1, 2: 2, 3: 3, 4: 4}, (4,), "brain")
    assert "BraTS since 2023 beside its names: 1 'Segment_1' -> necrotic" in found.reading
    unknown = (*segments[:3], Segment(3, "Electrode"))
    assert recognize(mask(source, segments=unknown), SCHEME).unknown == (3,)
