# ruff: noqa: S608  (SQL is put together from constants; what a person typed is always bound)
"""Filters and orders as SQL over the index's tables.

Says exactly what console.store.filtering says in Python (a property test compares them on random
runs and filters). Everything a person typed travels as a bound value; the SQL is made of constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from traindeck.backends.errors import UsageError
from traindeck.backends.states import State
from traindeck.console.store import schema
from traindeck.console.store.filtering import UNKNOWN, Condition, Filter, as_word, is_pattern
from traindeck.console.store.records import BAD, DIVERGES, UNKNOWN_AFTER

_STATES = {name: f"'{name}'" for name in State}
_ACTIVE = f"r.state IN ({schema.ACTIVE})"
_BAD = f"r.state IN ({', '.join(sorted(_STATES[s] for s in BAD))})"

# console.store.records.needs_you and group. `?` is now.
_LOOKED = "coalesce(r.looked_at, 0)"
_NEEDS_YOU = f"""(CASE WHEN r.archived THEN 0
    WHEN {_BAD} THEN {_LOOKED} < coalesce(
        nullif(r.ended, 0), r.troubled_at, nullif(r.observed_at, 0), r.created)
    WHEN {_ACTIVE} AND r.reach = 'down'
        THEN ? > r.observed_at + {UNKNOWN_AFTER} AND {_LOOKED} < r.observed_at + {UNKNOWN_AFTER}
    WHEN r.state IN ({", ".join(_STATES[s] for s in DIVERGES)}) AND r.broken_at IS NOT NULL
        AND {_LOOKED} < r.broken_at THEN 1
    WHEN r.state = 'running' AND r.reach = 'ok' THEN coalesce({_LOOKED} < r.troubled_at,
        {_LOOKED} < r.silent_from AND r.silent_from < r.observed_at, 0)
    ELSE 0 END)"""
GROUP = f"""(CASE WHEN {_NEEDS_YOU} THEN 0 WHEN r.state IN ('new', 'queued') THEN 2
    WHEN {_ACTIVE} THEN 1 ELSE 3 END)"""

_COLUMNS = {
    "name": "r.folded",
    "id": "r.id",
    "backend": "fold(r.backend)",
    "host": "fold(coalesce(r.host, ''))",
    "project": "fold(r.project)",
    "recipe": "fold(coalesce(r.recipe, ''))",
    "note": "fold(coalesce((SELECT x.note FROM texts x WHERE x.n = r.n), ''))",
}

_ORDER = {
    "created": "r.created",
    "latest": "r.latest",
    "started": "r.started",
    "ended": "r.ended",
    "runtime": "(coalesce(r.ended, ?) - r.started)",
    "name": "r.folded",
    "state": "(CASE r.state "
    + " ".join(f"WHEN {_STATES[state]} THEN {place}" for place, state in enumerate(State))
    + " END)",
    "backend": "r.backend",
    "host": "r.host",
    "project": "r.project",
    "recipe": "r.recipe",
    "attempt": "r.attempt",
    "gpus": "r.gpus",
    "exit_code": "r.exit_code",
    "step": "r.step",
    "id": "r.id",
    "group": GROUP,
}


# console.store.filtering.value_of. Each `?` is the name.
_VALUE = """(CASE WHEN EXISTS (SELECT 1 FROM params x WHERE x.run = r.n AND x.key = ?)
    THEN (SELECT x.number FROM params x WHERE x.run = r.n AND x.key = ?)
    ELSE coalesce((SELECT number(x.value) FROM tags x WHERE x.run = r.n AND x.key = ?),
        (SELECT x.last FROM series x WHERE x.run = r.n AND x.key = ?)) END)"""


class Query(NamedTuple):
    """The pieces of `SELECT … FROM runs r {joins} WHERE {where} ORDER BY {order}`."""

    joins: str
    where: str
    order: str
    args: tuple[Any, ...]


def compile_query(
    filter: Filter | None, sort: Sequence[str], now: float, window: float | None = None
) -> Query:
    """SQL for a filter (and a window, see `Index.ids`).

    The filter's own order comes before `sort`; newest first is the last word. A run that lacks what
    is sorted by comes last, in either direction.
    """
    where: list[str] = []
    where_args: list[Any] = []
    for condition in filter.conditions if filter else ():
        sql, args = _condition(condition, now)
        where.append(f"NOT {sql}" if condition.negated else sql)
        where_args += args
    if window is not None:
        recent = f"({_ACTIVE} OR r.latest >= ?)"
        where.append(recent if _shows_archived(filter) else f"NOT r.archived AND {recent}")
        where_args.append(now - window)
    joins: list[str] = []
    join_args: list[Any] = []
    order: list[str] = []
    order_args: list[Any] = []
    for place, key in enumerate([*(filter.sort if filter else ()), *sort]):
        down = " DESC" if key.startswith("-") else ""
        name = key.removeprefix("-")
        kind, _, inner = name.partition(".")
        if kind == "metric":
            joins.append(f"LEFT JOIN series s{place} ON s{place}.run = r.n AND s{place}.key = ?")
            join_args.append(inner)
            order.append(f"s{place}.last IS NULL, s{place}.last{down}")
        elif kind == "param":
            joins.append(f"LEFT JOIN params p{place} ON p{place}.run = r.n AND p{place}.key = ?")
            join_args.append(inner)
            order.append(
                f"p{place}.key IS NULL, p{place}.number IS NULL, p{place}.number{down}, "
                f"p{place}.text{down}"
            )
        elif kind == "value":
            tables = (("params", "p"), ("tags", "t"), ("series", "s"))
            joins += [
                f"LEFT JOIN {table} {x}{place} ON {x}{place}.run = r.n AND {x}{place}.key = ?"
                for table, x in tables
            ]
            joins[-2] += f" AND number(t{place}.value) IS NOT NULL"
            join_args += [inner] * len(tables)
            value = (
                f"(CASE WHEN p{place}.key IS NOT NULL THEN p{place}.number "
                f"WHEN t{place}.key IS NOT NULL THEN number(t{place}.value) "
                f"ELSE s{place}.last END)"
            )
            text = f"p{place}.text"  # of a parameter that is no number; it comes behind those
            order.append(f"{value} IS NULL, {value}{down}, {text} IS NULL, {text}{down}")
        else:
            if name not in _ORDER:
                raise UsageError(
                    f"{name!r} is nothing to sort by.", f"For a metric of that name: metric.{name}."
                )
            column = _ORDER[name]
            times = column.count("?")
            if name in ("created", "latest", "id", "group"):
                order.append(f"{column}{down}")
            else:
                order.append(f"{column} IS NULL, {column}{down}")
                times *= 2
            order_args += [now] * times
            if name == "id":
                break
    order.append("r.created DESC, r.n DESC")
    return Query(
        joins=" ".join(joins),
        where=" AND ".join(where) or "1",
        order=", ".join(order),
        args=(*join_args, *where_args, *order_args),
    )


def _shows_archived(filter: Filter | None) -> bool:
    """Whether archived runs are asked for by name."""
    conditions = filter.conditions if filter else ()
    return any(c.kind == "is" and "archived" in c.values for c in conditions)


def _condition(condition: Condition, now: float) -> tuple[str, list[Any]]:
    values = condition.values
    match condition.kind:
        case "text":
            return _any(_COLUMNS[condition.key], values)
        case "tag":
            parts, args = [], []
            for value in values:
                sql, found = _any("t.folded" if "=" in value else "fold(t.key)", (value,))
                parts.append(sql)
                args += found
            return f"EXISTS (SELECT 1 FROM tags t WHERE t.run = r.n AND ({_or(parts)}))", args
        case "word":
            inside = _or(["instr(r.folded, ?)"] * len(values))
            tagged = _or(["instr(t.folded, ?)"] * len(values))
            exists = f"EXISTS (SELECT 1 FROM tags t WHERE t.run = r.n AND ({tagged}))"
            return f"({inside} OR {exists})", [*values, *values]
        case "state":
            sql = f"r.state IN ({', '.join('?' * len(values))})"
            unasked = "r.reach = 'stale' AND NOT r.observed_at"
            unknown = f" OR ({_ACTIVE} AND (r.reach = 'down' OR {unasked}))"
            unknown = unknown if UNKNOWN in values else ""
            return f"({sql}{unknown})", list(values)
        case "reach":
            return f"(r.reach IN ({', '.join('?' * len(values))}))", list(values)
        case "is":
            marks = {
                "active": f"({_ACTIVE})",
                "over": f"(NOT {_ACTIVE})",
                "archived": "r.archived",
                "foreign": "r.is_foreign",
                "needs-you": _NEEDS_YOU,
            }
            sql = _or([marks[value] for value in values])
            return f"({sql})", [now] * sql.count("?")
        case "since" | "before":
            assert condition.number is not None
            moment = now - condition.number if condition.ago else condition.number
            return f"(r.created {'>=' if condition.kind == 'since' else '<'} ?)", [moment]
        case "number":
            # Both sides as floats: an integer beyond 2^53 compares as Python's float() does.
            sql = f"coalesce(CAST(r.{condition.key} AS REAL) {condition.op} ?, 0)"
            return sql, [condition.number]
        case "metric":
            return (
                f"EXISTS (SELECT 1 FROM series x WHERE x.run = r.n AND x.key = ? "
                f"AND x.last {condition.op} ?)",
                [condition.key, condition.number],
            )
        case "param":
            if condition.number is not None:
                inner, args = f"x.number {condition.op} ?", [condition.number]
            else:
                inner, args = _any("x.text", values)
                inner = inner if condition.op == "=" else f"NOT {inner}"
            return (
                f"EXISTS (SELECT 1 FROM params x WHERE x.run = r.n AND x.key = ? AND {inner})",
                [condition.key, *args],
            )
        case "value":
            if condition.number is None:
                sql, args = _condition(replace(condition, kind="param"), now)
            else:
                sql = f"coalesce({_VALUE} {condition.op} ?, 0)"
                args = [*[condition.key] * _VALUE.count("?"), condition.number]
            if condition.op == "=":
                other, more = _condition(as_word(condition), now)
                return f"({sql} OR {other})", [*args, *more]
            return sql, args
    raise AssertionError(condition.kind)


def _any(column: str, values: Sequence[str]) -> tuple[str, list[Any]]:
    """Whether a column fits one of several values, some of them patterns."""
    parts, args = [], []
    for value in values:
        if is_pattern(value):
            parts.append(f"({column} <> '' AND {column} GLOB ?)")
            args.append(value.replace("[", "[[]"))
        else:
            parts.append(f"{column} = ?")
            args.append(value)
    return f"({_or(parts)})", args


def _or(parts: Sequence[str]) -> str:
    return " OR ".join(parts) or "0"
