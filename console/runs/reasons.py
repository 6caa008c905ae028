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


def told(index: Index, text: str) -> str:
    """A text with names where there were ids of runs that are known here."""
    return _with_names(text, _names(index, [text]))


def named(index: Index, runs: Iterable[RunRecord]) -> list[RunRecord]:
    """The runs, with names in their reasons where there were ids of runs that are known here."""
    runs = list(runs)
    names = _names(index, [run.reason for run in runs])
    if not names:
        return runs

    def said(run: RunRecord) -> RunRecord:
        text = _with_names(run.reason, names)
        return run if text == run.reason else replace(run, reason=text)

    return [said(run) for run in runs]


def with_name(index: Index, run_id: str) -> str:
    """A run's id with its name before it, if the run is known here."""
    run = index.get(run_id)
    return run_id if run is None else f"{run.name} ({run.id})"


def _names(index: Index, texts: Iterable[str]) -> dict[str, str]:
    """Run id -> its name, of those that the texts tell of and that are known here."""
    ids = {found for text in texts for found in _RUN_ID.findall(text[:LONGEST])}
    return {run_id: run.name for run_id in ids if (run := index.get(run_id)) is not None}


def _with_names(text: str, names: dict[str, str]) -> str:
    head, tail = text[:LONGEST], text[LONGEST:]
    return _RUN_ID.sub(lambda found: names.get(found[1]) or found[0], head) + tail
