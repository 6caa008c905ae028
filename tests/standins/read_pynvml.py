"""Calls functions of nvidia-ml-py and prints what they say: a client in a process of its own.

Reads JSON from standard input, `{"system": [[function, argument, ...], ...], "device": [...]}`;
those of the second list are called for every device, and of `"mig"` for every slice. Writes
`{"system": [...], "devices": [[...], ...], "migs": [...]}`. An argument `"&NAME"` is a structure of
pynvml (or a number of ctypes) that is filled, `"&NAME@VERSION"` one with that version, and
`"!FUNCTION"` is called as the library has it. An error is its name.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import pynvml

ERRORS = {
    value: name.removeprefix("NVML_ERROR_")
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_ERROR_")
}


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, ctypes.Structure):
        return {name: plain(getattr(value, name)) for name, *_ in value._fields_}
    if isinstance(value, ctypes._SimpleCData):
        return value.value
    if isinstance(value, ctypes.Union):
        return value.ullVal if hasattr(value, "ullVal") else None
    if isinstance(value, (list, tuple, ctypes.Array)):
        return [plain(one) for one in value]
    if isinstance(value, pynvml.nvmlFriendlyObject):
        return {name: plain(one) for name, one in vars(value).items()}
    if isinstance(value, ctypes._Pointer):
        return pynvml.nvmlDeviceGetUUID(value)
    return value


def said(call: list[Any], *first: Any) -> Any:
    function, *arguments = call
    try:
        filled = None
        for place, one in enumerate(arguments):
            if isinstance(one, str) and one.startswith("&"):
                name, _, version = one[1:].partition("@")
                filled = getattr(pynvml, name)()  # pynvml has the names of ctypes too
                if version:
                    filled.version = int(version, 16)
                arguments[place] = ctypes.byref(filled)
            elif isinstance(one, str):
                arguments[place] = one.encode()
        if function.startswith("!"):
            found = pynvml._nvmlGetFunctionPointer(function[1:])
            pynvml._nvmlCheckReturn(found(*first, *arguments))
            return plain(filled)
        answer = getattr(pynvml, function)(*first, *arguments)
        return plain(answer if filled is None else filled)
    except pynvml.NVMLError as error:
        return ERRORS.get(error.value, str(error.value))
    except pynvml.NVMLLibraryMismatchError:
        return "MISMATCH"


def main() -> None:
    asked = json.load(sys.stdin)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        json.dump({"init": ERRORS[error.value]}, sys.stdout)
        return
    system = [said(call) for call in asked.get("system", [])]
    devices: list[Any] = []
    migs: list[Any] = []
    for index in range(pynvml.nvmlDeviceGetCount()):
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        except pynvml.NVMLError as error:
            devices.append(ERRORS[error.value])
            continue
        devices.append([said(call, handle) for call in asked.get("device", [])])
        for place in range(7 if "mig" in asked else 0):
            try:
                slice_ = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
            except pynvml.NVMLError:
                continue
            migs.append([said(call, slice_) for call in asked["mig"]])
    pynvml.nvmlShutdown()
    json.dump({"system": system, "devices": devices, "migs": migs}, sys.stdout)


main()
