"""What runs had measured of which only the artifacts are kept, a file a run beside the annotations.

Their logs and files of metrics are gone, and the index may go at any time. Lines of JSON, packed:
first how far the run was, then its points as they were entered.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.backends.encoding import decode, encode
from traindeck.console.store.errors import StoreError, os_error
from traindeck.console.store.records import Progress, RunRecord
from traindeck.console.store.series import SOURCES, Batch, Points, SourceMark

if TYPE_CHECKING:
    from traindeck.console.store.index import Index
    from traindeck.console.store.places import Places

_SOURCE = "archived"
"""What the index calls the file."""


def save(places: Places, index: Index, run: RunRecord) -> None:
    """Write what the index has of a run's metrics, durably, before its files are removed.

    Raises:
        StoreError: It cannot be written.
    """
    import gzip

    from traindeck.backends.files import replace

    head = {"attempt": run.attempt, "main": run.main, "progress": encode(run.progress)}
    lines = [json.dumps(head)]
    for key in index.keys(run.id):
        lines += (
            json.dumps({name: getattr(batch, name) for name in Batch.__slots__})
            for batch in _batches(index.points(run.id, key))
        )
    path = _path(places, run.id)
    try:
        replace(path, gzip.compress("\n".join(lines).encode()))
    except OSError as error:
        raise os_error("write", path, error) from None


def restore(places: Places, index: Index, run: RunRecord) -> None:
    """Enter what was saved of a run, if it was, and if no attempt has followed since: then its
    files were not removed.

    Raises:
        StoreError: What is there cannot be read.
    """
    import gzip

    path = _path(places, run.id)
    try:
        head, *lines = map(json.loads, gzip.decompress(path.read_bytes()).splitlines())
        if head["attempt"] != run.attempt:
            return
        index.ingest(
            run.id,
            index.source(run.id, _SOURCE),
            SourceMark(path=_SOURCE, inode=1),
            [Batch(**line) for line in lines],
            progress=decode(Progress, head["progress"]),
            main=head["main"],
        )
    except FileNotFoundError:
        pass
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
        what = f"What {run.name} had measured cannot be read from {path}: {error}."
        raise StoreError(what) from None


def forget(places: Places, run_id: str) -> None:
    """A run was removed for good."""
    try:
        _path(places, run_id).unlink(missing_ok=True)
    except OSError:
        pass  # nobody asks for it any more


def _path(places: Places, run_id: str) -> Path:
    return places.archived / f"{run_id}.jsonl.gz"


def _batches(points: Points) -> Iterator[Batch]:
    """Points as they could be entered: those of one attempt and source at a time."""
    ends = [*(start for start, _ in points.seams[1:]), len(points.steps)]
    for (start, attempt), end in zip(points.seams, ends, strict=True):
        for name, trust in SOURCES.items():
            own = [at for at in range(start, end) if points.source_of[at] == trust]
            if own:
                yield Batch(
                    key=points.key,
                    steps=[points.steps[at] for at in own],
                    times=[points.times[at] for at in own],
                    values=[points.values[at] for at in own],
                    source=name,
                    attempt=attempt,
                )
