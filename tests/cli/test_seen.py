"""`seen`: what `x` says on the screen."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from traindeck.backends.base import State
from traindeck.console.runs import controlling
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store import annotations
from traindeck.console.store.ids import mint_id
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord

from .conftest import Cli


def test_what_is_seen_needs_nobody_until_it_fails_again(cli: Cli) -> None:
    failed = [cli.run("false", options=("--name", name)) for name in ("one", "two")]
    fine = cli.run("true", options=("--name", "fine"))
    cli("wait", *failed, fine)
    assert set(cli.ok("ls", "-q", "is:needs-you").split()) == set(failed)
    assert cli.ok("seen", "-q", "one", failed[0], fine).split() == [failed[0]]
    assert cli.ok("ls", "-q", "is:needs-you").split() == [failed[1]]
    (answer,) = cli.json("seen", "--json", failed[1])
    assert (answer["id"], answer["state"]) == (failed[1], "failed")
    done = cli("seen", failed[1], "fine")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "traindeck: two needs nobody.\ntraindeck: fine needs nobody.\n"
    cli.ok("reindex")
    assert cli.ok("ls", "-q", "is:needs-you") == "", "it is noted, not only indexed"
    cli("retry", "-q", "two")
    cli("wait", "two")
    assert cli.ok("ls", "-q", "is:needs-you").split() == [failed[1]]
    assert cli("seen", "one", "nobody").returncode == 2


def test_a_run_that_hangs_needs_somebody_until_it_is_seen(cli: Cli) -> None:
    run = cli.run("sleep", "60", options=("--on-stall", "1s:true"))
    deadline = time.monotonic() + 30
    while cli.ok("ls", "-q", "is:needs-you").split() != [run]:
        assert time.monotonic() < deadline, cli.json("show", "--json", run)
        time.sleep(0.2)
    assert cli.ok("seen", "-q", run).split() == [run]
    assert cli.ok("ls", "-q", "is:needs-you") == ""
    assert cli.json("show", "--json", run)["reason"] == "stalled: no output for 1 s"


async def test_however_many_are_seen_they_are_noted_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    async with Workspace(places=places, environ={}) as ws:
        bad = [
            RunRecord(id=mint_id(), name=f"r{n}", state=State.FAILED, created=1.0, ended=2.0)
            for n in range(20)
        ]
        ws.index.put_many(bad)
        waits: list[int] = []
        monkeypatch.setattr(annotations.os, "fsync", waits.append)
        assert controlling.see(ws, bad) == bad
        assert len(waits) <= 2, "for the disk: of a bad night there are thousands"
        assert controlling.see(ws, [ws.record(run.id) for run in bad]) == []
