"""What is measured beside a job: its log's growth and its tree's use of the machine."""

from __future__ import annotations

import itertools
import json
import os
import struct
import sys
import time
from pathlib import Path

import pytest
from tests.payload.harness import Agent, until

from traindeck.backends.payload.agent import sampler


def index(agent: Agent, run: str) -> list[tuple[float, int]]:
    data = (agent.directory(run) / "logs/0.idx").read_bytes()
    assert len(data) % 16 == 0
    return list(struct.iter_unpack("<dQ", data))


def system(agent: Agent, run: str) -> list[dict[str, float]]:
    text = (agent.directory(run) / "system.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_growth_of_a_log_is_dated(agent: Agent) -> None:
    run = agent.shell("for i in 1 2 3 4 5; do date +%s.%N; sleep 0.3; done")
    agent.ended(run)
    samples = index(agent, run)
    lines = agent.log(run).splitlines(keepends=True)
    written = 0
    for line in lines:
        written += len(line)
        when = next(moment for moment, size in samples if size >= written)
        # At the latest what the kernel's file times are coarse by, plus one interval.
        assert -0.05 <= when - float(line) < 0.5
    assert samples[-1][1] == len(agent.log(run))
    assert [size for _, size in samples] == sorted(size for _, size in samples)


def test_a_chatty_log_is_sampled_ten_times_a_second_at_most(agent: Agent) -> None:
    run = agent.script("""
import time
end = time.time() + 1.5
while time.time() < end:
    print("x" * 50, flush=True)
    time.sleep(0.001)
""")
    record = agent.ended(run)
    samples = index(agent, run)
    assert 2 <= len(samples) <= (record["ended"] - record["started"]) * 10 + 3


@pytest.mark.parametrize(("from_start", "sizes"), [(True, [6, 12]), (False, [12])])
def test_what_was_written_before_the_first_look_is_dated_unless_it_was_adopted(
    tmp_path: Path, from_start: bool, sizes: list[int]
) -> None:
    log = tmp_path / "0.log"
    log.write_text("early\n")
    fd = os.open(log, os.O_RDONLY)
    watch = sampler.LogWatch(fd, str(tmp_path / "0.idx"), 0.0, from_start)
    watch.look(0.0)
    with log.open("a") as file:
        file.write("later\n")
    watch.look(1.0)
    watch.look(2.0)
    watch.close()
    os.close(fd)
    records = struct.iter_unpack("<dQ", (tmp_path / "0.idx").read_bytes())
    assert [size for _, size in records] == sizes


def test_a_log_that_is_silent_gets_no_samples(agent: Agent) -> None:
    run = agent.start("sleep", "1.2")
    agent.ended(run)
    assert index(agent, run) == []


def test_a_log_that_is_cut_is_seen_to_shrink(agent: Agent) -> None:
    run = agent.shell("seq 1 1000; sleep 0.5; : > $LOG; echo after; sleep 0.5", env={"LOG": "x"})
    agent.call("cancel", run_id=run, attempt=0)
    agent.ended(run)
    run = agent.mint()
    log = agent.directory(run) / "logs/0.log"
    # Cut once it has been seen long, however late the machine is.
    seen = f"until [ -s {log.with_suffix('.idx')} ]; do sleep 0.05; done"
    agent.shell(f"seq 1 1000; {seen}; : > {log}; echo after; sleep 0.5", run=run)
    agent.ended(run)
    sizes = [size for _, size in index(agent, run)]
    assert sizes[0] > 3000 and sizes[-1] == 6


def test_the_whole_trees_use_is_measured_each_second(agent: Agent) -> None:
    run = agent.script("""
import os, time
if os.fork() == 0:
    block = bytearray(64 << 20)
    end = time.time() + 3.2
    while time.time() < end:
        block[0] += 1 if block[0] < 255 else -255
    os._exit(0)
os.wait()
""")
    agent.ended(run)
    lines = system(agent, run)
    assert 2 <= len(lines) <= 5
    assert set(lines[0]) == {
        "time", "cpu_pct", "rss_bytes", "procs", "read_bytes", "write_bytes",
    }  # fmt: skip
    busy = lines[-1]
    assert busy["procs"] == 2
    assert busy["rss_bytes"] > 64 << 20
    assert 5 <= busy["cpu_pct"] <= 150
    gaps = [b["time"] - a["time"] for a, b in itertools.pairwise(lines)]
    assert all(0.8 < gap < 3 for gap in gaps)


def test_cpu_time_of_short_lived_children_is_counted(agent: Agent) -> None:
    program = f"{sys.executable} -S -c 'sum(range(3000000))'"
    run = agent.shell(
        f"end=$(($(date +%s) + 4)); while [ $(date +%s) -lt $end ]; do {program}; done"
    )
    agent.ended(run)
    assert max(line["cpu_pct"] for line in system(agent, run)) > 10


def test_bytes_written_add_up_and_never_go_back(agent: Agent) -> None:
    target = agent.root / "written"
    run = agent.shell(
        "for i in 1 2 3 4; do "
        f"dd if=/dev/zero of={target}.$i bs=1M count=4 2>/dev/null; sleep 0.6; done; sleep 1"
    )
    agent.ended(run)
    written = [line["write_bytes"] for line in system(agent, run)]
    assert written == sorted(written)
    if written[-1] == 0:
        pytest.skip("this file system does not account for what is written to it")
    assert written[-1] >= 8 << 20


@pytest.mark.slow
def test_the_heartbeat_beats_while_it_waits_and_runs(agent: Agent) -> None:
    first = agent.start("sleep", "300")
    second = agent.start("sleep", "300", after=first)
    for run, phase in ((first, "running"), (second, "waiting")):
        agent.phase(run, phase)
        beat = agent.directory(run) / "heartbeat"
        os.utime(beat, (1, 1))
    # They beat every ten seconds; a signal makes them look after it at once.
    deadline = time.time() + 15
    for run in (first, second):
        until(
            lambda run=run: (agent.directory(run) / "heartbeat").stat().st_mtime > deadline - 15,
            "a heartbeat",
        )
        assert agent.evidence(run)["heartbeat_age"] < 12
