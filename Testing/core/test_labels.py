"""Label conventions and condition channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_phantoms import SHAPE, affine, anatomy, ball, brain, config, head, mask, med_ddpm, tumor, whole_head
from medddpm.errors import InputError
from medddpm.geometry.volume import Segment
from medddpm.labels.conventions import TISSUE_ROLES, label_role, role_of, scheme_value
from medddpm.labels.numbers import CONVENTIONS
from medddpm.labels.placed import encode_condition
from medddpm.labels.recognize import apply_mapping, recognize
from medddpm.labels.scheme import SCHEMES, Label, LabelScheme, load_scheme

BRATS, HEAD, ANATOMY = load_scheme("brats"), load_scheme("whole-head"), load_scheme("glioma-anatomy")
TISSUES = ANATOMY.tissue_values


def merged(mapping: dict[int, int]) -> dict[int, int]:
    """A reading for glioma-anatomy with every tissue as brain."""
    return {value: 4 if target in TISSUES else target for value, target in mapping.items()}


def only(labels: np.ndarray, kept: set[int], rest: int) -> np.ndarray:
    """``labels`` with the tissues that are not ``kept`` as ``rest``."""
    return np.where(np.isin(labels, sorted(set(TISSUES) - kept)), np.uint8(rest), labels)


@pytest.mark.parametrize(
    ("labels", "scheme", "name", "mapping"),
    [
        (tumor(4), BRATS, "brats", {1: 1, 2: 2, 4: 3}),
        (tumor(3), BRATS, "brats-2023", {1: 1, 2: 2, 3: 3}),
        (med_ddpm(), BRATS, "med-ddpm", {1: 1, 2: 2, 3: 3, 4: 4}),
        (whole_head(), HEAD, "whole-head", {1: 1, 2: 2}),
        (tumor(4), HEAD, "brats", {1: 2, 2: 2, 4: 2}),
        (med_ddpm(), HEAD, "med-ddpm", {1: 2, 2: 2, 3: 2, 4: 1}),
        (whole_head(), BRATS, "whole-head", {1: 4, 2: 3}),
    ],
)
def test_published_conventions(labels, scheme, name, mapping):
    found = recognize(mask(labels), scheme)
    assert found.convention.name == name
    assert found.mapping == mapping
    assert found.unknown == ()


@given(present=st.sets(st.sampled_from([1, 2, 4]), min_size=2), spacing=st.floats(0.3, 4.0))
@settings(max_examples=25, deadline=None)
def test_brats_parts_at_any_spacing(present, spacing):
    labels = tumor(4)
    labels[~np.isin(labels, list(present))] = 0
    found = recognize(mask(labels, affine(spacing)), BRATS)
    if (labels > 0).sum() * spacing**3 > 400e3 and not found.mapping:  # as large as no tumor is: asked for
        assert "which is not plausible" in found.question[0]
    else:
        assert found.mapping == {v: {1: 1, 2: 2, 4: 3}[v] for v in present}
    assert found.outline == ()


@given(present=st.sets(st.sampled_from([1, 2, 3])), spacing=st.floats(0.3, 0.4) | st.floats(1.7, 40.0))
@settings(max_examples=25, deadline=None)
def test_four_around_the_tumor_is_brain_at_any_spacing(present, spacing):
    labels = med_ddpm()
    labels[~np.isin(labels, [4, *present]) & (labels > 0)] = 4
    found = recognize(mask(labels, affine(spacing)), BRATS)
    assert found.mapping == {v: v for v in (*present, 4)}
    assert found.outline == (4,)


@given(st.permutations([5, 9, 77, 130]), st.sampled_from([BRATS, HEAD]))
@settings(max_examples=10, deadline=None)
def test_any_numbers_for_outline_and_tumor(numbers, scheme):
    outline, lesion = numbers[:2]
    labels = np.where(brain(), outline, 0).astype(np.int16)
    labels[tumor() > 0] = lesion
    found = recognize(mask(labels), scheme)
    assert found.mapping[outline] == scheme.surround
    assert found.mapping[lesion] in scheme.tumor_values
    assert found.kind == "brain"


def test_head_is_told_from_brain_by_volume():
    both = [np.where(shape, 1, 0).astype(np.uint8) for shape in (brain(), head())]
    for labels in both:
        labels[tumor() > 0] = 2
    assert [recognize(mask(x), BRATS).kind for x in both] == ["brain", "head"]


def test_a_single_small_label_is_a_tumor_and_the_doubt_is_said():
    found = recognize(mask((tumor() > 0).astype(np.uint8)), BRATS)
    assert found.convention.name == "tumor-only"
    assert found.mapping == {1: 3}
    assert any("the labels 1=1" in sentence for sentence in found.assumptions)
    assert recognize(mask((tumor() > 0).astype(np.uint8)), HEAD).mapping == {1: 2}


def test_four_small_parts_are_read_as_post_treatment_with_a_doubt():
    labels = tumor(3)
    labels[ball((-30, -10, 15), 9)] = 4
    found = recognize(mask(labels), BRATS)
    assert found.convention.name == "brats-2024"
    assert found.mapping == {1: 1, 2: 2, 3: 3, 4: 1}
    assert any("2013" in sentence for sentence in found.assumptions)


def test_segment_names_win_over_numbers():
    labels = tumor(4)
    labels[brain() & (labels == 0)] = 7
    segments = (
        Segment(1, "Peritumoral Edema"),
        Segment(2, "non-enhancing core"),
        Segment(4, "GTV enhancing"),
        Segment(7, "Segment_4", "SCT^12738006^Brain"),
    )
    found = recognize(mask(labels, segments=segments), BRATS)
    assert found.convention.name == "names"
    assert found.mapping == {1: 2, 2: 1, 4: 3, 7: 4}
    assert found.kind == "brain"


def test_unnamed_segments_are_read_by_value():
    found = recognize(mask(tumor(4), segments=(Segment(1, "Segment_1"), Segment(2, "Segment_2"))), BRATS)
    assert found.mapping == {1: 1, 2: 2, 4: 3}


def test_brain_map_counts_as_outline():
    labels = np.zeros(SHAPE, np.int32)
    core = [2, 3, 4, 7, 8, 10, 11, 12, 13, 16, 41, 42]
    labels[brain()] = np.resize(core, int(brain().sum()))
    found = recognize(mask(labels), BRATS)
    assert found.convention.name == "structures"
    assert set(found.mapping.values()) == {4}
    labels[head() & (labels == 0)] = 507
    assert recognize(mask(labels), BRATS).mapping[507] == 0
    assert recognize(mask(labels), HEAD).kind == "head"


def test_a_scheme_knows_its_tissues():
    assert (BRATS.tissue_values, HEAD.tissue_values, TISSUES) == ((), (), (5, 6, 7, 8, 9, 10, 11))
    assert tuple(label_role(ANATOMY.label(value), ANATOMY) for value in TISSUES) == TISSUE_ROLES
    for scheme in (BRATS, HEAD):
        assert {scheme_value(role, scheme) for role in TISSUE_ROLES} == {scheme.surround}


@pytest.mark.slow
@given(
    base=st.sampled_from([tumor(4), tumor(3), med_ddpm(), whole_head(), np.where(brain(), 5, tumor(4)), anatomy()]),
    left_out=st.sets(st.integers(1, 4)),
    spacing=st.floats(0.3, 0.4) | st.floats(1.7, 4.0),
)
@settings(max_examples=60, deadline=None)
def test_masks_are_read_as_for_brats_but_for_their_tissues(base, left_out, spacing):
    labels = np.where(np.isin(base, sorted(left_out)), 0, base).astype(np.uint8)
    ours, theirs = (recognize(mask(labels, affine(spacing)), scheme) for scheme in (ANATOMY, BRATS))
    assert merged(ours.mapping) == theirs.mapping
    assert (ours.convention, ours.unknown, ours.outline, ours.kind) == (
        theirs.convention,
        theirs.unknown,
        theirs.outline,
        theirs.kind,
    )
    assert len(ours.assumptions) == len(theirs.assumptions)


@pytest.mark.slow
@given(kept=st.sets(st.sampled_from(TISSUES)), parts=st.sets(st.integers(1, 3)), spacing=st.floats(1.7, 4.0))
@settings(max_examples=60, deadline=None)
def test_own_numbers_stay_whole_or_half_complete(kept, parts, spacing):
    labels = only(anatomy(), kept, 4)
    labels[(labels < 4) & ~np.isin(labels, sorted(parts)) & (labels > 0)] = 4
    found = recognize(mask(labels, affine(spacing)), ANATOMY)
    present = set(np.unique(labels).tolist()) - {0}
    assert found.mapping == {value: value for value in present}
    assert not found.unknown and found.kind == "brain"
    assert set(found.outline) == present - {1, 2, 3}
    said = " ".join(found.sentences).casefold()
    assert all(ANATOMY.label(value).name.casefold() in said for value in kept)


@pytest.mark.slow
@given(kept=st.sets(st.sampled_from([6, 8, 11]), min_size=1), enhancing=st.sampled_from([3, 4]))
@settings(max_examples=10, deadline=None)
def test_a_few_tissues_beside_a_tumor_are_no_outline(kept, enhancing):
    labels = np.where(tumor() > 0, tumor(enhancing), only(anatomy(), kept, 0))
    found = recognize(mask(labels), ANATOMY)
    assert found.mapping == {1: 1, 2: 2, enhancing: 3} | {value: value for value in kept}
    assert found.outline == () and found.kind is None
    assert f"{min(kept)} -> {ANATOMY.label(min(kept)).name.lower()}" in found.reading


def test_a_small_four_beside_tissues_is_brain_and_the_doubt_is_said():
    labels = anatomy()
    labels[labels == 3] = 4
    found = recognize(mask(labels), ANATOMY)
    assert found.mapping[4] == 4
    assert any("enhancing tumor" in sentence for sentence in found.assumptions)
    labels[ball((25, -10, 15), 4)] = 3
    assert not recognize(mask(labels), ANATOMY).assumptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ventricle", 6),
        ("Left-Lateral-Ventricle", 6),
        ("Left-Inf-Lat-Vent", 6),
        ("Left-choroid-plexus", 6),
        ("CSF", 5),
        ("left_csf", 5),
        ("Cerebrospinal fluid", 5),
        ("White matter", 9),
        ("Left-Cerebral-White-Matter", 9),
        ("Left-Cerebellum-White-Matter", 9),
        ("periventricular white matter", 9),
        ("WM", 9),
        ("Corpus callosum", 9),
        ("Left-VentralDC", 9),
        ("Grey matter", 7),
        ("Cerebral cortex", 7),
        ("ctx-lh-precuneus", 7),
        ("ctx-rh-parahippocampal gyrus", 7),
        ("deep gray matter", 8),
        ("Thalamus", 8),
        ("Caudate head", 8),
        ("Right-Putamen", 8),
        ("Hippocampus", 8),
        ("Amygdala", 8),
        ("Cerebellum", 10),
        ("Left-Cerebellum-Cortex", 10),
        ("Brain-Stem", 11),
        ("pons", 11),
        ("Brain", 4),
        ("periventricular edema", 2),
        ("Brainstem glioma", 3),
    ],
)
def test_names_of_tissues(name, value):
    data = np.where(brain(), 7, 0).astype(np.uint8)
    named = mask(data, segments=(Segment(7, name),))
    assert recognize(named, ANATOMY).mapping == {7: value}
    assert recognize(named, BRATS).mapping == merged({7: value})
    assert recognize(named, HEAD).mapping == {7: 1 if value > 3 else 2}


@pytest.mark.parametrize(
    ("code", "value"),
    [(label.code, label.value) for label in ANATOMY.labels if not label.tumor]
    + [("SCT^35764002^", 6), ("SCT^42695009^Thalamus", 8), ("SCT^1101003^Cranial Cavity", None)],
)
def test_codes_of_tissues(code, value):
    role = role_of("Segment_1", code)
    assert (role and scheme_value(role, ANATOMY)) == value


def test_named_tissues_are_told_and_are_no_outline_where_they_are_small():
    labels = np.where(brain(), 1, 0).astype(np.uint8)
    labels[ball((0, 10, 10), 12)] = 2
    segments = (Segment(1, "White matter"), Segment(2, "3rd ventricle"))
    found = recognize(mask(labels, segments=segments), ANATOMY)
    assert found.outline == (1, 2) and found.kind == "brain"
    assert "1 'White matter' -> white matter, 2 '3rd ventricle' -> ventricles" in found.reading
    small = np.where(labels == 2, 2, 0).astype(np.uint8)
    for scheme in (ANATOMY, BRATS):
        assert recognize(mask(small, segments=segments), scheme).outline == ()


def test_a_brain_map_is_read_as_tissues():
    numbers = {
        2: 9,
        3: 7,
        4: 6,
        7: 9,
        8: 10,
        10: 8,
        16: 11,
        17: 8,
        24: 5,
        41: 9,
        42: 7,
        47: 10,
        1012: 7,
        2035: 7,
        998: 4,
    }
    labels = np.zeros(SHAPE, np.int32)
    labels[brain()] = np.resize(list(numbers), int(brain().sum()))
    found = recognize(mask(labels), ANATOMY)
    assert found.convention.name == "structures" and found.kind == "brain"
    assert found.mapping == numbers
    assert "3, 42, 1012 and 2035 -> cerebral cortex; 4 -> ventricles" in found.reading
    assert "998 -> brain" in found.reading
    assert recognize(mask(labels), BRATS).mapping == dict.fromkeys(numbers, 4)
    labels[head() & (labels == 0)] = 507
    assert {recognize(mask(labels), ANATOMY).mapping[value] for value in (24, 507)} == {0}


def test_the_users_word_overrides():
    found = recognize(mask(tumor(4)), BRATS, {1: 3, 2: 0})
    assert found.mapping == {1: 3, 2: 0}
    assert found.unknown == (4,)
    with pytest.raises(InputError, match="no label 9"):
        recognize(mask(tumor(4)), BRATS, {1: 9})


def test_own_labels_of_a_custom_scheme_stay():
    names = ("white matter", "tumor a", "tumor b", "brain")
    labels = tuple(Label(n, name, (0, 0, 0), "", name.startswith("tumor")) for n, name in enumerate(names, 10))
    scheme = LabelScheme("mine", labels, 13, "air")
    data = np.where(brain(), 13, 0).astype(np.uint8)
    for value, center in ((10, (-30, 0, 0)), (11, (30, 0, 0)), (12, (0, 30, 0))):
        data[ball(center, 12)] = value
    assert recognize(mask(data), scheme).mapping == {10: 10, 11: 11, 12: 12, 13: 13}


@given(st.dictionaries(st.integers(1, 300), st.sampled_from([0, 1, 2, 3, 4])), st.integers(0, 2**31))
def test_apply_mapping_is_the_table(mapping, seed):
    labels = np.random.default_rng(seed).integers(0, 310, (6, 5, 4)).astype(np.int32)
    expected = np.vectorize(lambda v: mapping.get(v, 0))(labels)
    result = apply_mapping(labels, mapping)
    assert result.dtype == np.uint8
    assert np.array_equal(result, expected)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda c: c.name)
@pytest.mark.parametrize("scheme", [BRATS, HEAD, ANATOMY], ids=lambda s: s.name)
def test_every_role_of_every_convention_has_a_value(convention, scheme):
    for value, target in convention.mapping(scheme).items():
        assert target in scheme.values
        assert (target == scheme.surround) == (convention.roles[value] in ("brain", "head"))
        assert target == scheme_value(convention.roles[value], scheme)


@pytest.mark.parametrize("name", SCHEMES)
def test_condition_channels(name):
    model = config(name)
    fractions = np.random.default_rng(3).random((len(model.scheme.labels), 3, 4, 5), np.float32)
    condition = encode_condition(fractions, model)
    low, high = model.mask_values
    assert condition.shape == (len(fractions), 5, 4, 3)
    assert condition.dtype == np.float32 and condition.flags.c_contiguous
    assert condition[1, 4, 2, 1] == pytest.approx(low + fractions[1, 1, 2, 4] * (high - low), abs=1e-6)


def test_condition_needs_the_models_channels():
    with pytest.raises(InputError, match="needs 4 channels"):
        encode_condition(np.zeros((2, 3, 3, 3), np.float32), config("brats"))
