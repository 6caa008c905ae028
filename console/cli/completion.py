"""What the shell completes: runs, backends, recipes. Never fails, never asks a host."""

from __future__ import annotations

import re

from traindeck.backends.errors import TraindeckError

LIMIT = 50
_PLAIN = re.compile(r"[\w.@%+=:,/][\w.@%+=:,/-]*")


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Ids and names of the newest runs that begin with what was typed."""
    from traindeck.console.runs.workspace import open_workspace

    try:
        index = open_workspace().index
        rows = index.rows(index.ids()[:500], metrics="none")
        short = index.short_ids([run.id for run in rows])
    except TraindeckError:
        return []
    found = []
    for run in rows:
        # A shell puts the word in as it is: what it would act on is offered by its id.
        if run.name.startswith(incomplete) and _PLAIN.fullmatch(run.name):
            found.append((run.name, f"{run.state} {short[run.id]}"))
        elif run.id.startswith(incomplete) if incomplete else not _PLAIN.fullmatch(run.name):
            word = short[run.id] if len(short[run.id]) >= len(incomplete) else run.id
            found.append((word, f"{run.state} {run.name}"))
    return found[:LIMIT]


def complete_backend(incomplete: str) -> list[str]:
    """Configured backends."""
    from traindeck.console.runs.workspace import open_workspace

    try:
        names = open_workspace().settings.backends
    except TraindeckError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def complete_recipe(incomplete: str) -> list[str]:
    """Recipes by name."""
    from traindeck.console.runs.finetuning import recipe_names
    from traindeck.console.runs.workspace import open_workspace

    try:
        names = recipe_names(open_workspace())
    except TraindeckError:
        return []
    return [name for name in names if name.startswith(incomplete)]
