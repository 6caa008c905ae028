"""The live model of runs: what it asks, what it keeps, and that failures pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from tests.fakes.runs import FakeServices, make_run, small_services

from traindeck.backends.base import State, TraindeckError, Unreachable, UsageError
from traindeck.console.tui import model as model_module
from traindeck.console.tui.model import RunsModel
from traindeck.console.tui.services import View


class Watcher:
    """A model with the callbacks a screen gives it."""

    def __init__(self, services: FakeServices) -> None:
        self.services = services
        self.listings = 0
        self.rows: list[int] = []
        self.errors: list[TraindeckError | None] = []
        self.idle = 60.0
        self.seen: Sequence[int] = range(5)
        self.model = RunsModel(
            services,
            View(window=1e9),
            on_listing=self._listed,
            on_rows=self.rows.extend,
            on_error=self.errors.append,
            visible=lambda: self.seen,
            idle=lambda: self.idle,
        )

    def _listed(self) -> None:
        self.listings += 1

    def asked(self, name: str) -> int:
        return sum(1 for call, _ in self.services.calls if call == name)

    async def until(self, so: object) -> None:
        assert callable(so)
        for _ in range(1000):
            if so():
                return
            await asyncio.sleep(0.01)
        raise AssertionError("it never came to that")


@pytest.fixture
async def watch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watcher]:
    monkeypatch.setattr(model_module, "POLL", 0.02)
    monkeypatch.setattr(model_module, "REORDER_AFTER", 0.0)
    watcher = Watcher(small_services())
    task = asyncio.get_running_loop().create_task(watcher.model.run())
    yield watcher
    task.cancel()


async def test_the_first_listing_comes_with_its_records(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    assert watch.model.loaded
    assert watch.model.listing.counts.total == 21
    assert len(watch.model.records(list(watch.model.listing.keys))) == 21


async def test_nothing_is_fetched_while_nothing_was_written(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    before = watch.asked("rows"), watch.asked("listing")
    await watch.until(lambda: watch.asked("version") > 10)
    assert (watch.asked("rows"), watch.asked("listing")) == before


async def test_a_changed_row_is_reported_alone(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    run = watch.services.runs[3]
    assert run is not None
    watch.rows.clear()
    watch.services.report(3, replace(run, note="new"))
    await watch.until(lambda: watch.rows)
    assert set(watch.rows) == {3}
    record = watch.model.record(3)
    assert record is not None
    assert record.note == "new"


async def test_rows_move_only_after_the_keys_have_rested(
    watch: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watch.until(lambda: watch.listings == 1)
    monkeypatch.setattr(model_module, "REORDER_AFTER", 3.0)
    watch.idle = 0.0
    watch.services.add(make_run(40, "new", State.RUNNING))
    await watch.until(lambda: watch.asked("version") > 8)
    assert watch.listings == 1
    watch.idle = 3.1
    await watch.until(lambda: watch.listings == 2)


async def test_a_run_that_ends_is_shown_so_with_the_list_that_has_it_among_those_that_ended(
    watch: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watch.until(lambda: watch.listings == 1)
    model, services = watch.model, watch.services
    run = services.runs[3]
    assert run is not None
    pictures: set[tuple[int, State]] = set()

    def look(*_: object) -> None:
        record = model.record(3)
        assert record is not None
        pictures.add((model.listing.counts.running, record.state))

    monkeypatch.setattr(model, "_on_rows", look)
    monkeypatch.setattr(model, "_on_listing", look)
    monkeypatch.setattr(model_module, "REORDER_AFTER", 3.0)
    running = model.listing.counts.running
    watch.idle = 0.0
    services.change(3, replace(run, state=State.SUCCEEDED, ended=services.now))
    asked = watch.asked("version")
    await watch.until(lambda: watch.asked("version") > asked + 8)
    look()
    assert pictures == {(running, State.RUNNING)} and not model.current([3])
    watch.idle = 1.1  # nobody waits three seconds for it
    await watch.until(lambda: len(pictures) > 1)
    assert pictures == {(running, State.RUNNING), (running - 1, State.SUCCEEDED)}
    await watch.until(lambda: model.current([3]))


async def test_a_new_view_is_shown_at_once_and_frozen_ones_too(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    watch.idle = 0.0
    watch.model.freeze(1.0)
    watch.model.show(filter="lora")
    await watch.until(lambda: len(watch.model.listing.keys) == 3)


async def test_a_failure_is_reported_once_and_its_end_too(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    watch.services.error = Unreachable("The disk is away.")
    asked = watch.asked("version")
    await watch.until(lambda: watch.asked("version") > asked + 5)
    assert [str(error) for error in watch.errors] == ["The disk is away."]
    watch.services.error = None
    await watch.until(lambda: len(watch.errors) == 2)
    assert watch.errors[1] is None
    assert watch.model.loaded


async def test_a_wrong_filter_keeps_the_last_listing(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    before = watch.model.listing
    watch.model.show(filter="bad:x")
    await watch.until(lambda: watch.errors)
    assert isinstance(watch.errors[0], UsageError)
    assert watch.model.listing is before


async def test_a_slow_answer_to_an_old_question_is_dropped(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    watch.services.delay = 0.1
    watch.model.show(filter="lora")
    await watch.until(lambda: watch.asked("listing") == 2)
    watch.model.show(filter="vit")
    await watch.until(lambda: watch.model.listing.keys and watch.listings > 1)
    names = {run.name for run in watch.model.records(list(watch.model.listing.keys))}
    assert all("vit" in name for name in names)


async def test_a_run_that_was_removed_is_forgotten(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    watch.services.change(3, None)
    await watch.until(lambda: watch.model.record(3) is None)
    await watch.until(lambda: 3 not in watch.model.listing.keys)


async def test_all_runs_are_shown_after_those_of_today() -> None:
    watcher = Watcher(small_services())
    watcher.model.view = View(window=None)
    task = asyncio.get_running_loop().create_task(watcher.model.run())
    await watcher.until(lambda: watcher.listings == 2)
    asked = [view for name, view in watcher.services.calls if name == "listing"]
    assert [v.window for v in asked if isinstance(v, View)] == [model_module.PREVIEW, None]
    assert len(watcher.model.listing.keys) == 21
    task.cancel()


async def test_a_run_one_stopped_changes_its_group_at_once(
    watch: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 1e9)
    await watch.until(lambda: watch.listings == 1)
    await watch.until(lambda: watch.asked("version") > 1)
    services, model = watch.services, watch.model
    watch.seen = list(model.listing.keys)
    one, other = (
        key
        for key in model.listing.keys
        if (run := model.record(key)) is not None and run.state is State.QUEUED
    )
    for key in (other, one):
        run = services.runs[key]
        assert run is not None
        if key == one:
            model.acted_on([run.id])
        before = model.listing
        services.change(key, replace(run, state=State.CANCELLED, ended=services.now))
        await watch.until(lambda key=key: key in watch.rows)
        assert (model.listing is not before) == (key == one)
        watch.rows.clear()


async def test_a_run_that_is_deleted_leaves_no_row_without_a_run(
    watch: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "REORDER_AFTER", 1e9)
    await watch.until(lambda: watch.listings == 1)
    await watch.until(lambda: watch.asked("version") > 1)
    model = watch.model
    watch.seen = list(model.listing.keys)
    key = watch.seen[3]
    watch.services.change(key, None)

    def gone() -> bool:
        if key not in model.listing.keys:
            return True
        assert model.record(key) is not None, "a row without a run"
        return False

    await watch.until(gone)
    await watch.until(lambda: model.record(key) is None)


async def test_a_place_that_is_refused_once_is_asked_again(watch: Watcher) -> None:
    refused = UsageError("a process backend has no option 'nonsense'")
    asked = 0

    async def refresh() -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise refused

    watch.services.refresh = refresh  # type: ignore[method-assign]
    task = asyncio.get_running_loop().create_task(watch.model.follow_places(0.01))
    await watch.until(lambda: asked > 2)
    task.cancel()


async def test_records_out_of_sight_are_learnt(watch: Watcher) -> None:
    await watch.until(lambda: watch.model.loaded)
    keys = list(watch.model.listing.keys)
    await watch.model.learn(keys)
    assert len(watch.model.records(keys)) == len(keys)


async def test_what_was_out_of_sight_is_read_again_when_it_comes_back(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    key = watch.model.listing.keys[-1]
    await watch.model.learn([key])
    watch.seen = list(watch.model.listing.keys[:3])
    before = watch.model.record(key)
    assert before is not None
    watch.services.change(key, replace(before, reason="something new"))
    asked = watch.asked("version")
    await watch.until(lambda: watch.asked("version") > asked + 2)
    assert watch.model.record(key) == before, "nobody sees it"
    watch.seen = [key]
    watch.model.want()
    await watch.until(lambda: (found := watch.model.record(key)) is not None and found != before)


async def test_a_bug_is_said_and_the_list_goes_on(watch: Watcher) -> None:
    await watch.until(lambda: watch.listings == 1)
    watch.services.error = KeyError("loss")  # type: ignore[assignment]
    await watch.until(lambda: len(watch.errors) == 1)
    assert "bug" in str(watch.errors[0]) and "loss" in str(watch.errors[0])
    watch.services.error = None
    await watch.until(lambda: len(watch.errors) == 2)
    assert watch.errors[1] is None


async def test_an_order_that_cannot_be_is_given_up_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_module, "POLL", 3600.0)
    services = small_services()
    services.error = UsageError("'loss' is nothing to sort by.")
    watcher = Watcher(services)
    watcher.model.view = replace(watcher.model.view, order=("loss",))
    task = asyncio.get_running_loop().create_task(watcher.model.run())
    await watcher.until(lambda: watcher.model.view.order == View().order)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert watcher.asked("listing") <= 2, "once with it, once without: not as fast as it can"
    services.error = None
    watcher.model.relist()
    await watcher.until(lambda: watcher.model.loaded)
    task.cancel()
