"""What the devices of this machine did, kept on its disk: a ring of seven days for each, written by
whoever reads them, and since when somebody who holds memory was not seen to compute.

Of several readers one writes, the first that got the lock. A record has its place by its time, so
nothing has to say where the ring begins, and one that was not written is one of seven days ago,
which its own time tells. Nothing is claimed for a time in which nobody looked.
"""

import fcntl
import os
import struct

from .. import Refused, layout, records, wire

STEP = 10
"""Seconds of a record."""
SLOTS = 7 * 86400 // STEP
RECORD = struct.Struct("<IBBBBIHH")
"""Time (seconds since the epoch, of its beginning), the highest and the mean utilisation (percent),
temperature (degrees Celsius), kind of memory and flags, memory used (MiB), power (W), clock (MHz).
All ones: not known."""
HEAD = struct.pack("<4sIII48x", b"TDH1", RECORD.size, STEP, SLOTS)
KINDS = ("device", "reserved", "shared")
SLOWED = 0x4
"""Flag: a clock was lower than it should be (throttle reasons that are worth a warning). The two
bits below it are the place in KINDS of what the memory is; 3: not known."""
BAD = ("hw_slowdown", "sw_thermal", "hw_thermal", "hw_power_brake")
BROKEN = 30.0
"""Seconds without a look after which nothing is known of what was before."""
HELD_BYTES, HELD_SHARE = 1 << 30, 0.05
"""What counts as holding a device, the larger of the two; less is a context that does nothing."""
MOST_HELD = 10000


def folder():
    """Where it lies."""
    return layout.root() + "/devices"


def ring_path(uuid):
    """The file of a device."""
    if not uuid or len(uuid) > 100 or not all(c.isalnum() or c in "-_.:" for c in uuid):
        raise Refused("%.120r names no device." % (uuid,))
    return "%s/%s.ring" % (folder(), uuid)


def device_history(request, body):
    """The verb: the records of a device between two times, oldest first, as the body."""
    path = ring_path(wire.field(request, "uuid", str, required=True))
    since = wire.field(request, "since", float, required=True)
    until = wire.field(request, "until", float, required=True)
    last = int(until) // STEP
    first = max(int(since) // STEP, last - SLOTS + 1)
    try:
        fd = records.open_regular(path)
    except OSError as error:
        raise Refused("%s cannot be read: %s." % (path, error.strerror)) from None
    answer = {"step": STEP, "size": RECORD.size}
    if fd is None or first > last:
        return answer
    try:
        begin, end = first % SLOTS, last % SLOTS + 1
        spans = [(begin, end)] if begin < end else [(begin, SLOTS), (0, end)]
        data = b"".join(
            os.pread(fd, (to - at) * RECORD.size, len(HEAD) + at * RECORD.size) for at, to in spans
        )
    finally:
        os.close(fd)
    found = []
    for at in range(0, len(data) - RECORD.size + 1, RECORD.size):
        (time,) = struct.unpack_from("<I", data, at)
        if first * STEP <= time <= last * STEP:
            found.append(data[at : at + RECORD.size])
    return answer, b"".join(found)


class History:
    """Keeps what is read. Whatever goes wrong with the disk, the devices are read all the same."""

    def __init__(self):
        self._lock = None
        self._tried = 0.0
        self._rings = {}
        self._slots = {}
        self._held = {}
        self._at = None
        self._kept = 0.0
        self._recall()

    def note(self, now, readings):
        """Keep these readings of now, and add to each what is known of how long it was idle.

        Adds `idle_since` to a device, and to each process on it: the time from which on memory was
        held and nothing was seen to compute, watched all the time. None while something computes,
        less is held, or it cannot be told.
        """
        if self._at is not None and not 0 <= now - self._at <= BROKEN:
            self._held = {}
        self._at = now
        held = {}
        for reading in readings:
            for part in (reading, *(reading.get("mig") or ())):
                self._note_idle(now, part, held)
        self._held = held
        if self._may_write(now):
            for reading in readings:
                self._write(now, reading)
            if now - self._kept >= STEP:
                self._kept = now
                self._keep(now)

    # -- idle

    def _note_idle(self, now, reading, held):
        uuid = reading["uuid"]
        share = reading.get("utilization_pct")
        least = max(HELD_BYTES, HELD_SHARE * (reading.get("memory_total_bytes") or 0))
        used = reading.get("memory_used_bytes") or 0
        processes = reading.get("processes") or ()
        holds = used >= least and any(p.get("kind") != "graphics" for p in processes)
        reading["idle_since"] = self._idle(now, uuid, share, holds, held)
        for process in processes:
            own = process.get("utilization_pct")
            if own is None and share == 0:
                own = 0  # nothing computes at all
            key = "%s %d %d" % (uuid, process["pid"], process.get("start") or 0)
            enough = (process.get("memory_bytes") or 0) >= least and process["kind"] != "graphics"
            # One that is not seen in the last samples, on a device that computes: not this one.
            process["idle_since"] = self._idle(now, key, own, enough, held)

    def _idle(self, now, key, share, holds, held):
        if share is None or not holds or len(held) >= MOST_HELD:
            return None
        if share > 0:
            held[key] = now
            return None
        held[key] = self._held.get(key, now)
        return held[key]

    def _recall(self):
        """Go on from what another reader knew, if that was now."""
        try:
            kept = records.read_object(folder() + "/held.json")
        except OSError:
            return
        held = kept and kept.get("held")
        if isinstance(held, dict) and isinstance(kept.get("at"), (int, float)):
            self._at = kept["at"]
            self._held = {k: v for k, v in held.items() if isinstance(v, (int, float))}

    def _keep(self, now):
        text = wire.dumps({"at": now, "held": self._held}).encode("ascii")
        path = folder() + "/held.json"
        try:
            fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                wire.write_all(fd, text)
            finally:
                os.close(fd)
            os.rename(path + ".new", path)
        except OSError:
            pass

    # -- the rings

    def _may_write(self, now):
        if self._lock is not None:
            return True
        if 0 <= now - self._tried < STEP:
            return False
        self._tried = now
        try:
            os.makedirs(folder(), 0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(folder() + "/lock", flags, 0o600)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._lock = fd
        return True

    def _write(self, now, reading):
        uuid = reading["uuid"]
        slot = int(now) // STEP
        share = reading.get("utilization_pct")
        most, total, count, before = self._slots.get(uuid, (0, 0, 0, None))
        if before != slot:
            most, total, count = 0, 0, 0
        if share is not None:
            most, total, count = max(most, share), total + share, count + 1
        self._slots[uuid] = most, total, count, slot
        used = reading.get("memory_used_bytes")
        kind = reading.get("memory_kind")
        flags = KINDS.index(kind) if kind in KINDS else 3
        if any(reason in BAD for reason in reading.get("throttle_reasons") or ()):
            flags |= SLOWED
        record = RECORD.pack(
            slot * STEP,
            _at_most(most, 0xFE) if count else 0xFF,
            _at_most(total / count, 0xFE) if count else 0xFF,
            _known(reading.get("temperature_c"), 0xFF),
            flags,
            _known(None if used is None else used >> 20, 0xFFFFFFFF),
            _known(reading.get("power_w"), 0xFFFF),
            _known(reading.get("sm_clock_mhz"), 0xFFFF),
        )
        try:
            fd = self._rings.get(uuid)
            if fd is None:
                fd = self._rings[uuid] = _open(ring_path(uuid))
            os.pwrite(fd, record, len(HEAD) + slot % SLOTS * RECORD.size)
        except (OSError, Refused):
            pass  # a full disk, a name that is none: there is no history then


def _open(path):
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    if os.pread(fd, len(HEAD), 0) != HEAD:
        os.ftruncate(fd, 0)
        os.pwrite(fd, HEAD, 0)
    return fd


def _at_most(value, limit):
    return int(min(max(value, 0), limit))


def _known(value, unknown):
    return unknown if value is None else _at_most(value, unknown - 1)
