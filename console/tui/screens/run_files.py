"""The Files tab of a run: its directory as a tree. A text file is opened as a log is, so that
whatever is in it does no harm and its size does not matter; a binary one only says what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType
from textual.message import Message

from traindeck.backends.base import FileEntry
from traindeck.backends.data import dataclass
from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.numbers import size as bytes_text
from traindeck.console.present.run_files import head, sizes, summary, tree, unfolded
from traindeck.console.store.records import RunRecord
from traindeck.console.tui import keys
from traindeck.console.tui.services import Services

from .run_tab import ScrolledTab

LOOK = 4096
MOST = 2000


class FilesPane(ScrolledTab):
    """The tree."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.FILES)]

    @dataclass
    class Opened(Message):
        """A text file is to be shown."""

        path: str

    def __init__(self, services: Services, *, id: str | None = None) -> None:
        super().__init__(services, id=id)
        self._all: Sequence[FileEntry] = ()
        self._sizes: dict[str, int] = {}
        self._folded: set[str] = set()
        self._entries: list[FileEntry] = []
        self._cursor = 0
        self._folder = ""
        self._pulls: list[asyncio.Task[None]] = []

    async def read(self, run: RunRecord) -> None:
        self._all = await self.services.files(run.id)
        self._folder = await self.services.folder(run.id)
        self._sizes = sizes(self._all)
        self._arrange()

    def _arrange(self, at: str = "") -> None:
        """Show what is not folded away, the cursor on the path it was on."""
        at = at or (self._entries[self._cursor].path if self._entries else "")
        self._entries = unfolded(self._all, self._folded)
        paths = [entry.path for entry in self._entries]
        self._cursor = paths.index(at) if at in paths else min(self._cursor, len(paths) - 1)
        self._cursor = max(0, self._cursor)
        self.action_rows(0)

    @property
    def entry(self) -> FileEntry | None:
        """What the cursor is on."""
        return self._entries[self._cursor] if self._cursor < len(self._entries) else None

    # ----------------------------------------------------------------------------------- content

    @property
    def room(self) -> int:
        return max(1, self.size.height - 1)

    def length(self) -> int:
        return len(self._entries)

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        if not self._entries:
            return self.note()
        now, glyphs = self.deck.clock(), self.deck.painter.glyphs
        shown = tree(
            self._entries,
            self._sizes,
            self._folded,
            self._cursor,
            self.top,
            cells,
            rows - 1,
            now,
            glyphs,
        )
        return [head(self._folder, cells), *shown]

    def context(self) -> Line:
        """The left of the footer."""
        return (Span(summary(self._all, MOST), "muted"),) if self._all else ()

    # ----------------------------------------------------------------------------------- actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("open", "copy_path", "pull"):
            return self.entry is not None
        return True

    def action_rows(self, by: int) -> None:
        self._cursor = min(max(0, self._cursor + by), max(0, len(self._entries) - 1))
        top = min(self.top, self._cursor)
        self.go(max(top, self._cursor - self.room + 1))
        self.chrome()

    def action_open(self) -> None:
        entry = self.entry
        if entry is None or self.shown is None:
            return
        if entry.is_dir:
            self._folded ^= {entry.path}
            self._arrange(entry.path)
        else:
            self.deck.start(self._look_into(self.shown, entry), f"reading {clean(entry.path)}")

    async def _look_into(self, run: RunRecord, entry: FileEntry) -> None:
        from traindeck.console.runs.log_opening import LOG

        if LOG.fullmatch(entry.path):  # of which only the end may be here
            self.post_message(self.Opened(entry.path))
            return
        try:
            start = await self.services.read_file(run.id, entry.path, LOOK)
        except TraindeckError as error:
            self.deck.complain(error)
            return
        if b"\0" in start:
            name = clean(entry.path.rpartition("/")[2])
            words = f"{name} is binary, {bytes_text(entry.size)}; y copies its path"
            self.deck.notice(words, "muted")
            return
        self.post_message(self.Opened(entry.path))

    def action_pull(self) -> None:
        if self.entry is not None and self.shown is not None:
            from .reaching import ask_pull

            ask_pull(self.deck, self.shown, self.entry, self._pulls.append)

    def escape(self) -> bool:
        """Stop the last pull that is going on."""
        self._pulls = [task for task in self._pulls if not task.done()]
        return bool(self._pulls) and self._pulls[-1].cancel()

    def action_copy_path(self) -> None:
        if self.entry is not None:
            folder = f"{self._folder}/" if self._folder else ""
            self.deck.copy(f"{folder}{self.entry.path}", "path")
