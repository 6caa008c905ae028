"""The Log tab's lines, by tables: no terminal, no log engine, no file."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from traindeck.backends.base import LinkState, Reach, State
from traindeck.console.logs.failures import Kind, Try
from traindeck.console.logs.findings import Finding
from traindeck.console.logs.layout import Fold, Role
from traindeck.console.logs.neutral import LogLine, neutral
from traindeck.console.logs.rows import Anchor, Mark, Row, Window
from traindeck.console.logs.search import Pattern
from traindeck.console.logs.severity import Severity
from traindeck.console.present.cells import Line, Span, line_width, plain
from traindeck.console.present.glyphs import ASCII, BEST
from traindeck.console.present.log_view import (
    Subject,
    after_rows,
    body,
    choices,
    footing,
    startable,
    status,
    text_cells,
)
from traindeck.console.runs.log_shown import LogShown
from traindeck.console.store.records import RunRecord

RUN = RunRecord(id="0k01v8c4m2qe", name="big", state=State.FAILED, exit_code=1, argv=("python",))
LOG = Subject(run=RUN)
LONG = "x" * 400


def row(text: str, **more: object) -> Row:
    return Row(anchor=Anchor(0), line=neutral(text.encode()), **more)  # type: ignore[arg-type]


def shown(*rows: Row, **more: object) -> LogShown:
    window = Window(rows=rows, start=0, end=900, size=1000, at_end=True, percent=100)
    return LogShown(**{"window": window, "over": True, **more})  # type: ignore[arg-type]


def texts(lines: list[Line]) -> list[str]:
    return [plain(line).rstrip() for line in lines]


def style_of(lines: list[Line], text: str) -> str:
    for line in lines:
        for span in line:
            if text in span.text:
                return span.style
    raise AssertionError(f"{text!r} is nowhere in {texts(lines)}")


# ------------------------------------------------------------------------------------------- status


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, "& filter none   no error"),
        ({"surveyed": 0.5}, "& filter none"),
        ({"first_error": 7, "first_error_line": 48112}, "first error line 48,112"),
        ({"first_error": 7}, "first error found"),
        ({"not_finite": 7, "not_finite_line": 16}, "first NaN line 16"),
        ({"pattern": Pattern("memory"), "hits": 17, "hit": 3}, "/memory   3 of 17"),
        ({"pattern": Pattern("memory"), "hits": 17}, "/memory   17 hits"),
        ({"pattern": Pattern("memory"), "hits": 1}, "/memory   1 hit "),
        ({"pattern": Pattern("memory")}, "/memory   no hit"),
        ({"pattern": Pattern("m"), "hits": 9, "counting": 0.2}, "/m   9+ hits"),
        ({"pattern": Pattern("m"), "hits": 9, "stopped": True}, "/m   9+ hits"),
        ({"pattern": Pattern("m", regex=True, ignore_case=True)}, "/m regex, any case"),
        ({"filter": Pattern("loss"), "matched": 1200}, "& loss  1,200 hits"),
    ],
)
def test_the_status_line_says_what_is_searched_and_where_the_first_error_is(
    known: dict[str, object], words: str
) -> None:
    line = status(shown(row("a"), **known), LOG, 120)
    assert words in plain(line)
    assert line_width(line) == 119, "a blank cell at the right"


@pytest.mark.parametrize("size", [0, 1000])
def test_a_run_that_failed_without_an_error_in_its_log_says_why_it_failed(size: int) -> None:
    missing = Subject(run=replace(RUN, reason="trian: program not found", exit_code=127))
    known = shown(window=Window(size=size))
    assert "trian: program not found" in plain(status(known, missing, 120))
    assert "no error" not in plain(status(known, missing, 120))
    assert "trian" not in plain(status(shown(surveyed=0.5), missing, 120))
    killed = Finding(Kind.KILLED, 0, 3, 0, "x", ("ended by signal 9 (KILL)", "out of luck"))
    assert "by signal 9 (KILL) · out" in plain(status(shown(finding=killed), LOG, 120))
    assert line_width(status(shown(finding=killed), LOG, 60)) <= 60


def test_the_place_stands_at_the_right_whatever_else_there_is_to_say() -> None:
    known = shown(
        row("a"), first=48103, last=48134, lines=48140, pattern=Pattern(LONG), hits=3,
        filter=Pattern(LONG), first_error=5, first_error_line=48112,
    )  # fmt: skip
    for cells in (60, 80, 120, 200):
        line = plain(status(known, LOG, cells))
        assert line.rstrip().endswith("100 %") and "48,103–48,134 of 48,140" in line
        assert line_width(status(known, LOG, cells)) <= cells
        assert "/xxx" in line, "what is searched for is the last thing to go"


BUSY = {
    "first": 700002, "last": 700012, "lines": 1998079, "hits": 19998, "hit": 19987,
    "pattern": Pattern(r"/shard-77\d", regex=True), "filter": Pattern("shard-77"), "matched": 19998,
    "first_error": 5, "first_error_line": 700002,
}  # fmt: skip


@pytest.mark.parametrize("path", ["", "attempts/0/logs/0.log"])
@pytest.mark.parametrize("cells", range(60, 160))
def test_no_number_is_ever_cut_and_a_filter_is_always_said(cells: int, path: str) -> None:
    line = plain(status(shown(row("a"), **BUSY), Subject(run=RUN, path=path), cells))
    assert len(line) == cells - 1 and "& shar" in line and "/shar" in line
    whole = {"700,002", "700,012", "1,998,079", "19,998", "19,987", "100", "1.00", "0", "77"}
    assert set(re.findall(r"\d[\d,.]*", line.replace("0.log", "").replace(r"\d", ""))) <= whole
    assert "19,987" in line and "100 %" in line


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({}, r"//shard-77\d  19,987/19,998  & shard-77 700,002–700,012 of 1,998,079 · 100 %"),
        ({"filter": None}, "19,987 of 19,998 line 700,002–700,012 of 1,998,079 · 100 %"),
        ({"pattern": None}, "& shard-77  19,998 hits line 700,002–700,012 of 1,998,079 · 100 %"),
    ],
)  # fmt: skip
def test_what_matters_less_is_left_out_whole_where_it_is_narrow(
    known: dict[str, object], words: str
) -> None:
    line = plain(status(shown(row("a"), **{**BUSY, **known}), LOG, 80))
    assert " ".join(line.split()).endswith(" ".join(words.split()))


def test_a_line_number_is_not_shown_before_it_is_known() -> None:
    assert "line" not in plain(status(shown(row("a"), surveyed=0.3), LOG, 120))


def test_a_file_is_named_and_not_called_free_of_errors() -> None:
    line = plain(status(shown(row("a")), Subject(run=RUN, path="code/a.py"), 120))
    assert "code/a.py" in line and "no error" not in line and "filter" not in line


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"over": False, "following": True}, ["wrap off", "follow on"]),
        ({"over": False}, ["wrap off", "follow off"]),
        ({"wrap": True}, ["wrap on", "ended"]),
    ],
)
def test_what_was_chosen_stands_beside_the_tabs(known: dict[str, object], words: list[str]) -> None:
    assert texts(choices(shown(row("a"), **known), LOG)) == words


@pytest.mark.parametrize(
    ("known", "doing", "words"),
    [
        ({"counting": 0.34}, "", "counting hits 34 % · esc stops"),
        ({}, "searching", "searching · esc stops"),
        ({"pattern": Pattern("m"), "hit": 3, "hits": 17}, "", "hit 3/17"),
        ({"surveyed": 0.5}, "", "reading 50 %"),
        ({}, "", ""),
    ],
)
def test_the_footer_tells_what_goes_on(known: dict[str, object], doing: str, words: str) -> None:
    assert plain(footing(shown(row("a"), **known), BEST, doing)).removeprefix("◐ ") == words


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (LinkState(state=Reach.DOWN, since=96.0, why="It refuses."), "◌ 4s · It refuses."),
        (
            LinkState(state=Reach.DOWN, since=40.0, next_try=111.5, why="It refuses."),
            "◌ 1m · next try in 12 s · It refuses.",
        ),
        (LinkState(state=Reach.STALE, since=99.0, next_try=99.5), "◌ 1s · trying now"),
    ],
)
def test_of_a_log_out_of_reach_it_is_said_how_old_it_is(link: LinkState, words: str) -> None:
    seen = shown(row("a"), link=link, pattern=Pattern("m"), hit=3, hits=17)
    assert plain(footing(seen, BEST, "", 100.0)) == words


def test_of_a_log_too_far_away_to_be_read_through_no_error_is_denied() -> None:
    said = plain(status(shown(row("a"), unread=True), LOG, 120))
    assert "no error" not in said and "too large to be read through" in said


# --------------------------------------------------------------------------------------------- rows


def test_every_line_is_exactly_as_wide_as_the_tab_whatever_the_log_holds() -> None:
    nasty = [
        "\x1b[31mred\x1b[0m", "\x1b]52;c;aGk=\x07title", "日本語" * 60, "e\u0301\u0301\u0301" * 50,
        "שלום", "\x00\x01\x7f", "a\tb", LONG, "", "[bold]no markup[/]",
    ]  # fmt: skip
    for cells in (60, 80, 120):
        room = text_cells(cells, timed=True)
        rows = [row(text) for text in nasty]
        from traindeck.console.logs.neutral import clip

        rows = [
            Row(anchor=r.anchor, line=clip(r.line, 0, room), more=r.line.cells > room) for r in rows
        ]
        lines = body(shown(*rows, timed=True), LOG, cells, 20)
        assert [line_width(line) for line in lines] == [cells] * 20
        assert not any(ord(c) < 32 or c == "\x7f" for line in lines for s in line for c in s.text)


def test_a_time_stands_only_where_it_changes() -> None:
    rows = [row("a", time=1.0), row("b"), row("c", time=1.2), row("d", time=61.0)]
    lines = texts(body(shown(*rows, timed=True), LOG, 100, 4))
    assert ["00:00:01" in lines[0], ":" in lines[1], ":" in lines[2]] == [True, False, False]
    assert "00:01:01" in lines[3]


def test_there_is_no_room_for_times_where_nobody_noted_them_or_it_is_narrow() -> None:
    assert text_cells(100, timed=True) + 9 == text_cells(100, timed=False)
    assert text_cells(65, timed=True) == text_cells(65, timed=False)


def test_lines_that_only_repeat_are_muted_and_what_is_different_is_not() -> None:
    rows = [row("step 1 loss 2.5"), row("step 2 loss 2.4"), row("saved to out/"), row("done")]
    lines = body(shown(*rows), LOG, 100, 4)
    assert style_of(lines, "step 1") == style_of(lines, "step 2") == "muted"
    assert style_of(lines, "saved") == "text"


def test_the_newest_line_of_a_growing_log_is_not_muted() -> None:
    rows = [row(f"step {n} loss 2.5") for n in range(3)]
    assert style_of(body(shown(*rows, over=False), LOG, 100, 3), "step 2") == "text"


@pytest.mark.parametrize(
    ("severity", "style"),
    [(Severity.ERROR, "failed"), (Severity.WARNING, "warn"), (Severity.NONE, "rule")],
)
def test_how_grave_a_line_is_shows_in_the_gutter(severity: Severity, style: str) -> None:
    (line, *_) = body(shown(row("a", severity=severity)), LOG, 100, 3)
    assert line[1].style == style


def test_a_progress_bar_is_one_row_with_its_count() -> None:
    (line,) = body(shown(row("100% 16/16", updates=212)), LOG, 100, 1)
    assert "212 updates, last: 100% 16/16" in plain(line)
    (line,) = body(shown(row("100% 16/16", updates=212)), LOG, 62, 1)
    assert "212× 100% 16/16" in plain(line)
    (line,) = body(shown(row(" 17% 3/16", updates=212, state=37)), LOG, 100, 1)
    assert "update 37 of 212:  17% 3/16" in plain(line)
    (line,) = body(shown(row(" 17% 3/16", updates=212, state=37)), LOG, 62, 1)
    assert "37 of 212:  17% 3/16" in plain(line)


def test_a_traceback_tells_own_code_from_libraries_and_what_was_raised() -> None:
    error = Severity.ERROR
    whole = Fold(0, 900, True, 20, "2 frames · 14 library frames")
    inner = Fold(40, 80, False, 28, "14 frames in torch/nn")
    rows = [
        row("Traceback (most recent call last):", role=Role.HEADER, severity=error, fold=whole),
        row('  File "train.py", line 2, in main', role=Role.OWN, severity=error),
        row("    step(batch)", role=Role.OWN, severity=error),
        row("", role=Role.LIBRARY, severity=error, fold=inner),
        row("ValueError: no", role=Role.RAISED, severity=error),
    ]
    lines = body(shown(*rows), LOG, 100, 5)
    assert "▾ 2 frames · 14 library frames" in plain(lines[0])
    assert style_of(lines, "step(batch)") == "strong"
    assert "▸ 14 frames in torch/nn" in plain(lines[3]) and style_of(lines, "14 fr") == "faint"
    assert style_of(lines, "ValueError") == "failed bold" and style_of(lines, ": no") == "strong"


def test_hits_are_marked_in_place_and_the_current_ones_row_is_lit() -> None:
    rows = [
        row("a memory b", marks=(Mark(2, 8, True),)),
        row("日本 memory", marks=(Mark(5, 11, False),)),
    ]
    lines = body(shown(*rows), LOG, 100, 2)
    assert Span("memory", "on_accent bold @accent") in lines[0]
    assert all("@select" in span.style or "@accent" in span.style for span in lines[0][:-1])
    assert Span("memory", "on_match @match") in lines[1]


def test_the_row_that_was_jumped_to_is_lit_and_no_other() -> None:
    fold = Fold(0, 900, True, 20, "2 frames")
    there = row("Traceback", role=Role.HEADER, fold=fold, target=True)
    rows = [row("a memory b", marks=(Mark(2, 8, True),)), there]
    lines = body(shown(*rows), LOG, 100, 2)
    assert lines[1][0] == Span(BEST.cursor, "accent @select")
    assert all("@select" in span.style for span in lines[1][:-1])
    assert not any("@select" in span.style for span in lines[0])


def test_the_program_s_own_colours_are_the_theme_s() -> None:
    coloured = "\x1b[31mred\x1b[0m \x1b[38;5;34mgreen\x1b[0m \x1b[38;2;30;60;220mblue\x1b[0m plain"
    lines = body(shown(row(coloured)), LOG, 100, 1)
    assert [style_of(lines, w) for w in ("red", "green", "blue")] == ["failed", "running", "accent"]
    assert style_of(lines, "plain") == "text"


def test_the_map_shows_hits_over_errors_over_warnings_and_what_is_in_sight() -> None:
    gravest = (Severity.NONE, Severity.WARNING, Severity.ERROR, Severity.ERROR)
    known = LogShown(
        window=Window(rows=(row("a"),), start=0, end=200, size=1000, at_end=False),
        map=gravest, hit_rows=frozenset({3}),
    )  # fmt: skip
    edge = [line[-1].style for line in body(known, LOG, 100, 4)]
    assert edge == ["muted", "warn", "failed", "accent"]


def test_in_ascii_nothing_but_ascii_is_drawn() -> None:
    rows = [
        row("Traceback", role=Role.HEADER, fold=Fold(0, 9, True, 2, "2 frames")),
        row("bar", updates=3),
        row("x" * 80, more=True),
    ]
    finding = Finding(Kind.EXCEPTION, 0, 9, 0, "", ("a",), "It broke.", (Try("mend it"),))
    lines = body(shown(*rows, finding=finding), LOG, 80, 12, glyphs=ASCII)
    from traindeck.console.present.glyphs import ascii_text

    assert all(ascii_text(plain(line)).isascii() for line in lines)


# ------------------------------------------------------------------------------------ nothing, end


@pytest.mark.parametrize(
    ("run", "known", "words"),
    [
        (RunRecord(state=State.QUEUED, reason="waits for a"), {}, "not started yet · waits for a"),
        (RunRecord(state=State.RUNNING), {"over": False}, "nothing written yet"),
        (RUN, {}, "it wrote nothing · exit 1"),
        (replace(RUN, log_bytes=10_900), {}, "its log of 10.9 kB is gone"),
        (
            RUN,
            {"why_none": "its log is gone: it was deleted"},
            "   its log is gone: it was deleted",
        ),
        (replace(RUN, archived=True), {}, "its log was removed"),
        (replace(RUN, archived=True), {"problem": "attempts/0/logs: no"}, "its log was removed"),
        (RUN, {"filter": Pattern("x")}, "no line has it   esc shows all"),
        (RUN, {"filter": Pattern("x"), "matched": 3}, "looking for lines with it"),
        (RUN, {"problem": "gpu1 does not answer."}, "gpu1 does not answer."),
    ],
)
def test_an_empty_log_says_why(run: RunRecord, known: dict[str, object], words: str) -> None:
    lines = body(shown(**known), Subject(run=run), 80, 6)
    assert any(words in text for text in texts(lines))


def ended(finding: Finding | None, cells: int = 120, rows: int = 12) -> list[str]:
    return texts(body(shown(row("last"), finding=finding), LOG, cells, rows))


TRIES = (
    Try("set A=1", "may win back 5 GiB", (("A", "1"),)),
    Try("halve the batch", "a little slower"),
    Try("turn on checkpointing"),
)
OOM = Finding(
    Kind.DEVICE_MEMORY, 0, 9, 0, "", ("CUDA out of memory",), "8.0 GiB were asked for.", TRIES
)


def test_after_the_end_stands_what_happened_and_what_to_try() -> None:
    lines = ended(OOM)
    assert "end of log · exit 1" in lines[1]
    assert "What happened  8.0 GiB were asked for." in lines[2]
    assert "a set A=1 (may win back 5 GiB)" in lines[3] and "· halve the batch" in lines[3]


def test_only_what_can_be_begun_from_here_has_a_letter() -> None:
    assert {letter: t.text for letter, t in startable(OOM, RUN).items()} == {"a": "set A=1"}
    running = RunRecord(id="x", state=State.RUNNING, argv=("python",))
    foreign = RunRecord(id="x", state=State.FAILED, argv=("python",), foreign=True)
    adopted = RunRecord(id="x", state=State.FAILED)
    assert not any(startable(OOM, run) for run in (running, foreign, adopted))


def test_a_log_that_is_not_over_has_no_end() -> None:
    lines = texts(body(shown(row("last"), over=False, finding=OOM), LOG, 120, 12))
    assert lines[1].strip("│▐ ") == ""


def test_what_stands_after_the_end_takes_the_rows_it_says_and_fits_every_width() -> None:
    long = Finding(
        Kind.DEVICE_MEMORY, 0, 9, 0, "", ("CUDA out of memory", LONG), " ".join(["It broke."] * 99),
        (Try(LONG, "much", (("A", "1"),)), *TRIES),
    )  # fmt: skip
    for cells in (60, 80, 120, 200):
        for finding in (None, OOM, long):
            known = shown(row("last"), finding=finding)
            lines = body(known, LOG, cells, 40)
            assert all(line_width(line) == cells for line in lines)
            used = max(n for n, text in enumerate(texts(lines)) if text.rstrip("│▐ "))
            assert used == after_rows(known, LOG, cells)


def test_an_earlier_attempts_log_has_no_tries() -> None:
    run = RunRecord(id="x", state=State.FAILED, argv=("python",), attempt=2)
    lines = texts(body(shown(row("a"), finding=OOM), Subject(run=run, attempt=1), 120, 9))
    assert any("· set A=1" in line for line in lines)


def test_a_line_that_goes_on_says_so() -> None:
    room = text_cells(80, timed=False)
    (line,) = body(shown(row("x" * room, more=True)), LOG, 80, 1)
    assert "x…" in plain(line) and "……" not in plain(line)
    (line,) = body(shown(Row(anchor=Anchor(0), line=LogLine("x" * room, (), room))), LOG, 80, 1)
    assert "…" not in plain(line)
