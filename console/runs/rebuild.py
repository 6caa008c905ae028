"""Filling the index anew: what a lost or deleted index, and `reindex`, come to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.console.store.archive import restore
from traindeck.console.store.errors import StoreError
from traindeck.console.store.records import failed_rank, is_explained_by_log
from traindeck.console.store.reindex import fill
from traindeck.console.store.rundirs import list_runs, read_spec

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.settings import Settings
    from traindeck.console.store.index import Index
    from traindeck.console.store.places import Places
    from traindeck.console.store.records import RunRecord


def fill_index(
    index: Index, places: Places, settings: Settings, tell: Callable[[str], None]
) -> None:
    """Fill an empty index from what lies on this machine. Backends elsewhere are asked later."""
    roots = settings.local_roots()

    def measured(index: Index, run: RunRecord, folder: Path) -> None:
        from traindeck.console.runs.measuring import (  # only if there is a run
            measure_folder,
            telling_faults,
        )

        with telling_faults(run, tell):
            measure_folder(index, run, folder)
        try:
            restore(places, index, run)
        except StoreError as error:
            tell(error.what)

    fill(index, places, roots, adjust=_explained, measure=measured, tell=tell)


def rebuild_index(ws: Workspace) -> int:
    """Replace the index by one that is filled anew. Returns how many runs it lists. Of a run whose
    directory does not say any more what it was, what the old index knew is kept."""
    kept = list(_only_in(ws.index, ws.settings))
    ws.index.rebuild()
    ws.index.put_many(kept)
    return sum(ws.index.counts().values())


def _only_in(index: Index, settings: Settings) -> Iterator[RunRecord]:
    for root in settings.local_roots().values():
        for run_id in list_runs(root):
            try:
                read_spec(root / "runs" / run_id)
            except ValueError:
                if (run := index.get(run_id)) is not None:
                    yield run


def _explained(run: RunRecord, folder: Path) -> RunRecord:
    """A failed run with the reason that its log gives, as when its end was first seen."""
    from dataclasses import replace

    from traindeck.backends.files import open_regular
    from traindeck.console.logs.findings import WINDOW
    from traindeck.console.runs.reading import reason_in

    if not is_explained_by_log(run.state, run.exit_code):
        return run
    path = folder / "attempts" / str(run.attempt) / "logs" / f"{failed_rank(run.reason)[0]}.log"
    try:
        with open_regular(path) as log:
            log.seek(max(0, log.seek(0, 2) - WINDOW))
            reason = reason_in(log.read(WINDOW), run.exit_code, run.signal, run.reason)
    except OSError:
        return run
    return replace(run, reason=reason) if reason else run
