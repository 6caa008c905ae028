"""The quiet tabs of a run: Overview, Files, Config. Each reads when it is first in sight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

from textual.binding import BindingType

from traindeck.backends.base import FileEntry, RunSpec, TraindeckError
from traindeck.console.present.cells import Line, Span
from traindeck.console.present.run_config import config_lines
from traindeck.console.present.run_files import content_lines, file_lines
from traindeck.console.present.run_overview import curve_size, overview_lines
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.services import Services
from traindeck.console.tui.widgets.lines import Lines

TAIL = 16_384
FILE = 256 << 10
CAPTURED = 1 << 20
AGAIN = 2.0


class RunTab(Lines, can_focus=True, inherit_bindings=False):
    """A tab that shows one run."""

    DEFAULT_CSS = "RunTab { height: 1fr; }"

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.services = services
        self.run_shown: RunRecord | None = None
        self._reading = False
        self._said = ""

    def show_run(self, run: RunRecord) -> None:
        """Show this run; call again whenever its record is new."""
        self.run_shown = run
        self.update()

    def start(self) -> None:
        """The tab is in sight."""
        if not self._reading and self.run_shown is not None:
            self._reading = True
            self.deck.start(self._read_once(self.run_shown), "")

    def stop(self) -> None:
        """The tab is out of sight."""

    def escape(self) -> bool:
        """What `esc` does here before it leaves the screen. Whether it did anything."""
        return False

    def asking_keys(self) -> list[tuple[str, str]]:
        """The footer's keys while it takes every key for itself; none otherwise."""
        return []

    def chrome(self) -> None:
        """Other keys do something now than before: the footer is to say so."""
        update = getattr(self.screen, "update_chrome", None)
        if update is not None:
            update()

    async def _read_once(self, run: RunRecord) -> None:
        try:
            await self.read(run)
        except TraindeckError as error:
            if error.what != self._said:  # once, not at every look
                self._said = error.what
                self.deck.complain(error)
        else:
            self._said = ""
        finally:
            self._reading = False
        self.update()
        self.chrome()

    async def read(self, run: RunRecord) -> None:
        """Fetch what the tab shows beyond the record."""
        raise NotImplementedError


class OverviewPane(RunTab):
    """Figures, facts, the main curve, the end of the log."""

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self._spec: RunSpec | None = None
        self._folder = ""
        self._log = b""
        self._short = ""
        self._curve: Sequence[Line] = ()
        self._timer: Any = None

    def start(self) -> None:
        super().start()
        if self._timer is None:
            self._timer = self.set_interval(AGAIN, super().start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    async def read(self, run: RunRecord) -> None:
        if not self._short:
            self._short = (await self.services.short_ids([run.id])).get(run.id, run.id)
        if self._spec is None:
            self._spec = await self.services.spec(run.id)
            self._folder = await self.services.folder(run.id)
        self._log = await self.services.log_tail(run.id, TAIL)
        size = curve_size(self.size.width, self.size.height)
        if size is not None and run.main is not None:
            self._curve = await self._draw(run, *size)

    async def _draw(self, run: RunRecord, cells: int, rows: int) -> Sequence[Line]:
        assert run.main is not None
        found = await self.services.series(run.id, [run.main, f"eval/{run.main}"])
        glyphs = self.deck.painter.glyphs

        def draw() -> Sequence[Line]:
            from traindeck.console.present.chart import View, chart, curves

            if not found:
                return ()
            return chart(curves(found), View(), cells, rows, glyphs=glyphs).lines

        return await asyncio.to_thread(draw)

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        if self.run_shown is None:
            return []
        return overview_lines(
            self.run_shown,
            cells,
            rows,
            now=self.deck.clock(),
            short_id=self._short or self.run_shown.id,
            spec=self._spec,
            folder=self._folder or None,
            log=self._log,
            curve=self._curve,
            glyphs=self.deck.painter.glyphs,
        )


class _Scrolled(RunTab):
    """Lines that are longer than the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.FILES)]

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self._top = 0

    def lines(self, cells: int) -> list[Line]:
        """All lines."""
        raise NotImplementedError

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        lines = self.lines(cells)
        self._top = min(self._top, max(0, len(lines) - rows))
        return lines[self._top : self._top + rows]

    def action_rows(self, by: int) -> None:
        self._top = max(0, self._top + by)
        self.update()

    def action_pages(self, by: float) -> None:
        self.action_rows(round(by * max(1, self.size.height - 1)))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action not in ("open", "copy_path")


class ConfigPane(_Scrolled):
    """Parameters, command, environment, code, packages."""

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self._spec: RunSpec | None = None
        self._files: dict[str, bytes] = {}

    async def read(self, run: RunRecord) -> None:
        self._spec = await self.services.spec(run.id)
        for name in ("packages.txt", "diff.patch"):
            path = f"code/.traindeck/{name}"
            try:
                self._files[path] = await self.services.read_file(run.id, path, CAPTURED)
            except TraindeckError:
                continue  # nothing of the kind was captured

    def lines(self, cells: int) -> list[Line]:
        if self.run_shown is None:
            return []
        glyphs = self.deck.painter.glyphs
        return config_lines(self.run_shown, self._spec, self._files, cells, glyphs)


class FilesPane(_Scrolled):
    """The run's directory, and a look into one file."""

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self._entries: Sequence[FileEntry] = ()
        self._cursor = 0
        self._folder = ""
        self._open: tuple[str, bytes, int] | None = None

    async def read(self, run: RunRecord) -> None:
        self._entries = await self.services.files(run.id)
        self._folder = await self.services.folder(run.id)
        self._cursor = min(self._cursor, max(0, len(self._entries) - 1))

    def lines(self, cells: int) -> list[Line]:
        assert self._open is not None
        return content_lines(*self._open, cells)

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        if self._open is not None:
            return super().content(cells, rows)
        if not self._entries:
            return [(), (Span("  reading…" if self._reading else "  nothing here", "muted"),)]
        now, glyphs = self.deck.clock(), self.deck.painter.glyphs
        return file_lines(self._entries, self._cursor, cells, rows, now, glyphs)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("open", "copy_path"):
            return self._open is None and bool(self._entries)
        return True

    def escape(self) -> bool:
        if self._open is None:
            return False
        self._open, self._top = None, 0
        self.update()
        self.chrome()
        return True

    def action_rows(self, by: int) -> None:
        if self._open is not None:
            super().action_rows(by)
            return
        self._cursor = min(max(0, self._cursor + by), max(0, len(self._entries) - 1))
        self.update()

    def action_open(self) -> None:
        entry = self._entries[self._cursor]
        if not entry.is_dir and self.run_shown is not None:
            self.deck.start(self._look_into(self.run_shown, entry), f"reading {entry.path}")

    async def _look_into(self, run: RunRecord, entry: FileEntry) -> None:
        try:
            data = await self.services.read_file(run.id, entry.path, FILE)
        except TraindeckError as error:
            self.deck.complain(error)
            return
        self._open, self._top = (entry.path, data, entry.size), 0
        self.update()
        self.chrome()

    def action_copy_path(self) -> None:
        path = f"{self._folder}/{self._entries[self._cursor].path}"
        self.deck.copy(path, "path")
