"""One schema explains itself to `--help`, to the README and to the form."""

from __future__ import annotations

from typing import Any

import pytest

from traindeck.console.recipes.describing import completions, form, help_text, readme_table
from traindeck.console.recipes.schema import Group, Kind, Parameter, Recipe

NEEDED = {"model": "base", "data": "rows.jsonl"}


def test_help_names_every_parameter_within_the_width(sft: Recipe) -> None:
    for width in (60, 88, 120):
        lines = help_text(sft, width).splitlines()
        assert max(map(len, lines)) <= width
        for parameter in sft:
            assert any(line.startswith(f"  {parameter.key} ") for line in lines)
    assert "Presets:" in lines


def test_the_readme_has_a_row_for_every_parameter(sft: Recipe) -> None:
    rows = readme_table(sft).splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [parameter.key for parameter in sft]
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)


def test_the_form_shows_every_value_and_where_it_came_from(sft: Recipe) -> None:
    shown = form(sft, {**NEEDED, "lr": "3e-4", "method": "full"})
    fields = {f.parameter.key: f for group in shown.groups.values() for f in group}
    assert shown.resolved is not None and shown.resolved.values["lr"] == 3e-4
    assert list(shown.groups) == ["What", "How", "When it ends"]
    assert fields["lr"].changed and fields["lr"].text == "3e-4"
    assert not fields["batch"].changed and fields["batch"].text == "8"
    assert not fields["lora_rank"].applies and fields["epochs"].applies


def test_the_form_keeps_what_was_typed_wrong_beside_its_reason(sft: Recipe) -> None:
    shown = form(sft, {"model": "base", "batch": "lots"})
    fields = {f.parameter.key: f for group in shown.groups.values() for f in group}
    assert shown.resolved is None and set(shown.problems or {}) == {"batch", "data"}
    assert fields["batch"].text == "lots" and "expected a whole number" in fields["batch"].problem
    assert fields["data"].text == "" and "is not set" in fields["data"].problem
    assert fields["lr"].text == "2e-4" and not fields["lr"].problem


def test_set_completes_keys_and_then_their_values(sft: Recipe) -> None:
    assert [text for text, _ in completions(sft, "lora_r")] == ["lora_rank="]
    assert [text for text, _ in completions(sft, "method=")] == ["method=lora", "method=full"]
    assert ("steps=auto", "") in completions(sft, "steps=")
    assert completions(sft, "nothing=") == []


@pytest.mark.parametrize(
    "kind",
    [
        {"kind": Kind.INT, "low": 3.0},
        {"kind": Kind.INT},
        {"kind": Kind.FLOAT, "high": 0.5},
        {"kind": Kind.BOOL},
        {"kind": Kind.CHOICE, "choices": ("adam", "sgd")},
        {"kind": Kind.NAMES},
        {"kind": Kind.PATH},
    ],
    ids=str,
)
def test_the_form_of_a_recipe_shows_what_is_missing_of_every_kind(kind: dict[str, Any]) -> None:
    parameter = Parameter(key="wanted", required=True, **kind)
    group = Group(key="what", title="What", parameters=(parameter,))
    shown = form(Recipe(name="own", trainer="sft", groups=(group,)), {})
    ((field,),) = shown.groups.values()
    assert set(shown.problems or {}) == {"wanted"} and field.text == ""
