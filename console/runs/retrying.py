"""Whether a run can be tried again: said once, for what offers it and for what refuses it."""

from __future__ import annotations

from traindeck.backends.errors import UsageError
from traindeck.backends.states import State
from traindeck.console.store.records import NOT_SENT, RunRecord


def can_retry(run: RunRecord) -> bool:
    """Whether `retry` is worth offering."""
    return refusal(run) is None


def same_code(run: RunRecord) -> bool:
    """Whether what it executes lies in its directory (a snapshot, a recipe's trainer), so that a
    further attempt executes the same; else its code is in place, and is as it is then."""
    return run.recipe is not None or f"/runs/{run.id}/code" in run.cwd


def refusal(run: RunRecord) -> UsageError | None:
    """Why a run cannot be tried again, and what can be done instead; None if it can."""
    if run.foreign:
        return UsageError(f"{run.id} was not started by Traindeck, so it cannot be retried.")
    if run.state is State.STOPPING:
        return UsageError(
            f"{run.name} is ending, not over.", f"Wait for its end: traindeck wait {run.id}"
        )
    if run.active:
        return UsageError(
            f"{run.name} is {run.state}, not over.", f"Stop it first: traindeck stop {run.id}"
        )
    if run.reason == NOT_SENT:
        import shlex

        return UsageError(
            f"{run.name} was never sent, so there is nothing to retry.",
            f"Launch it anew: traindeck run -- {shlex.join(run.argv)}",
        )
    if run.adopted:
        return UsageError(f"{run.name} was adopted, not launched; there is nothing to retry.")
    if run.archived:
        return UsageError(
            f"{run.name} is archived: its files were removed, so there is nothing to retry.",
            _like(run) if run.argv else "",
        )
    if not run.argv:
        return UsageError(
            f"How {run.name} was started is not known: the run.json of its directory could not be "
            "read.",
            f"traindeck show --path {run.id} prints where that lies.",
        )
    return None


def without_whom(run: RunRecord, awaited: str) -> UsageError:
    """That a run waits for one that was removed: a further attempt could only wait in vain."""
    return UsageError(
        f"{run.name} waits for the success of run {awaited}, which was removed.", _like(run)
    )


def doubts(run: RunRecord) -> tuple[str, ...]:
    """What to know before a run is tried again with all that it had."""
    if run.state is not State.TIMEOUT:
        return ()
    return (
        f"the time limit that ended {run.name} holds again, and would end it again unless it goes "
        f"on from a checkpoint; with more time: {_command(run)} --time T",
    )


def _like(run: RunRecord) -> str:
    return f"Launch one like it: {_command(run)}"


def _command(run: RunRecord) -> str:
    command = "run" if run.recipe is None else "finetune"
    return f"traindeck {command} --like {run.id}"
