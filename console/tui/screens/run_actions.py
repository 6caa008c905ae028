"""Questions before something is done to runs, and doing it: stop, retry, remove, copy.

Each takes the screen and the runs it is about, how many more were chosen that nothing happens to
(`others`) and how many more are marked where they cannot be seen (`hidden`); the work is a task in
the background, its outcome a line in the footer.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from traindeck.backends.base import Limits
from traindeck.backends.errors import TraindeckError, UsageError
from traindeck.backends.states import State
from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.dialogs import Choice, remove_lines, retry_lines, stop_lines
from traindeck.console.present.numbers import plural
from traindeck.console.store.records import RunRecord
from traindeck.console.tui.services import Outcome

from .overlay import ChoiceScreen, ErrorScreen, MenuScreen

if TYPE_CHECKING:
    from textual.app import App
    from textual.binding import ActiveBinding

    from traindeck.console.tui.app import TraindeckApp


FOLLOW = 1.0
"""Seconds between looks at the runs of a question."""


class Acting(Protocol):
    """A screen from which something is done to runs."""

    @property
    def app(self) -> App[Any]: ...

    @property
    def deck(self) -> TraindeckApp: ...

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]: ...

    @property
    def is_mounted(self) -> bool: ...

    def spawn(self, work: Any, name: str = "") -> asyncio.Task[None]: ...

    def acted(self) -> None:
        """Something was done: look again."""
        ...

    def name_of(self, run_id: str) -> str:
        """What a run is called; its id if that is not known."""
        ...


def _note(screen: Acting, words: str) -> Line:
    return (Span(f"{screen.deck.painter.glyphs.warning} ", "warn"), Span(words, "text"))


def _both(runs: Sequence[RunRecord], one: str) -> str:
    return one if len(runs) == 1 else f"{one} both" if len(runs) == 2 else f"{one} all {len(runs)}"


def ask_stop(screen: Acting, runs: Sequence[RunRecord], others: int = 0, hidden: int = 0) -> None:
    """Stop runs, after asking."""
    deck = screen.deck
    question = _StopScreen(runs, others, hidden, note=_note(screen, "nothing is stopped yet"))

    def answered(result: str | None) -> None:
        if result == "stop":
            ids = [run.id for run in question.runs]
            deck.start(  # it goes on when the screen is left
                _do(screen, deck.services.stop(ids, None), "stop", "asked to stop", len(ids)),
                f"stopping {plural(len(ids), 'run')}",
            )

    deck.push_screen(question, answered)


class _StopScreen(ChoiceScreen):
    """Asks whether to stop runs. They go on meanwhile: what it says follows them, and when the last
    one is over there is nothing to ask any more."""

    def __init__(self, runs: Sequence[RunRecord], others: int, hidden: int, *, note: Line) -> None:
        super().__init__(self._said, (), note=note)
        self.runs = list(runs)
        self._others = others
        self._hidden = hidden
        self._graces: dict[str, float] = {}
        self._offer()

    def _said(self, cells: int, rows: int) -> Sequence[Line]:
        deck = self.deck
        return stop_lines(
            self.runs,
            [self._graces[run.id] for run in self.runs if run.id in self._graces],
            deck.clock(),
            cells,
            deck.painter.glyphs,
            others=self._others,
            hidden=self._hidden,
            rows=rows,
        )

    def _offer(self) -> None:
        waiting = all(run.state in (State.NEW, State.QUEUED) for run in self.runs)
        self.offer(
            Choice("esc", "keep waiting" if waiting else "keep running", ""),
            Choice("s", _both(self.runs, "stop"), "stop", harmful=True),
        )

    def on_mount(self) -> None:
        self._following = self.deck.start(self._follow(), "")

    def on_unmount(self) -> None:
        self._following.cancel()

    async def _follow(self) -> None:
        for run in self.runs:  # each was started with its own
            with suppress(TraindeckError):
                spec = await self.deck.services.spec(run.id)
                self._graces[run.id] = (spec.limits if spec else Limits()).grace
        self.changed()
        while True:
            await asyncio.sleep(FOLLOW)
            found: list[RunRecord | None] = [*self.runs]
            with suppress(TraindeckError):  # what cannot be asked is as it was
                found = [await self.deck.services.run(run.id) for run in self.runs]
            known = [run for run in found if run is not None]
            left = [run for run in known if run.stoppable]
            if left:
                self._others += len(self.runs) - len(left)
                self.runs = left
                self._offer()
                self.changed()
            elif self.is_current:  # another screen may lie over it
                self.deck.notice(over_already(known or self.runs))
                self.dismiss(None)


def over_already(runs: Sequence[RunRecord]) -> str:
    """Why these are not stopped."""
    if len(runs) > 1:
        return f"all {len(runs):,} are over already"
    (run,) = runs
    word = "stopping" if run.active else "over"
    return f"{clean(run.name or run.id)} is {word} already"


def say_why_not(screen: Acting, key: str, runs: Sequence[RunRecord]) -> None:
    """For a key that would do something to runs and is for none of them: why."""
    bound = screen.active_bindings.get(key)
    if bound is not None and not bound.enabled:
        why_not(screen, bound.binding.action, runs)


def why_not(screen: Acting, action: str, runs: Sequence[RunRecord]) -> None:
    """Say why an action is for none of these runs."""
    if not runs:
        return
    if action == "stop":
        screen.deck.notice(over_already(runs))
    elif action == "seen":
        name = clean(runs[0].name or runs[0].id)
        none = f"none of these {len(runs):,} needs you"
        screen.deck.notice(none if runs[1:] else f"{name} does not need you")
    elif action in ("retry", "remove"):
        error = _refusal(action, runs[0])
        more = f" Nor can the {len(runs) - 1:,} others be {_DONE[action]}." if runs[1:] else ""
        if error is not None:
            screen.deck.notice(f"{clean(error.what)}{more}")


_DONE = {"retry": "retried", "remove": "removed"}


def _refusal(action: str, run: RunRecord) -> UsageError | None:
    from traindeck.console.runs.controlling import refuse_removal
    from traindeck.console.runs.retrying import refusal

    if action == "retry":
        return refusal(run)
    try:
        refuse_removal(run)
    except UsageError as error:
        return error
    return None


def ask_retry(screen: Acting, runs: Sequence[RunRecord], others: int = 0, hidden: int = 0) -> None:
    """Try runs again, after asking."""
    deck = screen.deck
    now, glyphs = deck.clock(), deck.painter.glyphs
    options = [
        Choice("esc", "leave it", ""),
        Choice("r", _both(runs, "retry"), "retry", harmful=True),
    ]
    ids = [run.id for run in runs]

    def answered(result: str | None) -> None:
        if result == "retry":
            work = deck.services.retry(ids)
            deck.start(  # it goes on when the screen is left
                _do(screen, work, "retry", "started again", len(ids)),
                f"starting {plural(len(ids), 'run')}",
            )

    deck.push_screen(
        ChoiceScreen(
            lambda cells, rows: retry_lines(
                runs, now, cells, glyphs, others=others, hidden=hidden, rows=rows
            ),
            options,
            edge="accent",
        ),
        answered,
    )


def ask_remove(screen: Acting, runs: Sequence[RunRecord], others: int = 0, hidden: int = 0) -> None:
    """Delete runs, after saying what is lost and asking."""
    ids = [run.id for run in runs]

    async def look() -> None:
        found = await screen.deck.services.removal(ids)
        left = [run for run in runs if run.id not in found.refused]
        if not left:
            why = next(iter(found.refused.values()), "nothing to remove")
            screen.deck.notice(f"not removed: {why}", "warn")
            return
        refused = len(found.refused) + others
        _ask_remove(screen, left, found.size, found.artifacts, refused, hidden)

    screen.spawn(look(), "looking at what would be removed")


def _ask_remove(
    screen: Acting,
    runs: Sequence[RunRecord],
    freed: int | None,
    artifacts: int | None,
    refused: int,
    hidden: int,
) -> None:
    deck = screen.deck
    now, glyphs = deck.clock(), deck.painter.glyphs
    options = [Choice("esc", "keep", ""), Choice("d", _both(runs, "delete"), "all", harmful=True)]
    if artifacts:
        options.append(Choice("a", "delete, keep artifacts", "keep", harmful=True))
    ids = [run.id for run in runs]

    def answered(result: str | None) -> None:
        if result is not None:
            work = deck.services.remove(ids, keep_artifacts=result == "keep")
            deck.start(  # it goes on when the screen is left
                _do(screen, work, "remove", "removed", len(ids)),
                f"removing {plural(len(ids), 'run')}",
            )

    note = _note(screen, "cannot be undone")
    deck.push_screen(
        ChoiceScreen(
            lambda cells, rows: remove_lines(
                runs, freed, artifacts, refused, now, cells, glyphs, hidden=hidden, rows=rows
            ),
            options,
            edge="failed",
            note=note,
        ),
        answered,
    )


async def _do(
    screen: Acting,
    work: Coroutine[Any, Any, Sequence[Outcome]],
    act: str,
    acted: str,
    count: int,
) -> None:
    """Do it, and say what became of it. What was asked for and could not even be tried is an error
    that stops the person, and the only kind that is a dialog."""
    try:
        outcomes = await work
    except TraindeckError as error:
        facts = [("what", error.what), ("try", error.fix)] if error.fix else [("what", error.what)]
        title = f"Could not {act} {plural(count, 'run')}"
        screen.deck.push_screen(ErrorScreen(title, "nothing was changed", facts))
        return
    failed = [outcome for outcome in outcomes if not outcome.done]
    done = len(outcomes) - len(failed)
    line: list[Span] = []
    if done or not failed:
        line.append(Span(f"{acted}: {plural(done, 'run')}", "text"))
    if failed:
        sign = screen.deck.painter.glyphs.failed
        name = clean(screen.name_of(failed[0].run_id))
        line += [Span(" · ", "muted")] if line else []
        line += [Span(f"{sign} ", "failed"), Span(f"{name}: {clean(failed[0].text)}", "text")]
        if len(failed) > 1:
            line.append(Span(f" and {len(failed) - 1:,} more", "muted"))
    screen.deck.notice(tuple(line), seconds=12 if failed else 5)
    if screen.is_mounted:
        screen.acted()


def ask_copy(screen: Acting, run: RunRecord) -> None:
    """Put something about a run on the clipboard."""
    texts = {
        "id": run.id,
        "name": run.name,
        "command": shlex.join(run.argv),
        "folder it ran in": run.cwd,
        "log command": f"traindeck logs -f {run.id}",
        "reason": run.reason,
    }
    letters = {
        "id": "i",
        "name": "n",
        "command": "c",
        "folder it ran in": "f",
        "log command": "l",
        "reason": "r",
    }
    items = [(letters[what], what, what) for what, text in texts.items() if text]

    def chosen(what: str | None) -> None:
        if what is not None:
            screen.deck.copy(texts[what], what)

    screen.app.push_screen(MenuScreen("Copy", items), chosen)
