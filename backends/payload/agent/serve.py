"""Many requests at a time over one pair of pipes.

One thread, one poll: a request that takes long gives way after each step, a stream sends no more
than its reader has said it can take, and answers go before stream data. It ends at the end of its
stdin and leaves nothing behind.
"""

import os
import select
import time
from collections import deque

from . import Refused, evidence, logs, verbs, wire

HIGH_WATER = 1 << 19
"""Bytes waiting to be written above which no stream adds more."""
READ_PIECE = 1 << 18
WRITE_PIECE = 1 << 16
LITTLE = 1 << 16
"""Bytes that are written as soon as they are there."""


class Connection:
    """The two pipes, and everything that was asked through them and is not answered yet."""

    def __init__(self, source, sink):
        self.source = source
        self.sink = sink
        self.heard = bytearray()
        self.control = deque()
        self.data = deque()
        self.pending = 0
        self.writing = []
        self.tasks = {}
        self.streams = {}
        self.turn = 0

    # -- requests

    def hear(self, data):
        """Take in bytes and do what they ask for."""
        self.heard += data
        while len(self.heard) >= 8:
            head = int.from_bytes(self.heard[:4], "big")
            body = int.from_bytes(self.heard[4:8], "big")
            if head > wire.MAX_JSON or body > wire.MAX_BODY:
                raise Refused("A frame is larger than anything that is sent here.")
            if len(self.heard) < 8 + head + body:
                return
            text = bytes(self.heard[8 : 8 + head])
            rest = bytes(self.heard[8 + head : 8 + head + body])
            del self.heard[: 8 + head + body]
            request = wire.parse_object(text)
            if request is None:
                raise Refused("A frame does not hold a JSON object.")
            self.ask(request, rest)

    def ask(self, request, body):
        """One frame."""
        key = request.get("id")
        if isinstance(key, bool) or not isinstance(key, (int, float)):
            self.answer({"id": None, "error": "A request needs a number as its id."})
            return
        verb = request.get("verb")
        try:
            if verb is None:
                self._steer(key, request)
            elif verb == "ping":
                self.answer({"id": key})
            elif key in self.tasks or key in self.streams:
                raise Refused("The id %s is in use." % key)
            elif verb == "follow":
                self.streams[key] = logs.Follow(request)
            elif verb == "fetch":
                from . import fetch

                self.streams[key] = fetch.Fetch(request)
            elif verb == "link":
                from . import links

                self.streams[key] = links.Link(request)
            elif verb == "devices":
                from .devices import telling

                self.streams[key] = telling.Telling(request)
            elif verb == "watch":
                from . import watch

                self.streams[key] = watch.Watch(request)
            else:
                result = verbs.function(verb)(request, body)
                if hasattr(result, "send"):
                    self.tasks[key] = [result, None, 0.0]
                elif result is not None:
                    self._answer_result(key, result)
        except Refused as refused:
            self._refuse(key, refused)
        except Exception as error:
            self._fail(key, verb, error)

    def _refuse(self, key, refused):
        self.answer(dict(refused.more, id=key, error=str(refused)), refused.body)

    def _fail(self, key, verb, error):
        self.answer({"id": key, "error": "%s failed: %s." % (verb, evidence.words_for(error))})

    def _steer(self, key, request):
        """Credit for a stream, or its end."""
        if request.get("close"):
            self._end(key)
            task = self.tasks.pop(key, None)
            if task is not None:
                task[0].close()
        elif key in self.streams:
            self.streams[key].credit += max(0, wire.field(request, "credit", int, 0))
            self.streams[key].due = 0.0

    def waits(self):
        """{descriptor: (stream, events)} of the streams that are told when there is more. None of
        them while too much waits to be written."""
        if self.pending >= HIGH_WATER:
            return {}
        found = {}
        for stream in self.streams.values():
            fd, events = stream.waits() if hasattr(stream, "waits") else (None, 0)
            if fd is not None:
                found[fd] = stream, events
        return found

    def _end(self, key):
        stream = self.streams.pop(key, None)
        if stream is not None:
            stream.close()

    def _answer_result(self, key, result):
        answer, body = result if isinstance(result, tuple) else (result, b"")
        self.answer(dict(answer, id=key), body)

    def answer(self, words, body=b""):
        """Queue an answer, before any stream data that waits."""
        self._queue(self.control, words, body)

    def _queue(self, frames, words, body):
        head = wire.frame(words, body)
        frames.append([memoryview(part) for part in (head, body) if part])
        self.pending += len(head) + len(body)

    # -- work

    def work(self, now, ready):
        """Advance every task whose time has come, and the streams. Returns seconds until there is
        something to do again (None: nothing by itself)."""
        for key, task in list(self.tasks.items()):
            generator, fd, due = task
            if not (now >= due or (fd is not None and fd in ready)):
                continue
            try:
                task[1], seconds = next(generator)
                task[2] = now + seconds
            except StopIteration as end:
                del self.tasks[key]
                self._answer_result(key, end.value)
            except Refused as refused:
                del self.tasks[key]
                self._refuse(key, refused)
            except Exception as error:
                del self.tasks[key]
                self._fail(key, "The request", error)
        self._stream(now)
        due = [task[2] for task in self.tasks.values()]
        if self.pending < HIGH_WATER:
            due += [stream.due for stream in self.streams.values()]
        return max(0.0, min(due) - now) if due else None

    def _stream(self, now):
        """One piece of each stream that has something, as long as there is room; the first one
        changes, so that none starves."""
        keys = list(self.streams)
        if not keys:
            return
        self.turn += 1
        first = self.turn % len(keys)
        for key in keys[first:] + keys[:first]:
            if self.pending >= HIGH_WATER:
                return
            stream = self.streams[key]
            try:
                step = stream.step(now)
            except Exception as error:
                step = {"error": str(error), "eof": True}, b""
                stream.done = True
            if step is None:
                continue
            words, body = step
            self._queue(self.data, dict(words, id=key), body)
            if stream.done:
                self._end(key)

    # -- writing

    def write(self):
        """Write what the pipe takes."""
        while self.pending:
            if not self.writing:
                self.writing = (self.control or self.data).popleft()
            try:
                done = os.write(self.sink, self.writing[0][:WRITE_PIECE])
            except BlockingIOError:
                return
            self.pending -= done
            if done < len(self.writing[0]):
                self.writing[0] = self.writing[0][done:]
            else:
                del self.writing[0]


def serve(marker, silence=None):
    """The program `serve MARKER [SECONDS]`: until the end of stdin, or until nothing was heard for
    so long (the other side was cut off, and nobody told us)."""
    wire.write_all(1, b"\n" + marker.encode("utf-8", "surrogateescape") + b"\n")
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    link = Connection(0, 1)
    ready = set()
    heard = time.monotonic()
    try:
        while True:
            # In this order: where work stopped because too much was waiting to be written, some
            # of it still is, and the pipe will wake us.
            link.write()
            now = time.monotonic()
            if silence is not None and now - heard > silence:
                return 0
            pause = link.work(now, ready)
            if link.pending <= LITTLE:
                link.write()  # a word need not wait to be told that there is room
            if silence is not None:
                left = max(0.0, heard + silence - now) + 0.1
                pause = left if pause is None else min(pause, left)
            poller = select.poll()
            poller.register(0, select.POLLIN)
            # Registered for nothing, it still tells that the reader is gone.
            poller.register(1, select.POLLOUT if link.pending else 0)
            for task in link.tasks.values():
                if task[1] is not None:
                    poller.register(task[1], select.POLLIN)
            waiting = link.waits()
            for fd, (_, wanted) in waiting.items():
                poller.register(fd, wanted)
            events = poller.poll(None if pause is None else pause * 1000.0)
            ready = {fd for fd, event in events}
            for fd in ready.intersection(waiting):
                waiting[fd][0].due = 0.0
            if any(fd == 1 and event & (select.POLLERR | select.POLLHUP) for fd, event in events):
                return 0
            if 0 in ready:
                try:
                    data = os.read(0, READ_PIECE)
                except BlockingIOError:
                    continue
                if not data:
                    return 0
                heard = time.monotonic()
                link.hear(data)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except Refused:
        return 1  # not a peer of ours: there is no frame to answer in
    finally:
        for task in link.tasks.values():
            task[0].close()
        for stream in link.streams.values():
            stream.close()
