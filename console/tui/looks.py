"""How everything looks: the theme in use, fitted to the terminal, and the signs; and the file of
the theme, which may be changed while it is in use."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.console.present.color import hexed, is_hex, nearest_256, palette_color
from traindeck.console.present.glyphs import Glyphs
from traindeck.console.present.theme import GROUNDS, Theme, to_open_with

from .paint import Painter

if TYPE_CHECKING:
    from traindeck.console.settings import Settings
    from traindeck.console.store.places import Places


class Looks:
    """What is drawn with. Changing it repaints nothing: that is the application's.

    Args:
        settings: They name the theme.
        glyphs: The signs to begin with.
        depth: Colours of the terminal: `truecolor`, `256`, `16`, `none`.
        places: Where the user's themes lie; None: there are only ours.

    Attributes:
        painter: Paints with the theme and the signs in use.
        name: The theme in use.
        wrong: What is wrong with the theme that the settings name, if `dark` stands in for it.

    Raises:
        UsageError: There is no theme of that name.
    """

    def __init__(
        self, settings: Settings, glyphs: Glyphs, depth: str, places: Places | None
    ) -> None:
        self._depth = depth
        self._folder = places.themes if places is not None else None
        self._cache = places.state / "themes.json" if places is not None else None
        self._stamp: tuple[str, object] | None = None
        self.name = settings.theme
        theme, self.wrong = to_open_with(settings, self._folder, self._cache)
        self.painter = Painter(self._fitted(theme), glyphs)

    @property
    def may_change(self) -> bool:
        """Whether there is a folder with themes of the user."""
        return self._folder is not None

    def names(self) -> list[str]:
        """Themes there are, ours and the user's."""
        from traindeck.console.present.theme import available

        return list(available(self._folder))

    def load(self, name: str) -> Theme:
        """A theme, fitted to this terminal.

        Raises:
            UsageError: There is no such theme, or its file is wrong.
        """
        from traindeck.console.present.theme import load

        return self._fitted(load(name, self._folder, self._cache))

    def use(self, name: str) -> None:
        """Paint with another theme.

        Raises:
            UsageError: As `load`. The old one stays.
        """
        self.painter = Painter(self.load(name), self.painter.glyphs)
        self.name = name

    def use_glyphs(self, glyphs: Glyphs) -> None:
        """Paint with other signs."""
        self.painter = Painter(self.painter.theme, glyphs)

    async def reload(self) -> bool:
        """Whether the file of the theme in use has changed since this was asked last; what is in it
        is painted with from now on.

        Raises:
            UsageError: It is wrong now. What was read before stays.
        """
        name = self.name
        stamp = (name, await asyncio.to_thread(_stamp, name, self._folder))
        before, self._stamp = self._stamp, stamp
        if before is None or before[0] != name or stamp == before:
            return False  # the first look at this file
        self.painter = Painter(await asyncio.to_thread(self.load, name), self.painter.glyphs)
        return True

    def css(self) -> dict[str, str]:
        """The colours of the theme for Textual's stylesheets."""
        theme = self.painter.theme
        return {token: _css(theme, token) for token in theme.tokens}

    def _fitted(self, theme: Theme) -> Theme:
        from traindeck.console.present.theme import for_depth, load

        if self._depth in ("truecolor", "256") and not theme.native:
            return for_depth(theme, self._depth, theme)
        return for_depth(theme, self._depth, load("ansi16", None, self._cache))


def _css(theme: Theme, token: str) -> str:
    value = theme.tokens[token]
    if is_hex(value):
        if theme.depth == "256":
            return hexed(palette_color(nearest_256(value, ground=token in GROUNDS)))
        return value
    paint = theme.paint(token) if token not in GROUNDS else theme.paint("text", token)
    color = paint.ground if token in GROUNDS else paint.ink
    return f"ansi_{color}" if color else "ansi_default"


def _stamp(name: str, folder: Path | None) -> tuple[float, int] | None:
    from traindeck.console.present.theme import available

    path = available(folder).get(name)
    try:
        found = os.stat(path) if path is not None else None
    except OSError:
        return None
    return (found.st_mtime, found.st_size) if found is not None else None
