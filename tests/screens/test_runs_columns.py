"""Which columns the Runs screen shows, and that what was chosen stays chosen."""

from __future__ import annotations

from screen_harness import OnRuns, runs_screen, settle
from screen_svg import screen_text
from tests.fakes.runs import FakeServices, make_run

from traindeck.backends.base import State
from traindeck.console.tui.screens.runs_memory import restore


async def test_columns_can_be_chosen_and_reset(on_runs: OnRuns) -> None:
    async with on_runs() as (app, pilot):
        await pilot.press("vertical_line", "space", "enter")
        await settle(app, pilot, lambda: " ID " in screen_text(app))
        await settle(app, pilot, lambda: "0k05v" in screen_text(app))
        await pilot.press("vertical_line", "0")
        await settle(app, pilot, lambda: " ID " not in screen_text(app))


def sweep(count: int = 6) -> FakeServices:
    """Runs that differ in what their tags and parameters say."""
    return FakeServices(
        [
            make_run(n, f"sweep-{n}", State.RUNNING, step=n, total=100, loss=1.0,
                     tags={"sweep": "", "lr": f"{n}e-4", "seed": str(n)}, params={"depth": 8 + n})
            for n in range(1, count + 1)
        ]
    )  # fmt: skip


async def test_a_tag_or_a_parameter_can_be_a_column_and_is_one_another_day(
    on_runs: OnRuns,
) -> None:
    async with on_runs(sweep(), size=(80, 24)) as (app, pilot):
        await pilot.press("vertical_line")
        await settle(app, pilot, lambda: "depth, a tag or parameter" in screen_text(app))
        await pilot.press("end", "space", "up", "up", "space", "home", "enter")
        await settle(app, pilot, lambda: "NAME" in screen_text(app))
        shown = screen_text(app)
        assert "SEED  DEPTH" in shown or "SEED DEPTH" in shown
        (row,) = [line for line in shown.splitlines() if "sweep-3 " in line and "running" in line]
        assert row.split()[3:5] == ["3", "11"]
        kept = app.ui.strings("runs", "columns")
        assert kept is not None and {"=seed", "=depth"} < set(kept)
        home = runs_screen(app)
        home.rows.columns = []
        restore(app.ui, home)
        assert {"=seed", "=depth"} < set(home.rows.columns)


async def test_what_is_ticked_and_has_no_room_says_so(on_runs: OnRuns) -> None:
    async with on_runs(sweep(), size=(80, 24)) as (app, pilot):
        home = runs_screen(app)
        home.rows.columns = ["state", "name", "where", "age", "done", "left", "metric", "trend"]
        await pilot.press("vertical_line")
        await settle(app, pilot, lambda: "tokens a second" in screen_text(app))
        await pilot.press(*["down"] * 12, "space")  # every note is empty
        await pilot.press("enter")
        await settle(app, pilot, lambda: "NOTE" in screen_text(app))
        heads = next(line for line in screen_text(app).splitlines() if "NAME" in line)
        assert [head in heads for head in ("WHERE", "AGE", "DONE", "LEFT", "LOSS")] == [True] * 5
        await pilot.press("vertical_line", "space")
        await settle(app, pilot, lambda: "no room" in screen_text(app))
        lost = [line for line in screen_text(app).splitlines() if "no room" in line]
        assert [line.split("✓")[1].split("  ")[0] for line in lost] == [
            " time left",
            " trend of the last half",
        ], "what was chosen stays chosen"


async def test_what_has_no_room_is_what_is_not_shown_then(on_runs: OnRuns) -> None:
    words = {"WHERE": "where it runs", "AGE": "age", "LEFT": "time left", "TREND": "trend"}
    async with on_runs(sweep(), size=(80, 24)) as (app, pilot):
        await pilot.press("vertical_line")
        await settle(app, pilot, lambda: "seed, a tag or parameter" in screen_text(app))
        await pilot.press("end", "up", "up", "space")  # one digit wide, which was not shown before
        lines = screen_text(app).splitlines()
        lost = {
            head: any("no room" in line and f"✓ {word}" in line for line in lines)
            for head, word in words.items()
        }
        await pilot.press("enter")
        await settle(app, pilot, lambda: "SEED" in screen_text(app))
        heads = next(line for line in screen_text(app).splitlines() if "NAME" in line)
        assert {head: head not in heads for head in words} == lost


async def test_tags_have_the_room_that_names_leave(on_runs: OnRuns) -> None:
    async with on_runs(sweep()) as (app, pilot):
        assert "sweep lr=3e-4 seed=3" in screen_text(app)
        home = runs_screen(app)
        before = home.rows.layout
        await pilot.press("j", "j", "G")
        assert home.rows.layout == before
