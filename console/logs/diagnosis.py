"""What one message means: the table of failures applied, and the figures an allocator prints.

A message is an exception's type and text, or one line. Nothing here knows logs.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from traindeck.console.logs.failures import ROWS, SMALLER, Diagnosis, Kind, Try

_SIZE = r"([\d.]{1,20} (?:bytes|[KMGT]iB))"
_OOM = re.compile(r"(?:CUDA|HIP|XPU) out of memory|OutOfMemoryError")
_OOM_DEVICE = re.compile(r"(CUDA|HIP|XPU) out of memory")
_OOM_WANTED = re.compile(r"Tried to allocate " + _SIZE)
_OOM_NEW = re.compile(rf"total capac\w{{2,4}} of {_SIZE} of which {_SIZE} is free")
_OOM_OLD = re.compile(
    rf"; {_SIZE} total capacity; {_SIZE} already allocated; {_SIZE} (?:free|cached)"
)
_OOM_PROCESS = re.compile(rf"this process has {_SIZE} memory in use")
_OOM_SPARE = re.compile(rf"{_SIZE} is reserved by PyTorch but unallocated")
_OOM_OPTION = re.compile(r"(PYTORCH_\w{1,40})=expandable_segments:True")
_UNITS = {"bytes": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}


def diagnose(message: str) -> Diagnosis | None:
    """What a message (of at most some kilobytes) means; None if it is none of the known ones."""
    if _OOM.search(message):
        return _device_memory(message)
    for row in ROWS:
        match = row.pattern.search(message)
        if match is not None:
            groups = _Groups(match)
            clauses = [groups.fill(clause) for clause in row.clauses]
            return Diagnosis(
                row.kind,
                tuple(clause for clause in clauses if clause),
                groups.fill(row.happened),
                row.tries,
            )
    return None


def _device_memory(message: str) -> Diagnosis:
    """An allocator's refusal, with its figures in the units it printed."""
    device = _first(_OOM_DEVICE, message) or "CUDA"
    clauses, sentences, tries = [f"{device} out of memory"], [], []
    wanted = _first(_OOM_WANTED, message)
    total = free = None
    if (match := _OOM_NEW.search(message)) is not None:
        total, free = match.groups()
    elif (match := _OOM_OLD.search(message)) is not None:
        total, _, free = match.groups()
    if total and free:
        clauses.append(f"{_minus(total, free)} of {_short(total)}")
    if wanted:
        clauses.append(f"{_short(wanted)} more wanted")
        sentence = f"{_short(wanted)} more were asked for"
        sentences.append(f"{sentence}; {_short(free)} was free." if free else f"{sentence}.")
    process, spare = _first(_OOM_PROCESS, message), _first(_OOM_SPARE, message)
    if total and free and process:
        others = _bytes(total) - _bytes(free) - _bytes(process)
        if others > 0.05 * _bytes(total):
            sentences.append(f"Other processes hold {show_bytes(others)} of this device.")
            tries.append(Try("take a device that nobody else uses"))
    if total and spare and _bytes(spare) > 0.05 * _bytes(total):
        option = _first(_OOM_OPTION, message) or "PYTORCH_CUDA_ALLOC_CONF"
        sentences.append(f"{_short(spare)} was reserved and unused: fragmentation.")
        tries.append(
            Try(
                f"set {option}=expandable_segments:True",
                f"none; may win back {_short(spare)}",
                ((option, "expandable_segments:True"),),
            )
        )
    return Diagnosis(
        Kind.DEVICE_MEMORY, tuple(clauses), " ".join(sentences), (*tries, *SMALLER)[:4]
    )


class _Groups:
    """Fills the groups of a match into a text; a text whose group is missing comes out empty."""

    _FIELD = re.compile(r"\{(\d|any)(?::(\w+))?\}")

    def __init__(self, match: re.Match[str]) -> None:
        self._values = match.groups()

    def fill(self, text: str) -> str:
        missing = False

        def value(match: re.Match[str]) -> str:
            nonlocal missing
            name, form = match.groups()
            if name == "any":
                found = next((v for v in self._values if v), None)
            else:
                found = self._values[int(name)]
            if not found:
                missing = True
                return ""
            return FORMS[form](found) if form else found.strip()

        filled = self._FIELD.sub(value, text)
        return "" if missing else filled


def show_bytes(count: float) -> str:
    """A number of bytes with a binary unit and three significant digits."""
    power = 0
    while count >= 1024 and power < 4:
        count, power = count / 1024, power + 1
    unit = ("bytes", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{count:.0f} {unit}" if not power or count >= 100 else f"{count:.1f} {unit}"


def show_duration(milliseconds: str) -> str:
    """Milliseconds in the unit that a person would say."""
    seconds = int(milliseconds) / 1000
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


_IN_RUN = re.compile(r"/runs/[0-9a-hjkmnp-tv-z]{12}/(?=.)")


def show_path(path: str) -> str:
    """The end of a path, at most 40 characters: that is where it differs from others. What lies in
    a run's directory is called from there on, as `code/train.py`."""
    if (own := _IN_RUN.search(path)) is not None:
        path = path[own.end() :]
    return path if len(path) <= 40 else "…" + path[-39:]


FORMS: dict[str, Callable[[str], str]] = {
    "bytes": lambda text: show_bytes(int(text)),
    "ms": show_duration,
    "path": show_path,
}


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match.group(1) if match is not None else None


def _bytes(size: str) -> float:
    number, unit = size.split()
    try:
        return float(number) * 1024.0 ** _UNITS[unit]
    except ValueError:  # 1.2.3
        return 0.0


def _short(size: str) -> str:
    return show_bytes(_bytes(size))


def _minus(total: str, free: str) -> str:
    """What is in use, in the unit of the total."""
    used, unit = _bytes(total) - _bytes(free), total.split()[1]
    shown = used / 1024 ** _UNITS[unit]
    return f"{shown:.1f}"
