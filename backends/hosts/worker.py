"""One thread for what blocks: the steps of a connection, in their order.

A pool of the standard library is joined at the program's end, and a connection that hangs would
hold that up; this thread is not waited for.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Worker:
    """Runs functions one after the other on a thread of its own, which begins with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def do(self, function: Callable[..., T], *args: Any) -> T:
        """The result of a function called there, in the context of the caller. Who is cancelled
        meanwhile does not stop it."""
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def answer(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def task() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = context.run(function, *args)
            except Exception as raised:
                error = raised
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(answer, result, error)

        self.put(task)
        return await future

    def put(self, task: Callable[[], None]) -> None:
        """Have something done there without waiting for it. It must not raise."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._tasks.put(task)

    def end(self) -> None:
        """Let the thread end after what it was given. Idempotent."""
        if self._thread is not None:
            self._tasks.put(None)
            self._thread = None

    def _run(self) -> None:
        tasks = self._tasks
        while (task := tasks.get()) is not None:
            task()
