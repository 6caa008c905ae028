"""NVIDIA devices through NVML. So far only what a launch needs: how many, and their UUIDs.

NVML is loaded on demand: where no driver is installed this costs one failed dlopen.
"""

from __future__ import annotations

from typing import Any

from traindeck.backends.base import DeviceCount


def count() -> DeviceCount:
    """The devices in bus order. Never raises: what is wrong stands in the note."""
    try:
        import pynvml
    except ImportError:
        return DeviceCount(note="nvidia-ml-py is not installed, so GPUs cannot be counted")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError_LibraryNotFound:
        return DeviceCount(total=0, note="no NVIDIA driver is installed")
    except pynvml.NVMLError as error:
        return DeviceCount(note=f"NVML does not answer: {error}")
    try:
        uuids, busy = [], []
        for index in range(pynvml.nvmlDeviceGetCount()):
            device = pynvml.nvmlDeviceGetHandleByIndex(index)
            raw = pynvml.nvmlDeviceGetUUID(device)
            uuid = raw.decode() if isinstance(raw, bytes) else raw
            uuids.append(uuid)
            if _computing(pynvml, device):
                busy.append(uuid)
        driver = pynvml.nvmlSystemGetDriverVersion()
        return DeviceCount(
            uuids=tuple(uuids),
            busy=tuple(busy),
            total=len(uuids),
            driver=driver.decode() if isinstance(driver, bytes) else driver,
        )
    except pynvml.NVMLError as error:
        return DeviceCount(note=f"NVML does not answer: {error}")
    finally:
        pynvml.nvmlShutdown()


def _computing(pynvml: Any, device: Any) -> bool:
    """Whether a compute process is on a device; False where the driver does not say."""
    try:
        return bool(pynvml.nvmlDeviceGetComputeRunningProcesses(device))
    except Exception:  # an old driver's answer is no NVMLError
        return False
