"""A job on several nodes, as its batch step sees it.

One srun starts `rank RUN ATTEMPT KILL_WAIT` once on each node. Each of those supervises the command
on its node and leaves a record; no output passes through srun. What the batch step wants of them it
says by files: whoever signals srun reaches all processes of a node at once, workers before leaders.
"""

import os
import time

from . import batch, ending, exit_slot, layout, procs, records, wire
from .attempt import Attempt, make_dir

MARGIN = 3.0
"""Seconds between the KILL that a rank sends and ours of srun."""
SEEN_WITHIN = 5.0
"""Seconds for the records of other nodes to be seen here after srun has ended."""
LOOK = 2.0
"""Seconds between two looks for ranks that have ended: each opens a file of each node."""
NOT_SEEN = "left no record: its node or its supervisor was lost"


def directory(run, attempt):
    """The folder of an attempt's ranks, and of what they are told."""
    return layout.attempt_dir(run, attempt) + "/ranks"


def refusal(folder, rank):
    """Where a rank that could not begin says why: srun, which ends the step at once then, may lose
    what it was told."""
    return "%s/%d.json" % (folder, rank)


def lasting(folder, name, words):
    """Tell the ranks something: `end` (its grace may be made shorter), `warn`."""
    path = "%s/%s.json" % (folder, name)
    try:
        if not records.make_once(path, words):
            records.replace(path, words)
    except OSError as error:
        records.append_event(os.path.dirname(folder), "disk_full", error=str(error))


class LauncherAttempt(Attempt):
    """An Attempt whose leader is srun: the logs are the ranks'."""

    FOLDERS = (*Attempt.FOLDERS, "ranks")

    def log_path(self):
        """See Attempt.log_path."""
        return self.directory + "/logs/srun.log"

    def index_path(self):
        """See Attempt.index_path."""
        return

    def system_path(self):
        """See Attempt.system_path."""
        return


class RanksEnding(ending.Ending):
    """The end of all ranks: they are asked, each ends its own, and srun with the last."""

    def ask(self, now, cause, grace, takeover=False, told=False):
        """See Ending.ask."""
        if told:
            self._members.told()
        else:
            self._tell(cause, grace)
        self.cause = cause
        self._grace = max(0.0, grace)
        self._kill_at = now + self._grace + MARGIN
        self._set_due()
        records.append_event(self._directory, "term_sent", cause=cause, grace=self._grace)
        return True

    def shorten(self, now, grace):
        """See Ending.shorten."""
        if self._kill_at is not None and now + grace + MARGIN < self._kill_at:
            self._tell(self.cause, grace)
            self._grace = max(0.0, grace)
            self._kill_at = now + self._grace + MARGIN
            self._set_due()

    def _tell(self, cause, grace):
        words = {"time": time.time(), "grace": grace, "by": cause}
        lasting(self._directory + "/ranks", "end", words)


class RanksSupervisor(batch.BatchSupervisor):
    """A BatchSupervisor of an attempt on several nodes."""

    def __init__(self, attempt, orders, wake, before=None):
        batch.BatchSupervisor.__init__(self, attempt, orders, wake, before)
        self.folder = directory(attempt.run, attempt.number)
        self.count = attempt.scheduler["node_count"]
        self.ending = RanksEnding(self.tree, attempt.directory)
        self.ranks = {}
        self.first_bad = None
        self.give_up_at = None
        self.look_due = 0.0

    def _program(self):
        for rank in range(self.count):
            make_dir("%s/%d" % (self.folder, rank))
        attempt = self.attempt
        env = dict(self.orders.inherited)
        env[b"MASTER_PORT"] = b"%d" % free_port()
        env[b"PET_RDZV_ID"] = b"%s-%d" % (attempt.run.encode(), attempt.number)
        import sys

        words = [
            "srun",
            "--nodes=%d" % self.count,
            "--ntasks=%d" % self.count,
            "--ntasks-per-node=1",
            # A rank ends with 0 once it has left its record, whatever that says.
            "--kill-on-bad-exit=1",
            "--wait=0",
            "--export=ALL",
            "--mpi=none",
            "--cpu-bind=none",
            "--input=none",
        ]
        cpus = self.orders.inherited.get(b"SLURM_CPUS_PER_TASK")
        if cpus is not None:
            words.append("--cpus-per-task=%s" % cpus.decode("ascii", "replace"))
        words += [sys.executable, "-I", "-S", layout.agent_file()]
        words += ["rank", attempt.run, str(attempt.number), "%g" % self.kill_wait]
        return [word.encode() for word in words], env, b"/"

    def _warn(self, now):
        self.wake.warned = False
        lasting(self.folder, "warn", {"time": time.time()})
        records.append_event(self.attempt.directory, "warned", processes=None)

    def _limits(self, now):
        batch.BatchSupervisor._limits(self, now)
        if self.over:
            return
        if now >= self.look_due:
            self.look_due = now + LOOK
            self._look()
        if self.first_bad is not None and not self.ending.cause:
            if self.give_up_at is None:
                grace = self.orders.grace
                self.give_up_at = now + grace + MARGIN
                by = "rank %d" % self.first_bad
                lasting(self.folder, "end", {"time": time.time(), "grace": grace, "by": by})
            elif now >= self.give_up_at:
                self.tree.signal(procs.SIGKILL)

    def _look(self):
        """See which ranks have ended by now."""
        for rank in range(self.count):
            if rank in self.ranks:
                continue
            place = "%s/%d" % (self.folder, rank)
            try:
                record = exit_slot.read(place, self.attempt.run, self.attempt.number)
            except OSError:
                continue
            if record is None:
                continue
            self.ranks[rank] = record
            words = {name: record[name] for name in ("cause", "exit_code", "signal", "host")}
            records.append_event(self.attempt.directory, "rank_ended", rank=rank, **words)
            if record["exit_code"] != 0 and self.first_bad is None:
                self.first_bad = rank

    def payload(self):
        """See Supervisor.payload: how the first rank ended that ended badly."""
        if self.status is not None and self.attempt.started is not None:
            until = time.monotonic() + SEEN_WITHIN
            self._look()
            while len(self.ranks) < self.count and time.monotonic() < until:
                self.sleep(0.1)
                self._look()
            self._sum_up()
        return batch.BatchSupervisor.payload(self)

    def _sum_up(self):
        """From srun's end and the ranks' records: status, cause and reason of the attempt."""
        self.status = 0
        missing = [rank for rank in range(self.count) if rank not in self.ranks]
        bad = self.ranks.get(self.first_bad)
        if missing and self.cause == "self" and (bad is None or bad["cause"] == "outside"):
            # srun has ended the others because of one that was lost, or could not begin.
            self.status = 1 << 8
            self.reason = self._said(missing) or "rank %d %s" % (missing[0], NOT_SEEN)
        elif bad is not None:
            how = "ended with exit code %s" % bad["exit_code"]
            self.status = (bad["exit_code"] or 0) << 8
            if bad["signal"] is not None:
                how = "was ended by signal %d" % bad["signal"]
                self.status = bad["signal"]
            if self.cause == "self":
                if bad["cause"] in ("launch", "outside"):
                    self.cause = bad["cause"]
                    how = bad["reason"] or how
                self.reason = "rank %d on %s: %s" % (self.first_bad, bad["host"], how)
        elif missing:
            self.status = 1 << 8

    def _said(self, missing):
        """What a rank that could not begin has said, the first one."""
        for rank in missing:
            reason = records.try_read(refusal(self.folder, rank)).get("reason")
            if isinstance(reason, str):
                return reason[:500]
        try:
            data = records.read_bytes(self.attempt.log_path(), 1 << 16) or b""
        except OSError:
            return ""
        for line in data.splitlines():
            if line.startswith(b"traindeck: "):
                return wire.to_text(line)[len("traindeck: ") :][:500]
        return ""


def free_port():
    """A TCP port that nobody has here. Somebody may take it before the job does."""
    import _socket

    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        probe.bind(("", 0))
        return probe.getsockname()[1]
    finally:
        probe.close()
