"""What a machine's accelerators are doing, as long as somebody looks: a stream of its agent.

The bindings that ask NVIDIA's driver (nvidia-ml-py) are those installed here; an agent that lacks
them is sent a copy, once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from traindeck.backends.base import AgentChannel, BackendError
from traindeck.backends.devices.readings import DeviceReport, Told


@asynccontextmanager
async def reports(
    agent: AgentChannel, every: float | None, clock: Callable[[], float] = time.time
) -> AsyncIterator[AsyncIterator[DeviceReport]]:
    """What an agent says of its machine's devices.

    Args:
        every: Seconds between two reports; None for one alone.
        clock: Returns now, for `observed_at`.

    Raises:
        Unreachable: The machine does not answer.
        BackendError: It cannot be asked; or, while iterated, the agent ended the stream.
    """
    library = _library()
    words = {"every": every, "library": None if library is None else library[0]}
    for sent in (False, True):
        async with agent.stream("devices", words) as answers:
            told = Told()
            first = await _line(answers)
            if first is None:
                raise BackendError("The program that reads the devices there ended at once.")
            if not first.get("needs"):
                yield _reports(answers, told, first, clock)
                return
        if sent or library is None:
            raise BackendError(
                "NVIDIA's devices there cannot be read without nvidia-ml-py.",
                "Install it here: `pip install nvidia-ml-py`.",
            )
        await agent.call("keep_library", {"digest": library[0]}, library[1])


async def _reports(
    answers: AsyncIterator[tuple[dict[str, object], bytes]],
    told: Told,
    line: dict[str, object] | None,
    clock: Callable[[], float],
) -> AsyncIterator[DeviceReport]:
    while line is not None:
        yield told.hear(line, clock())
        line = await _line(answers)


async def _line(
    answers: AsyncIterator[tuple[dict[str, object], bytes]],
) -> dict[str, object] | None:
    async for _, body in answers:
        if body:
            try:
                line = json.loads(body)
            except (ValueError, RecursionError):
                line = None
            if not isinstance(line, dict):
                raise BackendError("The program that reads the devices there said what is no line.")
            return line
    return None


@functools.cache
def _library() -> tuple[str, bytes] | None:
    """(digest, bytes) of the bindings that are installed here; None if none are."""
    from importlib.util import find_spec

    spec = find_spec("pynvml")
    if spec is None or spec.origin is None or not spec.origin.endswith("pynvml.py"):
        return None
    data = Path(spec.origin).read_bytes()
    return hashlib.sha256(data).hexdigest(), data
