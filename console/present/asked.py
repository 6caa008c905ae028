"""What was asked for beside the command, in words: for the plan, and for the card of the run."""

from __future__ import annotations

from collections.abc import Iterator

from traindeck.backends.base import Limits, RunSpec
from traindeck.console.durations import write_duration

from .numbers import plural
from .words import command_line

Asked = tuple[str, str]
"""A label and its text."""


def limits_asked(limits: Limits) -> str:
    """All limits, those by default too: `time none · grace 10s · 0 retries`."""
    time = write_duration(limits.time) if limits.time is not None else "none"
    again = plural(limits.retries, "retry", "retries")
    return f"time {time} · grace {write_duration(limits.grace)} · {again}"


def limits_chosen(limits: Limits) -> str:
    """Those limits that somebody chose; "" if nobody did."""
    usual = Limits()
    parts = []
    if limits.time is not None:
        parts.append(f"time {write_duration(limits.time)}")
    if limits.grace != usual.grace:
        parts.append(f"grace {write_duration(limits.grace)}")
    if limits.retries:
        parts.append(plural(limits.retries, "retry", "retries"))
    return " · ".join(parts)


def asked(spec: RunSpec) -> Iterator[Asked]:
    """How it runs and what happens at its end, as far as it is not what happens to every run."""
    if spec.pty:
        yield "terminal", "a pty for its output; does not survive the death of its supervisor"
    if spec.keep_background:
        yield "processes", "those it leaves behind go on when it ends"
    if spec.on_exit:
        yield "on exit", command_line(spec.on_exit)
    if spec.on_stall:
        after = f"after {write_duration(spec.stall_after)}: " if spec.stall_after else ""
        yield "on stall", after + command_line(spec.on_stall)
