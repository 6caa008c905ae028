"""The measurements of a running attempt: system.jsonl at 1 Hz and the log's (time, size) samples.

They must cost next to nothing: the supervisor has 0.3 % of a core. Known processes are read each
second; the search for new ones is spread out by what it was seen to cost.
"""

import os
import struct
import time

from . import procs

SAMPLE = struct.Struct("<dQ")
SEARCH_SHARE = 0.001
"""The part of a core that looking for new processes may take."""


def _append(path):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(path, flags, 0o600)


def _write_record(fd, data):
    """Append all of `data` or nothing: half a record would shift what follows."""
    try:
        wrote = os.write(fd, data)
        if wrote < len(data):
            os.ftruncate(fd, os.fstat(fd).st_size - wrote)
            return False
        return True
    except OSError:
        return False


class LogWatch:
    """The growth of one log.

    Attributes:
        size: Bytes when last looked at.
        grew_at: Monotonic time at which growth was last seen (at first: of the beginning).
        due: Monotonic time of the next look; None while it is quiet, when it is looked at along
            with the system once a second.
    """

    BUSY = 0.1
    BUSY_FOR = 2.0

    def __init__(self, log_fd, index_path, now, from_start=True):
        self._log = log_fd
        self._index = _append(index_path)
        # What the job has written before the first look is growth too; what an adopted one had
        # written before anybody watched was written nobody knows when.
        self.size = 0 if from_start else os.fstat(log_fd).st_size
        self._last = 0.0
        self.grew_at = now
        self.due = now

    def look(self, now):
        """Take a sample if the log has changed. The time of a sample is that of the log's last
        write, so looking late costs nothing."""
        info = os.fstat(self._log)
        if info.st_size != self.size:
            wall = time.time()
            written = info.st_mtime
            stamp = written if self._last < written <= wall else wall
            if _write_record(self._index, SAMPLE.pack(stamp, info.st_size)):
                self._last = stamp
            self.size = info.st_size
            self.grew_at = now
        self.due = now + self.BUSY if now - self.grew_at < self.BUSY_FOR else None

    def close(self):
        os.close(self._index)


class SystemWatch:
    """CPU, memory and IO of the whole tree, one line a second."""

    INTERVAL = 1.0

    def __init__(self, tree, path, now, from_start=True):
        self._tree = tree
        self._file = _append(path)
        # What a process has waited for counts in it, so the sum over those that live and those
        # that we have waited for loses nothing when one ends: (CPU ticks, bytes read, written).
        self._reaped = [0.0, 0, 0]
        self._io = [0, 0]
        self._ticks = 0.0 if from_start else None
        self._at = now
        self._search_due = now
        self.due = now + self.INTERVAL

    def reaped(self, usage):
        """A child of the supervisor is gone; what it used stays counted."""
        self._reaped[0] += (usage.ru_utime + usage.ru_stime) * procs.TICK
        self._reaped[1] += usage.ru_inblock * 512
        self._reaped[2] += usage.ru_oublock * 512

    def sample(self, now):
        """Measure and write one line."""
        if now >= self._search_due:
            began = time.process_time()
            self._tree.scan()
            cost = time.process_time() - began
            self._search_due = now + min(30.0, max(self.INTERVAL, cost / SEARCH_SHARE))
        ticks, read, written = self._reaped
        pages = count = 0
        for pid, starttime in list(self._tree.members.items()):
            found = procs.stat_of(pid)
            if found is None or found.starttime != starttime:
                del self._tree.members[pid]
                continue
            ticks += found.ticks + found.children_ticks
            if not found.dead:
                pages += found.rss
                count += 1
            io = self._read_io(pid)
            read += io[0]
            written += io[1]
        self._io = [max(self._io[0], read), max(self._io[1], written)]
        elapsed = now - self._at
        if self._ticks is not None and elapsed > 0:
            percent = max(0.0, 100.0 * (ticks - self._ticks) / procs.TICK / elapsed)
            line = (
                '{"time":%.3f,"cpu_pct":%.1f,"rss_bytes":%d,"procs":%d,'
                '"read_bytes":%d,"write_bytes":%d}\n'
                % (
                    time.time(),
                    percent,
                    pages * procs.PAGE,
                    count,
                    self._io[0],
                    self._io[1],
                )
            )
            _write_record(self._file, line.encode("ascii"))
        self._ticks = ticks
        self._at = now
        self.due = now + self.INTERVAL

    @staticmethod
    def _read_io(pid):
        data = procs.read_proc("/proc/%d/io" % pid, 1024) or b""
        read = data.find(b"\nread_bytes: ")
        write = data.find(b"\nwrite_bytes: ")
        if read < 0 or write < 0:
            return 0, 0
        return (
            int(data[read + 13 : data.index(b"\n", read + 13)]),
            int(data[write + 14 : data.index(b"\n", write + 14)]),
        )

    def close(self):
        os.close(self._file)
