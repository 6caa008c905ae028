"""Files that trainers write: HF's trainer_state.json, Lightning's metrics.csv."""

from __future__ import annotations

import json
import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.metrics.csv_rows import read_csv
from traindeck.console.metrics.trainer_state import read_trainer_state

DATA = Path(__file__).parent / "data"


def test_a_trainers_state_is_read_whole_and_in_full_precision() -> None:
    data = (DATA / "trl_trainer_state.json").read_bytes()
    reading = read_trainer_state(data, {})
    history = json.loads(data)["log_history"]
    logged = [(row["step"], row["loss"]) for row in history if "loss" in row]
    assert (
        list(zip(reading.series["loss"].steps, reading.series["loss"].values, strict=True))
        == logged
    )
    assert reading.series["eval/loss"].steps == [10, 20, 30]
    assert (reading.step, reading.total) == (30, 30)
    assert not [key for key in reading.series if "runtime" in key or "per_second" in key]


def test_a_torn_state_yields_nothing_and_no_error() -> None:
    data = (DATA / "trl_trainer_state.json").read_bytes()
    for cut in range(0, len(data) - 2, 97):
        assert read_trainer_state(data[:cut], {}).series == {}


NAMES = st.sampled_from(["log_history", "step", "loss", "max_steps", "epoch"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()


@given(
    st.recursive(LEAVES, lambda x: st.lists(x, max_size=3) | st.dictionaries(NAMES, x, max_size=4))
)
def test_any_json_is_read(value: object) -> None:
    read_trainer_state(json.dumps(value).encode(), {})
    read_trainer_state(json.dumps({"log_history": value, "max_steps": value}).encode(), {})


CSV = b"epoch,step,train_loss,val_loss\n0,9,1.5,\n0,19,1.25,\n0,19,,1.75\n1,29,nan,\n"


def test_a_csv_is_read_with_its_holes() -> None:
    reading = read_csv(CSV, {})
    assert reading.series["loss"].steps == [9, 19, 29]
    assert reading.series["eval/loss"].values == [1.75]
    assert reading.series["epoch"].values == [0, 0, 0, 1]
    assert reading.step == 29
    assert reading.consumed == len(CSV)


def test_a_growing_csv_is_read_on() -> None:
    for cut in range(len(CSV)):
        first = read_csv(CSV[:cut], {})
        second = read_csv(CSV[first.consumed :], first.carry)
        steps = [
            step for r in (first, second) if "loss" in r.series for step in r.series["loss"].steps
        ]
        assert steps == [9, 19, 29]


def test_a_csv_without_steps_is_no_series() -> None:
    assert read_csv(b"a,b\n1,2\n", {}).series == {}


def test_hostile_tables_are_read() -> None:
    rng = random.Random(2)
    words = [
        b"step",
        b",",
        b"\n",
        b'"',
        b"1",
        b"1e999",
        b"nan",
        b"\0",
        b"\xff",
        b"loss",
        b"\r",
        b"-5",
    ]
    for _ in range(3000):
        data = b"step,loss\n" * rng.randint(0, 1) + b"".join(
            rng.choices(words, k=rng.randint(1, 60))
        )
        read_csv(data, {})
    read_csv(b"step,loss\n" + b"x" * 200_000 + b"\n", {})


def test_columns_may_be_padded_and_steps_called_otherwise() -> None:
    reading = read_csv(b"rollout/ep_rew_mean,time/total_timesteps,train/loss\n1.5,2048,\n", {})
    assert dict(reading.series.items()).keys() == {"rollout/ep_rew_mean"}
    assert (reading.series["rollout/ep_rew_mean"].steps, reading.step) == ([2048], 2048)


def test_epochs_in_a_file_are_no_steps_beside_those_of_the_log() -> None:
    """As ultralytics and timm write theirs: the log names steps for the same series."""
    data = b"   epoch,   train/box_loss,   metrics/mAP50(B)\n   1,   1.7,   0.25\n  2,  1.5,  0.5\n"
    reading = read_csv(data, {})
    assert (reading.series, reading.step) == ({}, None)
    assert reading.counted["box_loss"].steps == [1, 2]
    assert reading.counted["metrics/mAP50(B)"].values == [0.25, 0.5]
    cut = data.index(b"  2,")
    first = read_csv(data[:cut], {})
    assert read_csv(data[cut:], first.carry).counted["box_loss"].steps == [2]
