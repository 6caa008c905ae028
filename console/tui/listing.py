"""The list of the Runs screen as the index has it: the keys of its groups in their order, and what
the header counts."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import TYPE_CHECKING

from traindeck.console.tui.services import Counts, Group, Listing, View

if TYPE_CHECKING:
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.filtering import Filter

_GROUPS = ("needs", "running", "queued", "finished")
"""Keys of the groups, in the order of `records.GROUPS`."""

_COUNTED = {
    "needs": "is:needs-you",
    "running": "is:active -state:new,queued -is:needs-you",
    "queued": "state:new,queued -is:needs-you",
}
"""The groups that the header counts, as filters: it says what the headings say."""

TITLES = {"needs": "NEEDS YOU", "running": "RUNNING", "queued": "QUEUED", "finished": "FINISHED"}


def list_runs(ws: Workspace, view: View) -> Listing:
    """Which runs a view has.

    Raises:
        UsageError: Its filter is wrong; the message says where.
    """
    from traindeck.console.runs.filters import parse

    now = ws.clock()
    wanted = parse(view.filter, known=ws.index)
    asked = replace(view, window=None) if wanted.says_when else view
    if view.group == "state":
        parts = _by_state(ws, wanted, asked, now)
    elif view.group == "backend":
        parts = _by_backend(ws, wanted, asked, now)
    else:
        parts = {"": ws.index.ids(wanted, sort=view.order, now=now, window=asked.window)}
    keys = array("q")
    for part in parts.values():
        keys.extend(part)
    beyond = (0, 0)
    if view.filter and not keys and asked.window is not None:
        from traindeck.console.runs.beyond import fit_beyond

        beyond = fit_beyond(ws.index, wanted, now)
    return Listing(
        keys=keys,
        groups=tuple(
            Group(key=key, title=TITLES.get(key, key), count=len(part))
            for key, part in parts.items()
            if key and len(part)
        ),
        counts=_counts(ws, view, parts, now),
        window=asked.window,
        order=wanted.sort,
        beyond=beyond,
    )


def _counts(ws: Workspace, view: View, parts: dict[str, array[int]], now: float) -> Counts:
    from traindeck.console.runs.filters import parse

    by_state = view.group == "state" and not view.filter
    counted = {
        key: len(parts[key] if by_state else _ids(ws, parse(""), extra, view, now))
        for key, extra in _COUNTED.items()
    }
    return Counts(
        running=counted["running"],
        queued=counted["queued"],
        needs_you=counted["needs"],
        total=sum(ws.index.counts().values()),
        archived=ws.index.archived(),
    )


def _by_state(ws: Workspace, wanted: Filter, view: View, now: float) -> dict[str, array[int]]:
    """The keys of each group of `records.GROUPS`, in the view's order.

    Sorting a hundred thousand by group costs four times as much as sorting them at all. Nearly all
    are over, so the few that are not are asked for by themselves and taken out of the rest.
    """
    if view.window is not None:
        order = ("group", *view.order)
        keys = ws.index.ids(wanted, sort=order, now=now, window=view.window)
        groups = ws.index.groups(keys, now=now)
        parts = {name: array("q") for name in TITLES}
        for key, number in zip(keys, groups, strict=True):
            parts[_GROUPS[number]].append(key)
        return parts
    taken: set[int] = set()

    def those(extra: str) -> array[int]:
        found = _ids(ws, wanted, extra, view, now)
        left = array("q", [n for n in found if n not in taken]) if taken else found
        taken.update(left)
        return left

    needs, waiting, running = map(those, ("is:needs-you", "state:new,queued", "is:active"))
    return {"needs": needs, "running": running, "queued": waiting, "finished": those("")}


def _by_backend(ws: Workspace, wanted: Filter, view: View, now: float) -> dict[str, array[int]]:
    """The keys of each backend of the settings, then those of none of them."""
    taken: set[int] = set()
    parts = {}
    for name in ws.settings.backends:
        parts[name] = _ids(ws, wanted, f'backend:"{name}"', view, now)
        taken.update(parts[name])
    rest = [n for n in _ids(ws, wanted, "", view, now) if n not in taken]
    return {**parts, "no longer configured": array("q", rest)}


def _ids(ws: Workspace, wanted: Filter, extra: str, view: View, now: float) -> array[int]:
    from traindeck.console.runs.filters import parse

    more = parse(extra)
    both = replace(wanted, conditions=(*wanted.conditions, *more.conditions))
    return ws.index.ids(both, sort=view.order, now=now, window=view.window)
