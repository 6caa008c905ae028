"""What is kept of devices: how long one was held idle while somebody looked, and what it did."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.payload.agent import Refused
from traindeck.backends.payload.agent.devices import history
from traindeck.backends.payload.agent.devices.history import RECORD, SLOTS, STEP, History

GIB = 1 << 30
T = 1_800_000_000.0
UNKNOWN = (0xFF, 0xFF, 0xFF)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "devices"
    monkeypatch.setattr(history, "folder", lambda: str(made))
    return made


def reading(share: int | None = 0, used: int = 40 * GIB, **more: Any) -> dict[str, Any]:
    holder = {"pid": 7, "start": 1, "kind": "compute", "memory_bytes": used}
    return {
        "uuid": "GPU-1", "utilization_pct": share, "memory_used_bytes": used,
        "memory_total_bytes": 80 * GIB, "memory_kind": "device", "processes": [holder], **more,
    }  # fmt: skip


def idle(kept: History, at: float, **of: Any) -> float | None:
    """Seconds for which the device is said to be idle."""
    found = reading(**of)
    kept.note(T + at, [found])
    since = found["idle_since"]
    return None if since is None else T + at - since


def test_a_held_device_is_idle_for_as_long_as_it_was_watched() -> None:
    kept = History()
    assert [idle(kept, at) for at in (0, 20, 40)] == [0, 20, 40]
    assert idle(kept, 50, share=3) is None
    assert [idle(kept, at) for at in (60, 70)] == [10, 20]


def test_nothing_is_claimed_for_a_time_in_which_nobody_looked() -> None:
    kept = History()
    idle(kept, 0)
    assert idle(kept, 20) == 20
    assert idle(kept, 600) == 0
    assert idle(kept, 300) == 0, "a clock that was put back is no watch either"


def test_another_reader_goes_on_from_what_the_one_before_it_saw() -> None:
    first = History()
    for at in range(0, 100, 10):
        idle(first, at)
    assert idle(History(), 100) == 100
    assert idle(History(), 500) == 0


@pytest.mark.parametrize(
    "of",
    [
        {"share": None},  # it does not say
        {"used": GIB // 2},  # a context that holds next to nothing
        {"processes": []},
        {"processes": [{"pid": 1, "start": 1, "kind": "graphics", "memory_bytes": 40 * GIB}]},
    ],
)
def test_what_is_not_held_or_not_known_is_not_idle(of: dict[str, Any]) -> None:
    kept = History()
    idle(kept, 0, **of)
    assert idle(kept, 20, **of) is None


def test_one_process_may_be_idle_beside_one_that_computes() -> None:
    kept = History()
    for at in (0.0, 20.0):
        both = [
            {"pid": 1, "start": 1, "kind": "compute", "memory_bytes": 9 * GIB,
             "utilization_pct": 60},
            {"pid": 2, "start": 1, "kind": "compute", "memory_bytes": 9 * GIB,
             "utilization_pct": 0},
        ]  # fmt: skip
        found = reading(60, processes=both)
        kept.note(T + at, [found])
    assert found["idle_since"] is None
    assert [one["idle_since"] for one in found["processes"]] == [None, T]


def test_a_pid_that_is_used_again_is_another_process() -> None:
    kept = History()
    for start in (1, 2):
        holder = {"pid": 7, "start": start, "kind": "compute", "memory_bytes": 9 * GIB}
        found = reading(0, processes=[holder])
        kept.note(T + 10 * start, [found])
    assert found["processes"][0]["idle_since"] == T + 20


def records(since: float, until: float) -> list[tuple[int, ...]]:
    asked = {"uuid": "GPU-1", "since": T + since, "until": T + until}
    answer = history.device_history(asked, b"")
    if not isinstance(answer, tuple):
        return []
    words, body = answer
    assert (words["step"], words["size"]) == (STEP, RECORD.size)
    return [RECORD.unpack_from(body, at) for at in range(0, len(body), RECORD.size)]


def test_a_record_has_the_highest_and_the_mean_of_its_time() -> None:
    kept = History()
    more = {"temperature_c": 71, "power_w": 512.6, "sm_clock_mhz": 1755}
    for at, share in ((0, 10), (3, 90), (6, 50)):
        kept.note(T + at, [reading(share, **more)])
    kept.note(T + 10, [reading(5, throttle_reasons=["hw_thermal"])])
    first, second = records(0, 19)
    assert first == (int(T), 90, 50, 71, 0, 40 << 10, 512, 1755)
    assert second[1:3] == (5, 5)
    assert second[4] == history.SLOWED


def test_what_is_not_known_is_not_kept_as_nought() -> None:
    History().note(T, [{"uuid": "GPU-1", "utilization_pct": None}])
    ((_, *shares, kind, used, power, clock),) = records(0, 9)
    assert tuple(shares) == UNKNOWN
    assert (kind, used, power, clock) == (3, 0xFFFFFFFF, 0xFFFF, 0xFFFF)


def test_the_ring_has_seven_days_and_no_more(folder: Path) -> None:
    kept = History()
    week = SLOTS * STEP
    for at in (0, 10, week - 10, week + 10):
        kept.note(T + at, [reading(at % 100)])
    size = (folder / "GPU-1.ring").stat().st_size
    assert size <= len(history.HEAD) + SLOTS * RECORD.size
    times = [found[0] - int(T) for found in records(0, week + 10)]
    # What came a week after another took its place.
    assert times == [week - 10, week + 10]
    assert records(-week, -10) == []


def test_of_two_readers_one_writes() -> None:
    first, second = History(), History()
    first.note(T, [reading(10)])
    second.note(T, [reading(90)])
    ((_, most, *_),) = records(0, 9)
    assert most == 10


def test_a_disk_that_takes_nothing_keeps_nobody_from_reading(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    kept = History()
    assert [idle(kept, at) for at in (0, 20)] == [0, 20]
    assert records(0, 30) == []


def test_a_ring_that_is_none_is_made_anew(folder: Path) -> None:
    folder.mkdir()
    (folder / "GPU-1.ring").write_bytes(b"not ours" * 100)
    (folder / "held.json").write_bytes(b"\0{")
    History().note(T, [reading(10)])
    assert [found[1] for found in records(0, 9)] == [10]


@pytest.mark.parametrize("uuid", ["", "../x", "a/b", "x" * 200, "a\0b"])
def test_a_name_that_is_none_is_refused(uuid: str) -> None:
    with pytest.raises(Refused):
        history.device_history({"uuid": uuid, "since": 0.0, "until": 1.0}, b"")


def test_a_record_is_as_the_format_says() -> None:
    assert RECORD.size == 16
    assert struct.unpack("<4sIII", history.HEAD[:16]) == (b"TDH1", 16, 10, 60_480)
    assert len(history.HEAD) == 64
