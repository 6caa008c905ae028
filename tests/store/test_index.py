"""Runs in the index: what was put is what is read, and nobody's knowledge overwrites better."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traindeck.backends.base import ACTIVE, Rank, Reach, State, Status
from traindeck.console.store.errors import AmbiguousRun, NoSuchRun
from traindeck.console.store.ids import mint_id
from traindeck.console.store.index import Index
from traindeck.console.store.records import (
    MetricSummary,
    Progress,
    RunRecord,
    broken_metric,
    group,
    run_json,
)
from traindeck.console.store.rows import clean_record
from traindeck.console.store.series import Batch, SourceMark

from .conftest import listed

NOW = 1_800_000_000.0
Make = Callable[..., RunRecord]

texts = st.text(max_size=40)
numbers = st.floats(allow_nan=False, allow_infinity=False)
moments = st.floats(0, 4e9)
scalars = st.one_of(texts, st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
counts = st.integers(0, 1 << 62)
runs = st.builds(
    RunRecord,
    id=st.uuids().map(str),
    name=texts,
    backend=texts,
    native_id=texts,
    state=st.sampled_from(State),
    reach=st.sampled_from(Reach),
    observed_at=moments,
    attempt=st.integers(0, 99_999),
    rank=st.sampled_from(Rank),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
    reason=texts,
    evidence=st.lists(texts, max_size=3).map(tuple),
    created=moments,
    started=st.none() | moments,
    ended=st.none() | moments,
    host=st.none() | texts,
    pid=st.none() | counts,
    gpus=st.integers(0, 4096),
    argv=st.lists(texts, max_size=4).map(tuple),
    cwd=texts,
    project=texts,
    recipe=st.none() | texts,
    tags=st.dictionaries(texts, texts, max_size=4),
    params=st.dictionaries(
        texts, scalars | st.lists(scalars, min_size=1, max_size=3).map(tuple), max_size=4
    ),
    note=texts,
    archived=st.booleans(),
    looked_at=st.none() | moments,
    foreign=st.booleans(),
    log_bytes=st.none() | counts,
    progress=st.builds(
        Progress, step=st.none() | counts, total=st.none() | counts, fraction=st.none() | numbers
    ),
    main=st.none() | texts,
)


@given(run=runs)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_run_is_read_back_exactly_as_it_was_put(index: Index, run: RunRecord) -> None:
    run = replace(run, id=mint_id())
    index.put(run)
    found = index.get(run.id)
    assert found == clean_record(run)
    assert found is not None
    assert index.rows(index.ids()) == [found]
    assert listed(index)[0] == json.loads(json.dumps(run_json(found)))
    index.delete([run.id])


def test_text_that_no_terminal_or_json_can_take_is_replaced(index: Index, make_run: Make) -> None:
    run = make_run(name="a\0b", cwd="/x/\udcff", tags={"\ud800": "v"}, argv=("\udcfe",))
    index.put(run)
    found = index.get(run.id)
    assert found is not None
    assert (found.name, found.cwd) == ("a\ufffdb", "/x/\ufffd")
    assert b"\\ud" not in b"".join(index.json_array())


def test_several_values_of_a_parameter_are_a_list(index: Index, make_run: Make) -> None:
    run = make_run(params={"data": ("a", "b"), "lr": (1e-3, 3e-4)})
    index.put(run)
    found = index.get(run.id)
    assert found is not None and found.params == run.params
    assert listed(index)[0]["params"] == {
        "data": ["a", "b"],
        "lr": [1e-3, 3e-4],
    }


def test_parameters_that_are_no_numbers_stay_strict_json(index: Index, make_run: Make) -> None:
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 10**400}
    index.put(make_run(params=values))
    shown = json.loads(b"".join(index.json_array()), parse_constant=pytest.fail)[0]
    assert shown["params"] == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 10**400}


# ----------------------------------------------------------------------------------------- status


def seen(state: State, at: float = NOW, **changes: object) -> Status:
    return replace(Status(state=state, observed_at=at), **changes)  # type: ignore[arg-type]


def test_weak_evidence_does_not_undo_strong(index: Index, make_run: Make) -> None:
    run = make_run(state=State.RUNNING, ended=None, exit_code=None)
    index.put(run)
    end = seen(State.SUCCEEDED, NOW, rank=Rank.RECORD, exit_code=0, ended=NOW - 1)
    assert index.update_status(run.id, end, now=NOW)
    for late in (
        seen(State.RUNNING, NOW + 5),
        seen(State.LOST, NOW + 6, rank=Rank.LOST),
        seen(State.FAILED, NOW + 7, rank=Rank.NATIVE, exit_code=1),
        seen(State.FAILED, NOW + 8, rank=Rank.RECORD, exit_code=1),
    ):
        assert not index.update_status(run.id, late, now=NOW + 9)
    found = index.get(run.id)
    assert found is not None
    assert (found.state, found.exit_code) == (State.SUCCEEDED, 0)


def test_a_higher_attempt_wins_and_starts_anew(index: Index, make_run: Make) -> None:
    run = make_run(state=State.FAILED, rank=Rank.RECORD, exit_code=1, pid=12)
    index.put(run)
    again = seen(State.RUNNING, NOW, attempt=1, started=NOW - 1, pid=99)
    assert index.update_status(run.id, again, now=NOW)
    found = index.get(run.id)
    assert found is not None
    assert (found.attempt, found.state, found.exit_code) == (1, State.RUNNING, None)
    assert (found.started, found.ended, found.pid) == (NOW - 1, None, 99)
    assert not index.update_status(run.id, seen(State.LOST, NOW + 1), now=NOW + 2)


def test_a_new_attempt_is_not_as_far_as_the_last_one(index: Index, make_run: Make) -> None:
    run = make_run(state=State.FAILED, main="loss", broken_at=NOW)
    index.put(run)
    marks = [SourceMark(path="log", offset=offset) for offset in range(3)]
    far = Progress(step=80, total=100, fraction=0.8, at=NOW)
    index.ingest(run.id, marks[0], marks[1], [], progress=far)
    assert index.rows(index.ids())[0].progress.step == 80
    index.update_statuses({run.id: seen(State.RUNNING, NOW + 5, attempt=1)})
    assert index.rows(index.ids())[0].progress == Progress(total=100)
    assert broken_metric(index.rows(index.ids())[0]) is None, "its loss is the last one's still"
    index.ingest(run.id, marks[1], marks[2], [], progress=replace(far, step=3, fraction=0.03))
    index.update_statuses({run.id: seen(State.RUNNING, NOW + 9, attempt=1)})
    assert index.rows(index.ids())[0].progress.step == 3


def test_a_main_metric_is_broken_from_its_first_value_that_no_finite_one_followed(
    index: Index, make_run: Make
) -> None:
    run = make_run(state=State.RUNNING, main="loss")
    index.put(run)
    marks = [SourceMark(path="log", offset=offset) for offset in range(5)]

    def wrote(n: int, *values: float) -> float | None:
        steps = [10 * n + place for place in range(len(values))]
        times = [NOW + step for step in steps]
        batch = Batch(key="loss", steps=steps, times=times, values=values, source="stdout")
        assert index.ingest(run.id, marks[n], marks[n + 1], [batch])
        found = index.get(run.id)
        assert found is not None
        return found.broken_at

    assert wrote(0, 3.0, math.nan, 2.0) is None
    assert wrote(1, 1.0, math.nan, math.inf) == NOW + 11
    assert wrote(2, math.nan) == NOW + 11, "it has been so since"
    assert wrote(3, 1.0) is None


def test_trouble_begins_when_a_place_first_tells_of_it_and_ends_when_it_no_longer_does(
    index: Index, make_run: Make
) -> None:
    run = make_run(state=State.RUNNING, ended=None)
    index.put(run)

    def told(at: float, reason: str, **more: object) -> float | None:
        index.update_status(run.id, seen(State.RUNNING, at, reason=reason, **more), now=at)
        found = index.get(run.id)
        assert found is not None
        return found.troubled_at

    assert told(NOW, "") is None
    assert told(NOW + 5, "stalled: no output for 4 s") == NOW + 5
    assert told(NOW + 9, "its supervisor has been silent for 61 s") == NOW + 5
    assert told(NOW + 12, "no heartbeat for 70 s", reach=Reach.STALE) == NOW + 5
    assert told(NOW + 15, "") is None
    assert told(NOW + 20, "stalled: no output for 4 s") == NOW + 20
    assert told(NOW + 25, "", attempt=1) is None
    assert told(NOW + 30, "stalled: no output for 4 s", attempt=1) == NOW + 30
    end = seen(State.SUCCEEDED, NOW + 40, rank=Rank.RECORD, exit_code=0, attempt=1)
    index.update_status(run.id, end, now=NOW + 40)
    assert index.rows(index.ids())[0].troubled_at is None


def test_how_long_a_run_may_take_is_known_from_its_launch_and_from_its_place(
    index: Index, make_run: Make
) -> None:
    run = make_run(state=State.RUNNING, started=NOW - 60, ended=None, time_limit=600.0)
    index.put(run)
    seen = Status(state=State.RUNNING, observed_at=NOW, rank=Rank.NONE, started=NOW - 60)
    index.update_status(run.id, replace(seen, limit=720.0))
    index.update_status(run.id, replace(seen, observed_at=NOW + 1))  # a look that is not told it
    index.put(replace(run, name="as described anew"))
    (found,) = index.rows(index.ids())
    assert (found.time_limit, found.place_limit) == (600.0, 720.0)
    index.update_status(run.id, replace(seen, observed_at=NOW + 2, limit=3600.0))
    assert index.rows(index.ids())[0].place_limit == 3600.0


def test_from_when_on_a_run_is_silent_is_known_with_what_it_reports(
    index: Index, make_run: Make
) -> None:
    run = make_run(state=State.RUNNING, started=NOW, ended=None)
    index.put(run)
    marks = [SourceMark(path="log", offset=offset) for offset in range(5)]

    def wrote(n: int, key: str, *seconds: float) -> float | None:
        times = [NOW + at for at in seconds]
        steps = [int(at) for at in seconds]
        batch = Batch(key=key, steps=steps, times=times, values=steps, source="stdout")
        assert index.ingest(run.id, marks[n], marks[n + 1], [batch])
        return index.rows(index.ids())[0].silent_from

    assert wrote(0, "loss", 1, 2, 3) == NOW + 3 + 180
    assert wrote(1, "loss", 60, 120) == NOW + 120 + 240, "its values come every 24 s"
    assert wrote(2, "system/cpu", 130, 140, 150) == NOW + 120 + 240, "its machine is no sign of it"
    again = seen(State.RUNNING, NOW + 500, attempt=1, started=NOW + 499)
    index.update_status(run.id, again, now=NOW + 500)
    assert index.rows(index.ids())[0].silent_from is None, "this attempt has reported nothing yet"
    assert wrote(3, "loss", 510, 511) is not None


def test_what_a_later_look_leaves_out_stays_known(index: Index, make_run: Make) -> None:
    run = make_run(state=State.RUNNING, ended=None, pid=12, log_bytes=100)
    index.put(run)
    index.update_status(run.id, seen(State.RUNNING, NOW), now=NOW)
    found = index.get(run.id)
    assert found is not None
    assert (found.pid, found.log_bytes, found.host, found.observed_at) == (12, 100, "box", NOW)


def test_only_what_a_person_would_notice_counts_as_changed(index: Index, make_run: Make) -> None:
    one, two = (make_run(state=State.RUNNING, exit_code=None, ended=None) for _ in range(2))
    index.put_many([one, two])
    looks = {
        one.id: seen(State.RUNNING, NOW, reason=one.reason),
        two.id: seen(State.STOPPING, NOW),
        "nobody": seen(State.LOST, NOW),
    }
    assert index.update_statuses(looks, now=NOW) == [two.id]
    found = index.get(one.id)
    assert found is not None
    assert found.observed_at == NOW, "its age is known all the same"


def test_a_place_that_does_not_answer_leaves_states_and_ages_as_they_are(
    index: Index, make_run: Make
) -> None:
    running = make_run(state=State.RUNNING, backend="gpu1", observed_at=NOW - 9)
    over, other = make_run(backend="gpu1"), make_run(state=State.RUNNING, backend="local")
    index.put_many([running, over, other])
    index.set_reach("gpu1", Reach.DOWN)
    found = {run.id: run for run in index.rows(index.ids())}
    assert found[running.id] == replace(running, reach=Reach.DOWN)
    assert found[over.id].reach is Reach.OK
    assert found[other.id].reach is Reach.OK
    assert listed(index)[2]["reach"] in ("down", "ok")


def test_putting_a_known_run_again_updates_what_describes_it_alone(
    index: Index, make_run: Make
) -> None:
    run = make_run(state=State.FAILED, rank=Rank.RECORD, exit_code=3, main="loss")
    index.put(run)
    index.put(replace(run, state=State.NEW, rank=Rank.NONE, observed_at=0.0, tags={"x": "1"}))
    found = index.get(run.id)
    assert found is not None
    assert (found.state, found.exit_code, found.tags) == (State.FAILED, 3, {"x": "1"})
    assert found.main == "loss"


def test_a_retry_that_is_put_makes_the_run_new_again(index: Index, make_run: Make) -> None:
    run = make_run(state=State.FAILED, rank=Rank.RECORD, exit_code=3)
    index.put(run)
    index.put(replace(run, attempt=1, state=State.NEW, rank=Rank.NONE, exit_code=None, ended=None))
    found = index.get(run.id)
    assert found is not None
    assert (found.attempt, found.state, found.ended) == (1, State.NEW, None)


def test_a_retry_that_had_nothing_to_do_is_where_the_attempt_before_had_come_to(
    index: Index, make_run: Make
) -> None:
    loss = MetricSummary(key="loss", count=3, last=1.0, last_step=30, last_time=NOW, source="hook")
    made = Progress(step=30, total=30, fraction=1.0, at=NOW)
    runs = [make_run(main="loss", metrics={"loss": loss}, progress=made) for _ in range(2)]
    index.put_many(runs)
    for state, step in ((State.RUNNING, None), (State.SUCCEEDED, 30)):
        seen = Status(state=state, attempt=1, started=NOW, observed_at=NOW + 1)
        index.update_statuses({runs[0].id: seen})
        found = index.get(runs[0].id)
        assert found is not None and found.progress.step == step
        assert found.progress.total == 30
    assert found.progress.fraction == 1.0
    index.update_statuses({runs[1].id: replace(seen, state=State.FAILED)})
    failed = index.get(runs[1].id)
    assert failed is not None and failed.progress.step is None, "this one did not get there"


def test_metrics_can_be_put_with_a_run_that_has_no_points_here(
    index: Index, make_run: Make
) -> None:
    loss = MetricSummary(key="loss", count=3, first=2.0, last=1.0, last_step=2, min=1.0, max=2.0)
    index.put(make_run(main="loss", metrics={"loss": loss, "acc": replace(loss, key="acc")}))
    (row,) = index.rows(index.ids())
    assert row.metrics == {"loss": loss}
    (row,) = index.rows(index.ids(), metrics="all")
    assert set(row.metrics) == {"loss", "acc"}
    assert listed(index)[0]["metrics"]["acc"]["last"] == 1.0


# ------------------------------------------------------------------------------------------ names


def test_a_run_is_meant_by_id_name_or_unique_prefix(index: Index, make_run: Make) -> None:
    index.put(make_run(id="1s2dpxrnbzb1", name="calm-fox"))
    index.put(make_run(id="1s2dqaaaaaaa", name="Brave-Elk"))
    for text in ("1s2dpxrnbzb1", "1S2DPXRNBZB1", "1s2dp", "calm-fox", "CALM-FOX"):
        assert index.resolve(text) == "1s2dpxrnbzb1"
    with pytest.raises(AmbiguousRun, match=r"'1s2d' fits several runs: .*calm-fox") as caught:
        index.resolve("1s2d")
    assert set(caught.value.candidates) == {"1s2dpxrnbzb1", "1s2dqaaaaaaa"}
    with pytest.raises(NoSuchRun, match="too short"):
        index.resolve("1s2")


def test_of_several_runs_of_one_name_the_newest_is_meant(index: Index, make_run: Make) -> None:
    older = make_run(name="again", created=NOW - 10)
    newer = make_run(name="again", created=NOW)
    index.put_many([newer, older])
    assert index.resolve("again") == newer.id
    index.put(make_run(name="AGAIN", created=NOW + 5))
    assert index.resolve("again") == newer.id, "the exact spelling comes first"


def test_strictly_meant_a_prefix_is_not_enough(index: Index, make_run: Make) -> None:
    index.put(make_run(id="1s2dpxrnbzb1", name="calm-fox"))
    assert index.resolve("calm-fox", strict=True) == "1s2dpxrnbzb1"
    assert index.resolve("1s2dpxrnbzb1", strict=True) == "1s2dpxrnbzb1"
    with pytest.raises(NoSuchRun, match="only the beginning of an id"):
        index.resolve("1s2dpx", strict=True)


def test_strictly_meant_a_name_in_other_capitals_is_not_enough(
    index: Index, make_run: Make
) -> None:
    index.put(make_run(name="Baseline"))
    assert index.resolve("baseline") == index.resolve("Baseline", strict=True)
    with pytest.raises(NoSuchRun, match="Did you mean Baseline"):
        index.resolve("baseline", strict=True)


def test_an_unknown_run_is_refused_with_the_nearest_name(index: Index, make_run: Make) -> None:
    with pytest.raises(NoSuchRun, match="There are no runs yet"):
        index.resolve("calm-fix")
    index.put(make_run(name="calm-fox"))
    with pytest.raises(NoSuchRun, match="Did you mean calm-fox") as caught:
        index.resolve("calm-fix")
    assert caught.value.exit_code == 2
    for odd in ("", "%", "_", "'; --", "\0", "\udcff", "x" * 5000):
        with pytest.raises(NoSuchRun):
            index.resolve(odd)


def test_a_foreign_job_is_named_by_its_place_and_number(index: Index, make_run: Make) -> None:
    index.put(make_run(id="slurm:4711", foreign=True, name=""))
    assert index.resolve("slurm:4711") == "slurm:4711"


def test_a_job_submitted_by_hand_is_called_by_all_of_its_number(
    index: Index, make_run: Make
) -> None:
    index.put_many([make_run(id="lab:81", name="by hand", foreign=True)])
    assert index.short_ids(["lab:81"]) == {"lab:81": "lab:81"}
    assert index.resolve("lab:81") == "lab:81"
    for text in ("lab:8", "lab:"):  # lab:8 is another job
        with pytest.raises(NoSuchRun):
            index.resolve(text)


def test_short_ids_name_one_run_only(index: Index, make_run: Make) -> None:
    ids = sorted(mint_id(NOW + i // 3) for i in range(60))
    index.put_many([make_run(id=run_id) for run_id in ids])
    for run_id, short in index.short_ids(ids).items():
        assert [other for other in ids if other.startswith(short)] == [run_id]
        assert len(short) >= 4
        assert index.resolve(short) == run_id
    assert index.short_ids(["zzzzzzzzzzzz"]) == {"zzzzzzzzzzzz": "zzzz"}


def test_a_taken_name_is_known_in_any_spelling(index: Index, make_run: Make) -> None:
    index.put(make_run(name="Straße"))
    assert index.has_name("STRASSE")
    assert not index.has_name("stra")


# ------------------------------------------------------------------------------------------ lists


def test_the_newest_run_comes_first(index: Index, make_run: Make) -> None:
    made = [make_run(created=NOW + i) for i in (3, 1, 2)]
    index.put_many(made)
    rows = index.rows(index.ids())
    assert [run.created for run in rows] == [NOW + 3, NOW + 2, NOW + 1]
    assert [run["id"] for run in listed(index)] == [run.id for run in rows]


def test_a_window_shows_what_is_active_or_ended_lately(index: Index, make_run: Make) -> None:
    active = make_run(state=State.RUNNING, created=NOW - 1e6, ended=None)
    recent = make_run(ended=NOW - 3600)
    long_ago = make_run(created=NOW - 1e6, ended=NOW - 90_000)
    hidden = make_run(ended=NOW - 60, archived=True)
    index.put_many([active, recent, long_ago, hidden])
    shown = {run.id for run in index.rows(index.ids(now=NOW, window=86_400))}
    assert shown == {active.id, recent.id}
    assert len(index.ids(now=NOW)) == 4


def test_rows_of_deleted_runs_are_left_out_and_numbers_are_not_used_again(
    index: Index, make_run: Make
) -> None:
    one, two = make_run(), make_run()
    index.put_many([one, two])
    numbers = index.ids()
    assert index.delete([two.id, "nobody"]) == 1
    assert [run.id for run in index.rows(numbers)] == [one.id]
    index.put(make_run())
    assert len(index.rows(numbers)) == 1


def test_groups_are_what_a_person_must_look_at_first(index: Index, make_run: Make) -> None:
    broken = MetricSummary(key="loss", count=2, last=math.nan, nonfinite=1)
    made = [
        make_run(state=State.FAILED, name="0 failed"),
        make_run(state=State.RUNNING, reach=Reach.DOWN, observed_at=NOW - 400, name="0 silent"),
        make_run(
            state=State.RUNNING,
            main="loss",
            metrics={"loss": broken},
            broken_at=NOW - 5,
            name="0 broken",
        ),
        make_run(
            state=State.RUNNING,
            main="loss",
            metrics={"loss": broken},
            broken_at=NOW - 5,
            looked_at=NOW,
            name="1 seen broken",
        ),
        make_run(state=State.RUNNING, observed_at=NOW - 400, name="1 running"),
        make_run(state=State.RUNNING, troubled_at=NOW - 9, name="0 in trouble"),
        make_run(state=State.RUNNING, troubled_at=NOW - 9, looked_at=NOW, name="1 seen"),
        make_run(
            state=State.RUNNING,
            troubled_at=NOW - 9,
            observed_at=NOW - 8,
            reach=Reach.STALE,
            name="1 in trouble when it was last heard of",
        ),
        make_run(state=State.RUNNING, observed_at=NOW, silent_from=NOW - 9, name="0 hangs"),
        make_run(
            state=State.RUNNING,
            observed_at=NOW,
            silent_from=NOW - 9,
            looked_at=NOW - 5,
            name="1 seen so",
        ),
        make_run(
            state=State.RUNNING,
            observed_at=NOW,
            troubled_at=NOW - 190,
            silent_from=NOW - 9,
            looked_at=NOW - 60,
            name="1 seen stalled",
        ),
        make_run(state=State.RUNNING, observed_at=NOW, silent_from=NOW + 9, name="1 has time yet"),
        make_run(state=State.RUNNING, reach=Reach.DOWN, observed_at=NOW - 9, name="1 silent"),
        make_run(state=State.QUEUED, name="2 queued"),
        make_run(state=State.FAILED, looked_at=NOW, name="3 seen"),
        make_run(state=State.SUCCEEDED, name="3 done"),
    ]
    index.put_many(made)
    numbers = index.ids(sort=("group",), now=NOW)
    groups = index.groups(numbers, now=NOW)
    assert list(groups) == sorted(groups)
    for run, number in zip(index.rows(numbers), groups, strict=True):
        assert run.name[0] == str(number)
        assert group(run, NOW) == number


def test_counts_and_active_runs(index: Index, make_run: Make) -> None:
    running, queued = make_run(state=State.RUNNING), make_run(state=State.QUEUED, backend="gpu1")
    index.put_many([running, queued, make_run(), make_run()])
    assert index.counts() == {State.RUNNING: 1, State.QUEUED: 1, State.SUCCEEDED: 2}
    assert {run.id for run in index.active()} == {running.id, queued.id}
    assert [run.id for run in index.active("gpu1")] == [queued.id]


def test_the_states_in_sql_are_those_of_the_contract(index: Index, make_run: Make) -> None:
    for state in State:
        run = make_run(state=state)
        index.put(run)
        assert index.has_active() is (state in ACTIVE)
        index.delete([run.id])


def test_the_array_is_what_is_printed_for_all_runs(index: Index, make_run: Make) -> None:
    assert b"".join(index.json_array()) == b"[]\n"
    made = [make_run(created=NOW - i) for i in range(120)]
    index.put_many(made)
    printed = json.loads(b"".join(index.json_array()))
    assert printed == [json.loads(json.dumps(run_json(run))) for run in index.rows(index.ids())]
    assert [run["id"] for run in printed] == [run.id for run in made]


def test_a_screen_learns_what_changed_without_reading_all(index: Index, make_run: Make) -> None:
    made = [make_run(state=State.RUNNING) for _ in range(20)]
    index.put_many(made)
    none, stamp, removed = index.changes(-1)
    assert (list(none), removed) == ([], False)
    before = index.version()
    index.update_status(made[7].id, seen(State.STOPPING), now=NOW)
    changed, stamp, removed = index.changes(stamp)
    assert [run.id for run in index.rows(changed)] == [made[7].id]
    assert not removed
    assert index.version() != before
    index.delete([made[3].id])
    assert index.changes(stamp)[2]


# ----------------------------------------------------------------------------------------- leases


def test_of_ten_who_wait_one_polls(index: Index, tmp_path: Path) -> None:
    others = [Index.open(index.path) for _ in range(3)]
    assert [one.try_lease("poll local", 60) for one in (index, *others)].count(True) == 1
    assert index.try_lease("poll gpu1", 60)
    index.release("poll local")
    assert others[0].try_lease("poll local", 60)
    for one in others:
        one.close()


def test_a_lease_ends_by_itself(index: Index) -> None:
    assert index.try_lease("poll", 0.0)
    assert index.try_lease("poll", 60)


def test_a_clock_that_was_set_back_does_not_hold_a_lease_for_days(index: Index) -> None:
    assert index.try_lease("poll", 86_400.0)
    assert index.try_lease("poll", 2.0), "it ends later than any lease of two seconds can"


def test_who_waits_for_a_run_says_so_for_a_while(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.want("a", 10)
    index.want("b", 100)
    other = Index.open(index.path)
    assert sorted(other.wanted()) == ["a", "b"]
    said = index._db.read(lambda db: db.execute("SELECT * FROM leases").fetchall())
    other.want("a", 10)
    again = index._db.read(lambda db: db.execute("SELECT * FROM leases").fetchall())
    assert again == said, "what was said a moment ago is not written again"
    other.close()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 50)
    assert index.wanted() == ["b"]
    index.want("c", 100)
    assert sorted(index.wanted()) == ["b", "c"]


def test_that_the_clock_was_set_is_noticed_once(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert index.clock_goes_on(), "nobody has dated anything"
    index.note_clock()
    assert index.clock_goes_on()
    real = time.time
    for seconds in (-3600, -0.5, 0.5, 1e9):
        monkeypatch.setattr(time, "time", lambda by=seconds: real() + by)
        assert not index.clock_goes_on()
        index.note_clock()
        assert index.clock_goes_on()


def test_a_lease_that_is_garbage_heals(index: Index) -> None:
    index._db.write(lambda db: db.execute("INSERT INTO leases VALUES ('poll', 'x')"))
    assert index.try_lease("poll", 60)
