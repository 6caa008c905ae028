"""The commands a run may name for its end and for a stall: run once, bounded in time, their own
failure an event and never the run's."""

import os
import select
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


def start(name, argv, attempt, orders, state, exit_code):
    """Start one. Returns a Command, or None if it could not be started (which is an event)."""
    try:
        env = orders.environment(attempt.run, attempt.number)
        # It is about the run, not of it.
        del env[b"TRAINDECK_RUN"]
        more = {
            "TRAINDECK_RUN_ID": attempt.run,
            "TRAINDECK_ATTEMPT": str(attempt.number),
            "TRAINDECK_STATE": state,
            "TRAINDECK_EXIT_CODE": exit_code,
            "TRAINDECK_NAME": orders.spec.get("name") or "",
        }
        env.update((k.encode(), wire.to_bytes(v)) for k, v in more.items())
        words = [wire.to_bytes(word, name) for word in argv]
        cwd = orders.cwd if os.path.isdir(orders.cwd) else b"/"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        path = "%s/logs/%s.log" % (layout.attempt_dir(attempt.run, attempt.number), name)
        try:
            out = os.open(path, flags, 0o600)
        except OSError:
            out = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
        try:
            pid, gate = job.fork_held(words, env, cwd, out, (), orders.umask)
        finally:
            os.close(out)
        starttime = procs.starttime_of(pid)
        job.release(gate, words, cwd, lambda fd: select.select([fd], [], [], TIME_LIMIT))
    except job.NotStarted as failed:
        records.append_event(attempt.directory, name, error=failed.reason)
        return None
    except Exception as error:
        records.append_event(
            attempt.directory, name, error="%s: %s" % (type(error).__name__, error)
        )
        return None
    return Command(name, pid, starttime, attempt.directory, time.monotonic())
