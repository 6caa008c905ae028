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
    """Whether to go on with a machine whose key is not known. Returns TRUST, or None for no."""

    wanted_cells = 72

    def __init__(self, stranger: Stranger) -> None:
        super().__init__(
            lambda cells, rows: stranger_lines(stranger, cells),
            [Choice("esc", "no", ""), Choice("t", "trust it", TRUST, harmful=True)],
        )

    @property
    def open_for_keys(self) -> bool:
        """Whether it has been there long enough to be answered."""
        return time.monotonic() > self._painted + UNSEEN

    def hold_key(self, event: events.Key) -> bool:
        """Whether a key was meant for something else. Called in the order of typing."""
        return event.time < self._painted + UNSEEN


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
        self._painted = math.inf

    def on_mount(self) -> None:
        self.deck.hush()

    def was_painted(self) -> None:
        """It stands on the screen. Called by the application."""
        self._painted = min(self._painted, time.monotonic())

    @property
    def open_for_keys(self) -> bool:
        """See `TrustScreen.open_for_keys`."""
        return time.monotonic() > self._painted + UNSEEN

    def hold_key(self, event: events.Key) -> bool:
        """See `TrustScreen.hold_key`."""
        return event.time < self._painted + UNSEEN

    def lines(self, cells: int) -> list[Line]:
        glyphs = self.deck.painter.glyphs
        return secret_lines(self._host, self._prompt, bool(self._secret), cells, glyphs)

    def footer_keys(self) -> list[tuple[str, str]]:
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
        elif event.is_printable and event.character and len(self._secret) < LONGEST:
            self._secret.append(event.character)
            self.changed()

    def take_paste(self, text: str) -> None:
        """Text that was pasted: its first line."""
        if self.open_for_keys:
            room = LONGEST - len(self._secret)
            self._secret += next(iter(text.splitlines()), "")[:room]
            self.changed()
