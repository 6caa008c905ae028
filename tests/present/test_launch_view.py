"""The Launch form's data and lines: widths, scrolling, words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.base import Blob, Option, Plan, RunSpec
from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import line_width, plain, width
from traindeck.console.present.form import OPEN, folded, help_lines, window, wrapped
from traindeck.console.present.launch_fields import Entry, Place, flat, sections
from traindeck.console.present.launch_view import (
    PlanState,
    below_form,
    launch_form,
    obstacle,
    plan_pages,
    plan_pane,
)
from traindeck.console.recipes.describing import form
from traindeck.console.recipes.reading import load
from traindeck.console.runs.drafting import Draft, Drafted, Ground

GROUND = Ground(recipes=("sft",), cwd="/work")
PLACES = (Place(name="local", kind="process"),)
PLAN = Plan(
    backend="local",
    spec=RunSpec(name="calm-fox", run_id="0kzz", argv=("python", "x.py"), cwd="/work"),
    argv=("python", "x.py"),
    files={f"code/{n}.py": Blob(digest="ab" * 32, size=n) for n in range(40)},
    warnings=("mind the gap",),
    digest="d" * 64,
)


@given(st.text(max_size=60), st.integers(0, 60), st.integers(58, 160))
def test_every_line_fits_whatever_is_typed(text: str, at: int, cells: int) -> None:
    draft = Draft(fields={"command": text, "name": text})
    drafted = Drafted(problems={"command": f"wrong: {text}"})
    form = sections(draft, GROUND, drafted)
    caret = Caret(text, min(at, len(text)))
    lines, _ = launch_form(form, "command", caret, PLACES, cells, airy=True)
    assert all(line_width(line) <= cells for line in lines)
    for entry in flat(form):
        assert all(line_width(line) <= cells for line in help_lines(entry, cells, 6))


@given(st.text(max_size=200), st.integers(4, 60))
def test_a_text_over_several_lines_is_still_all_of_it(text: str, cells: int) -> None:
    lines = folded(text, cells)
    assert "".join(lines) == text
    assert all(width(line) <= cells or len(line) == 1 for line in lines)


COMMAND = "torchrun --nproc-per-node 8 train.py --config configs/big.yaml --lr 3e-4 --seed 1 --wd 0"


@pytest.mark.parametrize(("cells", "airy"), [(57, True), (80, False)])
def test_a_long_command_being_typed_is_all_in_sight(cells: int, airy: bool) -> None:
    rows = sections(Draft(fields={"command": COMMAND}), GROUND, None)
    caret = Caret(COMMAND, COMMAND.index("3e-4"))
    lines, at = launch_form(rows, "command", caret, PLACES, cells, airy=airy)
    box = "".join(plain(lines[n])[20:].rstrip() + " " for n in at)
    assert box.strip() == COMMAND
    under = [span.text for n in at for span in lines[n] if span.style == "on_accent @accent"]
    assert under == ["3"]
    closed, own = launch_form(rows, "name", Caret(), PLACES, cells, airy=airy)
    assert (len(own), len(closed)) == (1, len(lines) - len(at) + 1)


@pytest.mark.parametrize("at", [0, 3000, 6000])
def test_of_a_command_longer_than_the_form_the_rows_around_the_cursor_show(at: int) -> None:
    text = "x" * 6000
    rows = sections(Draft(fields={"command": text}), GROUND, None)
    lines, own = launch_form(rows, "command", Caret(text, at), PLACES, 57, airy=True)
    assert len(own) == OPEN
    shown = [plain(lines[n]) for n in own]
    assert any(span.style == "on_accent @accent" for n in own for span in lines[n])
    assert (shown[0][19] == "…", shown[-1].rstrip()[-1] == "…") == (at > 0, at < 6000)


def test_a_short_field_takes_the_room_of_its_hint_before_another_row() -> None:
    text = "a-name-that-is-longer-than-its-box"
    rows = sections(Draft(fields={"name": text}), GROUND, None)
    lines, own = launch_form(rows, "name", Caret(text, 3), PLACES, 80, airy=False)
    assert len(own) == 1
    assert text in plain(lines[own[0]])


def test_every_parameter_without_effect_says_so() -> None:
    recipe = load("sft")
    draft = Draft(recipe="sft", values={"method": "full"})
    found = sections(draft, GROUND, Drafted(recipe=recipe, form=form(recipe, draft.values)))
    idle = [entry for entry in flat(found) if entry.idle and entry.key.startswith("set.")]
    assert {entry.key for entry in idle} >= {"set.lora_targets", "set.lora_rank"}
    for cells in (57, 80):
        for entry in idle:
            lines, own = launch_form(found, entry.key, None, PLACES, cells, airy=True)
            assert "no effect now" in plain(lines[own[0]]), entry.key


@pytest.mark.parametrize("cells", [30, 40, 64])
def test_a_search_path_longer_than_a_line_is_broken_between_its_folders(cells: int) -> None:
    folders = ["/usr/local/sbin", "/home/user1/env/bin", "/opt/tools/bin", "/usr/bin"] * 3
    for word in (f"PATH={':'.join(folders)}", f"Ä={':'.join(folders)}"):
        lines = wrapped(f"inherits {word} HOME", cells)
        assert "".join(lines).replace(" ", "") == f"inherits{word}HOME"
        assert all(width(line) <= cells for line in lines)
        at = next(n for n, line in enumerate(lines) if ":" in line)
        assert all(line.endswith(":") for line in lines[at:-1])


@pytest.mark.parametrize("count", [3, 20, 60])
@pytest.mark.parametrize("rows", [5, 12, 30])
def test_the_focused_line_is_always_in_sight(count: int, rows: int) -> None:
    top = 0
    for at in [*range(count), *reversed(range(count))]:
        top = window(count, at, rows, top)
        assert top <= at < top + rows
        assert 0 <= top <= max(0, count - rows)


def test_a_command_is_not_asked_what_only_recipes_have_and_the_other_way_round() -> None:
    keys = {entry.key for entry in flat(sections(Draft(), GROUND, None))}
    assert {"command", "cwd", "code", "time"} <= keys
    assert "python" not in keys
    keys = {entry.key for entry in flat(sections(Draft(recipe="sft"), GROUND, None))}
    assert "command" not in keys
    assert "python" in keys


def test_an_option_of_a_place_says_in_words_what_it_takes() -> None:
    options = {"cpus": Option(type="int"), "memory": Option(help="memory a node")}
    ground = replace(GROUND, options={"lab": options})
    entries = {entry.label: entry for entry in flat(sections(Draft(on="lab"), ground, None))}
    assert (entries["cpus"].hint, entries["cpus"].takes) == ("a whole number", "a whole number")
    assert (entries["memory"].hint, entries["memory"].takes) == ("", "text")


def test_what_is_found_wrong_with_a_recipes_value_stands_at_its_field() -> None:
    recipe = load("sft")
    draft = Draft(recipe="sft", values={"model": "./none", "data": "rows.jsonl"})
    wrong = {"model": "model ./none: no such file or folder."}
    drafted = Drafted(problems=wrong, recipe=recipe, form=form(recipe, draft.values))
    marked = {e.label: e.problem for e in flat(sections(draft, GROUND, drafted)) if e.problem}
    assert marked == {"base model": wrong["model"]}


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (PlanState(blank=True), "what is to run?"),
        (PlanState(problems=(("lr", "no"), ("batch", "no"))), "fix 2 fields to launch"),
        (PlanState(problems=(("", "no"),)), "it cannot be launched like this"),
        (PlanState(plan=PLAN, waiting=True), "the plan is being made"),
        (PlanState(plan=PLAN, refused="down"), "there is no plan yet"),
        (PlanState(plan=PLAN, current=True), ""),
    ],
)
def test_why_it_cannot_be_launched(state: PlanState, why: str) -> None:
    assert obstacle(state) == why


def test_what_is_wrong_with_the_whole_is_said_below_a_form_that_stands_alone() -> None:
    why = "`lab` has no partition 'nope'. There are: gpu, short."
    state = PlanState(plan=PLAN, problems=(("", why),))
    assert [plain(line) for line in below_form(state, 80, 2)] == [f" ✗ {why}"]
    cut = [plain(line) for line in below_form(state, 40, 1)]
    assert len(cut) == 1 and cut[0].startswith(" ✗ `lab` has no") and len(cut[0]) <= 40
    assert below_form(PlanState(plan=PLAN, problems=(("lr", "no"),)), 80, 2) == []
    assert below_form(PlanState(blank=True, problems=(("", why),)), 80, 2) == []
    silent = PlanState(plan=PLAN, refused="gpu1 does not answer.")
    assert [plain(line) for line in below_form(silent, 80, 2)] == [" ✗ gpu1 does not answer."]


@pytest.mark.parametrize("rows", [14, 22, 38])
def test_warnings_and_the_button_are_never_cut_off(rows: int) -> None:
    lines = plan_pane(PlanState(plan=PLAN, current=True), 60, rows)
    text = "\n".join(map(plain, lines))
    assert len(lines) <= rows
    assert "mind the gap" in text
    assert "ctrl+g launch calm-fox on local" in text


def test_the_whole_plan_names_every_file() -> None:
    text = "\n".join(map(plain, plan_pages(PlanState(plan=PLAN, current=True), 100)))
    assert all(path in text for path in PLAN.files)
    assert "d" * 64 in text


def test_an_old_plan_is_never_called_up_to_date() -> None:
    state = PlanState(plan=PLAN, problems=(("lr", "wrong"),))
    text = "\n".join(map(plain, plan_pane(state, 60, 30)))
    assert "as before the last change" in text
    assert "up to date" not in text
    assert "up to date" in plain(plan_pane(replace(state, problems=(), current=True), 60, 30)[1])


def test_what_a_value_may_be_stands_where_it_is_wrong() -> None:
    entry = Entry(key="set.batch", label="batch", text="0", hint="1 … 4,096", problem="batch: no")
    assert plain(help_lines(entry, 60, 4)[0]).strip() == "✗ no"


def test_a_plan_of_many_lines_says_at_its_head_that_there_are_warnings() -> None:
    state = PlanState(plan=replace(PLAN, warnings=("nothing fits", "it will fail")), current=True)
    assert plain(plan_pages(state, 60)[0]).endswith("▲ 2 warnings")
    quiet = replace(state, plan=replace(PLAN, warnings=()))
    assert "up to date" in plain(plan_pages(quiet, 60)[0])
