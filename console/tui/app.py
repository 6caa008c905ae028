"""The application: one loop, a stack of screens, the theme, and what outlives a screen.

Lean on purpose: nothing is imported before the first paint but Textual and what the Runs screen
shows. It never waits for a service; screens do that in tasks of their own.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

from textual import events
from textual.binding import BindingType

from traindeck.backends.errors import BackendError, TraindeckError, UsageError
from traindeck.backends.states import Reach
from traindeck.console.present.ansi import color_depth
from traindeck.console.present.cells import Span, clean
from traindeck.console.present.chrome import MIN_CELLS, MIN_ROWS
from traindeck.console.present.glyphs import BEST, SETS, Glyphs

from . import keys, memory
from .leaving import leave_when_told, leaves_nothing
from .looks import Looks
from .on_screen import OnScreen
from .saying import Saying
from .state import UiState
from .terminal import check_terminal, choose_glyphs, console_for

if TYPE_CHECKING:
    from textual.driver import Driver
    from textual.screen import Screen

    from traindeck.console.runs.told import Told
    from traindeck.console.settings import Settings
    from traindeck.console.store.places import Places
    from traindeck.console.store.records import RunRecord
    from traindeck.console.tui.services import Services

    from .paint import Painter
    from .questions import Questions, ScreenAsker

T = TypeVar("T")

FIRST_FRAME = 0.1
"""Seconds that the first frame waits for its rows: an empty one would be written for nothing."""

TURN = 0.001
"""Seconds after which the thread of the services, while it works, lets that of the keys go on. With
Python's own five milliseconds a key waits twice as long for its paint beside 10,000 Slurm jobs
(tests/benchmarks/RESULTS.md)."""
RESIZED = 0.03
"""Seconds after a new size at which everything is drawn once more: longer than Textual gathers
sizes for."""
WARM_AFTER = 0.7
"""Seconds after the start at which what the first keys need is imported, on a thread."""
REPEAT_SECONDS = 0.7
"""Within which the same key again may be the first press still: tapped twice, or held (keyboards
begin to repeat after up to 0.66 s)."""
_PROBE = "●━⣿"


def _warm() -> None:
    """Import what opening a run and its log needs, while nobody waits for it."""
    import traindeck.console.runs.controlling
    import traindeck.console.runs.log_session
    import traindeck.console.runs.measuring
    import traindeck.console.tui.screens.run
    import traindeck.console.tui.screens.run_log
    import traindeck.console.tui.screens.run_overview  # noqa: F401


@runtime_checkable
class TakesTyping(Protocol):
    """A line with a field in it that is handed its keys in order, by the application."""

    async def take_typed(self, event: events.Key) -> bool:
        """Take a key; False leaves it to what is bound."""
        ...

    def take_paste(self, text: str) -> None:
        """Take text that was pasted."""
        ...


class TraindeckApp(Saying, inherit_bindings=False, inherit_css=False):
    """Traindeck's screens over a set of services.

    Args:
        services: Everything that is shown or done.
        settings: As loaded; the keys in it are checked here.
        places: Where the user's themes and what the screens remember lie; None keeps nothing.
        environ: Tells what the terminal can show.
        depth: Colours of the terminal, if it is known (`truecolor`, `256`, `16`, `none`).
        clock: Seconds since the epoch. Tests fix it.
        told: What the services have to tell, said in the footer as it comes.
        asker: Whom the services ask what only a person knows; ends with the application.

    Attributes:
        looks: The theme and the signs in use.
        key_repeats: Whether the key being taken is the one before it once more, at once.

    Raises:
        UsageError: The user's keys are wrong, or there is no theme of the name in the settings.
    """

    TITLE = "traindeck"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(keys.APP)]
    CSS = """
    Screen { background: $bg; color: $text; overflow: hidden hidden; layers: base; }
    Overlay { background: transparent; align: center middle; }
    Input, Input:ansi {
        border: none; padding: 0; height: 1; background: $bg; color: $strong;
        &:focus { border: none; background: $select; background-tint: $bg 0%; }
        & > .input--cursor { background: $strong; color: $bg; text-style: none; }
        & > .input--selection { background: $match; color: $on_match; }
        & > .input--placeholder { color: $muted; }
        & > .input--suggestion { color: $faint; }
    }
    """

    def __init__(
        self,
        services: Services,
        settings: Settings,
        *,
        places: Places | None = None,
        environ: Mapping[str, str] | None = None,
        depth: str | None = None,
        clock: Callable[[], float] = time.time,
        told: Told | None = None,
        asker: ScreenAsker | None = None,
    ) -> None:
        env = os.environ if environ is None else environ
        self.services = services
        self._environ = env
        self.settings = settings
        self.clock = clock
        depth = depth or color_depth(env)
        self.looks = Looks(settings, choose_glyphs(settings.glyphs, env), depth, places)
        super().__init__(told)
        # What Textual lays on every screen, and we have the footer's left for.
        self._disable_notifications = self._disable_tooltips = True
        self._on_screen = OnScreen()
        self._waiting = True
        self._lent = False
        self._on_screen.wary = self.painter.glyphs is not BEST
        self.console = console_for(self.console, depth)
        self.ui = UiState.load(places.state / "screens.json" if places is not None else None)
        self._asker = asker
        self._questions: Questions | None = None
        self._typed_text = False
        self._last_key = 0.0
        self._pressed = ("", 0.0)
        self.key_repeats = False
        self._interrupted = 0.0
        self._report_folder = places.state if places is not None else None
        self._failure: TraindeckError | None = None
        self._use_keys(keys.keymap(settings))

    def run(self, *, mouse: bool = True, headless: bool = False, **options: Any) -> None:
        """Show the screens until the person quits.

        Raises:
            UsageError: There is no terminal that screens could be drawn on.
            ScreenFailed: A bug ended it; says where the report is.
        """
        if not headless:
            check_terminal(os.environ, sys.stdin, sys.stderr)
        sys.setswitchinterval(TURN)
        super().run(mouse=mouse and self.settings.mouse, headless=headless, **options)
        if self._failure is not None:
            raise self._failure

    def _fatal_error(self) -> None:
        """Called by Textual while it handles an exception of a widget or a screen. Its own way is
        hundreds of lines with the values of all variables; they are shown only if asked for."""
        error = sys.exception() if sys.version_info >= (3, 11) else sys.exc_info()[1]
        if error is None or self._report_folder is None or os.environ.get("TRAINDECK_DEBUG"):
            super()._fatal_error()
            return
        if self._failure is None:
            from .crash import screen_failed

            self._failure = screen_failed(error, self._screen_words(), self._report_folder)
        self._close_messages_no_wait()

    def _screen_words(self) -> str:
        screen = self.screen_stack[-1] if self.screen_stack else None
        words = getattr(screen, "title_words", "")
        return f"The screen {words or type(screen).__name__}" if screen else "The first screen"

    # --------------------------------------------------------------------------------------- looks

    @property
    def painter(self) -> Painter:
        """What everything is drawn with."""
        return self.looks.painter

    def get_css_variables(self) -> dict[str, str]:
        ours = self.looks.css()
        return {
            **super().get_css_variables(),
            **ours,
            "background": ours["bg"],
            "panel": ours["raised"],
            "foreground": ours["text"],
            "primary": ours["accent"],
            "scrollbar": ours["rule"],
            "scrollbar-background": ours["bg"],
        }

    async def keep_theme(self, name: str) -> None:
        """Show another theme, and from the next start on too: it goes into settings.yaml.

        Raises:
            UsageError: There is no such theme, or its file is wrong. The old one stays.
        """
        self.looks.use(name)
        self._repaint_all()
        path = self.settings.path
        if path is not None and self.looks.may_change:
            from traindeck.console.settings import set_value

            self.settings = await asyncio.to_thread(set_value, path, "theme", name)
            if self.settings.theme != name:
                where = self.settings.source("theme").where
                words = f"theme {name} until the next start: {where} sets another"
                self.notice(words, "warn", urgent=True)

    def apply_settings(self, settings: Settings) -> None:
        """Let other settings hold from now on.

        Raises:
            UsageError: The keys or the theme are wrong. What held before still does.
        """
        keymap = keys.keymap(settings)
        if settings.theme != self.looks.name:
            self.looks.use(settings.theme)
            self._repaint_all()
        if settings.glyphs != self.settings.glyphs:
            self.use_glyphs(choose_glyphs(settings.glyphs, self._environ))
        self.settings = settings
        self._use_keys(keymap)

    def _use_keys(self, keymap: dict[str, str]) -> None:
        self.set_keymap(keymap)
        redraw = keymap.get("app.redraw") or keys.all_actions()["app.redraw"].keys
        self._redraw_keys = frozenset(redraw.split(","))

    def use_glyphs(self, glyphs: Glyphs) -> None:
        """Draw signs from another set."""
        if glyphs is not self.painter.glyphs:
            self.looks.use_glyphs(glyphs)
            self._on_screen.wary = glyphs is not BEST
            self._on_screen.forget()
            self._repaint_all()

    def _repaint_all(self) -> None:
        self.refresh_css(animate=False)
        for screen in self.screen_stack:
            for widget in screen.walk_children():
                repaint = getattr(widget, "repaint", None)
                if repaint is not None:
                    repaint()
            screen.refresh()

    async def _follow_theme(self) -> None:
        """The file of the theme in use, when it changes, is taken over at once; a wrong one is
        reported and changes nothing."""
        while True:
            await asyncio.sleep(1.0)
            try:
                changed = await self.looks.reload()
            except TraindeckError as error:
                self.complain(error)
                continue
            if changed:
                self._repaint_all()
                self.notice("theme reloaded")

    # ------------------------------------------------------------------------------------- screens

    def get_default_screen(self) -> Screen[Any]:
        from .screens.runs import RunsScreen

        return RunsScreen()

    @property
    def _background_screens(self) -> list[Screen[Any]]:
        """The screens that can be seen through the one on top. Textual counts the one below an
        opaque screen too, and paints all of the top one whenever something changes down there."""
        opaque = self.screen.styles.background.a == 1
        return [] if opaque else super()._background_screens

    def get_driver_class(self) -> type[Driver]:
        return leaves_nothing(super().get_driver_class())

    def on_mount(self) -> None:
        asks = self.settings.glyphs == "auto" and self.painter.glyphs is BEST
        if asks and self._driver is not None and not self.is_headless:
            # A terminal that draws these two cells wide (CJK locales) says so here. It is asked
            # before the first frame, and nobody waits for the answer.
            self._driver.write(f"\x1b[1;1H{_PROBE}\x1b[6n\x1b[1;1H\x1b[K")
        if self._driver is not None and not self.is_headless:
            # Right-to-left names would otherwise drag the columns beside them along.
            self._driver.write("\x1b[8l")
            leave_when_told(self.exit)
            self.set_timer(WARM_AFTER, lambda: self.start(asyncio.to_thread(_warm), ""))
            self.set_timer(2 * WARM_AFTER, self._begin_collecting)
        self.set_timer(FIRST_FRAME, self._wait_no_more)
        self.app_resume_signal.subscribe(self, self._resumed)
        self.set_interval(1.0, self.say_next)
        if self._asker is not None:
            from .questions import Questions

            self._questions = Questions(self, self._asker)
            self._questions.begin()
        if self.looks.may_change:
            self.start(self._follow_theme(), "")
        if self.looks.wrong is not None:  # once it is mended it is taken over
            self.complain(self.looks.wrong)

    def _begin_collecting(self) -> None:
        memory.begin()
        self.set_interval(memory.EVERY, lambda: memory.collect(self.idle))

    def _resumed(self, _app: object) -> None:
        """Back from ctrl+z: the terminal is empty, whatever was painted before."""
        if self._driver is not None and not self.is_headless:
            self._driver.write("\x1b[8l")
        self.action_redraw()

    async def lend_terminal(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Give the terminal away for as long as something runs in it; then everything is as it was.
        Nothing is drawn meanwhile, and what goes on in the background goes on.

        Raises:
            UsageError: There is no terminal that could be given away.
        """
        if self._driver is None or not self._driver.can_suspend:
            raise UsageError("This terminal cannot be handed to another program.")
        self._lent = True
        try:
            with self.suspend():
                return await work()
        finally:
            self._lent = False
            self.action_redraw()

    def action_redraw(self) -> None:
        """Write everything again: something else has written to the terminal."""
        self._on_screen.forget()
        self.screen.refresh(layout=True)
        self._repaint_all()

    def shows(self, screen: Screen[Any]) -> bool:
        """Whether a screen is drawn yet: the first frame waits for what it is to show."""
        self._waiting = self._waiting and not getattr(screen, "has_content", True)
        return not self._waiting

    def _wait_no_more(self) -> None:
        if self._waiting and self.screen_stack:
            self._waiting = False
            self.screen.refresh()

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if self._lent:
            return
        super()._display(screen, self._on_screen.difference(renderable))
        if (painted := getattr(screen, "was_painted", None)) is not None:
            painted()

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        if self.settings.glyphs == "auto" and event.x > len(_PROBE):
            # Braille is narrow everywhere; if the text is wider, `●` or `━` is.
            self.use_glyphs(SETS["plain" if event.x <= len(_PROBE) + 1 else "ascii"])

    def _draw_again(self) -> None:
        for screen in self.screen_stack[-1:]:  # there is none if it ends meanwhile
            screen.refresh()

    def on_resize(self, event: events.Resize) -> None:
        self._on_screen.forget()
        # Two in quick succession, there and back, are no new size to Textual, which then draws
        # nothing; the terminal has cut off what it showed all the same.
        self.set_timer(RESIZED, self._draw_again)
        small = event.size.width < MIN_CELLS or event.size.height < MIN_ROWS
        if not small and len(self.screen_stack) == 1:
            return
        from .screens.too_small import TooSmallScreen

        shown = [screen for screen in self.screen_stack if isinstance(screen, TooSmallScreen)]
        if small and not isinstance(self.screen, TooSmallScreen):
            self.push_screen(TooSmallScreen())
        elif not small:
            for screen in shown:  # a dialog may have come on top of it
                screen.leave()

    def open_run(self, run: RunRecord, tab: str) -> None:
        """Show one run, at one of its tabs (`overview`, `charts`, `log`, `files`, `config`); "" is
        the one where one was."""
        screen = self.new_screen("run", run=run, tab=tab)
        if screen is not None:
            self.push_screen(screen)

    def open_launch(self, like: RunRecord | None) -> None:
        """The form for a new run, filled in like another one if given."""
        screen = self.new_screen("launch", like=like)
        if screen is not None:
            self.push_screen(screen)

    def open_fleet(self) -> None:
        """The accelerators of all places."""
        screen = self.new_screen("fleet")
        if screen is not None:
            self.push_screen(screen)

    def new_screen(self, name: str, **arguments: Any) -> Screen[Any] | None:
        """A screen by its name in `screens.index.SCREENS`, made with these arguments."""
        from .screens.index import SCREENS

        found = SCREENS.get(name)
        return None if found is None else found.load()(**arguments)

    def go_home(self) -> None:
        """Back to Runs from wherever."""
        while len(self.screen_stack) > 1:
            self.pop_screen()

    async def on_unmount(self) -> None:
        if self._asker is not None:
            self._asker.close()
        self.cancel_jobs()
        self.ui.save()

    # ----------------------------------------------------------------------------------------- keys

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded:
            self._last_key = time.monotonic()
            if event.key == "escape":
                self.hush(all=True)
            if event.key in self._redraw_keys:  # also where a dialog or a field has the keys
                self.action_redraw()
                return
            if await self._take_key(event):
                return
        elif isinstance(event, events.Paste) and not event.is_forwarded:
            # In order, too: a key after it must find it there.
            line = self.line_typed_in() or self.screen
            take = getattr(line, "take_paste", None)
            if take is not None:
                take(event.text)
                return
        await super().on_event(event)

    async def _take_key(self, event: events.Key) -> bool:
        """Do what a key is bound to before the next one is looked at.

        Textual passes a key to the focused widget and up again from queue to queue; the next key
        may overtake it, and `y` `i` typed fast would lose the `i` that belongs to the menu of `y`.
        Widgets that edit text want their keys themselves and get them the usual way, unless they
        stand in a line that takes them in order: there, what follows `/` in one burst is text.
        """
        before, now = self._pressed, self.clock()
        self._pressed = (event.key, now)
        self.key_repeats = event.key == before[0] and 0 <= now - before[1] < REPEAT_SECONDS
        screen, focused = self.screen, self.screen.focused
        self._typed_text = event.is_printable and getattr(screen, "typing", True)
        hold = getattr(screen, "hold_key", None)
        if hold is not None and hold(event):
            return True
        take = getattr(screen, "take_key", None)
        if take is not None and focused is None:
            # What a screen does not take for itself (False) may be bound.
            return take(event) is not False or await self._do_bound(event.key)
        line = self.line_typed_in()
        if line is not None:
            if not await line.take_typed(event):
                await self._do_bound(event.key)
            return True
        if focused is not None and not getattr(focused, "keys_in_order", False):
            return False
        return await self._do_bound(event.key)

    async def take_late(self, event: events.Key) -> None:
        """Do a key that its screen has held back, as if it came now."""
        if not await self._take_key(event):
            await super().on_event(event)

    async def _do_bound(self, key: str) -> bool:
        return await self._check_bindings(key, priority=True) or await self._check_bindings(key)

    def line_typed_in(self) -> TakesTyping | None:
        """The line that has the focus in it and takes keys in order, if there is one."""
        focused = self.screen.focused
        within = focused.ancestors if focused is not None else ()
        return next((widget for widget in within if isinstance(widget, TakesTyping)), None)

    @property
    def idle(self) -> float:
        """Seconds since the last key."""
        return time.monotonic() - self._last_key

    def waits(self, seconds: float) -> bool:
        """Whether the person seems to wait: no key for so long, and the last one was no text."""
        return self.idle > seconds and not self._typed_text

    @property
    def can_be_asked(self) -> bool:
        """Whether a question may come up over the screen: nothing else lies there."""
        from .screens.base import DeckScreen

        return isinstance(self.screen, DeckScreen)

    @property
    def connect_key(self) -> str:
        """The key of `action_connect` that does it here and now, as it is shown."""
        from .screens.base import DeckScreen, active_actions

        screen = next((s for s in reversed(self.screen_stack) if isinstance(s, DeckScreen)), None)
        if screen is None:
            return "C"
        bound = active_actions(screen).get("app.connect", [])
        return next((keys.key_text(key) for key in screen.keys_now(bound)), ":connect")

    def action_connect(self) -> None:
        """Answer what a place asks; if none does, try those again that do not answer."""
        self.hush(all=True)  # what went wrong last, this may mend
        if self._questions is None or not self._questions.open_now():
            self.start(self._connect(), "connecting")

    async def _connect(self) -> None:
        silent = [place for place in await self.services.places() if place.reach is not Reach.OK]
        if not silent:
            self.notice("every place answers")
        await asyncio.gather(*(self._connect_one(place.name) for place in silent))
        from .screens.base import DeckScreen

        for screen in self.screen_stack:
            if isinstance(screen, DeckScreen):
                screen.connected()

    async def _connect_one(self, name: str) -> None:
        health = await self.services.probe(name, asked=True)
        if health.reach is Reach.OK:
            self.notice((Span(f"{self.painter.glyphs.running} ", "running"),
                         Span(f"{clean(name)} answers", "text")), urgent=True)  # fmt: skip
        else:
            said = next((text for passed, text in health.checks if not passed), health.note)
            self.complain(BackendError(f"{name}: {said}" if name not in said else said))

    def action_palette(self) -> None:
        from .screens.palette import PaletteScreen

        self.push_screen(PaletteScreen(self.screen))

    def action_keys(self) -> None:
        from .screens.help import HelpScreen

        self.push_screen(HelpScreen(self.screen))

    def back(self) -> None:
        """To the screen below; never out of the program."""
        if len(self.screen_stack) > 1:
            self.pop_screen()

    async def action_back(self) -> None:
        self.back()

    def action_leave(self) -> None:
        if len(self.screen_stack) > 1:
            self.pop_screen()
        else:
            self.exit()

    def action_interrupt(self) -> None:
        now = time.monotonic()
        if now - self._interrupted < 2.0:
            self.exit()
            return
        self._interrupted = now
        self.notice("ctrl+c again quits; runs go on", seconds=2)

    def copy(self, text: str, what: str) -> None:
        """Put text on the clipboard of the terminal, by OSC 52: it also works over SSH."""
        self.copy_to_clipboard(text)
        self.notice((Span(f"copied {what}: ", "muted"), Span(clean(text[:200]), "text")))
