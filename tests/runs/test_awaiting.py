"""Which runs a new one waits for, as a person names them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from traindeck.backends.base import UsageError
from traindeck.console.runs.awaiting import awaited, refuse_elsewhere
from traindeck.console.runs.drafting import Draft, check
from traindeck.console.runs.workspace import Workspace
from traindeck.console.store.places import Places
from traindeck.console.store.records import RunRecord


@pytest.fixture
def ws(tmp_path: Path, home: Path) -> Workspace:
    places = Places(config=tmp_path, state=tmp_path, index=tmp_path / "index.db")
    made = Workspace(places=places, environ={"PATH": os.environ["PATH"]})
    names = ("lr-1", "lr-2", "a, b", "far")
    made.index.put_many(
        RunRecord(id=f"0kzzv8c4m2q{n}", name=name, backend="hpc" if name == "far" else "local")
        for n, name in enumerate(names)
    )
    return made


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["lr-1"], ["lr-1"]),
        (["lr-1,lr-2"], ["lr-1", "lr-2"]),
        ([" lr-2  lr-1, 0kzzv8c4m2q3 ,"], ["lr-2", "lr-1", "far"]),
        (["lr-1", "lr-2,lr-1", "0kzzv8c4m2q0"], ["lr-1", "lr-2"]),
        (["a, b"], ["a, b"]),
        ([], []),
    ],
)
def test_runs_are_named_one_by_one_or_together(
    ws: Workspace, texts: list[str], names: list[str]
) -> None:
    assert [run.name for run in awaited(ws, texts)] == names


@pytest.mark.parametrize("text", ["nobody", "lr-1,nobody", ",", ""])
def test_what_means_no_run_is_refused(ws: Workspace, text: str) -> None:
    with pytest.raises(UsageError, match="nobody" if "nobody" in text else None):
        awaited(ws, [text])


def test_runs_of_another_place_are_not_waited_for(ws: Workspace) -> None:
    runs = awaited(ws, ["lr-1,far"])
    with pytest.raises(UsageError, match=r"far: it runs on hpc.* local"):
        refuse_elsewhere(runs, "local")
    refuse_elsewhere(runs[:1], "local")


async def test_a_form_takes_several_and_says_which_is_wrong(ws: Workspace) -> None:
    def draft(after: str) -> Draft:
        return Draft(fields={"command": "true", "name": "x" * 200, "after": after})

    # The name is wrong, so that no place is asked.
    assert "after" not in (await check(ws, draft("lr-1 lr-2"))).problems
    assert "nobody" in (await check(ws, draft("lr-1, nobody"))).problems["after"]
    assert "far is on hpc" in (await check(ws, draft("far lr-1"))).problems["after"]
