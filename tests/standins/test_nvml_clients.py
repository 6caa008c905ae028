"""The stand-in for NVIDIA's library is faithful: clients that were written for the real one, by
NVIDIA (nvidia-ml-py) and by others (nvitop, gpustat), read from it what its state says. Each in a
process of its own, for a library is loaded once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.nvml import (
    DRIVERS, GB, MB, Card, Nvml, Proc, State, a100_mig, functions, gb10, h100, library, rtx4090,
)  # fmt: skip

HERE = Path(__file__).parent
SOME = ("450", "470", "510", "535.54", "535", "550", "570", "580")
NONE = 0xFFFFFFFF
ME, PARENT = os.getpid(), os.getppid()
"""Two processes that run: nvitop and gpustat look at them."""

BUSY = replace(
    h100().cards[0],
    memory_used=40 * GB, utilization_gpu=97, utilization_memory=41, encoder=3, decoder=4,
    power=612_345, power_enforced=650_000, power_limit=680_000, power_default=700_000,
    power_min=200_000, power_max=710_000, energy=2**40 + 7, temperature=66, temperature_memory=78,
    fan=55, fans=1, clock_graphics=1755, clock_sm=1750, clock_memory=2619, clock_video=1400,
    clock_graphics_max=1980, clock_sm_max=1975, clock_memory_max=2620, clock_video_max=1545,
    pstate=1, persistence=1, compute=3, display_mode=0, display_active=1, reasons=0x24, ecc=1,
    ecc_pending=0, ecc_corrected_volatile=12, ecc_uncorrected_volatile=13,
    ecc_corrected_aggregate=14, ecc_uncorrected_aggregate=2**33, remapped=(1, 2, 1, 0), recovery=2,
    retired_pending=1, pcie_generation=4, pcie_width=8, pcie_tx=11, pcie_rx=22, numa=1,
    power_average=600_001, power_instant=612_346,
    samples_gpu=(10, 20, 30), minor=5,
    more={
        "ecc.corrected.volatile.2": 7, "ecc.default": 1, "part": "900-21010", "vbios": "96.00.74",
        "memory.bus": 5120, "policy.0": 123456789, "policy.4": 5, "retired.0": (2, 0x10, 0x20),
        "retired.1": (0,), "remapper": (640, 1, 2, 3, 4), "pcie.replays": 6, "pcie.speed": 16000,
        "pcie.generation.gpu": 5, "nvlink.3": 1, "nvlink.3.version": 7, "nvlink.3.type": 1,
        "nvlink.3.remote": "00000000:0A:00.0", "nvlink.3.capability.1": 1, "nvlink.3.error.2": 9,
        "fabric": (0, 77, 3, 5), "temperature.margin": -4, "fan.rpm": 4100, "repair": (1, 0),
        "protected.memory": (100, 200), "encoder.stats": (2, 60, 900), "power.managed": 1,
        "accounting": 0, "virtualization": 0, "affinity": 0xF0F0, "clock.sm.set": 1700, "jpeg": 5,
        "ofa": 6, "field.138:3": "u64 9876543210", "field.139:3": "NO_PERMISSION",
        "field.90": "f64 26.5", "field.300": "i32 -5", "field.301": "u16 65535", "field.302": "i64 -6",
        "model": 0, "gpm.2": 91.5, "gpm.5": 47.25, "gpm.10": "NO_PERMISSION",
        "attributes": (132, 3, 7, 0, 7, 1, 7, 7, 81559),
    },
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


def ran(nvml: Nvml, *argv: str, stdin: str = "", counted: bool = False) -> Any:
    """A client, and what it wrote."""
    return subprocess.run(
        argv, input=stdin, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **nvml.environ(counted=counted), "COLUMNS": "100"},
    )  # fmt: skip


def script(nvml: Nvml, name: str, asked: Any = None, *, counted: bool = False) -> Any:
    """What a client of this folder says."""
    path = str(HERE / f"{name}.py")
    done = ran(nvml, sys.executable, path, stdin=json.dumps(asked), counted=counted)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tool(name: str) -> str:
    """A program that was installed beside the interpreter."""
    return str(Path(sys.executable).parent / name)


def has(nvml: Nvml, function: str) -> bool:
    return functions()[function] <= DRIVERS[nvml.driver][0]


def busy(*processes: Proc) -> State:
    """One busy card and an idle one."""
    state = h100(2).card(1, processes=())
    return replace(state, cards=(replace(BUSY, processes=processes), state.cards[1]))


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


THREE = (
    Proc(pid=ME, memory=30 * GB, sm=88, mem=40, enc=1, dec=2),
    Proc(pid=PARENT, type="C+G", memory=None),
    Proc(pid=1, type="M", memory=2 * GB, sm=5, mem=1),
)


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
    assert (said["ring"], said["later"]) == ([10, 20, 30], [30])
    assert said["none"] == "Not Supported"
    since_535 = 3 if driver == "510" else None  # the error of what a driver does not have
    assert said["fields"] == {
        "82:0": 78, "83:0": 2**40 + 7,
        "185:0": since_535 or 600_001, "186:0": since_535 or 612_346,
        "230:0": 2 if driver == "580" else 3, "145:0": 3 if driver == "never" else 0,
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
