"""Intel's devices, as their drivers i915 and xe show them in /sys.

How busy one is, is told only by what each of its users had of it. As one user may not see what
another one had, that is only a least. How long it was not in its deepest sleep is a most. Where the
two are close, the most is said; else nothing is.
"""

from . import drm, fdinfo

INTEGRATED = "0000:00:02.0"
"""Where a processor's own graphics always are on the bus."""
CLOSE = 5.0
"""Percent between the least and the most that it can have been used, to say anything."""
JOULES = 1e12
"""More than a device uses in its life."""
PARTS = 32
"""Tiles and GTs of a device that are looked at."""
SLOWED = {
    "pl1": "power_cap",
    "pl2": "power_cap",
    "pl4": "power_cap",
    "psys_pl1": "power_cap",
    "psys_pl2": "power_cap",
    "thermal": "hw_thermal",
    "soc_thermal": "hw_thermal",
    "soc_avg_thermal": "hw_thermal",
    "mem_thermal": "hw_thermal",
    "vr_thermal": "hw_thermal",
    "vr_thermalert": "hw_thermal",
    "ratl": "hw_thermal",
    "prochot": "hw_slowdown",
    "psys_crit": "hw_slowdown",
    "pwrbrk": "hw_power_brake",
    "iccmax": "board_limit",
    "vr_tdc": "board_limit",
    "fastvmode": "board_limit",
}
"""What the drivers call the reasons for a lower clock -> what we call them (THROTTLING)."""


class Intel(drm.Provider):
    """See the package and drm.Provider."""

    NAME = "intel"
    DRIVERS = ("i915", "xe")
    LOOKS = 2

    def identity(self, card_path, pci):
        """See drm.Provider. These cards have nothing but their place."""
        return pci

    def named(self, card):
        """See drm.Provider."""
        return self.name_of(card, "Intel", "8086")

    def once(self, card):
        """See drm.Provider."""
        reading = card.reading
        shared = card.pci == INTEGRATED
        reading["memory_kind"] = "shared" if shared else "device"
        path = _clock(card, "gt_RP0_freq_mhz", "rp0_freq")
        reading["sm_clock_max_mhz"] = card.number("sm_clock_max_mhz", path, drm.MHZ, 1)
        for field in ("memory_total_bytes", "memory_used_bytes"):
            reading[field] = None
            if not shared:
                card.missing[field] = "this driver does not tell"
        for field in (
            *("memory_activity_pct", "memory_clock_mhz", "pcie_gen", "pcie_width", "fan_pct"),
            *("ecc_uncorrected", "ecc_corrected"),
        ):
            reading[field] = None
            card.missing[field] = "this driver does not tell"

    def slowly(self, card, now):
        """See drm.Provider."""
        reading = card.reading
        temps = card.labels("temp")
        # xe has one of the package, and one of the memory; i915 only the first, without a name.
        for field, labels in (
            ("temperature_c", ("pkg", "temp1" if card.driver == "i915" else "temp2")),
            ("memory_temperature_c", ("vram", "temp3")),
        ):
            stems = [temps[label] for label in labels if label in temps][:1]
            names = [stem + "_input" for stem in stems]
            reading[field] = card.sensor(field, names, drm.DEGREES, 0.001, 1000)
        whole = "energy1_input" in card.sensors or "energy2_input" not in card.sensors
        names = ["power1_max" if whole else "power2_max"]
        limit = card.sensor("power_limit_w", names, drm.WATTS, 0, 1000000)
        if limit == 0:  # which says that there is none
            limit, card.missing["power_limit_w"] = None, "no limit is set"
        reading["power_limit_w"] = limit
        reading["throttle_reasons"] = _reasons(card)

    def each_time(self, card, now):
        """See drm.Provider."""
        reading = card.reading
        if reading["memory_kind"] == "shared":
            total, used = drm.host_memory(self.proc)
            for what, value in (("memory_total_bytes", total), ("memory_used_bytes", used)):
                reading[what] = value
                if value is None:
                    card.missing[what] = "the system does not say"
        field = "sm_clock_mhz"
        # What it really runs at is 0 while it sleeps; then, what it was told to.
        clock = card.number(field, _clock(card, "gt_act_freq_mhz", "act_freq"), drm.MHZ, 1)
        if clock is None:
            clock = card.number(field, _clock(card, "gt_cur_freq_mhz", "cur_freq"), drm.MHZ, 1)
        reading[field] = clock
        self._power(card, now)

    def _power(self, card, now):
        """From what it used since the last look: of the card if that is counted, else of its
        package."""
        reading = card.reading
        names = ["energy1_input", "energy2_input"]
        reading["energy_j"] = card.sensor("energy_j", names, JOULES, 0, 1000000)
        used = card.grown("energy", reading["energy_j"], now)
        # A counter that stands still counts nothing: no device uses nothing.
        good = used is not None and 0 < used <= drm.WATTS
        reading["power_w"] = round(used, 2) if good else None
        if good:
            card.missing.pop("power_w", None)
        else:
            words = drm.LATER if used is None else "the driver does not say"
            card.missing["power_w"] = card.missing.get("energy_j", words)

    # -- who uses it, and how much

    def processes(self, card, clients, slow):
        """See drm.Provider."""
        # A card's own memory is called local or vram, each by its number; all else is the host's.
        regions = "" if card.reading["memory_kind"] == "shared" else ("local", "vram")
        found = fdinfo.processes(clients, regions)
        self.tell_hidden(card)
        return [found[pid] for pid in sorted(found)]

    def use(self, card, clients, known, now):
        """See drm.Provider."""
        field = "utilization_pct"
        most = self._awake(card, now)
        said = reason = None
        if not known:
            reason = drm.LATER
        elif clients and not any(client.engines for client in clients):
            reason = "this driver does not tell"
        else:
            said = fdinfo.busiest(clients) or 0.0
            if self.clients.hidden:
                # The most, for nobody is to be told that a card was idle when it was not quite.
                close = most is not None and most - said <= CLOSE
                said, reason = (round(most, 1), None) if close else (None, drm.HIDDEN)
        card.reading[field] = said
        if reason is None:
            card.missing.pop(field, None)
        else:
            card.missing[field] = reason

    def _awake(self, card, now):
        """Percent of the time since the last look in which any part was not in its deepest sleep;
        None if that is not told."""
        if card.driver == "i915":
            paths = ["%s/rc6_residency_ms" % gt for gt in _parts(card.path + "/gt", "gt")]
        else:
            tiles = _parts(card.device, "tile")
            gts = [gt for tile in tiles for gt in _parts(tile, "gt")]
            paths = ["%s/gtidle/idle_residency_ms" % gt for gt in gts]
        awake = []
        for path in paths[:PARTS]:
            slept = card.grown(path, card.number("_slept", path, 1 << 62), now)
            awake.append(None if slept is None else max(100.0 - slept / 10.0, 0.0))
        card.missing.pop("_slept", None)
        return max(awake) if awake and None not in awake else None


def _clock(card, i915, xe):
    """The file of a clock of the first part of a device."""
    if card.driver == "i915":
        return "%s/%s" % (card.path, i915)
    return "%s/tile0/gt0/freq0/%s" % (card.device, xe)


def _parts(folder, kind):
    """The folders in it that are called so with a number."""
    names = (name for name in drm.names_in(folder) if name.startswith(kind))
    return ["%s/%s" % (folder, name) for name in names if name[len(kind) :].isdigit()][:PARTS]


def _reasons(card):
    """Why its first part runs slower than it could; None if that is not told."""
    if card.driver == "i915":
        folder, begin = card.path + "/gt/gt0", "throttle_reason_"
    else:
        folder, begin = card.device + "/tile0/gt0/freq0/throttle", "reason_"
    field = "throttle_reasons"
    status = "%s/%sstatus" % (folder, begin if card.driver == "i915" else "")
    slowed = card.number(field, status, (1 << 32) - 1)
    if not slowed:
        return None if slowed is None else []
    found = set()
    for word, reason in SLOWED.items():
        try:
            if fdinfo.read("%s/%s%s" % (folder, begin, word)).strip() == b"1":
                found.add(reason)
        except OSError:
            pass  # each device has some of them
    return sorted(found)
