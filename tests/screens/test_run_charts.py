"""The Charts tab of a run, driven by keys, and what it looks like: compare with snapshots/*.svg."""

from __future__ import annotations

import re
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from screen_harness import CheckScreen, MakeApp, settle
from screen_svg import screen_text
from tests.fakes.run import (
    FakeRunServices,
    curves_of_a_run,
    points,
    run_world,
    summary,
)

from traindeck.backends.base import Unreachable
from traindeck.console.tui.app import TraindeckApp
from traindeck.console.tui.screens.run_charts import ChartsPane

SIZES = {"80x24": (80, 24), "120x40": (120, 40), "200x60": (200, 60)}


@asynccontextmanager
async def charts(
    app: TraindeckApp, size: str = "120x40", run: int = 0
) -> AsyncIterator[tuple[Any, ChartsPane]]:
    services = app.services
    assert isinstance(services, FakeRunServices)
    async with app.run_test(size=SIZES[size]) as pilot:
        record = services.runs[run]
        assert record is not None
        app.open_run(record, "charts")
        await settle(app, pilot, lambda: bool(app.screen.query(ChartsPane)))
        pane = app.screen.query_one(ChartsPane)
        await settle(app, pilot, lambda: pane._ready and pane._fetching is None)
        yield pilot, pane


async def press(app: TraindeckApp, pilot: Any, pane: ChartsPane, keys: str) -> str:
    for key in keys.split():
        await pilot.press(key)
    await pilot.pause(0.05)
    await settle(app, pilot, lambda: not app._jobs or pane._fetching is None)
    await pilot.pause(0.1)
    return screen_text(app)


# --------------------------------------------------------------------------------------- behaviour


async def test_the_main_metric_and_its_evaluation_are_drawn_at_once(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app):
        text = screen_text(app)
        assert "a loss" in text and "b eval/loss" in text and "grad_norm" in text
        assert "EMA 0.9 over band min–max" in text
        assert "3,132 of 3,132 points" in text


async def test_curves_of_a_part_of_a_huge_log_say_so(make_app: MakeApp) -> None:
    world = run_world()
    done, silent = world.runs[2], world.runs[1]
    assert done is not None and silent is not None
    world.shares = {done.id: 0.4, silent.id: 0.4}
    app = make_app(world)
    async with charts(app, "80x24", run=2) as (pilot, _):
        await settle(app, pilot, lambda: "the first 40 % of the log" in screen_text(app))
    world.runs[1] = replace(silent, metrics={})
    app = make_app(world)
    async with charts(app, run=1) as (pilot, _):
        await settle(
            app, pilot, lambda: "No metrics in the first 40 % of the log." in screen_text(app)
        )


async def test_the_cursor_reads_logged_points_and_esc_takes_it_away(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        text = await press(app, pilot, pane, "left left left")
        assert "AT CURSOR" in text and "raw" in text, text
        text = await press(app, pilot, pane, "escape")
        assert "AT CURSOR" not in text and "METRICS" in text


async def test_zoom_goes_to_the_cursor_and_esc_or_zero_shows_the_whole(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        await press(app, pilot, pane, "plus plus")
        assert pane._window is not None
        low, high = pane._window
        assert high - low == pytest.approx((3120 - 1) / 4)
        await press(app, pilot, pane, "less_than_sign")
        moved = pane._window
        assert moved[0] == pytest.approx(low - (high - low) / 2)
        await press(app, pilot, pane, "greater_than_sign " * 9)
        assert pane._window[1] == pytest.approx(3120)
        await press(app, pilot, pane, "0")
        assert pane._window is None
        await press(app, pilot, pane, "plus escape")
        assert pane._window is None and app.screen.query(ChartsPane)
        await press(app, pilot, pane, "minus")
        assert pane._window is None


async def test_what_does_not_follow_the_newest_points_says_so(make_app: MakeApp) -> None:
    world = run_world()
    app = make_app(world)

    async def grow(pilot: Any, pane: ChartsPane, until: int) -> None:
        run = world.runs[0]
        assert run is not None
        before = world.points[run.id]["loss"]
        steps = before.steps + array("q", [until])
        times, values = before.times + before.times[-1:], before.values + before.values[-1:]
        world.points[run.id]["loss"] = replace(before, steps=steps, times=times, values=values)
        loss = replace(run.metrics["loss"], last_step=until, count=len(steps))
        world.change(0, replace(run, metrics={**run.metrics, "loss": loss}))
        await settle(app, pilot, lambda: pane._extent()[1] == until)

    async with charts(app) as (pilot, pane):
        assert "held" not in screen_text(app)
        text = await press(app, pilot, pane, "f")
        assert "held at step 1–3,120 · f follows" in text
        await grow(pilot, pane, 3200)
        assert "held at step 1–3,120 · f follows" in screen_text(app)
        text = await press(app, pilot, pane, "f")
        assert "step 1–3,200" in text and "held" not in text, text
        text = await press(app, pilot, pane, "plus plus")
        assert "held at step" in text
        text = await press(app, pilot, pane, "f")
        assert "–3,200" in text and "held" not in text, text
        await grow(pilot, pane, 3300)
        await settle(app, pilot, lambda: "–3,300" in screen_text(app))
        text = await press(app, pilot, pane, "less_than_sign")
        assert "held at step" in text
        text = await press(app, pilot, pane, "greater_than_sign")
        assert "held" not in text, "panned back to the newest"
        await press(app, pilot, pane, "less_than_sign 0")
        assert "held" not in screen_text(app)


async def test_zooming_in_ends_somewhere(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        text = await press(app, pilot, pane, "plus " * 40)
        assert "loss" in text
        assert pane._window is not None and pane._window[1] > pane._window[0]


async def test_system_metrics_come_on_the_axis_of_steps(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        text = await press(app, pilot, pane, "d")
        assert "cpu_pct" in text and "3,120 step" in text and "G ┈" in text, text
        text = await press(app, pilot, pane, "d")
        assert not any(key.startswith("system/") for key in pane._chosen)


async def test_without_a_training_metric_system_metrics_come_on_the_time_axis(
    make_app: MakeApp,
) -> None:
    world = run_world()
    run = world.runs[0]
    assert run is not None
    kept = {k: v for k, v in run.metrics.items() if k.startswith("system/")}
    world.runs[0] = replace(run, metrics=kept, main=None)
    app = make_app(world)
    async with charts(app) as (pilot, pane):
        text = await press(app, pilot, pane, "d")
        assert "cpu_pct" in text and "elapsed" in text, text


async def test_the_axis_goes_through_what_the_run_has(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        seen = [pane._axis]
        for _ in range(2):
            await press(app, pilot, pane, "x")
            seen.append(pane._axis)
        assert seen == ["step", "time", "step"]


async def test_the_cursor_stays_at_its_point_on_another_axis(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        await press(app, pilot, pane, "left " * 20)
        before = pane._cursor
        assert before is not None
        text = await press(app, pilot, pane, "x")
        # A step takes 3600 / 3120 seconds, and the run began 240 seconds before the first.
        assert pane._cursor == pytest.approx(240 + round(before) * 3600 / 3120, abs=1.2)
        assert "AT CURSOR" in text and re.search(r"\d+m\d\ds in", text), text
        text = await press(app, pilot, pane, "x")
        assert pane._cursor == round(before)
        assert f"step {round(before):,}" in text, text


async def test_a_cursor_is_taken_along_when_the_window_moves(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        await press(app, pilot, pane, "plus plus " + "left " * 20)
        for keys in ("less_than_sign", "less_than_sign", "greater_than_sign " * 3):
            text = await press(app, pilot, pane, keys)
            low, high = pane._window
            assert low <= pane._cursor <= high
            assert f"step {round(pane._cursor):,}" in text, text
        # A series that begins later is drawn alone: the cursor is where it has something.
        await press(app, pilot, pane, "0 " + "left " * 90)
        assert pane._cursor == 1
        await press(app, pilot, pane, "j j j j j o")
        assert pane._chosen == ["eval/loss"]
        assert pane._cursor == 260


async def test_epochs_are_an_axis_where_they_were_logged(make_app: MakeApp) -> None:
    world = run_world()
    run = world.runs[0]
    assert run is not None
    epoch = points("epoch", [n / 26 for n in range(1, 53)], every=60)
    world.points[run.id] = {**world.points[run.id], "epoch": epoch}
    metrics = {**run.metrics, "epoch": summary(epoch)}
    world.runs[0] = replace(run, metrics=metrics)
    app = make_app(world)
    async with charts(app) as (pilot, pane):
        text = await press(app, pilot, pane, "x x left left")
        assert pane._axis == "epoch"
        assert "epoch 1.9" in text and "2 epoch" in text, text
        await pilot.press("escape", "escape")
        other = world.runs[2]
        assert other is not None
        app.open_run(other, "charts")  # the axis stays chosen, but this one knows no epochs
        await settle(app, pilot, lambda: bool(app.screen.query(ChartsPane)))
        pane = app.screen.query_one(ChartsPane)
        await settle(app, pilot, lambda: pane._ready and pane._fetching is None)
        text = await press(app, pilot, pane, "left")
        assert "x step" in text and "no epoch" not in text, text
        assert "x time" in await press(app, pilot, pane, "x")


async def test_without_samples_the_key_for_them_is_not_offered(make_app: MakeApp) -> None:
    world = run_world()
    run = world.runs[2]
    assert run is not None
    kept = {k: v for k, v in run.metrics.items() if not k.startswith("system/")}
    world.runs[2] = replace(run, metrics=kept)
    app = make_app(world)
    async with charts(app, run=2) as (pilot, pane):
        assert "d system" not in screen_text(app).splitlines()[-1]
        await press(app, pilot, pane, "d")
        assert pane._axis == "step"


async def test_metrics_are_chosen_in_the_tree(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        await press(app, pilot, pane, "j j space")
        assert "grad_norm" not in pane._chosen
        await press(app, pilot, pane, "space")
        assert "grad_norm" in pane._chosen
        await press(app, pilot, pane, "j o")
        assert pane._chosen == ["learning_rate"]
        await press(app, pilot, pane, "z")
        assert "▸ train" in screen_text(app)


async def test_the_ends_of_a_long_tree_are_one_key_away(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        await press(app, pilot, pane, "G")
        assert pane._row == len(pane._rows) - 1 > 5
        await press(app, pilot, pane, "pageup")
        assert pane._row == 0
        await press(app, pilot, pane, "pagedown g g")
        assert pane._row == 0


async def test_in_a_narrow_terminal_the_tree_is_behind_m(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app, "80x24") as (pilot, pane):
        assert "METRICS" not in screen_text(app)
        assert "m metrics" in screen_text(app).splitlines()[-1]
        before = list(pane._chosen)
        await press(app, pilot, pane, "space o z")
        assert pane._chosen == before, "keys of the tree do nothing while it is not in sight"
        text = await press(app, pilot, pane, "m")
        assert "METRICS" in text and "space draw" in text.splitlines()[-1]
        text = await press(app, pilot, pane, "escape")
        assert "METRICS" not in text and app.screen.query(ChartsPane)


async def test_m_is_not_offered_where_the_tree_is_in_sight(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app):
        assert "m metrics" not in screen_text(app).splitlines()[-1]


async def test_smoothing_and_scale_are_named_and_kept(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app) as (pilot, pane):
        text = await press(app, pilot, pane, "e")
        assert "EMA 0.98" in text
        text = await press(app, pilot, pane, "e L")
        assert "EMA" not in text and "log y" in text
        assert pane.state() == {"smoothing": 0, "axis": "step", "log": True}


async def test_a_short_curve_is_smoothed_if_a_person_asks_and_what_is_not_is_not_said_to_be(
    make_app: MakeApp,
) -> None:
    world = run_world()
    run = world.runs[0]
    assert run is not None
    world.points[run.id] = {s.key: s for s in curves_of_a_run(40)}
    app = make_app(world)
    async with charts(app) as (pilot, pane):
        text = screen_text(app)
        assert "smooth off" in text and "as logged: fewer than 200 points" in text
        logged = [curve.smoothed(pane._shown().view) for curve in pane._curves.values()]
        text = await press(app, pilot, pane, "e")
        assert "smooth EMA 0.6" in text and "as logged" not in text
        soft = [curve.smoothed(pane._shown().view) for curve in pane._curves.values()]
        assert any((one != other).any() for one, other in zip(logged, soft, strict=True))
        text = await press(app, pilot, pane, "e e e")
        assert "smooth off" in text


async def test_a_resumed_run_has_a_seam_and_checkpoints_have_marks(make_app: MakeApp) -> None:
    world = run_world()
    run = world.runs[0]
    assert run is not None
    made = {s.key: s for s in curves_of_a_run(3120, seam=1500)}
    made["eval/loss"] = replace(made["eval/loss"], seams=((0, 0), (7, 1)))  # the same one, later
    world.points[run.id] = made
    app = make_app(world)
    async with charts(app) as (pilot, pane):
        assert pane._seams() == [1501.0]
        text = screen_text(app)
        assert "┊" in text and "◆" in text
        text = await press(app, pilot, pane, "a")
        assert "◆" not in text
        text = await press(app, pilot, pane, "a x")
        assert "◆" in text and "elapsed" in text and len(pane._seams()) == 1


async def test_new_points_appear_and_nothing_is_fetched_without_them(make_app: MakeApp) -> None:
    world = run_world()
    app = make_app(world)
    async with charts(app) as (pilot, _):
        run = world.runs[0]
        assert run is not None
        before = sum(name == "series" for name, _ in world.calls)
        for second in range(3):
            world.report(0, replace(run, observed_at=world.now + second))
            await pilot.pause(0.6)
        assert sum(name == "series" for name, _ in world.calls) == before
        longer = points("loss", [2.0] * 4000, seconds=1.0)
        world.points[run.id] = {**world.points[run.id], "loss": longer}
        world.report(0, replace(run, metrics={**run.metrics, "loss": summary(longer)}))
        await settle(app, pilot, lambda: "4,012 of 4,012" in screen_text(app))


async def test_a_place_that_cannot_be_read_is_said_once_and_no_traceback(
    make_app: MakeApp,
) -> None:
    world = run_world()
    world.broken["series"] = Unreachable("gpu2 does not answer.", "Try again later.")
    app = make_app(world)
    async with charts(app) as (pilot, pane):
        await settle(app, pilot, lambda: "gpu2 does not answer" in screen_text(app))
        assert "Traceback" not in screen_text(app)
        del world.broken["series"]
        await press(app, pilot, pane, "j j space space")
        assert "3,132 of 3,132 points" in screen_text(app)


async def test_a_run_without_metrics_says_what_was_looked_for(make_app: MakeApp) -> None:
    app = make_app(run_world())
    async with charts(app, run=3):
        text = screen_text(app)
        assert "Looked for" in text and "metrics.csv" in text and "zoom" not in text


# -------------------------------------------------------------------------------------- snapshots


@pytest.mark.parametrize(
    ("name", "keys"),
    [("", ""), ("cursor", "left " * 20), ("system", "d"), ("log-y", "L"), ("zoomed", "plus plus")],
)
@pytest.mark.parametrize("size", ["80x24", "120x40"])
async def test_charts(
    make_app: MakeApp, check_screen: CheckScreen, name: str, keys: str, size: str
) -> None:
    app = make_app(run_world())
    async with charts(app, size) as (pilot, pane):
        await press(app, pilot, pane, keys)
        check_screen(app, f"run-charts{'-' if name else ''}{name}-{size}")


async def test_charts_with_room(make_app: MakeApp, check_screen: CheckScreen) -> None:
    app = make_app(run_world())
    async with charts(app, "200x60") as (pilot, pane):
        await press(app, pilot, pane, "d")
        check_screen(app, "run-charts-200x60")


async def test_the_tree_alone(make_app: MakeApp, check_screen: CheckScreen) -> None:
    app = make_app(run_world())
    async with charts(app, "80x24") as (pilot, pane):
        await press(app, pilot, pane, "m j j")
        check_screen(app, "run-charts-tree-80x24")


@pytest.mark.parametrize("theme", ["light", "high", "ansi16"])
async def test_charts_in_themes(make_app: MakeApp, check_screen: CheckScreen, theme: str) -> None:
    depth = "16" if theme == "ansi16" else "truecolor"
    app = make_app(run_world(), theme=theme, depth=depth)
    async with charts(app) as (pilot, pane):
        await press(app, pilot, pane, "left " * 9)
        check_screen(app, f"run-charts-{theme}-120x40")


@pytest.mark.parametrize("glyphs", ["plain", "ascii"])
async def test_charts_in_other_glyphs(
    make_app: MakeApp, check_screen: CheckScreen, glyphs: str
) -> None:
    app = make_app(run_world(), glyphs=glyphs)
    async with charts(app):
        check_screen(app, f"run-charts-{glyphs}-120x40")
