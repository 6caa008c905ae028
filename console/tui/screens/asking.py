"""What a connection asks a person: whether this is the right machine, and a password. Both appear
while something else may be going on, so keys that come in their first moment were meant for that,
and do nothing."""

from __future__ import annotations

import math
import time

from textual import events

from traindeck.backends.asking import Stranger
from traindeck.console.present.cells import Line
from traindeck.console.present.dialogs import Choice, secret_lines, stranger_lines

from .overlay import ChoiceScreen, Overlay

UNSEEN = 0.7
"""Seconds from the first paint for which no key is taken: longer than a held key takes to begin
repeating itself, and about what it takes to see that there is a question."""

TRUST = "trust"

LONGEST = 4096
"""Characters of a secret."""


class TrustScreen(ChoiceScreen):
    """Whether to go on with a machine whose key is not known. Returns TRUST, or None for no. The
    answers come up when they can be given."""

    wanted_cells = 72

    def __init__(self, stranger: Stranger) -> None:
        super().__init__(
            lambda cells, rows: stranger_lines(stranger, cells),
            [Choice("esc", "no", ""), Choice("t", "trust it", TRUST, harmful=True)],
        )
        self._seen = Seen(self)

    def was_painted(self) -> None:
        super().was_painted()
        self._seen.painted()

    def lines(self, cells: int) -> list[Line]:
        lines = super().lines(cells)
        return lines if self._seen.ready else [*lines[:-1], ()]

    def footer_keys(self) -> list[tuple[str, str]]:
        return super().footer_keys() if self._seen.ready else []

    def hold_key(self, event: events.Key) -> bool:
        """Whether a key was meant for something else. Called in the order of typing."""
        return not self._seen.counts(event)


class Seen:
    """From when on keys count for a question: some time after it was painted."""

    def __init__(self, screen: Overlay[str | None]) -> None:
        self.ready = False
        self._screen = screen
        self._at = math.inf

    def painted(self) -> None:
        """The question stands on the screen."""
        if self._at == math.inf:
            self._at = time.monotonic() + UNSEEN
            self._screen.set_timer(UNSEEN, self._open)

    def counts(self, event: events.Key) -> bool:
        """Whether a key was pressed after that."""
        return self.ready and event.time >= self._at

    def _open(self) -> None:
        self.ready = True
        self._screen.changed()


class SecretScreen(Overlay[str | None]):
    """A password, passphrase or code, typed without being shown. Returns it, or None if there is
    none. What is typed is held in this object only, and in no form that a report would print."""

    wanted_cells = 72
    edge = "warn"

    def __init__(self, host: str, prompt: str) -> None:
        super().__init__()
        self._host = host
        self._prompt = prompt
        self._secret: list[str] = []
        self._seen = Seen(self)

    def on_mount(self) -> None:
        self.deck.hush()

    def was_painted(self) -> None:
        """It stands on the screen. Called by the application."""
        self._seen.painted()

    def hold_key(self, event: events.Key) -> bool:
        """See `TrustScreen.hold_key`."""
        return not self._seen.counts(event)

    def lines(self, cells: int) -> list[Line]:
        glyphs = self.deck.painter.glyphs
        typed = bool(self._secret)
        return secret_lines(self._host, self._prompt, typed, cells, glyphs, open=self._seen.ready)

    def footer_keys(self) -> list[tuple[str, str]]:
        if not self._seen.ready:
            return []
        return [("enter", "send it"), ("ctrl+u", "begin anew"), ("esc", "none")]

    def take_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self._secret.clear()
            self.dismiss(None)
        elif event.key == "enter":
            if self._secret:  # nothing is no password: esc says that
                self.dismiss("".join(self._secret))
                self._secret.clear()
        elif event.key in ("backspace", "ctrl+h"):
            del self._secret[-1:]
            self.changed()
        elif event.key == "ctrl+u":
            self._secret.clear()
            self.changed()
        elif event.is_printable and not event.key.startswith(("alt+", "ctrl+")):
            self._secret += (event.character or "") if len(self._secret) < LONGEST else ""
            self.changed()

    def take_paste(self, text: str) -> None:
        """Text that was pasted: its first line."""
        if self._seen.ready:
            room = LONGEST - len(self._secret)
            self._secret += next(iter(text.splitlines()), "")[:room]
            self.changed()
