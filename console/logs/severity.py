"""How grave one line of a log looks, by itself: for the bar in the gutter and the map at the edge.

It judges the text of a line that whatever program wrote, so it may be wrong, and it must never be
slow: it looks at the first kilobyte only, with patterns that do not backtrack. What an error *is*
(its kind, its frames, what to do) is `findings`' business. Imported by the scanner process.
"""

from __future__ import annotations

import re
from enum import IntEnum

LOOK = 1024
"""Bytes of a line that are looked at."""


class Severity(IntEnum):
    """Ordered: of two lines in one row of the map the graver one is shown."""

    NONE = 0
    WARNING = 1
    ERROR = 2


_SGR = re.compile(rb"\x1b\[[0-9;:]*+m")

# Who said it: torch's [rank0]:, torchrun --tee's [default0]:, srun --label's 0:, mpirun's
# [1,0]<stderr>:, Ray's and vLLM's (Name pid=1).
PREFIX = re.compile(
    rb"(?:\[(?:rank|default|trainer|worker)(\d{1,6})\]: ?"
    rb"|\[\d{1,6},(\d{1,6})\]<std(?:out|err)>: ?"
    rb"|(\d{1,6}): (?=\S| {2})"
    rb"|\([A-Za-z_][\w.:-]{0,80}(?: (?:rank=(\d{1,6})|[\w.=,: -]{1,120}))?\) )"
)

NOT_FINITE = r"(?i:\b(?:loss|grad_norm|perplexity|ppl)\b[\"']?\s?[:=|]?\s?[\"']?(?:nan|-?inf)\b)"
"""Of a line that says that a loss is not a number."""

_ERROR = re.compile(
    rb"Traceback \(most recent call last\)"
    rb"|^\W{0,8}(?:[A-Za-z_]\w{0,80}\.){0,8}[A-Z]\w{0,80}(?:Error|Exception|Interrupt)(?::|\s*$)"
    rb"|\b(?:ERROR|CRITICAL|FATAL)\b"
    rb"|^\[?[EF]\d{3,4} \d\d:\d\d|^\[[EF] \w"
    rb"|^(?:[\w./-]{1,80}: )?(?:error|fatal): "
    rb"|^Fatal Python error|^Segmentation fault|^Bus error|^Aborted|^Killed\s*$|: Killed\b"
    rb"|^terminate called after throwing"
    rb"|out of memory|OutOfMemory|CUDA error|NCCL error|oom_kill|No space left on device"
    rb"|device-side assert"
)
_WARNING = re.compile(
    rb"\bWARN(?:ING)?\b|Warning:|^\[?W\d{3,4} \d\d:\d\d|^\[W \w|^(?:[\w./-]{1,80}: )?warning: "
    rb"|" + NOT_FINITE.encode()
)

# Nothing above matches a line without any of these: most lines are done with them alone.
_HINTS = (
    *(b"rror", b"ERR", b"raceback", b"xception", b"nterrupt", b"CRIT", b"FATAL", b"atal"),
    *(b"illed", b"egmentation", b"borted", b"terminate", b"of memory", b"OutOfM", b"oom_kill"),
    *(b"space left", b"-side assert", b"WARN", b"arning"),
    *(b"nan", b"NaN", b"NAN", b"inf", b"Inf", b"INF"),
)

LITERALS: tuple[tuple[bytes, Severity], ...] = (
    (b"Traceback", Severity.ERROR),
    (b"Error", Severity.ERROR),
    (b"ERROR", Severity.ERROR),
    (b"CRITICAL", Severity.ERROR),
    (b"FATAL", Severity.ERROR),
    (b"Exception", Severity.ERROR),
    (b"Killed", Severity.ERROR),
    (b"Fatal Python", Severity.ERROR),
    (b"Segmentation", Severity.ERROR),
    (b"ut of memory", Severity.ERROR),
    (b"error: ", Severity.ERROR),
    (b"CUDA error", Severity.ERROR),
    (b"NCCL error", Severity.ERROR),
    (b"device-side assert", Severity.ERROR),
    (b"space left", Severity.ERROR),
    (b"WARN", Severity.WARNING),
    (b"Warning:", Severity.WARNING),
    (b"nan", Severity.WARNING),
    (b"NaN", Severity.WARNING),
)
"""Every line of some severity that the map has to show contains one of these: a search for them is
many times faster than looking at each line."""


def plain(line: bytes) -> bytes:
    """A line without its colours: Python 3.13 colours tracebacks, loggers their levels."""
    return _SGR.sub(b"", line) if b"\x1b" in line else line


def last_state(line: bytes) -> bytes:
    """What of a line is seen: a progress bar writes over itself, and what crashed wrote behind it
    without beginning a line."""
    return line.rstrip(b"\r").rpartition(b"\r")[2] if b"\r" in line else line


def said_by(line: bytes) -> tuple[int | None, int]:
    """The rank that a line's prefix names (None if none does) and the length of the prefix."""
    if not line or line[0] not in b"[(0123456789":
        return None, 0
    match = PREFIX.match(line)
    if match is None:
        return None, 0
    rank = next((int(group) for group in match.groups() if group is not None), None)
    return rank, match.end()


def severity(line: bytes) -> Severity:
    """The severity of one line, as far as the line alone tells."""
    text = plain(last_state(line)[:LOOK])
    _, skip = said_by(text)
    if skip:
        text = text[skip:]
    if text[:1] not in b"[EFW" and not any(map(text.__contains__, _HINTS)):
        return Severity.NONE
    if _ERROR.search(text):
        return Severity.ERROR
    if _WARNING.search(text):
        return Severity.WARNING
    return Severity.NONE
