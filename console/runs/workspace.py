"""What an open Traindeck holds: places, settings, the index, the journal, the backends.

A command opens one, uses it and closes it; the screen keeps one for life. Backends are made when
they are first needed, so that a command that asks nobody pays for none. Nothing in here is truth:
everything can be thrown away and opened again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from types import TracebackType
from typing import TYPE_CHECKING, Self

from traindeck.backends.data import dataclass
from traindeck.console.store.index import Index
from traindeck.console.store.places import Places, find_places

if TYPE_CHECKING:
    from traindeck.backends.asking import Asker
    from traindeck.backends.base import Backend, JobRef
    from traindeck.console.runs.mirrored import Mirrored, Reading
    from traindeck.console.settings import Settings
    from traindeck.console.store.journal import Journal
    from traindeck.console.store.mirror import Mirror
    from traindeck.console.store.records import RunRecord

LOOK_AGAIN = 60.0
"""Seconds after which a run whose directory was gone is looked for again."""


@dataclass(kw_only=True)
class Workspace:
    """Open with `open_workspace`, or `async with`.

    Attributes:
        environ: The caller's environment, which local runs inherit.
        clock: Now, in seconds since the epoch.
        tell: Takes one line of diagnostics.
        asks: Makes whoever answers what a connection needs to know; called when a place that is
            not this machine is first needed. None if nobody can be asked.
        stores: What is to be done has to be noted (a launch): an index that cannot be written is
            refused. For anything else a copy of it in memory does.
        patience: Seconds that a look may spend on reading what a run has measured to its end. What
            is left then is read on by a process (`reading_on`), which `left` was started for.
        asked_at: When this process last asked each place that answered, as its looks are dated.
        silent: Why those that did not answer, when this process last asked, did not.
    """

    places: Places
    environ: Mapping[str, str]
    clock: Callable[[], float] = time.time
    tell: Callable[[str], None] = lambda line: None
    asks: Callable[[], Asker] | None = None
    stores: bool = False
    patience: float = 2.0
    left: frozenset[tuple[str, str, int]] = frozenset()
    asked_at: dict[str, float] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    _index: Index | None = None
    _settings: Settings | None = None
    _backends: dict[str, Backend] = field(default_factory=dict)
    _readers: dict[str, Mirrored] = field(default_factory=dict)

    @property
    def index(self) -> Index:
        """The index, opened (and rebuilt, if it has to be) at the first use."""
        if self._index is None:
            self._index = Index.open(
                self.places.index, rebuild=self._fill, tell=self.tell, copy=not self.stores
            )
            self._index.catch_up(self.places.annotations)
        return self._index

    def _fill(self, index: Index) -> None:
        from traindeck.console.runs.rebuild import fill_index

        fill_index(index, self.places, self.settings, self.tell)

    @property
    def settings(self) -> Settings:
        """The user's settings.

        Raises:
            UsageError: The file is broken; file, line, and what was expected.
        """
        if self._settings is None:
            from traindeck.console.settings import load

            self._settings = load(self.places.settings, self.environ)
        return self._settings

    def reload_settings(self) -> None:
        """Read the settings anew when they are next needed. Backends that are open stay."""
        self._settings = None

    @property
    def journal(self) -> Journal:
        from traindeck.console.store.journal import Journal

        return Journal(self.places.journal)

    def backend(self, name: str) -> Backend:
        """The backend of this name, made on first use.

        Raises:
            UsageError: No backend of this name is configured.
            BackendError: It cannot be made.
        """
        if name not in self._backends:
            configured = self.settings.backends.get(name)
            if configured is None:
                from traindeck.backends.errors import UsageError, excerpt

                known = ", ".join(sorted(self.settings.backends))
                raise UsageError(
                    f"There is no backend {excerpt(name)!r}.",
                    f"There are: {known}. `traindeck backends` lists them.",
                )
            from traindeck.backends.registry import create

            if configured.local_root() is None:
                self.let_ask()
            self._backends[name] = create(name, configured.kind, configured.options)
        return self._backends[name]

    def let_ask(self) -> None:
        """What connects from now on asks whom `asks` makes."""
        if self.asks is not None:
            from traindeck.backends.asking import set_asker

            set_asker(self.asks())

    @property
    def mirror(self) -> Mirror:
        """Copies of what runs elsewhere write."""
        from traindeck.console.store.mirror import Mirror

        return Mirror(self.places.mirror)

    def reader(self, name: str) -> Reading:
        """The backend of this name for reading what its runs wrote: of one whose files are not here
        what is held of them, where it does not answer. To be asked for files and logs only.

        Raises:
            UsageError, BackendError: As `backend`.
        """
        backend = self.backend(name)
        from traindeck.console.runs.mirrored import Mirrored, is_far

        if not is_far(backend):
            return backend
        known = self._readers.get(name)
        if known is None or known.backend is not backend:
            self._readers[name] = known = Mirrored(backend, self.mirror)
        return known

    def has_backend(self, name: str) -> bool:
        """Whether there is a backend of this name, in the settings or made elsewhere."""
        return name in self._backends or name in self.settings.backends

    def use_backend(self, backend: Backend) -> None:
        """Take a backend that was made elsewhere (a test's, a plug-in's)."""
        self._backends[backend.name] = backend

    def record(self, text: str, *, strict: bool = False, active: bool = False) -> RunRecord:
        """The run that `text` means: an id, a unique prefix of one, or a name. Of several runs of
        one name it is the newest (`active`: that is not over, as far as is known), and `tell` gets
        a line about the others.

        Raises:
            UsageError: None, or several.
        """
        run = self.index.get(self.index.resolve(text, strict=strict, active=active))
        if run is None:
            from traindeck.backends.errors import UsageError

            raise UsageError(f"There is no run {text!r} any more.")
        if not run.id.startswith(text.lower()) and (several := self.index.called(text)) > 1:
            import shlex

            word = shlex.quote(f"name:{run.name}")
            which = "the newest" + (" that is not over" if active and run.active else "")
            self.tell(
                f"{several} runs are called {run.name}; this is {which}. "
                f"All of them: traindeck ls -a {word}"
            )
        return run

    def has_questions(self) -> bool:
        """Whether anything is to be asked of a place or read on: a run that is not over, one that
        was not measured to its end, one that is missing, a submission, or jobs that somebody
        submitted by hand. A command that only reads need not start an event loop if not."""
        if self.with_foreign():
            return True
        if self.index.has_active() or self.index.unread() or self.missing():
            return True
        try:
            return any(self.places.journal.iterdir())
        except FileNotFoundError:
            return False

    def with_foreign(self) -> list[str]:
        """The places that may list jobs which were submitted without Traindeck: by their kind, for
        most of which nothing need be imported to know."""
        places = self.settings.backends.items()
        return [name for name, place in places if place.kind not in ("process", "ssh")]

    def missing(self) -> list[RunRecord]:
        """Runs whose directory was gone, to be looked for again: a disk may be mounted by now."""
        found = self.index.missing(self.clock() - LOOK_AGAIN)
        return [run for run in found if self.has_backend(run.backend)]

    async def close_backends(self) -> None:
        """Close connections; they are made anew when needed. Runs are not touched."""
        for backend in self._backends.values():
            await backend.aclose()
        self._backends.clear()
        self._readers.clear()

    async def aclose(self) -> None:
        """Close connections and the index. Runs are not touched. Idempotent."""
        await self.close_backends()
        if self._index is not None:
            self._index.close()
            self._index = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def open_workspace(
    environ: Mapping[str, str] | None = None,
    *,
    tell: Callable[[str], None] = lambda line: None,
    checked: bool = True,
    stores: bool = False,
) -> Workspace:
    """The workspace of this user. Of what it holds only the settings are read, if there are any.

    Args:
        checked: Refuse settings that are wrong. `doctor` does not: it says what is wrong with them.
        stores: See `Workspace`.

    Raises:
        UsageError: The settings are wrong: half a configuration is worse than none.
    """
    env = dict(os.environ if environ is None else environ)
    places = find_places(env)
    if places.note:
        tell(places.note)
    ws = Workspace(places=places, environ=env, tell=tell, stores=stores)
    if checked and places.settings.exists():
        _ = ws.settings
    return ws


def ref_of(run: RunRecord) -> JobRef:
    """The reference a run's backend knows it by."""
    from traindeck.backends.base import JobRef

    # A foreign job has no run: its id here is only ours.
    run_id = "" if run.foreign else run.id
    return JobRef(backend=run.backend, run_id=run_id, attempt=run.attempt, native_id=run.native_id)


def refuse_id(ws: Workspace, name: str | None) -> None:
    """A name goes before the beginning of an id, so one that is both would hide a run.

    Raises:
        UsageError: The name means a run already, by its id.
    """
    found = ws.index.begins_id(name) if name else None
    if found is not None:
        from traindeck.backends.errors import UsageError

        run_id, called = found
        raise UsageError(
            f"{name} cannot be a name: the id of {called} begins so ({run_id}).",
            "Choose another.",
        )
