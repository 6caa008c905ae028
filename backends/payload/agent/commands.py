"""The commands a run may name for its end and for a stall: run once, bounded in time, their own
failure an event and never the run's."""

import os
import time

from . import job, layout, procs, records, wire

TIME_LIMIT = 60.0


class Command:
    """A command that runs beside the job."""

    def __init__(self, name, pid, starttime, directory, now):
        self.name = name
        self.pid = pid
        self.starttime = starttime
        self.status = None
        self._directory = directory
        self._kill_at = now + TIME_LIMIT

    def look(self, now):
        """True once it is over and written down. Kills it when its time is up."""
        if self.status is not None:
            code = number = None
            if os.WIFSIGNALED(self.status):
                number = os.WTERMSIG(self.status)
            else:
                code = os.WEXITSTATUS(self.status)
            records.append_event(self._directory, self.name, exit_code=code, signal=number)
            return True
        if now >= self._kill_at:
            self._kill_at = now + 1.0
            try:
                os.killpg(self.pid, procs.SIGKILL)
            except OSError:
                pass
        return False


def start(name, argv, supervisor, state, exit_code):
    """Start one. Returns a Command, or None if it could not be started (which is an event)."""
    attempt = supervisor.attempt
    spec = supervisor.spec
    try:
        env = {
            k: v
            for k, v in job.environment(
                supervisor.inherited, spec, supervisor.secrets, attempt.run, attempt.number
            ).items()
            if k != b"TRAINDECK_RUN"
        }
        more = {
            "TRAINDECK_RUN_ID": attempt.run,
            "TRAINDECK_ATTEMPT": str(attempt.number),
            "TRAINDECK_STATE": state,
            "TRAINDECK_EXIT_CODE": "" if exit_code is None else str(exit_code),
            "TRAINDECK_NAME": spec.get("name") or "",
        }
        env.update((k.encode(), wire.to_bytes(v)) for k, v in more.items())
        words = [wire.to_bytes(word, name) for word in argv]
        cwd = wire.to_bytes(spec.get("cwd") or "/")
        if not os.path.isdir(cwd):
            cwd = b"/"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        path = "%s/logs/%s.log" % (layout.attempt_dir(attempt.run, attempt.number), name)
        try:
            out = os.open(path, flags, 0o600)
        except OSError:
            out = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        try:
            pid, gate = job.fork_held(words, env, cwd, out, (), supervisor.umask)
        finally:
            os.close(out)
        starttime = procs.starttime_of(pid)
        job.release(gate, words, cwd)
    except job.NotStarted as failed:
        records.append_event(attempt.directory, name, error=failed.reason)
        return None
    except Exception as error:
        records.append_event(
            attempt.directory, name, error="%s: %s" % (type(error).__name__, error)
        )
        return None
    return Command(name, pid, starttime, attempt.directory, time.monotonic())
