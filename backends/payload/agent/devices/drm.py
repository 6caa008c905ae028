"""Graphics cards as Linux shows them in /sys/class/drm: what AMD's and Intel's have in common.

What is asked for has three speeds, as in nvml.py. All of it are small files; one that is not there,
may not be read, or has something odd in it leaves its field None, with the reason in `missing`.
"""

import errno
import os

from . import Card, fdinfo, pciids

SLOW = 5.0
"""Seconds between two looks at what changes slowly; the devices take turns."""
AGAIN = 10.0
"""Seconds between two looks for other cards than those we know."""
BYTES = 1 << 50
WATTS = 20000.0
DEGREES = 250.0
MHZ = 100000
"""The most that can be meant; what is above says that the driver does not know."""
NO_ANSWER = (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT)
NOT_THERE = (errno.ENOENT, errno.ENOTDIR)
NOT_SUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODATA, errno.ENOSYS)
GENERATIONS = {"2.5": 1, "5.0": 2, "5": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
"""GT/s of a lane, as the kernel writes them -> generation of PCI Express."""
HIDDEN = "processes of others cannot be seen"
LATER = "known from the second reading on"


class DrmCard(Card):
    """A card of /sys/class/drm.

    Attributes:
        path: Its folder there; `device` is the one of its PCI device.
        driver: The kernel's driver for it.
        pci: Its address on the bus.
        nodes: What its files in /dev/dri are called.
        missing: Field -> why it is not said.
        hwmon: The folder of its sensors, and the names that are in it.
        shares: Who had what of it.
        counters: What is counted -> (when, value) at the last look.
        answered, refused: Numbers that were given, and the error that stood for one, of those that
            are asked for each time.
    """

    def __init__(self, uuid, vendor, path, driver, pci):
        super().__init__(uuid, None, vendor)
        self.path = path
        self.device = path + "/device"
        self.driver = driver
        self.pci = self.reading["pci"] = pci
        self.nodes = ()
        self.missing = {}
        self.slow_due = 0.0
        self.hwmon = None
        self.sensors = frozenset()
        self.shares = fdinfo.Shares()
        self.counters = {}
        self.answered = 0
        self.refused = None

    def text(self, field, path):
        """A file's words, or None and why in `missing`."""
        try:
            words = fdinfo.read(path).decode("utf-8", "replace").strip()
        except OSError as error:
            self.missing[field] = self._reason(error)
            return None
        if not words:
            self.missing[field] = "the driver does not say"
            return None
        self.missing.pop(field, None)
        return words

    def number(self, field, path, most, least=0, per=1):
        """The whole number in a file, divided by `per`; None, and why in `missing`, if it is not
        between `least` and `most` then. A float, unless `per` is 1."""
        words = self.text(field, path)
        if words is None:
            return None
        value = fdinfo.whole(words)
        if value is not None and per != 1:
            value = value / per
        if value is None or not least <= value <= most:
            self.missing[field] = "the driver says %.40s" % words
            return None
        self.answered += 1
        return value

    def sensor(self, field, names, most, least=0, per=1):
        """As number(), of the first of these files that its sensors have."""
        for name in names:
            if name in self.sensors:
                return self.number(field, "%s/%s" % (self.hwmon, name), most, least, per)
        self.missing[field] = "not supported"
        return None

    def grown(self, what, value, now):
        """By how much a counter grows in a second; None if that is not known."""
        before = self.counters.pop(what, None)
        if value is None:
            return None
        self.counters[what] = now, value
        if before is None or now <= before[0] or value < before[1]:
            return None
        return (value - before[1]) / (now - before[0])

    def labels(self, kind):
        """What its sensors of a kind ("temp", "freq", ...) are called -> the beginning of their
        files' names. One without a name is called as its files begin."""
        found = {}
        for name in sorted(self.sensors):
            stem, _, rest = name.partition("_")
            if rest == "input" and stem.startswith(kind) and stem[len(kind) :].isdigit():
                try:
                    label = fdinfo.read("%s/%s_label" % (self.hwmon, stem))
                except OSError:
                    label = b""
                found.setdefault(label.decode("utf-8", "replace").strip() or stem, stem)
        return found

    def find_sensors(self):
        """Where its sensors are: their number may be another after the driver was loaded anew."""
        self.hwmon, self.sensors = None, frozenset()
        folder = self.device + "/hwmon"
        for name in sorted(names_in(folder), reverse=True):
            path = "%s/%s" % (folder, name)
            try:
                kind = fdinfo.read(path + "/name").decode("ascii", "replace").strip()
            except OSError:
                kind = ""
            # i915 has one for each part of the card beside that of the card, which is called as it.
            if self.hwmon is None or kind == self.driver:
                self.hwmon, self.sensors = path, frozenset(names_in(path))

    def _reason(self, error):
        code = error.errno
        if code in NO_ANSWER:
            self.refused = code
        if code in NOT_THERE or code in NOT_SUPPORTED:
            return "not supported"
        if code == errno.EACCES:
            return "no permission"
        return "the driver does not say (%s)" % os.strerror(code or 0)


class Provider:
    """See the package. A vendor's own part are NAME, DRIVERS and the methods that raise
    NotImplementedError.

    Args:
        sysfs: Where the kernel tells of its devices.
        proc: Where it tells of its processes.
        clients: Who has cards open, if others want to know that too.
        ids: Files with the names of PCI devices, the best first.
    """

    NAME = ""
    DRIVERS = ()
    """The kernel's drivers of its cards."""
    LOOKS = 1

    def __init__(self, sysfs="/sys", proc="/proc", clients=None, ids=pciids.FILES):
        self.sysfs = sysfs
        self.proc = proc
        self.clients = fdinfo.Clients(proc) if clients is None else clients
        self.ids = ids
        self.cards = []
        self.driver = None
        self._again = 0.0
        self._names = {}

    def identity(self, card_path, pci):
        """What names a card, for good."""
        raise NotImplementedError

    def named(self, card):
        """What people call a card. It is not woken by being asked that."""
        raise NotImplementedError

    def once(self, card):
        """Ask a card for what stays as it is."""
        raise NotImplementedError

    def slowly(self, card, now):
        """Ask it for what changes slowly."""
        raise NotImplementedError

    def each_time(self, card, now):
        """Ask it for what changes."""
        raise NotImplementedError

    def processes(self, card, clients, slow):
        """What a reading says of who uses it; `clients` have it open."""
        raise NotImplementedError

    # -- which cards there are

    def open(self):
        """See the package."""
        self._find()

    def check(self, now):
        """Each AGAIN seconds: see whether there are other cards. Those that are gone stay, as
        lost."""
        if now >= self._again:
            first, self._again = not self._again, now + AGAIN
            if not first:
                self._find()

    def _listed(self):
        """[(address, folder, driver)] of what the kernel shows."""
        folder = self.sysfs + "/class/drm"
        found = []
        for name in names_in(folder):
            if name.startswith("card") and name[4:].isdigit():
                path = "%s/%s" % (folder, name)
                driver = _end_of(path + "/device/driver")
                pci = _end_of(path + "/device")
                if driver in self.DRIVERS and pci is not None:
                    found.append((pci, path, driver))
        return found

    def _find(self):
        known = {(card.pci, card.path, card.driver): card for card in self.cards}
        found = {}
        for pci, path, driver in sorted(self._listed()):
            card = known.get((pci, path, driver))
            if card is None:
                uuid = self.identity(path, pci)
                if uuid is None or uuid in found:
                    uuid = pci  # what two have names none
                card = DrmCard(uuid, self.NAME, path, driver, pci)
                card.reading["name"] = self.named(card)[:100]
                self.driver = self._version(driver) or self.driver
            found[card.uuid] = card
        for card in self.cards:
            found.setdefault(card.uuid, card)
        self.cards = sorted(found.values(), key=lambda card: (len(card.pci), card.pci))
        for index, card in enumerate(self.cards):
            card.reading["index"] = index

    def _version(self, driver):
        """A driver's version; None of one that came with the kernel."""
        try:
            words = fdinfo.read("%s/module/%s/version" % (self.sysfs, driver))
        except OSError:
            return None
        return words.decode("utf-8", "replace").strip()[:100] or None

    # -- one card

    def refresh(self, card, now):
        """See the package."""
        if _end_of(card.device) != card.pci:
            self._lose(card, True)
            return
        if self._sleeps(card):
            return
        slow = now >= card.slow_due
        if slow:
            first = not card.slow_due
            # In turns from the second time on: a refresh then costs about as much as another.
            card.slow_due = now + SLOW * (1 + (card.reading["index"] % 5) / 5 if first else 1)
            card.find_sensors()
            if first:
                card.nodes = names_in(card.device + "/drm")
                self.once(card)
            self.slowly(card, now)
        card.answered, card.refused = 0, None
        self.each_time(card, now)
        if card.refused is not None and not card.answered:
            self._lose(card, card.refused in (errno.ENODEV, errno.ENXIO))
            return
        self.clients.look(now)
        clients = self.clients.of(card.nodes, card.pci)
        known = card.shares.tell(clients, now)
        card.reading["processes"] = self.processes(card, clients, slow)
        self.use(card, clients, known, now)
        card.reading["state"], card.reading["problem"] = "ok", None
        card.reading["missing"] = dict(card.missing)

    def use(self, card, clients, known, now):
        """Say how busy the card is, if that is only known by who uses it. `known`: whether there
        was a look at them before."""

    def _sleeps(self, card):
        """Whether the card is off to save power. Any question would wake it."""
        try:
            words = fdinfo.read(card.device + "/power/runtime_status").strip()
        except OSError:
            return False
        if words != b"suspended":
            return False
        self._clear(card, ("uuid", "index", "vendor", "name", "pci"))
        card.reading.update(state="asleep", problem="It is off to save power.")
        return True

    def _lose(self, card, gone):
        keep = ("uuid", "index", "vendor", "name", "pci", "memory_total_bytes", "memory_kind")
        self._clear(card, keep)
        card.reading["state"] = "lost" if gone else "error"
        card.reading["problem"] = (
            "The GPU is lost: it fell off the bus, or its driver gave it up. A reboot may help."
            if gone
            else "The driver does not answer for it: %s." % os.strerror(card.refused)
        )

    def _clear(self, card, keep):
        kept = {k: card.reading[k] for k in keep if k in card.reading}
        card.reading.clear()
        card.reading.update(kept, processes=[])
        card.missing.clear()
        card.shares.forget()
        card.counters.clear()
        card.slow_due = 0.0

    # -- what both ask alike

    def name_of(self, card, vendor, number):
        """A name for people, from the lists of PCI devices; its number if it stands in none."""
        ident = (card.text("name", card.device + "/device") or "").lower()
        card.missing.pop("name", None)
        if ident not in self._names:
            known = pciids.name(self.ids, number, ident[2:]) if ident.startswith("0x") else None
            self._names[ident] = "%s %s" % (vendor, known or ident or "GPU")
        return self._names[ident]

    def tell_hidden(self, card, words=HIDDEN):
        """Say of its processes that they may be more."""
        if self.clients.hidden:
            card.missing["processes"] = words
        else:
            card.missing.pop("processes", None)


def names_in(folder):
    """What is in a folder; nothing if it cannot be looked into."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def host_memory(proc):
    """(all, what is used) of the machine's memory in bytes; (None, None) if unknown."""
    found = {}
    try:
        lines = fdinfo.read(proc + "/meminfo").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition(b":")
        size = fdinfo.whole(value.split(b"k")[0].strip())
        if name in (b"MemTotal", b"MemAvailable") and size is not None:
            found[name] = size * 1024
    if len(found) < 2:
        return None, None
    return found[b"MemTotal"], max(found[b"MemTotal"] - found[b"MemAvailable"], 0)


def _end_of(link):
    try:
        return os.path.basename(os.readlink(link))
    except OSError:
        return None
