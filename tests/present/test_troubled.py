"""What is wrong with a run that goes on is said in its row and on its card."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes.runs import NOW, small_world, troubled_world

from traindeck.backends.base import Reach, State
from traindeck.console.present.card import card_lines
from traindeck.console.present.cells import plain
from traindeck.console.present.runs_columns import layout
from traindeck.console.present.runs_table import Look, row
from traindeck.console.store.records import RunRecord

LOOK = Look(now=NOW)


def shown(run: RunRecord, cells: int = 120) -> str:
    return plain(row(run, layout(cells), LOOK))


def test_a_running_row_warns_of_what_is_wrong_and_still_says_how_far_it_is() -> None:
    runs = [replace(run, tags={}) for run in troubled_world()]
    both, killed, stopped, deleted, unread, bare, silent = runs
    assert "▲ its supervisor was killed; it runs on" in shown(killed, 170)
    assert shown(killed, 170).rstrip().endswith("exit code will not be known · 39 %")
    assert shown(killed, 120).rstrip().endswith("▲ its supervisor was killed · 39 %")
    assert shown(killed, 80).rstrip().endswith("▲ its supervisor was killed")
    assert "▲ its supervisor is stopped (signal STOP)" in shown(stopped)
    assert "▲ its run directory was deleted" in shown(deleted)
    assert "▲ input/output error" in shown(unread) and "▲" in shown(bare)
    assert "▲ loss is not a number" in shown(both, 80)
    assert "7 such values · ▲ its supervisor was killed " in shown(both, 200)
    line = row(killed, layout(140), LOOK)
    assert [s.text for s in line if s.style == "warn"] == ["▲ its supervisor was killed"]
    assert "heartbeat" not in shown(silent) and "93 %" in shown(silent), (
        "its figures are old, no more"
    )


def test_the_card_says_what_is_wrong_beside_the_figures() -> None:
    for run in troubled_world()[1:]:
        lines = card_lines(run, now=NOW, width=None, short_id="abc")
        card = "\n".join(map(plain, lines))
        assert run.reason in card
        assert ("▲" in card) == (run.reach is Reach.OK)
        assert run.progress.step is None or "progress" in card


def test_a_run_whose_scheduler_is_silent_keeps_its_word_and_one_behind_a_link_has_an_age() -> None:
    queued = replace(small_world()[0], state=State.QUEUED, reach=Reach.STALE, reason="")
    assert "◌ queued" in shown(replace(queued, observed_at=NOW - 1))
    assert "◌ 4s" in shown(replace(queued, observed_at=NOW - 4))
