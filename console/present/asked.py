"""What was asked for beside the command, in words: for the plan, and for the card of the run."""

from __future__ import annotations

from collections.abc import Iterator

from traindeck.backends.base import Code, Limits, RunSpec
from traindeck.console.durations import write_duration
from traindeck.console.runs.captured import PACKAGES

from .numbers import plural
from .words import command_line, plain_or_quoted

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


def runs_on(spec: RunSpec) -> str:
    """The host it was planned for, and the driver there; "" if that is not known."""
    driver = f"NVIDIA driver {spec.driver}" if spec.driver else ""
    return " · ".join(plain_or_quoted(part) for part in (spec.host, driver) if part)


def runs_inside(spec: RunSpec) -> str:
    """The environment: as it was asked for, else as it was found; "" if there is none."""
    if spec.environment:
        return plain_or_quoted(spec.environment)
    found = spec.environment_found
    return f"{plain_or_quoted(found)} · found there" if found else ""


def runs_in(spec: RunSpec) -> str:
    """The interpreter with its version; "" if there is none."""
    if not spec.python:
        return ""
    return f"{plain_or_quoted(spec.python)} · {spec.python_version or 'version not known'}"


def installed(spec: RunSpec) -> str:
    """How many packages were found beside the interpreter, and where they are listed; "" if that
    was not looked at."""
    if spec.packages is None:
        return ""
    return f"{spec.packages}, listed in {PACKAGES}" if spec.packages else "none"


def not_copied(code: Code, most: int) -> list[str]:
    """What a snapshot is without, and why, so many of them: what is too large first, for a program
    misses that most, folders that are skipped as a whole last."""
    if code.mode != "snapshot":
        return []
    items = sorted(code.omitted.items(), key=_missed)
    shown = [f"{plain_or_quoted(path)} ({why})" for path, why in items[:most]]
    rest = len(items) - most
    return [*shown, f"{rest:,} more"] if rest > 0 else shown


def _missed(item: tuple[str, str]) -> tuple[bool, bool]:
    path, why = item
    return path.endswith("/"), not why.startswith("larger")


def asked(spec: RunSpec) -> Iterator[Asked]:
    """How it runs and what happens at its end, as far as it is not what happens to every run."""
    if spec.resources.gpus:
        yield "gpus", f"{spec.resources.gpus}{' a node' if spec.resources.nodes > 1 else ''}"
    if spec.resources.nodes != 1:
        yield "nodes", str(spec.resources.nodes)
    if spec.array is not None:
        yield "array", f"task {spec.array.index} of {spec.array.indices}"
    for name, value in spec.options.items():
        yield "option", plain_or_quoted(f"{name}={value}")
    for name, value in spec.labels.items():
        yield "label", plain_or_quoted(f"{name}={value}")
    if len(spec.after) == 1:
        yield (
            "after",
            f"run {spec.after[0]}, {'whatever its end' if spec.after_any else 'if it succeeds'}",
        )
    elif spec.after:
        ends = "whatever their ends" if spec.after_any else "if all succeed"
        yield "after", f"{len(spec.after)} runs, {ends}: {', '.join(spec.after)}"
    if spec.pty:
        yield "terminal", "a pty for its output; does not survive the death of its supervisor"
    if spec.keep_background:
        yield "processes", "those it leaves behind go on when it ends"
    if spec.on_exit:
        yield "on exit", command_line(spec.on_exit)
    if spec.on_stall:
        after = f"after {write_duration(spec.stall_after)}: " if spec.stall_after else ""
        yield "on stall", after + command_line(spec.on_stall)
