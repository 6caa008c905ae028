"""Counting NVIDIA devices, through the real bindings on a library that stands in for the driver's:
in processes of their own, for a library is loaded once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.nvml import Nvml, Proc, State, h100

COUNT = """
import dataclasses, json
from traindeck.backends.devices.nvml import count
print(json.dumps(dataclasses.asdict(count())))
"""

UUIDS = [card.uuid for card in h100(2).cards]


def counted(folder: Path, state: State | None, driver: str = "555") -> Any:
    """What `count` says where the library says this; None is a machine without one."""
    library = Nvml(folder, state, driver).environ() if state else {"LD_LIBRARY_PATH": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env={**os.environ, **library},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_devices_are_counted_in_bus_order_with_their_driver(tmp_path: Path) -> None:
    assert counted(tmp_path, h100(2)) == {
        "uuids": UUIDS, "busy": [], "total": 2, "driver": "555.58.02", "note": "",
    }  # fmt: skip


def test_a_device_with_a_compute_process_is_busy(tmp_path: Path) -> None:
    said = counted(tmp_path, h100(2).card(1, processes=(Proc(pid=1),)))
    assert (said["busy"], said["total"]) == (UUIDS[1:], 2)


@pytest.mark.parametrize("code", ["DRIVER_NOT_LOADED", "LIB_RM_VERSION_MISMATCH", "UNKNOWN"])
def test_a_driver_that_does_not_answer_is_no_machine_without_devices(
    tmp_path: Path, code: str
) -> None:
    said = counted(tmp_path, replace(h100(2), init=code))
    assert (said["total"], said["uuids"]) == (None, [])
    assert said["note"].startswith("NVML does not answer: ")


def test_a_device_that_has_fallen_off_the_bus_is_said_and_none_is_counted(tmp_path: Path) -> None:
    said = counted(tmp_path, h100(2).card(1, lost=1))
    assert (said["total"], said["uuids"]) == (None, [])
    assert "lost" in said["note"].lower()


def test_a_machine_without_a_driver_has_none(tmp_path: Path) -> None:
    said = counted(tmp_path, None)
    if said["note"].startswith("NVML") or said["total"]:
        pytest.skip("a driver is installed here")
    assert (said["total"], said["note"]) == (0, "no NVIDIA driver is installed")
