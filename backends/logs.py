"""What backends over our agent share of reading logs: cursors, and many files at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from traindeck.backends.base import AgentChannel, BackendError, Piece, Tail, UsageError


def parse_cursor(cursor: str) -> tuple[int, str]:
    """Offset and identity of `OFFSET` or `OFFSET@IDENTITY`; "" is the beginning.

    Raises:
        UsageError: It is neither.
    """
    offset, at, identity = cursor.partition("@")
    if cursor and (not (offset.isascii() and offset.isdecimal()) or (at and not identity)):
        raise UsageError(f"{cursor!r} is no log cursor of this backend.")
    return int(offset or 0), identity


async def ask_tails(agent: AgentChannel, wanted: Sequence[Tail], budget: int) -> list[Piece]:
    """`Tails.tails` by an agent. What lies outside of an attempt's folder is left out.

    Raises:
        Unreachable: The agent does not answer.
        BackendError: It refuses, or its answer makes no sense.
    """
    groups: list[tuple[tuple[str, int], list[tuple[str, Tail]]]] = []
    for tail in wanted:  # in this order: what comes first has the budget first
        base = f"attempts/{tail.ref.attempt}/"
        if tail.path.startswith(base):
            key = (tail.ref.run_id, tail.ref.attempt)
            if not groups or groups[-1][0] != key:
                groups.append((key, []))
            groups[-1][1].append((tail.path.removeprefix(base), tail))
    if not groups:
        return []
    runs = [
        [run, attempt, [[name, tail.offset, tail.identity or None] for name, tail in files]]
        for (run, attempt), files in groups
    ]
    answer, body = await agent.call("tails", {"runs": runs, "budget": budget})
    try:
        return _pieces(answer, body, [[tail for _, tail in files] for _, files in groups])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BackendError(f"The agent's answer to `tails` makes no sense: {error}.") from None


def _pieces(answer: dict[str, Any], body: bytes, groups: list[list[Tail]]) -> list[Piece]:
    found = []
    at = 0
    for group, number, offset, length, size, identity, cut in answer["pieces"]:
        tail = groups[group][number]
        begins = int(offset)
        if begins != (0 if cut else tail.offset) or not 0 <= int(length) <= len(body) - at:
            raise ValueError(f"a piece of {tail.path} is from elsewhere")
        found.append(
            Piece(
                ref=tail.ref,
                path=tail.path,
                offset=begins,
                data=body[at : at + int(length)],
                size=int(size),
                identity=str(identity),
                cut=bool(cut),
            )
        )
        at += int(length)
    return found
