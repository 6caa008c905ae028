"""How Slurm's commands write things: durations, times, amounts, GPUs, lists of nodes.

All of it is read from what somebody's cluster printed: nothing here raises, what cannot be read is
None or empty. Times are asked for in UTC (`commands.ENVIRONMENT`).
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from functools import lru_cache

NOTHING = frozenset(
    {"", "(null)", "N/A", "n/a", "NONE", "None", "none", "Unknown", "UNKNOWN", "INVALID", "NOT_SET"}
)
"""How an absent value is written, by one command or another."""

CACHED = 4096
"""Values that are remembered: a list of ten thousand jobs says the same thing over and over."""

MAX_NODES = 20_000
"""Names that a list of nodes is expanded to at the most."""

_DURATION = re.compile(r"(?:(\d{1,6})-)?(\d{1,8})(?::(\d{1,2}))?(?::(\d{1,2}))?(?:\.\d+)?")
_MOMENT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)")
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)([KMGTP]?)[cnB]?")
_FIELD = re.compile(r"(?:^|\s)([A-Z][A-Za-z0-9_/:&]*)=")
_PROGRAM = re.compile(r"\s*(?:sbatch|squeue|scancel|scontrol|sinfo|sacct(?:mgr)?|srun): ")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def known(text: str) -> str:
    """A value, "" if it stands for none."""
    text = text.strip()
    return "" if text in NOTHING else text


@lru_cache(CACHED)
def duration(text: str) -> float | None:
    """Seconds of `1-02:03:04`, `1-02`, `02:03:04`, `03:04`, or of minutes (`90`). None for
    `UNLIMITED` and whatever else is no number."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        return None
    days, first, second, third = (None if part is None else int(part) for part in match.groups())
    if days is not None:
        hours, minutes, seconds = first, second or 0, third or 0
    elif third is not None:
        hours, minutes, seconds = first, second or 0, third
    elif second is not None:
        hours, minutes, seconds = 0, first or 0, second
    else:
        hours, minutes, seconds = 0, first or 0, 0
    return float((days or 0) * 86400 + (hours or 0) * 3600 + minutes * 60 + seconds)


def written(seconds: float, *, up: bool = True) -> str:
    """A duration as Slurm takes it, in whole minutes, rounded `up` or down."""
    minutes = max(1, -(-int(seconds * 1000) // 60_000) if up else int(seconds // 60))
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    return f"{days}-{hours:02}:{minutes:02}:00" if days else f"{hours:02}:{minutes:02}:00"


@lru_cache(CACHED)
def moment(text: str) -> float | None:
    """Seconds since the epoch of `2026-11-30T06:54:10` (UTC), None if it is not known."""
    match = _MOMENT.fullmatch(text.strip())
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 62):
        return None
    return float(calendar.timegm((year, month, day, hour, minute, second)))


def is_number(text: str) -> bool:
    """Whether a text is a whole number in plain digits: Python takes a raised 1 for a digit."""
    return text.isascii() and text.isdigit()


@lru_cache(CACHED)
def count(text: str) -> int | None:
    """A whole number, `12`, also with a unit of a thousand (`2K`)."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        return None
    return int(float(match[1]) * 1000 ** " KMGTP".index(match[2] or " "))


def megabytes(text: str) -> int | None:
    """Megabytes of `2000`, `2000M`, `2G`, `4Gn`."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        return None
    return int(float(match[1]) * 1024.0 ** (" KMGTP".index(match[2] or "M") - 2))


def items(text: str) -> Iterator[str]:
    """The parts of a list with commas, those within brackets and parentheses left whole."""
    depth = start = 0
    for place, letter in enumerate(text):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth = max(0, depth - 1)
        elif letter == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    if last := text[start:].strip():
        yield last


def gpus(text: str) -> dict[str, int]:
    """GPUs by kind ("" where none is named) of a GRES or TRES text: `gpu:h100:4(S:0-1)`,
    `gres:gpu:2`, `gres/gpu:h100=3`, `gpu:a100:1(IDX:0),gpu:h100:2(IDX:1-2)`."""
    found: dict[str, int] = {}
    total = 0
    for item in items(text):
        item = re.sub(r"\(.*", "", item)
        if not item.startswith(("gpu", "gres:gpu", "gres/gpu")):
            continue
        parts = re.split(r"[:=]", item.removeprefix("gres:").removeprefix("gres/"))
        if parts[0] != "gpu":
            continue
        number = count(parts[-1]) if len(parts) > 1 else 1
        kind = ":".join(parts[1:-1])
        if number is None:
            kind, number = ":".join(parts[1:]), 1
        if kind:
            found[kind] = found.get(kind, 0) + number
        else:
            total += number
    # TRES names the sum beside the kinds; GRES without a kind stands alone.
    rest = total - sum(found.values())
    if total and (not found or rest > 0):
        found[""] = rest if found else total
    return found


@lru_cache(CACHED)
def gpu_count(text: str) -> int:
    """How many GPUs a GRES or TRES text names, of whatever kind."""
    return sum(gpus(text).values())


@lru_cache(CACHED)
def nodes(text: str) -> tuple[str, ...]:
    """The names in a list of nodes: `n[0-1,05],login` and so on. At most `MAX_NODES`."""
    found: list[str] = []
    for item in items(known(text)):
        for name in _expanded(item):
            if len(found) >= MAX_NODES:
                return tuple(found)
            found.append(name)
    return tuple(found)


def _expanded(item: str) -> Iterator[str]:
    before, bracket, rest = item.partition("[")
    if not bracket:
        yield item
        return
    inside, closed, after = rest.partition("]")
    if not closed:
        yield item
        return
    for part in inside.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            continue
        low, high = match[1], match[2] or match[1]
        for number in range(int(low), min(int(high), int(low) + MAX_NODES) + 1):
            for end in _expanded(after):
                yield f"{before}{number:0{len(low)}}{end}"


def record(line: str) -> dict[str, str]:
    """The fields of a line that `scontrol -o show` prints. A value goes on to the next field, so
    that it may hold spaces; of a field that stands twice the first counts."""
    found: dict[str, str] = {}
    places = list(_FIELD.finditer(line))
    for number, match in enumerate(places):
        end = places[number + 1].start() if number + 1 < len(places) else len(line)
        found.setdefault(match[1], line[match.end() : end].strip())
    return found


def one_line(text: str, limit: int = 300) -> str:
    """What a command said, on one line: without its own name, repeated prefixes and the end."""
    lines = []
    for line in text.splitlines():
        line = re.sub(
            r"^\s*(?:sbatch|squeue|scancel|scontrol|sinfo|sacct(?:mgr)?|srun): ", "", line
        )
        line = re.sub(r"^(?:error|fatal): ", "", line).strip()
        if line and line not in lines:
            lines.append(line)
    return " ".join("; ".join(lines)[: 2 * limit].split())[:limit].rstrip(".; ")
