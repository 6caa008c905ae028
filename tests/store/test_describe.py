"""Records made from specs."""

from __future__ import annotations

from traindeck.backends.base import Code, Resources, RunSpec, State
from traindeck.console.store.describe import describe, params_of


def test_a_record_says_what_the_spec_says() -> None:
    spec = RunSpec(
        run_id="0" * 12,
        name="calm-fox",
        argv=("python", "train.py", "--lr", "3e-4"),
        cwd="/w/project/src",
        code=Code(root="/w/project"),
        resources=Resources(gpus=2, nodes=3),
        tags={"sft": ""},
        created=5.0,
    )
    record = describe(spec, "local")
    assert (record.id, record.name, record.state) == ("0" * 12, "calm-fox", State.NEW)
    assert record.project == "project"
    assert record.gpus == 6
    assert record.params == {"lr": 3e-4}


def test_parameters_are_read_as_scripts_write_them() -> None:
    argv = (
        "torchrun",
        "--nproc-per-node",
        "2",
        "train.py",
        "--lr=3e-4",
        "--bf16",
        "--n-layer",
        "4",
    )
    assert params_of(argv) == {"lr": 3e-4, "bf16": True, "n_layer": 4}
    assert params_of(("python", "t.py", "optim.lr=1e-3", "+seed=7", "model=big")) == {
        "optim.lr": 1e-3,
        "seed": 7,
        "model": "big",
    }


def test_a_repeated_flag_keeps_all_its_values() -> None:
    argv = ("python", "t.py", "--data", "a", "--lr", "1e-3", "--data=b", "data=c", "-v", "-v")
    assert params_of(argv) == {"data": ("a", "b", "c"), "lr": 1e-3, "v": True}


def test_a_file_of_settings_by_its_short_flag_is_a_parameter_too() -> None:
    argv = ("python", "train.py", "-c", "cfg.yaml", "--lr", "3e-4")
    assert params_of(argv) == {"c": "cfg.yaml", "lr": 3e-4}
    assert params_of(("./train", "-c", "cfg.yaml")) == {"c": "cfg.yaml"}


def test_a_program_on_the_command_line_has_no_parameters() -> None:
    assert params_of(("sh", "-c", "echo --lr 3")) == {}
    assert params_of(("python", "-c", "print(1)", "--x", "3")) == {}


def test_a_negative_number_is_a_value_not_a_flag() -> None:
    assert params_of(("python", "t.py", "--bias", "-1.5", "--x", "-3")) == {"bias": -1.5, "x": -3}


def test_a_recipe_says_its_parameters_itself() -> None:
    spec = RunSpec(
        argv=("python", "sft.py"), recipe={"recipe": "sft", "values": {"lora": {"r": 8}}}
    )
    record = describe(spec, "local")
    assert record.recipe == "sft"
    assert record.params == {"lora.r": 8}
