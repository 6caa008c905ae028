"""The Config tab: what a run was started from."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.runs import make_run

from traindeck.backends.base import Code, Limits, RunSpec, State
from traindeck.console.present.cells import Line, line_width, plain
from traindeck.console.present.run_config import PACKAGES, PATCH, config_lines, found_in, marked

RUN = make_run(4, "llama1b-lora", State.RUNNING)
EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\n[bold]実験"
SPEC = RunSpec(
    run_id=RUN.id,
    argv=("python", "train.py", "--name", "two words"),
    cwd="/home/user1/project",
    env={"PATH": "/usr/bin:" * 40, "B": EVIL},
    env_names=("HOME", "LANG"),
    secrets=("WANDB_API_KEY",),
    after=("0kabc",),
    after_any=True,
    host="box",
    driver="560.35.03",
    python="/v/bin/python",
    python_version="3.12.1",
    limits=Limits(time=3600.0, grace=10.0, retries=2),
    code=Code(mode="snapshot", root="/home/user1/project", commit="c0ffee" * 6, branch="main",
              untracked=("notes.txt",), omitted={"big.bin": "larger than 50 MB"}),
)  # fmt: skip
CAPTURED = {
    PACKAGES: b"numpy==2.1.0\ntorch==2.6.0\n",
    PATCH: b"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-lr = 1\n+lr = 2 \x1b[31m\n",
}


def text(lines: list[Line]) -> str:
    return "\n".join(plain(line) for line in lines)


def harmless(lines: list[Line]) -> bool:
    return not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for line in lines for c in plain(line))


def test_everything_a_run_was_started_from_is_there() -> None:
    params = {"lr": 3e-4, "packing": False, "eval_data": ""}
    words = text(config_lines(replace(RUN, params=params), SPEC, CAPTURED, 100))
    for part in (
        "PARAMETERS 3", "3e-4", "no", "(empty)", "python train.py --name 'two words'",
        "time limit", "retries", "0kabc, whatever its end",
        "box · NVIDIA driver 560.35.03", "/v/bin/python · 3.12.1", "a secret: handed over",
        "2 variables without their values: HOME LANG",
        "a snapshot", "c0ffee", "on main", "notes.txt", "big.bin: larger than 50 MB",
        "UNCOMMITTED CHANGES 1", "+lr = 2 ␛[31m", "PACKAGES 2", "torch",
    ):  # fmt: skip
        assert part in words, part
    assert "\x1b" not in words


@pytest.mark.parametrize("cells", [40, 80, 120])
def test_a_long_value_can_be_read_to_its_end(cells: int) -> None:
    lines = config_lines(RUN, SPEC, {}, cells)
    joined = "".join(plain(line).strip() for line in lines)
    assert "/usr/bin:" * 40 in joined.replace("PATH", "").replace(" ", "")
    values = [line for line in lines if "/usr/bin" in plain(line)]
    assert all(line_width(line) <= cells for line in values)
    assert harmless(lines)


@pytest.mark.parametrize("cells", [60, 80, 120])
def test_names_that_go_on_below_are_whole_and_can_be_searched_for(cells: int) -> None:
    names = tuple(f"A_VARIABLE_{n:03}" for n in range(60))
    lines = config_lines(RUN, replace(SPEC, env_names=names), {}, cells)
    assert all(len(found_in(lines, name)) == 1 for name in names)


def test_a_change_is_told_by_its_sign_and_colour() -> None:
    lines = config_lines(RUN, SPEC, CAPTURED, 100)
    styles = {plain(line).strip(): {span.style for span in line} for line in lines}
    assert (
        "good" in styles["+lr = 2 ␛[31m"]
        and "bad" in styles["-lr = 1"]
        and "accent" in styles["@@ -1 +1 @@"]
    )


def test_without_its_directory_a_run_says_so() -> None:
    assert "cannot be read now" in text(config_lines(RUN, None, {}, 80))


def test_a_search_finds_lines_in_any_case_and_marks_them() -> None:
    lines = config_lines(RUN, SPEC, CAPTURED, 100)
    (number,) = found_in(lines, "NUMPY")
    shown = marked(lines[number], "NUMPY", current=True)
    assert ("numpy", "on_accent bold @accent") in [tuple(span) for span in shown]
    assert plain(shown) == plain(lines[number])
    assert found_in(lines, "") == []
