"""What goes wrong with a driver goes wrong with the stand-in: cards are lost, calls hang, drivers
are replaced under their clients. And a state can be wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services import nvml as service
from tests.services.nvml import (
    DRIVERS,
    Nvml,
    Proc,
    State,
    a100_mig,
    counter,
    functions,
    h100,
    library,
)  # fmt: skip
from tests.standins.clients import ran, script

CLIENT = """
import sys, threading, pynvml as n
handles = {}
def said(line):
    name, *words = line.split()
    words = [
        int(word) if word.isdigit() else word[1:].encode() if word[0] == "=" else handles[word]
        for word in words
    ]
    try:
        answer = getattr(n, name)(*words)
        if isinstance(answer, n.c_nvmlDevice_t):
            handles[n.nvmlDeviceGetUUID(answer)] = answer
            return n.nvmlDeviceGetUUID(answer)
        return str(getattr(answer, "value", answer))
    except n.NVMLError as error:
        return type(error).__name__.removeprefix("NVMLError_")
    except Exception as error:
        return repr(error)
def answer(mark, line):
    print(mark, said(line), flush=True)
for line in sys.stdin:
    mark, line = line.split(" ", 1)
    threading.Thread(target=answer, args=(mark, line), daemon=True).start()
"""


class Client:
    """A program that calls what it is told to, each call in a thread of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.asked = 0
        self.early: dict[int, str] = {}

    def begin(self, *call: object) -> int:
        """The mark of a call that goes on."""
        self.asked += 1
        assert self.process.stdin is not None
        print(self.asked, *call, file=self.process.stdin, flush=True)
        return self.asked

    def end(self, mark: int) -> str:
        assert self.process.stdout is not None
        while mark not in self.early:
            number, _, answer = self.process.stdout.readline().strip().partition(" ")
            self.early[int(number)] = answer
        return self.early.pop(mark)

    def __call__(self, *call: object) -> str:
        return self.end(self.begin(*call))


@contextmanager
def client(nvml: Nvml) -> Iterator[Client]:
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, **nvml.environ(counted=True)},
    ) as process:  # fmt: skip
        try:
            yield Client(process)
        finally:
            process.kill()


def opened(ask: Client, *places: int) -> list[str]:
    assert ask("nvmlInit") == "None"
    return [ask("nvmlDeviceGetHandleByIndex", place) for place in places]


def test_values_change_under_a_client_and_counters_grow(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100().card(0, energy=counter(5000, 350_000, since=0)))
    with client(nvml) as ask:
        (card,) = opened(ask, 0)
        assert ask("nvmlDeviceGetPowerUsage", card) == "71000"
        nvml.show(nvml.state.card(0, power=500_000, temperature="NO_PERMISSION"))
        assert ask("nvmlDeviceGetPowerUsage", card) == "500000"
        assert ask("nvmlDeviceGetTemperature", card, 0) == "NoPermission"
        first = int(ask("nvmlDeviceGetTotalEnergyConsumption", card))
        later = int(ask("nvmlDeviceGetTotalEnergyConsumption", card))
    assert later > first > 1.6e9 * 350_000


def test_all_calls_of_a_lost_card_say_so_and_the_others_answer(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100(2))
    with client(nvml) as ask:
        one, other = opened(ask, 0, 1)
        nvml.show(nvml.state.card(0, lost=1))
        assert ask("nvmlDeviceGetName", one) == "GpuIsLost"
        assert ask("nvmlDeviceGetComputeRunningProcesses_v3", one) == "GpuIsLost"
        assert ask("nvmlDeviceGetHandleByIndex", 0) == "GpuIsLost"
        assert ask("nvmlDeviceGetName", other) == "NVIDIA H100 80GB HBM3"


def test_a_call_that_hangs_keeps_no_other_one_until_the_state_lets_it_go(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100(2).card(0, hang=1))
    with client(nvml) as ask:
        assert ask("nvmlInit") == "None"
        mark = ask.begin("nvmlDeviceGetHandleByIndex", 0)
        other = ask("nvmlDeviceGetHandleByIndex", 1)
        assert ask("nvmlDeviceGetPowerUsage", other) == "71000"
        assert mark not in ask.early
        nvml.show(nvml.state.card(0, hang=None))
        assert ask.end(mark) == nvml.state.cards[0].uuid


def test_a_start_that_hangs_ends_when_the_state_lets_it(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, replace(h100(), more={"hang.nvmlInitWithFlags": 1}))
    with client(nvml) as ask:
        mark = ask.begin("nvmlInit")
        assert ask("nvmlDeviceGetCount") == "Uninitialized"
        assert mark not in ask.early
        nvml.show(replace(nvml.state, more={}))
        assert ask.end(mark) == "None"
        assert ask("nvmlDeviceGetCount") == "1"


def test_one_function_of_one_card_can_be_slow_hang_or_fail(tmp_path: Path) -> None:
    usual = h100().cards[0].more
    more = {**usual, "hang.nvmlDeviceGetPowerUsage": 1, "error.nvmlDeviceGetName": "TIMEOUT",
            "delay.nvmlDeviceGetFanSpeed": 1}  # fmt: skip
    nvml = Nvml(tmp_path, h100(2).card(0, more=more))
    with client(nvml) as ask:
        one, other = opened(ask, 0, 1)
        mark = ask.begin("nvmlDeviceGetPowerUsage", one)
        assert ask("nvmlDeviceGetPowerUsage", other) == "71000"
        assert ask("nvmlDeviceGetName", one) == "Timeout"
        assert ask("nvmlDeviceGetName", other) == "NVIDIA H100 80GB HBM3"
        assert ask("nvmlDeviceGetFanSpeed", one) == "NotSupported"
        assert mark not in ask.early
        nvml.show(nvml.state.card(0, more=usual))
        assert ask.end(mark) == "71000"


@pytest.mark.parametrize("stale", [None, "UNINITIALIZED", "GPU_IS_LOST"])
def test_a_driver_that_is_reloaded_wants_a_new_start(tmp_path: Path, stale: str | None) -> None:
    nvml = Nvml(tmp_path, h100(2))
    with client(nvml) as ask:
        (card,) = opened(ask, 0)
        nvml.show(replace(nvml.state, generation=1, stale=stale))
        wanted = {None: "Unknown", "UNINITIALIZED": "Uninitialized", "GPU_IS_LOST": "GpuIsLost"}
        assert ask("nvmlDeviceGetPowerUsage", card) == wanted[stale]
        assert ask("nvmlDeviceGetCount") == wanted[stale]
        assert ask("nvmlInit") == "None"  # counted, and no new start
        assert ask("nvmlDeviceGetCount") == wanted[stale]
        assert (ask("nvmlShutdown"), ask("nvmlShutdown")) == ("None", "None")
        nvml.show(replace(nvml.state, init="LIB_RM_VERSION_MISMATCH"))
        assert ask("nvmlInit") == "LibRmVersionMismatch"
        nvml.show(replace(nvml.state, init=None))
        (card,) = opened(ask, 0)
        assert ask("nvmlDeviceGetPowerUsage", card) == "71000"


def test_cards_that_come_go_or_change_places_are_seen_at_the_next_start(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100(2))
    more = h100(3).cards
    with client(nvml) as ask:
        one, other = opened(ask, 0, 1)
        nvml.show(State(cards=(more[2], more[1])))
        assert (ask("nvmlDeviceGetCount"), ask("nvmlDeviceGetIndex", other)) == ("2", "1")
        assert ask("nvmlDeviceGetName", one) == "GpuIsLost"
        assert ask("nvmlShutdown") == "None"
        assert ask("nvmlDeviceGetCount") == "Uninitialized"
        assert opened(ask, 0, 1) == [more[2].uuid, more[1].uuid]
        assert ask("nvmlDeviceGetIndex", other) == "1"


def test_slices_vanish_with_their_uuids(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, a100_mig())
    (card,) = nvml.state.cards
    with client(nvml) as ask:
        (parent,) = opened(ask, 0)
        slice_ = ask("nvmlDeviceGetMigDeviceHandleByIndex", parent, 1)
        assert ask("nvmlDeviceGetGpuInstanceId", slice_) == "3"
        assert ask("nvmlDeviceIsMigDeviceHandle", slice_) == "1"
        assert ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", slice_) == card.uuid
        nvml.show(nvml.state.card(0, slices=card.slices[2:]))
        assert ask("nvmlDeviceGetGpuInstanceId", slice_) == "GpuIsLost"
        assert ask("nvmlDeviceGetHandleByUUID", f"={slice_}") == "NotFound"
        assert ask("nvmlDeviceGetMigDeviceHandleByIndex", parent, 0) == card.slices[2].uuid


@pytest.mark.parametrize("code", ["DRIVER_NOT_LOADED", "NO_PERMISSION", "LIB_RM_VERSION_MISMATCH"])
def test_a_start_can_fail(tmp_path: Path, code: str) -> None:
    said = script(Nvml(tmp_path, replace(h100(), init=code)), "read_pynvml", {})
    assert said == {"init": code}


@pytest.mark.parametrize("text", [
    "no equals sign", "[mig]\nuuid = x", "[device]\nname = x", "[elsewhere]", "a = b\0c",
    "[device]\nuuid = a\n[device]\nuuid = a", "[device]\nuuid = " + "x" * 200, None,
])  # fmt: skip
def test_a_state_that_is_wrong_is_an_unknown_error_with_one_line(
    tmp_path: Path, text: str | None
) -> None:
    nvml = Nvml(tmp_path, h100())
    if text is None:
        nvml.file.unlink()
    else:
        nvml.write(text)
    done = ran(nvml, sys.executable, "-c", "import pynvml; pynvml.nvmlInit()")
    lines = done.stderr.splitlines()
    assert lines[-1] == "pynvml.NVMLError_Unknown: Unknown Error"
    assert len([line for line in lines if line.startswith("nvml stand-in: ")]) == 1


def test_a_number_that_is_none_is_an_unknown_error(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100().card(0, power="much", clock_sm="12 x", energy="1+2"))
    with client(nvml) as ask:
        (card,) = opened(ask, 0)
        assert ask("nvmlDeviceGetPowerUsage", card) == "Unknown"
        assert ask("nvmlDeviceGetTotalEnergyConsumption", card) == "Unknown"


def test_calls_are_counted_over_processes_and_survive_a_kill(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100(2))
    for _ in range(2):
        with client(nvml) as ask:
            (card,) = opened(ask, 0)
            for _ in range(3):
                ask("nvmlDeviceGetName", card)
            os.kill(ask.process.pid, signal.SIGKILL)
    calls = nvml.calls()
    assert calls["nvmlDeviceGetName"] == 6
    assert calls["nvmlInitWithFlags"] == calls["nvmlDeviceGetHandleByIndex_v2"] == 2
    assert "nvmlDeviceGetPowerUsage" not in calls


def test_calls_of_many_threads_are_all_answered_while_the_state_is_replaced(
    tmp_path: Path,
) -> None:
    program = """
import threading, pynvml as n
n.nvmlInit()
d = n.nvmlDeviceGetHandleByIndex(0)
wrong = []
def read():
    for _ in range(2000):
        memory = n.nvmlDeviceGetMemoryInfo(d, n.nvmlMemory_v2)
        if memory.used + memory.free + memory.reserved != memory.total:
            wrong.append(str(memory))
threads = [threading.Thread(target=read) for _ in range(4)]
[t.start() for t in threads]
[t.join() for t in threads]
assert not wrong, wrong[:3]
"""
    nvml = Nvml(tmp_path, h100())
    with subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, **nvml.environ(counted=True)}
    ) as process:
        used = 0
        while process.poll() is None:
            used += 1
            nvml.show(nvml.state.card(0, memory_used=used, processes=(Proc(pid=used),)))
    assert process.returncode == 0
    assert nvml.calls()["nvmlDeviceGetMemoryInfo_v2"] == 8000


def test_a_library_has_the_functions_of_its_driver_and_no_other_symbol() -> None:
    for driver, (number, _, _) in DRIVERS.items():
        listed = subprocess.run(
            ["nm", "-D", "--defined-only", str(library(driver) / "libnvidia-ml.so.1")],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        has = {line.split()[-1] for line in listed.splitlines()}
        assert has == {name for name, since in functions().items() if since <= number}


def test_a_library_is_built_once_by_many_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_cache", lambda: tmp_path)
    build: Any = library.__wrapped__
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(build, ["570"] * 3))
    assert [one for one in tmp_path.iterdir() if one.is_dir()] == list(folders)
    assert [one.name for one in next(iter(folders)).iterdir()] == ["libnvidia-ml.so.1"]
