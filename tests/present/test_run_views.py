"""The other lines of the Run screen, by tables: its head, Overview, Files, Config."""

from __future__ import annotations

from dataclasses import replace

import pytest

from traindeck.backends.base import Code, FileEntry, Reach, RunSpec, State, Status
from traindeck.console.present.cells import Line, line_width, plain
from traindeck.console.present.metric_tree import nodes, tree_cells, tree_lines
from traindeck.console.present.run_config import PACKAGES, PATCH, config_lines, found_in, marked
from traindeck.console.present.run_files import head, sizes, summary, tree, unfolded
from traindeck.console.present.run_head import head_line, tab_line
from traindeck.console.present.run_overview import Facts, curve_size, overview
from traindeck.console.store.records import MetricSummary, Progress, RunRecord

NOW = 1_790_000_000.0
NASTY = "日本\x1b[31m\nד" + "x" * 4000

RUN = RunRecord(
    id="0k01v8c4m2qe", name="big", state=State.RUNNING, started=NOW - 3480, created=NOW - 3500,
    observed_at=NOW - 2, argv=("python", "train.py"), cwd="/home/u/p", host="box", pid=7,
    progress=Progress(step=2990, total=8000, fraction=0.37, eta=6720.0, at=NOW - 2),
    main="loss", metrics={"loss": MetricSummary(key="loss", count=9, last=1.391, last_step=2990,
                                                min=1.3, min_step=2900, spark="6543210")},
)  # fmt: skip
FAILED = replace(
    RUN, state=State.FAILED, exit_code=1, ended=NOW - 60, reason="CUDA out of memory at step 412"
)


def text(lines: list[Line]) -> str:
    return "\n".join(plain(line) for line in lines)


# --------------------------------------------------------------------------------------------- head


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (RUN, "● running   runs 58m · 37 % · 1h52 left · local"),
        (FAILED, "✗ failed   exit 1 · ran 57 min · 1m ago · local"),
        (replace(RUN, state=State.SUCCEEDED, exit_code=0, ended=NOW), "✓ done   ran 58 min"),
        (replace(RUN, reach=Reach.DOWN, observed_at=NOW - 360), "? unknown   last seen 6 min ago"),
        (replace(RUN, state=State.QUEUED, started=None), "◌ queued   waits 58m"),
        (replace(FAILED, attempt=2), "attempt 2"),
    ],
)
def test_the_head_says_how_a_run_is(run: RunRecord, words: str) -> None:
    line = plain(head_line(run, 120, NOW))
    assert words in line and "Runs › big" in line


def test_an_unknown_run_promises_no_end() -> None:
    run = replace(RUN, reach=Reach.DOWN, observed_at=NOW - 360)
    assert "left" not in plain(head_line(run, 120, NOW))


@pytest.mark.parametrize("cells", [60, 61, 72, 80, 120, 200])
@pytest.mark.parametrize("name", ["a", NASTY, ""])
def test_the_head_fits_and_never_loses_name_or_state(cells: int, name: str) -> None:
    line = head_line(replace(RUN, name=name), cells, NOW)
    assert line_width(line) == cells
    assert "● running" in plain(line) and "Runs ›" in plain(line)


def test_the_tabs_stay_and_what_was_chosen_is_left_out_where_it_is_narrow() -> None:
    from traindeck.console.present.cells import Span

    tabs = {"log": ("3", "Log"), "files": ("6", "Files")}
    chosen = [(Span("wrap off"),), (Span("follow on"),)]
    assert plain(tab_line(tabs, "log", chosen, 60)).endswith("wrap off   follow on ")
    assert plain(tab_line(tabs, "log", chosen, 30)).rstrip().endswith("wrap off")
    assert plain(tab_line(tabs, "log", chosen, 20)).strip() == "3 Log  6 Files"


# ----------------------------------------------------------------------------------------- overview


@pytest.mark.parametrize("cells", [60, 80, 99, 100, 120, 200])
@pytest.mark.parametrize("rows", [13, 22, 38, 58])
def test_the_overview_is_as_large_as_its_place(cells: int, rows: int) -> None:
    size = curve_size(cells, rows)
    curve = [()] * size[1] if size else []
    nasty = replace(
        FAILED, name=NASTY, note=NASTY, cwd="/" + NASTY, argv=(NASTY,), tags={NASTY: NASTY},
        params={NASTY: NASTY}, reason=NASTY, recipe=NASTY, host=NASTY,
    )  # fmt: skip
    facts = Facts(
        curve=curve, log=NASTY.encode() + b"\n" + bytes(range(256)), evidence=NASTY, folder=NASTY,
        spec=RunSpec(code=Code(root=NASTY, commit=NASTY, branch=NASTY, untracked=("a",))),
        attempts=[Status(state=State.LOST, attempt=n, reason=NASTY) for n in range(3)],
    )  # fmt: skip
    for run in (RUN, nasty, replace(RUN, state=State.QUEUED), RunRecord()):
        lines = overview(run, facts, cells, rows, now=NOW)
        assert len(lines) == rows and {line_width(line) for line in lines} == {cells}
        assert "\x1b" not in text(lines)


def test_the_cause_comes_first_with_the_line_it_rests_on() -> None:
    lines = overview(FAILED, Facts(evidence="torch.OutOfMemoryError: no"), 120, 38, now=NOW)
    words = text(lines)
    assert words.index("CUDA out of memory") < words.index("torch.OutOfMemoryError")
    assert words.index("torch.OutOfMemoryError") < words.index("LAST")


@pytest.mark.parametrize("cells", [120, 40])
def test_the_line_that_a_cause_rests_on_is_not_said_twice(cells: int) -> None:
    why = "ValueError: a batch of (8, 2049) is too long"
    run = replace(FAILED, reason=f"{why} at step 29")
    words = text(overview(run, Facts(evidence=why), cells, 38, now=NOW))
    assert words.count("is too long") == 1


def test_a_queued_run_has_no_figures_but_says_what_it_waits_for() -> None:
    run = replace(RUN, state=State.QUEUED, reason="waits for other", metrics={})
    words = text(overview(run, Facts(), 80, 22, now=NOW))
    assert "waits for other" in words and "NOW" not in words and "no metrics" not in words


def test_attempts_are_listed_newest_first_only_if_there_were_several() -> None:
    tried = [
        Status(state=State.FAILED, attempt=0, exit_code=1, started=1.0, ended=61.0),
        Status(state=State.RUNNING, attempt=1),
    ]
    words = text(overview(RUN, Facts(attempts=tried), 100, 38, now=NOW))
    assert words.index("1  ● running") < words.index("0  ✗ failed     exit 1 · ran 1 min")
    assert "ATTEMPTS" not in text(overview(RUN, Facts(attempts=tried[1:]), 100, 38, now=NOW))


def test_metrics_that_differ_at_their_end_are_told_apart() -> None:
    keys = [f"rewards/length_penalty_of_answers_v{n}" for n in (1, 2)]
    run = replace(RUN, metrics={k: MetricSummary(key=k, count=2, last=1.0, min=0.5) for k in keys})
    for cells in (80, 120):
        words = text(overview(run, Facts(), cells, 38, now=NOW))
        assert all(f"_v{n} " in words for n in (1, 2)), words
    assert all(key in text(overview(run, Facts(), 120, 38, now=NOW)) for key in keys)
    rows = nodes(run)
    assert tree_cells(rows, 120) == 40 and tree_cells(nodes(RUN), 200) == 38
    words = text(tree_lines(run, rows, {}, 0, 40, 9))
    assert "_v1 " in words and "_v2 " in words
    assert all(key[8:] in text(tree_lines(run, rows, {}, 0, 66, 9)) for key in keys)


def test_retry_is_offered_only_where_it_can_be() -> None:
    assert "R retry" in text(overview(FAILED, Facts(), 80, 22, now=NOW))
    for run in (replace(FAILED, adopted=True), replace(FAILED, foreign=True)):
        words = text(overview(run, Facts(), 80, 22, now=NOW))
        assert "l its log" in words and "R retry" not in words


def test_an_earlier_attempt_says_why_it_failed_before_anything_else() -> None:
    tried = [
        Status(
            state=State.FAILED, attempt=0, exit_code=1, started=1.0, ended=61.0,
            reason="the key labels is missing · train.py:4",
        ),
        Status(state=State.RUNNING, attempt=1),
    ]  # fmt: skip
    words = text(overview(RUN, Facts(attempts=tried), 80, 38, now=NOW))
    assert "0  ✗ failed     the key labels is missing · train.py:4 · exit 1" in words
    assert "step" not in words.partition("0  ✗ failed")[2].partition("\n")[0]


def test_what_is_not_known_is_no_zero() -> None:
    run = replace(RUN, metrics={"loss": MetricSummary(key="loss", count=3, nonfinite=3)})
    words = text(overview(run, Facts(), 80, 22, now=NOW))
    assert "loss          –" in words and "3 not a number" in words


# -------------------------------------------------------------------------------------------- files

FILES = [
    FileEntry(path="attempts", is_dir=True, modified=NOW - 60),
    FileEntry(path="attempts/0", is_dir=True, modified=NOW - 60),
    FileEntry(path="attempts/0/exit.slot", size=4096, modified=NOW - 60),
    FileEntry(path="attempts/0.txt", size=4, modified=NOW - 60),
    FileEntry(path="run.json", size=500, modified=NOW - 3600),
]


def test_a_folder_counts_what_is_below_it() -> None:
    taken = sizes(FILES)
    assert (taken["attempts"], taken["attempts/0"], taken["run.json"]) == (4100, 4096, 500)


def test_folded_folders_hide_what_is_below_them_and_nothing_else() -> None:
    assert [e.path for e in unfolded(FILES, {"attempts/0"})] == [
        "attempts", "attempts/0", "attempts/0.txt", "run.json",
    ]  # fmt: skip


def test_the_tree_shows_names_sizes_and_ages_in_their_places() -> None:
    lines = tree(FILES, sizes(FILES), {"attempts/0"}, 2, 0, 60, 5, NOW)
    assert {line_width(line) for line in lines} == {60}
    assert "▾ attempts/" in plain(lines[0]) and "▸ 0/" in plain(lines[1])
    assert plain(lines[2]).startswith("▌") and "4.10 kB" in plain(lines[2])
    assert plain(lines[4]).rstrip().endswith("1h00")
    assert line_width(head("/home/u/" + NASTY, 60)) == 60
    assert summary(FILES, 2000) == "3 files · 4.60 kB"
    assert summary(FILES, 5).endswith("the first 5 entries")


def test_a_hostile_name_does_not_move_the_grid() -> None:
    entries = [FileEntry(path="a/" * 40 + NASTY, size=1), FileEntry(path=NASTY, is_dir=True)]
    for cells in (60, 80, 120):
        lines = tree(entries, sizes(entries), (), 0, 0, cells, 2, NOW)
        assert {line_width(line) for line in lines} == {cells}


# ------------------------------------------------------------------------------------------- config

SPEC = RunSpec(
    argv=("python", "train.py"), cwd="/home/u/p", env={"PATH": "/usr/bin:" * 40},
    env_names=("HOME", "LANG"), secrets=("WANDB_API_KEY",),
    code=Code(root="/home/u/p", commit="0123", branch="main", untracked=("notes.txt",)),
)  # fmt: skip
CAPTURED = {
    PACKAGES: b"numpy==2.1.0\ntorch==2.6.0\n",
    PATCH: b"diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-lr = 1\n+lr = 2 \x1b[31m\n",
}


def test_everything_a_run_was_started_from_is_there() -> None:
    params = {"lr": 3e-4, "packing": False, "eval_data": ""}
    words = text(config_lines(replace(RUN, params=params), SPEC, CAPTURED, 100))
    for part in ("PARAMETERS 3", "3e-4", "no", "(empty)", "python train.py",
                 "a secret: handed over", "2 variables without their values: HOME LANG",
                 "0123 on main", "notes.txt",
                 "UNCOMMITTED CHANGES 1", "+lr = 2 ␛[31m", "PACKAGES 2", "torch"):  # fmt: skip
        assert part in words
    assert "\x1b" not in words


@pytest.mark.parametrize("cells", [60, 80, 120])
def test_a_value_that_is_too_long_goes_on_below_itself_whole(cells: int) -> None:
    lines = config_lines(RUN, SPEC, {}, cells)
    assert all(line_width(line) <= cells for line in lines)
    joined = "".join(line[1].text for line in lines if len(line) == 2)
    assert "/usr/bin:" * 40 in joined


@pytest.mark.parametrize("cells", [60, 80, 120])
def test_names_that_go_on_below_are_whole_and_can_be_searched_for(cells: int) -> None:
    names = tuple(f"A_VARIABLE_{n:03}" for n in range(60))
    lines = config_lines(RUN, replace(SPEC, env_names=names), {}, cells)
    assert all(len(found_in(lines, name)) == 1 for name in names)


def test_without_its_directory_a_run_says_so() -> None:
    assert "cannot be read now" in text(config_lines(RUN, None, {}, 80))


def test_a_search_finds_lines_in_any_case_and_marks_them() -> None:
    lines = config_lines(RUN, SPEC, CAPTURED, 100)
    (number,) = found_in(lines, "NUMPY")
    shown = marked(lines[number], "NUMPY", current=True)
    assert ("numpy", "on_accent bold @accent") in [tuple(span) for span in shown]
    assert plain(shown) == plain(lines[number])
    assert found_in(lines, "") == []
