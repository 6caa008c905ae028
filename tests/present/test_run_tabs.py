"""What the quiet tabs of a run show: overview, files, config."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.runs import NOW, make_run

from traindeck.backends.base import Code, FileEntry, Limits, RunSpec, State, Status
from traindeck.console.present.cells import Line, line_width, plain
from traindeck.console.present.run_config import config_lines
from traindeck.console.present.run_files import sizes, tree, unfolded
from traindeck.console.present.run_head import state_words
from traindeck.console.present.run_overview import Facts, curve_size, overview
from traindeck.console.present.runs_detail import Pane, detail

RUN = make_run(4, "llama1b-lora", State.RUNNING, step=3120, total=8000, loss=1.284, eta=600.0)
EVIL = "\x1b]52;c;aGk=\x07\x1b[2J\x9b31m\n[bold]実験"


def text(lines: list[Line]) -> str:
    return "\n".join(plain(line).rstrip() for line in lines)


def harmless(lines: list[Line]) -> bool:
    return not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for line in lines for c in plain(line))


# -------------------------------------------------------------------------------------------- files

ENTRIES = [
    FileEntry(path="artifacts", is_dir=True, modified=NOW - 60),
    FileEntry(path="artifacts/a.bin", size=2_000_000, modified=NOW - 60),
    FileEntry(path="attempts", is_dir=True, modified=NOW - 5),
    FileEntry(path="attempts/0", is_dir=True, modified=NOW - 5),
    FileEntry(path="attempts/0/claim", size=178, modified=NOW - 3700),
    FileEntry(path="run.json", size=1560, modified=NOW - 3700),
]


def test_a_folder_weighs_what_is_in_it() -> None:
    assert sizes(ENTRIES)["attempts"] == sizes(ENTRIES)["attempts/0"] == 178
    shown = text(tree(ENTRIES, sizes(ENTRIES), (), 0, 0, 80, 20, NOW))
    assert "artifacts" in shown and "2.00 MB" in shown


def test_a_folded_folder_hides_what_is_in_it_and_nothing_else() -> None:
    left = [entry.path for entry in unfolded(ENTRIES, {"attempts"})]
    assert left == ["artifacts", "artifacts/a.bin", "attempts", "run.json"]


@pytest.mark.parametrize("cells", [60, 80, 120])
@pytest.mark.parametrize("cursor", [0, 3, 5])
def test_one_row_is_chosen_and_none_is_too_wide(cells: int, cursor: int) -> None:
    lines = tree(ENTRIES, sizes(ENTRIES), (), cursor, 0, cells, 10, NOW)
    assert all(line_width(line) <= cells for line in lines)
    chosen = [line for line in lines if any("@select" in span.style for span in line)]
    assert len(chosen) == 1


def test_what_is_in_a_name_does_nothing() -> None:
    named = [FileEntry(path=EVIL, size=3)]
    assert harmless(tree(named, sizes(named), (), 0, 0, 80, 10, NOW))


# ------------------------------------------------------------------------------------------- config

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
    "code/.traindeck/packages.txt": b"numpy==2.1.0\ntorch==2.6.0\n",
    "code/.traindeck/diff.patch": b"--- a/t.py\n+++ b/t.py\n@@ -1 +1 @@\n-a\n+b\n",
}


def test_everything_a_run_was_made_from_is_there() -> None:
    shown = text(config_lines(replace(RUN, params={"lr": 3e-4, "n": 3}), SPEC, CAPTURED, 100))
    for words in (
        "PARAMETERS 2", "3e-4", "python train.py --name 'two words'",
        "time limit", "retries",
        "0kabc, whatever its end", "box · NVIDIA driver 560.35.03", "/v/bin/python · 3.12.1",
        "HOME LANG", "WANDB_API_KEY", "a secret",
        "a snapshot",
        "c0ffee", "on main", "notes.txt", "big.bin: larger than 50 MB", "PACKAGES 2",
        "torch", "UNCOMMITTED CHANGES",
    ):  # fmt: skip
        assert words in shown, words


@pytest.mark.parametrize("cells", [40, 80, 120])
def test_a_long_value_can_be_read_to_its_end(cells: int) -> None:
    lines = config_lines(RUN, SPEC, {}, cells)
    joined = "".join(plain(line).strip() for line in lines)
    assert "/usr/bin:" * 40 in joined.replace("PATH", "").replace(" ", "")
    values = [line for line in lines if "/usr/bin" in plain(line)]
    assert all(line_width(line) <= cells for line in values)
    assert harmless(lines)


def test_a_change_is_told_by_its_sign_and_colour() -> None:
    lines = config_lines(RUN, SPEC, CAPTURED, 100)
    styles = {plain(line).strip(): {span.style for span in line} for line in lines}
    assert "good" in styles["+b"] and "bad" in styles["-a"] and "accent" in styles["@@ -1 +1 @@"]


def test_a_run_directory_that_cannot_be_read_is_said() -> None:
    assert "cannot be read now" in text(config_lines(RUN, None, {}, 80))


# ----------------------------------------------------------------------------------------- overview


@pytest.mark.parametrize("cells", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("rows", [13, 20, 36])
@pytest.mark.parametrize("state", list(State))
def test_the_overview_fills_its_room_exactly(cells: int, rows: int, state: State) -> None:
    run = make_run(4, EVIL, state, step=3120, total=8000, loss=1.284, reason=EVIL)
    run = replace(run, tags={EVIL: EVIL}, note=EVIL, params={EVIL: EVIL}, cwd=EVIL)
    facts = Facts(spec=SPEC, folder="/x" * 90, log=EVIL.encode() * 90, evidence=EVIL)
    lines = overview(run, facts, cells, rows, now=NOW)
    assert len(lines) == rows
    assert {line_width(line) for line in lines} == {cells}
    assert harmless(lines)


def test_the_end_of_the_log_is_a_bar_in_its_last_state() -> None:
    log = b"".join(b"line %d\n" % n for n in range(200)) + b"bar 10 %\rbar 90 %\r"
    shown = text(overview(RUN, Facts(log=log), 120, 36, now=NOW))
    assert "line 199" in shown
    assert "bar 10 %" not in shown


def test_there_is_a_curve_only_where_there_is_room() -> None:
    assert curve_size(80, 24) is None and curve_size(120, 10) is None
    size = curve_size(120, 36)
    assert size is not None and size[0] > 40 and size[1] >= 9


def test_the_key_to_the_first_error_is_shown_only_where_the_log_has_one() -> None:
    missing = replace(RUN, state=State.FAILED, reason="trian: program not found", exit_code=127)
    shown = text(overview(missing, Facts(), 100, 30, now=NOW))
    assert "l its log" in shown and "R retry" in shown and "first error" not in shown
    facts = Facts(log=b"ValueError: no\n", grave=True)
    assert "E then its first error" in text(overview(missing, facts, 100, 30, now=NOW))


@pytest.mark.parametrize("cells", [80, 120])
def test_figures_from_a_part_of_the_log_say_so(cells: int) -> None:
    done = replace(RUN, state=State.SUCCEEDED, ended=NOW)
    assert "of the log" not in text(overview(done, Facts(), cells, 40, now=NOW))
    shown = text(overview(done, Facts(share=0.12), cells, 40, now=NOW))
    assert "LAST from the first 12 % of the log" in shown
    assert "`traindeck metrics` reads the rest" in shown


@pytest.mark.parametrize("rows", [4, 12])
def test_a_log_without_a_byte_is_not_waited_for_once_the_run_is_over(rows: int) -> None:
    done = make_run(9, "quiet", State.SUCCEEDED)
    for shown in (overview(done, Facts(), 100, 40, now=NOW), detail(done, NOW, 160, rows, Pane())):
        assert "wrote nothing" in text(shown) and "written yet" not in text(shown)
    gone = replace(done, log_bytes=10_900)
    for shown in (overview(gone, Facts(), 100, 40, now=NOW), detail(gone, NOW, 160, rows, Pane())):
        assert "its log of 10.9 kB cannot be read" in text(shown)
    assert "blank lines only" in text(overview(gone, Facts(log=b"\n \n"), 100, 40, now=NOW))
    going = text(detail(make_run(9, "quiet", State.RUNNING), NOW, 160, rows, Pane()))
    assert "nothing written yet" in going


def test_a_run_whose_end_nobody_saw_ran_at_least_until_it_last_reported() -> None:
    lost = replace(RUN, state=State.LOST, started=NOW - 3600, ended=None, reason="host rebooted")
    head = "".join(plain(clause) for clause in state_words(lost, NOW))
    assert "ran at least 59 min" in head


def test_an_archived_run_says_so_and_what_is_still_there() -> None:
    run = replace(RUN, state=State.FAILED, archived=True, attempt=2, log_bytes=None)
    present = Status(state=State.FAILED, attempt=2)
    facts = Facts(attempts=(present,), folder="/r/x")
    tab = text(overview(run, facts, 100, 40, now=NOW))
    pane = text(detail(run, NOW, 160, 12, Pane()))
    assert "archived: its files were removed, all but artifacts" in tab
    assert "how the earlier attempts ended is not known" in tab
    assert "retry" not in tab and "lost" not in tab
    for shown in (tab, pane):
        assert "its log was removed" in shown and "wrote nothing" not in shown
    assert " archived " in pane
    assert "archived" in "".join(plain(words) for words in state_words(run, NOW))
    known = replace(facts, attempts=(Status(state=State.TIMEOUT, attempt=1), present))
    assert "not known" not in text(overview(run, known, 100, 40, now=NOW))
