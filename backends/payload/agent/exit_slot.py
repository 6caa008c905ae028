"""The exit record: a slot of fixed size, allocated before the job starts and written in place once.

A full disk cannot keep it from being written, and a torn one is empty, never a number.
"""

import binascii
import os
import struct

from . import records, wire

SIZE = 4096
RESERVE = 65536
MAGIC = b"TDX1"
HEAD = struct.Struct("<4sII")


def pack(attempt, payload):
    """The bytes of a whole slot. A reason that would not fit is cut."""
    data = wire.dumps(payload).encode("ascii")
    room = SIZE - HEAD.size - 4
    if len(data) > room:
        # Only a reason is of any length; JSON makes at most twelve bytes of a character.
        payload = dict(payload, reason=payload["reason"][:200])
        data = wire.dumps(payload).encode("ascii")
    body = HEAD.pack(MAGIC, attempt, len(data)) + data
    body += struct.pack("<I", binascii.crc32(body) & 0xFFFFFFFF)
    return body + b"\0" * (SIZE - len(body))


def unpack(data, run, attempt):
    """The payload of a slot's bytes, or None if the slot is empty, torn, another's, or holds
    anything else than FORMAT.md says."""
    if len(data) < HEAD.size + 4:
        return None
    magic, number, length = HEAD.unpack_from(data)
    end = HEAD.size + length
    if magic != MAGIC or number != attempt or end + 4 > min(len(data), SIZE):
        return None
    (crc,) = struct.unpack_from("<I", data, end)
    if binascii.crc32(data[:end]) & 0xFFFFFFFF != crc:
        return None
    payload = wire.parse_object(data[HEAD.size : end])
    if payload is None or payload.get("run") != run or payload.get("attempt") != attempt:
        return None
    return _known(payload)


def _known(payload):
    """The fields we know of a payload, or None if one has not the type it must have."""
    known = {"run": payload["run"], "attempt": payload["attempt"]}
    for name in ("exit_code", "signal", "next", "format"):
        value = known[name] = payload.get(name)
        if value is None and name != "format":
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            return None
    for name in ("started", "ended"):
        value = known[name] = records.number(payload.get(name))
        if value is None and (name == "ended" or payload.get(name) is not None):
            return None
    for name in ("cause", "reason", "host", "boot_id"):
        value = known[name] = payload.get(name)
        if not isinstance(value, str):
            return None
    if isinstance(payload.get("word"), str):
        known["word"] = payload["word"]
    return known


def read(directory, run, attempt):
    """The exit record in an attempt's directory, or None. Raises OSError if it cannot be read."""
    data = records.read_bytes(directory + "/exit.slot", SIZE)
    return unpack(data, run, attempt) if data else None


def allocate(directory):
    """Make the slot and the reserve, with real blocks behind both. Returns the slot's descriptor.
    Raises OSError if there is no room."""
    fd = os.open(directory + "/exit.slot", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        wire.write_all(fd, b"\0" * SIZE)
        reserve = os.open(directory + "/reserve", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            wire.write_all(reserve, b"\0" * RESERVE)
        finally:
            os.close(reserve)
    except OSError:
        os.close(fd)
        raise
    return fd


def write(fd, directory, data):
    """Put a packed slot on the disk, spending the reserve if there is no room. Raises OSError if
    it cannot be done now."""
    try:
        _write_once(fd, data)
    except OSError:
        os.unlink(directory + "/reserve")
        _write_once(fd, data)


def _write_once(fd, data):
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], done)
    os.fsync(fd)
