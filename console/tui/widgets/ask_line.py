"""A line in which something is typed in place of another line: a search, a filter, a place to go.
Enter takes it, esc leaves everything as it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events
from textual.app import ComposeResult

from traindeck.backends.data import dataclass
from traindeck.console.present.cells import Line, Span, line_width

from .field import Field
from .lines import Lines


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be typed.

    Attributes:
        label: Stands before it.
        hint: Stands in it while it is empty.
        word: What enter does, in the footer.
        patterns: It may be a regular expression, and case may not matter.
    """

    label: str
    hint: str = ""
    word: str = "go"
    patterns: bool = False


class AskLine(Lines):
    """The line. Hidden until `ask`.

    Args:
        answered: Called when the person is done, with None if the line was left.

    Attributes:
        question: What is being asked; None while nothing is.
        regex, any_case: What the person chose, kept from one question to the next.
    """

    DEFAULT_CSS = """
    AskLine { layout: horizontal; height: 1; background: $select; display: none; }
    """

    def __init__(self, answered: Callable[[str | None], None]) -> None:
        super().__init__(ground="select")
        self._answered = answered
        self.field = Field()
        self.question: Question | None = None
        self.regex = False
        self.any_case = False

    def compose(self) -> ComposeResult:
        yield self.field

    def ask(self, question: Question, text: str = "") -> None:
        """Let the person type, beginning with this text."""
        self.question = question
        self.field.placeholder = question.hint
        self.field.value = text
        self.field.cursor_position = len(self.field.value)
        self.display = True
        self._arrange()
        # At once: the next key is text already.
        self.screen.set_focus(self.field, scroll_visible=False)

    def keys(self) -> list[tuple[str, str]]:
        """The footer's keys while something is typed."""
        if self.question is None:
            return []
        ways = [("ctrl+r", "regex"), ("ctrl+t", "any case")] if self.question.patterns else []
        f1: list[tuple[str, str]] = getattr(self.screen, "help_while_typing", list)()
        return [("enter", self.question.word), *ways, *f1, ("esc", "as before")]

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        return [self._label()]

    def _label(self) -> Line:
        question = self.question or Question("")
        label = f"{question.label}" + ("" if len(question.label) == 1 else " ")
        line = [Span(self.deck.painter.glyphs.cursor, "accent"), Span(label, "accent bold")]
        if question.patterns and self.regex:
            line.append(Span("regex ", "muted"))
        if question.patterns and self.any_case:
            line.append(Span("any case ", "muted"))
        return tuple(line)

    def _arrange(self) -> None:
        self.field.styles.margin = (0, 1, 0, line_width(self._label()))
        self.repaint()

    def _end(self, text: str | None) -> None:
        self.question = None
        self.display = False
        self._answered(text)

    async def take_typed(self, event: events.Key) -> bool:
        """A key, in order: what follows enter in one burst is for the screen. Called by the
        application."""
        patterns = self.question is not None and self.question.patterns
        if event.key in ("enter", "escape"):
            self._end(self.field.value if event.key == "enter" else None)
        elif event.key == "ctrl+r" and patterns:
            self.regex = not self.regex
            self._arrange()
        elif event.key == "ctrl+t" and patterns:
            self.any_case = not self.any_case
            self._arrange()
        else:
            return self.field.take(event)
        return True

    def take_paste(self, text: str) -> None:
        """Text that was pasted: its first line."""
        self.field.enter_text(next(iter(text.splitlines()), ""))
