"""What the footer says, and the work in the background that it speaks of."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from textual.app import App

from traindeck.backends.data import dataclass
from traindeck.backends.errors import TraindeckError
from traindeck.console.present.cells import Line, Span, clean, width

if TYPE_CHECKING:
    from traindeck.console.runs.told import Told

    from .paint import Painter

NOTICE_SECONDS = 5.0
COMPLAINT_SECONDS = 12.0
BESIDE = 14
"""Cells of the footer that an urgent notice leaves to its sign and the last key, at most."""
_FOLDERS = re.compile(r"(?<!\S)/(?:[^\s/]+/)+(?=[^\s/])")


@dataclass(frozen=True, slots=True)
class Notice:
    """A line in the footer for a while. `until` is monotonic; an `urgent` one takes the room of
    the keys, and has a `shorter` way to say it where that room is small."""

    line: Line
    until: float
    urgent: bool = False
    shorter: Line = ()


class Saying(App[None], inherit_bindings=False, inherit_css=False):
    """The part of the application that speaks.

    Args:
        told: What the services have to tell, said as it comes.
    """

    def __init__(self, told: Told | None) -> None:
        super().__init__(ansi_color=True)
        self._notice: Notice | None = None
        self._told = told
        self._jobs: dict[asyncio.Task[Any], str] = {}

    @property
    def painter(self) -> Painter:
        """What draws, with the theme and the signs in use."""
        raise NotImplementedError

    def notice(
        self,
        text: str | Line,
        style: str = "text",
        seconds: float = NOTICE_SECONDS,
        *,
        urgent: bool = False,
    ) -> Notice:
        """Say something once, in the footer. What is returned can be taken back."""
        line = (Span(clean(text), style),) if isinstance(text, str) else text
        self._notice = made = Notice(line, time.monotonic() + seconds, urgent)
        self._update_footer()
        return made

    def complain(self, error: Exception) -> Notice:
        """Say that something failed, in the footer."""
        glyph = Span(f"{self.painter.glyphs.failed} ", "failed")
        short = error.what if isinstance(error, TraindeckError) else str(error)
        short = _FOLDERS.sub("", short)  # where room is small, what is wrong matters more
        self._notice = made = Notice(
            (glyph, Span(clean(str(error)), "text")),
            time.monotonic() + COMPLAINT_SECONDS,
            urgent=True,
            shorter=(glyph, Span(clean(short), "text")),
        )
        self._update_footer()
        return made

    def take_back(self, which: Notice | None) -> None:
        """Something that was said holds no more: say it no longer, if it still stands there."""
        if which is not None and self._notice is which:
            self._forget_notice()

    def hush(self, *, all: bool = False) -> None:
        """Say no longer what is not urgent, or nothing."""
        if all or not self.said_urgently:
            self._forget_notice()

    def _forget_notice(self) -> None:
        """It was read."""
        if self._notice is not None:
            self._notice = None
            self._update_footer()

    def _forget_complaint(self, which: Notice | None) -> None:
        """Take a complaint back, if it is still the one that is shown."""
        if which is not None and which.urgent:
            self.take_back(which)

    @property
    def said_urgently(self) -> bool:
        """Whether what the footer has to say may take the room of the keys."""
        return self._notice is not None and self._notice.urgent and self.said is not None

    @property
    def said_shorter(self) -> Line:
        """The same with fewer words; empty if there are none."""
        return self._notice.shorter if self._notice is not None and self.said is not None else ()

    @property
    def said(self) -> Line | None:
        """What the footer has to say now, before the screen's own context."""
        if self._notice is not None and self._notice.until > time.monotonic():
            return self._notice.line
        names = [name for name in self._jobs.values() if name]
        if not names:
            return None
        more = f" · {len(names)} tasks" if len(names) > 1 else ""
        sign = self.painter.glyphs.starting
        return (Span(f"{sign} ", "accent"), Span(names[-1], "text"), Span(more, "muted"))

    def say_next(self) -> None:
        """Now and then: forget what was said long enough, and say what was told since."""
        if self._notice is not None and self._notice.until <= time.monotonic():
            self._notice = None
            self._update_footer()
        self._say_told()

    def _say_told(self) -> None:
        """Say the next thing that was told, once nothing else is being said."""
        line = self._told.take() if self._told is not None and self._notice is None else None
        if line is None or self._told is None:
            return
        sign = Span(f"{self.painter.glyphs.warning} ", "warn")
        self.notice((sign, Span(clean(line), "text")), seconds=COMPLAINT_SECONDS, urgent=True)
        if width(line) > self.size.width - BESIDE:
            self._told.leave(line)

    def _update_footer(self) -> None:
        from .widgets.bars import FooterBar

        for screen in self.screen_stack:
            for bar in screen.query(FooterBar):
                bar.update()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something in the background. Its name stands in the footer while it takes longer than
        a moment; if it fails, the footer says why."""
        task = asyncio.get_running_loop().create_task(
            self._guard(work, self._notice if name else None)
        )
        self._jobs[task] = ""
        task.add_done_callback(self._job_done)
        # What is cancelled before its first step, as the program ends, was never begun.
        task.add_done_callback(lambda _: work.close())
        if name:
            self.set_timer(0.2, lambda: self._name_job(task, name))
        return task

    def _name_job(self, task: asyncio.Task[Any], name: str) -> None:
        if task in self._jobs:
            self._jobs[task] = name
            self._update_footer()

    def _job_done(self, task: asyncio.Task[Any]) -> None:
        if self._jobs.pop(task, ""):
            self._update_footer()

    async def _guard(self, work: Coroutine[Any, Any, None], before: Notice | None) -> None:
        """`before`: what was said when a person asked for this; outdated once it has worked."""
        try:
            await work
            self._forget_complaint(before)
        except TraindeckError as error:
            self.complain(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # A bug: it must be seen, and it must not take the screen with it.
            self.log.error(f"background task failed: {error!r}")
            from .model import bug

            self.complain(bug(error))

    def cancel_jobs(self) -> None:
        """End what goes on in the background: the program ends."""
        for task in list(self._jobs):
            task.cancel()
