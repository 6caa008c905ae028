"""Progress bars in a log: tqdm's (Lightning's and HF's among them) and Keras's.

A bar counts what it likes: its number is a step only together with the epoch before it, or with how
often a bar of the same name was full already.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from traindeck.backends.data import dataclass
from traindeck.console.metrics.lines import AXES, evaluated, matches_of, pairs_of
from traindeck.console.metrics.names import series_name
from traindeck.console.metrics.numerals import is_metric, number, whole
from traindeck.console.metrics.reading import Carry, Reading

_BAR = re.compile(r"(\d{1,12})/(\d{1,12}) \[(\d{1,6}:\d\d[^\]\n]{0,2000})\]?")
_ENDLESS = re.compile(r"(?:^|[\s:])(\d{1,12})it \[(\d{1,6}:\d\d[^\]\n]{0,2000})\]?")
_NAME = re.compile(r"[:\s]*\d{1,3}%\|.*$", re.S)
_EPOCH = re.compile(r"\b[Ee]poch\b[\s:=#\[]{0,3}(\d{1,6})(?:\s?/\s?(\d{1,6}))?")
_TURN = re.compile(r"(?:^|[\s\[(])(\d{1,6})\s?/\s?(\d{1,6})\W*$")
"""`Train 1/3:`: the first of three such bars."""
_NO_TURN = "none"
_DIGITS = re.compile(r"\d+")
_KERAS = re.compile(r"(?:^|\s)(\d{1,9})/(\d{1,9}) \S{0,60} ?.{0,60}? - (.*)")
_OF_ALL = re.compile(r"epoch\b[\s:=#\[]{1,4}\Z", re.I)
"""`Epoch 3/10 - loss: 0.5` counts epochs, not the batches of one."""
_KERAS_NAME = re.compile(r"[A-Za-z_]\w{0,60}")
MEASURED = ("eval/", "test/")
"""How the names of series begin that were measured of evaluation data."""
_ENDED = 4
"""Where in what is kept of `fit` stands whether its epoch is over."""
_BARS = 8
"""Names of bars that are remembered."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar as drawn: its number, how many there will be (None: not known), its name, the values
    after it, whether it is Lightning's, a step if one is among the values, and whether it was only
    just begun."""

    n: int
    total: int | None
    name: str
    values: tuple[tuple[str, float], ...]
    lightning: bool = False
    step: int | None = None
    new: bool = False


def may_be_bar(text: str) -> bool:
    """Whether a line is a bar, or would be one with other digits."""
    return ("|" in text and _BAR.search(text) is not None) or _ENDLESS.search(text) is not None


def read_bar(text: str, offset: int, reading: Reading) -> Bar | None:
    """Enter what stands behind a bar. None if the text is none."""
    found = _BAR.search(text) if "|" in text else None
    endless = None if found else _ENDLESS.search(text)
    if found is not None:
        n, total, rest = int(found[1]), int(found[2]), found[3]
        if n > total:
            return None
        name = _NAME.sub("", text[: found.start()]).strip()
    elif endless is not None:
        n, total, rest = int(endless[1]), None, endless[2]
        name = text[: endless.start()].strip(" :")
    else:
        return None
    postfix = rest.partition(",")[2]  # before it the times
    pairs = [(key, value) for key, value, tied in pairs_of(postfix) if tied]
    if "." in name:  # `Epoch 1 loss 0.5:  10%|`
        name, said = _described(name)
        pairs = said + pairs
    told = dict(pairs)
    bar = Bar(
        n,
        total,
        name,
        tuple(pair for pair in pairs if pair[0] not in AXES),
        lightning="v_num" in told,
        step=whole(told.get("step")),
        new=not n and rest.startswith("00:00<?"),
    )
    if bar.values:
        _enter(bar, offset, reading)
    return bar


def _described(name: str) -> tuple[str, list[tuple[str, float]]]:
    """What a bar is called and the values in its description, which follow."""
    said = [pair for pair in matches_of(name) if pair.value is not None and is_metric(pair.key)]
    end = said[0].match.start() if said else len(name)
    return name[:end].strip(), [(pair.key, pair.value or 0.0) for pair in said]


def _enter(bar: Bar, offset: int, reading: Reading) -> None:
    carry = reading.carry
    seen = [bar.name, bar.n, [list(pair) for pair in bar.values]]
    before = carry.get("bar")
    if before == seen:
        return
    carry["bar"] = seen
    if bar.new and before and before[2] == seen[2]:
        _unrolled(bar, reading)  # begun anew, with what was measured before: Lightning's epochs
        return
    of = evaluated(bar.name)
    evaluates = bool(of and carry.get("named")) or _evaluates(bar, carry)
    step, total = (int(carry.get("step", 0)), None) if evaluates else _unrolled(bar, reading)
    named = [
        (reading.called(name, key) if is_metric(name) and not of else name, value)
        for key, value in bar.values
        if (name := series_name(key, of))
    ]
    # Lightning draws a step before it has set what was measured there, and again when it has.
    early = bar.lightning and before and before[2] == seen[2] and before[1] < bar.n
    if early:
        carry["bar"] = [*seen, "early"]
    for name, value in named if not early else ():
        reading.add(name, step, math.nan, value, offset)
    if not (of or evaluates):
        reading.placed(tuple(name for name, _ in named))
        carry["step"] = reading.step = step
        carry["named"] = True
        if total is not None:
            reading.total = total


def _evaluates(bar: Bar, carry: Carry) -> bool:
    """Whether a bar without an epoch is one of evaluating, by all of its values, beside others that
    are the training's."""
    names = [name for key, _ in bar.values if (name := series_name(key, ""))]
    measured = all(name.startswith(MEASURED) for name in names)
    trains = any(not name.startswith(MEASURED) for name in carry.get("placed", ()))
    return bool(names) and measured and trains and _EPOCH.search(bar.name) is None


def _unrolled(bar: Bar, reading: Reading) -> tuple[int, int | None]:
    """The step that a bar stands at, over all epochs, and how many there will be."""
    if bar.step is not None:
        return bar.step, None
    carry = reading.carry
    name = _DIGITS.sub("#", bar.name)[:60]
    bars = dict(carry.get("named_bars", {}))
    last, base = bars.get(name, (0, 0))
    epoch = _EPOCH.search(bar.name) or _turn(bar, last, carry)
    if epoch is not None and bar.total:
        # Lightning counts from 0 (and shows its v_num), people from 1.
        if int(epoch[1]) == 0 or bar.lightning:
            carry["from0"] = True
        passed = max(0, int(epoch[1]) - (0 if carry.get("from0") else 1))
        epochs = int(epoch[2]) if epoch[2] else None
        base, total = passed * bar.total, epochs * bar.total if epochs else None
    else:
        if bar.n < last:  # the next time round
            base += last
        # Behind a turn that was none, less than what is done already: it is not known.
        total = bar.total if not base or carry.get("turn") == _NO_TURN else None
    if name in bars or len(bars) < _BARS:
        bars[name] = [bar.n, base]
        carry["named_bars"] = bars
    return base + bar.n, total


def _turn(bar: Bar, last: int, carry: Carry) -> re.Match[str] | None:
    """The number of an epoch in a bar's name that does not call it so. It is none (but a fold's, a
    client's) once a bar of the same name begins anew."""
    found = _TURN.search(bar.name)
    if found is None or carry.get("turn") == _NO_TURN:
        return None
    if carry.get("turn") == bar.name[:60] and bar.n < last:
        carry["turn"] = _NO_TURN
        return None
    carry["turn"] = bar.name[:60]
    return found


def read_keras(text: str, offset: int, reading: Reading) -> bool:
    """Enter a Keras bar that is full. Whether the text is one.

    `fit` draws the last batch of an epoch two or three times, at last with what it measured of the
    validation data: all of them are the epoch's, and the last one counts. A full bar of another
    kind is a test's.
    """
    found = _KERAS.search(text) if " - " in text else None
    if found is None or _OF_ALL.search(text, 0, found.start(1)):
        return False
    n, per_epoch = int(found[1]), int(found[2])
    fit = reading.carry.get("keras")
    if n != per_epoch or not n:
        if fit and len(fit) > _ENDED and n < per_epoch:
            reading.carry["keras"] = [*fit[:_ENDED], True]  # what begins anew is no epoch of `fit`
        return n < per_epoch
    values = tuple(_keras_values(found[3]))
    if fit and _is_of_fit(fit, per_epoch, values):
        validated = any(key.startswith("val_") for key, _ in values)
        reading.carry["keras"] = [*fit[:2], per_epoch, str(values), validated]
        step, of = int(fit[0]) * per_epoch, ""
        reading.total = int(fit[1]) * per_epoch
        reading.step = reading.carry["step"] = step
        reading.carry["named"] = True
    else:
        step, of = int(reading.carry.get("step", 0)), "test"
    for key, value in values:
        name = series_name(key, of)
        if name is not None:
            reading.add(name, step, math.nan, value, offset)
    return True


def _is_of_fit(fit: list[Any], per_epoch: int, values: tuple[tuple[str, float], ...]) -> bool:
    """Whether a full bar belongs to the epoch that was announced last: [number, of how many] and,
    once it was full, [its batches, its values, whether nothing more is drawn of it]."""
    if len(fit) <= _ENDED or any(key.startswith("val_") for key, _ in values):
        return True
    epoch, epochs, batches, before, ended = fit
    if ended or batches != per_epoch:
        return False
    return bool(epoch < epochs or before == str(values))


def _keras_values(text: str) -> Iterator[tuple[str, float]]:
    for part in text.split(" - "):
        key, _, raw = part.partition(":")
        value = number(raw.strip())
        if value is not None and _KERAS_NAME.fullmatch(key.strip()):
            yield key.strip(), value
