"""The suite takes away what its runs leave in the user's lock folder, and touches no other lock."""

from __future__ import annotations

from pathlib import Path

from tests.leftovers import forget_locks, run_ids
from tests.payload.harness import installed, new_id

from traindeck.backends.payload.agent import layout


def test_only_the_locks_of_runs_below_a_folder_are_removed(tmp_path: Path) -> None:
    with installed(tmp_path / "home/.traindeck") as ours, installed(tmp_path / "else") as other:
        runs = [agent.start("true") for agent in (ours, other)]
        for agent, run in zip((ours, other), runs, strict=True):
            agent.ended(run)
        stray = Path(layout.locks()) / f"{new_id()}.0.lock"
        stray.touch()
        try:
            assert set(run_ids(tmp_path)) == set(runs)
            forget_locks(tmp_path / "home")
            assert not Path(layout.lock_path(runs[0], 0)).exists()
            assert Path(layout.lock_path(runs[1], 0)).exists() and stray.exists()
        finally:
            stray.unlink(missing_ok=True)
