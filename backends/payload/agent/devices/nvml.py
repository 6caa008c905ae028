"""NVIDIA's devices through NVML.

It is begun once for the life of the process: without persistence mode each beginning wakes every
device, which takes seconds. What is asked for has three speeds: each time (memory, utilisation,
power, processes that compute), each SLOW seconds (all else that changes), and once a device. A
function that a driver or a device does not have is not asked for again.

The bindings are NVIDIA's own (nvidia-ml-py), of which a copy travels. Two things they cannot do are
done here with their types: the list of processes in one call instead of two, and the wide records
of the first 535 drivers.
"""

import ctypes
import os
import time

from .. import Refused, procs
from . import THROTTLING, Card, drm

SLOW = 5.0
"""Seconds between two looks at what changes slowly; the devices take turns."""
AGAIN = 10.0
"""Seconds between two attempts to begin again after the driver went away."""
ROOM = 64
"""Processes that a list has room for at first."""
NOT_SAID = (1 << 64) - 1
"""NVML_VALUE_NOT_AVAILABLE: what a process holds cannot be told."""

GONE = ("lost", "error")
UNKNOWN_MOST = 2
"""Questions of a refresh that may be answered with "unknown error"; one more, and the driver does
not know the device any more."""

RECOVERY = {
    1: "the GPU wants a reset",
    2: "the node wants a reboot",
    3: "peer-to-peer traffic is to be drained",
    4: "the GPU is to be drained and reset",
    5: "the IMEX domain is to be recovered",
    6: "the bus wants a reset",
    7: "the machine wants a reboot",
}
"""Values of field 230, NVML_FI_DEV_GET_GPU_RECOVERY_ACTION."""

SBE, DBE, ENERGY, MEMORY_TEMPERATURE, LINKS, REMAP_PENDING, REMAP_FAILED, RECOVERY_FIELD = (
    3, 4, 83, 82, 91, 144, 145, 230,
)  # fmt: skip
FIELDS = (SBE, DBE, ENERGY, MEMORY_TEMPERATURE, LINKS, REMAP_PENDING, REMAP_FAILED, RECOVERY_FIELD)
"""Field ids, all asked for in one call (nvml.h, NVML_FI_DEV_*)."""

GPM_METRICS = ((2, "sm_activity_pct"), (3, "sm_occupancy_pct"), (5, "tensor_pct"))
"""NVML_GPM_METRIC_*: Hopper and newer, over the time between two samples."""


class _WideProcess(ctypes.Structure):
    """A record of nvmlDeviceGetComputeRunningProcesses_v3 in the first 535 drivers."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("usedGpuMemory", ctypes.c_ulonglong),
        ("gpuInstanceId", ctypes.c_uint),
        ("computeInstanceId", ctypes.c_uint),
        ("usedGpuCcProtectedMemory", ctypes.c_ulonglong),
    )


class _OldProcess(ctypes.Structure):
    """A record of the function without a version: drivers before 450.66."""

    _fields_ = (("pid", ctypes.c_uint), ("usedGpuMemory", ctypes.c_ulonglong))


class NvmlCard(Card):
    """A device of NVIDIA's, or a slice of one.

    Attributes:
        parent: The device that it is a slice of, or None.
        missing: Field -> why it is not said.
        never: What its driver or itself does not have.
        computing: (pid, bytes, instance) of the processes that compute.
        others: pid -> (kind, bytes) of the kinds that are looked for slowly.
        busy: pid -> percent of the last samples of who uses it; None if that is not said.
        seen: The newest of those samples, in the driver's microseconds.
        unknown: Questions of this time that were answered with "unknown error".
        gpm: The last sample of what the kernels do, and when it was taken.
        bus: Its name in the kernel's folder of PCI devices.
    """

    def __init__(self, handle, uuid, index, parent=None):
        super().__init__(uuid, index, "nvidia")
        self.handle = handle
        self.parent = parent
        self.missing = {}
        self.never = set()
        self.slow_due = 0.0
        self.computing = None
        self.others = {}
        self.busy = None
        self.seen = 0
        self.unknown = 0
        self.gpm = None
        self.bus = None


class Nvml:
    """See the package.

    Args:
        library: The module pynvml.
        sysfs, proc: Where the kernel tells of its devices.
    """

    NAME = "nvidia"

    def __init__(self, library, sysfs="/sys", proc="/proc"):
        self.nv = library
        self.sysfs = sysfs
        self.proc = proc
        self._plugged = None
        self.cards = []
        self.driver = None
        self._functions = {}
        self._processes = None
        self._begun = 0
        self._again = 0.0

    # -- beginning and ending

    def open(self):
        """See the package."""
        nv = self.nv
        try:
            nv.nvmlInit()
        except nv.NVMLError as error:
            raise Refused(self._why(error)) from None
        self._begun += 1
        self._functions = {}
        self._plugged = self._plugged_in()
        try:
            self.driver = _text(nv.nvmlSystemGetDriverVersion())
            self._processes = self._process_list()
            self.cards = self._find()
        except nv.NVMLError as error:
            self.close()
            raise Refused(self._why(error)) from None

    def close(self):
        """See the package. The library counts how often it was begun."""
        self.cards = []
        while self._begun:
            self._begun -= 1
            try:
                self.nv.nvmlShutdown()
            except self.nv.NVMLError:
                return

    def check(self, now):
        """Each AGAIN seconds: begin anew if the driver was taken away under us, or if there are
        other devices than before. Raises Refused as long as that cannot be."""
        if now < self._again:
            return
        first, self._again = not self._again, now + AGAIN
        if first:
            return
        gone = self.cards and all(card.reading["state"] in GONE for card in self.cards)
        if not self._begun or gone or self._plugged_in() != self._plugged:
            self.close()
            self.open()

    def _plugged_in(self):
        """The devices that the kernel's part of the driver has, which the library sees only as it
        is begun; None if it does not tell."""
        try:
            return sorted(os.listdir(self.proc + "/driver/nvidia/gpus"))
        except OSError:
            return None

    def _why(self, error):
        nv = self.nv
        code = getattr(error, "value", None)
        if code == nv.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
            return (
                "NVIDIA's driver was updated and the kernel still runs the old one: "
                "reboot, or reload the driver."
            )
        if code == nv.NVML_ERROR_DRIVER_NOT_LOADED:
            return "NVIDIA's driver is not loaded: `sudo modprobe nvidia`, or install it again."
        if code == nv.NVML_ERROR_NO_PERMISSION:
            return "NVIDIA's devices may not be opened: see who may use /dev/nvidiactl."
        if code == nv.NVML_ERROR_LIBRARY_NOT_FOUND:
            return "NVIDIA's driver is not installed here (there is no libnvidia-ml.so.1)."
        return "NVIDIA's driver does not answer: %s." % _words(error)

    def _find(self):
        cards = []
        for index in range(self.nv.nvmlDeviceGetCount()):
            try:
                handle = self.nv.nvmlDeviceGetHandleByIndex(index)
                card = NvmlCard(handle, _text(self.nv.nvmlDeviceGetUUID(handle)), index)
            except self.nv.NVMLError as error:
                # What has no name cannot be leased or followed, but it is not passed over.
                card = NvmlCard(None, "nvidia-%d" % index, index)
                self._lose(card, error)
            cards.append(card)
        return cards

    # -- one device

    def refresh(self, card, now):
        """See the package."""
        if card.handle is None or self._sleeps(card):
            return
        reading = card.reading
        card.unknown = 0
        card.missing = {k: v for k, v in card.missing.items() if k in card.never}
        try:
            self._each_time(card)
            if now >= card.slow_due:
                first = not card.slow_due
                # In turns from the second time on: a refresh then costs about as much as another.
                card.slow_due = now + SLOW * (1 + (reading["index"] % 5) / 5 if first else 1)
                if first:
                    self._once(card)
                self._slowly(card)
            self._collect_processes(card)
            reading["state"], reading["problem"] = "ok", None
        except self.nv.NVMLError as error:
            self._lose(card, error)
        reading["missing"] = dict(card.missing)
        for child in card.slices:
            self.refresh(child, now)

    def _sleeps(self, card):
        """Whether the device is off to save power. Any question would wake it."""
        if card.bus is None:
            return False
        path = "%s/bus/pci/devices/%s/power/runtime_status" % (self.sysfs, card.bus)
        if (procs.read_proc(path, 64) or b"").strip() != b"suspended":
            return False
        keep = {k: card.reading.get(k) for k in ("uuid", "index", "vendor", "name", "pci")}
        card.reading.clear()
        card.reading.update(keep, state="asleep", problem="It is off to save power.", processes=[])
        card.slow_due = 0.0
        return True

    def _lose(self, card, error):
        nv = self.nv
        code = getattr(error, "value", None)
        gone = code in (nv.NVML_ERROR_GPU_IS_LOST, nv.NVML_ERROR_GPU_NOT_FOUND)
        keep = ("uuid", "index", "vendor", "name", "pci", "memory_total_bytes", "memory_kind")
        kept = {k: card.reading[k] for k in keep if k in card.reading}
        card.reading.clear()
        card.reading.update(kept, processes=[])
        card.reading["state"] = "lost" if gone else "error"
        card.reading["problem"] = (
            "The GPU is lost: it fell off the bus, or its driver gave it up. A reboot may help."
            if gone
            else "The driver does not answer for it: %s." % _words(error)
        )
        card.slow_due = 0.0

    def _ask(self, card, field, function, *args):
        """What a function says of a device, None if it does not.

        Raises:
            NVMLError: It says nothing any more: the device or the driver is gone.
        """
        if field in card.never:
            return None
        nv = self.nv
        try:
            return getattr(nv, function)(card.handle, *args)
        except nv.NVMLError as error:
            code = error.value
            card.unknown += code == nv.NVML_ERROR_UNKNOWN
            if card.unknown > UNKNOWN_MOST or code in (
                nv.NVML_ERROR_GPU_IS_LOST,
                nv.NVML_ERROR_UNINITIALIZED,
                nv.NVML_ERROR_RESET_REQUIRED,
                nv.NVML_ERROR_GPU_NOT_FOUND,
            ):
                raise
            self._lacks(card, field, code, _words(error))
        except (nv.NVMLLibraryMismatchError, AttributeError):
            self._lacks(card, field, nv.NVML_ERROR_FUNCTION_NOT_FOUND, "")
        return None

    def _lacks(self, card, field, code, words):
        nv = self.nv
        if code == nv.NVML_ERROR_FUNCTION_NOT_FOUND:
            card.missing[field] = "this driver does not tell"
            card.never.add(field)
        elif code == nv.NVML_ERROR_NOT_SUPPORTED:
            card.missing[field] = "not supported"
            card.never.add(field)
        elif code == nv.NVML_ERROR_NO_PERMISSION:
            card.missing[field] = "no permission"
        else:
            card.missing[field] = words

    # -- the three speeds

    def _each_time(self, card):
        reading = card.reading
        self._memory(card)
        if card.parent is None and not reading.get("mig_mode"):
            rates = self._ask(card, "utilization_pct", "nvmlDeviceGetUtilizationRates")
            reading["utilization_pct"] = rates and rates.gpu
            reading["memory_activity_pct"] = rates and rates.memory
        else:
            reading["utilization_pct"] = reading["memory_activity_pct"] = None
            card.missing["utilization_pct"] = "not supported while the device is cut into slices"
        if card.parent is None:
            power = self._ask(card, "power_w", "nvmlDeviceGetPowerUsage")
            reading["power_w"] = None if power is None else power / 1000.0
        card.computing = self._running(card, "compute")

    def _memory(self, card):
        reading = card.reading
        info = self._ask(card, "memory", "nvmlDeviceGetMemoryInfo", self.nv.nvmlMemory_v2)
        kind = "device"
        if info is None:
            info = self._ask(card, "memory_v1", "nvmlDeviceGetMemoryInfo")
            kind = "reserved"
        for name in ("memory", "memory_v1"):
            card.missing.pop(name, None)
        if info is not None:
            reading["memory_total_bytes"], reading["memory_used_bytes"] = info.total, info.used
        elif {"memory", "memory_v1"} <= card.never:
            kind = "shared"
            total, used = drm.host_memory(self.proc)
            reading["memory_total_bytes"], reading["memory_used_bytes"] = total, used
        else:
            kind = None
            reading["memory_total_bytes"] = reading["memory_used_bytes"] = None
            card.missing["memory_used_bytes"] = "the driver does not say"
        reading["memory_kind"] = kind

    def _once(self, card):
        reading = card.reading
        name = self._ask(card, "name", "nvmlDeviceGetName")
        reading["name"] = None if name is None else _text(name)
        if card.parent is not None:
            for key, function in (("gi", "GpuInstanceId"), ("ci", "ComputeInstanceId")):
                reading[key] = self._ask(card, key, "nvmlDeviceGet" + function)
            return
        info = self._ask(card, "pci", "nvmlDeviceGetPciInfo")
        reading["pci"] = None if info is None else _text(info.busId).lower()
        if reading["pci"]:
            domain, _, rest = reading["pci"].partition(":")
            card.bus = "%04x:%s" % (int(domain, 16), rest)
        most = self._ask(card, "sm_clock_max_mhz", "nvmlDeviceGetMaxClockInfo", 1)
        reading["sm_clock_max_mhz"] = most
        reading["brand"] = None
        capability = self._ask(card, "capability", "nvmlDeviceGetCudaComputeCapability")
        reading["capability"] = None if capability is None else "%d.%d" % tuple(capability)

    def _slowly(self, card):
        reading = card.reading
        if card.parent is not None:
            self._look_for_others(card)
            return
        mode = self._ask(card, "mig", "nvmlDeviceGetMigMode")
        reading["mig_mode"] = None if mode is None else bool(mode[0])
        card.missing.pop("mig", None)
        if reading["mig_mode"] or card.slices:
            self._find_slices(card)
        for field, function, args, scale in (
            ("temperature_c", "nvmlDeviceGetTemperature", (0,), 1),
            ("sm_clock_mhz", "nvmlDeviceGetClockInfo", (1,), 1),
            ("memory_clock_mhz", "nvmlDeviceGetClockInfo", (2,), 1),
            ("power_limit_w", "nvmlDeviceGetEnforcedPowerLimit", (), 0.001),
            ("pstate", "nvmlDeviceGetPerformanceState", (), 1),
            ("fan_pct", "nvmlDeviceGetFanSpeed", (), 1),
            ("pcie_gen", "nvmlDeviceGetCurrPcieLinkGeneration", (), 1),
            ("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth", (), 1),
        ):
            value = self._ask(card, field, function, *args)
            reading[field] = value if value is None or scale == 1 else value * scale
        reading["throttle_reasons"] = self._reasons(card)
        self._fields(card)
        self._look_for_others(card)
        self._use(card)
        self._gpm(card)

    def _reasons(self, card):
        bits = self._ask(card, "_event_reasons", "nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = self._ask(card, "throttle_reasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        card.missing.pop("_event_reasons", None)
        if bits is None:
            return None
        return [word for bit, word in sorted(THROTTLING.items()) if bits & bit]

    def _fields(self, card):
        """Many counters in one call; each has its own answer."""
        reading = card.reading
        values = self._ask(card, "fields", "nvmlDeviceGetFieldValues", FIELDS)
        card.missing.pop("fields", None)
        found = {}
        for value in values or ():
            if value.nvmlReturn == self.nv.NVML_SUCCESS:
                found[value.fieldId] = _value(self.nv, value)
        reading["ecc_corrected"] = found.get(SBE)
        reading["ecc_uncorrected"] = found.get(DBE)
        energy = found.get(ENERGY)
        reading["energy_j"] = None if energy is None else energy / 1000.0
        reading["memory_temperature_c"] = found.get(MEMORY_TEMPERATURE)
        reading["nvlink_links"] = found.get(LINKS)
        health = []
        if found.get(RECOVERY_FIELD):
            health.append(RECOVERY.get(found[RECOVERY_FIELD], "the GPU wants to be recovered"))
        if found.get(REMAP_FAILED):
            health.append("a memory row could not be remapped: the GPU wants to be replaced")
        elif found.get(REMAP_PENDING):
            health.append("a memory row is to be remapped: the GPU wants a reset")
        reading["health"] = health
        for field in ("ecc_corrected", "ecc_uncorrected", "energy_j"):
            if reading[field] is None:
                card.missing[field] = "not supported"

    def _find_slices(self, card):
        nv = self.nv
        known = {child.uuid: child for child in card.slices}
        found = []
        for index in range(self._ask(card, "slices", "nvmlDeviceGetMaxMigDeviceCount") or 0):
            try:
                handle = nv.nvmlDeviceGetMigDeviceHandleByIndex(card.handle, index)
                uuid = _text(nv.nvmlDeviceGetUUID(handle))
            except nv.NVMLError:
                continue  # there is none at this place
            child = known.get(uuid)
            if child is None:
                child = NvmlCard(handle, uuid, index, parent=card)
            child.handle = handle
            found.append(child)
        card.slices = found

    # -- processes

    def _process_list(self):
        """(function, record) that this driver lists processes with, by kind; None if it has a
        function that takes a versioned list."""
        if self._function("nvmlDeviceGetRunningProcessDetailList") is not None:
            return None
        nv = self.nv
        found = {}
        for kind, name in (
            ("compute", "nvmlDeviceGetComputeRunningProcesses"),
            ("graphics", "nvmlDeviceGetGraphicsRunningProcesses"),
            ("mps", "nvmlDeviceGetMPSComputeRunningProcesses"),
        ):
            for suffix, record in (
                ("_v3", nv.c_nvmlProcessInfo_v3_t),
                ("_v2", nv.c_nvmlProcessInfo_v2_t),
                ("", _OldProcess),
            ):
                function = self._function(name + suffix)
                if function is not None:
                    wide = self._function("nvmlDeviceGetConfComputeMemSizeInfo") is not None
                    if suffix == "_v3" and wide:
                        record = _WideProcess  # of 535, and without the versioned list
                    found[kind] = function, record
                    break
        return found

    def _function(self, name):
        if name not in self._functions:
            try:
                self._functions[name] = self.nv._nvmlGetFunctionPointer(name)
            except (self.nv.NVMLError, AttributeError):
                self._functions[name] = None
        return self._functions[name]

    def _running(self, card, kind):
        """[(pid, bytes or None, instance)] of the processes of a kind; None if that is not said."""
        field = "processes" if kind == "compute" else kind
        if field in card.never:
            return None
        size = ROOM
        while True:
            code, count, records = self._list(card, kind, size)
            if code != self.nv.NVML_ERROR_INSUFFICIENT_SIZE:
                break
            size = max(2 * size, 2 * count + 5)
        if code != self.nv.NVML_SUCCESS:
            if code in (self.nv.NVML_ERROR_GPU_IS_LOST, self.nv.NVML_ERROR_UNINITIALIZED):
                raise self.nv.NVMLError(code)
            self._lacks(card, field, code, _words(self.nv.NVMLError(code)))
            return None
        found = []
        for record in records[:count]:
            memory = record.usedGpuMemory
            found.append(
                (
                    record.pid,
                    None if memory == NOT_SAID else memory,
                    getattr(record, "gpuInstanceId", None),
                )
            )
        return found

    def _list(self, card, kind, size):
        """(code, how many there are, their records) of one call."""
        nv = self.nv
        if self._processes is None:
            records = (nv.c_nvmlProcessDetail_v1_t * size)()
            asked = nv.c_nvmlProcessDetailList_t()
            asked.version = nv.nvmlProcessDetailList_v1
            asked.mode = ("compute", "graphics", "mps").index(kind)
            asked.numProcArrayEntries = size
            asked.procArray = ctypes.cast(records, ctypes.POINTER(nv.c_nvmlProcessDetail_v1_t))
            function = self._function("nvmlDeviceGetRunningProcessDetailList")
            code = function(card.handle, ctypes.byref(asked))
            return code, asked.numProcArrayEntries, records
        if kind not in self._processes:
            return nv.NVML_ERROR_FUNCTION_NOT_FOUND, 0, ()
        function, record = self._processes[kind]
        records = (record * size)()
        count = ctypes.c_uint(size)
        code = function(card.handle, ctypes.byref(count), records)
        return code, count.value, records

    def _look_for_others(self, card):
        card.others = {}
        for kind in ("graphics", "mps"):
            for pid, memory, _ in self._running(card, kind) or ():
                card.others[pid] = kind, memory
            card.missing.pop(kind, None)

    def _use(self, card):
        """What share each process had of the device since the last look."""
        try:
            samples = self.nv.nvmlDeviceGetProcessUtilization(card.handle, card.seen)
        except (self.nv.NVMLError, AttributeError) as error:
            code = getattr(error, "value", None)
            if code != self.nv.NVML_ERROR_NOT_FOUND:  # which says: nothing new
                card.busy = None
                return
            samples = ()
        used = {}
        for sample in samples:
            if sample.timeStamp <= card.seen:
                continue
            used.setdefault(sample.pid, []).append(sample.smUtil)
        card.seen = max([card.seen, *(sample.timeStamp for sample in samples)])
        card.busy = {pid: sum(shares) // len(shares) for pid, shares in used.items()}

    def _collect_processes(self, card):
        running = {}
        for pid, memory, instance in card.computing or ():
            running[pid] = {"pid": pid, "kind": "compute", "memory_bytes": memory}
            if instance not in (None, 0xFFFFFFFF):
                running[pid]["gi"] = instance
        for pid, (kind, memory) in card.others.items():
            running.setdefault(pid, {"pid": pid, "kind": kind, "memory_bytes": memory})
        for pid, process in running.items():
            # A list of shares that does not name one says that it used nothing.
            process["utilization_pct"] = None if card.busy is None else card.busy.get(pid, 0)
        card.reading["processes"] = [running[pid] for pid in sorted(running)]

    # -- what the kernels do

    def _gpm(self, card):
        """Hopper and newer: how busy its parts were since the last look."""
        nv, reading = self.nv, card.reading
        if "gpm" in card.never:
            return
        try:
            if card.gpm is None and not nv.nvmlGpmQueryDeviceSupport(card.handle).isSupportedDevice:
                card.never.add("gpm")
                return
            sample = nv.nvmlGpmSampleAlloc()
            nv.nvmlGpmSampleGet(card.handle, sample)
            before, card.gpm = card.gpm, (sample, time.monotonic())
            if before is None:
                return
            if card.gpm[1] - before[1] >= 0.1:
                asked = nv.c_nvmlGpmMetricsGet_t()
                asked.version = nv.NVML_GPM_METRICS_GET_VERSION
                asked.sample1, asked.sample2 = before[0], sample
                asked.numMetrics = len(GPM_METRICS)
                for at, (metric, _) in enumerate(GPM_METRICS):
                    asked.metrics[at].metricId = metric
                nv.nvmlGpmMetricsGet(asked)
                for at, (_, field) in enumerate(GPM_METRICS):
                    good = asked.metrics[at].nvmlReturn == nv.NVML_SUCCESS
                    reading[field] = asked.metrics[at].value if good else None
            nv.nvmlGpmSampleFree(before[0])
        except (nv.NVMLError, AttributeError):
            card.never.add("gpm")


def _value(nv, field):
    """The number in a field value, by the type that it says it is of."""
    return {
        nv.NVML_VALUE_TYPE_DOUBLE: lambda v: v.dVal,
        nv.NVML_VALUE_TYPE_UNSIGNED_INT: lambda v: v.uiVal,
        nv.NVML_VALUE_TYPE_UNSIGNED_LONG: lambda v: v.ulVal,
        nv.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: lambda v: v.ullVal,
        nv.NVML_VALUE_TYPE_SIGNED_LONG_LONG: lambda v: v.sllVal,
        nv.NVML_VALUE_TYPE_SIGNED_INT: lambda v: v.siVal,
        nv.NVML_VALUE_TYPE_UNSIGNED_SHORT: lambda v: v.usVal,
    }.get(field.valueType, lambda v: None)(field.value)


def _text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _words(error):
    return str(error).strip().rstrip(".") or type(error).__name__
