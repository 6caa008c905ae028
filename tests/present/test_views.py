"""The other pure views: they fit every width, drop what does not fit, and cut nothing in half."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from tests.fakes.runs import LOG, NOW, fall, make_run, metric, small_world

from traindeck.backends.base import Reach, State
from traindeck.console.present import ansi, chrome, dialogs, fuzzy, help, runs_counts, runs_curve
from traindeck.console.present.cells import Line, Span, line_width, plain
from traindeck.console.present.first_start import first_start
from traindeck.console.present.glyphs import SETS
from traindeck.console.present.runs_detail import Pane, curve_size, detail
from traindeck.console.present.scale import Scale
from traindeck.console.present.sentences import choose, explain, fitted
from traindeck.console.present.theme import load
from traindeck.console.store.records import RunRecord

SIZES = st.tuples(st.integers(10, 220), st.integers(0, 30))


def fits(lines: list[Line], cells: int) -> bool:
    return all(line_width(line) <= cells for line in lines)


# -------------------------------------------------------------------------------------- the pane


@settings(deadline=None)
@given(SIZES, st.integers(0, 20))
def test_the_pane_fills_exactly_its_rows(size: tuple[int, int], number: int) -> None:
    cells, rows = size
    run = small_world()[number]
    wanted = curve_size(cells, rows)
    curve = (
        runs_curve.draw([fall("loss", metric("loss", 1.3, 900, NOW), 900)], *wanted)
        if wanted
        else None
    )
    for pane in (Pane(), Pane(curve=curve, log=LOG.decode().splitlines()), Pane(note="reading…")):
        lines = detail(run, NOW, cells, rows, pane)
        assert len(lines) == rows
        assert all(line_width(line) == cells for line in lines)


def test_a_pane_without_a_curve_says_what_the_run_is() -> None:
    lines = [plain(line) for line in detail(small_world()[0], NOW, 120, 12, Pane())]
    text = "\n".join(lines)
    assert "failed after 2 h 00, 3 h 04 ago" in text
    assert "CUDA out of memory at step 412" in text
    assert "exit 1" in text
    assert "/home/user1/project" in text


def test_a_small_pane_has_the_figures_and_the_last_line_of_the_log() -> None:
    pane = Pane(log=["step 1", "step 2 loss 1.0"])
    lines = [plain(line) for line in detail(small_world()[4], NOW, 80, 4, pane)]
    assert "llama1b-lora-lr1e4" in lines[0]
    assert "step 2,990/8,000" in lines[1]
    assert lines[3].strip() == "log step 2 loss 1.0"


def test_how_long_a_run_went_on_is_not_how_long_it_is_stopping() -> None:
    run = make_run(9, "ends", State.RUNNING)
    said = []
    for state in (State.RUNNING, State.STOPPING):
        lines = detail(replace(run, state=state), NOW, 120, 12, Pane())
        said.append("\n".join(map(plain, lines)))
    assert "running for" in said[0]
    assert "stopping" in said[1] and "stopping for" not in said[1]


@pytest.mark.parametrize(("cells", "rows"), [(80, 4), (120, 12)])
def test_the_pane_of_a_retry_shows_no_values_of_the_attempt_before(cells: int, rows: int) -> None:
    run = replace(small_world()[4], attempt=1, started=NOW - 60)
    before = {k: replace(m, last_time=NOW - 900) for k, m in run.metrics.items()}
    first = {**before, "loss": replace(run.metrics["loss"], last_time=NOW - 1)}
    shown = [
        "\n".join(map(plain, detail(replace(run, metrics=metrics), NOW, cells, rows, Pane())))
        for metrics in (before, first)
    ]
    assert "loss" not in shown[0] and "grad_norm" not in shown[0]
    assert "loss" in shown[1] and "grad_norm" not in shown[1]


# ------------------------------------------------------------------------------------- the curve


class Points:
    def __init__(self, values: list[float]) -> None:
        self.key, self.values = "loss", values
        self.steps = [float(n) for n in range(len(values))]


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12) | st.just(math.nan) | st.just(math.inf), max_size=60),
    st.integers(20, 120),
    st.integers(0, 20),
)
def test_any_values_make_a_chart_of_its_size(values: list[float], cells: int, rows: int) -> None:
    for glyphs in SETS.values():
        lines = runs_curve.draw([Points(values)], cells, rows, glyphs)
        if len(lines) > 1:
            assert len(lines) == rows
            assert all(cell_len(plain(line)) <= cells for line in lines)


def test_the_highest_and_the_lowest_value_are_both_on_the_chart() -> None:
    values = [1.0] * 500
    values[250] = 9.0
    text = [plain(line) for line in runs_curve.draw([Points(values)], 60, 9)]
    columns = [
        x for line in text[:-1] for x, char in enumerate(line) if "\u2801" <= char <= "\u28ff"
    ]
    high = [line for line in text[:3] if any("\u2801" <= c <= "\u28ff" for c in line[8:])]
    assert high
    assert min(columns) == 8
    assert max(columns) == 57


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(4, 40))
def test_ticks_are_round_and_everything_is_within_the_chart(
    low: float, span: float, rows: int
) -> None:
    scale = Scale.over(low, low + span, rows)
    assert 0 <= scale.pixel(low + span) <= scale.pixel(low) < rows * 4
    mantissa = scale.step / 10 ** math.floor(math.log10(scale.step) + 1e-9)
    assert any(math.isclose(mantissa, wanted, rel_tol=1e-6) for wanted in (1, 2, 2.5, 5))


# ------------------------------------------------------------------------------------ the chrome


@given(st.integers(20, 220), st.integers(0, 12), st.text(max_size=30))
def test_a_header_fits_and_keeps_the_places_that_do_not_answer(
    cells: int, places: int, name: str
) -> None:
    marks = [
        chrome.PlaceMark(
            name=f"gpu{n}", reach=Reach.DOWN if n == 0 else Reach.OK, seen_at=NOW - 360
        )
        for n in range(places)
    ]
    counts = runs_counts.header_counts(6, 2, 3)
    line = chrome.header(("Runs", name), counts, marks, cells, NOW)
    assert line_width(line) == cells
    if places and cells >= 110:
        assert "gpu0 ◌ 6m" in plain(line)


def test_a_header_names_the_next_try_where_there_is_room() -> None:
    mark = chrome.PlaceMark(name="gpu1", reach=Reach.DOWN, seen_at=NOW - 4, next_try=NOW + 12)

    def said(cells: int) -> str:
        return plain(chrome.header(("Runs",), (), [mark], cells, NOW))

    assert said(120).endswith("gpu1 ◌ 4s next try in 12 s ")
    assert said(50).endswith("gpu1 ◌ 4s next try in 12 s ") and said(40).endswith("gpu1 ◌ 4s ")


@pytest.mark.parametrize("cells", range(50, 90))
def test_what_needs_a_person_is_the_last_count_to_go_but_one(cells: int) -> None:
    counts = runs_counts.header_counts(6, 2, 3)
    said = plain(chrome.header(("Runs",), counts, [chrome.PlaceMark(name="local")], cells, NOW))
    assert "3 need you" in said or "queued" not in said
    assert "3 need you" in said or cells < 57


KEYS = [
    ("enter", "open"),
    ("l", "log"),
    ("s", "stop"),
    ("n", "new"),
    ("/", "filter"),
    (":", "go"),
    ("?", "keys"),
]


@given(st.integers(20, 220), st.text(max_size=200))
def test_a_footer_never_cuts_a_key(cells: int, said: str) -> None:
    from traindeck.console.present.cells import clean

    text = plain(chrome.footer((Span(clean(said)),), KEYS, cells))
    assert cell_len(text) == cells
    assert text.rstrip().endswith("? keys")


def test_a_footer_drops_keys_from_the_middle() -> None:
    text = plain(chrome.footer((Span("2 marked"),), KEYS, 48))
    assert "enter open" in text
    assert "? keys" in text
    assert "n new" not in text
    many = [(str(n), f"key{n}") for n in range(14)]
    assert plain(chrome.footer((), many, 200)).count("key") == 9


@pytest.mark.parametrize(("cells", "rows"), [(40, 6), (10, 3), (1, 1), (59, 14), (200, 4)])
def test_a_small_terminal_still_counts(cells: int, rows: int) -> None:
    lines = chrome.too_small(cells, rows, runs_counts.sign_counts(6, 1, 2))
    assert len(lines) <= rows
    assert fits(lines, cells)
    if cells >= 40:
        assert any("q" in plain(line) for line in lines)


def test_sentences_are_chosen_by_width() -> None:
    assert choose(20, "a long sentence indeed", "a shorter one", "short") == "a shorter one"
    assert choose(2, "abc", "abcd") == "abcd"
    clauses = [(Span("cause"), Span(" at step 4")), (Span("second"),)]
    assert plain(fitted(clauses, 30)) == "cause at step 4 · second"
    assert plain(fitted(clauses, 16)) == "cause at step 4"
    assert plain(fitted(clauses, 9)) == "cause"
    assert plain(fitted(clauses, 3)) == "ca…"


def test_a_message_without_room_is_cut_for_a_bare_name_explains_nothing() -> None:
    reason = "RuntimeError: The size of tensor a (512) must match tensor b (256): at dimension 1"
    run = make_run(1, "odd", State.FAILED, step=7, reason=f"{reason} · train.py:31", exit_code=1)
    clauses = explain(run, NOW, SETS["best"])
    assert clauses is not None
    whole = "RuntimeError: The size of tensor a (512) must match tensor b (256)"
    assert plain(fitted(clauses, 70)) == whole
    assert plain(fitted(clauses, 40)) == "RuntimeError: The size of tensor a (512…"
    assert plain(fitted(clauses, 20)) == "RuntimeError"


def test_of_a_stop_without_room_is_said_what_was_done_and_no_half_of_what_follows() -> None:
    reason = "TERM was sent; KILL follows 10 s later"
    clauses = explain(make_run(1, "x", State.STOPPING, reason=reason), NOW, SETS["best"])
    assert clauses is not None
    assert plain(fitted(clauses, 40)) == reason
    assert plain(fitted(clauses, 31)) == "TERM was sent"


def test_a_lost_run_says_what_happened_then_what_that_means() -> None:
    reason = "its supervisor was killed; how it ended is not known"
    run = make_run(1, "gone", State.LOST, step=50, reason=reason)
    clauses = explain(run, NOW, SETS["best"])
    assert clauses is not None
    cause = "its supervisor was killed at step 50"
    assert plain(fitted(clauses, 80)) == f"{cause} · how it ended is not known"
    assert plain(fitted(clauses, 45)) == cause
    adopted = replace(run, reason="ended 14:02, exit code not knowable")
    clauses = explain(adopted, NOW, SETS["best"])
    assert clauses is not None
    assert plain(fitted(clauses, 80)) == "ended 14:02 at step 50, exit code not knowable"


# ----------------------------------------------------------------------------------- the dialogs


@given(st.integers(16, 110), st.integers(1, 30))
def test_a_question_names_every_victim_it_has_room_for(cells: int, count: int) -> None:
    runs = (small_world() * 2)[:count]
    for lines in (
        dialogs.stop_lines(runs, [60], NOW, cells),
        dialogs.retry_lines(runs, NOW, cells),
        dialogs.remove_lines(runs, 10**9, 5, 1, NOW, cells),
    ):
        text = "\n".join(map(plain, lines))
        assert (f"and {count - 7} more" in text) == (count > 8)
        boxed = dialogs.panel(lines, cells + 6, "warn")
        assert all(line_width(line) == cells + 6 for line in boxed)


@pytest.mark.parametrize(
    ("copies", "in_place", "says"),
    [
        (0, 1, "with its code in place, as it is now."),
        (0, 2, "with their code in place, as it is now."),
        (1, 0, "with the same copy of its code."),
        (1, 2, "1 with the same copy of its code, 2 with their code in place, as it is now."),
    ],
)
def test_before_a_retry_it_is_said_which_code_will_run(
    copies: int, in_place: int, says: str
) -> None:
    run = small_world()[0]
    copied = replace(run, recipe=None, cwd=f"/home/me/.traindeck/runs/{run.id}/code/src")
    runs = [copied] * copies + [replace(run, recipe=None)] * in_place
    text = " ".join(plain(line) for line in dialogs.retry_lines(runs, NOW, 200))
    assert says in text


def test_before_a_retry_of_a_recipe_it_is_its_trainer_that_stays_the_same() -> None:
    run = replace(small_world()[0], recipe="sft")
    text = " ".join(plain(line) for line in dialogs.retry_lines([run], NOW, 200))
    assert "with the same copy of its trainer." in text


def test_a_retry_of_what_its_time_limit_ended_says_that_it_holds_again() -> None:
    run = replace(small_world()[0], state=State.FAILED)
    late = [replace(run, id=f"run{n}", state=State.TIMEOUT) for n in range(2)]

    def said(*runs: RunRecord) -> str:
        return " ".join(plain(line) for line in dialogs.retry_lines(runs, NOW, 200))

    assert "Its time limit holds again." in said(late[0])
    assert "The time limit of 2 holds again." in said(*late, run)
    assert "limit" not in said(run)


def test_the_harmful_choice_is_not_the_one_that_has_the_focus() -> None:
    options = [dialogs.Choice("esc", "keep", ""), dialogs.Choice("s", "stop", "stop", harmful=True)]
    line = dialogs.choices(options, 0, 60)[0]
    assert [s.text for s in line if "@accent" in s.style] == [" esc keep "]
    assert [s.text for s in line if s.style == "warn bold"] == ["s"]


def test_waiting_runs_lose_nothing_when_they_are_stopped() -> None:
    queued = [run for run in small_world() if run.state is State.QUEUED]
    assert "nothing is lost" in "\n".join(map(plain, dialogs.stop_lines(queued, [60], NOW, 70)))


# ------------------------------------------------------------------------------ help, first start


@given(st.integers(30, 140))
def test_help_fits_and_finds(cells: int) -> None:
    entries = [help.HelpEntry("THIS RUN", "s", "stop…", "runs.stop"),
               help.HelpEntry("GO", "?", "keys", "app.help", usable=False)]  # fmt: skip
    notes = help.state_notes(cells)
    assert fits(help.help_lines("Runs", entries, None, (), cells), cells)
    found = help.help_lines("Runs", entries, "sto", notes, cells)
    assert "runs.stop" in "".join(map(plain, found)) or cells < 80
    assert "no key" in plain(help.help_lines("Runs", entries, "zzz", notes, cells)[-1])


@given(st.integers(60, 200), st.integers(10, 60))
def test_the_first_start_offers_only_what_can_be_done(cells: int, rows: int) -> None:
    lines = first_start(cells, rows, {"demo"})
    text = "\n".join(map(plain, lines))
    assert len(lines) <= rows
    assert fits(lines, cells)
    if rows > 14:
        assert "demo" in text
        assert "new run" not in text
        assert "traindeck run -- python train.py" in text


# --------------------------------------------------------------------------------- fuzzy, escapes


def test_a_few_letters_find_what_was_meant() -> None:
    names = ["llama1b-lora-lr3e4", "qwen3b-dpo-beta01", "lora-eval", "all"]
    items = [(name, name) for name in names]
    assert fuzzy.best("lora", items, 9)[0] == "lora-eval"
    assert fuzzy.best("lll", items, 9)[0] == "llama1b-lora-lr3e4"
    assert fuzzy.best("zq", items, 9) == []
    assert list(fuzzy.best("", items, 2)) == names[:2]


@given(st.text(max_size=8), st.text(max_size=20))
def test_scoring_anything_is_safe(query: str, text: str) -> None:
    points = fuzzy.score(query, text)
    assert points is None or isinstance(points, float)


def test_lines_become_escapes_only_where_there_is_something_to_see() -> None:
    dark = load("dark")
    line = (Span("● ", "running"), Span("x", "text bold"), Span("   "))
    assert ansi.encode(line, dark) == (
        "\x1b[38;2;62;214;164m● \x1b[0m\x1b[1;38;2;213;219;227mx\x1b[0m"
    )
    assert ansi.encode(line, None) == "● x"
    assert ansi.encode((Span("a", "failed"),), load("ansi16")) == "\x1b[91ma\x1b[0m"


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "depth"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "xterm-kitty"}, "truecolor"),
        ({"TERM": "tmux-256color"}, "256"),
        ({"TERM": "xterm"}, "16"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        ({"TERM": "xterm", "NO_COLOR": "1"}, "none"),
        ({"TERM": "xterm", "NO_COLOR": ""}, "16"),
        ({}, "none"),
    ],
)
def test_the_number_of_colours_is_guessed_from_the_environment(
    environ: dict[str, str], depth: str
) -> None:
    assert ansi.color_depth(environ, Tty()) == depth
    assert ansi.color_depth(environ, io.StringIO()) == "none"


def test_the_width_of_a_terminal() -> None:
    assert ansi.terminal_width(io.StringIO(), {"COLUMNS": "33"}) == 33
    assert ansi.terminal_width(io.StringIO(), {"COLUMNS": "banana"}) == 80
