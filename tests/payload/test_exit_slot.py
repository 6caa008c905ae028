"""The exit record is whole or empty, never a wrong number."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.payload.agent import exit_slot

RUN = "0123456789ab"


def payload(**more: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "run": RUN,
        "attempt": 2,
        "cause": "self",
        "exit_code": 3,
        "signal": None,
        "started": 1.5,
        "ended": 2.5,
        "reason": "",
        "host": "here",
        "boot_id": "b",
        "next": None,
        **more,
    }


def packed_as_is(words: object) -> bytes:
    """A slot with any payload, well formed otherwise."""
    data = json.dumps(words).encode()
    body = b"TDX1" + struct.pack("<II", 2, len(data)) + data
    return (body + struct.pack("<I", zlib.crc32(body))).ljust(4096, b"\0")


def test_what_was_written_is_what_is_read() -> None:
    slot = exit_slot.pack(2, payload())
    assert len(slot) == 4096
    assert exit_slot.unpack(slot, RUN, 2) == payload()


@given(
    cause=st.text(max_size=30),
    code=st.none() | st.integers(-(2**31), 2**31),
    signal=st.none() | st.integers(1, 64),
    reason=st.text(max_size=5000),
    following=st.none() | st.integers(0, 99_999),
)
def test_any_payload_comes_back(
    cause: str, code: int | None, signal: int | None, reason: str, following: int | None
) -> None:
    words = payload(cause=cause, exit_code=code, signal=signal, reason=reason, next=following)
    found = exit_slot.unpack(exit_slot.pack(2, words), RUN, 2)
    assert found is not None
    assert reason.startswith(found["reason"])
    assert {**found, "reason": ""} == {**words, "reason": ""}


def test_a_slot_cut_at_any_byte_is_empty_or_whole() -> None:
    slot = exit_slot.pack(2, payload(reason="something long enough to be cut"))
    used = len(slot.rstrip(b"\0"))
    for size in range(len(slot)):
        for torn in (slot[:size], slot[:size].ljust(4096, b"\0")):
            found = exit_slot.unpack(torn, RUN, 2)
            # The last bytes of a CRC may be zeros: what is whole is read, nothing else.
            assert found is None or (size >= used and found == payload(reason=found["reason"]))
            assert found is None or torn[:used] == slot[:used]


def test_a_slot_torn_anywhere_between_an_old_and_a_new_record_is_one_of_them_or_empty() -> None:
    old = exit_slot.pack(2, payload(exit_code=0))
    new = exit_slot.pack(2, payload(exit_code=1, reason="longer than the other one"))
    whole = [payload(exit_code=0), payload(exit_code=1, reason="longer than the other one"), None]
    for size in range(len(new) + 1):
        assert exit_slot.unpack(new[:size] + old[size:], RUN, 2) in whole


def test_a_slot_with_any_bit_flipped_is_empty() -> None:
    slot = exit_slot.pack(2, payload())
    for at in range(len(slot.rstrip(b"\0"))):
        for bit in range(8):
            flipped = bytearray(slot)
            flipped[at] ^= 1 << bit
            assert exit_slot.unpack(bytes(flipped), RUN, 2) is None


@given(st.binary(max_size=300))
def test_noise_is_empty(data: bytes) -> None:
    assert exit_slot.unpack(data, RUN, 2) is None
    assert exit_slot.unpack(b"TDX1" + data, RUN, 2) is None


def test_the_slot_of_another_attempt_or_run_is_empty() -> None:
    slot = exit_slot.pack(2, payload())
    assert exit_slot.unpack(slot, RUN, 1) is None
    assert exit_slot.unpack(slot, "ba9876543210", 2) is None
    assert exit_slot.unpack(exit_slot.pack(2, payload(attempt=1)), RUN, 2) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"exit_code": "0"},
        {"exit_code": True},
        {"exit_code": 0.0},
        {"signal": "9"},
        {"ended": None},
        {"ended": "now"},
        {"started": [1]},
        {"cause": None},
        {"reason": 5},
        {"host": {}},
        {"boot_id": None},
        {"format": "1"},
        {"next": "1"},
    ],
    ids=str,
)
def test_a_payload_of_another_shape_is_empty(wrong: dict[str, Any]) -> None:
    assert exit_slot.unpack(packed_as_is(payload(**wrong)), RUN, 2) is None


@pytest.mark.parametrize("words", [None, 3, "x", [], {}], ids=str)
def test_a_payload_that_is_no_object_is_empty(words: object) -> None:
    assert exit_slot.unpack(packed_as_is(words), RUN, 2) is None


def test_fields_of_a_newer_version_are_ignored() -> None:
    slot = packed_as_is(payload(colour="blue", deep={"x": 1e999}))
    assert exit_slot.unpack(slot, RUN, 2) is None  # Infinity is not JSON
    slot = packed_as_is(payload(colour="blue"))
    assert exit_slot.unpack(slot, RUN, 2) == payload()


def test_a_number_that_is_none_is_not_read() -> None:
    text = json.dumps(payload()).replace("2.5", "1e999")
    body = b"TDX1" + struct.pack("<II", 2, len(text)) + text.encode()
    slot = (body + struct.pack("<I", zlib.crc32(body))).ljust(4096, b"\0")
    assert exit_slot.unpack(slot, RUN, 2) is None


def test_a_fifo_in_its_place_hangs_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "exit.slot")
    assert exit_slot.read(str(tmp_path), RUN, 2) is None


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(exit_slot.pack(2, payload()))
    (tmp_path / "exit.slot").symlink_to(tmp_path / "elsewhere")
    assert exit_slot.read(str(tmp_path), RUN, 2) is None
