"""The filter language of `ls` and of `/` on the Runs screen.

    state:running,failed  tag:sft  tag:lr=3e-4  name:*lora*  since:2d  before:2026-01-31
    backend:gpu1  project:x  is:needs-you  lr>1e-4  loss<1.3  lora  -demo  sort:-loss

Conditions are joined by "and", values of one key by commas mean "or", `-` in front negates, a bare
word is looked for in names and tags. What is compared or sorted by is the run's parameter of that
name, else its tag of that name if that is a number (`lr=3e-4`), else its metric. Quotes keep spaces
and signs: name:"my run". Parsing is pure; what does not parse is refused with the word, its
position and the nearest thing that would. Metrics, parameters and tags are what runs have: a name
that no run has ever had is refused too, if it is told what there is.
"""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError
from traindeck.backends.states import Reach, State
from traindeck.console.durations import parse_duration
from traindeck.console.store.filtering import (
    MARKS,
    NUMBER_FIELDS,
    SORT_FIELDS,
    TEXT_FIELDS,
    UNKNOWN,
    Condition,
    Filter,
)
from traindeck.console.store.rows import clean, fold

__all__ = ["KEYS", "LANGUAGE", "Filter", "FilterError", "parse"]

LANGUAGE = (
    ("lora", "in a name or a tag"),
    ("state:running,failed", "in one of these; as in --json, or done"),
    ("tag:sft tag:lr=3e-4", "has the tag; with this value"),
    ("name:*lora* host:gpu?", "whole; so id, backend, project, recipe, note"),
    ("is:needs-you", "or active, over, archived, foreign"),
    ("since:2d before:2026-01-31", "so long ago, a date, or a time of today"),
    ("reach:stale", "or ok, down: how what is known of it came"),
    ("lr>1e-4 loss<=1.3 epochs!=3", "parameter, else tag (a number), else metric"),
    ("sort:loss sort:-created", "in this order, - for descending"),
    ("-demo -tag:sft", "only what is not so"),
    ('name:"my run"', "quotes keep spaces and signs"),
    ("tag:sft state:done lr>1e-4", "all of it has to hold"),
)
"""The language by examples, for the help of both front ends."""

KEYS = ("state", "tag", *TEXT_FIELDS, "reach", "is", "since", "before", "sort")
"""What can stand before a colon."""

STATES = (*State, "done", UNKNOWN)

VALUES: Mapping[str, Sequence[str]] = {
    "state": STATES, "reach": tuple(Reach), "is": MARKS, "sort": SORT_FIELDS,
}  # fmt: skip
"""What can stand behind the colon, where that can be listed."""

LONGEST = 4000
MOST = 100

_OPERATOR = re.compile(r"[<>]=?|!=|=")
_KEY = re.compile(r"[A-Za-z_]+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class Known(Protocol):
    """What there is by name: an Index. `kind` is `metric`, `param` or `tag`."""

    def knows(self, kind: str, name: str) -> bool: ...

    def names(self, kind: str) -> list[str]: ...


class FilterError(UsageError):
    """A filter that does not parse.

    Attributes:
        start, end: Where the word stands in the text, in characters.
    """

    def __init__(self, what: str, fix: str, start: int, end: int) -> None:
        super().__init__(what, fix)
        self.start = start
        self.end = end


@dataclass(frozen=True, slots=True)
class _Word:
    """A word as typed and as meant: `plain[i]` says whether character i was outside quotes."""

    text: str
    plain: tuple[bool, ...]
    start: int
    end: int

    def cut(self, low: int, high: int | None = None) -> _Word:
        return _Word(self.text[low:high], self.plain[low:high], self.start, self.end)

    def find(self, pattern: re.Pattern[str] | str) -> tuple[int, int] | None:
        """The first match that stands outside quotes."""
        for match in re.finditer(pattern, self.text):
            if all(self.plain[match.start() : match.end()]):
                return match.span()
        return None

    def split(self) -> list[_Word]:
        """The parts between commas outside quotes."""
        parts, low = [], 0
        for place, char in enumerate(self.text):
            if char == "," and self.plain[place]:
                parts.append(self.cut(low, place))
                low = place + 1
        return [*parts, self.cut(low)]


def parse(
    text: str | Sequence[str], *, now: float | None = None, known: Known | None = None
) -> Filter:
    """Read a filter. Relative times (`since:2d`) stay relative.

    Args:
        text: One line, or the words that a shell split; those are taken as they are, spaces too.
        now: Which day a time of day (`since:14:30`) is of.
        known: Refuse names that are not in it. As long as it has no metrics or parameters, any.

    Raises:
        FilterError: A word cannot be understood; which, where, and what would be.
    """
    words = _split(clean(text)) if isinstance(text, str) else _given([clean(w) for w in text])
    if len(words) > MOST:
        raise FilterError(f"A filter takes at most {MOST} words.", "", 0, words[-1].end)
    conditions: list[Condition] = []
    sort: list[str] = []
    for word in words:
        negated = word.text.startswith("-") and word.plain[0]
        body = word.cut(1) if negated else word
        if not body.text:
            raise _error(word, "there is nothing after the `-`", "")
        colon = body.find(":")
        if colon is not None and (operator := body.find(_OPERATOR)) and operator < colon:
            colon = None
        if colon is None:
            condition = _comparison(body, negated) or _bare(body, negated)
            name = _name_of(word, condition.kind, condition.key, condition.op, known)
            conditions.append(replace(condition, key=name))
            continue
        key, value = body.text[: colon[0]].lower(), body.cut(colon[1])
        if key not in KEYS:
            fix = _did_you_mean(key, KEYS) or f"Keys are {', '.join(KEYS)}."
            raise _error(word, f"there is no key {key!r}", f"{fix} Quote the word to look for it.")
        if not value.text:
            raise _error(word, f"`{key}:` needs a value", _EXAMPLES[key])
        if key == "sort":
            if negated:
                raise _error(word, "an order cannot be negated", "For descending: sort:-loss.")
            for part in value.split():
                order = _sort_key(word, part.text)
                down = "-" if order.startswith("-") else ""
                kind, dot, name = order.removeprefix("-").partition(".")
                sort.append(f"{down}{kind}{dot}{_name_of(word, kind, name, '', known)}")
        else:
            conditions.append(_condition(word, key, value, negated, now))
    return Filter(conditions=tuple(conditions), sort=tuple(sort))


_EXAMPLES = {
    "state": f"One of {', '.join(STATES)}.",
    "tag": "For example tag:sft or tag:lr=3e-4.",
    "name": "For example name:*lora*.",
    "id": "For example id:1s2d*.",
    "backend": "For example backend:local.",
    "host": "For example host:gpu1.",
    "project": "For example project:demo.",
    "recipe": "For example recipe:sft.",
    "note": "For example note:*baseline*.",
    "reach": f"One of {', '.join(Reach)}.",
    "is": f"One of {', '.join(MARKS)}.",
    "since": "For example since:2d, since:14:30 or since:2026-01-31.",
    "before": "For example before:2d or before:2026-01-31.",
    "sort": "For example sort:-created or sort:loss.",
}


# ------------------------------------------------------------------------------------ conditions


def _condition(word: _Word, key: str, value: _Word, negated: bool, now: float | None) -> Condition:
    if key in ("since", "before"):
        number, ago = _moment(word, key, value.text, now)
        return Condition(kind=key, number=number, ago=ago, negated=negated)
    parts = [part.text for part in value.split()]
    if "" in parts:
        raise _error(word, "there is an empty value between commas", _EXAMPLES[key])
    if key in ("state", "reach", "is"):
        valid: Sequence[str] = {"state": STATES, "reach": tuple(Reach), "is": MARKS}[key]
        chosen = []
        for part in parts:
            if part.lower() not in valid:
                fix = _did_you_mean(part, valid) or f"One of {', '.join(valid)}."
                raise _error(word, f"{part!r} is no value of `{key}:`", fix)
            chosen.append("succeeded" if part.lower() == "done" else part.lower())
        return Condition(kind=key, values=tuple(chosen), negated=negated)
    values = tuple(fold(part) for part in parts)
    if key == "id":
        values = tuple(part if "*" in part or "?" in part else f"{part}*" for part in values)
    if key == "tag":
        # `tag:lr=` is the tag without a value, which is written `lr`.
        values = tuple(part.removesuffix("=") if part != "=" else part for part in values)
        return Condition(kind="tag", values=values, negated=negated)
    return Condition(kind="text", key=key, values=values, negated=negated)


_JOINED = {
    "or": "Values of one key are joined by commas: state:running,failed.",
    "||": "Values of one key are joined by commas: state:running,failed.",
    "and": "Conditions that stand beside each other all have to hold.",
    "&&": "Conditions that stand beside each other all have to hold.",
    "not": "A `-` before a word takes it out: -tag:draft.",
}


def _bare(word: _Word, negated: bool) -> Condition:
    if (fix := _JOINED.get(word.text.lower())) and all(word.plain):
        raise _error(word, "this is no word of the language", f"{fix} Quote it to look for it.")
    return Condition(kind="word", values=(fold(word.text),), negated=negated)


def _comparison(word: _Word, negated: bool) -> Condition | None:
    """A word with a comparison in it; None if it has none. What is compared is a field we know, or
    what the run has of that name (see `value_of`); `param.` and `metric.` say which. `lr=3e-4` may
    stand in a name as well."""
    found = word.find(_OPERATOR)
    if found is None:
        return None
    name, op, value = word.text[: found[0]], word.text[slice(*found)], word.text[found[1] :]
    kind, dot, key = name.partition(".")
    kind = kind.lower()
    if not (dot and kind in ("param", "metric")):
        kind, key = ("number" if name.lower() in NUMBER_FIELDS else "value"), name
        key = key.lower() if kind == "number" else key
    if not key:
        raise _error(word, f"there is nothing to compare before {op!r}", "For example loss<1.3.")
    if not value:
        raise _error(
            word, f"there is nothing to compare with after {op!r}", f"Write {name}{op}1.3."
        )
    number = float(value) if _NUMBER.fullmatch(value) and len(value) < 400 else None
    if number is not None and abs(number) == float("inf"):
        number = None
    if number is None and not (kind in ("param", "value") and op in ("=", "!=")):
        raise _error(word, f"{value!r} is no number", f"Write, for example, {name}{op}1.3.")
    tagged = kind == "value" and op == "="
    values = () if number is not None and not tagged else (fold(value),)
    return Condition(kind=kind, key=key, op=op, values=values, number=number, negated=negated)


def _name_of(word: _Word, kind: str, name: str, op: str, known: Known | None) -> str:
    """What is called so, metrics as scripts print them too (`val_loss` for eval/loss). A name that
    no run has ever had anything of is refused; `name=value` may stand in a name or be text of a tag
    as well, so it is left alone."""
    any_kind = ("param", "tag", "metric")
    kinds = {"metric": ("metric",), "param": ("param",), "value": any_kind}.get(kind)
    if known is None or kinds is None or (kind == "value" and op == "="):
        return name
    if any(known.knows(one, name) for one in kinds):
        return name
    from traindeck.console.metrics.names import canonical

    if "metric" in kinds and known.knows("metric", canonical(name)):
        return canonical(name)
    there = {one: [n for n in known.names(one) if n[:2] != "__"] for one in any_kind}
    if not any(there[one] for one in kinds if one != "tag"):
        return name
    offered = {field: field for field in (NUMBER_FIELDS if op else SORT_FIELDS)}
    others = {"metric", "param"}.difference(kinds)
    offered |= {n: f"{one}.{n}" for one in others for n in there[one]}
    offered |= {n: n for one in kinds for n in there[one]}
    near = difflib.get_close_matches(name, offered, n=1, cutoff=0.5)
    what = {"metric": "metric", "param": "parameter"}.get(kind, "parameter, tag or metric")
    fix = f"Did you mean {offered[near[0]]}?" if near else "`traindeck metrics RUN` lists them."
    if kind == "value" and not op:  # a word to sort by, which may have been meant for a key
        raise _error(word, f"there is no key, {what} {name!r}", fix)
    raise _error(word, f"no run has a {what} {name!r}", fix)


def _moment(word: _Word, key: str, text: str, now: float | None) -> tuple[float, bool]:
    """A moment, or seconds ago and True."""
    if re.fullmatch(r"[\d.]+[smhdw].*", text.lower()):
        try:
            return parse_duration(text, f"{key}:"), True
        except UsageError as error:
            raise _error(word, error.what.rstrip("."), error.fix) from None
    today = datetime.fromtimestamp(time.time() if now is None else now).astimezone()
    try:
        if re.fullmatch(r"\d{1,2}:\d\d", text):
            hour, minute = map(int, text.split(":"))
            at = today.replace(hour=hour, minute=minute, second=0, microsecond=0)
        else:
            at = datetime.fromisoformat(text)
            if at.tzinfo is None:
                at = at.astimezone()
        return at.timestamp(), False
    except (ValueError, OverflowError, OSError):
        raise _error(word, f"{text!r} is neither a duration nor a date", _EXAMPLES[key]) from None


def _sort_key(word: _Word, text: str) -> str:
    down = "-" if text.startswith("-") else ""
    name = text.removeprefix("-")
    kind, dot, inner = name.partition(".")
    if dot and kind.lower() in ("param", "metric") and inner:
        return f"{down}{kind.lower()}.{inner}"
    if name.lower() in SORT_FIELDS:
        return down + name.lower()
    if name.lower() == "age":  # as the column of that name counts
        return "latest" if down else "-latest"
    if not name or _NUMBER.fullmatch(name):
        raise _error(word, f"{text!r} is nothing to sort by", _EXAMPLES["sort"])
    if near := difflib.get_close_matches(name.lower(), SORT_FIELDS, n=1, cutoff=0.8):
        raise _error(
            word,
            f"{name!r} is nothing to sort by",
            f"Did you mean {near[0]}? For a metric of that name: sort:{down}metric.{name}.",
        )
    return f"{down}value.{name}"


def completions(text: str) -> list[str]:
    """Words that begin like this one: keys with their colon, and what can stand behind it. A key
    that alone is meant comes with its values."""
    key, colon, typed = text.partition(":")
    keys = [known for known in KEYS if (known == key if colon else known.startswith(key))]
    if not colon and (len(keys) != 1 or keys[0] not in VALUES):
        return [f"{known}:" for known in keys]
    head = f"{keys[0] if keys else key}:{typed[: typed.rfind(',') + 1]}"
    last = typed[typed.rfind(",") + 1 :]
    return [f"{head}{v}" for known in keys for v in VALUES.get(known, ()) if v.startswith(last)]


def completed(text: str) -> tuple[str, list[str]]:
    """For a filter that is being typed: what all words that its last one could become have in
    common beyond it, and those words."""
    word = text.rpartition(" ")[2].removeprefix("-")
    found = completions(word) if word else []
    common = os.path.commonprefix(found)  # noqa: RUF071 - by characters
    return common[len(word) :], found


# ----------------------------------------------------------------------------------------- words


def _split(text: str) -> list[_Word]:
    if len(text) > LONGEST:
        raise FilterError(f"A filter takes at most {LONGEST:,} characters.", "", 0, len(text))
    words: list[_Word] = []
    chars: list[str] = []
    plain: list[bool] = []
    start = -1
    quote = ""
    opened = 0

    def finish(end: int) -> None:
        nonlocal start
        if start >= 0:
            words.append(_Word("".join(chars), tuple(plain), start, end))
            chars.clear()
            plain.clear()
            start = -1

    for place, char in enumerate(text):
        if quote:
            if char == quote:
                quote = ""
            else:
                chars.append(char)
                plain.append(False)
            continue
        if char.isspace():
            finish(place)
            continue
        if start < 0:
            start = place
        if char in "\"'":
            quote, opened = char, place
        else:
            chars.append(char)
            plain.append(True)
    if quote:
        word = _Word(text[start:], (), start, len(text))
        raise _error(word, f"the quote at character {opened + 1} is not closed", f"Add a {quote}.")
    finish(len(text))
    return [word for word in words if word.text]


def _given(words: Sequence[str]) -> list[_Word]:
    """Words as a shell passes them: spaces inside belong to the word, quotes may still be there."""
    found: list[_Word] = []
    start = 0
    for text in words:
        if "'" in text or '"' in text:
            found += _split(text)
        elif text.strip():
            found.append(_Word(text, (True,) * len(text), start, start + len(text)))
        start += len(text) + 1
    return found


def _error(word: _Word, what: str, fix: str) -> FilterError:
    shown = word.text if len(word.text) <= 60 else word.text[:59] + "…"
    return FilterError(
        f"Filter, character {word.start + 1}, {shown!r}: {what}.", fix, word.start, word.end
    )


def _did_you_mean(text: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(text.lower(), list(valid), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else ""
