"""What every screen of Traindeck has: a header, a footer made from its own keys, and help."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen

from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line
from traindeck.console.present.chrome import PlaceMark
from traindeck.console.tui import keys
from traindeck.console.tui.typed import typed
from traindeck.console.tui.widgets.bars import FooterBar, HeaderBar

if TYPE_CHECKING:
    from traindeck.console.store.records import RunRecord
    from traindeck.console.tui.app import TraindeckApp
    from traindeck.console.tui.services import Place


def active_actions(screen: Screen[Any], *, resting: bool = False) -> dict[str, list[str]]:
    """Action id -> the keys that do it on a screen, here and now. What footer and help show.

    Args:
        resting: Also those that have nothing to act on just now.
    """
    found: dict[str, list[str]] = {}
    for key, active in screen.active_bindings.items():
        if active.binding.id and (active.enabled or resting):
            found.setdefault(active.binding.id, []).append(key)
    return found


def place_mark(place: Place, connect: str) -> PlaceMark:
    """A backend for the header; `connect` is the key by which a person connects to it."""
    return PlaceMark(
        name=place.name,
        reach=place.reach,
        seen_at=place.seen_at,
        next_try=place.next_try,
        connect=connect if place.person else "",
    )


def tries_of(places: Sequence[Place]) -> dict[str, float]:
    """When those of these places are tried again that do not answer, by their names."""
    return {place.name: place.next_try for place in places if place.next_try is not None}


class DeckScreen(Screen[None], inherit_bindings=False):
    """A full screen. Subclasses say what stands between header and footer.

    Attributes:
        scope: The table of keys in `keys.SCOPES` that belongs to it.
        title_words: How it is called.
    """

    # Bound here and not by the application alone, so that a screen may have something to take back
    # before it is left.
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "back", show=False, id="app.back")]
    scope: ClassVar[str] = ""
    title_words: ClassVar[str] = ""
    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self.header_bar = HeaderBar()
        self.footer_bar = FooterBar()
        self._tasks: list[asyncio.Task[None]] = []

    def compose(self) -> ComposeResult:
        yield self.header_bar
        yield from self.body()
        yield self.footer_bar

    def _compositor_refresh(self) -> None:
        if self.deck.shows(self):  # else what changed is kept in mind, and drawn with the rest
            super()._compositor_refresh()

    def body(self) -> ComposeResult:
        """The widgets between header and footer."""
        yield from ()

    @property
    def deck(self) -> TraindeckApp:
        """The application, with its own type."""
        from traindeck.console.tui.app import TraindeckApp

        assert isinstance(self.app, TraindeckApp)
        return self.app

    def action_back(self) -> None:
        """`esc`: to the screen before this one."""
        self.deck.back()

    # ------------------------------------------------------------------------------ for the chrome

    def crumbs(self) -> Sequence[str]:
        """Where one is, from Runs down."""
        return (self.title_words,)

    def counts(self) -> Sequence[Line]:
        """The screen's own counts, as clauses."""
        return ()

    def places(self) -> Sequence[PlaceMark]:
        """The backends, for the header."""
        return ()

    def connected(self) -> None:
        """A person had places tried again that did not answer, and they may now."""

    def run_in_hand(self) -> RunRecord | None:
        """The one run that is looked at."""
        return None

    def context(self) -> Line:
        """The left of the footer while there is nothing else to say."""
        return ()

    def footer_keys(self) -> list[tuple[str, str]]:
        """Key and label of what can be done now, most used first."""
        known = keys.all_actions()
        shown = []
        for name, bound in active_actions(self).items():
            action = known.get(name)
            if action is not None and action.rank and (here := self.keys_now(bound)):
                shown.append((action.rank, keys.key_text(here[0]), self.label_of(action)))
        if self.deck.painter.glyphs.name == "ascii":
            shown = [(rank, keys.in_words(key), label) for rank, key, label in shown]
        return [(key, label) for _, key, label in sorted(shown)]

    def help_while_typing(self) -> list[tuple[str, str]]:
        """For the footer of a line being typed: the key of the help that is no text."""
        bound = self.keys_now(active_actions(self).get("app.help", ()))
        return [(keys.key_text(key), "keys") for key in bound[:1]]

    @property
    def explains_line(self) -> bool:
        """Whether the help is first of all about what is being typed."""
        return False

    @property
    def typing(self) -> bool:
        """Whether a key that is a character is text."""
        return self.deck.line_typed_in() is not None

    def keys_now(self, bound: Sequence[str]) -> list[str]:
        """Of these keys those that do what they are bound to: where something is typed, what types
        or edits does that instead."""
        if not self.typing:
            return list(bound)
        return [key for key in bound if not keys.types(key) and typed(Caret(), key, None) is None]

    def label_of(self, action: keys.Action) -> str:
        """The word for an action in the footer; a screen may be more exact."""
        return action.label

    # ---------------------------------------------------------------------------------------- life

    def spawn(self, work: Any, name: str = "") -> asyncio.Task[None]:
        """A background task that ends with the screen."""
        task = self.deck.start(work, name)
        self._tasks.append(task)
        task.add_done_callback(self._tasks.remove)
        return task

    async def on_unmount(self) -> None:
        for task in list(self._tasks):
            task.cancel()

    def update_chrome(self) -> None:
        """Look at header and footer again."""
        self.header_bar.update()
        self.footer_bar.update()
