"""The table of runs as data: columns that go in order, rows that explain themselves."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from tests.fakes.runs import NOW, make_run, small_world

from traindeck.backends.base import Reach, State
from traindeck.console.present.cells import line_width, plain
from traindeck.console.present.glyphs import SETS
from traindeck.console.present.numbers import count
from traindeck.console.present.runs_columns import (
    LEAD,
    OPTIONAL,
    ORDER,
    default_columns,
    heads,
    layout,
    metric_head,
)
from traindeck.console.present.runs_table import (
    Look,
    group_head,
    meter,
    needs,
    row,
    spark,
)
from traindeck.console.store.records import MetricSummary, Progress, RunRecord

LOOK = Look(now=NOW)


def keys(cells: int) -> list[str]:
    return [column.key for column in layout(cells).columns]


def shown(run: RunRecord, cells: int = 120, look: Look = LOOK) -> str:
    return plain(row(run, layout(cells), look))


def test_columns_are_dropped_in_the_declared_order_as_the_terminal_narrows() -> None:
    assert keys(200) == [
        "state", "id", "name", "project", "where", "age", "done", "left", "metric", "eval",
        "trend", "rate", "tags", "note",
    ]  # fmt: skip
    assert set(keys(200)) - set(keys(160)) == {"note", "project", "id"}
    assert set(keys(160)) - set(keys(120)) == {"eval", "rate"}
    assert set(keys(120)) - set(keys(100)) == {"tags"}
    assert keys(80) == ["state", "name", "where", "age", "done", "left", "metric", "trend"]
    assert keys(60) == ["state", "name", "done", "metric"]


KEYS = st.sampled_from([*OPTIONAL, "=lr", "=seed", "=a name that is too long for a head"])


@given(
    st.integers(20, 260),
    st.sets(KEYS),
    st.dictionaries(KEYS | st.just("name"), st.integers(0, 100)),
)
def test_no_width_and_no_choice_of_columns_overlaps_or_sticks_out(
    cells: int, chosen: set[str], needed: dict[str, int]
) -> None:
    for table in (layout(cells), layout(cells, chosen), layout(cells, chosen, needed=needed)):
        x = LEAD
        for column in table.columns:
            assert column.x >= x
            x = column.x + column.cells
        assert x <= max(cells, 22)
        assert [c.key for c in table.columns if c.key in ORDER] == [k for k in ORDER if k in table]


def test_a_run_without_figures_says_what_it_does_and_not_where_its_interpreter_lies() -> None:
    loads = make_run(31, "loads", State.RUNNING, argv=("/tmp/x/.venv/bin/python", "a b.py", "-v"))
    assert shown(loads, 80).rstrip().endswith(" python 'a b.py' -v")
    tuned = replace(loads, recipe="sft")
    assert shown(tuned, 80).rstrip().endswith(" recipe sft · no step yet")
    over = replace(tuned, state=State.SUCCEEDED, ended=NOW)
    assert shown(over, 80).rstrip().endswith(" recipe sft")


def test_a_column_takes_what_its_runs_need_and_the_others_have_the_rest() -> None:
    def of(key: str, needed: dict[str, int]) -> int:
        columns = {c.key: c.cells for c in layout(120, needed=needed).columns}
        return columns[key]

    tags = "sweep lr=3e-2 seed=1"
    assert of("tags", {"name": 14, "tags": len(tags)}) == len(tags)
    assert of("name", {"name": 33, "tags": 3}) > of("name", {"name": 14, "tags": 3})
    assert of("name", {"name": 13}) == of("name", {"name": 16}), "in steps: scrolling shifts none"
    runs = [replace(run, params={"seed": 3, "lr": 0.001}) for run in small_world()]
    table = layout(120, ["=seed", "=lr", "done"], needed=needs(runs, ["=seed", "=lr"]))
    heads_line, line = plain(heads(table)), plain(row(runs[6], table, LOOK))
    for name, value in (("SEED", "3"), ("LR", "0.001")):
        assert (
            heads_line.index(name) + len(name) - LEAD == line.index(f" {value} ") + len(value) + 1
        )


@given(st.integers(60, 200))
def test_a_kept_column_never_moves_left_of_one_it_followed(cells: int) -> None:
    assert keys(cells) == [key for key in keys(200) if key in keys(cells)]
    assert set(keys(cells)) == set(default_columns(cells))


@pytest.mark.parametrize("cells", [60, 79, 80, 89, 90, 100, 120, 160, 200, 250])
@pytest.mark.parametrize("glyphs", SETS.values(), ids=SETS)
def test_every_row_fills_its_width_exactly(cells: int, glyphs: object) -> None:
    table = layout(cells)
    look = Look(now=NOW, glyphs=glyphs, selected=cells % 2 == 0)  # type: ignore[arg-type]
    for run in small_world():
        line = row(run, table, look)
        assert line_width(line) == cell_len(plain(line)) == cells - LEAD
    assert line_width(heads(table)) == cells


NASTY = st.text(max_size=80) | st.sampled_from(
    ["[bold]x", "\x1b]52;c;aGk=\x07", "実験" * 40, "a\nb"]
)


@given(NASTY, NASTY, NASTY, st.sampled_from(list(State)), st.sampled_from(list(Reach)))
def test_no_name_tag_or_reason_moves_anything(
    name: str, reason: str, tag: str, state: State, reach: Reach
) -> None:
    run = replace(
        make_run(1, name, state, step=5, total=10, loss=1.0),
        reason=reason,
        tags={tag: name},
        reach=reach,
        backend=name or "local",
        note=reason,
    )
    for cells in (60, 80, 120, 200):
        line = row(run, layout(cells), LOOK)
        text = plain(line)
        assert cell_len(text) == cells - LEAD
        assert not {unicodedata.category(char) for char in text} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_failed_row_says_why_where_its_figures_were() -> None:
    text = shown(small_world()[0])
    assert "CUDA out of memory at step 412 · 79.1 of 80.0 GB" in text
    assert "%" not in text


def test_the_way_a_run_ended_is_said_once() -> None:
    for reason, code in [("exit code 3", 3), ("exit 137, SIGKILL", 137), ("it broke", 1)]:
        text = shown(make_run(1, "x", State.FAILED, reason=reason, exit_code=code), 120)
        assert text.count("exit") == 1


def test_a_sentence_loses_its_last_clause_whole() -> None:
    run = small_world()[0]
    assert shown(run, 80).rstrip().endswith("CUDA out of memory at step 412")
    narrow = make_run(1, "x", State.FAILED, reason="a " * 60 + "· second")
    assert shown(narrow, 80).rstrip().endswith("…")


def test_a_file_that_is_wrong_says_what_is_wrong_with_it_as_far_as_there_is_room() -> None:
    reason = "bad.parquet: row 3: field prompt: expected text, found null"
    run = make_run(1, "x", State.FAILED, reason=reason, exit_code=2)
    assert f"{reason} · exit 2" in shown(run, 160)
    assert "bad.parquet: row 3: field prompt" in shown(run, 100)
    assert shown(run, 100).rstrip().endswith("…")
    for name in ("ValueError", "torch.cuda.OutOfMemoryError", "grpc._InactiveRpcError"):
        run = make_run(1, "x", State.FAILED, reason=f"{name}: {'a ' * 99}", exit_code=1)
        said = shown(run, 100).rstrip()
        assert f"  {name}: a a a" in said and said.endswith("…")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (80, "FileNotFoundError: [Errno 2] …"),
        (100, "FileNotFoundError: [Errno 2] No such file or…"),
        (120, "FileNotFoundError: [Errno 2] No such file or directory"),
        (140, "FileNotFoundError: [Errno 2] No such file or directory · data.py:14"),
    ],
)
def test_of_a_message_too_long_is_said_what_there_is_room_for(cells: int, said: str) -> None:
    path = "/data/sets/of/several/years/chats-train-v2.jsonl"
    reason = f"FileNotFoundError: [Errno 2] No such file or directory: '{path}' · data.py:14"
    run = make_run(1, "x", State.FAILED, reason=reason, exit_code=1)
    assert shown(run, cells).rstrip().endswith(f"  {said}")


def test_the_cause_is_coloured_and_nothing_else_of_the_sentence() -> None:
    line = row(small_world()[0], layout(120), LOOK)
    red = [span.text for span in line if span.style == "failed"]
    assert red == ["✗ failed   ", "CUDA out of memory"]


def test_a_number_that_is_none_is_a_warning_and_no_figure() -> None:
    assert "▲ loss is not a number since step 1,198" in shown(small_world()[1])
    run = small_world()[1]
    loss = replace(run.metrics["loss"], last=float("-inf"))
    assert "▲ loss is infinite since step 1,198" in shown(replace(run, metrics={"loss": loss}))


def test_a_place_that_does_not_answer_makes_its_runs_unknown_with_their_age() -> None:
    line = row(small_world()[2], layout(120), LOOK)
    text = plain(line)
    assert text.startswith("? unknown")
    assert "last seen 6 min ago at step 2,140 · gpu2 does not answer" in text
    assert {s.style for s in line if s.text.strip() == "2h11"} == {"stale"}


def test_what_is_old_is_dashed_and_never_looks_alive() -> None:
    line = row(small_world()[7], layout(120), LOOK)
    styles = {span.style for span in line if span.text.strip()}
    assert "━" not in plain(line)
    assert "╍" in plain(line)
    assert plain(line).startswith("◌ 40s ")  # in the place of the state's own mark
    assert not styles & {"strong bold", "accent", "running"}


def test_finished_rows_are_quiet() -> None:
    line = row(small_world()[11], layout(120), LOOK)
    assert {span.style for span in line if span.text.strip()} <= {"muted", "faint", "rule", "done"}


def test_a_run_without_figures_shows_its_command() -> None:
    run = make_run(3, "tokenize", State.RUNNING)
    assert "python sft_lora.py --config run.yaml --seed 3" in shown(run)


def test_a_run_without_a_known_end_shows_its_step() -> None:
    run = make_run(3, "x", State.RUNNING, step=1204, loss=1.0)
    assert "step 1,204" in shown(run)


def test_the_selected_row_is_strong() -> None:
    line = row(small_world()[3], layout(120), Look(now=NOW, selected=True))
    assert [s.text.strip() for s in line if s.style == "strong bold"] == ["llama1b-lora-lr3e4"]


def test_names_that_do_not_fit_keep_both_ends() -> None:
    run = make_run(1, "llama1b-lora-with-a-very-long-name-lr1e4", State.RUNNING)
    text = shown(run, 80)
    assert "…" in text
    assert "lr1e4" in text
    assert "llama1" in text


@pytest.mark.parametrize(
    ("fraction", "bar"),
    [(None, "────────"), (0.0, "────────"), (0.5, "━━━━────"), (0.44, "━━━╸────"), (1.0, "━" * 8),
     (float("nan"), "────────"), (7.0, "━" * 8), (-1.0, "────────")],
)  # fmt: skip
def test_a_meter(fraction: float | None, bar: str) -> None:
    assert plain(meter(fraction, 8, "running", SETS["best"])) == bar


def test_a_sparkline_is_resampled_and_keeps_its_gaps() -> None:
    glyphs = SETS["best"]
    assert spark("0123456", 7, glyphs) == "▁▂▃▄▅▆▇"
    assert spark("00006666", 4, glyphs) == "▁▁▇▇"
    assert spark("0077766", 7, glyphs) == "▁▁···▇▇"
    assert spark("06", 5, glyphs) == "▁▇   "
    assert spark("", 5, glyphs) == "     "
    assert spark("0x9", 3, glyphs) == "▁··"


def test_the_metric_column_is_called_after_what_it_shows() -> None:
    one = make_run(1, "a", State.RUNNING, step=1, loss=1.0)
    other = replace(one, main="train/accuracy")
    assert metric_head([one]) == "LOSS"
    assert metric_head([other]) == "ACCURACY"
    assert metric_head([one, other]) == "METRIC"
    assert metric_head([]) == "LOSS"


def test_a_progress_that_is_no_number_is_no_crash() -> None:
    run = replace(
        make_run(1, "x", State.RUNNING),
        progress=Progress(step=1, fraction=float("nan"), eta=float("inf")),
        main="loss",
        metrics={"loss": MetricSummary(key="loss", last=float("inf"), nonfinite=1)},
    )
    assert cell_len(shown(run)) == 120 - LEAD


@pytest.mark.parametrize("folded", [True, False])
def test_a_group_says_how_many_it_holds(folded: bool) -> None:
    line = group_head("RUNNING", 1234, 80, SETS["best"], folded=folded)
    assert "RUNNING 1,234 ─" in plain(line)
    assert plain(line).startswith(" ▸" if folded else " ─")
    assert line_width(line) == 80


BARE = replace(
    make_run(7, "bare", State.RUNNING, age=60), metrics={}, progress=Progress(), main=None
)


@pytest.mark.parametrize("step", [7, 53_247, 1_998_076, 123_456_789])
@pytest.mark.parametrize("cells", [60, 80, 120])
def test_a_step_is_never_cut(step: int, cells: int) -> None:
    line = shown(replace(BARE, progress=Progress(step=step)), cells)
    assert f"{step:,}" in line or count(step) in line
    assert "…" not in line


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.RUNNING])
@pytest.mark.parametrize("cells", [60, 80, 120])
def test_a_run_whose_log_was_read_in_part_came_at_least_so_far(state: State, cells: int) -> None:
    run = replace(BARE, state=state, argv=())
    over = state is State.SUCCEEDED
    far = Progress(step=103_712, partial=True)
    assert ("≥ 10" in shown(replace(run, progress=far), cells)) is over
    assert "≥" not in shown(replace(run, progress=replace(far, partial=False)), cells)
    share = replace(far, total=200_000, fraction=0.51)
    line = shown(replace(run, progress=share), cells)
    assert ("≥ 51 %" in line) is over and "51 %" in line


def test_what_was_read_of_a_part_of_the_log_does_not_pass_for_a_runs_last_value() -> None:
    measured = {"loss": MetricSummary(last=0.1234, last_step=359, count=360, spark="0123456")}
    run = replace(BARE, argv=(), main="loss", metrics=measured)
    for state in (State.SUCCEEDED, State.RUNNING):
        whole = replace(run, state=state, progress=Progress(step=359))
        part = replace(whole, progress=Progress(step=359, partial=True))
        assert "0.1234" in shown(whole) and "▇" in shown(whole)
        assert ("0.1234" in shown(part)) is ("▇" in shown(part)) is (state is State.RUNNING)


def test_a_failed_run_is_not_said_to_have_come_to_a_step_that_may_not_be_its_last() -> None:
    failed = replace(BARE, state=State.FAILED, exit_code=1, reason="boom")
    assert "boom at step 359" in shown(replace(failed, progress=Progress(step=359)))
    line = shown(replace(failed, progress=Progress(step=359, partial=True)))
    assert "boom" in line and "step" not in line


def test_tags_stand_beside_a_command_or_a_short_reason() -> None:
    bare = replace(BARE, tags={"sweep": "1"})
    assert "sweep=1" in shown(replace(bare, argv=("python", "x" * 99)))
    failed = replace(bare, state=State.FAILED, exit_code=1, reason="it broke")
    assert "sweep=1" in shown(failed) and "it broke" in shown(failed)
    long = replace(failed, reason="it broke in a way that takes very many words to tell " * 2)
    assert "sweep=1" not in shown(long)


def test_a_run_that_ended_without_a_number_says_so() -> None:
    nan = MetricSummary(key="loss", count=2, last=float("nan"), last_step=9, nonfinite=1)
    done = replace(
        BARE, state=State.SUCCEEDED, main="loss", metrics={"loss": nan}, broken_at=NOW - 9
    )
    assert "loss is not a number" in shown(done)
    assert "loss is not a number" not in shown(replace(done, broken_at=None)), (
        "of an attempt before"
    )


def test_a_retry_that_had_nothing_to_do_still_shows_what_was_measured() -> None:
    run = make_run(4, "again", State.SUCCEEDED, age=60, step=300, total=300, loss=1.284)
    again = replace(run, attempt=1, started=NOW - 1, ended=NOW)
    assert "1.284" in shown(again, 120) and "100 %" in shown(again, 120)


def test_a_retry_shows_no_values_of_the_attempt_before() -> None:
    run = make_run(4, "again", State.RUNNING, age=60, step=300, total=8000, loss=1.284)
    assert "1.284" in shown(run, 200) and "1.349" in shown(run, 200) and "41.2 k" in shown(run, 200)
    before = {
        key: replace(metric, last_time=NOW - 900, spark="0123456")
        for key, metric in run.metrics.items()
    }
    for started in (NOW - 60, None):
        again = replace(run, attempt=1, metrics=before, progress=Progress(), started=started)
        line = shown(again, 200)
        assert not any(words in line for words in ("1.284", "1.349", "41.2 k", "▅", "▇")), line
    first = replace(run.metrics["loss"], last_time=NOW - 1)
    line = shown(replace(again, started=NOW - 60, metrics={**before, "loss": first}), 200)
    assert "1.284" in line and "1.349" not in line


@pytest.mark.parametrize("kind", ["time_limit", "place_limit"])
def test_a_run_that_will_not_be_done_within_its_limit_says_so_in_its_row(kind: str) -> None:
    run = make_run(
        1, "long", State.RUNNING, age=1000.0, step=2000, total=8000, loss=1.9, eta=4000.0
    )
    short = replace(run, **{kind: 2900.0})
    words = "▲ limit hits at step 4,850 of 8,000 · 25 % · loss 1.900"
    assert words in shown(short, 120)
    narrow = shown(short, 80)
    assert "▲ 25 %" in narrow and "limit" not in narrow
    for enough in (replace(run, **{kind: 5100.0}), replace(short, state=State.STOPPING), run):
        assert "▲" not in shown(enough, 80)
        assert "limit hits" not in shown(enough, 120)


def test_of_two_limits_the_shorter_one_counts() -> None:
    run = make_run(1, "long", State.RUNNING, age=1000.0, step=2000, total=8000, eta=4000.0)
    both = replace(run, time_limit=90000.0, place_limit=2900.0)
    assert "limit hits at step 4,850" in shown(both)
    assert "limit hits at step 4,850" in shown(replace(both, time_limit=2900.0, place_limit=9e4))
