"""The stand-in for NVIDIA's library is faithful: NVIDIA's own bindings, nvidia-ml-py, read from it
what its state says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.nvml import DRIVERS, GB, MB, Nvml, Proc, a100_mig, functions, gb10
from tests.standins.clients import (
    BUSY,
    ME,
    NONE,
    PARENT,
    SOME,
    THREE,
    busy,
    has,
    ran,
    script,
)  # fmt: skip

PCI = {
    "domain": 0, "bus": 0x18, "device": 0, "pciDeviceId": 0x233010DE,
    "pciSubSystemId": 0x16C110DE, "busId": "00000000:18:00.0",
}  # fmt: skip
OLD_PCI = {**PCI, "busId": "0000:18:00.0"} | {f"reserved{n}": 0 for n in range(4)}
LINK = {"domain": 0, "bus": 10, "device": 0, "pciDeviceId": 0, "pciSubSystemId": 0}

# A function of the library; the call of nvidia-ml-py that ends in it, without the handle; what it
# says of BUSY. "!" calls it as it is in the library.
READ: list[tuple[str, list[Any], Any]] = [
    ("nvmlDeviceGetUUID", [], BUSY.uuid),
    ("nvmlDeviceGetName", [], "NVIDIA H100 80GB HBM3"),
    ("nvmlDeviceGetSerial", [], "1652323000000"),
    ("nvmlDeviceGetBoardPartNumber", [], "900-21010"),
    ("nvmlDeviceGetVbiosVersion", [], "96.00.74"),
    ("nvmlDeviceGetIndex", [], 0),
    ("nvmlDeviceGetMinorNumber", [], 5),
    ("nvmlDeviceGetBrand", [], 14),
    ("nvmlDeviceGetArchitecture", [], 9),
    ("nvmlDeviceGetCudaComputeCapability", [], [9, 0]),
    ("nvmlDeviceGetNumGpuCores", [], 16896),
    ("nvmlDeviceGetMemoryBusWidth", [], 5120),
    ("nvmlDeviceGetNumaNodeId", [], 1),
    ("nvmlDeviceGetAddressingMode", [], 0),
    ("nvmlDeviceGetRepairStatus", [], [1, 0]),
    ("nvmlDeviceGetPciInfo_v3", ["nvmlDeviceGetPciInfo"], {**PCI, "busIdLegacy": "0000:18:00.0"}),
    ("nvmlDeviceGetPciInfoExt", ["nvmlDeviceGetPciInfoExt", "&nvmlPciInfoExt_v1_t@1000040"],
     {**PCI, "version": 0x1000040, "baseClass": 3, "subClass": 2}),
    ("nvmlDeviceGetPciInfo", ["!nvmlDeviceGetPciInfo", "&nvmlPciInfo_v2_t"], OLD_PCI),
    ("nvmlDeviceGetPciInfo_v2", ["!nvmlDeviceGetPciInfo_v2", "&nvmlPciInfo_v2_t"], OLD_PCI),
    ("nvmlDeviceGetCpuAffinity", ["nvmlDeviceGetCpuAffinity", 2], [0xF0F0, 0]),
    ("nvmlDeviceGetMemoryInfo", [], {"total": 81559 * MB, "used": 40 * GB + 551 * MB,
                                     "free": 81008 * MB - 40 * GB}),
    ("nvmlDeviceGetMemoryInfo_v2", ["nvmlDeviceGetMemoryInfo", 0x02000028],
     {"version": 0x02000028, "total": 81559 * MB, "used": 40 * GB, "reserved": 551 * MB,
      "free": 81008 * MB - 40 * GB}),
    ("nvmlDeviceGetBAR1MemoryInfo", [],
     {"bar1Total": 131072 * MB, "bar1Used": MB, "bar1Free": 131071 * MB}),
    ("nvmlDeviceGetConfComputeMemSizeInfo", [],
     {"protectedMemSizeKib": 100, "unprotectedMemSizeKib": 200}),
    ("nvmlDeviceGetUtilizationRates", [], {"gpu": 97, "memory": 41}),
    ("nvmlDeviceGetEncoderUtilization", [], [3, 167000]),
    ("nvmlDeviceGetDecoderUtilization", [], [4, 167000]),
    ("nvmlDeviceGetJpgUtilization", [], [5, 167000]),
    ("nvmlDeviceGetOfaUtilization", [], [6, 167000]),
    ("nvmlDeviceGetEncoderStats", [], [2, 60, 900]),
    ("nvmlDeviceGetPowerUsage", [], 612_345),
    ("nvmlDeviceGetEnforcedPowerLimit", [], 650_000),
    ("nvmlDeviceGetPowerManagementLimit", [], 680_000),
    ("nvmlDeviceGetPowerManagementDefaultLimit", [], 700_000),
    ("nvmlDeviceGetPowerManagementLimitConstraints", [], [200_000, 710_000]),
    ("nvmlDeviceGetPowerManagementMode", [], 1),
    ("nvmlDeviceGetTotalEnergyConsumption", [], 2**40 + 7),
    ("nvmlDeviceGetTemperature", ["nvmlDeviceGetTemperature", 0], 66),
    ("nvmlDeviceGetTemperatureV", ["nvmlDeviceGetTemperatureV", 0], 66),
    ("nvmlDeviceGetTemperatureThreshold", ["nvmlDeviceGetTemperatureThreshold", 0], 92),
    ("nvmlDeviceGetTemperatureThreshold", ["nvmlDeviceGetTemperatureThreshold", 1], 89),
    ("nvmlDeviceGetTemperatureThreshold", ["nvmlDeviceGetTemperatureThreshold", 3],
     "NOT_SUPPORTED"),
    ("nvmlDeviceGetMarginTemperature", [], -4),
    ("nvmlDeviceGetFanSpeed", [], 55),
    ("nvmlDeviceGetFanSpeed_v2", ["nvmlDeviceGetFanSpeed_v2", 0], 55),
    ("nvmlDeviceGetFanSpeed_v2", ["nvmlDeviceGetFanSpeed_v2", 1], "INVALID_ARGUMENT"),
    ("nvmlDeviceGetNumFans", [], 1),
    ("nvmlDeviceGetFanSpeedRPM", [], 4100),
    *[("nvmlDeviceGetClockInfo", ["nvmlDeviceGetClockInfo", n], value)
      for n, value in enumerate((1755, 1750, 2619, 1400))],
    *[("nvmlDeviceGetMaxClockInfo", ["nvmlDeviceGetMaxClockInfo", n], value)
      for n, value in enumerate((1980, 1975, 2620, 1545))],
    ("nvmlDeviceGetApplicationsClock", ["nvmlDeviceGetApplicationsClock", 1], 1700),
    ("nvmlDeviceGetClock", ["nvmlDeviceGetClock", 1, 0], 1750),
    ("nvmlDeviceGetPerformanceState", [], 1),
    ("nvmlDeviceGetPowerState", [], 1),
    ("nvmlDeviceGetPersistenceMode", [], 1),
    ("nvmlDeviceGetComputeMode", [], 3),
    ("nvmlDeviceGetDisplayMode", [], 0),
    ("nvmlDeviceGetDisplayActive", [], 1),
    ("nvmlDeviceGetAccountingMode", [], 0),
    ("nvmlDeviceGetVirtualizationMode", [], 0),
    ("nvmlDeviceGetDriverModel", ["!nvmlDeviceGetDriverModel", "&c_uint", "&c_uint"], 0),
    ("nvmlDeviceGetDriverModel_v2", [], [0, 0]),
    ("nvmlDeviceGetCurrentClocksThrottleReasons", [], 0x24),
    ("nvmlDeviceGetSupportedClocksThrottleReasons", [], 0x1FF),
    ("nvmlDeviceGetCurrentClocksEventReasons", [], 0x24),
    ("nvmlDeviceGetSupportedClocksEventReasons", [], 0x1FF),
    ("nvmlDeviceGetEccMode", [], [1, 0]),
    ("nvmlDeviceGetDefaultEccMode", [], [1]),
    *[("nvmlDeviceGetTotalEccErrors", ["nvmlDeviceGetTotalEccErrors", *kind], value)
      for kind, value in (((0, 0), 12), ((1, 0), 13), ((0, 1), 14), ((1, 1), 2**33))],
    ("nvmlDeviceGetMemoryErrorCounter", ["nvmlDeviceGetMemoryErrorCounter", 0, 0, 2], 7),
    ("nvmlDeviceGetDetailedEccErrors", ["nvmlDeviceGetDetailedEccErrors", 0, 0],
     {"l1Cache": 0, "l2Cache": 0, "deviceMemory": 7, "registerFile": 0}),
    ("nvmlDeviceGetRemappedRows", [], [1, 2, 1, 0]),
    ("nvmlDeviceGetRowRemapperHistogram", [],
     {"max": 640, "high": 1, "partial": 2, "low": 3, "none": 4}),
    ("nvmlDeviceGetRetiredPages", ["nvmlDeviceGetRetiredPages", 0], [0x10, 0x20]),
    ("nvmlDeviceGetRetiredPages", ["nvmlDeviceGetRetiredPages", 1], []),
    ("nvmlDeviceGetRetiredPagesPendingStatus", [], 1),
    ("nvmlDeviceGetCurrPcieLinkGeneration", [], 4),
    ("nvmlDeviceGetMaxPcieLinkGeneration", [], 5),
    ("nvmlDeviceGetGpuMaxPcieLinkGeneration", [], 5),
    ("nvmlDeviceGetCurrPcieLinkWidth", [], 8),
    ("nvmlDeviceGetMaxPcieLinkWidth", [], 16),
    ("nvmlDeviceGetPcieReplayCounter", [], 6),
    ("nvmlDeviceGetPcieSpeed", [], 16000),
    ("nvmlDeviceGetPcieThroughput", ["nvmlDeviceGetPcieThroughput", 0], 11),
    ("nvmlDeviceGetPcieThroughput", ["nvmlDeviceGetPcieThroughput", 1], 22),
    ("nvmlDeviceGetNvLinkState", ["nvmlDeviceGetNvLinkState", 3], 1),
    ("nvmlDeviceGetNvLinkState", ["nvmlDeviceGetNvLinkState", 4], "NOT_SUPPORTED"),
    ("nvmlDeviceGetNvLinkVersion", ["nvmlDeviceGetNvLinkVersion", 3], 7),
    ("nvmlDeviceGetNvLinkRemotePciInfo_v2", ["nvmlDeviceGetNvLinkRemotePciInfo", 3],
     {**LINK, "busId": "00000000:0A:00.0", "busIdLegacy": "0000:0A:00.0"}),
    ("nvmlDeviceGetNvLinkRemotePciInfo",
     ["!nvmlDeviceGetNvLinkRemotePciInfo", 3, "&nvmlPciInfo_v2_t"],
     {**LINK, "busId": "0000:0A:00.0"} | {f"reserved{n}": 0 for n in range(4)}),
    ("nvmlDeviceGetNvLinkRemoteDeviceType", ["nvmlDeviceGetNvLinkRemoteDeviceType", 3], 1),
    ("nvmlDeviceGetNvLinkCapability", ["nvmlDeviceGetNvLinkCapability", 3, 1], 1),
    ("nvmlDeviceGetNvLinkErrorCounter", ["nvmlDeviceGetNvLinkErrorCounter", 3, 2], 9),
    ("nvmlDeviceGetGpuFabricInfoV", ["nvmlDeviceGetGpuFabricInfoV", "&c_nvmlGpuFabricInfo_v2_t"],
     {"version": 0x02000024, "clusterUuid": [0] * 16, "status": 0, "cliqueId": 77, "state": 3,
      "healthMask": 5}),
    ("nvmlDeviceGetMigMode", [], [0, 0]),
    ("nvmlDeviceGetMaxMigDeviceCount", [], 0),
    ("nvmlDeviceGetMigDeviceHandleByIndex", ["nvmlDeviceGetMigDeviceHandleByIndex", 0],
     "NOT_FOUND"),
    ("nvmlDeviceIsMigDeviceHandle", [], 0),
    ("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", [], "INVALID_ARGUMENT"),
    ("nvmlDeviceGetGpuInstanceId", [], "NOT_SUPPORTED"),
    ("nvmlDeviceGetComputeInstanceId", [], "NOT_SUPPORTED"),
    ("nvmlDeviceGetAttributes", ["!nvmlDeviceGetAttributes", "&c_nvmlDeviceAttributes"],
     {"multiprocessorCount": 132, "sharedCopyEngineCount": 3, "sharedDecoderCount": 7,
      "sharedEncoderCount": 0, "sharedJpegCount": 7, "sharedOfaCount": 1,
      "gpuInstanceSliceCount": 7, "computeInstanceSliceCount": 7, "memorySizeMB": 81559}),
    ("nvmlDeviceGetSupportedEventTypes", [], 0x11F),
]  # fmt: skip


@pytest.mark.parametrize("driver", SOME)
def test_nvidias_own_bindings_read_what_the_state_says(tmp_path: Path, driver: str) -> None:
    nvml = Nvml(tmp_path, busy(), driver)
    said = script(nvml, "read_pynvml", {
        "system": [["nvmlSystemGetDriverVersion"], ["nvmlSystemGetCudaDriverVersion_v2"]],
        "device": [call or [function] for function, call, _ in READ],
    })  # fmt: skip
    assert said["system"] == list(DRIVERS[driver][1:])
    expected = [
        wanted if has(nvml, function) else "FUNCTION_NOT_FOUND" for function, _, wanted in READ
    ]
    assert dict(enumerate(said["devices"][0])) == dict(enumerate(expected))
    assert len(said["devices"]) == 2


def as_nvml(process: Proc, *, gi: int = NONE, ci: int = NONE) -> dict[str, Any]:
    return {
        "pid": process.pid, "usedGpuMemory": process.memory,
        "gpuInstanceId": gi, "computeInstanceId": ci,
    }  # fmt: skip


PROCESSES = [
    [f"nvmlDevice{kind}RunningProcesses{version}"]
    for kind in ("GetCompute", "GetGraphics", "GetMPSCompute")
    for version in ("_v2", "_v3")
]


@pytest.mark.parametrize("driver", [d for d in SOME if d != "535.54"])
def test_processes_are_listed_by_what_they_do(tmp_path: Path, driver: str) -> None:
    nvml = Nvml(tmp_path, busy(*THREE), driver)
    said = script(nvml, "read_pynvml", {"device": PROCESSES})["devices"]
    compute, graphics, mps = [as_nvml(THREE[0]), as_nvml(THREE[1])], as_nvml(THREE[1]), THREE[2]
    expected = [compute] * 2 + [[graphics]] * 2 + [[as_nvml(mps)]] * 2
    assert said[0] == [
        wanted if has(nvml, call[0]) else "FUNCTION_NOT_FOUND"
        for call, wanted in zip(PROCESSES, expected, strict=True)
    ]
    assert said[1] == [[] if has(nvml, call[0]) else "FUNCTION_NOT_FOUND" for call in PROCESSES]


def test_the_first_535_writes_records_wider_than_the_header_says(tmp_path: Path) -> None:
    """Read with the header's layout, all but the first process are shuffled."""
    nvml = Nvml(tmp_path, busy(*THREE), "535.54")
    ((_, v3, detailed), _) = script(nvml, "read_pynvml", {"device": [
        *PROCESSES[:2], ["nvmlDeviceGetRunningProcessDetailList", 0x1000018, 0],
    ]})["devices"]  # fmt: skip
    assert v3[0] == as_nvml(THREE[0])
    assert v3[1]["pid"] == 0 and v3[1]["usedGpuMemory"] == PARENT
    assert detailed == "FUNCTION_NOT_FOUND"


def test_the_list_with_a_version_has_what_is_protected_too(tmp_path: Path) -> None:
    # nvidia-ml-py 13.615 fails with a TypeError where a memory is not available.
    nvml = Nvml(tmp_path, busy(THREE[0], replace(THREE[1], memory=MB), THREE[2]), "550")
    call = "nvmlDeviceGetRunningProcessDetailList"
    (said, idle) = script(nvml, "read_pynvml", {"device": [
        [call, 0x1000018, 0], [call, 0x1000018, 1], [call, 0x1000018, 2], [call, 0x1000020, 0],
    ]})["devices"]  # fmt: skip
    pids = [
        [(p["pid"], p["usedGpuMemory"], p["usedGpuCcProtectedMemory"]) for p in listed]
        for listed in said[:3]
    ]
    assert pids == [[(ME, 30 * GB, 0), (PARENT, MB, 0)], [(PARENT, MB, 0)], [(1, 2 * GB, 0)]]
    assert said[3] == "ARGUMENT_VERSION_MISMATCH"
    assert idle[0] == []


LEGACY = """
import ctypes, json, os, pynvml as n
get = n._nvmlGetFunctionPointer
n._LoadNvmlLibrary()
assert get("nvmlInit")() == 0 and get("nvmlInit_v2")() == 0
count, major = ctypes.c_uint(), ctypes.c_int()
assert get("nvmlDeviceGetCount")(ctypes.byref(count)) == 0
assert get("nvmlSystemGetCudaDriverVersion")(ctypes.byref(major)) == 0
device, same = n.c_nvmlDevice_t(), n.c_nvmlDevice_t()
assert get("nvmlDeviceGetHandleByIndex")(0, ctypes.byref(device)) == 0
assert get("nvmlDeviceGetHandleByPciBusId")(b"00000000:18:00.0", ctypes.byref(same)) == 0
class Old(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("memory", ctypes.c_ulonglong)]
read = {}
for kind in ("Compute", "Graphics", "MPSCompute"):
    room, listed = ctypes.c_uint(8), (Old * 8)()
    code = get(f"nvmlDeviceGet{kind}RunningProcesses")(device, ctypes.byref(room), listed)
    read[kind] = [code, [(one.pid, one.memory) for one in listed[: room.value]]]
small = ctypes.c_uint(1)
short = get("nvmlDeviceGetComputeRunningProcesses")(device, ctypes.byref(small), (Old * 1)())
times = (ctypes.c_ulonglong * 8)()
pages, room = (ctypes.c_ulonglong * 8)(), ctypes.c_uint(8)
retired = get("nvmlDeviceGetRetiredPages_v2")(device, 0, ctypes.byref(room), pages, times)
print(json.dumps({
    "count": count.value, "cuda": major.value, "same": n.nvmlDeviceGetUUID(same), "read": read,
    "short": [short, small.value], "pages": [retired, pages[: room.value], times[0] > 0],
    "version": n.nvmlSystemGetNVMLVersion(), "name": n.nvmlSystemGetProcessName(os.getpid()),
}))
"""


@pytest.mark.parametrize("driver", ["450", "580"])
def test_names_from_before_they_had_versions_answer_as_they_did(
    tmp_path: Path, driver: str
) -> None:
    if driver == "450":  # it has no list of MPS
        program = LEGACY.replace(', "MPSCompute")', ")")
    else:
        program = LEGACY
    nvml = Nvml(tmp_path, busy(*THREE), driver)
    done = ran(nvml, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    _, version, cuda = DRIVERS[driver]
    assert (said["count"], said["cuda"], said["same"]) == (2, cuda, BUSY.uuid)
    assert said["version"] == f"{cuda // 1000}.{version}"
    assert said["read"]["Compute"] == [0, [[ME, 30 * GB], [PARENT, 2**64 - 1]]]
    assert said["read"]["Graphics"] == [0, [[PARENT, 2**64 - 1]]]
    assert said["short"] == [7, 2]
    assert said["pages"] == [0, [0x10, 0x20], True]
    assert "python" in said["name"]


USED = """
import json, pynvml as n
n.nvmlInit()
d = n.nvmlDeviceGetHandleByUUID(n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByIndex(0)))
def said(function, *arguments):
    try:
        return function(*arguments)
    except n.NVMLError as error:
        return str(error)
old = said(n.nvmlDeviceGetProcessUtilization, d, 0)
new = said(n.nvmlDeviceGetProcessesUtilizationInfo, d, 0)
if not isinstance(new, str):
    new = [[p.pid, p.smUtil, p.memUtil, p.encUtil, p.decUtil] for p in new]
kind, ring = n.nvmlDeviceGetSamples(d, n.NVML_GPU_UTILIZATION_SAMPLES, 0)
fields = n.nvmlDeviceGetFieldValues(d, [
    82, 83, 185, 186, 230, 145, (138, 3), (138, 4), (139, 3), 90, 300, 301, 302, 74, 999,
])
value = {0: "dVal", 1: "uiVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
print(json.dumps({
    "slowed": n.nvmlDeviceGetViolationStatus(d, n.NVML_PERF_POLICY_POWER).violationTime,
    "old": [[p.pid, p.smUtil, p.memUtil, p.encUtil, p.decUtil] for p in old],
    "new": new,
    "again": said(n.nvmlDeviceGetProcessUtilization, d, max(p.timeStamp for p in old)),
    "ring": [s.sampleValue.uiVal for s in ring],
    "later": [
        s.sampleValue.uiVal
        for s in n.nvmlDeviceGetSamples(d, n.NVML_GPU_UTILIZATION_SAMPLES, ring[1].timeStamp)[1]
    ],
    "none": said(n.nvmlDeviceGetSamples, d, n.NVML_ENC_UTILIZATION_SAMPLES, 0),
    "fields": {
        f"{f.fieldId}:{f.scopeId}": f.nvmlReturn or getattr(f.value, value[f.valueType])
        for f in fields
    },
}))
"""


@pytest.mark.parametrize("driver", ["510", "550", "580"])
def test_samples_and_fields_are_read_by_number_type_and_time(tmp_path: Path, driver: str) -> None:
    nvml = Nvml(tmp_path, busy(*THREE), driver)
    said = json.loads(ran(nvml, sys.executable, "-c", USED).stdout)
    assert said["old"] == [[ME, 88, 40, 1, 2], [1, 5, 1, 0, 0]]
    new = has(nvml, "nvmlDeviceGetProcessesUtilizationInfo")
    assert said["new"] == (said["old"] if new else "Function Not Found")
    assert said["again"] == "Not Found"
    assert said["slowed"] == 123456789
    assert (said["ring"], said["later"]) == ([10, 20, 30], [30])
    assert said["none"] == "Not Supported"
    since_535 = 3 if driver == "510" else None  # the error of what a driver does not have
    assert said["fields"] == {
        "82:0": 78, "83:0": 2**40 + 7,
        "185:0": since_535 or 600_001, "186:0": since_535 or 612_346,
        "230:0": 2 if driver == "580" else 3, "145:0": 0,
        "138:3": 9876543210, "138:4": 3, "139:3": 4, "90:0": 26.5, "300:0": -5, "301:0": 65535,
        "302:0": -6, "74:0": 123456789, "999:0": 3,
    }  # fmt: skip


WAITING = """
import json, sys, pynvml as n
n.nvmlInit()
uuid, serial, bus = sys.argv[1:]
d = n.nvmlDeviceGetHandleByUUIDV(uuid.encode(), n.NVML_UUID_TYPE_ASCII)
assert n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleBySerial(serial.encode())) == uuid
assert n.nvmlDeviceGetUUID(n.nvmlDeviceGetHandleByPciBusId(bus.encode())) == uuid
first, second = n.nvmlGpmSampleAlloc(), n.nvmlGpmSampleAlloc()
assert n.nvmlGpmQueryDeviceSupport(d).isSupportedDevice == 1
def metrics():
    get = n.c_nvmlGpmMetricsGet_t()
    get.version, get.numMetrics, get.sample1, get.sample2 = 1, 4, first, second
    for place, metric in enumerate((2, 5, 10, 12)):
        get.metrics[place].metricId = metric
    n.nvmlGpmMetricsGet(get)
    return [get.metrics[place].nvmlReturn or get.metrics[place].value for place in range(4)]
n.nvmlGpmSampleGet(d, first)
n.nvmlGpmSampleGet(d, second)
try:
    early = metrics()
except n.NVMLError as error:
    early = str(error)
events = n.nvmlEventSetCreate()
n.nvmlDeviceRegisterEvents(d, n.nvmlEventTypeXidCriticalError, events)
def wait(ms):
    try:
        event = n.nvmlEventSetWait_v2(events, ms)
        return [event.eventType, event.eventData, n.nvmlDeviceGetUUID(event.device) == uuid]
    except n.NVMLError as error:
        return str(error)
none = wait(100)
n.nvmlGpmSampleGet(d, second)
measured = metrics()
n.nvmlGpmSampleFree(first)
print("ready", flush=True)
got = wait(30000)
class Old(n.Structure):
    _fields_ = n.c_nvmlEventData_t._fields_[:3]
old = Old()
code = n._nvmlGetFunctionPointer("nvmlEventSetWait")(events, n.byref(old), n.c_uint(30000))
print("again", flush=True)
lost = wait(30000)
n.nvmlEventSetFree(events)
print(json.dumps({
    "early": early, "metrics": measured, "none": none, "got": got, "lost": lost,
    "old": [code, old.eventType, old.eventData], "branch": n.nvmlSystemGetDriverBranch().branch,
}))
"""


def test_events_come_after_they_were_asked_for_and_gpm_needs_a_tenth_of_a_second(
    tmp_path: Path,
) -> None:
    before = replace(busy().card(0, events=((1, 8, 31),)), more={"branch": "r580_00"})
    nvml = Nvml(tmp_path, before)
    with subprocess.Popen(
        [sys.executable, "-c", WAITING, BUSY.uuid, str(BUSY.serial), str(BUSY.pci)],
        env={**os.environ, **nvml.environ()}, stdout=subprocess.PIPE, text=True,
    ) as client:  # fmt: skip
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
        happened = (*nvml.state.cards[0].events, (2, 1, 0), (3, 8, 94), (4, 8, 48))
        nvml.show(nvml.state.card(0, events=happened))
        assert client.stdout.readline() == "again\n"
        nvml.show(nvml.state.card(0, lost=1))
        said = json.loads(client.stdout.read())
    assert said["early"] == "Invalid Argument"
    assert said["metrics"] == [91.5, 47.25, 4, 3]
    assert said["none"] == "Timeout"
    assert said["got"] == [8, 94, True]
    assert said["old"] == [0, 8, 48]
    assert said["lost"] == "GPU is lost"
    assert said["branch"] == "r580_00"


@pytest.mark.parametrize("driver", ["450", "570"])
def test_slices_are_devices_with_memory_and_processes_of_their_own(
    tmp_path: Path, driver: str
) -> None:
    state = a100_mig()
    (card,) = state.cards
    first = replace(card.slices[0], index=2, processes=(Proc(pid=ME, memory=9 * GB),))
    third = replace(card.slices[2], index=0)
    nvml = Nvml(tmp_path, state.card(0, slices=(first, card.slices[1], third)), driver)
    list_ = "nvmlDeviceGetComputeRunningProcesses_v3"
    calls: list[list[object]] = [
        ["nvmlDeviceGetUUID"], ["nvmlDeviceGetName"], ["nvmlDeviceGetGpuInstanceId"],
        ["nvmlDeviceGetComputeInstanceId"], ["nvmlDeviceGetMemoryInfo"],
        ["nvmlDeviceGetBAR1MemoryInfo"], ["nvmlDeviceGetAttributes_v2"],
        ["nvmlDeviceGetUtilizationRates"], ["nvmlDeviceGetProcessUtilization", 0],
        ["nvmlDeviceIsMigDeviceHandle"], ["nvmlDeviceGetDeviceHandleFromMigDeviceHandle"], [list_],
    ]  # fmt: skip
    said = script(nvml, "read_pynvml", {"mig": calls, "device": [
        [list_], ["nvmlDeviceGetUtilizationRates"], ["nvmlDeviceGetNumGpuCores"],
        ["nvmlDeviceGetEncoderUtilization"], ["nvmlDeviceGetProcessUtilization", 0],
        ["nvmlDeviceGetMigMode"], ["nvmlDeviceGetMaxMigDeviceCount"],
        ["nvmlDeviceGetPowerUsage"],
    ]})  # fmt: skip
    v3 = has(nvml, list_)
    process = [as_nvml(first.processes[0], gi=2, ci=0)] if v3 else "FUNCTION_NOT_FOUND"
    none = "NOT_SUPPORTED"
    cores = none if has(nvml, "nvmlDeviceGetNumGpuCores") else "FUNCTION_NOT_FOUND"
    assert said["devices"] == [[process, none, cores, none, none, [1, 1], 7, 46_000]]
    attributes = (
        "multiprocessorCount", "sharedCopyEngineCount", "sharedDecoderCount",
        "sharedEncoderCount", "sharedJpegCount", "sharedOfaCount", "gpuInstanceSliceCount",
        "computeInstanceSliceCount", "memorySizeMB",
    )  # fmt: skip
    expected = []
    for slice_ in (third, card.slices[1], first):
        assert isinstance(slice_.memory_total, int) and isinstance(slice_.attributes, tuple)
        assert isinstance(slice_.bar1_total, int)
        free = slice_.memory_total - 6 * MB
        expected.append([
            slice_.uuid, slice_.name, slice_.gi, 0,
            {"total": slice_.memory_total, "used": 6 * MB, "free": free},
            {"bar1Total": slice_.bar1_total, "bar1Used": 0, "bar1Free": slice_.bar1_total},
            dict(zip(attributes, slice_.attributes, strict=True)), none, none, 1, card.uuid,
            process if slice_ is first or not v3 else [],
        ])  # fmt: skip
    assert said["migs"] == expected


SLICED = """
import json, time, pynvml as n
n.nvmlInit()
d = n.nvmlDeviceGetHandleByIndex(0)
get = n.c_nvmlGpmMetricsGet_t()
get.version, get.numMetrics = 1, 1
get.metrics[0].metricId = 2
get.sample1 = n.nvmlGpmMigSampleGet(d, 3, n.nvmlGpmSampleAlloc())
until = time.monotonic() + 0.15
while time.monotonic() < until:
    pass
get.sample2 = n.nvmlGpmMigSampleGet(d, 3, n.nvmlGpmSampleAlloc())
n.nvmlGpmMetricsGet(get)
try:
    n.nvmlGpmMigSampleGet(d, 12, get.sample1)
except n.NVMLError as error:
    print(json.dumps([get.metrics[0].value, str(error)]))
"""


def test_a_slice_is_measured_by_its_gpu_instance(tmp_path: Path) -> None:
    slices = a100_mig().cards[0].slices
    two = (replace(slices[0], more={"gpm.2": 11.5}), replace(slices[1], more={"gpm.2": 77.5}))
    nvml = Nvml(tmp_path, a100_mig().card(0, slices=two, gpm=1))
    done = ran(nvml, sys.executable, "-c", SLICED)
    assert json.loads(done.stdout) == [77.5, "Not Found"], done.stderr


LIVE = """
import json, pynvml as n
n.nvmlInit()
d = n.nvmlDeviceGetHandleByIndex(0)
first = n.nvmlDeviceGetProcessUtilization(d, 0)[0].timeStamp
(later,) = n.nvmlDeviceGetProcessUtilization(d, first)
ring = [s.timeStamp for s in n.nvmlDeviceGetSamples(d, n.NVML_GPU_UTILIZATION_SAMPLES, 0)[1]]
print(json.dumps([later.timeStamp - first, {b - a for a, b in zip(ring, ring[1:])} == {166667}]))
"""


def test_a_live_card_has_new_samples_whenever_it_is_asked(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, busy(THREE[0]).card(0, live=1))
    grown, even = json.loads(ran(nvml, sys.executable, "-c", LIVE).stdout)
    assert grown > 0 and even


def test_memory_of_the_host_has_no_size_and_its_processes_have(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, gb10().card(0, processes=(Proc(pid=ME, memory=GB),)))
    (said,) = script(nvml, "read_pynvml", {"device": [
        ["nvmlDeviceGetMemoryInfo"], ["nvmlDeviceGetMemoryInfo", 0x02000028],
        ["nvmlDeviceGetComputeRunningProcesses_v3"], ["nvmlDeviceGetAddressingMode"],
        ["nvmlDeviceGetEnforcedPowerLimit"], ["nvmlDeviceGetFanSpeed"],
    ]})["devices"]  # fmt: skip
    none = "NOT_SUPPORTED"
    assert said == [none, none, [as_nvml(Proc(pid=ME, memory=GB))], 2, none, none]


def test_what_a_user_may_not_see_is_refused_field_by_field(tmp_path: Path) -> None:
    state = busy(*THREE).card(0, processes_refused="NO_PERMISSION", power="RESET_REQUIRED")
    nvml = Nvml(tmp_path, state.card(0, utilization_gpu="TIMEOUT", memory_total="UNKNOWN"))
    said = script(nvml, "read_pynvml", {"device": [
        ["nvmlDeviceGetComputeRunningProcesses_v3"], ["nvmlDeviceGetPowerUsage"],
        ["nvmlDeviceGetUtilizationRates"], ["nvmlDeviceGetMemoryInfo"], ["nvmlDeviceGetIndex"],
    ]})["devices"]  # fmt: skip
    assert said[0] == ["NO_PERMISSION", "RESET_REQUIRED", "TIMEOUT", "UNKNOWN", 0]
    assert said[1][0] == []


def test_every_function_is_read_by_the_tests_of_this_file(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, busy(*THREE))
    every = [*(call or [function] for function, call, _ in READ), *PROCESSES]
    script(nvml, "read_pynvml", {"device": every}, counted=True)
    for program in (LEGACY, USED):
        ran(nvml, sys.executable, "-c", program, counted=True)
    elsewhere = {
        "nvmlErrorString",  # it is about no driver, and not counted
        *(name for name in functions() if name.startswith(("nvmlGpm", "nvmlEvent"))),
        "nvmlDeviceRegisterEvents", "nvmlDeviceGetHandleByUUIDV", "nvmlDeviceGetHandleBySerial",
        "nvmlDeviceGetHandleByPciBusId_v2", "nvmlSystemGetDriverBranch",
        "nvmlDeviceGetRunningProcessDetailList", "nvmlDeviceGetAttributes_v2",
        "nvmlSystemGetDriverVersion", "nvmlSystemGetCudaDriverVersion_v2",
    }  # fmt: skip
    assert set(functions()) - set(nvml.calls()) == elsewhere
