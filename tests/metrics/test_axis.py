"""One x axis for training, evaluation and the machine."""

from __future__ import annotations

import math
from array import array

import numpy as np

from traindeck.console.metrics.axis import Axis, carried
from traindeck.console.store.series import Points


def series(steps: list[int], times: list[float], values: list[float]) -> Points:
    return Points(steps=array("q", steps), times=array("d", times), values=array("d", values))


LOSS = series([10, 20, 30], [100.0, 110.0, 130.0], [3.0, 2.0, 1.0])
EPOCH = series([10, 30], [100.0, 130.0], [0.5, 1.5])
CPU = series([0, 1, 2, 3], [90.0, 105.0, 120.0, 140.0], [1.0, 2.0, 3.0, 4.0])
ALL = {"loss": LOSS, "epoch": EPOCH, "system/cpu_pct": CPU}


def test_samples_of_the_machine_stand_where_training_was_then() -> None:
    places = Axis.over("step", ALL).places("system/cpu_pct", CPU)
    assert math.isnan(places[0]) and math.isnan(places[3]), "before and after it there is no step"
    assert places[1:3].tolist() == [15.0, 25.0]
    assert Axis.over("step", ALL).places("loss", LOSS).tolist() == [10.0, 20.0, 30.0]


def test_an_axis_of_time_begins_at_the_start() -> None:
    assert Axis.over("time", ALL, 100.0).places("loss", LOSS).tolist() == [0.0, 10.0, 30.0]
    assert Axis.over("time", ALL).places("system/cpu_pct", CPU)[0] == 0.0
    untimed = series([1, 2], [math.nan, math.nan], [1.0, 2.0])
    assert np.isnan(Axis.over("time", {"x": untimed}).places("x", untimed)).all()


def test_an_axis_of_epochs_is_what_was_logged_as_epoch() -> None:
    axis = Axis.over("epoch", ALL)
    assert axis.places("loss", LOSS).tolist() == [0.5, 1.0, 1.5]
    assert axis.places("system/cpu_pct", CPU)[1] == 0.75
    assert np.isnan(Axis.over("epoch", {"loss": LOSS}).places("loss", LOSS)).all()


def test_a_clock_that_goes_back_is_no_guide() -> None:
    odd = series([1, 2, 3, 4], [100.0, 50.0, math.nan, 200.0], [1.0, 1.0, 1.0, 1.0])
    axis = Axis.over("step", {"loss": odd})
    assert axis.clock[0].tolist() == [100.0, 200.0]
    assert axis.clock[1].tolist() == [1.0, 4.0]


def test_a_place_is_carried_to_another_axis_at_the_nearest_logged_point() -> None:
    steps, time, epoch = (Axis.over(kind, ALL, 100.0) for kind in ("step", "time", "epoch"))
    assert carried(21.0, {"loss": LOSS}, steps, time) == 10.0
    assert carried(29.0, {"loss": LOSS, "system/cpu_pct": CPU}, steps, time) == 30.0
    assert carried(10.0, {"loss": LOSS}, time, epoch) == 1.0
    untimed = series([1, 2], [math.nan, math.nan], [1.0, 2.0])
    assert carried(1.0, {"x": untimed}, steps, time) is None
    assert carried(1.0, {}, steps, time) is None
