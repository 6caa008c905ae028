"""AMD's devices, as their driver amdgpu and its part for compute, KFD, show them in /sys.

Nothing of ROCm is needed. What sysfs does not tell (why a clock is lower, energy, how busy a
process that computes keeps the device) is not guessed.

A device that is cut into partitions (MI300) is shown whole: the kernel shows those as devices of
their own that have neither sensors nor an address.
"""

import os

from . import drm, fdinfo, pciids

APU = "vddnb"
"""The voltage of a north bridge, which only processors with graphics have."""
TINY = 1 << 30
"""Memory of its own, in bytes, with less of which a device lives on that of the host."""
ATI = "0x1002"
"""What AMD's graphics cards, and the bridges on them, are called on the bus. Its processors are
called otherwise."""


class Amd(drm.Provider):
    """See the package and drm.Provider."""

    NAME = "amd"
    DRIVERS = ("amdgpu",)

    def __init__(self, sysfs="/sys", proc="/proc", clients=None, ids=pciids.FILES):
        super().__init__(sysfs, proc, clients, ids)
        self.kfd = Kfd(sysfs)
        self._elsewhere = {}
        """uuid -> processes of KFD's that did not use that device when it was last looked."""

    def identity(self, card_path, pci):
        """See drm.Provider. ROCR takes it in ROCR_VISIBLE_DEVICES."""
        try:
            words = fdinfo.read(card_path + "/device/unique_id").strip().lower()
        except OSError:
            return None
        good = len(words) == 16 and all(letter in b"0123456789abcdef" for letter in words)
        return "GPU-" + words.decode("ascii") if good and words.strip(b"0") else None

    def named(self, card):
        """See drm.Provider."""
        name = card.text("name", card.device + "/product_name")
        card.missing.pop("name", None)
        if not name:
            return self.name_of(card, "AMD", "1002")
        return name if name.lower().startswith("amd") else "AMD " + name

    def once(self, card):
        """See drm.Provider."""
        reading = card.reading
        reading["sm_clock_max_mhz"] = _highest(card)
        for field in ("throttle_reasons", "energy_j"):
            reading[field] = None
            card.missing[field] = "this driver does not tell"

    def slowly(self, card, now):
        """See drm.Provider."""
        reading = card.reading
        reading["memory_kind"] = "shared" if self._is_apu(card) else "device"
        temps = card.labels("temp")
        for field, labels in (
            ("temperature_c", ("edge", "temp1", "junction")),
            ("memory_temperature_c", ("mem",)),
        ):
            stems = [temps[label] for label in labels if label in temps][:1]
            names = [stem + "_input" for stem in stems]
            # 0 is what parts say that do not measure.
            reading[field] = card.sensor(field, names, drm.DEGREES, 0.001, 1000)
        clocks = card.labels("freq")
        for field, label, first in (
            ("sm_clock_mhz", "sclk", "freq1"),
            ("memory_clock_mhz", "mclk", "freq2"),
        ):
            name = clocks.get(label, first) + "_input"
            value = card.sensor(field, [name], drm.MHZ, 0, 1000000)
            reading[field] = None if value is None else int(value)
        reading["power_limit_w"] = card.sensor(
            "power_limit_w", ["power1_cap"], drm.WATTS, 0.001, 1000000
        )
        reading["fan_pct"] = _fan(card)
        self._link(card)
        self._errors(card)

    def each_time(self, card, now):
        """See drm.Provider."""
        reading = card.reading
        for field, name in (
            ("utilization_pct", "gpu_busy_percent"),
            ("memory_activity_pct", "mem_busy_percent"),
        ):
            reading[field] = card.number(field, "%s/%s" % (card.device, name), 100)
        self._memory(card)
        names = ["power1_average", "power1_input"]
        reading["power_w"] = card.sensor("power_w", names, drm.WATTS, 0.001, 1000000)

    def _memory(self, card):
        reading = card.reading
        kinds = ("vram", "gtt") if reading["memory_kind"] == "shared" else ("vram",)
        for what in ("total", "used"):
            field = "memory_%s_bytes" % what
            least = 1 if what == "total" else 0
            size = 0
            for kind in kinds:
                path = "%s/mem_info_%s_%s" % (card.device, kind, what)
                part = card.number(field, path, drm.BYTES, least)
                if part is None:
                    size = None
                    break
                size += part
            # How much there is does not change: it is kept of a device that answers no more.
            reading[field] = reading.get(field) if what == "total" and size is None else size

    def _is_apu(self, card):
        voltages = card.labels("in")
        if APU in voltages:
            return True
        own = card.number("_vram", card.device + "/mem_info_vram_total", drm.BYTES)
        host = card.number("_gtt", card.device + "/mem_info_gtt_total", drm.BYTES)
        card.missing.pop("_vram", None)
        card.missing.pop("_gtt", None)
        return own is not None and host is not None and own < TINY and own < host

    def _link(self, card):
        """Cards have a switch of their own between the slot and the device: what counts is its
        link."""
        reading = card.reading
        if reading["memory_kind"] == "shared":
            reading["pcie_gen"] = reading["pcie_width"] = None
            card.missing["pcie_gen"] = card.missing["pcie_width"] = "not supported"
            return
        folder = os.path.realpath(card.device)
        for _ in range(4):
            parent = os.path.dirname(folder)
            try:
                if fdinfo.read(parent + "/vendor").strip() != ATI.encode("ascii"):
                    break
            except OSError:
                break
            folder = parent
        speed = (card.text("pcie_gen", folder + "/current_link_speed") or "").split(" ")[0]
        reading["pcie_gen"] = drm.GENERATIONS.get(speed)
        if speed and reading["pcie_gen"] is None:
            card.missing["pcie_gen"] = "the driver says %.40s" % speed
        width = card.number("pcie_width", folder + "/current_link_width", 32, 1)
        reading["pcie_width"] = width

    def _errors(self, card):
        """Errors of its memory (UMC), where it is looked for them."""
        words = card.text("ecc_uncorrected", card.device + "/ras/umc_err_count")
        reason = card.missing.get("ecc_uncorrected")
        said = dict(line.partition(":")[::2] for line in (words or "").splitlines())
        for key, field in (("ue", "ecc_uncorrected"), ("ce", "ecc_corrected")):
            value = fdinfo.whole(said.get(key, "").strip())
            good = value is not None and 0 <= value < 1 << 62
            card.reading[field] = value if good else None
            if good:
                card.missing.pop(field, None)
            else:
                card.missing[field] = reason or "the driver does not say"

    # -- processes

    def processes(self, card, clients, slow):
        """See drm.Provider."""
        shared = card.reading["memory_kind"] == "shared"
        found = fdinfo.processes(clients, ("vram", "gtt") if shared else ("vram",))
        if slow:
            self.kfd.look()
            self._elsewhere[card.uuid] = set()
        elsewhere = self._elsewhere.setdefault(card.uuid, set())
        pids = self.kfd.processes()
        elsewhere &= set(pids or ())
        for pid in pids or ():
            if pid in elsewhere:
                continue
            uses, held = self.kfd.held(pid, self.kfd.devices.get(card.pci, ()))
            if not uses:
                elsewhere.add(pid)
                continue
            if shared and not held:
                held = None  # what it has is the host's, which is not counted
            drawn = found.get(pid, {}).get("memory_bytes")
            if drawn is not None:
                held = max(held or 0, drawn)  # each counts what the other one does not
            found[pid] = {
                "pid": pid,
                "kind": "compute",
                "memory_bytes": held,
                # Programs give such work to the device themselves: no engine's time counts it.
                "utilization_pct": None,
            }
        seen = pids is not None and card.pci in self.kfd.devices
        self.tell_hidden(card, "graphics of others cannot be seen" if seen else drm.HIDDEN)
        return [found[pid] for pid in sorted(found)]


class Kfd:
    """Who computes on AMD's devices: everybody may know that.

    Attributes:
        devices: Address on the bus -> what KFD calls the device there (its parts, if it is cut).
    """

    def __init__(self, sysfs):
        self.folder = sysfs + "/class/kfd/kfd"
        self.devices = {}

    def look(self):
        """Find out what the devices are called."""
        found = {}
        nodes = self.folder + "/topology/nodes"
        for node in drm.names_in(nodes):
            try:
                ident = fdinfo.whole(fdinfo.read("%s/%s/gpu_id" % (nodes, node)).strip())
                said = fdinfo.read("%s/%s/properties" % (nodes, node))
            except OSError:
                continue  # a processor's, or a device that this container may not use
            pairs = (line.split(b" ") for line in said.splitlines() if line.count(b" ") == 1)
            numbers = {name: fdinfo.whole(value) for name, value in pairs}
            if not ident or numbers.get(b"location_id") is None:
                continue
            # Above these 16 bits newer kernels say which part of the device it is.
            place, domain = numbers[b"location_id"] & 0xFFFF, numbers.get(b"domain") or 0
            pci = "%04x:%02x:%02x.%x" % (domain, place >> 8, place >> 3 & 31, place & 7)
            found.setdefault(pci, []).append(ident)
        self.devices = found

    def processes(self):
        """Pids of all that compute, or could; None if KFD does not tell."""
        try:
            return sorted(int(name) for name in os.listdir(self.folder + "/proc") if name.isdigit())
        except OSError:
            return None

    def held(self, pid, devices):
        """(whether a process uses these devices, bytes that it has in them or None). Each process
        is known to all of them."""
        folder = "%s/proc/%d" % (self.folder, pid)
        sizes = []
        for ident in devices:
            try:
                size = fdinfo.whole(fdinfo.read("%s/vram_%d" % (folder, ident)).strip())
            except OSError:
                continue
            if size is not None and 0 <= size <= drm.BYTES:
                sizes.append(size)
        held = sum(sizes) if sizes else None
        return bool(held) or self._queues(folder, devices), held

    def _queues(self, folder, devices):
        for queue in drm.names_in(folder + "/queues"):
            try:
                words = fdinfo.read("%s/queues/%s/gpuid" % (folder, queue)).strip()
            except OSError:
                continue
            if fdinfo.whole(words) in devices:
                return True
        return False


def _highest(card):
    """The highest clock, in MHz, of the steps that its shaders have: `1: 2100Mhz *`."""
    field = "sm_clock_max_mhz"
    words = card.text(field, card.device + "/pp_dpm_sclk")
    steps = [line.partition(":")[2].strip().lower() for line in (words or "").splitlines()]
    clocks = [fdinfo.whole(step.partition("mhz")[0]) for step in steps]
    good = [clock for clock in clocks if clock is not None and 0 < clock <= drm.MHZ]
    if words is not None and not good:
        card.missing[field] = "the driver does not say"
    return max(good) if good else None


def _fan(card):
    """Percent of what its fans can do; how fast they turn is no percent."""
    most = card.sensor("fan_pct", ["pwm1_max"], 1 << 16, 1)
    if most is None and "pwm1_max" in card.sensors:
        return None
    value = card.sensor("fan_pct", ["pwm1"], most or 255)
    return None if value is None else round(100.0 * value / (most or 255), 1)
