"""TensorBoard events, against TensorBoard's own reader and against torn and hostile files."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.console.metrics import tfevents
from traindeck.console.metrics.reading import Carry, Reading
from traindeck.console.metrics.tfevents import read_events

DATA = (Path(__file__).parent / "data" / "trl.tfevents").read_bytes()
"""What HF's trainer wrote with torch's SummaryWriter: scalars, and texts among them."""


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes((value & 127 | 128,))
        value >>= 7
    return out + bytes((value,))


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def record(payload: bytes) -> bytes:
    return struct.pack("<Q", len(payload)) + b"\0" * 4 + payload + b"\0" * 4


def scalar(tag: str, step: int, value: float, time: float = 1.5) -> bytes:
    inner = field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)
    return record(event(step, time) + field(5, field(1, inner)))


def event(step: int, time: float) -> bytes:
    return b"\x09" + struct.pack("<d", time) + (b"\x10" + varint(step) if step else b"")


def flat(reading: Reading) -> dict[str, tuple[list[int], list[float], list[str]]]:
    return {
        key: (c.steps, c.times, [repr(v) for v in c.values]) for key, c in reading.series.items()
    }


@pytest.fixture(params=["numpy", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both ways of decoding: they must not differ."""
    if request.param == "plain":
        monkeypatch.setattr(tfevents, "MANY", 1 << 60)
        monkeypatch.delitem(sys.modules, "numpy", raising=False)
    else:
        monkeypatch.setattr(tfevents, "MANY", 0)
    yield request.param


def test_it_reads_what_tensorboard_reads(tmp_path: Path) -> None:
    module: Any = import_module("tensorboard.backend.event_processing.event_accumulator")
    accumulator = module.EventAccumulator
    (tmp_path / "events.out.tfevents.1.host").write_bytes(DATA)
    theirs = accumulator(str(tmp_path), size_guidance={"scalars": 0})
    theirs.Reload()
    ours = read_events(DATA, {})
    tags = {"train/loss": "loss", "eval/loss": "eval/loss", "train/learning_rate": "lr"}
    tags |= {"train/grad_norm": "grad_norm", "train/epoch": "epoch", "train/num_tokens": "tokens"}
    for tag, key in tags.items():
        events = theirs.Scalars(tag)
        mine = ours.series[key]
        if key == "epoch":  # the last one stands there twice
            continue
        assert mine.steps == [e.step for e in events], tag
        assert mine.values == [e.value for e in events], tag
        assert mine.times == [e.wall_time for e in events], tag


def test_both_ways_of_decoding_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    data = b""
    for n in range(3000):
        step = rng.choice([0, n, n * 1000, 1 << 40])
        tag = rng.choice(["loss", "train/loss", "eval/loss", "x" * 40, "x" * 200, "runtime"])
        data += scalar(tag, step, rng.gauss(0, 1), 1e9 + n)
        if rng.random() < 0.05:
            data += record(rng.randbytes(rng.randint(0, 60)))
    together = read_events(data, {})
    monkeypatch.setattr(tfevents, "MANY", 1 << 60)
    monkeypatch.delitem(sys.modules, "numpy")
    singly = read_events(data, {})
    assert flat(together) == flat(singly)
    assert (together.step, together.consumed) == (singly.step, singly.consumed)


def test_a_growing_file_is_read_on_from_any_byte(way: str) -> None:
    data = b"".join(scalar("loss", n, n / 3) for n in range(40))
    whole = read_events(data, {})
    for cut in range(0, len(data), 7):
        first = read_events(data[:cut], {})
        second = read_events(data[first.consumed :], first.carry)
        steps = [s for r in (first, second) if "loss" in r.series for s in r.series["loss"].steps]
        assert steps == whole.series["loss"].steps == list(range(40))


def test_scalars_as_tensors_are_read(way: str) -> None:
    def tensor(step: int, dtype: int, body: bytes) -> bytes:
        proto = b"\x08" + varint(dtype) + field(2, b"") + body
        inner = field(1, b"loss") + field(8, proto)
        return record(event(step, 1.0) + field(5, field(1, inner)))

    data = tensor(1, 1, field(4, struct.pack("<f", 0.5)))
    data += tensor(2, 2, field(4, struct.pack("<d", 0.25)))
    data += tensor(3, 1, b"\x2d" + struct.pack("<f", 2.0))
    data += tensor(4, 1, field(5, struct.pack("<ff", 1.0, 2.0)))  # not a scalar
    reading = read_events(data, {})
    assert reading.series["loss"].steps == [1, 2, 3]
    assert reading.series["loss"].values == [0.5, 0.25, 2.0]


def test_a_length_that_makes_no_sense_ends_the_file(way: str) -> None:
    data = scalar("loss", 1, 0.5) + b"\xff" * 100
    reading = read_events(data, {})
    assert reading.series["loss"].steps == [1]
    assert reading.consumed == len(data)
    after = read_events(scalar("loss", 2, 0.5), reading.carry)
    assert after.series == {}


def test_absurd_steps_are_left_out(way: str) -> None:
    data = b"".join(scalar("loss", 1 << 60, 1.0) for _ in range(30)) + scalar("loss", 5, 1.0)
    assert read_events(data, {}).series["loss"].steps == [5]


@given(st.lists(st.binary(max_size=60), max_size=40), st.binary(max_size=40))
def test_any_records_are_read(payloads: list[bytes], rest: bytes) -> None:
    read_events(b"".join(map(record, payloads)) + rest, {})


def test_damage_anywhere_is_survived(way: str) -> None:
    rng = random.Random(5)
    data = b"".join(scalar("loss", n, n / 3) for n in range(60))
    carry: Carry = {}
    for _ in range(600):
        broken = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        reading = read_events(bytes(broken), carry)
        assert reading.consumed <= len(broken)


def test_two_tags_of_one_quantity_stay_two_series(way: str) -> None:
    data = b"".join(
        scalar("train/loss", step, 3.0) + scalar("loss", step, 1.0) for step in range(1, 40)
    )
    found = flat(read_events(data, {}))
    assert {*found} == {"loss", "train/loss"}
    assert found["loss"][2][-1] == "1.0" and found["train/loss"][2][-1] == "3.0"
    assert {*flat(read_events(scalar("train/loss", 1, 3.0), {}))} == {"loss"}


def test_what_stands_at_the_end_of_a_tag_says_what_it_is_of(way: str) -> None:
    """As PyTorch's own documentation of its SummaryWriter has them."""
    tags = ["Loss/train", "Loss/test", "Accuracy/train", "Accuracy/val"]
    found = flat(read_events(b"".join(scalar(tag, 1, 0.5) for tag in tags), {}))
    assert {*found} == {"loss", "test/loss", "acc", "eval/acc"}
