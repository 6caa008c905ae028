"""JSON of any size, read without keeping others waiting: a cluster's jobs come as one list, and ten
thousand of them take half a second."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

LARGE = 1 << 20
"""Characters from which on it is read in pieces."""
AT_ONCE = 100
"""Things of a list that are read before others have a turn."""

_SPACE = re.compile(r"[ \t\r\n]*")


async def read(data: bytes) -> Any:
    """As `json.loads`: the lists of an object piece by piece.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deeply.
    """
    text = data.decode("utf-8")
    if len(text) < LARGE:
        return json.loads(text)
    decoder = json.JSONDecoder()
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return decoder.decode(text)
    found: dict[str, Any] = {}
    at = _skip(text, at + 1)
    if text[at : at + 1] != "}":
        while True:
            key, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            if not isinstance(key, str) or text[at : at + 1] != ":":
                raise ValueError("no object")
            at = _skip(text, at + 1)
            if text[at : at + 1] == "[":
                found[key], at = await _list(decoder, text, at)
            else:
                found[key], at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ",":
                break
            at = _skip(text, at + 1)
    if text[at : at + 1] != "}" or _skip(text, at + 1) != len(text):
        raise ValueError("no object")
    return found


async def _list(decoder: json.JSONDecoder, text: str, at: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return found, at + 1
    while True:
        thing, at = decoder.raw_decode(text, at)
        found.append(thing)
        at = _skip(text, at)
        if text[at : at + 1] != ",":
            break
        at = _skip(text, at + 1)
        if len(found) % AT_ONCE == 0:
            await asyncio.sleep(0)
    if text[at : at + 1] != "]":
        raise ValueError("no list")
    return found, at + 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
