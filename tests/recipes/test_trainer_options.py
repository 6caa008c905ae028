"""A recipe's parameters are exactly its trainer's options: names, types, defaults, choices."""

from __future__ import annotations

import importlib
import json
import sys
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal

import pytest

from traindeck.console.recipes.reading import list_recipes, load
from traindeck.console.recipes.resolving import resolve, trainers
from traindeck.console.recipes.schema import Kind, Parameter, Recipe


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a trainer as Python would run it. It imports nothing heavy by itself."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(trainers()))
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (trainers() / f"{name}.py").exists():
            del sys.modules[name]


@pytest.fixture
def sft_module(trainer: Callable[[str], Any]) -> Any:
    return trainer("sft")


def hint_of(parameter: Parameter) -> Any:
    """The type that a trainer must declare for a parameter."""
    plain = {Kind.TEXT: str, Kind.PATH: str, Kind.INT: int, Kind.FLOAT: float, Kind.BOOL: bool}
    if parameter.kind is Kind.CHOICE:
        return Literal[parameter.choices]
    if parameter.kind is Kind.NAMES:
        return str | tuple[str, ...]
    kind = plain[parameter.kind]
    if parameter.words and kind is not str:
        return typing.Union[kind, Literal[parameter.words]]  # noqa: UP007  (built from data)
    return kind


@pytest.mark.parametrize("name", list_recipes())
def test_the_options_are_the_parameters(name: str, trainer: Callable[[str], Any]) -> None:
    recipe = load(name)
    options = trainer(recipe.trainer).Options
    hints = typing.get_type_hints(options)
    assert list(hints) == [parameter.key for parameter in recipe]
    defaults = {f.name: f.default for f in fields(options)}
    for parameter in recipe:
        key, hint = parameter.key, hints[parameter.key]
        wanted = hint_of(parameter)
        assert set(typing.get_args(hint) or [hint]) == set(typing.get_args(wanted) or [wanted]), key
        if isinstance(hint, types.UnionType):
            assert set(hint.__args__) == set(typing.get_args(wanted)), key
        assert defaults[key] == (MISSING if parameter.required else parameter.default), key


def test_the_trainer_reads_what_the_console_wrote(
    sft: Recipe, sft_module: Any, tmp_path: Path
) -> None:
    resolved = resolve(
        sft,
        {"model": "m", "data": "d", "lr": "3e-4", "steps": "7", "lora_targets": "q_proj,v_proj"},
    )
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(resolved.to_json()))
    options = sft_module.read_options(str(path), sft_module.Options)
    assert {f.name: getattr(options, f.name) for f in fields(options)} == resolved.values


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"learning_rat": 1}, "learning_rat is no option"),
        ({"bach": 4}, "bach is no option of this trainer. The nearest is batch."),
        ({"batch": "8"}, "batch: expected int, found '8'"),
        ({"batch": True}, "batch: expected int, found True"),
        ({"steps": "soon"}, "steps: expected int, found 'soon'. or expected auto"),
        ({"method": "qlora"}, "method: expected lora or full, found 'qlora'"),
        ({"data": None}, "data: expected str, found None"),
    ],
)
def test_the_trainer_checks_by_itself(
    sft_module: Any, tmp_path: Path, values: dict[str, object], says: str
) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"model": "m", "data": "d", **values}))
    with pytest.raises(sft_module.Refused) as error:
        sft_module.read_options(str(path), sft_module.Options)
    assert says in str(error.value)
