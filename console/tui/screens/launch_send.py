"""From a form to a run: what is launched is the plan that a person has before the eyes, or the one
of the form as it stood when it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traindeck.backends.errors import TraindeckError
from traindeck.backends.states import State
from traindeck.console.present.cells import clean
from traindeck.console.present.launch_view import PlanState, obstacle
from traindeck.console.present.numbers import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traindeck.backends.base import Plan
    from traindeck.console.runs.drafting import Draft
    from traindeck.console.store.records import RunRecord

    from .launch import LaunchScreen


class Sending:
    """Launches what a form says, once.

    Attributes:
        busy: Whether a plan is on its way.
    """

    def __init__(self, form: LaunchScreen) -> None:
        self._form = form
        self._seen: tuple[str, ...] = ()
        self._awaited: Draft | None = None
        self.busy = False

    def seen(self, state: PlanState) -> None:
        """A person has this plan before the eyes."""
        digests = _digests(state)
        if self._seen != digests:
            self._seen = digests
            self._form.footer_bar.update()  # what launching does now

    def shows_first(self) -> bool:
        """Whether to launch would show the plan before: nobody has seen it."""
        state = self._form.plan_state
        unseen = state.plan is None or _digests(state) != self._seen
        return not self._form.plan_visible and (state.waiting or unseen)

    def launch(self) -> None:
        """Launch what is planned. A plan that nobody has seen is shown instead."""
        form = self._form
        state, deck = form.plan_state, form.deck
        why = obstacle(state)
        if self.busy or self._awaited is not None:
            return
        if state.waiting and form.plan_visible:
            # What else is said of the form is about what stood there before.
            self._awaited = form.draft
            deck.start(self._send_when_planned(form.draft), "launching: its plan is being made")
        elif state.waiting:
            form.action_plan()  # there it appears
        elif why or state.plan is None:
            deck.notice(why, "warn")
        elif self._seen != _digests(state):
            form.action_plan()
        else:
            self.busy = True
            # It goes on when the form is left: what was sent is noted by who sent it.
            plans = state.array or (state.plan,)
            deck.start(self._send(plans), f"launching {clean(state.plan.spec.name)}")

    def take_back(self) -> bool:
        """Launch nothing yet, if a plan is still waited for. Whether one was."""
        if self._awaited is None:
            return False
        self._awaited = None
        self._form.deck.notice("not launched: taken back before there was a plan", "warn")
        return True

    async def _send_when_planned(self, draft: Draft) -> None:
        """Launch this draft, whatever is typed meanwhile, or say why not."""
        form = self._form
        try:
            drafted = await form.check(draft)
        except TraindeckError as error:
            if self._awaited is draft:
                self._awaited = None
                form.deck.complain(error)
            return
        if self._awaited is not draft:
            return  # taken back
        self._awaited = None
        if form.is_mounted:
            form.answered(draft, drafted)
        if drafted.plan is None:
            why = obstacle(form.state_of(draft, drafted, current=True))
            form.deck.notice(f"not launched: {why}", "warn", urgent=True)
            return
        self.busy = True
        await self._send(drafted.array or (drafted.plan,))

    async def _send(self, plans: Sequence[Plan]) -> None:
        deck = self._form.deck
        try:
            if plans[0].spec.array is not None:
                runs = await deck.services.launch_array(plans)
            else:
                runs = [await deck.services.launch(plans[0])]
        except TraindeckError as error:
            self.busy = False
            deck.complain(error)
            self._form.refuse(str(error))
            return
        run = runs[0]
        failed = run.state is State.FAILED
        what = clean(run.name) if len(runs) == 1 else plural(len(runs), "run")
        words = f"launched {what} on {run.backend}"
        if failed:
            words = f"{clean(run.name)} failed at once: {clean(run.reason) or 'see its log'}"
        if self._form.is_mounted:  # else it was left meanwhile
            self._leave_for(run)
        deck.notice(words, "failed" if failed else "text")

    def _leave_for(self, run: RunRecord) -> None:
        deck = self._form.deck
        deck.go_home()
        go = getattr(deck.screen, "go_to_run", None)
        if go is not None:
            deck.start(go(run), "")


def _digests(state: PlanState) -> tuple[str, ...]:
    """By what a plan is known again; of an array the tasks may differ."""
    plans = state.array or ((state.plan,) if state.plan is not None else ())
    return tuple(plan.digest for plan in plans)
