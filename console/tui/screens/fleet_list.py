"""The rows of the Fleet in order: what a place has is worked out when it says something new, and
put together when that has changed what is listed."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

from traindeck.backends.devices.readings import DeviceProcess
from traindeck.console.present.device_words import main_process
from traindeck.console.present.fleet_rows import (
    HOST,
    Found,
    Part,
    RowId,
    Shown,
    Tally,
    find,
    group_order,
    is_stale,
    part_of,
)
from traindeck.console.tui.widgets.virtual_table import Section

if TYPE_CHECKING:
    from traindeck.console.runs.fleet import PlaceDevices
    from traindeck.console.store.records import RunRecord
    from traindeck.console.tui.services import FleetNews


class FleetList:
    """The list.

    Attributes:
        places: What is known, by name, in the order of the list.
        runs: The runs that are on devices, by id; `names` are theirs.
        shown: Which rows there are.
        keys, sections: The rows as a `VirtualTable` wants them.
        tally: How many devices are busy, over all places, whatever is shown.
    """

    def __init__(self, shown: Shown) -> None:
        self.places: dict[str, PlaceDevices] = {}
        self.runs: Mapping[str, RunRecord] = {}
        self.names: dict[str, str] = {}
        self.shown = shown
        self.keys: array[int] = array("q")
        self.sections: tuple[Section, ...] = ()
        self.tally = Tally()
        self._parts: dict[str, Part] = {}
        self._old: dict[str, bool] = {}
        self._due: set[str] = set()
        self._numbers: dict[RowId, int] = {}
        self._rows: list[RowId] = []
        self._sizes: dict[str, tuple[int, int]] = {}

    def hear(self, news: FleetNews) -> None:
        """Take in what is new; `look` shows it."""
        for place in news.places:
            self.places[place.name] = place
            self._due.add(place.name)
        for name in news.gone:
            self.places.pop(name, None)
            self._due.add(name)
        if news.runs is not None:
            names = {key: run.name for key, run in news.runs.items()}
            if names != self.names and self.shown.text:
                self._due.update(self.places)
            self.runs, self.names = news.runs, names

    def show(self, shown: Shown) -> None:
        """Show other rows."""
        if shown != self.shown:
            self.shown = shown
            self._due.update(self.places)

    def look(self, now: float, every: float) -> bool:
        """Bring the rows up to date; whether other ones are listed than before."""
        for name, place in self.places.items():
            if self._old.get(name) != (old := is_stale(place, now, every)):
                self._old[name] = old
                self._due.add(name)
        if not self._due:
            return False
        changed = False
        for name in self._due:
            before = self._parts.pop(name, None)
            place_now = self.places.get(name)
            if place_now is not None:
                part = part_of(place_now, now, every, self.shown, self.names)
                self._parts[name] = part
                changed = changed or before is None or before.rows != part.rows
            else:
                self._old.pop(name, None)
                changed = True
        self._due.clear()
        tallies = [part.tally for part in self._parts.values()]
        self.tally = Tally(
            total=sum(one.total for one in tallies),
            busy=sum(one.busy for one in tallies),
            free=sum(one.free for one in tallies),
            warned=sum(one.warned for one in tallies),
            unknown=sum(one.unknown for one in tallies),
        )
        if changed:
            self._put_together()
        return changed

    def _put_together(self) -> None:
        groups: dict[str, list[RowId]] = {}
        for name in self.places:
            for group, rows in self._parts[name].rows.items():
                groups.setdefault(group, []).extend(rows)
        order = list(groups) if self.shown.group == HOST else sorted(groups, key=group_order)
        self.keys = array("q", (self.number(row) for group in order for row in groups[group]))
        self.sections = tuple(Section(group, group, len(groups[group])) for group in order)
        self._sizes = {
            group: (sum(row.kind == "device" for row in rows), len({row.place for row in rows}))
            for group, rows in groups.items()
        }

    def number(self, row: RowId) -> int:
        """The key of a row, the same for as long as the screen is there."""
        found = self._numbers.get(row)
        if found is None:
            found = self._numbers[row] = len(self._rows)
            self._rows.append(row)
        return found

    def row(self, key: int | None) -> RowId | None:
        """What a key is of."""
        return self._rows[key] if key is not None else None

    def size(self, group: str) -> tuple[int, int]:
        """How many devices and hosts a group has."""
        return self._sizes.get(group, (0, 0))

    def found(self, key: int | None) -> Found | None:
        """The device of a key; None if it is of none, or gone."""
        row = self.row(key)
        place = self.places.get(row.place) if row is not None else None
        if row is None or place is None or row.kind not in ("device", "slice"):
            return None
        return find(place, row.what)

    def process(self, key: int | None) -> DeviceProcess | None:
        """The process that stands for the device of a key; of a device in slices, for all."""
        found = self.found(key)
        if found is None:
            return None
        on = [main_process(one) for one in (found.device, *found.device.mig)]
        return max(
            (one for one in on if one is not None),
            key=lambda one: (one.kind != "graphics", one.memory_bytes or 0),
            default=None,
        )

    def run(self, key: int | None) -> RunRecord | None:
        """The run that is on the device of a key, if it is one of ours."""
        process = self.process(key)
        return self.runs.get(process.run or "") if process is not None else None
