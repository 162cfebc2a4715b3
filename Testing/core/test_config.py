"""The model configuration: round trip, and what a stranger's config.json may not say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from medddpm.config import (
    FORMAT_VERSION,
    GridConfig,
    MaskPrior,
    ModelConfig,
    NetworkConfig,
    ScheduleConfig,
)
from medddpm.errors import InputError
from medddpm.labels.scheme import Label, LabelScheme
from small_models import small_config

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.from_regex(r"[a-zé0-9_]{1,12}", fullmatch=True)
NUMBERS = st.floats(-100, 100)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
RANGES = st.tuples(st.floats(0, 5000), st.floats(0, 5000)).map(lambda pair: (min(pair), max(pair)))


@st.composite
def networks(draw: st.DrawFn) -> NetworkConfig:
    multipliers = tuple(draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    factors = st.sets(st.sampled_from([2**level for level in range(len(multipliers))]))
    return NetworkConfig(
        image_channels=draw(st.integers(1, 4)),
        mask_channels=draw(st.integers(1, 5)),
        base_channels=draw(st.sampled_from([16, 32, 64])),
        multipliers=multipliers,
        blocks_per_level=draw(st.integers(1, 3)),
        attention_factors=tuple(sorted(draw(factors))),
        heads=draw(st.sampled_from([1, 2, 4])),
        groups=draw(st.sampled_from([8, 16])),
    )


@st.composite
def schedules(draw: st.DrawFn) -> ScheduleConfig:
    prediction = draw(st.sampled_from(["noise", "v", "x0"]))
    if draw(st.booleans()):
        return ScheduleConfig(draw(st.integers(1, 10_000)), s=draw(st.floats(0, 1)), prediction=prediction)
    betas = tuple(draw(st.lists(st.floats(1e-9, 0.5), min_size=1, max_size=20)))
    return ScheduleConfig(len(betas), "explicit", betas=betas, prediction=prediction)


@st.composite
def schemes(draw: st.DrawFn, size: int) -> LabelScheme:
    values = draw(st.lists(st.integers(1, 255), min_size=size, max_size=size, unique=True))
    color = st.tuples(*[st.integers(0, 255)] * 3)
    labels = [Label(value, draw(TEXT), draw(color), draw(TEXT), draw(st.booleans())) for value in values]
    return LabelScheme(draw(TEXT), tuple(labels), draw(st.sampled_from(values)), draw(TEXT))


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    network = draw(networks())
    sides = st.integers(1, 1024 // network.divisor).map(lambda n: n * network.divisor)
    return ModelConfig(
        name=draw(TEXT),
        modalities=tuple(
            draw(
                st.lists(
                    NAMES, min_size=network.image_channels, max_size=network.image_channels, unique_by=str.casefold
                )
            )
        ),
        network=network,
        schedule=draw(schedules()),
        scheme=draw(schemes(network.mask_channels)),
        grid=GridConfig(
            draw(st.tuples(sides, sides, sides)),
            draw(st.tuples(*[st.floats(0.05, 50)] * 3)),
            draw(st.sampled_from(["RAS", "LPS", "SAL", "PIR"])),
        ),
        mask_values=draw(st.tuples(NUMBERS, NUMBERS).filter(lambda pair: pair[0] != pair[1])),
        background=draw(st.floats(-1, 1)),
        sampler_steps=draw(st.integers(1, 10_000)),
        prior=draw(st.none() | st.builds(MaskPrior, RANGES, RANGES, st.tuples(RANGES, RANGES, RANGES))),
        training=draw(st.dictionaries(TEXT, PLAIN, max_size=3)),
        weights_sha256=draw(st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
    )


@settings(max_examples=40, deadline=None)
@given(configs())
def test_json_round_trip_is_the_identity(config: ModelConfig) -> None:
    again = ModelConfig.from_json(config.to_json())
    assert again == config and again.to_json() == config.to_json()


def _changed(path: str, value: Any) -> str:
    """config.json of the small model with the field at the dotted ``path`` set to ``value``."""
    data = json.loads(small_config().to_json())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = data
    for part in parents:
        place = place[part]
    place[last] = value
    return json.dumps(data)


HOSTILE = {
    "network.base_channels": [10**9, 0, -32, True, 32.0, "32", None, [32], 10**400],
    "network.multipliers": [[], [1] * 9, [10**9], [-1, 1], [True], 4, "1234", [[1]], None],
    "network.blocks_per_level": [0, 9, 10**9],
    "network.image_channels": [0, 2, 10**9],
    "network.mask_channels": [0, 1, 3, 10**9],
    "network.attention_factors": [[3], [16], [-1], [0], None],
    "network.heads": [0, -1, 3, 10**9, True],
    "network.groups": [0, -8, 7, 10**9],
    "network": [None, [], 1, "unet", {}],
    "schedule.steps": [10**9, 0, -1, True, 12.0, "12"],
    "schedule.kind": ["linear", "explicit", 1],
    "schedule.betas": [[], [0.1] * 12, "0.1", [0.1, None]],
    "schedule.s": [-1, 2, 10**400],
    "schedule.max_beta": [0, 1, -1],
    "schedule.prediction": ["epsilon", None],
    "grid.shape": [[10**6] * 3, [0, 8, 8], [-8, 8, 8], [8, 8], [8, 8, 8, 8], [12, 8, 8], [True, 8, 8], [8.0, 8, 8], 8],
    "grid.spacing": [[0, 1, 1], [-1, 1, 1], [1e9, 1, 1], [1, 1], [10**400, 1, 1], ["1", 1, 1]],
    "grid.orientation": ["", "RA", "RRS", "RASL", "xyz", 3, "R" * 10**5],
    "modalities": [[], ["T1", "T2"], ["../../T1"], ["a/b"], ["a\\b"], [""], ["."], [".hidden"], ["x" * 33], ["T1\n"],
                   [1], "T1", None],
    "scheme.labels": [[], {}, None, [1], "labels"],
    "scheme.labels.0.value": [0, 2, 256, -1, 1.5, True, "1", None],
    "scheme.labels.0.color": [[1, 2], [1, 2, 256], [-1, 0, 0], "red", [1, 2, 3.5]],
    "scheme.labels.0.tumor": [1, "yes", None],
    "scheme.labels.0.surprise": [1],
    "scheme.surround": [3, "1", None],
    "mask_values": [[0], [0, 1, 2], [1, 1], [0, 1e9], "01", [0, True]],
    "background": [-2, 10**400, "black", None],
    "sampler_steps": [0, -1, 10**9, 1.5],
    "prior": [{}, [], {"outline_ml": [2, 1], "tumor_ml": [0, 1], "outline_extent_mm": [[0, 1]] * 3},
              {"outline_ml": [1, 2], "tumor_ml": [0, 1], "outline_extent_mm": [[0, 1]] * 2},
              {"outline_ml": [1, 2], "tumor_ml": [0, 1e300], "outline_extent_mm": [[0, 1]] * 3}],
    "training": [[], 1, None, "x"],
    "weights_sha256": ["", "0" * 63, "../" * 21 + "0", "G" * 64, "A" * 64, 5],
    "format_version": [99, 0, -1, 1.0, "1", True, 10**400],
    "name": [None, 1, ["x"]],
    "\x1b[31msurprise": [1],
}  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
def test_hostile_values_are_refused_by_name(path: str) -> None:
    for value in HOSTILE[path]:
        with pytest.raises(InputError) as caught:
            ModelConfig.from_json(_changed(path, value))
        sentence = str(caught.value)
        assert sentence.isprintable() and len(sentence) < 500, (path, value)
        assert sentence.startswith(("The model's config", "Label scheme", "The color of label")), (path, value)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("format_version", 99, ["format 99", "Update MedDDPM"]),
        ("schedule.steps", 10**9, ["schedule.steps = 1000000000", "1 to 10000"]),
        ("schedule.steps", True, ["schedule: steps must be a whole number, not True"]),
        ("name", None, ["name must be text, not None"]),
        ("network.groups", 7, ["network.groups = 7", "a divisor of the 32 channels"]),
        ("modalities", ["T1", "T2"], ["['T1', 'T2']", "1 names, one an image channel"]),
        ("modalities", ["../../T1"], ["'../../T1'", "file names"]),
        ("grid.shape", [12, 8, 8], ["[12, 8, 8]", "multiples of 8"]),
        ("surprise", 1, ["unknown field 'surprise'", "newer version"]),
    ],
)
def test_sentences_name_field_value_and_what_is_allowed(path: str, value: Any, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        ModelConfig.from_json(_changed(path, value))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("field", ["name", "network", "schedule", "grid", "scheme", "modalities"])
def test_missing_fields_are_named(field: str) -> None:
    data = json.loads(small_config().to_json())
    del data[field]
    with pytest.raises(InputError, match=f"lacks the field '{field}'"):
        ModelConfig.from_json(json.dumps(data))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "3", '"x"', "[" * 10**5, '{"a":' * 10**5, "9" * 5000, "{'name': 1}", "\ufeff{}", "\0"],
    ids=lambda text: ascii(text[:12]),
)
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        ModelConfig.from_json(text)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("field", ["background", "training", "schedule.s", "grid.spacing"])
def test_numbers_that_are_none_are_refused(number: str, field: str) -> None:
    value = {"training": {"loss": [0.5, "@"]}, "grid.spacing": [1, 1, "@"]}.get(field, "@")
    with pytest.raises(InputError, match=r"config\.json"):
        ModelConfig.from_json(_changed(field, value).replace('"@"', number))


def test_provenance_that_no_file_could_hold_is_refused() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(InputError, match="training is nested more than 32 levels"):
        ModelConfig.from_json(_changed("training", {"x": deep}))
    with pytest.raises(InputError, match="not valid text"):
        ModelConfig.from_json(_changed("training", {"x": "half a pair: \ud800"}))


@settings(max_examples=100, deadline=None)
@given(PLAIN, st.sampled_from(sorted(HOSTILE)))
def test_no_value_causes_anything_but_an_input_error(value: Any, path: str) -> None:
    try:
        ModelConfig.from_json(_changed(path, value))
    except InputError as exc:
        assert str(exc)


def test_schedules_without_signal_or_noise_are_refused() -> None:
    for betas in ((0.99,) * 20, (0.0, 0.1), (1.0,), (1e-300, 0.1), (float("nan"),)):
        with pytest.raises(InputError, match=r"schedule\.betas"):
            ScheduleConfig(len(betas), "explicit", betas=betas)


def test_a_configuration_of_the_former_format_is_read() -> None:
    config = small_config()
    data = json.loads(config.to_json())
    data["licence"] = data.pop("license")
    data["format_version"] = 1
    read = ModelConfig.from_json(json.dumps(data))
    assert read == config and json.loads(read.to_json())["format_version"] == FORMAT_VERSION

    data["license"] = "another"
    with pytest.raises(InputError, match="has 'license' twice, once by its former name 'licence'"):
        ModelConfig.from_json(json.dumps(data))
