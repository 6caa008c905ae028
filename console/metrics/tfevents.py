"""TensorBoard event files, read without TensorBoard.

A file is records of: length (u64), its CRC, an `Event` message, its CRC; little endian
(tensorflow/core/lib/io/record_writer.h). Of an Event we take wall_time (1), step (2) and
summary (5), of a Summary its values (1), of a Value tag (1), simple_value (2) and, for TF 2, a
scalar tensor (8). Checksums are not verified: a torn record at the end is left for the next read,
and a length that makes no sense ends the file.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

from traindeck.console.metrics.names import canonical
from traindeck.console.metrics.reading import LONGEST, Carry, Reading

_LENGTH = struct.Struct("<Q")
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_DT_FLOAT, _DT_DOUBLE = 1, 2


def read_events(data: bytes, carry: Carry) -> Reading:
    """The scalars of a stretch that begins at a record."""
    reading = Reading(carry=dict(carry))
    if reading.carry.get("broken"):
        reading.consumed = len(data)
        return reading
    at = 0
    while at + 12 <= len(data):
        (size,) = _LENGTH.unpack_from(data, at)
        end = at + 16 + size
        if size > 16 * LONGEST:
            reading.carry["broken"] = True
            at = len(data)
            break
        if end > len(data):
            break
        try:
            _event(data, at + 12, end - 4, reading)
        except (IndexError, struct.error, ValueError):
            pass  # one record of a shape that we do not know; its length still leads to the next
        at = end
    reading.consumed = at
    return reading


def _event(data: bytes, start: int, end: int, reading: Reading) -> None:
    moment, step = math.nan, 0
    summaries = []
    for field, value in _fields(data, start, end):
        if field == 1 and isinstance(value, bytes) and len(value) == 8:
            (moment,) = _DOUBLE.unpack(value)
        elif field == 2 and isinstance(value, int):
            step = value
        elif field == 5 and isinstance(value, tuple):
            summaries.append(value)
    if not 0 <= step < 1 << 53:
        return
    for low, high in summaries:
        for field, value in _fields(data, low, high):
            if field == 1 and isinstance(value, tuple):
                _value(data, *value, step, moment, reading)


def _value(data: bytes, start: int, end: int, step: int, moment: float, reading: Reading) -> None:
    tag, number = "", None
    for field, value in _fields(data, start, end):
        if field == 1 and isinstance(value, tuple):
            tag = data[value[0] : value[1]].decode("utf-8", "replace")
        elif field == 2 and isinstance(value, bytes) and len(value) == 4:
            (number,) = _FLOAT.unpack(value)
        elif field == 8 and isinstance(value, tuple) and number is None:
            number = _tensor(data, *value)
    if tag and number is not None:
        reading.add(canonical(tag), step, moment, number)
        reading.step = max(step, reading.step or 0)


def _tensor(data: bytes, start: int, end: int) -> float | None:
    """The value of a scalar TensorProto: dtype (1), shape (2), content (4), float_val (5) or
    double_val (6). None for anything that is no scalar."""
    kind, content, number = 0, b"", None
    for field, value in _fields(data, start, end):
        if field == 1 and isinstance(value, int):
            kind = value
        elif field == 2 and isinstance(value, tuple) and value[1] > value[0]:
            return None
        elif field == 4 and isinstance(value, tuple):
            content = data[value[0] : value[1]]
        elif field in (5, 6):
            packed = data[value[0] : value[1]] if isinstance(value, tuple) else value
            if isinstance(packed, bytes) and len(packed) in (4, 8):
                (number,) = (_FLOAT if len(packed) == 4 else _DOUBLE).unpack(packed)
    if number is None and kind == _DT_FLOAT and len(content) == 4:
        (number,) = _FLOAT.unpack(content)
    if number is None and kind == _DT_DOUBLE and len(content) == 8:
        (number,) = _DOUBLE.unpack(content)
    return number


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int | bytes | tuple[int, int]]]:
    """The fields of a protobuf message: a varint as int, fixed ones as bytes, a length-delimited
    one as its (start, end)."""
    while at < end:
        key, at = _varint(data, at, end)
        kind, field = key & 7, key >> 3
        if kind == 0:
            value, at = _varint(data, at, end)
            yield field, value
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            if at + size > end:
                raise ValueError("a field that is cut off")
            yield field, data[at : at + size]
            at += size
        elif kind == 2:
            size, at = _varint(data, at, end)
            if at + size > end:
                raise ValueError("a field that is cut off")
            yield field, (at, at + size)
            at += size
        else:
            raise ValueError("a wire type that is not used")


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value if value < 1 << 63 else value - (1 << 64), at
        shift += 7
    raise ValueError("a number that is cut off")
