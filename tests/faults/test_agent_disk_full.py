"""A full disk: before the start, during the job, and when its end is to be recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.faults.disks import fill_disk
from tests.payload.harness import Agent, Refusal, installed, runs, until


@pytest.fixture
def small(disk: Path) -> Iterator[Agent]:
    """An agent on a disk of a few megabytes."""
    with installed(disk / "root") as agent:
        agent.call("hello")
        yield agent


def fill(agent: Agent) -> Path:
    """Leave not one byte free."""
    return fill_disk(agent.root)


@pytest.mark.fault
def test_nothing_is_started_on_a_full_disk(small: Agent) -> None:
    small.ended(small.start("true"))
    filler = fill(small)
    request = small.request(["true"])
    with pytest.raises(Refusal, match="no space left"):
        small.call("start", **request)
    assert not small.directory(request["run_id"], None).exists()
    filler.unlink()
    small.call("start", **request)
    assert small.ended(request["run_id"])["exit_code"] == 0


@pytest.mark.fault
def test_a_disk_that_fills_while_it_starts_refuses_and_leaves_nothing(small: Agent) -> None:
    small.ended(small.start("true"))
    request = small.request(["true"])
    run = request["run_id"]
    # The directory is there, as a caller left it that was killed; then the disk fills.
    small.call("start", **request)
    small.ended(run)
    filler = fill(small)
    with pytest.raises(Refusal):
        small.call("start", **{**request, "attempt": 1})
    assert small.evidence(run)["attempt"] == 0
    assert not (small.directory(run, 1) / "claim").exists()
    filler.unlink()
    small.call("start", **{**request, "attempt": 1})
    assert small.ended(run)["attempt"] == 1


@pytest.mark.fault
def test_the_end_is_recorded_with_no_byte_free(small: Agent) -> None:
    run = small.shell("read x < $FIFO; exit 9", env={"FIFO": fifo(small)})
    small.phase(run, "running")
    fill(small)
    release(small)
    record = small.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 9)


@pytest.mark.fault
def test_a_stop_is_obeyed_with_no_byte_free(small: Agent) -> None:
    run = small.start("sleep", "300", limits={"grace": 5})
    small.phase(run, "running")
    fill(small)
    assert small.call("cancel", run_id=run, attempt=0, grace=3)["state"] == "requested"
    assert small.ended(run)["cause"] == "cancel"
    assert small.evidence(run)["cancel_requested"] is not None


@pytest.mark.fault
def test_the_reserve_is_spent_if_the_record_needs_room(small: Agent) -> None:
    run = small.shell("read x < $FIFO; exit 9", env={"FIFO": fifo(small)})
    small.phase(run, "running")
    # As on a file system that copies what is overwritten: the slot needs new blocks.
    os.truncate(small.directory(run) / "exit.slot", 0)
    fill(small)
    release(small)
    assert small.ended(run)["exit_code"] == 9
    assert not (small.directory(run) / "reserve").exists()


@pytest.mark.fault
def test_a_record_that_cannot_be_written_is_kept_until_it_can(small: Agent) -> None:
    run = small.shell("read x < $FIFO; exit 9", env={"FIFO": fifo(small)})
    small.phase(run, "running")
    os.truncate(small.directory(run) / "exit.slot", 0)
    (small.directory(run) / "reserve").unlink()
    filler = fill(small)
    leader = small.leader(run)
    release(small)
    until(lambda: not runs(leader))
    seen = small.evidence(run)
    assert (seen["exit"], seen["alive"], seen["supervised"]) == (None, True, True)
    filler.unlink()
    record = small.ended(run)
    assert (record["cause"], record["exit_code"]) == ("self", 9)


@pytest.mark.fault
def test_a_repeat_waits_for_room(small: Agent) -> None:
    script = "case $TRAINDECK_RUN in */0) read x < $FIFO; exit 9;; esac; exit 0"
    run = small.shell(script, env={"FIFO": fifo(small)}, limits={"retries": 2})
    small.phase(run, "running")
    filler = fill(small)
    release(small)
    seen = until(lambda: (e := small.evidence(run))["exit"] and e)
    assert (seen["attempt"], seen["exit"]["next"], seen["supervised"]) == (0, 1, True)
    filler.unlink()
    record = small.ended(run)
    assert (record["attempt"], record["exit_code"]) == (1, 0)


@pytest.mark.fault
def test_a_repeat_that_waits_for_room_can_be_stopped(small: Agent) -> None:
    hook = small.root.parent.parent / "hook"
    script = "read x < $FIFO; exit 9"
    on_exit = ["sh", "-c", f"echo $TRAINDECK_STATE > {hook}"]
    run = small.shell(script, env={"FIFO": fifo(small)}, limits={"retries": 2}, on_exit=on_exit)
    small.phase(run, "running")
    fill(small)
    release(small)
    until(lambda: (e := small.evidence(run))["exit"] and e)
    small.call("cancel", run_id=run, attempt=0)
    seen = until(lambda: not (e := small.evidence(run))["alive"] and e)
    assert (seen["attempt"], seen["exit"]["exit_code"], seen["supervised"]) == (0, 9, False)
    assert until(lambda: hook.exists() and hook.read_text()) == "failed\n"


@pytest.mark.fault
def test_samples_stay_whole_on_a_disk_that_fills(small: Agent) -> None:
    run = small.shell("while :; do echo x; sleep 0.05; done")
    index = small.directory(run) / "logs/0.idx"
    until(lambda: index.exists() and index.stat().st_size >= 32)
    filler = fill(small)
    size = index.stat().st_size
    until(lambda: small.log(run)[-1:] == b"\n")
    filler.unlink()
    until(lambda: index.stat().st_size > size)
    small.call("cancel", run_id=run, attempt=0)
    small.ended(run)
    assert index.stat().st_size % 16 == 0
    for line in (small.directory(run) / "events.jsonl").read_text().splitlines():
        assert line.startswith("{") and line.endswith("}")


def fifo(agent: Agent) -> str:
    path = agent.root / "fifo"
    os.mkfifo(path)
    return str(path)


def release(agent: Agent) -> None:
    (agent.root / "fifo").write_text("x\n")
