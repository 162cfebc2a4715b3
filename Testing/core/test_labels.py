"""Label conventions and condition channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_phantoms import SHAPE, affine, ball, brain, config, head, mask, med_ddpm, tumor, whole_head
from medddpm.errors import InputError
from medddpm.geometry.volume import Segment
from medddpm.labels.conventions import CONVENTIONS, scheme_value
from medddpm.labels.encode import encode_condition
from medddpm.labels.recognize import apply_mapping, recognize
from medddpm.labels.scheme import Label, LabelScheme, load_scheme

BRATS, HEAD = load_scheme("brats"), load_scheme("whole-head")


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
    assert found.mapping == {v: {1: 1, 2: 2, 4: 3}[v] for v in present}
    assert found.outline == ()


@given(present=st.sets(st.sampled_from([1, 2, 3])), spacing=st.floats(0.3, 40.0))
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
    assert any("--labels 1=1" in sentence for sentence in found.assumptions)
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
@pytest.mark.parametrize("scheme", [BRATS, HEAD], ids=lambda s: s.name)
def test_every_role_of_every_convention_has_a_value(convention, scheme):
    for value, target in convention.mapping(scheme).items():
        assert target in scheme.values
        assert (target == scheme.surround) == (convention.roles[value] in ("brain", "head"))
        assert target == scheme_value(convention.roles[value], scheme)


@pytest.mark.parametrize("name", ["brats", "whole-head"])
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
