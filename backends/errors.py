"""Errors that are meant for a person. Third parties import them from backends.base.

A module of their own because every command needs them, and most need nothing else of the contract,
whose many data classes take 20 ms to make.
"""

from __future__ import annotations

from collections.abc import Mapping


def excerpt(text: str, most: int = 60) -> str:
    """What somebody gave, for an error: a long one by its beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


class TraindeckError(Exception):
    """Base of every error that is meant for a person.

    Args:
        what: One sentence: what is wrong, and where.
        fix: What to do about it, if there is something to do.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(f"{what} {fix}".strip() if fix else what)
        self.what = what
        self.fix = fix

    @property
    def lines(self) -> tuple[str, ...]:
        """What a command prints: one line, or one of each thing that is wrong."""
        return (str(self),)


class UsageError(TraindeckError):
    """The request itself is wrong: an unknown name, an absurd number, a missing argument."""

    exit_code = 2


class BackendError(TraindeckError):
    """A backend refused or failed at something that was asked of it."""


class AgentRefused(BackendError):
    """The agent on a host said no.

    Attributes:
        answer, body: What it said beside the sentence.
    """

    def __init__(
        self, what: str, answer: Mapping[str, object] | None = None, body: bytes = b""
    ) -> None:
        super().__init__(what)
        self.answer = answer or {}
        self.body = body


class Unreachable(BackendError):
    """The place did not answer. Says nothing about the jobs that run there."""


class NotAgainYet(Unreachable):
    """The place did not answer lately and is not tried again yet. When it will be (`fix`) is of use
    to who goes on waiting for it; a command that ends tries at once when it is given again."""

    @property
    def lines(self) -> tuple[str, ...]:
        """See `TraindeckError.lines`."""
        return (self.what,)
