"""What a filter is once it was read: conditions on runs, and an order.

`matches` says what a condition means; console.store.query says the same in SQL, and a test holds
the two together. Comparing ignores case; `*` and `?` are wildcards that span the whole value.
"""

from __future__ import annotations

import math

from traindeck.backends.data import dataclass
from traindeck.console.store.records import RunRecord, group
from traindeck.console.store.rows import fold, param_number, param_text, tag_text

TEXT_FIELDS = ("name", "id", "backend", "host", "project", "recipe", "note")
NUMBER_FIELDS = ("attempt", "gpus", "exit_code", "step")
MARKS = ("active", "archived", "foreign", "needs-you", "over")
SORT_FIELDS = (
    "created", "latest", "started", "ended", "runtime", "name", "state", "backend", "host",
    "project", "recipe", "attempt", "gpus", "exit_code", "step", "id", "group",
)  # fmt: skip

UNKNOWN = "unknown"
"""Among states: an active run whose place does not answer."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `values` are alternatives, already folded.

    Attributes:
        kind: `text` and `tag` compare by values, `word` looks for one inside name and tags,
            `state` and `reach` are sets, `is` a mark; `since` and `before` compare the creation,
            `number`, `metric` (its last value) and `param` compare the field `key` by `op`; `value`
            compares what the run has of that name (see `value_of`), and with `=` is also a `word`:
            `key=value`.
        op: `<`, `<=`, `>`, `>=`, `=`, `!=`.
        number: To compare with; for `since` and `before` a moment, or, with `ago`, seconds ago.
    """

    kind: str
    key: str = ""
    op: str = ""
    values: tuple[str, ...] = ()
    number: float | None = None
    ago: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions that must all hold, and sort keys (`-` in front: descending), first one first."""

    conditions: tuple[Condition, ...] = ()
    sort: tuple[str, ...] = ()

    @property
    def says_when(self) -> bool:
        """Whether it names a time itself: then a list lays no window of recent runs over it."""
        return any(c.kind in ("since", "before") for c in self.conditions)

    def matches(self, run: RunRecord, now: float) -> bool:
        """Whether a run fits. `run.metrics` must hold what is compared."""
        return all(_holds(c, run, now) is not c.negated for c in self.conditions)


def _holds(condition: Condition, run: RunRecord, now: float) -> bool:
    match condition.kind:
        case "text":
            return any(_fits(_field(run, condition.key), v) for v in condition.values)
        case "tag":
            return any(
                _fits(fold(tag_text(key, value) if "=" in pattern else key), pattern)
                for key, value in run.tags.items()
                for pattern in condition.values
            )
        case "word":
            texts = [fold(run.name), *(fold(tag_text(k, v)) for k, v in run.tags.items())]
            return any(value in text for text in texts for value in condition.values)
        case "state":
            return run.state in condition.values or (UNKNOWN in condition.values and run.unknown)
        case "reach":
            return run.reach in condition.values
        case "is":
            return any(_is(run, value, now) for value in condition.values)
        case "since":
            return run.created >= _moment(condition, now)
        case "before":
            return run.created < _moment(condition, now)
        case "number":
            return _compares(_number(run, condition.key), condition)
        case "metric":
            return _compares(_last(run, condition.key), condition)
        case "param":
            return _param(run, condition)
        case "value":
            if condition.op == "=" and _holds(as_word(condition), run, now):
                return True
            if condition.number is None:
                return _param(run, condition)
            return _compares(value_of(run, condition.key), condition)
    raise AssertionError(condition.kind)


def value_of(run: RunRecord, name: str) -> float | None:
    """What a bare name means of a run: its parameter if it has one of that name, else its tag if
    that is a number, else its metric."""
    if name in run.params:
        return param_number(run.params[name])
    tag = param_number(run.tags.get(name))
    return _last(run, name) if tag is None else tag


def as_word(condition: Condition) -> Condition:
    """A comparison `key=value` as what stands in a name or a tag."""
    text = f"{fold(condition.key)}={condition.values[0]}"
    return Condition(kind="word", values=(text,), negated=condition.negated)


def _field(run: RunRecord, key: str) -> str:
    return fold(getattr(run, key) or "")


def _last(run: RunRecord, key: str) -> float | None:
    metric = run.metrics.get(key)
    return None if metric is None else metric.last


def _number(run: RunRecord, key: str) -> float | None:
    value = run.progress.step if key == "step" else getattr(run, key)
    return None if value is None else float(value)


def _is(run: RunRecord, mark: str, now: float) -> bool:
    match mark:
        case "active":
            return run.active
        case "over":
            return not run.active
        case "archived":
            return run.archived
        case "foreign":
            return run.foreign
        case "needs-you":
            return group(run, now) == 0
    raise AssertionError(mark)


def _moment(condition: Condition, now: float) -> float:
    assert condition.number is not None
    return now - condition.number if condition.ago else condition.number


def _param(run: RunRecord, condition: Condition) -> bool:
    if condition.key not in run.params:
        return False
    value = run.params[condition.key]
    if condition.number is not None:
        return _compares(param_number(value), condition)
    fits = _fits(fold(param_text(value)), condition.values[0])
    return fits if condition.op == "=" else not fits


def _compares(value: float | None, condition: Condition) -> bool:
    if value is None or math.isnan(value) or condition.number is None:
        return False
    match condition.op:
        case "<":
            return value < condition.number
        case "<=":
            return value <= condition.number
        case ">":
            return value > condition.number
        case ">=":
            return value >= condition.number
        case "=":
            return value == condition.number
        case "!=":
            return value != condition.number
    raise AssertionError(condition.op)


def is_pattern(value: str) -> bool:
    """Whether a value has wildcards."""
    return "*" in value or "?" in value


def _fits(text: str, pattern: str) -> bool:
    """Whether a text is what is looked for. No pattern fits where there is nothing: `note:*` are
    the runs with a note."""
    if not is_pattern(pattern):
        return text == pattern
    return text != "" and glob_fits(text, pattern)


def glob_fits(text: str, pattern: str) -> bool:
    """Whether a whole text fits a pattern of `*` (anything) and `?` (one character). Takes time
    in proportion to text × pattern at worst, whatever the pattern."""
    at = mark = 0
    star = -1
    place = 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, mark = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at += 1
            place += 1
        elif star >= 0:
            mark += 1
            at, place = mark, star + 1
        else:
            return False
    return pattern[place:].strip("*") == ""
