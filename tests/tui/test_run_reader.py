"""What the Run screen reads, over real runs of the real agent: logs through sessions, files,
attempts, and starting one again. No terminal."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import State, UsageError
from traindeck.console.logs.search import Pattern
from traindeck.console.runs import reading_on
from traindeck.console.runs.log_session import LogSession
from traindeck.console.runs.log_shown import LogShown, Spot
from traindeck.console.runs.workspace import open_workspace
from traindeck.console.tui.live import LiveServices

PROGRAM = """
import os, sys, time
for step in range(500):
    print(f"step {step} loss {3 - step / 500:.3f}", flush=True)
print("attempt", os.environ["TRAINDECK_RUN"].partition("/")[2], "SOME", os.environ.get("SOME"))
sys.stdout.flush()
if len(sys.argv) > 1:
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
raise ValueError("it broke")
"""


@pytest.fixture
async def services(home: Path) -> AsyncIterator[LiveServices]:
    made = LiveServices(open_workspace)
    yield made
    await made.aclose()


def traindeck(home: Path, *words: str) -> str:
    command = [sys.executable, "-m", "traindeck.console.cli.main", *words]
    done = subprocess.run(
        command, cwd=home, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip()


def start(home: Path, *options: str, args: tuple[str, ...] = ()) -> str:
    (home / "train.py").write_text(PROGRAM)
    run = (*options, "--", sys.executable, "train.py", *args)
    return traindeck(home, "run", "-q", "--name", "breaks", *run)


async def shows(
    session: LogSession, until: Callable[[LogShown], object], *, rows: int = 20
) -> LogShown:
    """Look until something is so."""
    end = time.monotonic() + 20
    while True:
        shown = await session.look(rows, 100)
        if until(shown):
            return shown
        assert time.monotonic() < end, shown
        await asyncio.sleep(0.05)


def words(shown: LogShown) -> str:
    return "\n".join(row.line.text for row in shown.window.rows)


async def test_a_log_is_opened_searched_filtered_and_explained(
    services: LiveServices, home: Path
) -> None:
    run = start(home)
    traindeck(home, "wait", run)
    session = await services.open_log(run)
    shown = await shows(session, lambda s: s.surveyed == 1 and s.finding is not None)
    assert "it broke" in words(shown) and shown.over and shown.window.at_end and shown.timed
    assert shown.lines == 501 + 4 and shown.finding is not None
    assert "ValueError" in shown.finding.clauses[0]

    await session.find(Pattern("loss 2.1"))
    assert await session.next_hit(backward=True)
    shown = await shows(session, lambda s: s.counting is None and s.hit is not None)
    assert (shown.hits, shown.hit) == (50, 50) and "step 449 loss 2.102" in words(shown)
    await session.keep(Pattern(r"step \d*7 ", regex=True))
    shown = await shows(session, lambda s: s.counting is None and not s.window.pending)
    assert shown.matched == 50 and all("7 loss" in row for row in words(shown).splitlines())
    await session.keep(None)

    assert await session.to_error()
    assert "Traceback" in words(await session.look(20, 100))
    assert await session.to_line(11) and not await session.to_line(9999)
    assert await session.to_time(time.time())
    await session.aclose()
    await session.aclose()


@pytest.mark.parametrize("begin", ["find", "keep"])
async def test_an_expression_that_is_none_leaves_everything_as_it_was(
    services: LiveServices, home: Path, begin: str
) -> None:
    run = start(home)
    traindeck(home, "wait", run)
    session = await services.open_log(run)
    await session.look(20, 100)
    await getattr(session, begin)(Pattern("step 12"))
    with pytest.raises(UsageError, match="regular expression"):
        await getattr(session, begin)(Pattern("(", regex=True))
    shown = await shows(session, lambda s: s.counting is None)
    assert (shown.pattern or shown.filter) == Pattern("step 12")
    await session.aclose()


async def test_a_running_log_is_followed_and_its_end_explained(
    services: LiveServices, home: Path
) -> None:
    run = start(home, args=("go",))
    session = await services.open_log(run)
    shown = await shows(session, lambda s: "attempt 0" in words(s))
    assert shown.following and not shown.over and shown.finding is None
    (home / "go").touch()
    traindeck(home, "wait", run)
    await services.refresh()
    shown = await shows(session, lambda s: s.over and s.finding is not None)
    assert "ValueError: it broke" in words(shown) and not shown.following
    await session.aclose()


async def test_why_there_is_no_log_is_said_as_the_command_line_says_it(
    services: LiveServices, home: Path
) -> None:
    run = start(home)
    traindeck(home, "wait", run)
    assert await services.why_no_log(run) == ""
    (home / ".traindeck" / "runs" / run / "attempts" / "0" / "logs" / "0.log").unlink()
    gone = "its log is gone: it was deleted"
    assert await services.why_no_log(run) == gone
    session = await services.open_log(run)
    shown = await shows(session, lambda s: s.over)
    assert not shown.window.rows and shown.why_none == gone
    await session.aclose()


async def test_one_goes_back_to_a_place_only_in_the_same_log(
    services: LiveServices, home: Path
) -> None:
    run = start(home)
    traindeck(home, "wait", run)
    session = await services.open_log(run)
    await session.look(20, 100)
    await session.scroll(-100)
    left = await session.look(20, 100)
    await session.aclose()
    again = await services.open_log(run, spot=left.spot)
    assert words(await again.look(20, 100)) == words(left)
    await again.aclose()
    stale = Spot(offset=left.spot.offset, identity="another")
    again = await services.open_log(run, spot=stale)
    assert "it broke" in words(await again.look(20, 100))
    await again.aclose()


async def test_every_attempt_keeps_its_log_and_its_end(services: LiveServices, home: Path) -> None:
    run = start(home, "--retries", "1")
    traindeck(home, "wait", run)
    await services.refresh()
    tried = await services.attempts(run)
    assert [(s.attempt, s.state, s.exit_code) for s in tried] == [
        (0, State.FAILED, 1), (1, State.FAILED, 1),
    ]  # fmt: skip
    assert all(s.started and s.ended for s in tried)
    for attempt in (0, 1):
        session = await services.open_log(run, attempt)
        shown = await shows(session, lambda s: s.finding is not None)
        assert f"attempt {attempt}" in words(shown)
        await session.aclose()


async def test_a_file_is_read_from_its_beginning_as_a_log_is(
    services: LiveServices, home: Path
) -> None:
    run = start(home)
    traindeck(home, "wait", run)
    paths = [entry.path for entry in await services.files(run)]
    assert "run.json" in paths and "attempts/0/logs/0.log" in paths
    session = await services.open_file(run, "attempts/0/logs/0.log")
    shown = await session.look(20, 100)
    assert words(shown).startswith("step 0 loss") and shown.over and shown.finding is None
    await session.aclose()


async def test_a_run_is_started_again_with_more_variables(
    services: LiveServices, home: Path
) -> None:
    run = start(home, "--tag", "a=b")
    traindeck(home, "wait", run)
    await services.refresh()
    outcome = await services.again(run, {"SOME": "thing"})
    assert outcome.done and outcome.run_id != run
    traindeck(home, "wait", outcome.run_id)
    session = await services.open_log(outcome.run_id)
    assert "SOME thing" in words(await session.look(20, 100))
    await session.aclose()
    record = await services.run(outcome.run_id)
    assert record is not None and dict(record.tags) == {"a": "b"}
    spec = await services.spec(outcome.run_id)
    assert spec is not None and spec.env["SOME"] == "thing" and spec.argv[-1] == "train.py"


async def test_sessions_leave_no_process_and_no_descriptor_behind(
    services: LiveServices, home: Path
) -> None:
    run = start(home)
    traindeck(home, "wait", run)

    async def use() -> None:
        session = await services.open_log(run)
        await session.find(Pattern("s.*p", regex=True))
        await session.look(20, 100)
        await session.find(Pattern("s.*p", regex=True))
        await session.keep(Pattern("loss"))
        await session.next_hit()
        await session.look(20, 100)
        await session.aclose()

    await use()
    descriptors, children = _open(), _children()
    for _ in range(10):
        await use()
    end = time.monotonic() + 10
    # One of the first use may have been closing still when they were counted.
    while _open() > descriptors or _children() != children:
        assert time.monotonic() < end, (descriptors, _open(), children, _children())
        await asyncio.sleep(0.05)


def _open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _children() -> Any:
    return Path("/proc/self/task").joinpath(str(os.getpid()), "children").read_text()


async def test_what_a_look_left_of_a_huge_log_is_measured_when_its_run_is_opened(
    services: LiveServices, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_on, "read_on", lambda ws: None)
    await services._do(lambda ws: setattr(ws, "patience", 0.0))
    steps = 60_000
    (home / "talks.py").write_text(
        f"for n in range({steps}):\n"
        f"    print(f'step {{n}}/{steps} loss {{3 - n / {steps}:.6f}} ' + 'x' * 150)\n"
    )
    run = traindeck(home, "run", "-q", "--", sys.executable, "talks.py")
    end = time.monotonic() + 60
    record = await services.run(run)
    while record is None or record.active:
        assert time.monotonic() < end
        await asyncio.sleep(0.1)
        await services.refresh()
        record = await services.run(run)
    assert record.metrics["loss"].count < steps, "the test's log is too small"
    assert 0 < await services.log_share(run) < 0.99
    told = json.loads(traindeck(home, "show", "--json", "--cached", run))
    assert 0 < told["log_read_bytes"] < told["log_bytes"]
    await services.measure(run)
    record = await services.run(run)
    assert record is not None and record.metrics["loss"].count == steps
    assert await services.log_share(run) == 1
