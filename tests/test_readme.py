"""The README stays true where a machine can tell."""

from __future__ import annotations

import re
from pathlib import Path

from traindeck.console.cli.app import COMMANDS
from traindeck.console.recipes.describing import readme_table
from traindeck.console.recipes.reading import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_recipes_parameters_are_those_of_its_schema() -> None:
    assert readme_table(load("sft")) in README


def test_files_and_pictures_that_are_named_are_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target


def test_commands_that_are_shown_exist() -> None:
    shown = set(re.findall(r"`?traindeck ([a-z]+)", README))
    assert shown - {"run"} <= {*COMMANDS, "opens"}
