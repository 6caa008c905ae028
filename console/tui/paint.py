"""From lines of named styles to what Textual paints: the one place where theme tokens become Rich
styles. Holds the theme and the glyph set of the running application; both can change while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from traindeck.console.present.cells import Line, fit_line
from traindeck.console.present.color import is_hex, mix
from traindeck.console.present.glyphs import BEST, Glyphs, ascii_text
from traindeck.console.present.theme import Paint, Theme


class Painter:
    """Paints lines in one theme with one set of glyphs."""

    def __init__(self, theme: Theme, glyphs: Glyphs = BEST) -> None:
        self.theme = theme
        self.glyphs = glyphs
        self._styles: dict[tuple[str, str], Style] = {}
        self._dimmed: dict[Style, Style] = {}

    def style(self, style: str, ground: str = "bg") -> Style:
        """The Rich style of a span's style on a ground."""
        found = self._styles.get((style, ground))
        if found is None:
            found = self._styles[style, ground] = _rich(self.theme.paint(style, ground))
        return found

    def strip(self, line: Line, cells: int, ground: str = "bg") -> Strip:
        """A line as a strip of exactly `cells`, the rest filled with the ground."""
        ascii_only = self.glyphs.name == "ascii"
        segments = [
            Segment(
                ascii_text(span.text) if ascii_only else span.text, self.style(span.style, ground)
            )
            for span in fit_line(line, cells)
            if span.text
        ]
        return Strip(segments, cells)

    def blank(self, cells: int, ground: str = "bg") -> Strip:
        """A strip of nothing but ground."""
        return Strip.blank(cells, self.style("text", ground))

    def dim(self, segments: Iterable[Segment]) -> Iterable[Segment]:
        """What lies behind a dialog: most of the ink taken out, no ground stands out."""
        for text, style, control in segments:
            yield Segment(text, self._dim(style), control)

    def _dim(self, style: Style | None) -> Style | None:
        if style is None:
            return None
        found = self._dimmed.get(style)
        if found is None:
            found = self._dimmed[style] = self._dim_style(style)
        return found

    def _dim_style(self, style: Style) -> Style:
        ground = self.theme.tokens["bg"]
        plain = style.clear_meta_and_links()
        if not is_hex(ground) or self.theme.depth in ("16", "none"):
            return plain + Style(dim=True, bold=False, reverse=False)
        if self.theme.depth == "256":
            # There is no room between two palette colours to mix in.
            return self.style("faint") + Style(bold=bool(style.bold))
        ink = style.color.triplet.hex if style.color and style.color.triplet else None
        back = style.bgcolor.triplet.hex if style.bgcolor and style.bgcolor.triplet else None
        shade = mix("#000000", ground, 0.82) if self.theme.dark else mix("#000000", ground, 0.93)
        dimmed = Style.from_color(
            Color.parse(mix(ink, shade, 0.62)) if ink else None,
            Color.parse(mix(back, shade, 0.75)) if back else None,
        )
        return plain + dimmed


def _rich(paint: Paint) -> Style:
    return Style(
        color=_color(paint.ink),
        bgcolor=_color(paint.ground),
        bold=paint.bold or None,
        dim=paint.dim or None,
        italic=paint.italic or None,
        underline=paint.underline or None,
        reverse=paint.reverse or None,
    )


def _color(color: str | None) -> Color | None:
    if color is None or color == "default":
        return Color.default()
    return Color.from_ansi(int(color)) if color.isdecimal() else Color.parse(color)
