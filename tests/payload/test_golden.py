"""The agent writes, and the console reads, what FORMAT.md says."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, Served, until

from traindeck.backends.base import RunSpec, State, decode, encode
from traindeck.backends.payload.agent import exit_slot
from traindeck.backends.status import decode_evidence, status_of

GOLDEN = Path(__file__).parent / "golden"
RUN = "gdn123456789"
ATTEMPTS = GOLDEN / "runs" / RUN / "attempts"


def load(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def golden(agent: Agent) -> Agent:
    """An agent in whose root the golden run lies."""
    shutil.copytree(GOLDEN / "runs", agent.root / "runs")
    return agent


@pytest.mark.parametrize("attempt", [0, 1])
def test_the_exit_records_are_these_bytes(attempt: int) -> None:
    payload = load(GOLDEN / "exits.json")[str(attempt)]
    data = (ATTEMPTS / str(attempt) / "exit.slot").read_bytes()
    assert exit_slot.unpack(data, RUN, attempt) == payload
    assert exit_slot.pack(attempt, payload) == data


def test_the_evidence_is_this(golden: Agent) -> None:
    expected = load(GOLDEN / "evidence.json")
    seen = golden.evidence(RUN)
    assert seen.pop("heartbeat_age") is not None and seen.pop("age") is not None
    assert seen == {k: v for k, v in expected.items() if k not in ("heartbeat_age", "age")}
    status = status_of(decode_evidence(expected), 0, 5.0)
    assert (status.state, status.signal, status.attempt) == (State.CANCELLED, 15, 1)


def test_its_log_and_files_are_read(golden: Agent) -> None:
    stat = golden.call("log_stat", run_id=RUN, attempt=1, rank=0)
    assert (stat["size"], stat["ended"]) == (38, True)
    _, body = golden.call_body("read", run_id=RUN, path="attempts/1/logs/0.idx")
    sizes = [size for _, size in struct.iter_unpack("<dQ", body)]
    assert sizes == [16, 32, 38]
    assert golden.call("find", runs=None)["runs"] == [{"id": RUN, "attempt": 1}]


def test_the_frames_are_these_bytes(golden: Agent) -> None:
    done = subprocess.run(
        [*golden.argv, "serve", "m"],
        input=(GOLDEN / "frames-to-agent.bin").read_bytes(),
        stdout=subprocess.PIPE,
        check=True,
    )
    answered = done.stdout.removeprefix(b"\nm\n")
    expected = (GOLDEN / "frames-to-console.bin").read_bytes()
    assert sorted(split(answered)) == sorted(split(expected))


def split(data: bytes) -> list[bytes]:
    """The frames of a stream."""
    frames = []
    while data:
        head, body = struct.unpack_from(">II", data)
        frames.append(data[: 8 + head + body])
        data = data[8 + head + body :]
    return frames


def test_the_frames_as_data_are_those_bytes() -> None:
    frames = load(GOLDEN / "frames.json")
    for side in ("agent", "console"):
        told = [f for f in frames if f["to"] == side]
        found = split((GOLDEN / f"frames-to-{side}.bin").read_bytes())
        assert len(found) == len(told)
        for frame, words in zip(found, told, strict=True):
            head, _ = struct.unpack_from(">II", frame)
            assert json.loads(frame[8 : 8 + head]) == words["json"]
            assert frame[8 + head :] == bytes.fromhex(words["body"])


def test_the_spec_in_run_json_is_the_one_of_the_backends() -> None:
    record = load(GOLDEN / "runs" / RUN / "run.json")
    # Fields that came after this record was written.
    later = {"adopted": False, "host": "", "driver": None, "python_version": None, "packages": None}
    later |= {"environment": "", "environment_found": "", "needs": [], "reads": [], "array": None}
    code = {"code": record["spec"]["code"] | {"tree": None}}
    assert encode(decode(RunSpec, record["spec"])) == record["spec"] | later | code


def fields(value: Any, depth: int = 2) -> Any:
    """The names in a JSON object, with the type of each value."""
    if isinstance(value, dict) and depth:
        return {name: fields(inner, depth - 1) for name, inner in value.items()}
    return type(value).__name__


def test_a_real_run_leaves_the_same_fields(agent: Agent) -> None:
    script = "case $TRAINDECK_RUN in */0) echo a; exit 1;; esac; echo up; sleep 300"
    run = agent.shell(script, limits={"retries": 1, "grace": 5.0})
    until(lambda: agent.log(run, 1))
    # Long enough for a line of system.jsonl.
    system = agent.directory(run, 1) / "system.jsonl"
    until(lambda: system.exists() and system.read_text())
    agent.call("cancel", run_id=run, attempt=0, grace=30.0, by="traindeck")
    agent.ended(run)
    for attempt in (0, 1):
        real, golden = agent.directory(run, attempt), ATTEMPTS / str(attempt)
        for name in ("claim", "agent.json", "control/cancel.json"):
            if not (golden / name).exists():
                continue
            there, here = fields(load(golden / name)), fields(load(real / name))
            for uncertain in ("oom", "oom_kills"):
                there.pop(uncertain, None)
                here.pop(uncertain, None)
            assert here == there, name
        slot = exit_slot.read(str(real), run, attempt)
        assert fields(slot) == fields(load(GOLDEN / "exits.json")[str(attempt)])
        known = {"claimed", "retry", "started", "stop_requested", "term_sent", "leader_ended"}
        assert {e["event"] for e in agent.events(run, attempt)} <= known | {"ended"}
        for name in ("events.jsonl", "system.jsonl"):
            if (golden / name).exists():
                expected = {e.get("event"): fields(e) for e in lines(golden / name)}
                found = {e.get("event"): fields(e) for e in lines(real / name)}
                assert found.keys() == expected.keys(), name
                for event, names in found.items():
                    assert names.keys() == expected[event].keys(), event
    assert fields(agent.evidence(run)).keys() == load(GOLDEN / "evidence.json").keys()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_nothing_of_the_golden_run_is_signalled(golden: Agent) -> None:
    # Its pids are somebody else's here, if anybody's.
    link = Served(golden)
    answer, _ = link.call("cancel", {"run_id": RUN, "attempt": 0})
    link.close()
    assert answer == {"state": "over"}
