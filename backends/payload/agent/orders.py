"""What an attempt is run by: run.json, what came through the pipe, and requests to stop it."""

import os

from . import Refused, job, records, wire


class Orders:
    """What an attempt is run by: run.json's spec and what came through the pipe, checked."""

    def __init__(self, record, request):
        spec = record.get("spec") if record else None
        if not isinstance(spec, dict):
            raise Refused("run.json cannot be read.")
        self.spec = spec
        limits = spec.get("limits") if isinstance(spec.get("limits"), dict) else {}
        self.time = records.number(limits.get("time"))
        grace = records.number(limits.get("grace"))
        self.grace = 10.0 if grace is None or grace < 0 else grace
        retries = limits.get("retries")
        self.retries = retries if isinstance(retries, int) else 0
        stall = records.number(spec.get("stall_after"))
        self.stall_after = stall if stall and stall > 0 else None
        self.keep = bool(spec.get("keep_background"))
        self.name = spec.get("name") if isinstance(spec.get("name"), str) else ""
        self.pty = bool(spec.get("pty"))
        self.after = wire.few(spec.get("after"))
        self.after_any = bool(spec.get("after_any"))
        self.lease = wire.field(record, "lease", dict)
        self.adopted = request.get("adopt")
        self.secrets = request.get("secrets") or {}
        self.umask = request.get("umask", 0o022)
        self.argv = [wire.to_bytes(word, "argv") for word in spec.get("argv") or []]
        if not self.argv and not self.adopted:
            raise Refused("The run has no command.")
        self.cwd = wire.to_bytes(spec.get("cwd") or "/", "cwd")
        self.inherited = {
            wire.to_bytes(name, "a variable's name"): wire.to_bytes(value, name)
            for name, value in (request.get("environ") or {}).items()
        }

    def environment(self, run, attempt):
        """The job's environment in an attempt. Raises Refused."""
        return job.environment(self.inherited, self.spec, self.secrets, run, attempt)


class Request:
    """The request to stop an attempt, as its control folder holds it. Looked for each time: who
    wrote it may not have been able to wake us (another host of a shared file system), and a
    shorter grace may replace it.

    Args:
        directory: Of the attempt, or of the rank, that is asked.
        path: The file, if it is not that of the attempt's control folder.

    Attributes:
        grace: Seconds that were asked for, or None for the run's own.
    """

    def __init__(self, directory, path=None):
        self.grace = None
        self._directory = directory
        self._path = path or directory + "/control/cancel.json"
        self._seen = None

    def look(self):
        """Whether there is one."""
        path = self._path
        try:
            info = os.lstat(path)
        except OSError:
            return self._seen is not None
        seen = (info.st_ino, info.st_mtime)
        if seen != self._seen:
            self._seen = seen
            words = records.try_read(path)
            grace = records.number(words.get("grace"))
            self.grace = None if grace is None else max(0.0, grace)
            by = words.get("by")
            records.append_event(self._directory, "stop_requested", by=by, grace=grace)
        return True
