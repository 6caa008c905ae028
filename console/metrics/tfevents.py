"""TensorBoard event files, read without TensorBoard.

A file is records of: length (u64), its CRC, an `Event` message, its CRC; little endian
(tensorflow/core/lib/io/record_writer.h). Of an Event we take wall_time (1), step (2) and
summary (5), of a Summary its values (1), of a Value tag (1), simple_value (2) and, for TF 2, a
scalar tensor (8). Checksums are not verified: a torn record at the end is left for the next read,
and a length that makes no sense ends the file.

What torch's, Lightning's and HF's writers make, one `simple_value` a record, is decoded by numpy,
all records of one length at once; everything else, and short stretches (numpy takes 100 ms to
import), field by field.
"""

from __future__ import annotations

import math
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from traindeck.console.metrics.names import series_name
from traindeck.console.metrics.reading import (
    BIGGEST_STEP,
    LONGEST,
    MOST_KEYS,
    Carry,
    Columns,
    Reading,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MANY = 1 << 16
"""Bytes from which on numpy is worth its import."""

_LENGTH = struct.Struct("<Q")
_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")
_DT_FLOAT, _DT_DOUBLE = 1, 2
_HEAD = 12
_TAIL = 4
_LONGEST_ALIKE = 160
_ALIKE = 16
"""Records of one length from which on they are decoded together."""


def read_events(data: bytes, carry: Carry) -> Reading:
    """The scalars of a stretch that begins at a record."""
    reading = Reading(carry=dict(carry))
    if reading.carry.get("broken"):
        reading.consumed = len(data)
        return reading
    starts, sizes = _records(data, reading)
    if len(data) >= MANY or "numpy" in sys.modules:
        _together(data, starts, sizes, reading)
    else:
        _singly(data, starts, sizes, range(len(starts)), reading)
    # Now by their series; a tag that is called as its series comes before another for the same.
    tags, reading.series = reading.series, {}
    for tag in sorted(tags, key=lambda tag: (series_name(tag) != tag, tag)):
        found = tags[tag]
        name = reading.called(series_name(tag) or tag, tag)
        columns = reading.columns(name)
        columns.steps += found.steps
        columns.times += found.times
        columns.values += found.values
        columns.offsets += [-1] * len(found.steps)
    return reading


def _records(data: bytes, reading: Reading) -> tuple[list[int], list[int]]:
    """Where the messages of whole records begin, and their lengths."""
    starts: list[int] = []
    sizes: list[int] = []
    at, end = 0, len(data)
    unpack = _LENGTH.unpack_from
    while at + _HEAD <= end:
        (size,) = unpack(data, at)
        if size > 16 * LONGEST:
            reading.carry["broken"] = True
            at = end
            break
        after = at + _HEAD + size + _TAIL
        if after > end:
            break
        starts.append(at + _HEAD)
        sizes.append(size)
        at = after
    reading.consumed = at
    return starts, sizes


# --------------------------------------------------------------------------------------- together


def _together(data: bytes, starts: list[int], sizes: list[int], reading: Reading) -> None:
    """Decode records of the common shape at once, the others singly, each series in file order."""
    import numpy as np

    octets = np.frombuffer(data, dtype=np.uint8)
    begins = np.array(starts, dtype=np.int64)
    lengths = np.array(sizes, dtype=np.int64)
    taken = np.zeros(len(starts), dtype=np.bool_)
    found: dict[str, list[tuple[Any, Any, Any, Any]]] = {}
    for length in np.unique(lengths).tolist():
        members = np.nonzero(lengths == length)[0]
        if members.size < _ALIKE or length > _LONGEST_ALIKE:
            continue
        rows = octets[begins[members][:, None] + np.arange(length)]
        _decode(rows, members, taken, found)
    _singly(data, starts, sizes, np.nonzero(~taken)[0].tolist(), reading)
    for name, parts in found.items():
        if single := reading.series.get(name):
            parts.append((single.offsets, single.steps, single.times, single.values))
        elif len(reading.series) >= MOST_KEYS:
            continue
        order = np.argsort(np.concatenate([part[0] for part in parts]), kind="stable")
        steps, times, values = (
            np.concatenate([part[n] for part in parts])[order].tolist() for n in (1, 2, 3)
        )
        reading.series[name] = Columns(steps, times, values)
        reading.step = max(reading.step or 0, max(steps))


def _decode(
    rows: npt.NDArray[np.uint8],
    members: npt.NDArray[np.int64],
    taken: npt.NDArray[np.bool_],
    found: dict[str, list[tuple[Any, Any, Any, Any]]],
) -> None:
    """Records of one length: wall_time, step as a varint of one of its lengths, one summary of one
    value: tag, then simple_value at the end."""
    import numpy as np

    length = rows.shape[1]
    for width in range(1, 9):  # bytes of the step
        summary = 10 + width  # its key, its length (one byte), then the value's
        tag = summary + 6
        if tag + 5 > length:
            return
        inner = length - summary - 2
        name_size = inner - 2 - 2 - 5
        if inner > 127 or name_size < 1:
            continue
        fits = (rows[:, 0] == 0x09) & (rows[:, 9] == 0x10)
        fits &= (rows[:, 10 : 10 + width - 1] >= 0x80).all(axis=1) & (rows[:, 9 + width] < 0x80)
        for at, octet in (
            (summary, 0x2A), (summary + 1, inner), (summary + 2, 0x0A), (summary + 3, inner - 2),
            (summary + 4, 0x0A), (summary + 5, name_size), (length - 5, 0x15),
        ):  # fmt: skip
            fits &= rows[:, at] == octet
        mine = np.nonzero(fits)[0]
        if not mine.size:
            continue
        part = rows[mine]
        times = np.ascontiguousarray(part[:, 1:9]).view("<f8").ravel()
        values = np.ascontiguousarray(part[:, length - 4 :]).view("<f4").ravel()
        steps = np.zeros(mine.size, dtype=np.int64)
        for place in range(width):
            steps |= (part[:, 10 + place].astype(np.int64) & 127) << (7 * place)
        taken[members[mine]] = True
        tags = np.ascontiguousarray(part[:, tag : length - 5]).view(f"V{name_size}").ravel()
        for raw in np.unique(tags):
            tag_name = raw.tobytes().decode("utf-8", "replace")
            if series_name(tag_name) is None:
                continue
            same = (tags == raw) & (steps < BIGGEST_STEP)
            if same.any():
                found.setdefault(tag_name, []).append(
                    (members[mine][same], steps[same], times[same], values[same].astype(np.float64))
                )


# ------------------------------------------------------------------------------------- one by one


def _singly(
    data: bytes, starts: list[int], sizes: list[int], indices: Iterable[int], reading: Reading
) -> None:
    for index in indices:
        try:
            _event(data, starts[index], starts[index] + sizes[index], index, reading)
        except (IndexError, struct.error, ValueError):
            pass  # one record of a shape that we do not know; its length still leads to the next


def _event(data: bytes, start: int, end: int, index: int, reading: Reading) -> None:
    moment, step = math.nan, 0
    summaries = []
    for field, value in _fields(data, start, end):
        if field == 1 and isinstance(value, bytes) and len(value) == 8:
            (moment,) = _DOUBLE.unpack(value)
        elif field == 2 and isinstance(value, int):
            step = value
        elif field == 5 and isinstance(value, tuple):
            summaries.append(value)
    if not 0 <= step < BIGGEST_STEP:
        return
    for low, high in summaries:
        for field, value in _fields(data, low, high):
            if field == 1 and isinstance(value, tuple):
                _value(data, *value, step, moment, index, reading)


def _value(
    data: bytes, start: int, end: int, step: int, moment: float, index: int, reading: Reading
) -> None:
    tag, number = "", None
    for field, value in _fields(data, start, end):
        if field == 1 and isinstance(value, tuple):
            tag = data[value[0] : value[1]].decode("utf-8", "replace")
        elif field == 2 and isinstance(value, bytes) and len(value) == 4:
            (number,) = _FLOAT.unpack(value)
        elif field == 8 and isinstance(value, tuple) and number is None:
            number = _tensor(data, *value)
    if tag and number is not None and series_name(tag) is not None:
        reading.add(tag, step, moment, number, index)
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
            if isinstance(packed, bytes) and len(packed) == (4 if field == 5 else 8):
                (number,) = (_FLOAT if field == 5 else _DOUBLE).unpack(packed)
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
            if size < 0 or at + size > end:
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
