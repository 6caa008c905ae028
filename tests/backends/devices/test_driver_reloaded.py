"""A driver that is taken away and comes back under a program that asks it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.services.nvml import Nvml, State, h100

PROGRAM = """
import json, sys, time
import pynvml
from traindeck.backends.payload.agent import Refused
from traindeck.backends.payload.agent.devices import nvml
nvml.AGAIN = 0.0
reader = nvml.Nvml(pynvml, proc=sys.argv[1])
reader.open()
for line in sys.stdin:
    now = time.monotonic()
    problem = None
    try:
        reader.check(now)
    except Refused as refused:
        problem = str(refused)
    for card in reader.cards:
        reader.refresh(card, now)
        card.publish()
    print(json.dumps([problem, [card.shown for card in reader.cards]]), flush=True)
"""


class Reader:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def look(self) -> tuple[str | None, dict[str, dict[str, Any]]]:
        """(what is wrong with the driver, uuid -> reading)."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        problem, cards = json.loads(self._process.stdout.readline())
        return problem, {card["uuid"]: card for card in cards}


@contextmanager
def reading(nvml: Nvml) -> Iterator[Reader]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(nvml.file.parent / "proc")],
        env={**os.environ, **nvml.environ()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        reader = Reader(process)
        reader.look()
        yield reader
    finally:
        process.kill()
        process.wait()


def states(cards: dict[str, dict[str, Any]]) -> set[str]:
    return {card["state"] for card in cards.values()}


def test_a_driver_that_was_reloaded_is_begun_anew(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100(2))
    with reading(nvml) as reader:
        assert states(reader.look()[1]) == {"ok"}
        nvml.show(replace(nvml.state, generation=2))
        reader.look()
        problem, cards = reader.look()
        assert problem is None
        assert states(cards) == {"ok"} and len(cards) == 2


def test_one_that_was_updated_says_so_until_it_is_back(tmp_path: Path) -> None:
    nvml = Nvml(tmp_path, h100(1))
    with reading(nvml) as reader:
        nvml.show(replace(nvml.state, generation=2, init="LIB_RM_VERSION_MISMATCH"))
        reader.look()
        problem, _ = reader.look()
        assert problem is not None and "was updated" in problem
        nvml.show(replace(nvml.state, generation=3, init=None))
        problem, cards = reader.look()
        assert problem is None and states(cards) == {"ok"}


def test_a_device_that_is_put_in_appears_and_keeps_its_name_in_another_order(
    tmp_path: Path,
) -> None:
    four = h100(4).cards
    nvml = Nvml(tmp_path, State(cards=four[1:3]))
    gpus = tmp_path / "proc/driver/nvidia/gpus"
    for number in (1, 2):
        (gpus / f"0000:{number}8:00.0").mkdir(parents=True)
    with reading(nvml) as reader:
        before = set(reader.look()[1])
        nvml.show(State(cards=(four[0], four[2], four[1])))
        (gpus / "0000:08:00.0").mkdir()
        problem, cards = reader.look()
        assert problem is None
        assert set(cards) == before | {four[0].uuid}
        assert cards[four[2].uuid]["index"] == 1
