"""The program that srun starts on each node of a job on several: `rank RUN ATTEMPT KILL_WAIT`.

It supervises the command on its node as any attempt is supervised, with records of its own in
`ranks/<rank>/` and the log that everybody looks for. Its exit code is 0 once its record is written,
so that srun ends the others only where that could not be done.
"""

import os

from . import Refused, layout, records, secrets, slurm, start
from .attempt import Attempt, NoRoom, Taken
from .batch import BatchSupervisor
from .orders import Orders, Request
from .ranks import directory, refusal
from .wake import Wake


def rank(words):
    """The program. Returns the exit code."""
    environ = start.own_environ()
    number = slurm.number(environ.get("SLURM_NODEID"))
    place = None
    try:
        run = layout.check_id(words[0])
        attempt = layout.check_attempt(slurm.number(words[1]))
        layout.check_attempt(number, "rank")
        place = directory(run, attempt)
        return _supervise(run, attempt, number, environ, float(words[2]))
    except Taken:
        why = "it is supervised by somebody else"
    except (Refused, NoRoom, OSError, ValueError) as error:
        why = str(error)
    reason = "rank %s could not begin: %s" % (number, why)
    slurm.say(reason)
    if place is not None:
        try:
            records.make_once(refusal(place, number), {"reason": reason})
        except OSError:
            pass  # it was said
    return 1


def _supervise(run, number, rank, environ, kill_wait):
    from . import UMASK

    os.chdir("/")
    wake = Wake()
    place = slurm.place(environ)
    record = records.read_object(layout.run_dir(run) + "/run.json", records.MAX_RUN)
    if record is None:
        raise Refused("%s cannot be seen on this node." % layout.run_dir(run))
    inherited = slurm.job_environ(environ)
    rendezvous(inherited, place, rank)
    orders = RankOrders(
        record,
        {
            "environ": inherited,
            "secrets": secrets.read(run, start.secret_names(run)),
            "umask": 0o022 if UMASK is None else UMASK,
        },
    )
    orders.rank = rank
    # These are the batch step's to look after.
    orders.time, orders.after = None, []
    if rank:
        orders.stall_after = None
    attempt = RankAttempt(run, number)
    attempt.set_rank(rank)
    attempt.scheduler = place
    attempt.claim()
    watch = RankSupervisor(attempt, orders, wake)
    watch.settle_in(slurm.Word(place, environ), slurm.Canary(), kill_wait)
    if watch.begin():
        watch.watch_to_end()
    watch.record(watch.payload())
    watch.finish_hooks()
    attempt.close()
    return 0


def rendezvous(env, place, rank):
    """Add what torchrun, and a program that is started once a node, need to find each other."""
    address = env.get("SLURM_LAUNCH_NODE_IPADDR") or slurm.first_node(place["nodes"])
    port = env.get("MASTER_PORT", "29500")
    gpus = slurm.number(env.get("SLURM_GPUS_ON_NODE")) or 1
    env.update(
        {
            "MASTER_ADDR": address,
            "MASTER_PORT": port,
            "NODE_RANK": str(rank),
            "PET_NNODES": str(place["node_count"]),
            "PET_NPROC_PER_NODE": str(gpus),
            "PET_NODE_RANK": str(rank),
            "PET_RDZV_BACKEND": "c10d",
            "PET_RDZV_ENDPOINT": "%s:%s" % (address, port),
            # By the address alone it may not know itself.
            "PET_RDZV_CONF": "is_host=%d" % (rank == 0),
        }
    )


class RankOrders(Orders):
    """Orders of one rank."""

    rank = 0

    def environment(self, run, attempt):
        """See Orders.environment."""
        env = Orders.environment(self, run, attempt)
        env[b"TRAINDECK_RANK"] = b"%d" % self.rank
        return env


class RankAttempt(Attempt):
    """One rank's part of an attempt."""

    FOLDERS = ()
    rank = 0

    def set_rank(self, rank):
        """Whose part it is."""
        self.rank = rank
        self.directory = "%s/%d" % (directory(self.run, self.number), rank)

    def lock_path(self):
        """See Attempt.lock_path."""
        return layout.lock_path(self.run, self.number, "rank%d" % self.rank)

    def log_path(self):
        """See Attempt.log_path."""
        return layout.log_path(self.run, self.number, self.rank)

    def system_path(self):
        """See Attempt.system_path. The first rank's stand for the attempt."""
        if self.rank == 0:
            return layout.attempt_dir(self.run, self.number) + "/system.jsonl"
        return Attempt.system_path(self)


class RankSupervisor(BatchSupervisor):
    """A BatchSupervisor that is told by the batch step, by files."""

    def __init__(self, attempt, orders, wake, before=None):
        BatchSupervisor.__init__(self, attempt, orders, wake, before)
        folder = directory(attempt.run, attempt.number)
        self.requests = [Request(attempt.directory, folder + "/end.json")]
        self.tree.rank = b"%d" % attempt.rank
        self._warning = folder + "/warn.json"
        self._warned_by = None

    def _limits(self, now):
        try:
            info = os.lstat(self._warning)
            if info.st_ino != self._warned_by:
                self._warned_by = info.st_ino
                self.wake.warned = True
        except OSError:
            pass  # none
        BatchSupervisor._limits(self, now)
