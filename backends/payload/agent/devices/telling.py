"""What the accelerators of this machine are doing: a stream of `serve`, from a process of its own.

The bindings that ask NVIDIA's driver are sent once and kept beside the agent, by the digest of
their bytes; who asks for the stream names them, and is told if they are not there.
"""

import os
import select
import sys

from .. import Refused, layout, records, wire

LIBRARY = "pynvml"
MAX_LIBRARY = 4 << 20
MAX_LINE = 8 << 20
FOREVER = 3600.0


def library_folder(digest):
    """Where the bindings of a digest (hexadecimal) lie."""
    if len(digest) != 64 or not all(letter in "0123456789abcdef" for letter in digest):
        raise Refused("%.80r is no digest." % (digest,))
    return "%s/bin/%s-%s" % (layout.root(), LIBRARY, digest[:16])


def keep_library(request, body):
    """The verb: the bindings, as they were asked for."""
    import hashlib

    digest = wire.field(request, "digest", str, required=True)
    folder = library_folder(digest)
    if len(body) > MAX_LIBRARY or hashlib.sha256(body).hexdigest() != digest:
        raise Refused("What came is not what was to come.")
    path = "%s/%s.py" % (folder, LIBRARY)
    aside = "%s.%d" % (path, os.getpid())
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            wire.write_all(fd, body)
        finally:
            os.close(fd)
        os.rename(aside, path)
        records.sync_dir(folder)
    except OSError as error:
        raise Refused("%s cannot be written: %s." % (path, error.strerror)) from None
    return {}


class Telling:
    """The stream: each answer has one line of the program `devices` as its body. Who takes none of
    them keeps the program waiting; they get the newest when they do."""

    def __init__(self, request):
        every = wire.field(request, "every", float)
        digest = wire.field(request, "library", str)
        folder = None if digest is None else library_folder(digest)
        self.credit = wire.field(request, "credit", int, 0)
        self.due = 0.0
        self.done = False
        self._heard = bytearray()
        self._pid, self._send, self._read = _start()
        words = wire.dumps({"every": every, "pynvml": folder}).encode("ascii") + b"\n"
        wire.write_all(self._send, words)

    def waits(self):
        """(descriptor, events) of the program."""
        return (self._read, select.POLLIN) if self.credit > 0 else (None, 0)

    def close(self):
        """End the program."""
        if self._read is None:
            return
        os.close(self._send)
        os.close(self._read)
        self._send = self._read = None
        # It ends with its input, unless it hangs in a driver: nobody waits for it.
        _reap(self._pid)

    def step(self, now):
        """(answer, bytes) or None."""
        if now < self.due:
            return None
        self.due = now + FOREVER  # until there is something to read
        if self.credit <= 0:
            return None
        end = self._heard.find(b"\n")
        if end < 0:
            try:
                more = os.read(self._read, 1 << 16)
            except BlockingIOError:
                return None
            if not more or len(self._heard) > MAX_LINE:
                self.done = True
                return {"eof": True}, b""
            self._heard += more
            end = self._heard.find(b"\n")
            if end < 0:
                self.due = now
                return None
        line = bytes(self._heard[:end])
        del self._heard[: end + 1]
        self.credit -= len(line)
        self.due = now
        return {}, line


def _start():
    """(pid, to write its request, to read what it says) of a program `devices`."""
    import fcntl

    from .. import job

    request_read, request_write = os.pipe()
    said_read, said_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            # Out of the way of the places they go to.
            ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (request_read, said_write)]
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(ends[0], 0)
            os.dup2(ends[1], 1)
            os.dup2(null, 2)
            job.close_descriptors(())
            job.reset_signals()
            os.chdir("/")
            # What it is started by may be a run; it is no part of one.
            env = {k: v for k, v in os.environb.items() if not k.startswith(b"TRAINDECK_RUN")}
            words = [sys.executable, "-I", "-S", layout.agent_file(), "devices"]
            os.execve(sys.executable, words, env)  # noqa: S606
        finally:
            os._exit(127)
    os.close(request_read)
    os.close(said_write)
    os.set_blocking(said_read, False)
    return pid, request_write, said_read


def _reap(pid):
    """Have a process waited for, without waiting for it: whoever forks next does."""
    _ended.append(pid)
    for one in list(_ended):
        try:
            if os.waitpid(one, os.WNOHANG)[0]:
                _ended.remove(one)
        except ChildProcessError:
            _ended.remove(one)


_ended = []
