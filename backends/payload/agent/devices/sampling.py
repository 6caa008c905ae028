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

One thread leads: it reads, says and waits. One that does not come back from a device for SILENT
seconds is left with it, and the one that watched it leads on with the others; the device takes part
again when it is back. In between no thread has to wake another one.
"""

import os
import select
import sys
import threading
import time

from .. import Refused, leases, survey, wire
from . import history, owners

SILENT = 3.0
"""Seconds after which a device whose driver does not come back from a call is said to be silent."""
LEASES = 1.0
"""Seconds between two looks at who has which device."""
CHECK = 1.0
"""Seconds between two looks at whether the leader has come back."""
FASTEST, SLOWEST = 0.1, 3600.0
BETWEEN = 0.25
"""Seconds between two looks, where what is to be said once takes both."""


class Reader:
    """Reads all that can be read, and says what is new.

    Args:
        providers: See the package.
        every: Seconds between two times; None to read once.
    """

    def __init__(self, providers, every):
        self.providers = providers
        self.problems = {}
        self._every = every
        self._user = survey.user()
        self._owners = owners.Owners()
        self._history = history.History()
        self._news = News()
        self._saying = threading.Lock()
        self._leased = {}
        self._leases_due = 0.0
        self._turn = 0
        self._opened = set()
        self._opening = None
        """When a driver was begun that has not come back yet."""
        self._at = {}
        """uuid -> when its driver was asked something that it has not come back from."""
        self._left = set()
        """Those in which a thread was left."""

    def run(self):
        """Go on until nobody listens. Ends the process, from whichever thread leads then."""
        self._watched()
        self._lead(0)
        while True:  # another one leads: it ends the process, which this thread would
            time.sleep(SLOWEST)

    def _watched(self):
        threading.Thread(target=self._watch, args=(self._turn,), daemon=True).start()

    def _lead(self, turn):
        """Read and say, time after time, until another thread takes over."""
        looks = 0
        while True:
            begun = time.monotonic()
            for provider in self.providers:
                if not self._read(provider, turn):
                    return
            looks += 1
            if self._every is None and any(
                p.cards and looks < getattr(p, "LOOKS", 1) for p in self.providers
            ):
                if not _pause(time.monotonic() + BETWEEN):
                    os._exit(0)
                continue
            if not self._say() or self._every is None or not _pause(begun + self._every):
                os._exit(0)

    def _watch(self, turn):
        """Look after the leader, and take its place if it hangs in a device."""
        while turn == self._turn:
            time.sleep(CHECK)
            now = time.monotonic()
            if self._every is not None and self._opening is not None and not self._say():
                os._exit(0)
            hung = {uuid for uuid, since in list(self._at.items()) if now - since > SILENT}
            if hung - self._left:
                self._left |= hung
                self._turn = turn = turn + 1
                self._watched()
                self._lead(turn)
                return

    def _read(self, provider, turn):
        """Read a provider's devices. False if another thread took over meanwhile."""
        try:
            if provider not in self._opened:
                self._opening = time.monotonic()
                try:
                    provider.open()
                finally:
                    self._opening = None
                self._opened.add(provider)
            provider.check(time.monotonic())
            self.problems.pop(provider.NAME, None)
        except Refused as refused:
            self.problems[provider.NAME] = str(refused)
            if provider not in self._opened:
                return True
        except Exception as error:  # of one vendor: the others' are read all the same
            words = "Its devices cannot be read: %s: %s." % (type(error).__name__, error)
            self.problems[provider.NAME] = words
            if provider not in self._opened:
                return True
        for card in list(provider.cards):
            if card.uuid in self._at:
                continue  # another thread is still in it
            self._at[card.uuid] = time.monotonic()
            try:
                provider.refresh(card, time.monotonic())
                for part in (card, *card.slices):
                    self._owners.tell(part.reading.get("processes") or ())
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

    def _say(self):
        """Say what is new, if there is room for it: who does not read gets the newest when they
        do. False if nobody is there."""
        with self._saying:
            now = time.monotonic()
            readings = {}
            for provider in self.providers:
                for card in provider.cards:
                    readings[card.uuid] = self._shown(card, now)
            self._tell_leases(readings, now)
            fresh = [reading for reading in readings.values() if reading["state"] == "ok"]
            self._history.note(time.time(), fresh)
            rest = {
                "problems": dict(self.problems),
                "drivers": {p.NAME: p.driver for p in self.providers if p.driver},
                "user": self._user,
                "asking": 0 if self._opening is None else round(now - self._opening),
            }
            poller = select.poll()
            poller.register(1, select.POLLOUT)
            events = poller.poll(0)
            if not events:
                return True
            if events[0][1] & (select.POLLERR | select.POLLHUP):
                return False
            line = wire.dumps(self._news.of(readings, rest)).encode("ascii") + b"\n"
            try:
                wire.write_all(1, line)
            except (BrokenPipeError, ConnectionResetError):
                return False
            return True

    def _tell_leases(self, readings, now):
        """Add to each reading, and to those of its slices, who has it leased."""
        if now >= self._leases_due:
            self._leases_due = now + LEASES
            uuids = [part["uuid"] for one in readings.values() for part in (one, *_slices(one))]
            self._leased = leases.held([uuid for uuid in uuids if leases.is_name(uuid)])
        for reading in readings.values():
            for part in (reading, *_slices(reading)):
                part["lease"] = self._leased.get(part["uuid"])

    def _shown(self, card, now):
        """A copy of what was read of a device, to which more may be added."""
        reading = dict(card.shown)
        if _slices(reading):
            reading["mig"] = [dict(part) for part in reading["mig"]]
        since = self._at.get(card.uuid)
        if since is not None and now - since > SILENT:
            words = "The driver has not come back from a question for %d s." % (now - since)
            reading.update(state="silent", problem=words)
        return reading


def _slices(reading):
    return reading.get("mig") or ()


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
            before = self._said.get(uuid) or {}
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
    """The program. Returns its exit code if there is nothing to be read."""
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
    Reader(providers, every).run()
    return 0


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
