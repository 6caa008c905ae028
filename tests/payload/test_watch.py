"""Runs of which the agent tells as they change: at once, only what is new, at no risk to them."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.payload.harness import Agent, Served, new_id, runs, until

NEVER = 600.0
"""Seconds between two looks: whatever is told before that, the bell has told."""
SOON = 0.1


@pytest.fixture
def served(agent: Agent) -> Iterator[Served]:
    (agent.root / "runs").mkdir(mode=0o700)
    link = Served(agent)
    yield link
    link.close()


def bells(agent: Agent) -> list[Path]:
    folder = agent.root / "bells"
    return sorted(folder.iterdir()) if folder.exists() else []


def told(served: Served, run: str, what: str) -> Any:
    """Wait until something is told of a run that is not nothing."""
    while True:
        answer, body = served.receive()
        assert body == b"" and "error" not in answer, answer
        if run in answer["runs"] and answer["runs"][run][what] is not None:
            return answer["runs"][run][what]


def is_silent(served: Served) -> bool:
    """Whether nothing is said before the answer to a question."""
    served.send({"id": 99, "verb": "ping"})
    return bool(served.receive()[0]["id"] == 99)


def hung(agent: Agent, name: str) -> Path:
    folder = agent.root / "bells"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / name


def test_the_first_word_is_what_a_poll_would_say(agent: Agent, served: Served) -> None:
    over, gone = agent.start("true"), new_id()
    agent.ended(over)
    polled = served.call("poll", {"runs": [over, gone, "no id"]})[0]
    number = served.ask("watch", {"runs": [over, gone, "no id", over], "every": NEVER})
    first, _ = served.receive()
    assert first.pop("id") == number and first.pop("at") > 0
    for answer in (polled, first):
        answer.pop("now")
        for facts in answer["runs"].values():
            facts.pop("age"), facts.pop("heartbeat_age")
    assert first == polled


def test_what_happens_to_a_run_is_told_when_it_happens(agent: Agent, served: Served) -> None:
    run = agent.shell("trap 'sleep 0.3; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    agent.said(run, b"up")
    served.ask("watch", {"runs": [run], "every": NEVER})
    assert served.receive()[0]["runs"][run]["exit"] is None
    agent.call("cancel", run_id=run, attempt=0, grace=30.0)
    assert told(served, run, "cancel_requested") > 0
    record = told(served, run, "exit")
    assert (record["cause"], record["exit_code"]) == ("cancel", 3)


def test_an_attempt_that_is_tried_again_is_told_of(agent: Agent, served: Served) -> None:
    run = agent.shell("sleep 0.5; exit 4", limits={"retries": 1})
    agent.running(run)
    served.ask("watch", {"runs": [run], "every": NEVER})
    seen = set()
    while (1, True) not in seen:
        for facts in served.receive()[0]["runs"].values():
            seen.add((facts["attempt"], facts["exit"] is not None))
    assert (0, False) in seen and (1, False) in seen


def test_nothing_is_said_while_nothing_changes_and_only_what_is_new(
    agent: Agent, served: Served
) -> None:
    first, second = agent.start("sleep", "600"), agent.start("sleep", "600")
    agent.running(first), agent.running(second)
    served.ask("watch", {"runs": [first, second], "every": NEVER})
    assert set(served.receive()[0]["runs"]) == {first, second}
    (bell,) = bells(agent)
    for _ in range(3):  # rung for nothing
        bell.write_bytes(b"!")
        assert is_silent(served)
    agent.call("cancel", run_id=second, attempt=0, grace=0.0)
    while True:
        news = served.receive()[0]["runs"]
        assert set(news) == {second}
        if news[second]["exit"] is not None:
            break


def test_a_word_comes_now_and_then_though_nothing_is_new(agent: Agent, served: Served) -> None:
    run = agent.start("sleep", "600")
    agent.running(run)
    served.ask("watch", {"runs": [run], "every": SOON})
    words = [served.receive()[0] for _ in range(20)]
    assert sum(not word["runs"] for word in words) >= 10


def test_one_that_nobody_rings_for_is_looked_at(agent: Agent, served: Served) -> None:
    run = agent.start("sleep", "600")
    leader = agent.running(run)
    served.ask("watch", {"runs": [run], "every": 1.0})
    served.receive()
    os.kill(agent.supervisor(run), 9)
    while served.receive()[0]["runs"].get(run, {}).get("supervised") is not False:
        pass
    os.kill(leader, 9)  # and from now on once a second, however seldom it was asked for
    while served.receive()[0]["runs"].get(run, {}).get("alive") is not False:
        pass


def test_a_supervisor_that_is_stopped_and_how_long_it_is_silent_are_told(
    agent: Agent, served: Served
) -> None:
    run = agent.start("sleep", "600")
    agent.running(run)
    served.ask("watch", {"runs": [run], "every": SOON})
    served.receive()
    os.kill(agent.supervisor(run), signal.SIGSTOP)
    while "is stopped" not in served.receive()[0]["runs"].get(run, {}).get("reason", ""):
        pass
    os.utime(agent.directory(run) / "heartbeat", (1, 1))
    bells(agent)[0].write_bytes(b"!")
    assert told(served, run, "heartbeat_age") > 60


def test_runs_of_a_supervisor_without_a_bell_are_looked_at_every_second(
    agent: Agent, served: Served
) -> None:
    run = new_id()
    served.ask("watch", {"runs": [run], "every": NEVER})
    assert not served.receive()[0]["runs"][run]["found"]
    made = agent.directory(run, None)
    (made / "attempts/0").mkdir(parents=True)
    (made / "run.json").write_text("{}")
    bells(agent)[0].write_bytes(b"!")
    assert served.receive()[0]["runs"][run]["attempt"] is None
    (made / "attempts/0/claim").write_text("{}")  # by somebody who rings nobody
    assert served.receive()[0]["runs"][run]["attempt"] == 0


def test_where_no_bell_can_be_hung_up_it_is_looked(agent: Agent, served: Served) -> None:
    (agent.root / "bells").write_text("something else")
    run = agent.shell("sleep 0.3; exit 3")
    served.ask("watch", {"runs": [run], "every": NEVER})
    assert told(served, run, "exit")["exit_code"] == 3


def test_the_bell_is_ours_alone_and_goes_with_the_watch(agent: Agent) -> None:
    (agent.root / "runs").mkdir(mode=0o700)
    served = Served(agent)
    first = served.ask("watch", {"runs": [new_id()], "every": NEVER})
    served.receive()
    (bell,) = bells(agent)
    assert stat.S_ISFIFO(bell.lstat().st_mode)
    assert (bell.stat().st_mode & 0o777, bell.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    served.send({"id": first, "close": True})
    assert is_silent(served) and bells(agent) == []
    served.ask("watch", {"runs": [new_id()], "every": NEVER})
    served.receive()
    assert len(bells(agent)) == 1
    served.close()
    assert bells(agent) == []


def test_a_bell_that_was_removed_is_hung_up_again(agent: Agent, served: Served) -> None:
    served.ask("watch", {"runs": [new_id()], "every": SOON})
    served.receive()
    (bell,) = bells(agent)
    bell.unlink()
    until(lambda: bells(agent))
    assert bells(agent) != [bell]


def test_stale_bells_are_removed_and_no_other(agent: Agent, served: Served) -> None:
    stale, young, heard = (hung(agent, name) for name in ("stale", "young", "heard"))
    for bell in (stale, young, heard):
        os.mkfifo(bell)
    other = hung(agent, "other")
    other.write_text("no bell")
    for path in (stale, heard, other):
        os.utime(path, (1, 1))
    fd = os.open(heard, os.O_RDWR | os.O_NONBLOCK)
    served.ask("watch", {"runs": [new_id()], "every": NEVER})
    served.receive()
    os.close(fd)
    assert not stale.exists()
    assert all(path.exists() for path in (young, heard, other))


def test_no_bell_holds_up_a_run_or_is_written_to_if_it_is_none(
    agent: Agent, tmp_path: Path
) -> None:
    full, deaf, plain, link, folder = (
        hung(agent, name) for name in ("full", "deaf", "plain", "link", "folder")
    )
    os.mkfifo(full)
    os.mkfifo(deaf)
    plain.write_text("mine")
    aside = tmp_path / "aside"
    aside.write_text("mine")
    link.symlink_to(aside)
    folder.mkdir()
    fd = os.open(full, os.O_RDWR | os.O_NONBLOCK)
    size = fcntl.fcntl(fd, 1032)  # F_GETPIPE_SZ
    assert os.write(fd, b"x" * size) == size
    run = agent.shell("exit 3")
    assert agent.ended(run)["exit_code"] == 3
    assert (plain.read_text(), aside.read_text()) == ("mine", "mine")
    assert len(os.read(fd, 2 * size)) == size
    os.close(fd)


def test_who_has_as_many_bells_as_there_may_be_hangs_up_none(agent: Agent, served: Served) -> None:
    for number in range(64):
        os.mkfifo(hung(agent, str(number)))
    served.ask("watch", {"runs": [new_id()], "every": NEVER})
    served.receive()
    assert len(bells(agent)) == 64


def test_five_hundred_runs_are_looked_at_in_turns(agent: Agent, served: Served) -> None:
    names = [new_id() for _ in range(500)]
    served.ask("watch", {"runs": names, "every": NEVER})
    assert len(served.receive()[0]["runs"]) == 500
    assert is_silent(served)


def test_a_watch_of_what_is_none_is_refused_and_one_that_lost_its_disk_ends(
    agent: Agent, served: Served
) -> None:
    served.ask("watch", {"runs": [5]})
    assert "must be ids" in served.receive()[0]["error"]
    run = agent.start("true")
    agent.ended(run)
    served.ask("watch", {"runs": [run], "every": SOON})
    served.receive()
    (agent.root / "runs").rename(agent.root / "away")
    while "error" not in (word := served.receive()[0]):
        pass
    assert "is its disk mounted" in word["error"]
    assert is_silent(served) and bells(agent) == []
    (agent.root / "away").rename(agent.root / "runs")


def test_a_watch_that_has_nothing_to_say_sleeps(agent: Agent, served: Served) -> None:
    run = agent.start("sleep", "600")
    agent.running(run)
    served.ask("watch", {"runs": [run], "every": NEVER})
    served.receive()
    assert runs(served.process.pid)
    syscall = Path(f"/proc/{served.process.pid}/wchan")
    until(lambda: "poll" in syscall.read_text())
    before = Path(f"/proc/{served.process.pid}/status").read_text()
    ready, _, _ = select.select([served.stdout], [], [], 1.2)
    after = Path(f"/proc/{served.process.pid}/status").read_text()
    assert not ready

    def switches(text: str) -> int:
        return sum(int(line.split()[1]) for line in text.splitlines() if "ctxt_switches" in line)

    assert switches(after) - switches(before) <= 3
