"""Users have recipes of their own; a mistake in one is named with its line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from traindeck.backends.base import UsageError
from traindeck.console.documents import DocumentError
from traindeck.console.recipes.reading import list_recipes, load
from traindeck.console.recipes.resolving import command, resolve

Write = Callable[[str, str], Path]


def test_a_recipe_can_build_on_another(write: Write, folder: Path) -> None:
    write("small.yaml", "recipe: sft\ndescription: For my laptop.\nset:\n  batch: 2\n  lr: 1e-3\n")
    write("smaller.yaml", "recipe: small\nset: {batch: 1}\n")
    recipe = load("smaller", folder)
    assert recipe.description == "For my laptop."
    resolved = resolve(recipe, {"model": "m", "data": "d"})
    assert resolved.recipe == "smaller" and resolved.trainer == "sft"
    assert resolved.values["batch"] == 1
    assert resolved.settings["lr"].source == "small.yaml, line 5"
    assert list_recipes(folder) == sorted([*list_recipes(), "small", "smaller"])


def test_a_users_sft_builds_on_ours(write: Write, folder: Path) -> None:
    write("sft.yaml", "recipe: sft\nset: {model: my-base}\n")
    assert resolve(load("sft", folder), {"data": "d"}).values["model"] == "my-base"


def test_a_file_can_be_given_instead_of_a_name(write: Write) -> None:
    path = write("mine.yaml", "recipe: sft\nset: {model: m, data: d}\n")
    assert resolve(load(str(path)), {}).values["data"] == "d"


def test_a_recipe_can_bring_its_own_trainer(write: Write, folder: Path) -> None:
    write("train.py", "print('mine')\n")
    text = (
        "trainer: train.py\ngroups:\n  all:\n    parameters:\n"
        "      depth: {type: int, range: [1, 99], default: 4, meaning: Layers.}\n"
    )
    write("own.yaml", text)
    resolved = resolve(load("own", folder), {"depth": "7"})
    made = command(resolved, "python")
    assert made.files["plan/train.py"].read() == b"print('mine')\n"
    assert made.argv == ("python", "plan/train.py", "--recipe", "plan/recipe.json")
    assert b'"depth": 7' in made.files["plan/recipe.json"].read()
    assert "plan/traindeck_reporting.py" in made.files


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (
            "recipe: sft\nset:\n  learning_rate: 1\n",
            3,
            "no parameter learning_rate. Did you mean lr?",
        ),
        (
            "recipe: sft\nset:\n\n  lr: fast\n",
            4,
            "lr: expected a number from 1e-9 to 1, found 'fast'",
        ),
        ("recipe: sft\nset:\n  batch: 0\n", 3, "batch: expected a whole number from 1 to 4,096"),
        ("recipe: sft\nset:\n  batch: [1]\n", 3, "batch: expected a whole number"),
        ("recipe: sft\nset: [lr]\n", 2, "expected `name: value` lines"),
        ("recipe: sft\nsets: {lr: 1}\n", 2, "no field sets here. Did you mean set?"),
        ("recipe: stf\n", 1, "there is no recipe stf. Did you mean sft?"),
        ("recipe: sft\npreset: fast\n", 2, "has no preset fast"),
        ("recipe: sft\nname: a b\n", 2, "no name for a recipe"),
        ("recipe: sft\nrecipe: sft\n", 2, "a second time"),
        ("recipe: [sft\n", None, "not YAML"),
        ("recipe: bad\n", 1, "builds on this recipe itself"),
        ("- sft\n", 1, "found a list"),
        ("groups: {}\n", None, "trainer: is missing"),
        ("trainer: nowhere.py\n", 1, "no such file"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    write: Write, folder: Path, text: str, line: int | None, says: str
) -> None:
    path = write("bad.yaml", text)
    with pytest.raises(DocumentError) as error:
        load("bad", folder)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    if line is not None:
        assert error.value.line == line
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("type: number", "type: expected text, path, int"),
        ("type: int, default: 3, range: [5, 1]", "range: expected"),
        ("type: int, default: 300, range: [1, 99]", "expected a whole number from 1 to 99"),
        ("type: int, range: [1, 99]", "expected either a default or `required: true`"),
        ("type: choice, default: a", "choices belong to type choice"),
        ("type: int, default: 1, only: {nothing: 1}", "there is no parameter nothing"),
        ("type: int, default: 1, minimum: 1", "there is no field minimum here"),
        ("type: int, default: 1, required: maybe", "expected true or false"),
        ("type: text, default: a, range: [1, 2]", "belongs to a number"),
    ],
)
def test_a_mistake_in_a_definition_is_named_with_its_line(
    write: Write, folder: Path, field: str, says: str
) -> None:
    write("bad.yaml", f"trainer: sft\ngroups:\n  a:\n    parameters:\n      depth: {{{field}}}\n")
    with pytest.raises(DocumentError, match="line 5") as error:
        load("bad", folder)
    assert says in str(error.value)


def test_two_recipes_that_build_on_each_other_are_refused(write: Write, folder: Path) -> None:
    write("one.yaml", "recipe: two\n")
    write("two.yaml", "recipe: one\n")
    with pytest.raises(DocumentError, match="builds on this recipe itself"):
        load("one", folder)


def test_an_unknown_recipe_is_refused_with_what_there_is(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no recipe stf\. Did you mean sft\?"):
        load("stf", folder)
    with pytest.raises(UsageError, match=f"There are: {', '.join(list_recipes())}"):
        load("xyzzy", folder)
    with pytest.raises(UsageError, match="cannot be read: no such file"):
        load("./nowhere.yaml", folder)


def test_yaml_is_imported_only_when_a_recipe_is_read() -> None:
    code = (
        "import sys, traindeck.console.recipes.describing, traindeck.console.recipes.reading as r; "
        "assert 'yaml' not in sys.modules and 'difflib' not in sys.modules; r.load('sft'); "
        "assert 'yaml' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
