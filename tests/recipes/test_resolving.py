"""Every value of a run says where it came from; what is wrong is named with the nearest right."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from traindeck.backends.base import RunSpec, UsageError, decode, encode
from traindeck.console.recipes.reading import from_run, load
from traindeck.console.recipes.resolving import RecipeError, command, parse_set, resolve
from traindeck.console.recipes.schema import Recipe

NEEDED = {"model": "base", "data": "rows.jsonl"}


def test_what_is_set_wins_over_the_file_the_preset_and_the_default(
    write: Callable[[str, str], Path], folder: Path
) -> None:
    write("mine.yaml", "recipe: sft\npreset: quick\nset:\n  lr: 1e-5\n  log_every: 5\n")
    resolved = resolve(load("mine", folder), {**NEEDED, "lr": "3e-4"})
    got = {k: (s.value, s.source) for k, s in resolved.settings.items()}
    assert got["lr"] == (3e-4, "--set")
    assert got["log_every"] == (5, "mine.yaml, line 5")
    assert got["steps"] == (20, "preset quick")
    assert got["batch"] == (8, "default")


def test_a_preset_can_be_chosen_at_launch(sft: Recipe) -> None:
    resolved = resolve(sft, NEEDED, preset="full")
    assert resolved.values["method"] == "full" and resolved.values["lr"] == 2e-5
    with pytest.raises(UsageError, match=r"no preset fast.*quick"):
        resolve(sft, NEEDED, preset="fast")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("learning_rate", "lr"),
        ("learnig_rate", "lr"),
        ("batch_size", "batch"),
        ("per-device-train-batch-size", "batch"),
        ("max_seq_length", "seq_length"),
        ("lora_rnk", "lora_rank"),
        ("num_epochs", "epochs"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(
    sft: Recipe, typed: str, meant: str
) -> None:
    with pytest.raises(RecipeError, match=f"no parameter {typed}. Did you mean {meant}?"):
        resolve(sft, {**NEEDED, typed: "1"})


def test_all_problems_are_known_at_once(sft: Recipe) -> None:
    with pytest.raises(RecipeError) as error:
        resolve(sft, {"lr": "abc", "model": "base", "batch": "0", "xyzzy": "1"})
    assert set(error.value.problems) == {"lr", "batch", "xyzzy", "data"}
    assert "from 1e-9 to 1, found 'abc'" in str(error.value)
    assert error.value.exit_code == 2


def test_a_setting_without_effect_is_noted(sft: Recipe) -> None:
    notes = resolve(sft, {**NEEDED, "method": "full", "lora_rank": "8"}).notes
    assert notes == ("lora_rank (--set) has no effect: it counts only with method=lora",)
    assert resolve(sft, NEEDED).notes == ()


def test_resolving_is_pure_and_survives_the_record_of_a_run(sft: Recipe) -> None:
    overrides = {**NEEDED, "lora_targets": "q_proj,v_proj", "lr": "3e-4"}
    one = resolve(sft, overrides)
    assert one == resolve(sft, overrides)
    spec = RunSpec(recipe=one.to_json())
    assert decode(RunSpec, json.loads(json.dumps(encode(spec)))).recipe == one.to_json()


def test_launching_again_starts_from_what_the_run_had(sft: Recipe) -> None:
    saved = resolve(sft, {**NEEDED, "lr": "3e-4", "lora_targets": "q_proj,v_proj"}).to_json()
    again = resolve(from_run(json.loads(json.dumps(saved)), "run k3f9"), {"lr": "1e-4"})
    assert again.settings["lr"].source == "--set" and again.values["lr"] == 1e-4
    assert again.settings["lora_targets"].value == ("q_proj", "v_proj")
    assert again.settings["lora_targets"].source == "run k3f9"
    assert again.values["model"] == "base"


def test_a_run_of_another_version_is_not_launched_with_half_its_values(sft: Recipe) -> None:
    saved = resolve(sft, NEEDED).to_json()
    saved["values"]["novelty"] = 3
    with pytest.raises(UsageError, match="run k3f9 sets novelty"):
        from_run(saved, "run k3f9")
    with pytest.raises(UsageError, match="holds no recipe"):
        from_run({}, "run k3f9")


def test_the_file_of_a_run_can_be_launched(sft: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(resolve(sft, {**NEEDED, "lr": "3e-4"}).to_json()))
    assert resolve(load(str(path)), {}).values["lr"] == 3e-4


@pytest.mark.parametrize("item", ["lr", "=3", ""])
def test_set_without_a_value_is_refused(item: str) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parse_set([item])


def test_values_may_hold_an_equals_sign() -> None:
    assert parse_set(["data=a=b", "lr=1", "lr=2"]) == {"data": "a=b", "lr": "2"}


def test_the_command_carries_the_trainer_and_what_it_imports(sft: Recipe, tmp_path: Path) -> None:
    made = command(resolve(sft, NEEDED), "/venv/bin/python")
    assert made.argv == ("/venv/bin/python", "plan/sft.py", "--recipe", "plan/recipe.json")
    assert [made.argv[i] for i in made.run_dir_words] == ["plan/sft.py", "plan/recipe.json"]
    for path, blob in made.files.items():
        target = tmp_path / path
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(blob.read())
    done = subprocess.run(  # what travelled is all that is needed: it gets as far as the data
        [sys.executable, "-I", "-c", _ALONE, *(str(tmp_path / made.argv[i]) for i in (1, 3))],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "error: rows.jsonl: no such file or folder.\n"


_ALONE = """
import runpy, sys, pathlib
pathlib.Path("base").mkdir(); pathlib.Path("base/config.json").write_text("{}")
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
sys.argv = [sys.argv[1], "--recipe", sys.argv[2]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_several_gpus_mean_a_process_for_each(sft: Recipe) -> None:
    made = command(resolve(sft, NEEDED), "python", gpus=4)
    assert made.argv[:5] == (
        *("python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"),
    )
    assert [made.argv[i] for i in made.run_dir_words] == ["plan/sft.py", "plan/recipe.json"]


def test_the_same_values_make_the_same_plan(sft: Recipe) -> None:
    one, two = (command(resolve(sft, NEEDED), "python") for _ in range(2))
    assert {p: b.digest for p, b in one.files.items()} == {
        p: b.digest for p, b in two.files.items()
    }
