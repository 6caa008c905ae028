"""Runs elsewhere: what they write comes here by itself, and stays when the link goes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conformance import jobs
from tests.fakes.far import FarBackend

from traindeck.backends.base import Reach, State, Unreachable
from traindeck.console.logs.search import Pattern
from traindeck.console.runs import controlling, launching, reading, refreshing
from traindeck.console.runs.log_opening import log_of
from traindeck.console.runs.log_session import LogSession
from traindeck.console.runs.log_shown import LogShown
from traindeck.console.runs.measuring import complete
from traindeck.console.runs.mirrored import Mirrored
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.runs.workspace import Workspace, ref_of
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord


class Elsewhere:
    """A workspace with a place elsewhere."""

    def __init__(self, folder: Path) -> None:
        places = Places(config=folder, state=folder / "state", index=folder / "index.db")
        places.state.mkdir()
        self.folder = folder
        self.told: list[str] = []
        self.ws = Workspace(places=places, environ={}, tell=self.told.append)
        self.place = FarBackend(folder / "there")
        self.ws.use_backend(self.place)

    async def launch(self, *argv: str) -> RunRecord:
        request = LaunchRequest(argv=argv, cwd=str(self.folder), on="gpu1")
        return await launching.launch(self.ws, await launching.plan(self.ws, request))

    async def shell(self, script: str) -> RunRecord:
        return await self.launch("sh", "-c", script)

    async def look(self, run: RunRecord) -> RunRecord:
        await refreshing.refresh(self.ws, max_age=0.0)
        return self.ws.record(run.id)

    async def until(self, run: RunRecord, *states: State) -> RunRecord:
        while run.state not in states:
            run = await self.look(run)
            await asyncio.sleep(0.02)
        return run

    def there(self, run: RunRecord, name: str) -> Path:
        return self.folder / "there/runs" / run.id / "attempts/0" / name

    def here(self, run: RunRecord, name: str) -> bytes | None:
        return self.ws.mirror.kept(run.id, f"attempts/0/{name}")


@pytest.fixture
async def elsewhere(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Elsewhere]:
    monkeypatch.setattr(refreshing, "YOUNG", -1.0)
    made = Elsewhere(tmp_path)
    yield made
    await made.place.end()
    await made.ws.aclose()


WRITES = """
for i in 1 2 3; do
    echo line $i
    echo "{\\"step\\": $i, \\"loss\\": 0.$i}" >> $TRAINDECK_METRICS
done
"""


async def test_what_a_run_writes_comes_here_by_itself(elsewhere: Elsewhere) -> None:
    run = await elsewhere.shell(WRITES)
    run = await elsewhere.until(run, State.SUCCEEDED)
    for name in ("logs/0.log", "metrics.jsonl", "logs/0.idx"):
        assert elsewhere.here(run, name) == elsewhere.there(run, name).read_bytes()
    assert list(elsewhere.ws.index.points(run.id, "loss").values) == [0.1, 0.2, 0.3]


async def test_a_hidden_file_of_a_run_is_read_from_there_and_held_nowhere(
    elsewhere: Elsewhere,
) -> None:
    """As the list of packages is, that was sent along with the code."""
    run = await elsewhere.until(await elsewhere.shell("true"), State.SUCCEEDED)
    folder = elsewhere.folder / "there/runs" / run.id / "code/.traindeck"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "packages.txt").write_text("numpy 2.0\n")
    reader = elsewhere.ws.reader("gpu1")
    assert isinstance(reader, Mirrored)
    ref = ref_of(run)
    assert await reader.read_file(ref, "code/.traindeck/packages.txt", 0, 100) == b"numpy 2.0\n"
    elsewhere.place.host.cut()
    with pytest.raises(Unreachable):
        await reader.read_file(ref, "code/.traindeck/packages.txt", 0, 100)
    with pytest.raises(Unreachable):
        await reader.list_files(ref, "code/.traindeck")


async def test_all_runs_of_a_place_come_in_one_round_trip(elsewhere: Elsewhere) -> None:
    script = f"{WRITES}exec sleep 600"
    runs = [await elsewhere.shell(script) for _ in range(6)]
    for _ in range(3):  # run.json of a few runs at a time comes with the first looks
        for run in runs:
            await elsewhere.until(run, State.RUNNING)
            while elsewhere.there(run, "metrics.jsonl").read_bytes().count(b"\n") < 3:
                await asyncio.sleep(0.02)
        await elsewhere.look(runs[0])
    for run in runs:
        with elsewhere.there(run, "logs/0.log").open("ab") as file:
            file.write(b"step 5 loss=0.5\n")
    host = elsewhere.place.host
    host.asked.clear()
    await elsewhere.look(runs[0])
    assert host.asked == ["poll", "tails"]
    for run in runs:
        assert elsewhere.here(run, "logs/0.log") == elsewhere.there(run, "logs/0.log").read_bytes()


async def test_what_was_copied_is_not_sent_again(elsewhere: Elsewhere) -> None:
    run = await elsewhere.launch(*jobs.argv(sys.executable, "noise:5:3000000", "hold"))
    while len(elsewhere.here(run, "logs/0.log") or b"") < 3_000_000:
        run = await elsewhere.look(run)
    host = elsewhere.place.host
    assert 3_000_000 <= host.sent < 3_200_000
    before = host.sent
    for _ in range(5):
        await elsewhere.look(run)
    assert host.sent - before < 100_000
    assert elsewhere.here(run, "logs/0.log") == jobs.noise(5, 3_000_000)


async def test_a_run_out_of_reach_is_shown_with_what_is_known_of_it(elsewhere: Elsewhere) -> None:
    run = await elsewhere.shell(f"{WRITES}exec sleep 600")
    run = await elsewhere.until(run, State.RUNNING)
    while (elsewhere.here(run, "logs/0.log") or b"").count(b"\n") < 3:
        run = await elsewhere.look(run)
    spec = await reading.spec_of(elsewhere.ws, run)
    started = run.started
    elsewhere.place.host.cut()
    run = await elsewhere.look(run)
    # What was heard a moment ago is old; unknown it is only if the place stays silent.
    assert (run.state, run.reach, run.unknown) == (State.RUNNING, Reach.STALE, False)
    ws = elsewhere.ws
    ws.clock = lambda: time.time() + refreshing.STALE_FOR
    run = await elsewhere.look(run)
    assert (run.state, run.reach, run.unknown) == (State.RUNNING, Reach.DOWN, True)
    assert run.started == started and run.progress.step == 3
    assert await reading.spec_of(ws, run) == spec is not None
    assert (await reading.log_tail(ws, run, 1000)).endswith(b"line 3\n")
    paths = [entry.path for entry in await reading.list_files(ws, run)]
    assert "attempts/0/logs/0.log" in paths and "run.json" in paths
    await complete(ws, run)  # reads what is held
    assert await reading.hook_failures(ws, run, spec) == []
    with pytest.raises(Unreachable, match="gpu1 does not answer"):
        await controlling.stop(ws, run)
    elsewhere.place.host.mend()
    ws.clock = time.time
    while run.reach is not Reach.OK:  # the first question may still find the old link
        run = await elsewhere.look(run)
    assert run.state is State.RUNNING


async def test_a_log_that_was_cut_or_replaced_is_copied_anew(elsewhere: Elsewhere) -> None:
    run = await elsewhere.shell("echo old old old; exec sleep 600")
    run = await elsewhere.until(run, State.RUNNING)
    while elsewhere.here(run, "logs/0.log") != b"old old old\n":
        run = await elsewhere.look(run)
    log = elsewhere.there(run, "logs/0.log")
    log.write_bytes(b"cut\n")
    await elsewhere.look(run)
    assert elsewhere.here(run, "logs/0.log") == b"cut\n"
    log.unlink()
    log.write_bytes(b"another one\n")
    await elsewhere.look(run)
    assert elsewhere.here(run, "logs/0.log") == b"another one\n"


async def test_a_huge_log_is_not_copied_whole(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await elsewhere.shell("exec sleep 600")
    run = await elsewhere.until(run, State.RUNNING)
    size = 10 << 30
    with elsewhere.there(run, "logs/0.log").open("r+b") as file:
        file.seek(size - 4)
        file.write(b"end\n")
    for _ in range(8):
        run = await elsewhere.look(run)
    copy = elsewhere.ws.mirror.copy(run.id, "attempts/0/logs/0.log")
    held = copy.held()
    assert held.size == size and held.size - held.begin == 4 << 20
    assert (await reading.log_tail(elsewhere.ws, run, 1000)).endswith(b"end\n")
    assert elsewhere.place.host.sent < 16 << 20


async def test_what_was_removed_leaves_nothing_here(elsewhere: Elsewhere) -> None:
    run = await elsewhere.shell(WRITES)
    run = await elsewhere.until(run, State.SUCCEEDED)
    assert elsewhere.ws.mirror.has(run.id)
    await controlling.remove(elsewhere.ws, run)
    assert not elsewhere.ws.mirror.has(run.id)


def _on_this_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]:
    return asyncio.ensure_future(work())


async def shown_when(
    session: LogSession, wanted: Callable[[LogShown], bool], height: int = 10
) -> LogShown:
    while not wanted(shown := await session.look(height, 80)):
        await asyncio.sleep(0.02)
    return shown


def text_of(shown: LogShown) -> list[str]:
    return [row.line.text for row in shown.window.rows]


async def test_an_open_log_costs_no_round_trip_a_look_and_stays_when_the_link_goes(
    elsewhere: Elsewhere,
) -> None:
    run = await elsewhere.shell("seq 1 3000; exec sleep 600")
    run = await elsewhere.until(run, State.RUNNING)
    while elsewhere.there(run, "logs/0.log").stat().st_size < len(b"".join(NUMBERS)):
        await asyncio.sleep(0.02)
    session = LogSession(_on_this_loop, await log_of(elsewhere.ws, run, 0))
    await shown_when(session, lambda shown: shown.lines == 3000 and not shown.busy)
    host = elsewhere.place.host
    host.asked.clear()
    for _ in range(5):
        await session.scroll(-100)
        await session.look(10, 80)
    await session.to_end()
    # Times of lines are read from the place; the log itself is not.
    assert not {"read_at", "log_stat", "follow"} & set(host.asked)
    with elsewhere.there(run, "logs/0.log").open("ab") as file:
        file.write(b"new\n")
    await shown_when(session, lambda shown: text_of(shown)[-1:] == ["new"])
    host.cut()
    shown = await shown_when(session, lambda shown: shown.link.state is not Reach.OK)
    assert text_of(shown)[-1] == "new" and not shown.problem
    assert "gpu1 does not answer" in shown.link.why and shown.link.since <= time.time()
    await session.to_start()
    assert text_of(await session.look(10, 80))[0] == "1"
    await session.find(Pattern("2500"))
    await session.next_hit()
    await shown_when(session, lambda shown: "2500" in text_of(shown) and shown.hits == 1)
    with elsewhere.there(run, "logs/0.log").open("ab") as file:
        file.write(b"while it was gone\n")
    host.mend()
    await session.to_end()
    await shown_when(session, lambda shown: text_of(shown)[-1:] == ["while it was gone"])
    await shown_when(session, lambda shown: shown.link.state is Reach.OK)
    await session.aclose()


NUMBERS = [b"%d\n" % number for number in range(1, 3001)]


async def test_a_log_that_was_looked_at_opens_while_its_place_is_out_of_reach(
    elsewhere: Elsewhere,
) -> None:
    run = await elsewhere.shell("seq 1 3000; exec sleep 600")
    run = await elsewhere.until(run, State.RUNNING)
    while elsewhere.here(run, "logs/0.log") != b"".join(NUMBERS):
        run = await elsewhere.look(run)
    elsewhere.place.host.cut()
    session = LogSession(_on_this_loop, await log_of(elsewhere.ws, run, 0))
    shown = await shown_when(session, lambda shown: shown.lines == 3000)
    assert text_of(shown)[-1] == "3000"
    await session.aclose()
    never = await log_of(elsewhere.ws, replace(run, id="0" * 12), 0)
    other = LogSession(_on_this_loop, never)
    shown = await other.look(10, 80)
    assert "gpu1 does not answer" in shown.problem
    await other.aclose()


async def test_a_huge_log_elsewhere_opens_at_its_end_and_jumps_anywhere(
    elsewhere: Elsewhere,
) -> None:
    run = await elsewhere.shell("exec sleep 600")
    run = await elsewhere.until(run, State.RUNNING)
    size = 10 << 30
    with elsewhere.there(run, "logs/0.log").open("r+b") as file:
        for share in range(0, 101, 10):
            file.seek((size - 20) * share // 100)
            file.write(b"\nat %d per cent\n" % share)
        file.truncate(size)
    session = LogSession(_on_this_loop, await log_of(elsewhere.ws, run, 0))
    shown = await session.look(10, 80)
    assert shown.window.size == size and shown.unread and shown.lines is None
    await session.to_percent(50.0)
    await session.look(10, 80)
    assert elsewhere.place.host.sent < 32 << 20
    with elsewhere.there(run, "logs/0.log").open("ab") as file:
        file.write(b"\nnew\n")
    await session.to_end()
    await shown_when(session, lambda shown: "new" in text_of(shown))
    elsewhere.place.host.cut()
    shown = await shown_when(session, lambda shown: shown.link.state is not Reach.OK)
    assert "new" in text_of(shown)
    await session.to_start()  # what is not held here cannot be shown: words, and no other bytes
    shown = await session.look(10, 80)
    assert shown.problem and shown.link.state is not Reach.OK
    await session.aclose()
