"""The program `devices`: reads this machine's accelerators again and again and says what is new.

It is a process of its own, so that a driver that hangs holds nobody up, and one that was updated
under us can be left by starting it anew. Its first line of input is the request, `{"every": seconds
or null for once, "pynvml": folder}`; it ends with its input. Each line of output is an object:

- `time`, and `monotonic` of this machine;
- `devices`: uuid -> the fields of its reading that are others than they were said last;
- `gone`: the uuids that are there no more;
- `user`: whose program it is;
- `problems`: provider -> a sentence, while it cannot be asked; `drivers`: provider -> version;
- `asking`: seconds for which a driver has not come back from being begun, else 0;
- `needs`: what is to be sent before NVIDIA's devices can be asked ("pynvml").

Reading is done by a thread. One that does not come back from a device for SILENT seconds is left
with it, and another one goes on with the others; it takes part again when it is back.
"""

import os
import select
import sys
import threading
import time

from .. import Refused, survey, wire
from . import owners

SILENT = 3.0
"""Seconds after which a device whose driver does not come back from a call is said to be silent."""
FASTEST, SLOWEST = 0.1, 3600.0
BETWEEN = 0.25
"""Seconds between two looks, where what is to be said once takes both."""


class Reader:
    """Reads all that can be read, on a thread.

    Args:
        providers: See the package.
        wake: Called by the thread when it has been through all devices.
    """

    def __init__(self, providers, wake):
        self.providers = providers
        self.problems = {}
        self._wake = wake
        self._owners = owners.Owners()
        self._wanted = threading.Condition()
        self._turn = 0
        self._opened = set()
        self.opening = None
        """When a driver was begun that has not come back yet."""
        self._at = {}
        """uuid -> when its driver was asked something that it has not come back from."""
        self._left = set()
        """Those in which a thread was left."""
        self._begin()

    def _begin(self):
        self._turn += 1
        self._go = False
        thread = threading.Thread(target=self._work, args=(self._turn,), daemon=True)
        thread.start()

    def ask(self):
        """Have everything read that is due."""
        with self._wanted:
            self._go = True
            self._wanted.notify()

    def look_after(self, now):
        """If the thread hangs in a device, leave it there and let another one go on."""
        hung = {uuid for uuid, since in list(self._at.items()) if now - since > SILENT}
        if hung - self._left:
            self._left |= hung
            self._begin()
            self.ask()

    def silent_for(self, uuid, now):
        """Seconds for which a device's driver has not come back, if that is too long; else None."""
        since = self._at.get(uuid)
        return now - since if since is not None and now - since > SILENT else None

    def _work(self, turn):
        while True:
            with self._wanted:
                while not self._go:
                    self._wanted.wait()
                if turn != self._turn:
                    return
                self._go = False
            for provider in self.providers:
                if not self._one(provider, turn):
                    return
            self._wake()

    def _one(self, provider, turn):
        """Read a provider's devices. False if another thread took over meanwhile."""
        now = time.monotonic()
        try:
            if provider not in self._opened:
                self.opening = now
                try:
                    provider.open()
                finally:
                    self.opening = None
                self._opened.add(provider)
            provider.check(now)
            self.problems.pop(provider.NAME, None)
        except Refused as refused:
            self.problems[provider.NAME] = str(refused)
            if provider not in self._opened:
                return True
        for card in list(provider.cards):
            if card.uuid in self._at:
                continue  # another thread is still in it
            self._at[card.uuid] = time.monotonic()
            try:
                provider.refresh(card, time.monotonic())
                self._owners.tell(card.reading.get("processes") or ())
                for child in card.slices:
                    self._owners.tell(child.reading.get("processes") or ())
                card.publish()
            except Exception as error:  # of one device: the others are read all the same
                words = "It cannot be read: %s: %s." % (type(error).__name__, error)
                card.shown = dict(card.reading, state="error", problem=words)
            finally:
                self._at.pop(card.uuid, None)
                self._left.discard(card.uuid)
            if turn != self._turn:
                return False
        return True


class News:
    """What was said last, and what is new."""

    def __init__(self):
        self._said = {}
        self._rest = {}

    def of(self, readings, rest):
        """A line about these readings (by uuid) and what else there is to say."""
        line = {"time": time.time(), "monotonic": time.monotonic()}
        changed = {}
        for uuid, reading in readings.items():
            before = self._said.get(uuid)
            if before is reading:
                continue
            before = before or {}
            new = {k: v for k, v in reading.items() if k not in before or before[k] != v}
            new.update((k, None) for k in before if k not in reading and before[k] is not None)
            if new or uuid not in self._said:
                changed[uuid] = new
            self._said[uuid] = reading
        gone = [uuid for uuid in self._said if uuid not in readings]
        for uuid in gone:
            del self._said[uuid]
        if changed:
            line["devices"] = changed
        if gone:
            line["gone"] = gone
        line.update((k, v) for k, v in rest.items() if self._rest.get(k) != v)
        self._rest = dict(rest)
        return line


def program():
    """The program. Returns its exit code."""
    request = wire.parse_object(_first_line())
    if request is None:
        return 2
    every = wire.field(request, "every", float)
    if every is not None:
        every = min(max(every, FASTEST), SLOWEST)
    providers, needs = _providers(request)
    if needs:
        wire.write_all(1, wire.dumps({"needs": needs}).encode("ascii") + b"\n")
        return 0
    os.set_blocking(1, False)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    reader = Reader(providers, lambda: _ring(wake))
    news = News()
    looks = 0
    while True:
        begun = time.monotonic()
        reader.ask()
        if not _wait(woken, begun + (min(every, SILENT) if every is not None else 3600.0)):
            return 0
        now = time.monotonic()
        reader.look_after(now)
        looks += 1
        if every is None and any(p.cards and looks < getattr(p, "LOOKS", 1) for p in providers):
            if not _pause(now + BETWEEN):
                return 0
            continue
        if not _say(news, reader, now):
            return 0
        if every is None:
            return 0
        if not _pause(begun + every):
            return 0


def _say(news, reader, now):
    """Say what is new, if there is room for it: who does not read gets the newest when they do.
    False if nobody is there."""
    readings = {}
    for provider in reader.providers:
        for card in provider.cards:
            reading = card.shown
            silent = reader.silent_for(card.uuid, now)
            if silent is not None:
                words = "The driver has not come back from a question for %d s." % silent
                reading = dict(reading, state="silent", problem=words)
            readings[card.uuid] = reading
    rest = {
        "problems": dict(reader.problems),
        "drivers": {p.NAME: p.driver for p in reader.providers if p.driver},
        "user": survey.user(),
        "asking": 0 if reader.opening is None else round(now - reader.opening),
    }
    poller = select.poll()
    poller.register(1, select.POLLOUT)
    events = poller.poll(0)
    if not events:
        return True
    if events[0][1] & (select.POLLERR | select.POLLHUP):
        return False
    line = wire.dumps(news.of(readings, rest)).encode("ascii") + b"\n"
    os.set_blocking(1, True)
    try:
        wire.write_all(1, line)
    except (BrokenPipeError, ConnectionResetError):
        return False
    finally:
        os.set_blocking(1, False)
    return True


def _providers(request):
    """(what there is to be asked, what is needed for that and not there)."""
    from . import amd, fdinfo, intel

    found = []
    if _has_library():
        folder = wire.field(request, "pynvml", str)
        if not folder or not os.path.isfile(folder + "/pynvml.py"):
            return [], "pynvml"
        sys.path.insert(0, folder)
        import pynvml

        from . import nvml

        found.append(nvml.Nvml(pynvml))
    clients = fdinfo.Clients()  # a look at all processes, once for both
    # Where they have no card this costs a look into a folder now and then, and one may come.
    found += [amd.Amd(clients=clients), intel.Intel(clients=clients)]
    return found, None


def _has_library():
    try:
        import ctypes

        ctypes.CDLL("libnvidia-ml.so.1")
    except (ImportError, OSError):
        return False
    return True


def _first_line():
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(0, 1)
        if not more:
            break
        data += more
    return data


def _ring(fd):
    try:
        os.write(fd, b"x")
    except OSError:
        pass


def _wait(woken, until):
    """Until the reader has been through, or it is `until`. False at the end of our input."""
    while True:
        poller = select.poll()
        poller.register(0, select.POLLIN)
        poller.register(woken, select.POLLIN)
        left = until - time.monotonic()
        events = dict(poller.poll(max(0.0, left) * 1000.0))
        if 0 in events and not os.read(0, 4096):
            return False
        if woken in events:
            os.read(woken, 4096)
            return True
        if left <= 0:
            return True


def _pause(until):
    """Until then. False at the end of our input."""
    while True:
        poller = select.poll()
        poller.register(0, select.POLLIN)
        left = until - time.monotonic()
        if left <= 0:
            return True
        if poller.poll(left * 1000.0) and not os.read(0, 4096):
            return False
