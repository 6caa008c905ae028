"""How the live services list runs: the groups of the store, in the view's order, nothing twice."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.runs import make_run, small_world

from traindeck.backends.base import Reach, State, UsageError
from traindeck.console.runs.workspace import Workspace, open_workspace
from traindeck.console.store.index import Index
from traindeck.console.store.records import GROUPS, RATES, group
from traindeck.console.tui import model as model_module
from traindeck.console.tui.live import LiveServices
from traindeck.console.tui.model import RunsModel
from traindeck.console.tui.services import View

KEYS = ("needs", "running", "queued", "finished")


@pytest.fixture
def now() -> float:
    return time.time()


@pytest.fixture
def services(home: Path, now: float) -> Iterator[LiveServices]:
    opened: list[Workspace] = []

    def make() -> Workspace:
        opened.append(open_workspace())
        return opened[0]

    workspace = open_workspace()
    shift = now - 1_790_000_000.0
    runs = [
        replace(
            run,
            created=run.created + shift,
            started=run.started + shift if run.started else None,
            ended=run.ended + shift if run.ended else None,
            observed_at=run.observed_at + shift,
            looked_at=run.looked_at + shift if run.looked_at else None,
            silent_from=run.silent_from + shift if run.silent_from else None,
        )
        for run in small_world()
    ]
    workspace.index.put_many(runs)
    yield LiveServices(make)


async def test_groups_are_those_of_the_store_and_hold_every_run_once(
    services: LiveServices, now: float
) -> None:
    listing = await services.listing(View(window=None))
    assert len(set(listing.keys)) == len(listing.keys) == 21
    records = await services.rows(list(listing.keys))
    at = 0
    for part in listing.groups:
        inside = [records[key] for key in listing.keys[at : at + part.count]]
        assert {group(run, now) for run in inside} == {KEYS.index(part.key)}
        assert [run.created for run in inside] == sorted((r.created for r in inside), reverse=True)
        at += part.count
    assert at == 21
    assert len(GROUPS) == len(KEYS)
    assert listing.counts.needs_you == next(g.count for g in listing.groups if g.key == "needs")
    assert listing.counts.total == 21
    await services.aclose()


@pytest.mark.parametrize("view", [View(), View(group="backend"), View(filter="nothing")])
async def test_the_header_counts_what_the_headings_count(
    services: LiveServices, view: View
) -> None:
    counts = (await services.listing(view)).counts
    heads = {group.key: group.count for group in (await services.listing(View())).groups}
    assert counts.running == heads["running"] and counts.queued == heads["queued"]
    assert counts.needs_you == heads["needs"] == 3, "one of them runs"
    await services.aclose()


async def test_what_is_over_is_ordered_by_its_end_as_its_age_counts(
    services: LiveServices, now: float
) -> None:
    # Launched long ago, and the last to end.
    late = make_run(70, "slow", State.SUCCEEDED, now=now, created=now - 70_000, ended=now - 1)
    open_workspace().index.put(replace(late, started=now - 70_000))
    listing = await services.listing(View())
    records = await services.rows(list(listing.keys))
    (count,) = [part.count for part in listing.groups if part.key == "finished"]
    ends = [records[key].ended or 0.0 for key in listing.keys[-count:]]
    assert len(ends) > 5 and ends == sorted(ends, reverse=True)
    assert records[listing.keys[-count]].name == "slow"
    await services.aclose()


async def test_a_filter_an_order_and_a_window_hold_in_every_group(services: LiveServices) -> None:
    listing = await services.listing(View(filter="lora", order=("name",), window=None))
    records = await services.rows(list(listing.keys))
    names = [records[key].name for key in listing.keys]
    assert sorted(names) == ["llama1b-lora-lr1e3", "llama1b-lora-lr1e4", "llama1b-lora-lr3e4"]
    assert names == sorted(names)
    day = await services.listing(View(window=86400.0))
    everything = await services.listing(View(window=None))
    assert len(day.keys) == len(everything.keys) - 1
    await services.aclose()


async def test_backends_that_are_gone_from_the_settings_keep_their_runs(
    services: LiveServices,
) -> None:
    listing = await services.listing(View(group="backend", window=None))
    assert [(g.title, g.count) for g in listing.groups] == [
        ("local", 20),
        ("no longer configured", 1),
    ]
    records = await services.rows(list(listing.keys))
    assert records[listing.keys[-1]].backend == "gpu2"
    assert records[listing.keys[-1]].reach is Reach.DOWN
    assert {State.RUNNING} <= {run.state for run in records.values()}
    await services.aclose()


async def test_a_waiting_run_says_by_name_what_it_waits_for(services: LiveServices) -> None:
    workspace = open_workspace()
    first = make_run(60, "pretrain", State.RUNNING, age=60)
    reasons = [f"waits for run {first.id} to end", "waits for run zzzzzzzzzzzz to end", ""]
    waiting = [
        make_run(61 + n, f"then-{n}", State.QUEUED, age=50, reason=reason)
        for n, reason in enumerate(reasons)
    ]
    workspace.index.put_many([first, *waiting])
    keys = [workspace.index.number_of(run.id) or 0 for run in waiting]
    said = [run.reason for run in (await services.rows(keys)).values()]
    assert said == ["waits for pretrain to end", "waits for run zzzzzzzzzzzz to end", ""]
    found = await services.run(waiting[0].id)
    assert found is not None and found.reason == said[0]
    await services.aclose()


async def test_the_list_is_ordered_by_a_metric(services: LiveServices) -> None:
    down = await services.listing(View(order=("-metric.loss",), group="", window=None))
    up = await services.listing(View(order=("metric.loss",), group="", window=None))
    losses = []
    for listing in (down, up):
        found = await services.rows(list(listing.keys))
        runs = [found[key] for key in listing.keys]
        losses.append([run.metrics["loss"].last for run in runs if "loss" in run.metrics])
    finite = [[loss for loss in each if loss is not None and loss == loss] for each in losses]
    assert finite[0] == sorted(finite[0], reverse=True) and finite[1] == sorted(finite[1])
    assert len(finite[0]) > 10
    with pytest.raises(UsageError, match="nothing to sort by"):
        await services.listing(View(order=("loss",), group="", window=None))
    typed = await services.listing(View(filter="sort:loss", window=None))
    assert typed.order == ("value.loss",)
    await services.aclose()


async def test_rows_have_what_the_columns_of_the_table_show(services: LiveServices) -> None:
    listing = await services.listing(View(window=None))
    runs = [run for run in (await services.rows(list(listing.keys))).values() if run.main]
    shown = [set(run.metrics) for run in runs if run.metrics]
    assert all("loss" in keys for keys in shown)
    assert any("eval_loss" in keys for keys in shown) and any(keys & set(RATES) for keys in shown)
    assert not any("grad_norm" in keys for keys in shown), "nothing that no column shows"
    await services.aclose()


async def test_where_nothing_listed_fits_it_is_known_what_else_does(
    services: LiveServices, now: float
) -> None:
    old = {"now": now, "age": 9 * 86400.0}
    services._workspace().index.put_many(
        [
            make_run(90, "relic-one", State.SUCCEEDED, **old),
            make_run(91, "relic-two", State.SUCCEEDED, archived=True, **old),
        ]
    )
    for text, beyond in (("relic", (1, 1)), ("two", (0, 1)), ("lora", (0, 0)), ("zzz", (0, 0))):
        for by in ("state", "backend", ""):
            listing = await services.listing(View(filter=text, group=by))
            assert listing.beyond == beyond
    assert (await services.listing(View(filter="relic", window=None))).beyond == (0, 0)
    await services.aclose()


async def test_a_question_that_is_on_its_way_when_it_closes_ends_there(
    services: LiveServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ended = threading.Event(), threading.Event()

    async def endless(*_: object) -> None:
        try:
            asked.set()
            await asyncio.sleep(600)
        finally:
            ended.set()

    monkeypatch.setattr("traindeck.console.runs.reading.spec_of", endless)
    question = asyncio.create_task(services.spec(small_world()[0].id))
    assert await asyncio.to_thread(asked.wait, 10)
    await services.aclose()
    assert ended.is_set()
    with pytest.raises(asyncio.CancelledError):
        await question


async def test_what_runs_were_given_and_how_many_are_archived_is_known(
    services: LiveServices,
) -> None:
    more = [
        make_run(40, "kept", State.SUCCEEDED, archived=True),
        make_run(41, "swept", State.RUNNING, params={"depth": 3, "lr": 0.1}),
    ]
    open_workspace().index.put_many(more)
    assert await services.names() == ["demo", "dpo", "eval", "lr", "s", "sft", "vision", "depth"]
    assert (await services.listing(View())).counts.archived == 1
    await services.aclose()


async def test_an_index_that_is_rebuilt_beside_the_list_neither_doubles_nor_swaps_a_row(
    services: LiveServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> dict[int, str]:
        records = {key: model.record(key) for key in visible()}
        return {key: record.id for key, record in records.items() if record is not None}

    def visible() -> list[int]:
        return sorted(model.listing.keys)[4:10]

    monkeypatch.setattr(model_module, "POLL", 0.02)
    model = RunsModel(
        services,
        View(window=None),
        on_listing=lambda: None,
        on_rows=lambda keys: None,
        on_error=lambda error: None,
        visible=visible,
        idle=lambda: 0.0,  # somebody uses the keys all the time
    )
    path = open_workspace().places.index
    other = Index.open(path, rebuild=lambda index: index.put_many(runs))
    other.delete([run.id for run in other.rows(other.ids()[5:8])])  # the numbers have a gap now
    runs = other.rows(other.ids())
    task = asyncio.get_running_loop().create_task(model.run())
    # At first it lists those of today, then all.
    while len(model.listing.keys) < len(runs) or len(shown()) < 6:
        await asyncio.sleep(0.01)
    before, keys = shown(), model.listing.keys
    other.rebuild()
    while model.listing.keys == keys:
        assert shown() == before
        await asyncio.sleep(0.01)
    while len(shown()) < 6:
        await asyncio.sleep(0.01)
    found = other.rows_by_number(visible())
    assert shown() == {key: run.id for key, run in found.items()}
    task.cancel()
    other.close()


async def test_what_is_asked_while_the_services_end_is_not_begun(
    services: LiveServices, recwarn: pytest.WarningsRecorder
) -> None:
    await services.names()
    there, held = threading.Event(), threading.Event()
    services._loop.call_soon_threadsafe(lambda: (there.set(), held.wait()))
    await asyncio.to_thread(there.wait)  # what follows is of one turn of that loop
    asked = asyncio.create_task(services.names())
    await asyncio.sleep(0)
    services._loop.call_soon_threadsafe(services._loop.stop)
    held.set()
    with pytest.raises(asyncio.CancelledError):
        await asked
    await asyncio.to_thread(services._thread.join)
    gc.collect()
    assert not [str(one.message) for one in recwarn if "never awaited" in str(one.message)]
