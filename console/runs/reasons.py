"""What a run's reason calls other runs: by their names where a person reads it, by their ids where
it is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traindeck.console.store.index import Index
    from traindeck.console.store.records import RunRecord

LONGEST = 4000
"""Characters of a reason that are looked through."""

_RUN_ID = re.compile(r"\brun ([0-9a-z]{12})\b")


def named(index: Index, runs: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs, with names in their reasons where there were ids of runs that are known here."""
    runs = list(runs)
    ids = {found for run in runs if run.reason for found in _RUN_ID.findall(run.reason[:LONGEST])}
    names = {run_id: run.name for run_id in ids if (run := index.get(run_id)) is not None}
    if not names:
        return runs

    def said(run: RunRecord) -> RunRecord:
        if not run.reason:
            return run
        text = run.reason[:LONGEST]
        told = _RUN_ID.sub(lambda found: names.get(found[1]) or found[0], text)
        return run if told == text else replace(run, reason=told)

    return [said(run) for run in runs]
