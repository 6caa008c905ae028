"""Name, tags and note of a run, to be changed; of several their tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.widgets import Input

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.dialogs import wrapped
from traindeck.console.runs.request import parse_tag_changes, parse_tags, split_words, tags_text
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.widgets.bars import FooterBar
from traindeck.console.tui.widgets.field import Field

from .overlay import Overlay, Panel

FIELDS = ("name", "tags", "note")
SEVERAL = (
    "words or name=value are set of all, -name is taken away; "
    "names and notes are edited one run at a time"
)


class EditScreen(Overlay[bool]):
    """The form. Returns whether something was changed; a refused change keeps what was typed.

    The application hands it its keys in order: in one burst, what follows `tab` belongs to the next
    field, and what comes before there are fields to the first. What follows `enter` is for the
    screen below, or, if the change was refused, for the field that has it.
    """

    BINDINGS: ClassVar[list[BindingType]] = []
    DEFAULT_CSS = """
    EditScreen Vertical { layer: fields; position: absolute; }
    EditScreen Vertical { width: auto; height: auto; background: transparent; }
    EditScreen { layers: base fields; }
    EditScreen Input { width: 58; }
    """

    def __init__(self, *runs: RunRecord) -> None:
        super().__init__()
        self._runs = runs
        self._fields = FIELDS if len(runs) == 1 else ("tags",)
        self._problem = ""
        self._held: list[events.Key] | None = []

    def compose(self) -> ComposeResult:
        yield Panel()
        with Vertical():
            run, *others = self._runs
            shown = (
                {"tags": ""}
                if others
                else {"name": run.name, "tags": tags_text(run.tags), "note": run.note}
            )
            for name in self._fields:
                yield Field(shown[name], id=name)
        yield FooterBar()

    def on_mount(self) -> None:
        self.set_focus(self._first)
        for event in self._let_go():
            self._take(event)
        self.screen_layout_refresh_signal.subscribe(self, self._place, immediate=True)

    def _place(self, _: object) -> None:
        """Put the fields beside their labels, wherever the panel has come to stand."""
        panel = self.query_one(Panel).region
        cells = max(10, panel.width - 6 - 8)
        for entry in self.query(Input):
            entry.styles.width = cells
        self.query_one(Vertical).styles.offset = (panel.x + 3 + 8, panel.y + 3)

    def lines(self, cells: int) -> list[Line]:
        run, *others = self._runs
        title = f"the tags of {len(self._runs):,} runs" if others else clean(run.name or run.id)
        rows: list[Line] = [
            (Span("Edit ", "accent bold"), Span(title, "text")),
            (),
            *((Span(name, "muted"),) for name in self._fields),
            (),
        ]
        if self._problem:
            rows += wrapped(f"{self.deck.painter.glyphs.failed} {self._problem}", cells, "failed")
        elif others:
            rows += wrapped(SEVERAL, cells, "faint")
        else:
            rows.append((Span("tags are words or name=value, with spaces between", "faint"),))
        return rows

    def footer_keys(self) -> list[tuple[str, str]]:
        return [("enter", "keep"), ("tab", "next"), ("esc", "leave as it was")]

    def take_key(self, event: events.Key) -> None:
        if self._held is None:
            super().take_key(event)
        else:
            self._held.append(event)

    async def take_typed(self, event: events.Key) -> bool:
        """A key, in order. Called by the application."""
        return self._take(event)

    def take_paste(self, text: str) -> None:
        """Text that was pasted: its first line."""
        self._field.enter_text(next(iter(text.splitlines()), ""))

    @property
    def _field(self) -> Field:
        """The one that is typed in."""
        return self.focused if isinstance(self.focused, Field) else self._first

    @property
    def _first(self) -> Field:
        return self.query_one(f"#{self._fields[0]}", Field)

    def _let_go(self) -> list[events.Key]:
        """The keys that were held back; from now on none is."""
        held, self._held = self._held or [], None
        return held

    def _take(self, event: events.Key) -> bool:
        if event.key == "escape":
            self.dismiss(False)
        elif self._held is not None:
            self._held.append(event)
        elif event.key in ("tab", "down"):
            self.focus_next("Input")
        elif event.key in ("shift+tab", "up"):
            self.focus_previous("Input")
        elif event.key == "enter":
            self._submit()
        else:
            return self._field.take(event)
        return True

    def _submit(self) -> None:
        self._held = []
        fields = [self.query_one(f"#{name}", Field) for name in self._fields]
        # What was not touched is not written: a name that cannot be shown whole stays as it is.
        values = {str(f.id): f.value.strip() for f in fields if f.changed}
        self.deck.start(self._save(values), "saving")

    def _changed_tags(self, words: Sequence[str]) -> dict[str, str | None]:
        """What was changed of the tags: others may have been set elsewhere meanwhile."""
        before, after = self._runs[0].tags, parse_tags(words)
        gone = {name: None for name in before if name not in after}
        new = {name: value for name, value in after.items() if before.get(name) != value}
        return {**gone, **new}

    async def _save(self, values: Mapping[str, str]) -> None:
        try:
            note = await self._write(values)
        except TraindeckError as error:
            self._problem = str(error)
            self.changed()
            for event in self._let_go():
                self._take(event)
            return
        if note:
            self.deck.notice(note, "warn")
        if self.is_current:  # it may have been left meanwhile
            self.dismiss(True)
            for event in self._let_go():
                await self.deck.take_late(event)

    async def _write(self, values: Mapping[str, str]) -> str:
        words = split_words(values["tags"], "Tags") if "tags" in values else None
        if len(self._runs) > 1:
            await self.deck.services.tag(
                [run.id for run in self._runs], parse_tag_changes(words or [])
            )
            return ""
        return await self.deck.services.describe(
            self._runs[0].id,
            name=values.get("name"),
            tags=None if words is None else self._changed_tags(words),
            note=values.get("note"),
        )
