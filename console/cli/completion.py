"""What the shell completes: runs, metrics, tags, backends, recipes and their parameters. Never
fails, never asks a host.

A shell puts a word in as it is: what it would act on is not offered."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import typer

from traindeck.backends.errors import TraindeckError

if TYPE_CHECKING:
    from traindeck.console.store.records import RunRecord

LIMIT = 50
_PLAIN = re.compile(r"[\w.@%+=:,/][\w.@%+=:,/-]*")


class _Fitting(str):
    """A word that fits though it does not begin with what was typed, letter by letter. Others the
    parser drops."""

    def startswith(self, *_: Any) -> bool:
        return True


def _word(name: str) -> str | None:
    """A run's name as a shell takes it, None if it would do more with it. Of the shells bash alone
    wants spaces escaped; between quotes that would be wrong."""
    if _PLAIN.fullmatch(name):
        return name
    bash = os.environ.get("_TRAINDECK_COMPLETE") == "complete_bash"
    quoted = set("'\"") & set(os.environ.get("COMP_WORDS", ""))
    if bash and not quoted and _PLAIN.fullmatch(name.replace(" ", "_")):
        return _Fitting(name.replace(" ", "\\ "))
    return None


def complete_run(incomplete: str) -> list[tuple[str, str]]:
    """Ids and names of the newest runs that begin with what was typed."""
    return _runs(incomplete, lambda run: True)


def complete_active(incomplete: str) -> list[tuple[str, str]]:
    """Runs that are not over, however old: to stop, to wait for."""
    return _runs(incomplete, lambda run: True, active=True)


def complete_retryable(incomplete: str) -> list[tuple[str, str]]:
    """Runs that `retry` takes."""
    from traindeck.console.runs.retrying import can_retry

    return _runs(incomplete, can_retry)


def complete_after(incomplete: str) -> list[tuple[str, str]]:
    """Runs that another one can wait for: not over, or over well."""
    return _more(incomplete, lambda run: _leads(run) and (run.active or run.state == "succeeded"))


def complete_after_any(incomplete: str) -> list[tuple[str, str]]:
    """Runs whose end another one can wait for, whatever it is."""
    return _more(incomplete, _leads)


def _more(incomplete: str, fits: Callable[[RunRecord], bool]) -> list[tuple[str, str]]:
    """Runs for the last of several with commas between."""
    before, comma, last = incomplete.rpartition(",")
    return [(before + comma + word, meaning) for word, meaning in _runs(last, fits)]


def _leads(run: RunRecord) -> bool:
    return not run.foreign and not run.archived


def _runs(
    incomplete: str, fits: Callable[[RunRecord], bool], *, active: bool = False
) -> list[tuple[str, str]]:
    from traindeck.console.runs.workspace import open_workspace

    try:
        index = open_workspace().index
        found = index.active()[::-1] if active else index.rows(index.ids()[:500], metrics="none")
        rows = [run for run in found if fits(run)]
        short = index.short_ids([run.id for run in rows])
    except TraindeckError:
        return []
    offered = []
    for run in rows:
        name = _word(run.name)
        # One whose name cannot be offered is offered by its id.
        if name is not None and run.name.startswith(incomplete):
            offered.append((name, f"{run.state} {short[run.id]}"))
        elif run.id.startswith(incomplete) if incomplete else name is None:
            word = short[run.id] if len(short[run.id]) >= len(incomplete) else run.id
            offered.append((word, f"{run.state} {run.name}"))
    return offered[:LIMIT]


def complete_removable(incomplete: str) -> list[tuple[str, str]]:
    """Runs that `rm` takes, by what it takes: an exact name if there is no other run of it, else a
    full id."""
    from traindeck.console.runs.workspace import open_workspace

    try:
        index = open_workspace().index
        rows = index.rows(index.ids()[:500], metrics="none")
    except TraindeckError:
        return []
    names = [run.name.casefold() for run in rows]
    found = []
    for run in rows:
        if not run.removable:
            continue
        name = _word(run.name) if names.count(run.name.casefold()) == 1 else None
        if name is not None and run.name.startswith(incomplete):
            found.append((name, f"{run.state} {run.id}"))
        elif run.id.startswith(incomplete) and (incomplete or name is None):
            found.append((run.id, f"{run.state} {run.name}"))
    return found[:LIMIT]


def complete_filter(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of the filter language, and values for one."""
    from traindeck.console.runs.filters import completions

    words = [*(ctx.params.get("filter") or ctx.args), incomplete]
    # bash cuts at a colon: before, the colon and what stands behind it are words of their own, and
    # the last is to be completed.
    cut = ""
    if words[-1] == ":" and len(words) > 1:
        cut, incomplete = f"{words[-2]}:", ""
    elif words[-2:-1] == [":"] and len(words) > 2:
        cut = f"{words[-3]}:"
    return [_Fitting(word.removeprefix(cut)) for word in completions(cut + incomplete)]


def complete_metric(ctx: typer.Context, incomplete: str) -> list[str]:
    """Metrics of the run that stands before."""
    run = _run_before(ctx)
    return _offered(run.metrics, incomplete) if run is not None else []


def complete_tag(ctx: typer.Context, incomplete: str) -> list[str]:
    """Tags of the run that stands before."""
    run = _run_before(ctx)
    return _offered(run.tags, incomplete) if run is not None else []


def complete_setting(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Parameters of the recipe that stands before, or of the run's after --like; values for one."""
    from traindeck.console.recipes.describing import completions
    from traindeck.console.runs.finetuning import read_recipe
    from traindeck.console.runs.workspace import open_workspace

    name, like = _before(ctx, "recipe"), ctx.params.get("like")
    try:
        ws = open_workspace()
        if name is None and like:
            name = ws.record(like).recipe
        found = completions(read_recipe(ws, name), incomplete) if name else []
    except TraindeckError:
        return []
    return [(text, meaning) for text, meaning in found if _PLAIN.fullmatch(text)][:LIMIT]


def complete_option(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Options of the place that --on names, with `=`; for one, what it can be there, as far as that
    was heard."""
    from traindeck.console.runs.offering import offered
    from traindeck.console.runs.options import choices_of
    from traindeck.console.runs.workspace import open_workspace

    name, equals, _ = incomplete.partition("=")
    try:
        ws = open_workspace()
        place = str(ctx.params.get("on") or "local")
        options = ws.backend(place).options_schema
        if not equals:
            words = {f"{key}=": option.help for key, option in options.items()}
        elif name in options:
            values = choices_of(options[name]) or offered(ws.places, place).get(name, ())
            words = {f"{name}={value}": "" for value in values}
        else:
            words = {}
    except TraindeckError:
        return []
    return [(word, words[word]) for word in _offered(words, incomplete)][:LIMIT]


def complete_backend(incomplete: str) -> list[str]:
    """Configured backends."""
    from traindeck.console.runs.workspace import open_workspace

    try:
        names = open_workspace().settings.backends
    except TraindeckError:
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def complete_kind(incomplete: str) -> list[str]:
    """Kinds of backend that come with Traindeck."""
    from traindeck.backends.registry import IN_TREE

    return sorted(kind for kind in IN_TREE if kind.startswith(incomplete))


def complete_host(ctx: typer.Context, incomplete: str) -> list[str]:
    """Machines that the user's files name for the kind that stands before; of a cluster those that
    ssh knows."""
    from traindeck.backends.registry import discover

    kind = _before(ctx, "kind") or "ssh"
    given = ctx.params.get("ssh_config")
    options = {"ssh_config": given} if isinstance(given, str) else {}
    try:
        names = discover("ssh" if kind == "slurm" else kind, options)
    except TraindeckError:
        return []
    return _offered(names, incomplete)


def complete_place(incomplete: str) -> list[str]:
    """Configured backends, and `auto`."""
    return complete_backend(incomplete) + ["auto"] * "auto".startswith(incomplete)


def complete_recipe(incomplete: str) -> list[str]:
    """Recipes by name."""
    from traindeck.console.runs.finetuning import recipe_names
    from traindeck.console.runs.workspace import open_workspace

    try:
        names = recipe_names(open_workspace())
    except TraindeckError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def _before(ctx: typer.Context, name: str) -> str | None:
    """The command's first word. Behind an option that still wants its value the parser gives up
    before it has called that by its name."""
    word = ctx.params.get(name) or next(iter(ctx.args), None)
    return word if isinstance(word, str) else None


def _run_before(ctx: typer.Context) -> RunRecord | None:
    from traindeck.console.runs.workspace import open_workspace

    text = _before(ctx, "run")
    if text is None:
        return None
    try:
        return open_workspace().record(text)
    except TraindeckError:
        return None


def _offered(words: Iterable[str], incomplete: str) -> list[str]:
    return sorted(
        word
        for word in words
        if word.startswith(incomplete) and not word.startswith("__") and _PLAIN.fullmatch(word)
    )
