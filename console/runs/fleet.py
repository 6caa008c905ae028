"""The accelerators of all places: each place tells of its own, and what it said last is kept with
its age. A place that does not answer keeps what is known of it; it holds up no other one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

from traindeck.backends.data import dataclass
from traindeck.backends.devices.readings import Device, DeviceReport
from traindeck.backends.errors import TraindeckError
from traindeck.console.store.records import RunRecord, iso

from .device_history import History

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traindeck.backends.base import Backend
    from traindeck.console.runs.workspace import Workspace

TRY_AGAIN = 2.0
"""Seconds after which a place that failed is asked again. One that is out of reach answers at once
that it is, until its next try is due (`Linked`)."""


@dataclass(kw_only=True, slots=True)
class PlaceDevices:
    """The accelerators of one place.

    Attributes:
        report: What was said last, None if nothing was yet.
        problem: Why it does not say anything now, "" while it does.
        next_try: When it is tried again if it is out of reach, seconds since the epoch.
        person: Only a person can connect to it.
        asked: Since when it is being asked, seconds since the epoch.
        history: UUID -> what that device did of late.
    """

    name: str = ""
    report: DeviceReport | None = None
    problem: str = ""
    next_try: float | None = None
    person: bool = False
    asked: float = 0.0
    history: Mapping[str, History] = field(default_factory=dict)

    @property
    def devices(self) -> tuple[Device, ...]:
        """Those that are known."""
        return () if self.report is None else self.report.devices

    def age(self, now: float) -> float | None:
        """Seconds since it was said; None if nothing was."""
        return None if self.report is None else max(0.0, now - self.report.observed_at)


class Fleet:
    """Asks the places. Used from one event loop; `aclose` when nobody looks any more. It may begin
    once more after that: what was known stays.

    Args:
        names: Of the places; those of all that can tell, by default.
        every: Seconds between two reports of a place; None to ask each once.
    """

    def __init__(
        self, ws: Workspace, names: Sequence[str] | None = None, *, every: float | None = None
    ) -> None:
        self._ws = ws
        self._every = every
        self._names = names
        self.places = {name: PlaceDevices(name=name) for name in _asked(ws, names)}
        self.news = asyncio.Event()
        """Set whenever a place has said something, or failed to."""
        self._changed = set(self.places)
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Ask them all, from now on."""
        if self._names is None:  # the settings may have changed since
            known = _asked(self._ws, None)
            self._changed |= self.places.keys() - set(known)
            kept = self.places
            self.places = {name: kept.get(name) or PlaceDevices(name=name) for name in known}
        for place in self.places.values():
            place.asked = self._ws.clock()
            self._tell(place.name)
        self._tasks = [
            asyncio.create_task(self._follow(place), name=f"devices-{place.name}")
            for place in self.places.values()
        ]

    async def all(self, within: float) -> None:
        """Wait until each place has said something or failed to, so many seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while any(p.report is None and not p.problem for p in self.places.values()):
                    self.news.clear()
                    await self.news.wait()
        for place in self.places.values():
            if place.report is None and not place.problem:
                place.problem = f"{place.name} has not answered within {within:.0f} s."

    async def aclose(self) -> None:
        """Ask nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def __iter__(self) -> Iterator[PlaceDevices]:
        return iter(self.places.values())

    def changes(self) -> tuple[list[PlaceDevices], list[str]]:
        """What has changed since this was asked last: copies of places, which may go to another
        thread, and the names of those that are no more."""
        changed, self._changed = self._changed, set()
        self.news.clear()
        there = [replace(self.places[name]) for name in self.places if name in changed]
        return there, sorted(changed - self.places.keys())

    def _tell(self, name: str) -> None:
        self._changed.add(name)
        self.news.set()

    async def _follow(self, place: PlaceDevices) -> None:
        from traindeck.backends.base import Devices

        while True:
            backend = None
            try:
                backend = self._ws.backend(place.name)
                if not isinstance(backend, Devices):
                    del self.places[place.name]
                    self._tell(place.name)
                    return
                async with backend.devices(self._every) as reports:
                    async for report in reports:
                        self._hear(place, report)
                if self._every is None:
                    return
                self._fail(place, f"{place.name} says nothing of its devices any more.", backend)
            except TraindeckError as error:
                self._fail(place, " ".join(error.lines), backend)
            if self._every is None:
                return
            await asyncio.sleep(TRY_AGAIN)

    def _hear(self, place: PlaceDevices, report: DeviceReport) -> None:
        place.report, place.problem = report, ""
        place.next_try, place.person = None, False
        if self._every is not None:
            place.history = {
                part.uuid: place.history.get(part.uuid, History()).after(
                    report.observed_at, part.utilization_pct, _memory(part), self._every
                )
                for device in report.devices
                for part in (device, *device.mig)
            }
        self._tell(place.name)

    def _fail(self, place: PlaceDevices, problem: str, backend: Backend | None) -> None:
        from .following import link_of

        before = place.problem, place.next_try, place.person
        place.problem = problem
        if backend is not None:
            link = link_of(backend)
            place.next_try, place.person = link.next_try, link.person
        if before != (place.problem, place.next_try, place.person):
            self._tell(place.name)


def _memory(device: Device) -> float | None:
    """How much of a device's memory is used, in percent."""
    used, total = device.memory_used_bytes, device.memory_total_bytes
    return None if used is None or not total else 100 * used / total


def _asked(ws: Workspace, names: Sequence[str] | None) -> list[str]:
    """The places that may tell, this machine first.

    Raises:
        UsageError: There is no such place, or it does not tell of devices.
    """
    known = ws.settings.backends
    if names:
        from traindeck.backends.base import Devices
        from traindeck.backends.errors import UsageError

        for name in names:
            if not isinstance(ws.backend(name), Devices):
                raise UsageError(f"{name} ({known[name].kind}) does not tell of single devices.")
        return list(dict.fromkeys(names))
    return sorted(known, key=lambda name: (name != "local", name))


def device_json(place: PlaceDevices, device: Device) -> dict[str, Any]:
    """What `--json` says of a device: all that is known of it, and where it is."""
    from traindeck.backends.encoding import encode

    said: dict[str, Any] = {"backend": place.name, **encode(device)}
    for part in (said, *said["mig"]):
        for process in part["processes"]:
            process["started"] = iso(process["started"])
            process["idle_since"] = iso(process["idle_since"])
        part["idle_since"] = iso(part["idle_since"])
        if part["lease"] is not None:
            part["lease"]["since"] = iso(part["lease"]["since"])
    said["observed_at"] = iso(None if place.report is None else place.report.observed_at)
    said["reach"] = "down" if place.problem else "ok"
    return said


def runs_on(ws: Workspace, places: Iterable[PlaceDevices]) -> dict[str, RunRecord]:
    """Run id -> its record, of the runs that have these devices or whose processes are on them."""
    found: set[str | None] = set()
    for place in places:
        for device in place.devices:
            for part in (device, *device.mig):
                found.update(process.run for process in part.processes)
                found.add(None if part.lease is None else part.lease.run)
    runs = [ws.index.get(run) for run in found if run is not None]
    return {run.id: run for run in runs if run is not None}
