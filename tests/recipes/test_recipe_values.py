"""A value is judged alike wherever it comes from, and refused with what was expected."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.recipes.schema import Kind, Parameter, Recipe, accepts, parse, text_of

RATE = Parameter(key="lr", kind=Kind.FLOAT, low=1e-9, high=1)
STEPS = Parameter(key="steps", kind=Kind.INT, low=1, high=10**8, words=("auto",))
PACK = Parameter(key="packing", kind=Kind.BOOL)
HOW = Parameter(key="method", kind=Kind.CHOICE, choices=("lora", "full"))
WHERE = Parameter(key="targets", kind=Kind.NAMES, words=("all-linear",))
DATA = Parameter(key="data", kind=Kind.PATH, required=True, hub=True)


@pytest.mark.parametrize(
    ("parameter", "raw", "value"),
    [
        (RATE, "3e-4", 0.0003),  # as YAML 1.1 gives it: text
        (RATE, "3E-4", 0.0003),
        (RATE, " .5 ", 0.5),
        (RATE, 1, 1.0),
        (STEPS, "100", 100),
        (STEPS, "1e3", 1000),
        (STEPS, 1e3, 1000),
        (STEPS, "auto", "auto"),
        (PACK, "yes", True),
        (PACK, "False", False),
        (PACK, True, True),
        (HOW, "full", "full"),
        (WHERE, "all-linear", "all-linear"),
        (WHERE, "q_proj, v_proj", ("q_proj", "v_proj")),
        (WHERE, ["q_proj"], ("q_proj",)),
        (DATA, "org/name", "org/name"),
        (DATA, 7, "7"),
    ],
)
def test_what_is_meant_is_understood(parameter: Parameter, raw: object, value: object) -> None:
    assert parse(parameter, raw) == value
    assert type(parse(parameter, raw)) is type(value)


@pytest.mark.parametrize(
    ("parameter", "raw"),
    [
        (RATE, "abc"),
        (RATE, "0"),
        (RATE, "nan"),
        (RATE, float("inf")),
        (RATE, True),
        (RATE, "1e400"),
        (RATE, "9" * 400),
        (STEPS, "1.5"),
        (STEPS, True),
        (STEPS, "0"),
        (STEPS, "-3"),
        (STEPS, "banana"),
        (STEPS, None),
        (STEPS, [1]),
        (STEPS, "9" * 5000),
        (PACK, "maybe"),
        (PACK, 1),
        (HOW, "qlora"),
        (WHERE, "q_proj,,v_proj"),
        (WHERE, {"a": 1}),
        (DATA, ""),
        (DATA, True),
        (DATA, "a\nb"),
        (DATA, "\x1b[2J"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_was_expected(
    parameter: Parameter, raw: object
) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        parse(parameter, raw)
    assert accepts(parameter) in str(error.value)
    assert len(str(error.value)) < 200


def test_a_seed_beyond_the_precision_of_floats_keeps_its_digits() -> None:
    seed = Parameter(key="seed", kind=Kind.INT, low=0, high=2**63)
    assert parse(seed, str(2**53 + 1)) == 2**53 + 1


@given(st.floats(min_value=1e-9, max_value=1))
def test_a_number_that_is_shown_can_be_typed_again(number: float) -> None:
    assert parse(RATE, text_of(number)) == number


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers() | st.text() | st.booleans())
def test_nothing_out_of_range_passes(raw: object) -> None:
    for parameter in (RATE, STEPS):
        try:
            value = parse(parameter, raw)
        except ValueError:
            continue
        if isinstance(value, (int, float)):
            assert parameter.low is not None and parameter.high is not None
            assert math.isfinite(value) and parameter.low <= value <= parameter.high
        else:
            assert value in parameter.words or value == ""


@pytest.mark.parametrize(
    ("value", "text"), [(3e-4, "3e-4"), (2.0, "2"), (0.05, "0.05"), (True, "yes"), (7, "7")]
)
def test_numbers_are_shown_as_a_person_writes_them(value: float, text: str) -> None:
    assert text_of(value) == text


def test_every_default_and_suggestion_of_ours_is_a_value_of_its_parameter(sft: Recipe) -> None:
    for parameter in sft:
        values = [*parameter.suggest] if parameter.required else [parameter.default]
        for value in (*values, *parameter.suggest):
            assert parse(parameter, text_of(value)) == value
        assert parameter.meaning.endswith(".")
