"""Accelerators of this machine, as their drivers tell of them.

A provider has

- `NAME`: what its devices are called after;
- `open()`: begin; may take long. Raises Refused with a sentence for a person;
- `driver`: its version, or None;
- `cards`: its devices, each a Card;
- `check(now)`: called before each time the cards are refreshed, to see whether they are still
  those. Raises Refused as `open`;
- `LOOKS`: how many refreshes it takes to know all that can be known of a card, if not one;
- `refresh(card, now)`: ask for what is due of one of them; never raises for what one cannot say.

A reading is a dict that goes into JSON as it is. What a device does not say is None or not there,
never 0, and `missing` has why. Units are in the names: bytes, percent (0 to 100), W, J, degrees
Celsius, MHz. Times are seconds since the epoch.

- `uuid` (what names it, for good; its place on the bus if nothing else does), `index` (its place
  in the order of the bus among those of its vendor, for people), `name`,
  `vendor`, `pci`;
- `state`: "ok", "lost", "asleep" (asked for nothing, so that it stays so), "silent" (its driver
  does not come back from a call) or "error"; `problem`: a sentence where it is not "ok";
- `memory_total_bytes`, `memory_used_bytes`, and in `memory_kind` what they are: "device",
  "reserved" (an old driver, which counts what it keeps for itself as used) or "shared" (with the
  host);
- `utilization_pct`: share of the time in which at least one kernel ran;
- `memory_activity_pct`, `tensor_pct`, `sm_occupancy_pct`;
- `power_w`, `power_limit_w`, `energy_j` (a counter), `temperature_c`, `fan_pct`, `pstate`;
- `sm_clock_mhz`, `sm_clock_max_mhz`, `memory_clock_mhz`;
- `throttle_reasons`: of THROTTLING;
- `ecc_uncorrected`, `ecc_corrected` (since the driver was loaded), `health`: words of trouble;
- `idle_since`: from when on somebody held memory of it and nothing was seen to compute; so do
  processes have one (history.py);
- `lease`: `{"user","run","attempt","name","since"}` of the run that has it (leases.py), if one has;
- `nvlink_links`, `pcie_gen`, `pcie_width`;
- `mig_mode`: whether it is cut into slices, `mig`: their readings;
- `processes`: a list of dicts with `pid`, `start` (ticks since boot), `kind` ("compute", "graphics"
  or "mps"), `memory_bytes`, `utilization_pct`, and what owners.py finds of them.
"""

THROTTLING = {
    0x1: "idle",
    0x2: "application_clocks",
    0x4: "power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}
"""NVML's bits (nvmlClocksEventReasons) and what we call them. `power_cap` under load is as it
should be; `hw_slowdown`, `sw_thermal`, `hw_thermal` and `hw_power_brake` are not."""


class Card:
    """A device, or a slice of one.

    Attributes:
        uuid: What names it, for good.
        reading: What it said last; whoever refreshes it writes here.
        slices: Cards of its parts.
        shown: A copy of the reading as it was when it was whole.
    """

    def __init__(self, uuid, index, vendor):
        self.uuid = uuid
        self.reading = {"uuid": uuid, "index": index, "vendor": vendor, "state": "ok"}
        self.slices = []
        self.shown = self.reading

    def publish(self):
        """What was read is whole."""
        shown = dict(self.reading)
        if self.slices:
            shown["mig"] = [dict(child.reading) for child in self.slices]
        self.shown = shown
