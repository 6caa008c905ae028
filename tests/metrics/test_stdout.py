"""Metrics from what scripts print, on recorded output and on formats as documented."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.metrics.reading import Reading
from traindeck.console.metrics.stdout import read_stdout

DATA = Path(__file__).parent / "data"


def read(text: str | bytes, *, final: bool = True) -> Reading:
    return read_stdout(text if isinstance(text, bytes) else text.encode(), {}, final=final)


def points(reading: Reading, key: str) -> list[tuple[int, float]]:
    columns = reading.series[key]
    return list(zip(columns.steps, columns.values, strict=True))


def test_the_trainer_with_bars_gets_its_steps_from_the_bar_that_follows() -> None:
    reading = read((DATA / "hf_trainer_bars.log").read_bytes())
    assert reading.series["loss"].steps == [5, 10, 15, 20, 25, 30, 35, 40]
    assert reading.series["eval/loss"].steps == [10, 20, 30, 40]
    assert points(reading, "loss")[0] == (5, 4.165)
    assert (reading.step, reading.total) == (40, 40)
    assert "train/mean_loss" in reading.series


def test_the_trainer_without_bars_is_counted() -> None:
    reading = read((DATA / "hf_trainer_plain.log").read_bytes())
    assert reading.series["loss"].steps == list(range(1, 9))
    assert reading.series["eval/loss"].steps == [2, 4, 6, 8]
    assert reading.total is None


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
    "text",
    [
        "listening on 127.0.0.1:8080",
        "version: 1.2.3 date: 2024-01-02 path=/a/b/3.5 seed=42",
        "Python 3.11.7 loss-free 3",
        "{'lr': 3e-4, 'batch_size': 8}",
        "args: Namespace(lr=0.1, seed=3, batch_size=8)",
        "loading model 7B from /x/y",
        "Downloading: 100%|####| 10/10 [00:01<00:00, 9.9it/s]",
        "2024-10-01 12:00:00,123 INFO started worker pid=77 port=29500",
        "{'a': {'b': 1}}",
        "{" * 500 + "}" * 500,
    ],
)
def test_what_is_no_metric_is_left_alone(text: str) -> None:
    assert read(text + "\n").series == {}


def test_a_nan_is_a_point() -> None:
    value = read("step 5 loss nan\n").series["loss"].values[0]
    assert value != value


@given(st.integers(0, 2**32), st.integers(1, 400))
def test_pieces_read_like_the_whole(seed: int, size: int) -> None:
    data = (DATA / "hf_trainer_bars.log").read_bytes()[:20_000]
    rng = random.Random(seed)
    whole = read(data)
    carry, at, found = {}, 0, {}
    pending = b""
    while True:
        cut = rng.randint(1, size * 20)
        pending += data[at : at + cut]
        at += cut
        last = at >= len(data)
        reading = read_stdout(pending, carry, final=last)
        carry, pending = reading.carry, pending[reading.consumed :]
        for key, columns in reading.series.items():
            found.setdefault(key, []).extend(zip(columns.steps, columns.values, strict=True))
        if last:
            break
    assert found == {
        key: list(zip(c.steps, c.values, strict=True)) for key, c in whole.series.items()
    }


def test_hostile_records_neither_crash_nor_grow() -> None:
    rng = random.Random(4)
    words = [b"loss", b"step", b"=", b":", b"nan", b"1e999", b"{", b"}", b"'", b"|", b"\r", b"["]
    words += [b"12/40", b"100%|", b"]", b"\x1b[31m", b"\xff\xfe", b"-", b",", b" ", b"9" * 400]
    count = int(os.environ.get("SOAK", "0")) * 100 or 20_000
    carry: dict[str, object] = {}
    for _ in range(count // 50):
        lines = [b"".join(rng.choices(words, k=rng.randint(1, 20))) for _ in range(50)]
        reading = read_stdout(b"\n".join(lines) + b"\n", carry)
        carry = reading.carry
        assert len(str(carry)) < 20_000
