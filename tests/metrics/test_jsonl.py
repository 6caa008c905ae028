"""JSON lines: the channel of our trainers, samples of the system, and what others write."""

from __future__ import annotations

import json
import math
import os
import random

from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.metrics.jsonl import read_metrics, read_system
from traindeck.console.metrics.reading import Carry, Reading
from traindeck.console.store.records import CHECKPOINT


def lines(*records: object) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def points(reading: Reading, key: str) -> list[tuple[int, float]]:
    return list(zip(reading.series[key].steps, reading.series[key].values, strict=True))


def test_the_channel_of_trainers_is_read_with_its_events() -> None:
    reading = read_metrics(
        lines(
            {"step": 0, "time": 10.0, "__event__": "total_steps", "value": 60},
            {"step": 1, "time": 11.5, "loss": 2.5, "lr": 1e-3, "eval/loss": "NaN"},
            {"step": 2, "time": 12.0, "__event__": "checkpoint", "path": "artifacts/checkpoint-2"},
            {"step": 3, "time": 13.0, "__event__": "something new", "value": 1},
        ),
        {},
    )
    assert points(reading, "loss") == [(1, 2.5)]
    assert reading.series["loss"].times == [11.5]
    assert math.isnan(reading.series["eval/loss"].values[0])
    assert reading.series[CHECKPOINT].steps == [2]
    assert (reading.step, reading.total) == (2, 60)
    assert set(reading.series) == {"loss", "lr", "eval/loss", CHECKPOINT}


def test_an_attempt_that_goes_on_stands_where_it_began_and_none_at_its_start() -> None:
    total = {"time": 1.0, "__event__": "total_steps", "value": 60}
    assert read_metrics(lines({"step": 60, **total}), {}).step == 60
    assert read_metrics(lines({"step": 0, **total}), {}).step is None
    assert read_metrics(lines(total), {}).step is None


def test_two_names_of_one_quantity_in_one_file_are_two_series() -> None:
    first = read_metrics(lines({"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}), {})
    later = read_metrics(lines({"step": 2, "train_loss": 7.0, "val_loss": 6.0}), first.carry)
    assert points(later, "train_loss") == [(2, 7.0)]
    assert points(later, "eval/loss") == [(2, 6.0)]
    alone = read_metrics(
        lines({"epoch": 1, "train_loss": 7.0}, {"epoch": 2, "train_loss": 5.0}), {}
    )
    assert alone.counted["loss"].values == [7.0, 5.0]


def test_llama_factory_is_read() -> None:
    record = {
        "current_steps": 10, "total_steps": 100, "loss": 1.5, "lr": 1e-4, "epoch": 0.5,
        "percentage": 10.0, "elapsed_time": "0:00:05", "remaining_time": "0:00:45",
    }  # fmt: skip
    reading = read_metrics(lines(record), {})
    assert set(reading.series) == {"loss", "lr", "epoch"}
    assert (reading.step, reading.total) == (10, 100)


def test_objects_without_a_step_are_counted_apart() -> None:
    reading = read_metrics(lines({"loss": 2.0}, {"loss": 1.0}), {})
    assert reading.counted["loss"].steps == [0, 1]
    assert (reading.series, reading.step) == ({}, None)
    more = read_metrics(lines({"loss": 0.5}), reading.carry)
    assert more.counted["loss"].steps == [2]


def test_one_level_of_nesting_is_followed_and_milliseconds_are_understood() -> None:
    record = {"step": 4, "timestamp": 1_700_000_000_000, "train": {"loss": 0.5, "deep": {"x": 1}}}
    reading = read_metrics(lines(record), {})
    assert points(reading, "loss") == [(4, 0.5)]
    assert reading.series["loss"].times == [1.7e9]
    assert set(reading.series) == {"loss"}


def test_samples_of_the_system_are_counted_and_timed() -> None:
    reading = read_system(lines({"time": 5.0, "cpu_pct": 98.0}, {"time": 6.0, "cpu_pct": 97.0}), {})
    columns = reading.series["system/cpu_pct"]
    assert (columns.steps, columns.times) == ([0, 1], [5.0, 6.0])
    assert read_system(lines({"time": 7.0, "cpu_pct": 1}), reading.carry).series[
        "system/cpu_pct"
    ].steps == [2]


def test_the_last_sample_of_what_is_just_ending_says_nothing_of_its_memory() -> None:
    rows = ({"time": 5.0, "rss_bytes": 9, "procs": 1}, {"time": 6.0, "rss_bytes": 0, "procs": 1})
    series = read_system(lines(*rows), {}).series
    assert list(series["system/rss_bytes"].values) == [9.0]
    assert list(series["system/procs"].values) == [1.0, 1.0]


def test_a_torn_last_line_waits_for_its_rest() -> None:
    data = lines({"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0})
    for cut in range(len(data)):
        first = read_metrics(data[:cut], {})
        second = read_metrics(data[first.consumed :], first.carry)
        found = [
            point for r in (first, second) if "loss" in r.series for point in points(r, "loss")
        ]
        assert found == [(1, 2.0), (2, 1.0)]


def test_garbage_between_lines_is_passed_over() -> None:
    junk = b'\xff\xfe\n{"step": 1\n[1, 2]\n"x"\n{"step": -1, "loss": 1}\n' + b"[" * 5000 + b"\n"
    junk += b'{"step": true, "loss": 2}\n{"step": 1e400, "loss": 3}\n{"step": 5, "loss": 10e400}\n'
    reading = read_metrics(junk + lines({"step": 9, "loss": 1.0}), {})
    assert points(reading, "loss")[-1] == (9, 1.0)
    assert points(reading, "loss")[0] == (5, math.inf)
    strange = read_metrics(lines({"step": -3, "loss": 2.0}, {"step": 1e20, "loss": 3.0}), {})
    assert not strange.series and not strange.counted, "a step that is none is not the next one"
    assert reading.consumed == len(junk) + len(lines({"step": 9, "loss": 1.0}))


@given(st.lists(st.binary(max_size=80)), st.booleans())
def test_any_bytes_are_read(parts: list[bytes], system: bool) -> None:
    reader = read_system if system else read_metrics
    reader(b"\n".join(parts), {})


def test_hostile_records_neither_crash_nor_grow() -> None:
    rng = random.Random(1)
    words = ['{"step":', "5", ",", '"loss":', "NaN", "1e999", "-Infinity", "}", "{", "[", "]", '"']
    words += ['"time":', "null", "true", '"__event__":', '"checkpoint"', "9" * 50, "\\u0000", ":"]
    carry: Carry = {}
    count = int(os.environ.get("SOAK", "0")) * 100 or 20_000
    for _ in range(count // 50):
        data = "\n".join("".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(50))
        carry = read_metrics(data.encode() + b"\n", carry).carry
        assert len(json.dumps(carry)) < 200
