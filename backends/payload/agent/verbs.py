"""The agent's verbs, by name, and the one-shot way to call them."""

import os
import select
import sys

VERBS = {
    "hello": "survey",
    "survey": "survey",
    "start": "start",
    "find": "poll",
    "poll": "poll",
    "cancel": "cancel",
    "log_stat": "logs",
    "read_at": "logs",
    "log_find": "logs",
    "ls": "files",
    "read": "files",
    "tails": "tails",
    "rm": "files",
    "put": "files",
    "run": "programs",
    "enqueue": "handover",
    "reserve": "handover",
    "handed": "handover",
    "conclude": "handover",
    "prepare": "prepare",
    "forget": "prepare",
    "tree": "fetch",
    "session": "session",
    "ports": "session",
    "reach": "session",
    "give": "links",
    "adopt": "adopt",
    "unwatch": "adopt",
    "blobs_missing": "blobs",
    "blobs_put": "blobs",
    "keep_library": "devices.telling",
    "device_history": "devices.history",
}
"""Verb -> the module that has a function of that name: only what a call needs is imported."""


def function(verb):
    """The function behind a verb: request, body -> answer, (answer, body), or a generator of
    (descriptor or None, seconds) to wait for that returns one."""
    from . import Refused

    if verb not in VERBS:
        raise Refused("There is no verb %.40r." % (verb,))
    name = "%s.%s" % (__package__, VERBS[verb])
    __import__(name)
    return getattr(sys.modules[name], verb)


def complete(result):
    """Run a verb's result to its end: (answer, body)."""
    if hasattr(result, "send"):
        try:
            while True:
                fd, seconds = next(result)
                if fd is None:
                    select.select([], [], [], seconds)
                else:
                    select.select([fd], [], [], seconds)
        except StopIteration as end:
            result = end.value
    return result if isinstance(result, tuple) else (result, b"")


def main(words):
    """The program. Returns the exit code."""
    from . import Refused, wire

    sys.modules[__package__].UMASK = os.umask(0o077)
    verb = words[0] if words else ""
    try:
        if verb == "serve":
            from . import serve

            silence = float(words[2]) if len(words) > 2 else None
            return serve.serve(words[1] if len(words) > 1 else "", silence)
        if verb == "session" and words[2:] in ([], ["loaded"]):
            from . import session

            return session.become(words[1], bool(words[2:]))
        if verb == "enter" and len(words) == 2:
            from . import inside

            return inside.enter(words[1])
        if verb in ("supervise", "takeover") and len(words) == 3:
            return _detached(verb, words[1], words[2])
        if verb == "batch" and 3 <= len(words) <= 4:
            from . import batch

            return batch.batch(words[1:])
        if verb == "rank" and len(words) == 4:
            from . import rank

            return rank.rank(words[1:])
        if words == ["devices"]:
            from .devices import sampling

            return sampling.program()
        if words == ["sweep", "blobs"]:
            from . import sweep

            return sweep.sweep()
        request, body = wire.read_request(0)
        answer, body = complete(function(verb)(request, body))
    except Refused as refused:
        wire.write_answer(1, dict(refused.more, error=str(refused)), refused.body)
        return 1
    except OSError as error:
        wire.write_answer(1, {"error": "%s failed: %s." % (verb, error)})
        return 1
    wire.write_answer(1, answer, body)
    return 0


def _detached(verb, run, attempt):
    """A process that nobody waits for: what goes wrong goes into the run's events."""
    from . import layout

    run = layout.check_id(run)
    number = layout.check_attempt(int(attempt))
    try:
        if verb == "supervise":
            from . import supervise

            supervise.supervise(run, number)
        else:
            from . import takeover

            takeover.takeover(run, number)
    except Exception as error:
        import traceback

        from . import records

        records.append_event(
            layout.attempt_dir(run, number),
            "agent_error",
            error="%s: %s" % (type(error).__name__, error),
            trace=traceback.format_exc()[-4000:],
        )
        return 1
    return 0
