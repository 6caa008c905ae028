"""The head of the Run screen and its Overview."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.fakes.runs import NOW, make_run

from traindeck.backends.base import Code, Reach, RunSpec, State, Status
from traindeck.console.metrics.capture import looked_for
from traindeck.console.present.cells import Line, line_width, plain
from traindeck.console.present.metric_tree import nodes, tree_cells, tree_lines
from traindeck.console.present.run_config import config_lines
from traindeck.console.present.run_head import head_line, state_words, tab_line
from traindeck.console.present.run_overview import Facts, curve_size, overview
from traindeck.console.present.runs_detail import Pane, detail
from traindeck.console.store.records import MetricSummary, Progress, RunRecord

NASTY = "日本\x1b]52;c;aGk=\x07\x1b[31m\x9b\n[bold]ד" + "x" * 4000

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
GOING = make_run(4, "llama1b-lora", State.RUNNING, step=3120, total=8000, loss=1.284, eta=600.0)


def text(lines: list[Line]) -> str:
    return "\n".join(plain(line) for line in lines)


def harmless(lines: list[Line]) -> bool:
    return not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for line in lines for c in plain(line))


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


def test_a_step_without_a_total_is_called_one() -> None:
    run = replace(RUN, progress=Progress(step=7, at=NOW))
    assert "step 7" in text(overview(run, Facts(), 80, 22, now=NOW))
    assert "2,990 / 8,000" in text(overview(RUN, Facts(), 80, 22, now=NOW))


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
    for run in (RUN, RunRecord(), *(replace(nasty, state=state) for state in State)):
        lines = overview(run, facts, cells, rows, now=NOW)
        assert len(lines) == rows and {line_width(line) for line in lines} == {cells}
        assert harmless(lines)


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


def test_of_a_job_submitted_by_hand_nothing_is_promised_that_it_has_not() -> None:
    run = replace(RUN, foreign=True, metrics={})
    words = text(overview(run, Facts(), 80, 22, now=NOW))
    assert "no metrics   of a job submitted by hand" in words and "looked for" not in words
    assert looked_for(run) == (
        "No metrics: of a job that was submitted without Traindeck only the log is read"
    )
    lines = config_lines(replace(run, params={}), None, {}, 80)
    assert "it has no run directory" in text(lines)


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


@pytest.mark.parametrize(("branch", "words"), [("main", "without a commit"), ("", "not under git")])
def test_code_without_a_commit_says_why(branch: str, words: str) -> None:
    spec = RunSpec(argv=("x",), code=Code(root="/w", branch=branch))
    assert words in text(overview(RUN, Facts(spec=spec), 100, 30, now=NOW))


def test_what_is_not_known_is_no_zero() -> None:
    run = replace(RUN, metrics={"loss": MetricSummary(key="loss", count=3, nonfinite=3)})
    words = text(overview(run, Facts(), 80, 22, now=NOW))
    assert "loss          –" in words and "3 not a number" in words


def test_the_end_of_the_log_is_a_bar_in_its_last_state() -> None:
    log = b"".join(b"line %d\n" % n for n in range(200)) + b"bar 10 %\rbar 90 %\r"
    shown = text(overview(GOING, Facts(log=log), 120, 36, now=NOW))
    assert "line 199" in shown
    assert "bar 10 %" not in shown


def test_there_is_a_curve_only_where_there_is_room() -> None:
    assert curve_size(80, 24) is None and curve_size(120, 10) is None
    size = curve_size(120, 36)
    assert size is not None and size[0] > 40 and size[1] >= 9


def test_the_key_to_the_first_error_is_shown_only_where_the_log_has_one() -> None:
    missing = replace(GOING, state=State.FAILED, reason="trian: program not found", exit_code=127)
    shown = text(overview(missing, Facts(), 100, 30, now=NOW))
    assert "l its log" in shown and "R retry" in shown and "first error" not in shown
    facts = Facts(log=b"ValueError: no\n", grave=True)
    assert "E then its first error" in text(overview(missing, facts, 100, 30, now=NOW))


def test_what_a_sparkline_shows_is_said() -> None:
    assert "2s old · trends of the last half" in text(overview(RUN, Facts(), 80, 24, now=NOW))
    bare = replace(RUN, metrics={"loss": replace(RUN.metrics["loss"], spark="")})
    assert "last half" not in text(overview(bare, Facts(), 80, 24, now=NOW))


@pytest.mark.parametrize("cells", [80, 120])
def test_figures_from_a_part_of_the_log_say_so(cells: int) -> None:
    done = replace(GOING, state=State.SUCCEEDED, ended=NOW)
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
    lost = replace(GOING, state=State.LOST, started=NOW - 3600, ended=None, reason="host rebooted")
    head = "".join(plain(clause) for clause in state_words(lost, NOW))
    assert "ran at least 59 min" in head


def test_an_archived_run_says_so_and_what_is_still_there() -> None:
    run = replace(GOING, state=State.FAILED, archived=True, attempt=2, log_bytes=None)
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
