"""Counting NVIDIA devices, through the real bindings on a library that stands in for the driver's:
in processes of their own, for a library is loaded once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIBRARY = """
#include <string.h>
typedef void *D;
#define BROKEN 999
int nvmlInit_v2(void) { return INIT; }
int nvmlInitWithFlags(unsigned f) { return INIT; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int r) { return "Unknown Error"; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, D *d) { *d = (D)(long)(i + 1); return 0; }
int nvmlDeviceGetUUID(D d, char *to, unsigned n) {
    if (d == (D)2 && SECOND) return SECOND;
    strcpy(to, d == (D)1 ? "GPU-aaaa1111" : "GPU-bbbb2222");
    return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(D d, unsigned *n, void *infos) {
    *n = d == (D)2 && BUSY ? 1 : 0;
    return *n && !infos ? 7 : 0;
}
int nvmlSystemGetDriverVersion(char *to, unsigned n) { strcpy(to, "560.35.03"); return 0; }
"""

COUNT = """
import dataclasses, json
from traindeck.backends.devices.nvml import count
print(json.dumps(dataclasses.asdict(count())))
"""


def counted(folder: Path, *, library: bool = True, **codes: int) -> Any:
    """What `count` says where the library's calls return these codes."""
    defined = [
        f"-D{name}={code}" for name, code in ({"INIT": 0, "SECOND": 0, "BUSY": 0} | codes).items()
    ]
    if library:
        if shutil.which("gcc") is None:
            pytest.skip("no C compiler to make the library with")
        (folder / "nv.c").write_text(LIBRARY)
        made = str(folder / "libnvidia-ml.so.1")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-w", *defined, "-o", made, str(folder / "nv.c")],
            check=True,
        )
    done = subprocess.run(
        [sys.executable, "-c", COUNT],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_devices_are_counted_in_bus_order_with_their_driver(tmp_path: Path) -> None:
    assert counted(tmp_path) == {
        "uuids": ["GPU-aaaa1111", "GPU-bbbb2222"], "busy": [], "total": 2, "driver": "560.35.03",
        "note": "",
    }  # fmt: skip


def test_a_device_with_a_compute_process_is_busy(tmp_path: Path) -> None:
    said = counted(tmp_path, BUSY=1)
    assert (said["busy"], said["total"]) == (["GPU-bbbb2222"], 2)


@pytest.mark.parametrize("code", [9, 18, 999], ids=["driver-not-loaded", "mismatch", "unknown"])
def test_a_driver_that_does_not_answer_is_no_machine_without_devices(
    tmp_path: Path, code: int
) -> None:
    said = counted(tmp_path, INIT=code)
    assert (said["total"], said["uuids"]) == (None, [])
    assert said["note"].startswith("NVML does not answer: ")


def test_a_device_that_has_fallen_off_the_bus_is_said_and_none_is_counted(tmp_path: Path) -> None:
    said = counted(tmp_path, SECOND=15)
    assert (said["total"], said["uuids"]) == (None, [])
    assert "lost" in said["note"].lower()


def test_a_machine_without_a_driver_has_none(tmp_path: Path) -> None:
    said = counted(tmp_path, library=False)
    if said["note"].startswith("NVML") or said["total"]:
        pytest.skip("a driver is installed here")
    assert (said["total"], said["note"]) == (0, "no NVIDIA driver is installed")
