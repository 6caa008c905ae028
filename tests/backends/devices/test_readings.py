"""What a machine says of its devices, with types: it may be another machine's, and may say
anything."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.devices.readings import Device, DeviceProcess, DeviceReport, Told, device
from traindeck.backends.encoding import encode

NOW = 1_800_000_000.0


def line(**of: Any) -> dict[str, Any]:
    return {"time": NOW, "monotonic": 1.0, **of}


def test_each_line_adds_to_what_was_said_before() -> None:
    told = Told()
    told.hear(line(user="ada", devices={"a": {"index": 1, "name": "X"}, "b": {"index": 0}}), NOW)
    report = told.hear(line(devices={"a": {"utilization_pct": 5}}), NOW + 1)
    assert [(one.uuid, one.name, one.utilization_pct) for one in report.devices] == [
        ("b", None, None), ("a", "X", 5),
    ]  # fmt: skip
    assert (report.user, report.observed_at) == ("ada", NOW + 1)
    assert [one.uuid for one in told.hear(line(gone=["b"]), NOW + 2).devices] == ["a"]
    report = told.hear(line(devices={"a": {"utilization_pct": None}}), NOW + 3)
    assert report.devices[0].utilization_pct is None


def test_times_are_by_our_clock() -> None:
    told = Told()
    holder = {"pid": 1, "idle_since": NOW - 70}
    said = {"index": 0, "idle_since": NOW - 60, "processes": [holder]}
    report = told.hear(line(devices={"a": said}), NOW + 10_800)
    assert report.devices[0].idle_since == NOW - 60 + 10_800
    assert report.devices[0].processes[0].idle_since == NOW - 70 + 10_800


@pytest.mark.parametrize(
    ("field", "odd"),
    [
        ("utilization_pct", "97"),
        ("utilization_pct", True),
        ("utilization_pct", float("nan")),
        ("utilization_pct", 10**400),
        ("memory_used_bytes", 1.5),
        ("name", 7),
        ("throttle_reasons", "hw_thermal"),
        ("processes", {"pid": 1}),
        ("mig", 3),
        ("mig_mode", 1),
        ("missing", []),
        ("state", None),
    ],
)
def test_a_value_of_the_wrong_kind_counts_as_not_said(field: str, odd: object) -> None:
    assert getattr(device({field: odd}), field) == getattr(Device(), field)


def test_more_than_can_be_is_cut() -> None:
    told = Told()
    many = {str(n): {"index": n} for n in range(3000)}
    assert len(told.hear(line(devices=many), NOW).devices) == 1024
    found = device({"processes": [{"pid": n} for n in range(9000)], "name": "x" * 9000})
    assert len(found.processes) == 4096
    assert len(found.name or "") == 1000


def test_slices_in_slices_however_deep_are_none() -> None:
    deep: dict[str, Any] = {"uuid": "x"}
    for _ in range(900):
        deep = {"uuid": "x", "mig": [deep]}
    report = Told().hear(line(devices={"a": deep}), NOW)
    assert [part.mig for part in report.devices[0].mig] == [()]


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)
known = st.sampled_from([*(one.name for one in fields(Device)), "pid", "x"])
top = st.sampled_from(["time", "devices", "gone", "problems", "drivers", "asking", "user"])


@given(
    st.dictionaries(top, odd | st.dictionaries(st.text(max_size=3), st.dictionaries(known, odd)))
)
def test_whatever_is_said_is_taken_and_can_be_said_again(said: dict[str, Any]) -> None:
    report = Told().hear(said, NOW)
    assert isinstance(report, DeviceReport)
    json.dumps(encode(report), allow_nan=False)


def test_every_field_has_a_reader() -> None:
    """A field of a new kind would fail on import; one without a default could not be left out."""
    assert Device() == device({})
    assert DeviceProcess().kind == "compute"
