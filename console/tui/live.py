"""The screens' services over a real workspace.

Everything runs on a thread with an event loop of its own: the index, the backends' channels,
reading what runs have measured. The loop that answers keys only ever waits for a future, so nothing
that is slow there is felt here.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from traindeck.backends.asking import unattended
from traindeck.backends.errors import TraindeckError
from traindeck.backends.states import Reach, Status
from traindeck.console.runs.placing import connect, for_person
from traindeck.console.runs.reasons import named
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.services import (
    Curve,
    Listing,
    Outcome,
    Place,
    Removal,
    View,
)

from .listing import list_runs
from .live_fleet import LiveFleet
from .live_reaching import LiveReaching

if TYPE_CHECKING:
    from pathlib import Path

    from traindeck.backends.asking import Asker
    from traindeck.backends.base import FileEntry, Health, LinkState, Plan, RunSpec
    from traindeck.console.recipes.schema import Recipe
    from traindeck.console.runs.drafting import Draft, Drafted, Ground
    from traindeck.console.runs.log_session import LogSession
    from traindeck.console.runs.log_shown import Spot
    from traindeck.console.runs.placing import Found
    from traindeck.console.runs.workspace import Workspace
    from traindeck.console.store.series import Points

# What acts on runs or reads their logs is imported when it is first called: the first frame needs
# nothing but the index.

T = TypeVar("T")

CURVE_POINTS = 2000
"""Points of a curve handed to a screen: more than any terminal has columns, times two."""

PATIENCE = 0.1
"""Seconds that a look may read what a run has measured, for the log that is open is read by the
same thread. The rest is read on by a process."""

PLACE_PATIENCE = 2.0
"""Seconds that one place may take to say how it is, for others are asked again only after that."""

LEAVING = 1.0
"""Seconds that the services get to end in."""


class LiveServices(LiveReaching, LiveFleet):
    """Implements `Services`. Made on any thread; `aclose` ends its own.

    Args:
        make: Opens the workspace; called on the services' thread.
        asker: Asks the person what a connection needs to know. It is only asked for what they have
            just asked for themselves; what goes on in the background asks nobody.
    """

    able = frozenset({"demo"})

    def __init__(self, make: Callable[[], Workspace], asker: Asker | None = None) -> None:
        LiveReaching.__init__(self)
        LiveFleet.__init__(self)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="services", daemon=True)
        self._make = make
        self._asker = asker
        self._thread.start()
        self._ws: Workspace | None = None
        self._places: dict[str, Place] = {}
        self._recipe: tuple[tuple[str, str], Recipe] | None = None
        self._closed = False
        self._loop.call_soon_threadsafe(self._warm)

    def _warm(self) -> None:
        """Open the index while the caller still imports Textual. What is wrong with it is told to
        the first who asks, in words."""
        from traindeck.console.runs import filters

        with contextlib.suppress(TraindeckError):
            index = self._workspace().index
            index.carry_over_apart()
            index.counts()
        assert filters.KEYS

    # ---------------------------------------------------------------------------- RunsSource

    async def version(self) -> int:
        def look(ws: Workspace) -> int:
            generation, clock = ws.index.version()
            return generation << 48 | clock

        return await self._do(look)

    async def listing(self, view: View) -> Listing:
        return await self._do(lambda ws: list_runs(ws, view))

    async def rows(self, keys: Sequence[int]) -> dict[int, RunRecord]:
        def look(ws: Workspace) -> dict[int, RunRecord]:
            found = ws.index.rows_by_number(keys)
            return dict(zip(found, named(ws.index, found.values()), strict=True))

        return await self._do(look)

    async def detail(self, key: int) -> RunRecord | None:
        def look(ws: Workspace) -> RunRecord | None:
            found = named(ws.index, ws.index.rows([key], metrics="all"))
            return found[0] if found else None

        return await self._do(look)

    async def key_of(self, run_id: str) -> int | None:
        return await self._do(lambda ws: ws.index.number_of(run_id))

    async def short_ids(self, run_ids: Collection[str]) -> dict[str, str]:
        return await self._do(lambda ws: ws.index.short_ids(run_ids))

    async def names(self) -> Sequence[str]:
        def look(ws: Workspace) -> Sequence[str]:
            return list(dict.fromkeys([*ws.index.names("tag"), *ws.index.names("param")]))

        return await self._do(look)

    async def places(self) -> Sequence[Place]:
        def look(ws: Workspace) -> Sequence[Place]:
            return [self._places.get(name, Place(name=name)) for name in ws.settings.backends]

        return await self._do(look)

    async def log_tail(self, run_id: str, size: int) -> bytes:
        from traindeck.console.runs import reading

        async def read(ws: Workspace) -> bytes:
            run = ws.index.get(run_id)
            return b"" if run is None else await reading.log_tail(ws, run, size)

        return await self._await(read)

    async def why_no_log(self, run_id: str) -> str:
        from traindeck.console.runs import reading

        async def ask(ws: Workspace) -> str:
            run = ws.index.get(run_id)
            return "" if run is None else await reading.why_no_log(ws, run)

        return await self._await(ask)

    async def curves(self, run_id: str, keys: Sequence[str]) -> Sequence[Curve]:
        def look(ws: Workspace) -> Sequence[Curve]:
            from traindeck.console.metrics.reduce import thin

            curves = []
            for key in keys:
                points = ws.index.points(run_id, key)
                if len(points.steps):
                    steps, values = thin(points.steps, points.values, CURVE_POINTS)
                    curves.append(Curve(key=key, steps=steps.tolist(), values=values.tolist()))
            return curves

        return await self._do(look)

    async def series(self, run_id: str, names: Sequence[str]) -> dict[str, Points]:
        """The points of some metrics, for charts; those the run does not have are left out."""

        def look(ws: Workspace) -> dict[str, Points]:
            found = {name: ws.index.points(run_id, name) for name in names}
            return {name: points for name, points in found.items() if len(points.steps)}

        return await self._do(look)

    # ----------------------------------------------------------------------------- RunReader

    async def run(self, run_id: str) -> RunRecord | None:
        """One record with all its metrics, as it is now."""

        def look(ws: Workspace) -> RunRecord | None:
            number = ws.index.number_of(run_id)
            found = ws.index.rows([number], metrics="all") if number is not None else []
            return named(ws.index, found)[0] if found else None

        return await self._do(look)

    async def measure(self, run_id: str) -> None:
        from traindeck.console.runs.reading_on import read_run

        await self._await(lambda ws: read_run(ws, run_id))

    async def log_share(self, run_id: str) -> float:
        from traindeck.console.runs.measuring import share_read

        return await self._do(lambda ws: share_read(ws.index, ws.record(run_id)))

    async def open_log(
        self, run_id: str, attempt: int | None = None, *, rank: int = 0, spot: Spot | None = None
    ) -> LogSession:
        from traindeck.console.runs.log_opening import log_of
        from traindeck.console.runs.log_session import LogSession

        async def make(ws: Workspace) -> LogSession:
            run = ws.record(run_id)
            which = run.attempt if attempt is None else attempt
            await connect(ws, run.backend)
            return LogSession(self._bridge, await log_of(ws, run, which, rank), spot)

        return await self._await(make)

    async def ranks(self, run_id: str, attempt: int) -> Sequence[int]:
        from traindeck.console.runs.log_opening import ranks_to_open

        return await self._await(lambda ws: ranks_to_open(ws, ws.record(run_id), attempt))

    async def open_file(self, run_id: str, path: str) -> LogSession:
        from traindeck.console.runs.log_opening import file_of
        from traindeck.console.runs.log_session import LogSession

        async def make(ws: Workspace) -> LogSession:
            run = ws.record(run_id)
            await connect(ws, run.backend)
            return LogSession(self._bridge, await file_of(ws, run, path))

        return await self._await(make)

    async def attempts(self, run_id: str) -> list[Status]:
        from traindeck.console.runs import reading

        return await self._await(lambda ws: reading.attempts_of(ws, ws.record(run_id)))

    async def again(self, run_id: str, env: Mapping[str, str]) -> Outcome:
        from traindeck.console.runs import launching

        async def start(ws: Workspace) -> Outcome:
            old = ws.record(run_id)
            with for_person(ws, old.backend):
                run = await launching.launch(ws, await launching.again(ws, old, env))
            return Outcome(run_id=run.id, text=run.name)

        return await self._await(start)

    async def files(self, run_id: str) -> list[FileEntry]:
        from traindeck.console.runs import reading

        return await self._await(lambda ws: reading.list_files(ws, ws.record(run_id)))

    async def read_file(self, run_id: str, path: str, size: int) -> bytes:
        from traindeck.console.runs import reading

        return await self._await(lambda ws: reading.read_file(ws, ws.record(run_id), path, size))

    async def spec(self, run_id: str) -> RunSpec | None:
        from traindeck.console.runs import reading

        return await self._await(lambda ws: reading.spec_of(ws, ws.record(run_id)))

    async def folder(self, run_id: str) -> str:
        from traindeck.console.runs import reading

        return await self._await(lambda ws: reading.folder_of(ws, ws.record(run_id)))

    # ---------------------------------------------------------------------------- RunActions

    async def stop(self, run_ids: Sequence[str], grace: float | None) -> Sequence[Outcome]:
        from traindeck.console.runs import controlling

        async def one(ws: Workspace, run: RunRecord) -> str:
            asked = await controlling.stop(ws, run, grace=grace)
            return "" if asked else f"is over already ({run.state})"

        return await self._each(run_ids, one)

    async def retry(self, run_ids: Sequence[str]) -> Sequence[Outcome]:
        from traindeck.console.runs import launching

        async def one(ws: Workspace, run: RunRecord) -> str:
            await launching.launch(ws, await launching.retry(ws, run))
            return ""

        return await self._each(run_ids, one)

    async def removal(self, run_ids: Sequence[str]) -> Removal:
        from traindeck.console.runs import controlling

        async def measure(ws: Workspace) -> Removal:
            size: int | None = 0
            artifacts = 0
            refused = {}
            for run_id in run_ids:
                run = ws.index.get(run_id)
                if run is None:
                    continue
                try:
                    controlling.refuse_removal(run)
                except TraindeckError as error:
                    refused[run_id] = error.what
                    continue
                try:
                    disk = await controlling.disk(ws, run)
                except TraindeckError:
                    size = None
                    continue
                size = None if size is None else size + disk.total
                artifacts += (disk.by_name or {}).get("artifacts", 0)
            return Removal(size=size, artifacts=artifacts, refused=refused)

        return await self._await(measure)

    async def remove(self, run_ids: Sequence[str], *, keep_artifacts: bool) -> Sequence[Outcome]:
        from traindeck.console.runs import controlling

        async def one(ws: Workspace, run: RunRecord) -> str:
            await controlling.remove(ws, run, keep_artifacts=keep_artifacts)
            return ""

        return await self._each(run_ids, one)

    async def describe(
        self,
        run_id: str,
        *,
        name: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        note: str | None = None,
    ) -> str:
        from traindeck.console.runs import controlling

        def change(ws: Workspace) -> str:
            run, told = ws.record(run_id), ""
            if name is not None and name != run.name:
                told = controlling.rename(ws, run, name)
            # What was to go and is gone already needs nothing.
            new = {key: value for key, value in (tags or {}).items() if run.tags.get(key) != value}
            if new:
                controlling.set_tags(ws, [run], new)
            if note is not None and note != run.note:
                controlling.set_note(ws, run, note)
            return told

        return await self._do(change)

    async def tag(self, run_ids: Sequence[str], tags: Mapping[str, str | None]) -> None:
        from traindeck.console.runs import controlling

        await self._do(
            lambda ws: controlling.set_tags(ws, [ws.record(run_id) for run_id in run_ids], tags)
        )

    async def looked(self, run_ids: Sequence[str]) -> None:
        from traindeck.console.runs import controlling

        def mark(ws: Workspace) -> None:
            for run_id in run_ids:
                if (run := ws.index.get(run_id)) is not None:
                    controlling.look(ws, run)

        await self._do(mark)

    async def demo(self) -> None:
        from traindeck.console.runs import demo

        await self._await(demo.launch)

    # ----------------------------------------------------------------------------- Launching

    async def ground(self) -> Ground:
        def look(ws: Workspace) -> Ground:
            from traindeck.console.runs import drafting

            self._recipe = None  # a file may have changed since the form was open last
            return drafting.ground(ws)

        return await self._do(look)

    async def like(self, run_id: str) -> Draft:
        from traindeck.console.runs.relaunching import draft_like

        return await self._await(lambda ws: draft_like(ws, run_id))

    async def check(self, draft: Draft) -> Drafted:
        async def check(ws: Workspace) -> Drafted:
            from traindeck.console.runs import drafting

            return await drafting.check(ws, draft, await self._recipe_of(ws, draft))

        return await self._await(check)

    async def path_rest(self, draft: Draft, key: str, text: str) -> str:
        from traindeck.console.runs.paths import rest_in

        # What goes along to another machine lies here, too; only a folder to run in does not.
        here = key != "cwd" or await self._do(lambda ws: draft.on in ws.settings.local_roots())
        return await rest_in(draft, key, text) if here else ""

    async def launch(self, plan: Plan) -> RunRecord:
        from traindeck.console.runs import launching

        async def send(ws: Workspace) -> RunRecord:
            with for_person(ws, plan.backend):
                return await launching.launch(ws, plan)

        return await self._await(send)

    async def launch_array(self, plans: Sequence[Plan]) -> Sequence[RunRecord]:
        from traindeck.console.runs import launching

        async def send(ws: Workspace) -> Sequence[RunRecord]:
            with for_person(ws, plans[0].backend):
                return await launching.launch_array(ws, plans)

        return await self._await(send)

    async def save_recipe(self, draft: Draft, name: str) -> Path:
        async def save(ws: Workspace) -> Path:
            from traindeck.backends.errors import UsageError
            from traindeck.console.recipes.resolving import resolve
            from traindeck.console.recipes.saving import save_recipe
            from traindeck.console.runs.finetuning import recipe_names

            recipe = await self._recipe_of(ws, draft)
            if recipe is None:
                raise UsageError("A command line is no recipe.", "Choose a recipe first.")
            resolved = resolve(recipe, draft.values, preset=draft.preset)
            folder = ws.places.recipes
            # One that lies elsewhere is found again by its path only.
            base = draft.recipe if draft.recipe in recipe_names(ws) else recipe.path
            return save_recipe(folder, name, base, resolved, preset=draft.preset)

        return await self._await(save)

    async def probe(self, backend: str, *, asked: bool = False) -> Health:
        from traindeck.console.runs import placing

        async def ask(ws: Workspace) -> Health:
            health = await placing.check_backend(ws, backend, asked=asked)
            self._enter_health(backend, health, placing.link_at(ws, backend))
            return health

        return await self._await(ask)

    async def found(self) -> Sequence[Found]:
        from traindeck.console.runs import placing

        async def look(ws: Workspace) -> Sequence[Found]:
            return await asyncio.to_thread(placing.found_places, ws)

        return await self._await(look)

    async def probe_found(self, found: Found) -> Health:
        from traindeck.console.runs import placing

        return await self._await(lambda ws: placing.check_found(ws, found))

    async def add_found(self, found: Found) -> str:
        from traindeck.console.runs import placing

        return await self._do(lambda ws: placing.add_found(ws, found).name)

    async def settings_changed(self) -> None:
        await self._do(lambda ws: ws.reload_settings())

    async def _recipe_of(self, ws: Workspace, draft: Draft) -> Recipe | None:
        """The recipe of a draft, read once while the form is open: a key must not wait for YAML."""
        from traindeck.console.runs.drafting import draft_recipe

        key = (draft.recipe, draft.like)
        if self._recipe is None or self._recipe[0] != key:
            recipe = await draft_recipe(ws, draft)
            if recipe is None:
                return None
            self._recipe = key, recipe
        return self._recipe[1] if draft.recipe else None

    # ------------------------------------------------------------------------------ Services

    async def refresh(self) -> None:
        from traindeck.console.runs import refreshing

        async def ask(ws: Workspace) -> None:
            await refreshing.refresh(ws, turns=True)
            await asyncio.to_thread(ws.index.carry_over)
            await asyncio.gather(*(self._note_place(ws, name) for name in ws.settings.backends))

        await self._await(ask)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True

        async def close() -> None:
            await self.end_forwards()
            if self._ws is not None:
                await self._ws.aclose()

        await self._bridge(close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, LEAVING)

    def close(self) -> None:
        """`aclose` for who has no loop. What does not end soon ends with the process."""

        async def leave() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVING):
                    await self.aclose()

        asyncio.run(leave())

    # -------------------------------------------------------------------------------- inside

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    def _workspace(self) -> Workspace:
        if self._ws is None:
            self._ws = self._make()
            self._ws.patience = PATIENCE
            if self._asker is not None:
                asker = self._asker
                self._ws.asks = lambda: asker
        return self._ws

    async def _bridge(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Have it done on the thread of the services. Begun there, if at all: who asked may be gone
        by then."""

        async def quietly() -> T:
            with unattended():
                return await work()

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(quietly(), self._loop))

    async def _await(self, body: Callable[[Workspace], Awaitable[T]]) -> T:
        async def run() -> T:
            return await body(self._workspace())

        return await self._bridge(run)

    async def _do(self, body: Callable[[Workspace], T]) -> T:
        async def run() -> T:
            return body(self._workspace())

        return await self._bridge(run)

    async def _each(
        self, run_ids: Sequence[str], one: Callable[[Workspace, RunRecord], Awaitable[str]]
    ) -> Sequence[Outcome]:
        """Do something to each run; a failure is that run's outcome and stops no other."""
        from traindeck.console.runs import controlling

        async def run(ws: Workspace) -> Sequence[Outcome]:
            found = (ws.index.get(run_id) for run_id in run_ids)
            with for_person(ws, *(run.backend for run in found if run is not None)):
                came = await controlling.each(run_ids, lambda run_id: one(ws, ws.record(run_id)))
            return [
                Outcome(run_id=run_id, done=not text, text=str(text))
                for run_id, text in zip(run_ids, came, strict=True)
            ]

        return await self._await(run)

    async def _note_place(self, ws: Workspace, name: str) -> None:
        """How a backend answered last. It is asked now and then, one that does not answer as soon
        as its own pause is over, and never one that waits for a person."""
        from traindeck.console.runs.following import link_of

        known = self._places.get(name)
        now = ws.clock()
        try:
            backend = ws.backend(name)
            link = link_of(backend)
            if link.state is not Reach.OK:
                self._enter_link(name, link)
                if link.person or (link.next_try is not None and link.next_try > now):
                    return
            elif known is not None and now - known.seen_at < 10 and known.reach is Reach.OK:
                return
            async with asyncio.timeout(PLACE_PATIENCE):
                health = await backend.probe()
        except (TraindeckError, TimeoutError) as error:
            note = error.what if isinstance(error, TraindeckError) else "it does not answer"
            self._places[name] = Place(
                name=name, reach=Reach.DOWN, seen_at=known.seen_at if known else 0.0, note=note
            )
            return
        self._enter_health(name, health, link_of(backend))

    def _enter_health(self, name: str, health: Health, link: LinkState) -> None:
        if health.reach is Reach.OK:
            self._places[name] = Place(name=name, seen_at=health.observed_at, note=health.note)
        elif link.state is not Reach.OK:
            self._enter_link(name, link)
        else:
            known = self._places.get(name)
            seen = known.seen_at if known else 0.0
            self._places[name] = Place(
                name=name, reach=health.reach, seen_at=seen, note=health.note
            )

    def _enter_link(self, name: str, link: LinkState) -> None:
        known = self._places.get(name)
        self._places[name] = Place(
            name=name,
            reach=link.state,
            seen_at=(known.seen_at if known else 0.0) or link.since,
            note=link.why,
            next_try=link.next_try,
            person=link.person,
        )
