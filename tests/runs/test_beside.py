"""What trainers write beside their log, elsewhere: it comes here by itself, and says the same as it
would of a run on this machine."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.metrics.test_tfevents import scalar

from traindeck.backends.base import FoundFile, Reach, State, Unreachable
from traindeck.backends.states import Status
from traindeck.console.cli import logs
from traindeck.console.runs import beside, mirroring, reading, refreshing
from traindeck.console.runs.launching import launch, plan
from traindeck.console.runs.log_opening import file_of, log_of, ranks_to_open
from traindeck.console.runs.log_session import LogSession
from traindeck.console.runs.measuring import complete, measured_alone
from traindeck.console.runs.request import LaunchRequest
from traindeck.console.store.records import RunRecord

from .test_mirroring import Elsewhere, _on_this_loop, shown_when, text_of

TRAINER = """
import json, os, sys, time
out = os.environ["TRAINDECK_ARTIFACTS"] if sys.argv[1:] == ["artifacts"] else "."
os.makedirs(out + "/runs/1", exist_ok=True)

def state(folder, step):
    os.makedirs(folder, exist_ok=True)
    history = [{"step": at, "loss": 9.0 / at, "epoch": at / 10} for at in range(1, step + 1)]
    with open(folder + "/trainer_state.json", "w") as file:
        json.dump({"global_step": step, "max_steps": 30, "log_history": history}, file)

def table(columns, steps):
    with open(out + "/metrics.csv", "w") as file:  # as Lightning does: all of it anew
        print(*columns, sep=",", file=file)
        for step in steps:
            print(step, *[step / 7 for _ in columns[1:]], sep=",", file=file)

for phase in range(3):
    steps = range(phase * 10, phase * 10 + 10)
    with open(out + "/runs/1/events.out.tfevents.1", "ab") as file:
        file.write(open("events-%d.bin" % phase, "rb").read())
    with open(out + "/log.jsonl", "a") as file:
        for step in steps:
            print(json.dumps({"step": step, "val/acc": step / 3}), file=file)
    table(["step", "lr", "extra", "last"][: phase + 2], range(steps.stop))
    state(out + "/checkpoint-%d" % steps.stop, steps.stop)
    state(out, steps.stop)
    open("done-%d" % phase, "w").close()
    while not os.path.exists("go-%d" % phase):
        time.sleep(0.01)
"""


class Desk(Elsewhere):
    def work(self, name: str) -> Path:
        """A folder with the trainer."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "train.py").write_text(TRAINER)
        for phase in range(3):
            steps = range(phase * 10, phase * 10 + 10)
            data = b"".join(scalar("energy", step, step / 4, 1.7e9 + step) for step in steps)
            (folder / f"events-{phase}.bin").write_bytes(data)
        return folder

    async def train(self, on: str, folder: Path, *argv: str) -> RunRecord:
        request = LaunchRequest(
            argv=(sys.executable, "train.py", *argv), cwd=str(folder), on=on, code="here"
        )
        return await launch(self.ws, await plan(self.ws, request))

    async def phases(self, run: RunRecord, folder: Path) -> RunRecord:
        """Look at a run through all that it does."""
        for phase in range(3):
            while not (folder / f"done-{phase}").exists():
                await asyncio.sleep(0.02)
            run = await self.look(run)
            (folder / f"go-{phase}").touch()
        return await self.until(run, State.SUCCEEDED)

    def series(self, run: RunRecord) -> dict[str, object]:
        """All that is known of what a run has measured, but for the times."""
        index = self.ws.index
        fresh = index.rows([index.number_of(run.id) or 0], metrics="all")[0]
        found: dict[str, object] = {
            key: (list(points.steps), list(points.values), points.sources)
            for key in fresh.metrics
            if not key.startswith("system/")
            for points in [index.points(run.id, key)]
        }
        progress = fresh.progress.step, fresh.progress.total
        return {**found, "progress": progress, "main": fresh.main}

    def copies(self, run: RunRecord) -> list[Path]:
        folder = self.ws.mirror.folder / run.id / ".beside"
        return [path for path in folder.iterdir() if not path.name.startswith(".")]


@pytest.fixture
async def desk(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.setattr(refreshing, "YOUNG", -1.0)
    monkeypatch.setattr(mirroring, "LOOK_EVERY", 0.0)
    made = Desk(tmp_path)
    yield made
    await made.place.end()
    await made.ws.aclose()


@pytest.mark.parametrize("where", ["artifacts", "cwd"])
async def test_a_run_elsewhere_has_the_series_that_it_would_have_here(
    desk: Desk, where: str
) -> None:
    argv = ("artifacts",) if where == "artifacts" else ()
    near, far = desk.work("near"), desk.work("far")
    here = await desk.phases(await desk.train("local", near, *argv), near)
    there = await desk.phases(await desk.train("gpu1", far, *argv), far)
    await complete(desk.ws, there)
    known = desk.series(there)
    assert {"loss", "lr", "extra", "last", "energy", "eval/acc"} <= known.keys(), known.keys()
    assert known == desk.series(here)
    steps = known["loss"][0]  # type: ignore[index]
    assert steps == list(range(1, 31))
    async with measured_alone(desk.ws, there, 0) as (_, index):
        assert list(index.points(there.id, "loss").steps) == steps
    # Of the checkpoints' states only the last is kept, and no other file of the folder.
    assert len(desk.copies(there)) == 4
    assert beside.too_large(desk.ws, there) == []


async def test_what_came_with_the_code_is_not_the_runs_before_its_program_has_begun(
    desk: Desk,
) -> None:
    """A scheduler's word that it began is of whole seconds, and older than the code there."""
    run = await desk.train("gpu1", desk.work("far"))
    file = FoundFile(path="/w/trainer_state.json", size=9, modified=1000.7, changed=1000.7, inode=3)
    lies = beside.Beside(near=lambda: [file])
    begun = Status(state=State.RUNNING, started=1000.0)
    assert beside.sources_of(desk.ws, run, 0, begun, lies) == []
    begun = Status(state=State.RUNNING, started=1000.8, pid=7)
    assert beside.sources_of(desk.ws, run, 0, begun, lies) == []
    begun = Status(state=State.RUNNING, started=1000.6, pid=7)
    (source,) = beside.sources_of(desk.ws, run, 0, begun, lies)
    assert source.path == file.path


async def test_what_grows_is_sent_once_and_in_the_round_trip_that_is_made_anyway(
    desk: Desk,
) -> None:
    folder = desk.work("far")
    run = await desk.train("gpu1", folder)
    while not (folder / "done-0").exists():
        await asyncio.sleep(0.02)
    for _ in range(3):
        run = await desk.look(run)
    with (folder / "log.jsonl").open("a") as file:
        for step in range(10, 5000):
            print(json.dumps({"step": step, "val/acc": 0.5}), file=file)
    grown = (folder / "log.jsonl").stat().st_size
    host = desk.place.host
    host.asked.clear()
    host.sent = 0
    for _ in range(3):
        run = await desk.look(run)
    assert host.asked == ["poll", "tails"] * 3
    assert grown - 1000 < host.sent < grown + 50_000
    await complete(desk.ws, run)
    assert desk.ws.index.points(run.id, "eval/acc").steps[-1] == 4999


async def test_a_file_that_is_written_anew_in_its_place_is_copied_anew(desk: Desk) -> None:
    folder = desk.work("far")
    run = await desk.train("gpu1", folder)
    while not (folder / "done-0").exists():
        await asyncio.sleep(0.02)
    run = await desk.look(run)
    path = folder / "metrics.csv"
    rows = [f"{step},{step / 2},{step / 4}" for step in range(500)]
    path.write_text("\n".join(["step,other,lr", *rows, ""]))
    while desk.ws.mirror.beside(run.id, str(path)).held().size != path.stat().st_size:
        run = await desk.look(run)
    copy = desk.ws.mirror.beside(run.id, str(path))
    assert copy.path.read_bytes() == path.read_bytes()
    await complete(desk.ws, run)
    assert list(desk.ws.index.points(run.id, "other").values) == [s / 2 for s in range(500)]


async def test_what_is_too_large_or_a_checkpoint_stays_there(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LARGEST", 100_000)
    folder = desk.work("far")
    (folder / "train.py").write_text(
        "import os, time\n"
        "os.makedirs('checkpoint-1')\n"
        "open('checkpoint-1/model.safetensors', 'wb').write(bytes(1 << 20))\n"
        "open('huge.tfevents', 'wb').write(bytes(1 << 20))\n"
        "open('done-0', 'w')\n"
        "time.sleep(600)\n"
    )
    run = await desk.train("gpu1", folder)
    while not (folder / "done-0").exists():
        await asyncio.sleep(0.02)
    for _ in range(3):
        run = await desk.look(run)
    assert [file.path for file in beside.too_large(desk.ws, run)] == [f"{folder}/huge.tfevents"]
    assert desk.place.host.sent < 100_000


async def test_the_curves_stay_while_the_place_is_out_of_reach(desk: Desk) -> None:
    folder = desk.work("far")
    run = await desk.train("gpu1", folder)
    while not (folder / "done-0").exists():
        await asyncio.sleep(0.02)
    while "energy" not in desk.series(run):
        run = await desk.look(run)
    desk.place.host.cut()
    before = desk.series(run)
    await complete(desk.ws, run)
    assert desk.series(run) == before
    (folder / "go-0").touch()
    while not (folder / "done-1").exists():
        await asyncio.sleep(0.02)
    desk.place.host.mend()
    while len(desk.ws.index.points(run.id, "energy").steps) < 20:
        run = await desk.look(run)


RANKS = """
cd "$TRAINDECK_RUN_DIR/attempts/0/logs"
seq 1 40000 > 3.log
echo Traceback of rank 3 >> 3.log
echo rank 1 > 1.log
echo rank 0
exit 3
"""
BEGIN = 2 * mirroring.LAST_WORDS
"""Where what is held of the log of rank 3 begins: with a page that leaves 64 KiB."""


async def test_the_end_of_every_ranks_log_comes_when_a_run_has_failed(desk: Desk) -> None:
    run = await desk.shell(RANKS)
    run = await desk.until(run, State.FAILED)
    whole = desk.there(run, "logs/3.log").read_bytes()
    held = desk.ws.mirror.copy(run.id, "attempts/0/logs/3.log").held()
    assert (held.begin, held.size) == (BEGIN, len(whole))
    assert len(whole) - BEGIN >= mirroring.LAST_WORDS
    desk.place.host.cut()
    reader = desk.ws.reader("gpu1")
    ref = reading.ref_of(run)
    assert await reading.ranks_of(reader, ref) == [0, 1, 3]
    assert (await reading.log_tail(desk.ws, run, 1000, 3)).endswith(b"Traceback of rank 3\n")
    assert await reading.log_tail(desk.ws, run, 1000, 1) == b"rank 1\n"


async def test_a_ranks_log_is_printed_and_shown_as_far_as_it_is_here(
    desk: Desk, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    run = await desk.shell(RANKS)
    run = await desk.until(run, State.FAILED)
    ref, reader = reading.ref_of(run), desk.ws.reader("gpu1")
    whole = desk.there(run, "logs/3.log").read_bytes()
    desk.place.host.cut()
    capfdbinary.readouterr()
    with pytest.raises(Unreachable, match="what is held here of its log was printed"):
        await logs._print(desk.ws, ref, 3, 0, False, logs._Sink(None))
    out, told = capfdbinary.readouterr()
    assert out == whole[BEGIN:] and b"only the last 97,842 bytes are here" in told
    for lines, begin in ((2, len(whole) - 26), (9**9, BEGIN)):
        assert await logs._begin(desk.ws, reader, ref, 3, lines, None) == begin
    with pytest.raises(Unreachable, match=r"The log of rank 2 of .* is not here: a copy is kept"):
        await logs._refuse_unknown_rank(reader, ref, 2, run.name)
    assert await ranks_to_open(desk.ws, run, 0) == [0, 1, 3]
    session = LogSession(_on_this_loop, await log_of(desk.ws, run, 0, 2))
    shown = await session.look(10, 80)
    assert shown.problem.startswith(f"The log of rank 2 of run {run.id} is not here: a copy is")
    await session.aclose()
    session = LogSession(_on_this_loop, await file_of(desk.ws, run, "attempts/0/logs/3.log"))
    await shown_when(session, lambda shown: "Traceback of rank 3" in text_of(shown))
    await shown_when(session, lambda shown: shown.link.state is not Reach.OK)
    await session.aclose()


async def test_a_ranks_log_that_was_opened_stays_here(desk: Desk) -> None:
    run = await desk.shell(RANKS.replace("exit 3", "exec sleep 600"))
    run = await desk.until(run, State.RUNNING)
    path = "attempts/0/logs/3.log"
    while not desk.there(run, "logs/0.log").read_bytes():
        await asyncio.sleep(0.02)
    session = LogSession(_on_this_loop, await file_of(desk.ws, run, path))
    whole = desk.there(run, "logs/3.log").read_bytes()
    while desk.ws.mirror.kept(run.id, path) != whole:
        await session.look(10, 80)
        await asyncio.sleep(0.02)
    await session.aclose()
    desk.place.host.cut()
    session = LogSession(_on_this_loop, await file_of(desk.ws, run, path))
    await shown_when(session, lambda shown: shown.lines == 40001)
    await session.aclose()


async def test_the_ranks_of_a_run_that_ended_well_are_not_asked_for(desk: Desk) -> None:
    run = await desk.shell(RANKS.replace("exit 3", "exit 0"))
    run = await desk.until(run, State.SUCCEEDED)
    assert not desk.ws.mirror.copy(run.id, "attempts/0/logs/3.log").held().identity
    assert os.listdir(desk.ws.mirror.folder / run.id / "attempts/0/logs") != []
