"""Series: every point once, the best value for a step, summaries that are always true."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traindeck.console.store.index import Index
from traindeck.console.store.records import MetricSummary, Progress, RunRecord
from traindeck.console.store.series import SOURCES, Batch, SourceMark
from traindeck.console.store.spark import CELLS, CHUNK, levels, slices

from .conftest import listed

Make = Callable[..., RunRecord]
PATH = "attempts/0/metrics.jsonl"


@dataclass
class Feed:
    """Enters batches as if they came from one growing file."""

    index: Index
    run_id: str
    mark: SourceMark = field(default_factory=lambda: SourceMark(path=PATH))

    def __call__(self, *batches: Batch, **more: object) -> None:
        after = SourceMark(path=PATH, offset=self.mark.offset + 1)
        assert self.index.ingest(self.run_id, self.mark, after, batches, **more)  # type: ignore[arg-type]
        self.mark = after

    def metric(self, key: str = "loss") -> MetricSummary:
        run = self.index.get(self.run_id)
        assert run is not None
        return run.metrics[key]


@pytest.fixture
def feed(index: Index, make_run: Make) -> Feed:
    run = make_run()
    index.put(run)
    return Feed(index, run.id)


def batch(steps: Sequence[int], values: Sequence[float] | None = None, **changes: object) -> Batch:
    chosen = [float(step) for step in steps] if values is None else values
    times = [1000.0 + step for step in steps]
    return Batch(key="loss", steps=steps, times=times, values=chosen, **changes)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------------------- points


def test_points_are_read_back_in_order_and_numpy_sees_them(index: Index, feed: Feed) -> None:
    feed(batch(range(2500)))
    feed(batch(range(2500, 2600)))
    points = index.points(feed.run_id, "loss")
    assert np.array_equal(np.frombuffer(points.steps, np.int64), np.arange(2600))
    assert np.array_equal(np.asarray(points.values), np.arange(2600.0))
    assert points.times[7] == 1007.0
    assert (points.seams, points.sources) == (((0, 0),), ("hook",))
    assert index.keys(feed.run_id) == ["loss"]


def test_a_part_of_a_long_series_can_be_read_alone(index: Index, feed: Feed) -> None:
    feed(batch(range(0, 100_000, 10)))
    points = index.points(feed.run_id, "loss", start=95_003)
    assert 95_003 - 10 * CHUNK <= points.steps[0] <= 95_003
    assert points.steps[-1] == 99_990
    assert len(index.points(feed.run_id, "loss", start=10**30).steps) <= CHUNK
    assert len(index.points(feed.run_id, "loss", start=-(10**30)).steps) == 10_000


def test_lists_arrays_and_numpy_arrays_are_all_taken(index: Index, feed: Feed) -> None:
    feed(batch([1, 2]))
    feed(Batch(key="loss", steps=array("q", [3]), times=array("d", [0]), values=array("d", [3])))
    steps = np.array([4, 5, 6, 7])
    feed(Batch(key="loss", steps=steps[::2], times=steps[::2] * 1.0, values=steps[::2] / 1))  # type: ignore[arg-type]
    small = np.array([8], np.int32)
    feed(Batch(key="loss", steps=small, times=small, values=small.astype(np.float32)))  # type: ignore[arg-type]
    assert list(index.points(feed.run_id, "loss").steps) == [1, 2, 3, 4, 6, 8]


def test_a_series_nobody_logged_is_empty(index: Index, feed: Feed) -> None:
    assert len(index.points(feed.run_id, "nothing").steps) == 0
    assert len(index.points("nobody", "loss").steps) == 0


def test_values_that_no_column_can_hold_are_dropped_or_infinite(index: Index, feed: Feed) -> None:
    feed(batch([1, 10**30, 2], [1.0, 2.0, 10**400]))
    points = index.points(feed.run_id, "loss")
    assert list(points.steps) == [1, 2]
    assert list(points.values) == [1.0, math.inf]
    metric = feed.metric()
    assert (metric.last, metric.max, metric.nonfinite) == (math.inf, 1.0, 1)


def test_a_mistake_of_the_reader_enters_nothing(index: Index, feed: Feed) -> None:
    with pytest.raises(ValueError, match="differ in length"):
        feed(Batch(key="loss", steps=[1, 2], times=[0.0], values=[1.0]))
    with pytest.raises(KeyError):
        feed(batch([1], source="telepathy"))
    assert index.source(feed.run_id, PATH) == SourceMark(path=PATH)


# ------------------------------------------------------------------------- which value is the one


def test_the_more_trusted_source_wins_whichever_comes_first(index: Index, feed: Feed) -> None:
    feed(batch([1, 2, 3], [1.1, 1.2, 1.3], source="stdout"))
    feed(batch([2], [1.23456], source="hook"))
    feed(batch([2, 4], [9.9, 1.4], source="stdout"))
    points = index.points(feed.run_id, "loss")
    assert list(points.values) == [1.1, 1.23456, 1.3, 1.4]
    assert points.sources == ("hook", "stdout")
    assert list(points.source_of) == [SOURCES[s] for s in ("stdout", "hook", "stdout", "stdout")]
    assert feed.metric().source == "hook+stdout"
    feed(batch([1, 3, 4], source="trainer_state"))
    assert feed.metric().source == "hook+trainer_state"


def test_reading_a_file_again_from_its_start_changes_nothing(index: Index, feed: Feed) -> None:
    feed(batch(range(1500)))
    before, summary = index.points(feed.run_id, "loss"), feed.metric()
    feed(batch(range(700)), batch(range(700, 1500)))
    assert index.points(feed.run_id, "loss") == before
    assert feed.metric() == summary


def test_of_two_values_from_one_source_the_later_stands(index: Index, feed: Feed) -> None:
    feed(batch([1, 2, 3]))
    feed(batch([2], [7.0]))
    assert list(index.points(feed.run_id, "loss").values) == [1.0, 7.0, 3.0]
    feed(batch([3, 3], [8.0, 9.0]))
    assert list(index.points(feed.run_id, "loss").values) == [1.0, 7.0, 9.0]


def test_a_resume_supersedes_from_its_first_step_and_the_seam_is_known(
    index: Index, feed: Feed
) -> None:
    feed(batch(range(2000)))
    feed(batch(range(1500, 1600), [0.5] * 100, attempt=1))
    points = index.points(feed.run_id, "loss")
    assert list(points.steps) == list(range(1600))
    assert points.seams == ((0, 0), (1500, 1))
    assert list(points.values[1498:1502]) == [1498.0, 1499.0, 0.5, 0.5]
    metric = feed.metric()
    assert (metric.count, metric.last, metric.last_step, metric.max) == (1600, 0.5, 1599, 1499.0)


def test_what_an_earlier_attempt_logged_beyond_the_seam_stays_away_if_it_is_read_later(
    index: Index, feed: Feed
) -> None:
    feed(batch(range(1500, 1600), attempt=1))
    feed(batch(range(3000), [7.0] * 3000))
    points = index.points(feed.run_id, "loss")
    assert list(points.steps) == list(range(1600))
    assert points.seams == ((0, 0), (1500, 1))
    assert feed.metric().last == 1599.0


def test_an_earlier_attempt_that_is_read_on_grows_before_the_seam(index: Index, feed: Feed) -> None:
    feed(batch([0, 1]), batch([6, 7], attempt=1))
    feed(batch([2, 3]))
    assert list(index.points(feed.run_id, "loss").steps) == [0, 1, 2, 3, 6, 7]
    assert (feed.metric().last, feed.metric().count) == (7.0, 6)


def test_a_retry_from_the_start_leaves_nothing_of_the_first_try(index: Index, feed: Feed) -> None:
    feed(batch(range(5000)))
    feed(batch([0], [3.0], attempt=1))
    assert list(index.points(feed.run_id, "loss").values) == [3.0]
    assert feed.metric().count == 1


@st.composite
def histories(draw: st.DrawFn) -> list[Batch]:
    """Batches of one series by several sources and attempts, in any order."""
    made = []
    values = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 1e308])
    # Small and crowded, so that batches meet; or long, so that they fill chunks.
    reach, counts = draw(st.sampled_from([(12, [1, 2, 5]), (40, [3, 20]), (2500, [40, 1200])]))
    for _ in range(draw(st.integers(1, 9))):
        start = draw(st.integers(-reach // 4, reach))
        stride = draw(st.sampled_from([1, 1, 3, -1, 0]))
        count = draw(st.sampled_from(counts))
        steps = [start + stride * i for i in range(count)]
        kinds = draw(st.lists(values, min_size=1, max_size=4))
        made.append(
            Batch(
                key="loss",
                steps=steps,
                times=[float(i) for i in range(count)],
                values=[kinds[i % len(kinds)] for i in range(count)],
                source=draw(st.sampled_from(["hook", "tensorboard", "stdout"])),
                attempt=draw(st.sampled_from([0, 0, 0, 1, 2])),
            )
        )
    return made


def told(made: Sequence[Batch]) -> dict[int, tuple[float, float, int, int]]:
    """What a series is, as the promise says it: step -> (value, time, attempt, trust)."""
    first: dict[int, int] = {}
    for b in made:
        first[b.attempt] = min(first.get(b.attempt, 1 << 60), *b.steps)
    best: dict[int, tuple[float, float, int, int]] = {}
    for b in made:
        limit = min((at for attempt, at in first.items() if attempt > b.attempt), default=1 << 60)
        for step, time, value in zip(b.steps, b.times, b.values, strict=True):
            new = (value, time, b.attempt, SOURCES[b.source])
            if step < limit and (step not in best or new[2:] >= best[step][2:]):
                best[step] = new
    return dict(sorted(best.items()))


@given(made=histories())
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_series_is_a_function_of_the_step_whatever_order_it_comes_in(
    index: Index, make_run: Make, made: list[Batch]
) -> None:
    run = make_run()
    index.put(run)
    feed = Feed(index, run.id)
    for b in made:
        feed(b)
    expected = told(made)
    points = index.points(run.id, "loss")
    assert list(points.steps) == list(expected)
    assert points.values.tobytes() == array("d", [v[0] for v in expected.values()]).tobytes()
    assert list(points.times) == [v[1] for v in expected.values()]
    assert list(points.source_of) == [v[3] for v in expected.values()]
    attempts = [attempt for _, _, attempt, _ in expected.values()]
    starts = [i for i in range(len(attempts)) if i == 0 or attempts[i] != attempts[i - 1]]
    assert points.seams == tuple((i, attempts[i]) for i in starts)
    check_summary(feed.metric(), points.steps, points.values)


def check_summary(metric: MetricSummary, steps: Sequence[int], values: Sequence[float]) -> None:
    finite = [(v, s) for v, s in zip(values, steps, strict=True) if math.isfinite(v)]
    assert metric.count == len(values)
    assert metric.nonfinite == len(values) - len(finite)
    assert metric.last_step == steps[-1]
    last_finite = max((at for at, v in enumerate(values) if math.isfinite(v)), default=-1)
    assert metric.broken_step == next(iter(steps[last_finite + 1 : last_finite + 2]), None)
    for got, want in ((metric.first, values[0]), (metric.last, values[-1])):
        assert got == want or (got is not None and math.isnan(got) and math.isnan(want))
    assert metric.min == min((v for v, _ in finite), default=None)
    assert metric.max == max((v for v, _ in finite), default=None)
    assert (metric.min, metric.min_step) in [*finite, (None, None)]
    assert (metric.max, metric.max_step) in [*finite, (None, None)]
    assert len(metric.spark) <= CELLS


# -------------------------------------------------------------------------------------- summaries


def test_a_summary_grows_with_its_series(index: Index, feed: Feed) -> None:
    values: list[float] = []
    for start in range(0, 3000, 137):
        new = [math.sin(step / 50) if step % 97 else math.nan for step in range(start, start + 137)]
        values += new
        feed(batch(range(start, start + 137), new))
        check_summary(feed.metric(), range(len(values)), values)
    assert feed.metric().last_time == 1000.0 + len(values) - 1


def test_since_when_a_series_is_broken_is_known_over_chunks_and_batches(feed: Feed) -> None:
    feed(batch([1, 2, 3, 4], [1.0, math.nan, 0.5, 0.4]))
    assert feed.metric().broken_step is None
    for start in range(5, 3000, 700):
        feed(batch(range(start, start + 700), [math.nan] * 700))
        assert feed.metric().broken_step == 5
    feed(batch([20], [math.inf], attempt=1))  # made anew from the chunks
    assert feed.metric().broken_step == 5
    feed(batch([21], [0.5], attempt=1))
    assert feed.metric().broken_step is None


def test_the_lists_json_holds_the_newest_summary(index: Index, feed: Feed) -> None:
    feed(batch([1, 2]), progress=Progress(step=2, total=10, fraction=0.2, eta=8.0), main="loss")
    shown = listed(index)[0]
    assert shown["metrics"]["loss"]["last"] == 2.0
    assert (shown["main"], shown["progress"]["step"]) == ("loss", 2)
    feed(batch([3], [math.nan]))
    shown = listed(index)[0]
    assert (shown["metrics"]["loss"]["last"], shown["metrics"]["loss"]["nonfinite"]) == ("NaN", 1)
    (row,) = index.rows(index.ids())
    assert row.progress.total == 10, "what was not given anew stays"
    assert math.isnan(row.metrics["loss"].last or 0.0)


def test_a_sparkline_shows_the_last_half_on_its_own_scale(index: Index, feed: Feed) -> None:
    feed(batch(range(200), [100.0] * 100 + [float(i) for i in range(100)]))
    spark = feed.metric().spark
    assert len(spark) == CELLS
    assert spark == "".join(sorted(spark))
    assert (spark[0], spark[-1]) == ("0", "6")


def test_a_sparkline_of_a_short_series_has_one_level_a_point(index: Index, feed: Feed) -> None:
    feed(batch(range(8), [9.0, 9.0, 9.0, 9.0, 3.0, 2.0, 1.0, 0.0]))
    assert feed.metric().spark == "6420"
    feed(batch([8], [0.0]))
    assert len(feed.metric().spark) == 5


@pytest.mark.parametrize("value", [3e-4, -0.1, 1e9, 0.0])
def test_the_sparkline_of_a_constant_is_flat_though_means_of_it_differ(
    feed: Feed, value: float
) -> None:
    for start in range(0, 6404, 100):
        end = min(6404, start + 100)
        feed(batch(range(start, end), [value] * (end - start)))
    assert set(feed.metric().spark) == {"3"}


def test_values_that_are_not_finite_are_gaps_in_the_sparkline() -> None:
    assert levels([(1.0, 1), (math.nan, 1), (math.inf, 1), (2.0, 1)]) == "0776"
    assert levels([(math.nan, 5)]) == "7"
    assert levels([(5.0, 1), (5.0, 1)]) == "33"
    assert levels([(-1.7e308, 1), (0.0, 1), (1.7e308, 1)]) == "036"


@pytest.mark.parametrize("points", range(1, 300))
def test_a_sparkline_has_no_gap_where_no_value_is_missing(points: int) -> None:
    means, counts = slices(array("d", map(float, range(points))))
    spark = levels(list(zip(means, counts, strict=True)), points // 2)
    assert "7" not in spark and spark == "".join(sorted(spark))


@pytest.mark.parametrize("count", [999, 1000, 1001, 5000, 40_000, 400_000])
def test_sparklines_of_any_length_follow_the_curve(feed: Feed, count: int) -> None:
    values = [math.cos(2 * math.pi * step / count) for step in range(count)]
    feed(batch(range(count), values))
    spark = feed.metric().spark
    half = values[count // 2 :]
    cells = [half[i * len(half) // CELLS : (i + 1) * len(half) // CELLS] for i in range(CELLS)]
    means = [sum(cell) / len(cell) for cell in cells]
    low, high = min(means), max(means)
    expected = [round((mean - low) / (high - low) * 6) for mean in means]
    assert len(spark) == CELLS
    # A chunk's parts need not end where a cell does: a level more or less.
    assert all(abs(int(got) - want) <= 1 for got, want in zip(spark, expected, strict=True))


# ------------------------------------------------------------------------------------------ marks


def test_a_reader_that_was_overtaken_enters_nothing(index: Index, feed: Feed) -> None:
    first = index.source(feed.run_id, PATH)
    assert first == SourceMark(path=PATH)
    done = SourceMark(path=PATH, inode=7, size=100, offset=100, carry="x")
    assert index.ingest(feed.run_id, first, done, [batch([1])])
    assert not index.ingest(feed.run_id, first, done, [batch([2])])
    assert index.source(feed.run_id, PATH) == done
    assert list(index.points(feed.run_id, "loss").steps) == [1]


def test_the_points_of_a_run_that_is_gone_are_refused(index: Index, feed: Feed) -> None:
    index.delete([feed.run_id])
    mark = SourceMark(path=PATH)
    assert not index.ingest(feed.run_id, mark, SourceMark(path=PATH, offset=1), [batch([1])])


def test_nothing_of_a_deleted_run_is_left(index: Index, feed: Feed) -> None:
    feed(batch(range(3000)), batch(range(2000, 2010), attempt=1))
    index.delete([feed.run_id])
    tables = ("runs", "texts", "ready", "tags", "params", "series", "chunks", "cuts", "sources")
    for table in tables:
        count = index._db.read(
            lambda db, t=table: db.execute(f"SELECT count(*) FROM {t}").fetchone()
        )
        assert count == (0,), table
