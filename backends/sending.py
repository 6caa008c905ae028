"""Sending code to the agent of a host: only what is not there, in one round trip if that can be.

What a place has is known to its agent alone. What we remember of it is a hint: with it the few new
blobs and the request that needs them are sent at once, and where the hint was wrong the agent
refuses and names what it misses. Without it the agent is asked first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from traindeck.backends.base import AgentChannel, AgentRefused, BackendError, Content, Tree

PIECE = 1 << 20
"""Bytes of a request at the most: those of a large file come in several."""

MANY = 512
"""Blobs in a request at the most."""

AHEAD = 4
"""Requests with bytes that may be on their way at once: 4 MiB keep a link of 80 ms busy at 50 MB/s,
and let a poll through in between."""

GUESSED_BLOBS, GUESSED_BYTES = 256, 256 << 10
"""What is sent without asking first, at the most: more may be there already, in vain."""

PUT_TIMEOUT = 300.0
"""Seconds for the bytes of one request to arrive, with those that were sent before it."""

Answer = tuple[dict[str, Any], bytes]


async def call_with_tree(
    agent: AgentChannel,
    verb: str,
    header: Mapping[str, Any],
    body: bytes,
    tree: Tree,
    place: str,
    *,
    timeout: float,
) -> Answer:
    """Ask for something that needs a tree, which is sent as far as it is not there.

    Args:
        place: What our hints go by: the host and the agent's folder there.
        timeout: Seconds for the request itself, when the tree is there.

    Raises:
        BackendError: The code is not here any more, or has changed since it was captured; or the
            agent refused.
        Unreachable: The agent went away. What arrived is there, and is not sent again.
    """
    content = tree.content
    if content is None:
        raise BackendError(
            "The code of this plan is not here any more; it was not sent.", "Plan it anew."
        )
    known = content.known(place)
    new = [digest for digest in content.sizes if digest not in known]
    offsets: Mapping[str, int] = {}
    if len(new) > GUESSED_BLOBS or sum(content.sizes[d] for d in new) > GUESSED_BYTES:
        new, offsets = await _missing(agent, content.sizes)
    # What an answer says is missing is sent; a sweep there may take something twice, never always.
    for _ in range(3):
        asked = agent.call(verb, header, body, timeout=timeout)
        try:
            answer = await _send_and_ask(agent, content, new, offsets, asked)
        except AgentRefused as refused:
            if not refused.answer.get("missing"):
                raise
            new, offsets = list(_hex(refused.body)), {}
            last = refused
        else:
            content.sent(place)
            return answer
    raise last


async def _missing(
    agent: AgentChannel, digests: Iterable[str]
) -> tuple[list[str], Mapping[str, int]]:
    """Which of these a place has not, and of how many of their bytes it has the first."""
    answer, body = await agent.call("blobs_missing", {}, bytes.fromhex("".join(digests)))
    partial = answer.get("partial")
    there = partial.items() if isinstance(partial, dict) else ()
    return list(_hex(body)), {d: n for d, n in there if isinstance(n, int)}


def _hex(body: bytes) -> Iterator[str]:
    text = body.hex()
    return (text[at : at + 64] for at in range(0, len(text), 64))


async def _send_and_ask(
    agent: AgentChannel,
    content: Content,
    new: list[str],
    offsets: Mapping[str, int],
    asked: Any,
) -> Answer:
    """Send blobs, then ask. Little is not waited for: the agent takes what it is sent in order."""
    requests = _requests(content, new, offsets)
    total = sum(content.sizes.get(d, 0) - offsets.get(d, 0) for d in new)
    at_once = total <= GUESSED_BYTES
    done = 0
    under_way: list[tuple[asyncio.Task[Answer], int]] = []
    asking: asyncio.Task[Answer] | None = None
    try:
        while True:
            # On a thread: the files may lie on a disk that is far, too.
            request = await asyncio.to_thread(next, requests, None) if new else None
            if request is None:
                break
            entries, data = request
            if len(under_way) == AHEAD:
                sending, size = under_way.pop(0)
                await sending
                done += size
                content.progress(done, total)
            put = agent.call("blobs_put", {"blobs": entries}, data, timeout=PUT_TIMEOUT)
            under_way.append((asyncio.create_task(put), len(data)))
            await asyncio.sleep(0)  # it is on its way before the next one
        if at_once:
            asking = asyncio.create_task(asked)
        for sending, size in under_way:
            await sending
            done += size
            content.progress(done, total)
        asking = asking or asyncio.create_task(asked)
        return await asking
    finally:
        tasks = [task for task, _ in under_way]
        if asking is None:
            asked.close()
        else:
            tasks.append(asking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _requests(
    content: Content, digests: Iterable[str], offsets: Mapping[str, int]
) -> Iterator[tuple[list[dict[str, Any]], bytes]]:
    """What `blobs_put` is asked, one after the other: many small blobs, or a piece of a large one.

    Raises:
        BackendError: A file is not as it was captured any more; nothing of it is sent.
    """
    entries: list[dict[str, Any]] = []
    parts: list[bytes] = []
    size = 0
    for digest in digests:
        data = _read(content, digest)
        if len(data) > PIECE:
            # Of one that is all there something is sent once more: it was not looked at yet.
            start = min(max(offsets.get(digest, 0), 0), len(data) - 1)
            for at in range(start, len(data), PIECE):
                piece = data[at : at + PIECE]
                entry = {"digest": digest, "size": len(data), "offset": at, "length": len(piece)}
                yield [entry], piece
            continue
        if entries and (size + len(data) > PIECE or len(entries) >= MANY):
            yield entries, b"".join(parts)
            entries, parts, size = [], [], 0
        entries.append({"digest": digest, "size": len(data)})
        parts.append(data)
        size += len(data)
    if entries:
        yield entries, b"".join(parts)


def _read(content: Content, digest: str) -> bytes:
    try:
        blob = content.blob(digest)
    except KeyError:
        raise BackendError(
            f"The place asks for {digest[:16]}, which is not of this code."
        ) from None
    try:
        data = blob.read()
    except OSError as error:
        raise BackendError(
            f"{blob.path} cannot be read: {error.strerror}; the run was not sent."
        ) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise BackendError(f"{blob.path} changed after the plan was made; it was not sent.")
    return data
