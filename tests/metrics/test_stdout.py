"""Metrics from what scripts print, on recorded output and on formats as documented."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.console.metrics.reading import Carry, Columns, Reading
from traindeck.console.metrics.stdout import LINE, OF_THE_PROGRAM, read_stdout
from traindeck.console.metrics.trainer_state import read_trainer_state
from traindeck.console.store.records import RATES

DATA = Path(__file__).parent / "data"


def read(text: str | bytes, *, final: bool = True) -> Reading:
    return read_stdout(text if isinstance(text, bytes) else text.encode(), {}, final=final)


def points(reading: Reading, key: str) -> list[tuple[int, float]]:
    columns = reading.series.get(key) or reading.counted[key]
    return list(zip(columns.steps, columns.values, strict=True))


def recorded(name: str) -> Reading:
    """A log read like capture does: again, if its end told how."""
    data = (DATA / name).read_bytes()
    reading = read(data)
    return read_stdout(data, reading.carry, final=True) if reading.again else reading


def test_the_trainer_with_bars_gets_its_steps_from_the_bar_that_follows() -> None:
    reading = recorded("hf_trainer_bars.log")
    assert reading.series["loss"].steps == [5, 10, 15, 20, 25, 30, 35, 40]
    assert reading.series["eval/loss"].steps == [10, 20, 30, 40]
    assert points(reading, "loss")[0] == (5, 4.165)
    assert (reading.step, reading.total) == (40, 40)
    assert "train/mean_loss" in reading.series
    assert not reading.counted


@pytest.mark.parametrize("log", ["trl_bars.log", "trl_plain.log"])
def test_what_trl_printed_agrees_with_what_it_saved(log: str) -> None:
    saved = read_trainer_state((DATA / "trl_trainer_state.json").read_bytes(), {})
    printed = recorded(log)
    assert set(saved.series) | {"train/mean_loss"} == set(printed.series)
    for key, columns in saved.series.items():
        seen = dict(points(printed, key))
        assert [step for step in columns.steps if step not in seen] == [], key
        if log == "trl_plain.log":  # the same run; the other one was another
            for step, value in zip(columns.steps, columns.values, strict=True):
                assert seen[step] == pytest.approx(value, rel=6e-4), (key, step)


def trained(*steps: int, of: int = 60, epochs: int = 3, pace: int = 60) -> bytes:
    """What the Trainer prints without a bar when it logs at these steps."""
    lines = [f"{{'loss': '{100 - n}', 'epoch': '{n * epochs / of:.4g}'}}" for n in steps]
    end = f"'train_steps_per_second': '{pace}', 'train_loss': '5', 'epoch': '{epochs}'"
    return "\n".join([*lines, f"{{'train_runtime': '1', {end}}}\n"]).encode()


@pytest.mark.parametrize("cadence", [0, 5])
def test_a_first_step_that_is_logged_too_moves_no_later_one(cadence: int) -> None:
    log = trained(1, *range(5, 61, 5))
    reading = read_stdout(log, {}, final=True, cadence=cadence)
    if reading.again:
        reading = read_stdout(log, reading.carry, final=True)
    assert reading.step == 60
    assert dict(points(reading, "loss")) == {n: 100 - n for n in range(5, 61, 5)}


def test_the_pace_of_a_resumed_training_tells_no_interval() -> None:
    reading = read_stdout(trained(40, 50, 60, pace=30), {}, final=True, resumed=True)
    assert not reading.again
    assert reading.counted["loss"].steps == [4, 5, 6]


def test_dictionaries_without_bars_are_counted_until_their_end_tells_the_interval() -> None:
    data = (DATA / "hf_trainer_plain.log").read_bytes()
    live = read_stdout(data[: data.index(b"{'train_runtime")], {})
    assert live.counted["loss"].steps == list(range(1, 9))
    assert live.counted["eval/loss"].steps == [2, 4, 6, 8]
    assert (live.series, live.step, live.again) == ({}, None, False)
    ended = read_stdout(data, {}, final=True)
    assert ended.again
    reading = read_stdout(data, ended.carry, final=True)
    assert reading.series["loss"].steps == [5, 10, 15, 20, 25, 30, 35, 40]
    assert reading.series["eval/loss"].steps == [10, 20, 30, 40]
    assert (reading.counted, reading.again, reading.step) == ({}, False, 40)


def test_a_known_logging_interval_places_dictionaries_at_once() -> None:
    data = (DATA / "hf_trainer_plain.log").read_bytes()
    reading = read_stdout(data[:400], {}, cadence=5)
    assert reading.series["loss"].steps[0] == 5
    assert not reading.counted


def test_a_resumed_trainer_goes_on_where_its_epoch_stands() -> None:
    lines = "".join(f"{{'loss': '1.5', 'epoch': '{0.1 * n:.4g}'}}\n" for n in range(11, 16))
    reading = read_stdout(lines.encode(), {}, cadence=10, resumed=True)
    assert reading.series["loss"].steps == [110, 120, 130, 140, 150]
    assert read_stdout(lines.encode(), {}, cadence=10).series["loss"].steps[0] == 10


def test_bars_of_something_else_do_not_place_dictionaries() -> None:
    text = "  0%|          | 0/10 [00:00<?, ?it/s]\r100%|####| 10/10 [00:00<00:00, 9.9it/s]\n"
    text += "".join(f"{{'loss': {n}.5, 'epoch': {n}}}\n" for n in range(1, 5))
    assert points(read(text), "loss") == [(n, n + 0.5) for n in range(1, 5)]


def test_a_bar_that_is_redrawn_without_newlines_is_followed() -> None:
    bar = "".join(
        f"\r {n}%|#   | {n}/100 [00:01<00:09, 9.9it/s, loss={1 / n:.4f}]" for n in range(1, 51)
    )
    reading = read(bar, final=False)
    assert reading.series["loss"].steps == list(range(1, 50))
    assert (reading.step, reading.total) == (49, 100)


def test_epochs_with_bars_of_their_own_are_one_axis() -> None:
    text = "".join(
        f"{d}\r{100 * n // 4}%|# | {n}/4 [00:01<00:09, 9.9it/s, loss={e}.{n}]"
        for e in range(3)
        for d in [""]
        for n in range(1, 5)
    )
    assert read(text + "\n").series["loss"].steps == list(range(1, 13))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "line",
    [
        "Epoch [{epoch}/8] Step [{step}/25] Loss: 0.5",
        "epoch {epoch} step {step}/25 loss 0.5",
        "Epoch {epoch}/8 iter {step}/25 loss 0.5",
    ],
)
def test_a_log_that_begins_in_a_later_epoch_goes_on_there(line: str, first: int) -> None:
    places = [(epoch, step) for epoch in (3, 4) for step in range(first, first + 25)]
    text = "\n".join(line.format(epoch=epoch, step=step) for epoch, step in places)
    reading = read(text)
    assert reading.series["loss"].steps == list(range(50 + first, 100 + first))
    assert reading.total == (200 if "/8" in line else None)


def test_a_log_that_begins_within_a_later_epoch_goes_on_there() -> None:
    text = "\n".join(f"Epoch [3/8] Step [{step}/25] Loss: 0.5" for step in range(13, 26))
    assert read(text).series["loss"].steps == list(range(63, 76))


def test_steps_of_the_whole_training_stay_where_a_log_begins_in_a_later_epoch() -> None:
    text = "\n".join(f"Epoch [3/8] Step [{step}/200] Loss: 0.5" for step in range(51, 76))
    reading = read(text)
    assert reading.series["loss"].steps == list(range(51, 76))
    text = "\n".join(f"Epoch {n // 25 + 1}/8 step {n}/200 loss 0.5" for n in range(50, 100, 5))
    reading = read(text)  # counted from 0
    assert (reading.series["loss"].steps, reading.total) == (list(range(50, 100, 5)), 200)


def test_an_epoch_that_begins_behind_the_last_step_tells_that_steps_are_of_the_whole() -> None:
    lines = [f"Epoch {(n - 1) // 450 + 1}/3 step {n}/1000 loss 0.5" for n in range(50, 1001, 50)]
    assert read("\n".join(lines[:10])).total == 1000, "450 steps are more than a third of them"
    before = read("\n".join(lines))
    assert before.series["loss"].steps == list(range(50, 1001, 50))
    told = {key: before.carry[key] for key in OF_THE_PROGRAM if key in before.carry}
    again = read_stdout("\n".join(lines[14:]).encode(), told, final=True)
    assert (again.series["loss"].steps, again.total) == (list(range(750, 1001, 50)), 1000)


@pytest.mark.parametrize(
    "said",
    [
        "Best val loss: 0.123 at epoch 4",
        "Training done. Best epoch: 4, best val loss: 0.123",
        "Loaded the checkpoint of epoch 4 (val loss 0.123)",
        "Early stopping at epoch 6. Best epoch 4 with val loss 0.123",
    ],
)
def test_what_is_said_at_the_end_of_an_earlier_epoch_moves_nothing(said: str) -> None:
    lines = [f"Epoch {n}/6: train loss {n}.5, val loss {n}.25" for n in range(1, 7)]
    reading = read("\n".join([*lines, said, "Test loss: 0.7"]))
    assert (reading.step, reading.total) == (6, 6)
    assert points(reading, "eval/loss") == [(n, n + 0.25) for n in range(1, 7)]
    assert points(reading, "test/loss") == [(6, 0.7)]


@pytest.mark.parametrize("by", ["step", "epoch"])
@pytest.mark.parametrize(
    "said",
    [
        "best loss: 0.1 at {by} 2",
        "Best loss: 0.1 ({by} 2)",
        "best loss 0.1 at {by} 2",
        "best loss: 0.1 in {by} 2",
        "best_loss: 0.1 {by}: 2",
        "best_acc=0.912 {by}=2",
        "Best accuracy: 0.9 at {by} 2",
        "best acc: 91.2 at {by} 2",
        "Highest accuracy 91.2 % ({by} 2)",
        "lowest loss so far: 0.1 at {by} 2",
    ],
)
def test_a_best_value_with_its_step_behind_it_moves_nothing(said: str, by: str) -> None:
    lines = [f"{by} {n}/5 loss {n}.5" for n in range(1, 6)]
    reading = read("\n".join([*lines, said.format(by=by), "final test loss 0.9"]))
    assert (reading.step, reading.total) == (5, 5)
    assert points(reading, "loss") == [(n, n + 0.5) for n in range(1, 6)]
    assert points(reading, "test/loss") == [(5, 0.9)]


def test_what_is_said_often_of_the_best_step_moves_nothing() -> None:
    lines = []
    for n in range(1, 40):
        lines += [f"step {n * 10} loss {n}.5", f"best so far: step 10 loss {n}.125"]
    reading = read("\n".join(lines))
    assert points(reading, "loss")[2:] == [(n * 10, n + 0.5) for n in range(2, 40)]
    assert reading.step == 390


@pytest.mark.parametrize(
    ("lines", "steps", "total"),
    [
        (["Epoch [{e}/3], Step [{s}/600], Loss: 0.5"], [300, 600, 900, 1200, 1500, 1800], 1800),
        (["Train Epoch: {e} [{s}/600 (50%)]\tLoss: 0.5"], [300, 600, 900, 1200, 1500, 1800], None),
        (["| epoch {e} | {s}/600 batches | loss 0.5"], [300, 600, 900, 1200, 1500, 1800], None),
        (["Epoch: [{z}][ {s}/600]\tLoss 5.0e-01 (4e-1)"], [300, 600, 900, 1200, 1500, 1800], None),
        (["epoch {e} step {g}/1800: loss 0.5"], [300, 600, 900, 1200, 1500, 1800], 1800),
    ],
)
def test_steps_that_begin_anew_each_epoch_are_one_axis(
    lines: list[str], steps: list[int], total: int | None
) -> None:
    text = "".join(
        line.format(e=e, z=e - 1, s=s, g=(e - 1) * 600 + s) + "\n"
        for e in (1, 2, 3)
        for s in (300, 600)
        for line in lines
    )
    reading = read(text)
    assert reading.series["loss"].steps == steps
    assert reading.total == total


@pytest.mark.parametrize(
    ("printed", "places"),
    [
        (range(0, 100, 10), range(0, 300, 10)),
        (range(4), range(12)),
        (range(1, 5), range(1, 13)),
        (range(1, 100, 10), range(1, 300, 10)),
        (range(10, 101, 10), range(10, 301, 10)),
        ((0, 50, 100, 117), (0, 50, 100, 117, 118, 168, 218, 235, 236, 286, 336, 353)),
        ((5,), (5, 10, 15)),
        ((0,), (0, 1, 2)),
    ],
)
@pytest.mark.parametrize("word", ["step", "batch", "iter"])
def test_no_point_is_lost_where_an_epoch_begins(
    printed: Sequence[int], places: Sequence[int], word: str
) -> None:
    text = "".join(
        f"epoch {epoch} {word} {step} loss {10 - epoch}.{step:03d}\n"
        for epoch in range(3)
        for step in printed
    )
    series = read(text).series["loss"]
    assert list(series.steps) == list(places)
    assert len(set(series.values)) == len(places)


@pytest.mark.parametrize(
    "line",
    [
        "step {}, loss {:.4f}",
        "step: {}, loss: {:.4f}",
        "iter {}, loss {:.4f}",
        "step={}, loss={:.4f}",
        "step {}/500, loss {:.4f}",
        "Epoch {}/500 - loss: {:.4f} - acc: 0.5",
        "Epoch {}/500 - train loss: {:.4f} - val loss: 0.5 - acc: 97%",
        "RUN two loss={1:.4f} step={0}",
    ],
)
def test_every_one_of_many_such_lines_is_a_point(line: str) -> None:
    reading = read("".join(line.format(i, 1 / i) + "\n" for i in range(1, 401)))
    assert list(reading.series["loss"].steps) == list(range(1, 401))
    assert not {"test/acc", "test/loss", "two loss"} & {*reading.series}


def test_two_losses_with_names_stay_two() -> None:
    reading = read("step 1 policy loss=0.1 value loss=0.2 train loss=3\n")
    assert {"policy loss", "value loss", "loss"} <= {*reading.series}


def test_an_evaluation_is_not_mixed_into_the_training() -> None:
    text = (
        "step 100 loss 2.0\nValidation: loss=0.45 acc=91.2%\nstep 200 loss 1.0\n"
        "Test set: Average loss: 0.0512, Accuracy: 9830/10000 (98%)\n"
        " validation loss at iteration 200 | lm loss value: 3.0E+00 | lm loss PPL: 2.0E+01 |\n"
    )
    reading = read(text)
    assert points(reading, "loss") == [(100, 2.0), (200, 1.0)]
    assert points(reading, "eval/loss") == [(100, 0.45), (200, 3.0)]
    assert points(reading, "eval/ppl") == [(200, 20.0)]
    assert points(reading, "test/loss") == [(200, 0.0512)]
    assert points(reading, "test/acc") == [(200, 0.983)]


@pytest.mark.parametrize("name", ["Train 2/3: ", "train [2/3]: ", "[2/3] "])
def test_a_bar_says_in_its_name_which_of_how_many_it_is(name: str) -> None:
    reading = read(f"{name} 50%|#  | 5/10 [00:01<00:02, 9it/s, loss=1.5]")
    assert (points(reading, "loss"), reading.total) == ([(15, 1.5)], 30)


@pytest.mark.parametrize("said", ["done.", "finished.", "took 3.2s."])
@pytest.mark.parametrize("key", ["Loss", "loss", "Train loss"])
def test_a_sentence_before_a_name_is_no_part_of_it(said: str, key: str) -> None:
    lines = [f"Epoch {n} {said} {key}: {n}.5" for n in range(1, 5)]
    assert points(read("\n".join(lines)), "loss") == [(n, n + 0.5) for n in range(1, 5)]


@pytest.mark.parametrize("name", ["Fold", "client", ""])
def test_a_bar_of_one_name_that_begins_anew_is_of_a_fold_not_of_an_epoch(name: str) -> None:
    bars = [
        f"{name} {fold}/2:  50%|#  | {n}/4 [00:01<00:02, 9it/s, loss={fold}.{epoch}{n}]"
        for fold in (1, 2)
        for epoch in range(3)
        for n in range(1, 5)
    ]
    reading = read("\r".join(bars))
    assert reading.series["loss"].steps == list(range(1, 25))
    assert reading.total == 4, "how many there will be is not known"


def test_a_bar_of_nothing_but_evaluation_is_no_part_of_the_training() -> None:
    def bars(count: int, value: str) -> str:
        drawn = (
            f"{n * 10}%|#  | {n}/{count} [00:01<00:02, 9it/s, {value}]" for n in range(count + 1)
        )
        return "\r".join(drawn)

    reading = read("\n".join([bars(10, "loss=1.5"), bars(4, "val_loss=2.5, val_acc=0.5")] * 3))
    assert reading.step == 30 and max(reading.series["loss"].steps) == 30
    assert set(reading.series["eval/loss"].steps) == {10, 20, 30}
    alone = read("\n".join([bars(10, "val_loss=2.5")] * 2))  # the training's own: it has no other
    assert alone.step == 20


def test_a_batch_of_an_evaluation_is_no_step_back() -> None:
    lines = []
    for step in (100, 200, 300):
        lines += [f"step {step}/300 loss 1.5"] + [f"eval step {n} loss 2.5" for n in range(1, 6)]
    reading = read("\n".join(lines))
    assert (reading.step, reading.total) == (300, 300)
    assert set(reading.series["eval/loss"].steps) == {100, 200, 300}


def test_a_heading_places_nothing_and_says_what_is_measured_below_it() -> None:
    """As PyTorch's own first tutorial prints: the step of no value is named."""
    reading = recorded("pytorch_quickstart.log")
    assert [step for step, _ in points(reading, "loss")] == list(range(30))
    assert points(reading, "test/acc") == [(9, 50.0), (19, 60.0), (29, 70.0)]
    assert len(points(reading, "test/loss")) == 3
    assert points(read("steps: 1000\nloss: 0.5\nloss: 0.4\n"), "loss") == [(0, 0.5), (1, 0.4)]


def test_what_a_line_says_once_of_evaluation_holds_for_its_other_values() -> None:
    text = "Epoch {}/1\n-----\ntrain Loss: 0.5 Acc: 0.7\nval Loss: 0.3 Acc: 0.9\n\n"
    reading = read(text.format(0) + text.format(1))
    assert [value for _, value in points(reading, "acc")] == [0.7, 0.7]
    assert [value for _, value in points(reading, "eval/acc")] == [0.9, 0.9]
    reading = read("step 5 | val loss 0.3, acc: 0.9, lr: 0.1\n")
    assert {"eval/loss", "eval/acc", "lr"} == {*reading.series}


@pytest.mark.parametrize(
    "steps",
    [
        "step {0} loss 0.25\n",
        "Epoch 1: 100%|███| {0}/{0} [00:01<00:00, 4.00it/s, loss=0.25]\n",
        "Epoch 1/5 step {0}/{0} loss 0.25\n",
        '{{"step": {0}, "loss": 0.25}}\n',
    ],
)
@pytest.mark.parametrize(
    "summary",
    [
        "Epoch 1: train_loss=7.0 val_loss=6.0",
        "epoch 1 train loss 7.0 val loss 6.0",
        "train_loss: 7.0, val_loss: 6.0",
        "{'epoch': 1, 'train_loss': 7.0, 'val_loss': 6.0}",
    ],
)
def test_the_mean_of_an_epoch_is_not_the_value_of_its_last_step(steps: str, summary: str) -> None:
    reading = read(steps.format(9) + summary + "\n")
    assert points(reading, "loss") == [(9, 0.25)]
    assert points(reading, "train/mean_loss") == [(9, 7.0)]
    assert points(reading, "eval/loss") == [(9, 6.0)]


def test_keras_evaluating_after_fitting_is_a_test() -> None:
    text = (
        "Epoch 1/2\n100/100 ━━━ 2s 10ms/step - loss: 0.5\n"
        "Epoch 2/2\n100/100 ━━━ 2s 10ms/step - loss: 0.4\n"
        "10/10 ━━━ 0s 10ms/step - loss: 0.9\n"
    )
    reading = read(text)
    assert points(reading, "loss") == [(100, 0.5), (200, 0.4)]
    assert points(reading, "test/loss") == [(200, 0.9)]


@pytest.mark.parametrize("log", ["keras_bars_validated.log", "keras_lines.log"])
def test_what_keras_draws_of_an_epoch_is_one_point_of_it(log: str) -> None:
    """Recorded of Keras 3: the last batch is drawn again with the validation beside it, and
    `evaluate` on as many batches as an epoch has comes after."""
    reading = recorded(log)
    assert dict(points(reading, "loss")) == {16: 0.8104, 32: 0.763, 48: 0.7287, 64: 0.706}
    assert dict(points(reading, "acc")) == {16: 0.5039, 32: 0.5039, 48: 0.5039, 64: 0.5098}
    assert points(reading, "eval/loss") == [(16, 0.8099), (32, 0.7617), (48, 0.727), (64, 0.703)]
    assert dict(points(reading, "test/loss")) == {64: 0.6958}
    assert (reading.step, reading.total) == (64, 64)


def test_keras_without_validation_data_draws_no_test_at_the_end_of_an_epoch() -> None:
    reading = recorded("keras_bars.log")
    assert dict(points(reading, "loss")) == {20: 0.8113, 40: 0.7544, 60: 0.7156, 80: 0.6942}
    assert dict(points(reading, "test/loss")) == {80: 0.6852}


@pytest.mark.parametrize("parts", [1, 3, 40])
def test_keras_2_redraws_the_last_batch_whatever_the_log_is_cut_into(parts: int) -> None:
    text = "".join(
        f"Epoch {n}/4\n"
        " 8/16 [=====>.......] - ETA: 0s - loss: 0.9 - accuracy: 0.4\n"
        f"16/16 [=============] - ETA: 0s - loss: 0.{n}1 - accuracy: 0.5\b\b\b\b\r"
        f"16/16 [=============] - 0s 1ms/step - loss: 0.{n} - accuracy: 0.6"
        f" - val_loss: 0.{n}5 - val_accuracy: 0.7\n"
        for n in (1, 2, 3, 4)
    )
    data, carry, found = text.encode(), Carry(), dict[int, float]()
    size, start = -(-len(data) // parts), 0
    for end in [*range(size, len(data), size), len(data)]:
        reading = read_stdout(data[start:end], carry, final=end == len(data))
        carry, start = reading.carry, start + reading.consumed
        found.update(points(reading, "loss") if "loss" in reading.series else [])
        assert not {"test/loss", "test/acc"} & {*reading.series}
    assert found == {16: 0.1, 32: 0.2, 48: 0.3, 64: 0.4}


def test_a_loss_that_is_no_number_is_no_test_when_keras_draws_it_again() -> None:
    bar = "16/16 ━━━ 0s 1ms/step - loss: nan"
    assert [*read(f"Epoch 1/1\n{bar}\n{bar}\n").series] == ["loss"]


@pytest.mark.parametrize(
    "text",
    [
        "Overriding: max_iters = 2000",
        "***** Running training *****\n  Total optimization steps = 2,000",
        "config: total_steps: 2000 seed: 1",
    ],
)
def test_a_total_that_is_announced_is_known(text: str) -> None:
    assert read(text + "\n").total == 2000


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("step 250: train loss 1.2874, val loss 1.4823", "loss", [(250, 1.2874)]),
        ("step 250: train loss 1.2874, val loss 1.4823", "eval/loss", [(250, 1.4823)]),
        ("iter 10: loss 3.1, time 20.1ms, mfu 3.12%", "mfu", [(10, 3.12)]),
        ("step: 10  loss: 8.1234  grad_norm: 1.2  tps: 2,000", "tokens_per_s", [(10, 2000.0)]),
        ("step:10/1000 val_loss:10.8258 train_time:12ms", "eval/loss", [(10, 10.8258)]),
        (
            " iteration       10/     100 | consumed samples:  160 | lm loss: 1.05E+01 |",
            "loss",
            [(10, 10.5)],
        ),
        ("step 330 | loss 3.2011 | grad 1.01 | lr 5.99e-04", "lr", [(330, 5.99e-4)]),
        ("epoch=3 loss=0.52 acc=0.8", "acc", [(3, 0.8)]),
        ("step 40 of 100: loss 1,234.5", "loss", [(40, 1234.5)]),
        ("loss=0.5\nloss=0.4", "loss", [(0, 0.5), (1, 0.4)]),
        ("Step: 20 - Loss: 0.1", "loss", [(20, 0.1)]),
        ("(step=20) Train Loss: 0.1532, Steps/Sec: 1.9", "loss", [(20, 0.1532)]),
        ("step 5 loss=0.1 speed=12k tokens/s", "speed", [(5, 12_000.0)]),
        (
            "step 9 | loss: 3.2 | norm: 0.9| tok/sec: 1,543,210.12",
            "tokens_per_s",
            [(9, 1543210.12)],
        ),
        (
            "step 7 loss: tensor(0.51, device='cuda:0', grad_fn=<MeanBackward0>)",
            "loss",
            [(7, 0.51)],
        ),
        ("{'loss': nan, 'learning_rate': 1e-05, 'step': 4}", "lr", [(4, 1e-5)]),
        ("{'loss': tensor(0.25), 'step': 4}", "loss", [(4, 0.25)]),
        ('{"level": "info", "pid": 33, "step": 5, "loss": 0.3, "ok": true}', "loss", [(5, 0.3)]),
        ('{"step": 5, "train": {"loss": 0.3}, "eval": {"acc": 0.5}}', "eval/acc", [(5, 0.5)]),
        ('{"step": 5, "train": {"loss": 0.3}, "eval": {"acc": 0.5}}', "loss", [(5, 0.3)]),
        ("INFO:train: {'loss': 0.3, 'step': 8}", "loss", [(8, 0.3)]),
        ("loss = 0.5 at step 3", "loss", [(3, 0.5)]),
        ("Training: 43it [00:10, 4.2it/s, loss=0.51]", "loss", [(43, 0.51)]),
        (
            " 43%|### | 43/100 [00:10<00:13, 4.2it/s, loss=1.2e-3, step=430]",
            "loss",
            [(430, 1.2e-3)],
        ),
        (
            "[titan] 2024-11-12 18:18:00,000 - root - INFO - \x1b[31mstep: 10  \x1b[32mloss: 7.5"
            "  \x1b[33mmemory: 20.00GiB(21.06%)  \x1b[34mtps: 2,123  \x1b[35mmfu: 40.15%\x1b[39m",
            "tokens_per_s",
            [(10, 2123.0)],
        ),
        (
            "Epoch 0:  10%|#   | 10/100 [00:01<00:09, 9.9it/s, v_num=0, train_loss=0.512]",
            "loss",
            [(10, 0.512)],
        ),
        (
            "Epoch 2/5\n\r 1/100 - 5s 52ms/step - loss: 2.3\r"
            "100/100 ━━━ 2s 10ms/step - loss: 0.22 - val_loss: 0.19",
            "eval/loss",
            [(200, 0.19)],
        ),
    ],
)
def test_formats_are_read(text: str, key: str, expected: list[tuple[int, float]]) -> None:
    assert points(read(text + "\n"), key) == expected


@pytest.mark.parametrize(
    "line", ["  batch {}/20 loss {}", "Batch {}/20: loss={}", "\rbatch {}/20 loss {}"]
)
def test_batches_below_the_heading_of_an_epoch_are_steps(line: str) -> None:
    log = "".join(
        f"Epoch {epoch}/3\n"
        + "".join(line.format(n, epoch + n / 100) + "\n" for n in (10, 20))
        + f"val loss: {epoch / 10}\n"
        for epoch in (1, 2, 3)
    )
    reading = read(log)
    assert [step for step, _ in points(reading, "loss")] == [10, 20, 30, 40, 50, 60]
    assert points(reading, "eval/loss") == [(20, 0.1), (40, 0.2), (60, 0.3)]
    assert reading.total == 60


@pytest.mark.parametrize("batches", [5, 20])
def test_batches_of_another_loop_in_an_epoch_are_not_those_of_its_training(batches: int) -> None:
    log = "".join(
        f"Epoch {epoch}/3\nTraining\nbatch 10/20 loss 1.0\nbatch 20/20 loss 0.5\n"
        f"Checking\nbatch 3/{batches} loss 9.0\nbatch 5/{batches} loss 9.0\n"
        for epoch in (1, 2, 3)
    )
    reading = read(log)
    assert points(reading, "loss") == [
        (10, 1.0), (20, 0.5), (30, 1.0), (40, 0.5), (50, 1.0), (60, 0.5)
    ]  # fmt: skip
    assert reading.total == 60


def test_a_number_of_steps_that_are_over_is_told_by_a_result_beside_it() -> None:
    for name in ("Score", "mean_return", "reward", "val_mse"):
        (found,) = read(f"Steps: 1000 | {name}: 21.5\n").series.values()
        assert list(zip(found.steps, found.values, strict=True)) == [(1000, 21.5)]


def test_a_configuration_with_parts_is_no_measurement() -> None:
    reading = read(b'{"optim": {"lr": 0.1, "loss": 3}, "epochs": 3}\n')
    assert not reading.series and not reading.counted


@pytest.mark.parametrize(
    "text",
    [
        "listening on 127.0.0.1:8080",
        "version: 1.2.3 date: 2024-01-02 path=/a/b/3.5 seed=42",
        "Python 3.11.7 loss-free 3",
        "{'lr': 3e-4, 'batch_size': 8}",
        "args: Namespace(lr=0.1, seed=3, batch_size=8)",
        "config Namespace(lr=0.001, steps=900, dt=0.2, seed=1)",
        "Namespace(batch=32, epochs=90, lr=0.1, momentum=0.9, save_step=100, target_acc=0.9)",
        "TrainConfig(step=30, lr=1e-3, warmup_iters=100)",
        "lr=0.001 steps=900 batch=32 dropout=0.1",
        "lr: 0.001, epochs: 10, dropout: 0.1",
        "loading model 7B from /x/y",
        "Downloading: 100%|####| 10/10 [00:01<00:00, 9.9it/s]",
        "2024-10-01 12:00:00,123 INFO started worker pid=77 port=29500",
        "{'a': {'b': 1}}",
        "{" * 500 + "}" * 500,
        "{{'loss': 1.5, 'step': 1}}",
        "loss: 1.2.3",
        "loss_fn: 3 layers",
        "torch==2.1.0 loss 3",
        "[INFO] 10.0.0.1:29500 loss server listening",
        "epoch: 3 port: 80 rank: 1",
        "GPU 0: temp=45 util=99",
        "saved /runs/loss=0.5/step=3.pt",
        "step 3 took 4 s, pid 77, 2024-01-02",
        "Writing model shards: 100%|####| 1/1 [00:00<00:00, 569.72it/s]",
    ],
)
def test_what_is_no_metric_is_left_alone(text: str) -> None:
    reading = read(text + "\n")
    assert reading.series == {}
    assert reading.counted == {}


@pytest.mark.parametrize("seen", range(1, 20))
def test_a_number_that_does_not_end_within_what_is_read_of_a_line_is_not_read(seen: int) -> None:
    line = "step=1 acc=0.5".ljust(LINE - len("loss=") - seen) + "loss=12345.678 z=1\n"
    reading = read(line)
    assert points(reading, "acc") == [(1, 0.5)]
    values = [value for _, value in points(reading, "loss")] if "loss" in reading.series else []
    assert values == ([12345.678] if seen > len("12345.678") else [])


def test_only_the_beginning_of_an_endless_line_is_looked_at() -> None:
    line = "step 1 loss 0.5 " + "x" * (2 * LINE) + " step 2 loss 0.4\n"
    assert points(read(line), "loss") == [(1, 0.5)]
    noise = b"step 1 loss 0.5 " + b"y" * (1 << 20)
    assert read_stdout(noise, {}).consumed == len(noise), "no line so long is kept"


def test_a_loss_whose_name_alone_tells_it_is_a_point_when_it_is_no_number() -> None:
    reading = read(
        "[1/3] train loss 1.5 acc 0.5\n[2/3] train loss nan acc nan\n[3/3] train loss inf"
    )
    assert [repr(value) for _, value in points(reading, "loss")] == ["1.5", "nan", "inf"]


def test_a_nan_is_a_point() -> None:
    value = read("step 5 loss nan\n").series["loss"].values[0]
    assert value != value


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        ["hf_trainer_bars.log", "trl_bars.log", "trl_plain.log", "pytorch_quickstart.log"]
    ),
    st.integers(0, 2**32),
    st.integers(1, 400),
)
def test_pieces_read_like_the_whole(log: str, seed: int, size: int) -> None:
    data = (DATA / log).read_bytes()[:20_000]
    rng = random.Random(seed)
    whole = read(data)
    carry: Carry = {}
    at, pending = 0, b""
    found: dict[str, list[tuple[int, float]]] = {}
    while at < len(data):
        cut = rng.randint(1, size * 20)
        pending += data[at : at + cut]
        at += cut
        reading = read_stdout(pending, carry, final=at >= len(data))
        carry, pending = json.loads(json.dumps(reading.carry)), pending[reading.consumed :]
        for key, columns in both(reading):
            found.setdefault(key, []).extend(zip(columns.steps, columns.values, strict=True))
    expected = {key: list(zip(c.steps, c.values, strict=True)) for key, c in both(whole)}
    assert found == expected


def both(reading: Reading) -> list[tuple[str, Columns]]:
    return [*reading.series.items(), *((f"#{k}", c) for k, c in reading.counted.items())]


WORDS = [b"loss", b"step", b"=", b":", b"nan", b"1e999", b"{", b"}", b"'", b"|", b"\r", b"[", b"/"]
WORDS += [b"12/40 [", b"100%|", b"]", b"\x1b[31m", b"\xff\xfe", b"-", b",", b" ", b"9" * 400]
WORDS += [b"epoch", b"0.5", b"7", b"{'loss': '1.5', 'epoch': '", b"'}", b"train_runtime", b"val "]
WORDS += [b"Epoch 1/5\n", b" 5/5 - 1s - loss: 2", b"it [00:01, 4it/s, loss=", b"max_steps=9", b"\0"]


def test_hostile_records_neither_crash_nor_grow() -> None:
    rng = random.Random(4)
    count = int(os.environ.get("SOAK", "0")) * 100 or 20_000
    carry: Carry = {}
    for _ in range(count // 50):
        lines = [b"".join(rng.choices(WORDS, k=rng.randint(1, 20))) for _ in range(50)]
        reading = read_stdout(b"\n".join(lines) + b"\n", carry, resumed=rng.random() < 0.2)
        carry = reading.carry
        assert len(json.dumps(carry)) < 40_000
        for key, columns in both(reading):
            assert 0 < len(key) < 400
            assert all(0 <= step < 1 << 60 for step in columns.steps)


@given(st.binary(max_size=3000))
def test_any_bytes_are_read(data: bytes) -> None:
    read_stdout(data, {})
    read_stdout(data, {}, final=True)


def test_a_place_in_an_evaluation_is_no_step_of_the_training() -> None:
    reading = read(
        "step 1000/5000 loss 2.0\neval step 5/50 loss 1.9\nvalidation iter 10/50: loss 1.8\n"
        "step 1010/5000 loss 1.7\n"
    )
    assert points(reading, "loss") == [(1000, 2.0), (1010, 1.7)]
    assert [step for step, _ in points(reading, "eval/loss")] in ([1000], [1000, 1000])
    assert (reading.step, reading.total) == (1010, 5000)
    # nanoGPT names the step of the training before both.
    both = read("step 250: train loss 1.9, val loss 2.0\n")
    assert points(both, "eval/loss") == [(250, 2.0)]


@pytest.mark.parametrize("words", ["tok/s 9001", "tok/s: 9001", "tokens/s=9001", "tokens/sec 9001"])
def test_the_pace_is_read_however_it_is_written(words: str) -> None:
    found = read_stdout(f"step 1 loss 2.0 {words}\n".encode(), {}).series
    pace = [columns.values for name, columns in found.items() if name in RATES]
    assert pace == [[9001.0]], found


def test_a_step_of_lightning_that_is_drawn_before_its_loss_is_set_has_none_yet() -> None:
    def drawn(n: int, loss: float) -> bytes:
        return f"\rEpoch 0:  50%|##   | {n}/8 [00:01<00:01, 6.5it/s, v_num=0, loss={loss}]".encode()

    log = drawn(1, 0.9) + drawn(2, 0.9) + drawn(2, 0.7) + drawn(3, 0.7)
    reading = read_stdout(log + b"\r", {})
    assert points(reading, "loss") == [(1, 0.9), (2, 0.7)]
    assert reading.step == 3
    reading = read_stdout(drawn(3, 0.7) + b"\r", reading.carry)
    assert points(reading, "loss") == [(3, 0.7)], "and it may be the same"
