"""Options of the preparation: sense and nonsense, grids as text, schemes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from medddpm.config import GridConfig
from medddpm.errors import InputError
from medddpm.labels.scheme import load_scheme
from medddpm.preparation.options import GRIDS, PrepareOptions, grid_text, parse_grid


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layout": "bids"}, "layout is 'bids'"),
        ({"register": "template"}, "needs an image as template"),
        ({"template": "t.nii"}, "needs an image as template"),
        ({"intensities": "z"}, "intensities is 'z'"),
        ({"validation": 0.6, "test": 0.4}, "leave nothing to train on"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"modalities": ["T1", "t1"]}, "name one twice"),
        ({"modalities": ["../T1"]}, "is not possible"),
        ({"workers": 1000}, "workers is 1000"),
        ({"labels": "1->2"}, "not understood"),
        ({"test_cases": ["a"], "validation_cases": ["a"]}, "'a' is named for validation and for test"),
        ({"color": "red"}, "unknown field 'color'"),
        ({"seed": "1"}, "seed must be a whole number"),
    ],
)
def test_options_that_make_no_sense(changes: dict, words: str) -> None:
    with pytest.raises(InputError) as caught:
        PrepareOptions.from_dict({"source": "s", "out": "o", **changes})
    assert words in str(caught.value)


def test_options_travel_as_plain_data() -> None:
    wanted = PrepareOptions("s", "o", modalities=("T1", "T2"), leave_out=("a",), labels="1=1")
    assert PrepareOptions.from_dict(json.loads(json.dumps(wanted.to_dict()))) == wanted


@given(
    st.tuples(*[st.integers(1, 1024)] * 3),
    st.tuples(*[st.sampled_from([0.05, 0.5, 1.0, 1.25, 7.5, 50.0])] * 3),
    st.sampled_from(["RAS", "LPS", "SAR"]),
)
def test_grids_as_text(shape: tuple[int, int, int], spacing: tuple[float, float, float], axes: str) -> None:
    grid = GridConfig(shape, spacing, axes)
    assert parse_grid(grid_text(grid)) == grid


@given(st.text(alphabet="0123456789x:.LPSRA", max_size=24))
def test_any_grid_text_is_understood_or_refused_with_a_sentence(text: str) -> None:
    with contextlib.suppress(InputError):
        assert isinstance(parse_grid(text), GridConfig)


def test_the_grid_follows_the_scheme() -> None:
    for scheme, name in (("brats", "brats-1mm"), ("glioma-anatomy", "brats-1mm"), ("whole-head", "whole-head-1.5mm")):
        wanted = PrepareOptions("s", "o", scheme=scheme)
        assert wanted.grid_config(wanted.label_scheme()) == GRIDS[name]


def test_schemes_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "scheme.json"
    path.write_text(json.dumps(load_scheme("brats").to_dict()))
    assert load_scheme(str(path)) == load_scheme("brats")
    assert load_scheme("whole_head") == load_scheme("whole-head")
    for text, words in (("{", "not valid JSON"), ("[]", "must be an object"), ("{}", "lacks the field")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            load_scheme(str(path))
    with pytest.raises(InputError, match="'lungs' is not known"):
        load_scheme("lungs")
