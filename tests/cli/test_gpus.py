"""`run --gpus N`: a run has its GPUs for itself, and waits for them while other runs have them."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.services.nvml import GB, Nvml, Proc, h100

from traindeck.backends.payload.agent.leases import FOLDER

from .conftest import Cli

SHOW = "echo $CUDA_DEVICE_ORDER $CUDA_VISIBLE_DEVICES"


class Box:
    """This machine with a few GPUs of its own, which no other test has."""

    def __init__(self, cli: Cli, folder: Path, count: int) -> None:
        cards = tuple(replace(card, uuid=f"GPU-{uuid.uuid4()}") for card in h100(count).cards)
        self.nvml = Nvml(folder, replace(h100(count), cards=cards))
        self.uuids = [card.uuid for card in cards]
        self.cli = cli
        cli.environ.update(self.nvml.environ())

    def run(self, gpus: int, *command: str, options: tuple[str, ...] = ()) -> str:
        return self.cli.run(*command, options=("--gpus", str(gpus), *options))

    def show(self, run: str) -> Any:
        return json.loads(self.cli.ok("show", "--json", run))

    def until(self, run: str, state: str) -> Any:
        end = time.monotonic() + 60
        while (shown := self.show(run))["state"] != state:
            assert time.monotonic() < end, shown
            time.sleep(0.05)
        return shown

    def log(self, run: str) -> str:
        self.cli("wait", run)
        return self.cli.ok("logs", run)

    def agent(self, run: str) -> Any:
        path = self.cli.home / ".traindeck/runs" / run / "attempts/0/agent.json"
        return json.loads(path.read_text())


@pytest.fixture
def box(cli: Cli, tmp_path: Path) -> Iterator[Box]:
    folder = tmp_path / "nvml"
    folder.mkdir()
    made = Box(cli, folder, 3)
    yield made
    for run in json.loads(cli("ls", "--json").stdout):
        cli("stop", "-q", "--grace", "1s", run["id"])
        cli("wait", run["id"])
    for one in made.uuids:
        for path in Path(FOLDER).glob(f"{one}.*"):
            path.unlink(missing_ok=True)


def test_a_run_gets_as_many_gpus_as_it_asked_for_by_uuid(box: Box) -> None:
    assert box.log(box.run(2, "sh", "-c", SHOW)) == f"PCI_BUS_ID {box.uuids[0]},{box.uuids[1]}\n"
    assert box.log(box.run(1, "sh", "-c", SHOW)) == f"PCI_BUS_ID {box.uuids[0]}\n", "free again"


def test_what_other_runs_have_is_waited_for_and_who_has_it_is_said(box: Box) -> None:
    first = box.run(2, "sleep", "600", options=("--name", "first"))
    box.until(first, "running")
    assert box.agent(first)["devices"] == box.uuids[:2]
    second = box.run(2, "sh", "-c", SHOW)
    waiting = box.until(second, "queued")
    assert waiting["reason"].startswith("waits for 2 GPUs, 1 is free: the others are held by first")
    assert box.log(box.run(1, "sh", "-c", SHOW)) == f"PCI_BUS_ID {box.uuids[2]}\n", "one was free"
    box.cli.ok("stop", "-q", "--grace", "1s", first)
    assert box.log(second).split()[1].split(",") == [box.uuids[2], box.uuids[0]]
    assert box.show(second)["state"] == "succeeded"


def test_who_has_a_gpu_is_seen_before_anything_computes_on_it(box: Box) -> None:
    first = box.run(2, "sleep", "600", options=("--name", "first"))
    box.until(first, "running")
    found = {one["uuid"]: one["lease"] for one in box.cli.json("top", "--json")}
    assert found[box.uuids[2]] is None
    for one in box.uuids[:2]:
        assert (found[one]["run"], found[one]["attempt"]) == (first, 0)
        assert found[one]["since"].endswith("Z")
    lines = box.cli.ok("top").splitlines()
    assert lines[1].endswith("you first · leased") and lines[3].endswith("free")
    assert lines[-1].startswith("2 of 3 GPUs busy, 1 free")


def test_a_run_that_waits_can_be_stopped_and_has_nothing(box: Box) -> None:
    first = box.run(3, "sleep", "600")
    box.until(first, "running")
    second = box.run(1, "true")
    box.until(second, "queued")
    box.cli.ok("stop", "-q", second)
    assert box.until(second, "cancelled")["exit_code"] is None
    assert box.show(first)["state"] == "running"


def test_runs_that_start_together_never_share(box: Box, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    script = (
        f"mkdir {marks}/$CUDA_VISIBLE_DEVICES && sleep 0.3 && rmdir {marks}/$CUDA_VISIBLE_DEVICES"
    )
    runs = [box.run(1, "sh", "-c", script) for _ in range(7)]
    for run in runs:
        box.cli("wait", run)
    assert [box.show(run)["state"] for run in runs] == ["succeeded"] * 7


def test_the_gpus_of_a_run_whose_supervisor_was_killed_are_not_free(box: Box) -> None:
    first = box.run(3, "sleep", "600")
    box.until(first, "running")
    words = box.agent(first)
    os.kill(words["pid"], signal.SIGKILL)
    second = box.run(1, "sh", "-c", SHOW)
    box.until(second, "queued")
    os.kill(words["leader"]["pid"], signal.SIGKILL)
    assert box.log(second) == f"PCI_BUS_ID {box.uuids[0]}\n"


def test_each_attempt_takes_its_gpus_anew(box: Box) -> None:
    run = box.run(2, "sh", "-c", f"{SHOW}; false", options=("--retries", "1"))
    box.cli("wait", run)
    shown = box.show(run)
    assert (shown["state"], shown["attempt"]) == ("failed", 1)
    assert box.cli.ok("logs", run).split()[1] == ",".join(box.uuids[:2])
    assert box.log(box.run(3, "sh", "-c", SHOW)).split()[1] == ",".join(box.uuids)


def test_a_gpu_on_which_another_program_computes_is_not_taken(box: Box) -> None:
    other = Proc(pid=os.getpid(), memory=9 * GB)
    box.nvml.show(box.nvml.state.card(0, processes=(other,)))
    assert box.log(box.run(1, "sh", "-c", SHOW)) == f"PCI_BUS_ID {box.uuids[1]}\n"
    done = box.cli("run", "--gpus", "3", "--", "true")
    assert done.returncode == 2
    assert "2 of 3 GPUs" in done.stderr and "programs that are no runs are on 1" in done.stderr


def test_more_than_there_are_is_refused_at_once(box: Box) -> None:
    done = box.cli("run", "--gpus", "4", "--", "true")
    assert done.returncode == 2
    assert "--gpus 4" in done.stderr and "has 3" in done.stderr


def test_the_plan_says_which_will_do_and_how_many_are_free(box: Box) -> None:
    plan = box.cli.ok("run", "--dry-run", "--gpus", "2", "--", "true")
    assert "2 of the 3 GPUs" in plan and "3 are free now" in plan
    first = box.run(3, "sleep", "600", options=("--name", "first"))
    box.until(first, "running")
    plan = box.cli.ok("run", "--dry-run", "--gpus", "2", "--", "true")
    assert "as soon as they are free: none is now; held by first of" in plan
