"""Looks that bring nothing new are entered together, and what is known then is what it would be if
each had been entered by itself."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from traindeck.backends.base import ACTIVE, Rank, Reach, State, Status
from traindeck.console.store import seen_again
from traindeck.console.store.index import Index
from traindeck.console.store.records import RunRecord, status_of_run

Make = Callable[..., RunRecord]
NOW = 1_800_000_000.0
SIGNS = '"observed_at": "2027-01-15T08:00:00.000Z", "backend": "reach": '
"""What the JSON of a run has as well, as a part of a person's own text."""


def a_run(make_run: Make, chance: random.Random) -> RunRecord:
    return make_run(
        name=chance.choice(("calm-fox", SIGNS)),
        state=chance.choice(tuple(State)),
        reach=chance.choice(tuple(Reach)),
        rank=chance.choice((Rank.NONE, Rank.NONE, Rank.NATIVE)),
        observed_at=chance.choice((0.0, NOW - 5, NOW + 5)),
        ended=None,
        exit_code=None,
        reason=chance.choice(("", "", "waits")),
        evidence=chance.choice(((), ("scheduler: pending (job 1)",))),
        tags={"observed_at": "2027-01-15T08:00:00.000Z", "reach": "ok"},
        argv=("python", SIGNS),
        troubled_at=chance.choice((None, None, NOW - 100)),
    )


def a_look(run: RunRecord, chance: random.Random) -> Status:
    known = status_of_run(run)
    changes = {
        "state": (State.RUNNING, State.QUEUED, State.LOST),
        "reach": (Reach.OK, Reach.DOWN),
        "reason": ("", "waits", "waits longer"),
        "rank": (Rank.NONE, Rank.RECORD),
        "attempt": (0, 1),
        "evidence": ((), ("another",)),
        "started": (None, NOW - 50),
        "host": (None, "n1"),
        "pid": (None, 7),
        "log_bytes": (None, 10),
        "exit_code": (None, 1),
        "ended": (None, NOW - 1),
    }
    values = {name: getattr(known, name) for name in changes}
    values["reach"] = Reach.OK
    for name in chance.sample(sorted(changes), chance.choice((0, 0, 0, 1, 1, 2))):
        values[name] = chance.choice(changes[name])  # type: ignore[attr-defined]
    return Status(observed_at=chance.choice((NOW, NOW, NOW - 10, known.observed_at)), **values)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_known_is_what_it_would_be_if_each_look_were_entered_by_itself(
    tmp_path: Path, make_run: Make, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    runs = [a_run(make_run, chance) for _ in range(150)]
    looks = {run.id: a_look(run, chance) for run in runs} | {"nobody": Status(observed_at=NOW)}
    known, taken = [], []

    def entered(path: Path) -> Index:
        index = Index.open(path)
        index.put_many(runs)
        changed = index.update_statuses(looks, now=NOW, settle=0.0)
        known.append((sorted(changed), b"".join(index.json_array(None))))
        return index

    together = entered(tmp_path / "together.db")
    real = seen_again.enter
    monkeypatch.setattr(
        seen_again, "enter", lambda db, some, *rest: taken.append(real) or (some, [])
    )
    each = entered(tmp_path / "each.db")
    assert taken
    assert [together.get(run.id) for run in runs] == [each.get(run.id) for run in runs]
    assert [known[0][0], json.loads(known[0][1])] == [known[1][0], json.loads(known[1][1])]
    together.close()
    each.close()


def test_most_looks_at_what_waits_bring_nothing_new(
    tmp_path: Path, make_run: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else none of them would be entered together."""
    index = Index.open(tmp_path / "index.db")
    runs = [make_run(state=State.QUEUED, ended=None, exit_code=None) for _ in range(1200)]
    index.put_many(runs)
    looks = {
        run.id: Status(state=State.QUEUED, observed_at=NOW, started=run.started) for run in runs
    }
    left: list[object] = []
    real = seen_again.enter

    def enter(*given: object) -> object:
        found = real(*given)  # type: ignore[arg-type]
        left.append(found)
        return found

    monkeypatch.setattr(seen_again, "enter", enter)
    assert index.update_statuses(looks, now=NOW) == []
    assert left == [({}, [])]
    assert {run["observed_at"] for run in json.loads(b"".join(index.json_array(None)))} == {
        "2027-01-15T08:00:00.000Z"
    }
    index.close()


def test_what_is_said_of_a_place_that_is_silent_stands_in_lists_too(
    tmp_path: Path, make_run: Make
) -> None:
    index = Index.open(tmp_path / "index.db")
    chance = random.Random(1)
    runs = [a_run(make_run, chance) for _ in range(100)]
    index.put_many(runs)
    index.set_reach("local", Reach.DOWN)
    listed = {run["id"]: run for run in json.loads(b"".join(index.json_array(None)))}
    for run in runs:
        now = index.get(run.id)
        assert now is not None
        assert now.reach is (Reach.DOWN if run.state in ACTIVE else run.reach)
        assert listed[run.id]["reach"] == str(now.reach)
        assert listed[run.id]["argv"] == ["python", SIGNS] and listed[run.id]["tags"] == run.tags
    index.close()
