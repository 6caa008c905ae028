"""The runs as a screen sees them: the order of all, the records of the visible, kept up to date.

Owns no widget and paints nothing. It asks the services in tasks of its own and reports through
callbacks, so that a slow disk or place delays what is shown, never a key. Data are looked at twice
a second; rows change their places only when the person has left the keys alone for a while, and
nothing changes while the screen is frozen. A run that ended, or began, is shown as it was until the
list is made anew: a row and the heading above it are one picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.services import Listing, Place, Services, View

POLL = 0.5
"""Seconds between looks: data are painted at most twice a second."""

REORDER_AFTER = 3.0
"""Seconds without a key after which rows may move."""

MOVE_AFTER = 1.0
"""The same, once a run in sight has another state: that is shown only when its row moves."""

RELIST = 30.0
"""Seconds after which the list is made anew even if nothing was written: runs leave its window."""

PREVIEW = 86400.0
"""Window in seconds of the first listing, where all runs are wanted."""

KEPT = 4000
"""Records kept for rows that were visible."""


def _heard(task: asyncio.Future[int]) -> None:
    """Its failure is no news: who asked for the list beside it has failed with it."""
    if not task.cancelled():
        task.exception()


def bug(error: Exception) -> TraindeckError:
    """What is said of an error that nobody expected."""
    return TraindeckError(f"a bug in traindeck: {error!r}")


class RunsModel:
    """A live list of runs.

    Args:
        on_listing: The order, the groups or the counts are others.
        on_rows: Records of these keys have come in or changed.
        on_error: A service failed, or (None) works again.
        visible: The keys a screen shows now, with some to spare.
        idle: Seconds since the last key.

    Attributes:
        refused: Why no list can be made of the view; the list is that of an earlier one meanwhile.
    """

    def __init__(
        self,
        services: Services,
        view: View,
        *,
        on_listing: Callable[[], None],
        on_rows: Callable[[Sequence[int]], None],
        on_error: Callable[[TraindeckError | None], None],
        visible: Callable[[], Sequence[int]],
        idle: Callable[[], float],
    ) -> None:
        self._services = services
        self._on_listing = on_listing
        self._on_rows = on_rows
        self._on_error = on_error
        self._visible = visible
        self._idle = idle
        self.view = view
        self.listing = Listing()
        self.places: Sequence[Place] = ()
        self.loaded = False
        self.frozen = False
        self.frozen_at: float | None = None
        self.error: TraindeckError | None = None
        self._records: OrderedDict[int, RunRecord] = OrderedDict()
        self._fresh: set[int] = set()  # of these nothing was written since they were read
        self._held: dict[int, RunRecord] = {}  # read, and to be shown with the next list
        self._kept_for = KEPT
        self._version: int | None = None
        self._listed_at = 0.0
        self._reorder = True
        self._now = True
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._acted_on: set[str] = set()
        self._filter: str | None = None
        self.refused: UsageError | None = None

    # ---------------------------------------------------------------------------------------- data

    def record(self, key: int) -> RunRecord | None:
        """What is known of a run."""
        return self._records.get(key)

    def records(self, keys: Sequence[int]) -> list[RunRecord]:
        """What is known of several."""
        return [record for key in keys if (record := self._records.get(key)) is not None]

    def current(self, keys: Iterable[int]) -> bool:
        """Whether what is known of these runs is what they are now. Runs that went out of sight,
        and all while the screen is frozen, are known as they were."""
        return not self.frozen and self._fresh.issuperset(keys)

    async def learn(self, keys: Sequence[int]) -> dict[int, RunRecord]:
        """Read these runs as they are now, in sight or not. Their records are kept as long as the
        list is, but what is frozen stays as it is shown."""
        self._kept_for = max(self._kept_for, len(keys) + KEPT)
        learnt: dict[int, RunRecord] = {}
        async for found in self._read(keys):
            learnt |= found
        self._records.update({**learnt, **self._records} if self.frozen else learnt)
        return learnt

    async def gone(self, keys: Collection[int]) -> set[int]:
        """Those whose runs there are no more."""
        left = set(keys)
        async for found in self._read(list(keys)):
            left -= found.keys()
        return left

    async def _read(self, keys: Sequence[int]) -> AsyncIterator[Mapping[int, RunRecord]]:
        for start in range(0, len(keys), KEPT):
            yield await self._services.rows(keys[start : start + KEPT])

    # ------------------------------------------------------------------------------------- changes

    def show(self, **changes: object) -> None:
        """Show another view: `show(filter="tag:sft")`."""
        self.view = replace(self.view, **changes)  # type: ignore[arg-type]
        self.relist()

    def relist(self) -> None:
        """Make the list anew at once."""
        self._reorder = self._now = True
        self._wake.set()

    @property
    def filter(self) -> str:
        """The filter that the list was made with: the view's, unless that is refused or new."""
        return self._filter or ""

    async def listed(self) -> None:
        """Until the list is the one of the view."""
        while self._filter != self.view.filter:
            await self._taken.wait()

    async def relisted(self) -> None:
        """Until a list has come in that is asked for from now on."""
        await self._taken.wait()

    def acted_on(self, run_ids: Iterable[str]) -> None:
        """The person does something to these runs: when their states change, the rows move at once,
        for it is what they are waiting for."""
        self._acted_on.update(run_ids)

    def want(self) -> None:
        """Other rows are visible."""
        self._wake.set()

    def freeze(self, at: float | None) -> None:
        """Stop changing what is shown, ages too, at this moment; None goes on."""
        self.frozen = at is not None
        self.frozen_at = at
        self._wake.set()

    # ---------------------------------------------------------------------------------------- loop

    async def run(self) -> None:
        """Keep up until cancelled."""
        while True:
            try:
                await self._look()
                if self.error is not None:
                    self.error = None
                    self._on_error(None)
            except Exception as error:
                # A bug must be seen, and must not end all that keeps the list up to date.
                said = error if isinstance(error, TraindeckError) else bug(error)
                if self.error is None or str(said) != str(self.error):
                    self.error = said
                    self._on_error(said)
                self._now = False
                usual = View().order
                if isinstance(said, UsageError) and not self.loaded and self.view.order != usual:
                    # What was kept from another day cannot be shown: without it there is a list.
                    self.show(order=usual)
            try:
                await asyncio.wait_for(self._wake.wait(), POLL)
            except TimeoutError:
                pass
            self._wake.clear()

    async def _look(self) -> None:
        asked, self._now = self._now, False
        if self.loaded and not self.frozen:
            version = await self._services.version()
            if version != self._version:
                self._reorder = True
                await self._fetch(self._visible(), anew=True)
                self._version = version
            if time.monotonic() - self._listed_at > RELIST:
                self._reorder = True
        rest = min(MOVE_AFTER, REORDER_AFTER) if self._held else REORDER_AFTER
        if asked or (self._reorder and not self.frozen and self._idle() >= rest):
            await self._list()
        # What was not in sight when something changed is old when it comes into sight again.
        known = self._records if self.frozen else self._fresh
        missing = [key for key in self._visible() if key not in known and key not in self._held]
        if missing:
            await self._fetch(missing)

    async def _list(self) -> None:
        view = self.view
        # Asked before the list, so that what is written meanwhile is noticed; not waited for.
        version = asyncio.ensure_future(self._services.version()) if self._version is None else None
        if version is not None:
            version.add_done_callback(_heard)
        if not self.loaded and view.window is None:
            # All runs there ever were take a moment to put in order; those of today do not.
            await self._take(await self._services.listing(replace(view, window=PREVIEW)))
        try:
            listing = await self._services.listing(view)
        except UsageError as error:
            self.refused = error if view is self.view else self.refused
            raise
        if version is not None:
            self._version = await version
        if view is not self.view:
            return  # the person has asked for another one meanwhile
        self._reorder = False
        self._listed_at = time.monotonic()
        await self._take(listing)

    async def _take(self, listing: Listing) -> None:
        """Show a listing from now on."""
        first = not self.loaded
        self.loaded = True
        if first:
            # The first frame comes with its rows, not before them.
            await self._fetch(list(listing.keys[:60]))
        same = (
            not first
            and self.refused is None
            and self._filter == self.view.filter
            and listing.keys == self.listing.keys
            and listing.groups == self.listing.groups
        )
        counts_changed = listing.counts != self.listing.counts
        self.listing, self._filter, self.refused = listing, self.view.filter, None
        held = {} if self.frozen else self._held
        if held:
            self._held = {}
            self._records.update(held)
            self._fresh.update(held)
        self._taken.set()
        self._taken.clear()
        if not same or counts_changed:
            self._on_listing()
        if held:
            self._on_rows(list(held))

    async def _fetch(self, keys: Sequence[int], *, anew: bool = False) -> None:
        """Read these. `anew`: something was written, so that the others are old now."""
        found = await self._services.rows(keys) if keys else {}
        if anew:
            self._fresh.clear()
        changed: list[int] = []
        gone: list[int] = []
        regroup = False
        for key in keys:
            record, before = found.get(key), self._records.get(key)
            if record is None:
                if before is not None:
                    gone.append(key)
                continue
            if before is not None and before.state is not record.state:
                regroup = regroup or record.id in self._acted_on
                if record.state.terminal:
                    self._acted_on.discard(record.id)
                self._held[key] = record
                self._fresh.discard(key)
                self._reorder = True
                continue
            self._held.pop(key, None)
            if before != record:
                changed.append(key)
            self._records[key] = record
            self._records.move_to_end(key)
            self._fresh.add(key)
        while len(self._records) > self._kept_for:
            self._fresh.discard(self._records.popitem(last=False)[0])
        if gone or (regroup and not self.frozen):
            # A run that is gone keeps its row until the list is made without it.
            await self._list()
        for key in gone:
            self._records.pop(key, None)
            self._held.pop(key, None)
            self._fresh.discard(key)
        if changed and self.loaded:
            self._on_rows(changed)

    # --------------------------------------------------------------------------------- the places

    async def follow_places(self, every: float) -> None:
        """Ask the places about active runs every so often, and note who answers."""
        while True:
            if not self.frozen:
                # What a place refuses or breaks is said at its mark; the others are asked again.
                with contextlib.suppress(TraindeckError):
                    await self._services.refresh()
                with contextlib.suppress(TraindeckError):
                    self.places = await self._services.places()
                    self._on_rows(())
            await asyncio.sleep(every)
