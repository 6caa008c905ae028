"""Which runs a new one is to wait for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from traindeck.backends.errors import UsageError

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.records import RunRecord


def awaited(ws: Workspace, texts: Iterable[str]) -> list[RunRecord]:
    """The runs that texts mean, each once. A text is what one run is called, or several of those
    with commas or spaces between.

    Raises:
        UsageError: One means no run, or several.
    """
    found = [run for text in texts for run in _called(ws, text)]
    return list({run.id: run for run in found}.values())


def _called(ws: Workspace, text: str) -> list[RunRecord]:
    try:
        # A name may hold commas and spaces.
        return [ws.record(text)]
    except UsageError:
        words = re.findall(r"[^\s,]+", text)
        if words in ([], [text]):
            raise
    return [ws.record(word) for word in words]


def refuse_elsewhere(runs: Iterable[RunRecord], on: str) -> None:
    """Refuse to wait for what another place runs.

    Raises:
        UsageError: One of them is not on `on`.
    """
    for run in runs:
        if run.backend != on:
            raise UsageError(
                f"--after {run.name}: it runs on {run.backend}, this run would on {on}.",
                "A run can wait only for those of the same backend.",
            )
