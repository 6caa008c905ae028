"""What Slurm tells a batch step: who it is, by its environment, and why it is ended, by the line
that slurmstepd writes into the step's own output before it signals. No command of Slurm is run: a
thousand jobs that end at once must not ask the controller a thousand times."""

import os
import time

from . import Refused, layout, procs, wire

KEPT = 4096
"""Characters of a list of nodes that are recorded."""
LOOK_BACK = 1 << 16
NOT_FOR_JOBS = ("SLURM_EXPORT_ENV", "SLURM_GET_USER_ENV")
"""What was said to sbatch of the batch step's environment: an srun of the job's would take it for
its own and start its tasks without any."""


def place(environ):
    """Where this batch step runs, for the records: {"kind", "job_id", …}. Refuses outside of an
    allocation."""
    job = environ.get("SLURM_JOB_ID", "")
    if not job.isdigit():
        raise Refused("There is no SLURM_JOB_ID: this is no batch step of Slurm.")
    return {
        "kind": "slurm",
        "job_id": job,
        "array_job": environ.get("SLURM_ARRAY_JOB_ID", "")[:20] or None,
        "array_task": number(environ.get("SLURM_ARRAY_TASK_ID")),
        "restart_count": number(environ.get("SLURM_RESTART_COUNT")) or 0,
        "nodes": environ.get("SLURM_JOB_NODELIST", "")[:KEPT],
        "node_count": number(environ.get("SLURM_JOB_NUM_NODES")) or 1,
        "partition": environ.get("SLURM_JOB_PARTITION", "")[:256],
        "cluster": environ.get("SLURM_CLUSTER_NAME", "")[:256],
    }


def own_run(words, environ):
    """The run that a batch step is for. `td-LETTERS-array` is any task of an array: their ids begin
    with these letters and end in the index."""
    begin, array, end = words[:3], words[3:-6], words[-6:]
    if (begin, end) != ("td-", "-array"):
        return layout.check_id(words)
    index = number(environ.get("SLURM_ARRAY_TASK_ID"))
    if index is None:
        raise Refused("There is no SLURM_ARRAY_TASK_ID: this is no task of an array.")
    return layout.check_id(layout.task_id(array, index))


def job_of(place):
    """What names a job to Slurm at any time, of its `place`: a task of an array has a number of its
    own only once it has started."""
    if isinstance(place.get("array_job"), str) and isinstance(place.get("array_task"), int):
        return "%s_%d" % (place["array_job"], place["array_task"])
    return place.get("job_id")


def number(text):
    """The number that a variable holds, or None."""
    return int(text) if text and text.isdigit() and len(text) <= 12 else None


def first_node(nodes):
    """The name of the first node of a list as Slurm writes it: `n[003-7,9]x` is n003x."""
    name = ""
    depth = 0
    for letter in nodes:
        if letter == "[":
            depth = 1
        elif letter == "]":
            depth = 0
        elif depth == 0 and letter == ",":
            break
        elif depth and letter in "-,":
            depth = 2
        elif depth < 2:
            name += letter
    return name


def job_environ(environ):
    """The environment of a job: the batch step's, which holds what sbatch was given and what Slurm
    adds, and what a login would have set where neither did."""
    import pwd

    env = {k: v for k, v in environ.items() if k not in NOT_FOR_JOBS}
    env.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return env
    for name, value in (
        ("HOME", entry.pw_dir),
        ("USER", entry.pw_name),
        ("LOGNAME", entry.pw_name),
        ("SHELL", entry.pw_shell),
    ):
        if value:
            env.setdefault(name, value)
    return env


class Word:
    """What slurmstepd says on our output from now on.

    Args:
        place: As `place` gives it.
        environ: The batch step's.
    """

    def __init__(self, place, environ):
        self._job = place["job_id"]
        self._begin = 0
        self._end_time = number(environ.get("SLURM_JOB_END_TIME"))
        try:
            self._begin = os.fstat(2).st_size  # an earlier start of this job wrote before
        except OSError:
            pass

    def said(self):
        """Why the job is ended, as (state or None, words), or None if nothing was said. The state
        is one of `timeout`, `preempted`, `cancelled`."""
        job = self._job
        for line in reversed(self._lines()):
            if (
                b"*** JOB %s ON " % job.encode() not in line
                and b"*** STEP %s." % (job.encode()) not in line
            ):
                continue
            if b"DUE TO TIME LIMIT" in line:
                return "timeout", "the time limit of Slurm job %s was over" % job
            if b"DUE TO PREEMPTION" in line:
                return "preempted", "Slurm preempted job %s" % job
            if b"DUE TO JOB REQUEUE" in line:
                return None, "Slurm requeued job %s" % job
            if b"DUE TO NODE FAILURE" in line:
                return None, "a node of Slurm job %s failed" % job
            if b"CANCELLED AT" in line:
                return "cancelled", "Slurm job %s was cancelled" % job
        return None

    def time_is_over(self):
        """Whether the end that Slurm named (from 23.02 on) has come."""
        return self._end_time is not None and time.time() >= self._end_time

    def _lines(self):
        try:
            # Our own descriptor is for writing only.
            fd = os.open("/proc/self/fd/2", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            size = os.fstat(fd).st_size
            begin = max(self._begin if size >= self._begin else 0, size - LOOK_BACK)
            return os.pread(fd, LOOK_BACK, begin).splitlines()
        except OSError:
            return []  # a terminal, a pipe
        finally:
            os.close(fd)


class Canary:
    """A process that does nothing: if it was ended by TERM, Slurm has signalled every process of
    the job and not the batch step alone, and nobody needs to be told again. (Many a trainer takes a
    second TERM for an order to give up saving.)

    Attributes:
        pid: Its pid.
        status: How it ended, None as long as it lives.
    """

    def __init__(self):
        import _signal

        from . import job

        read, self._write = os.pipe()
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                job.reset_signals()
                for number in (procs.SIGUSR1, procs.SIGUSR2, procs.SIGHUP, procs.SIGINT):
                    _signal.signal(number, _signal.SIG_IGN)
                null = os.open("/dev/null", os.O_RDWR)
                for fd in (0, 1, 2):
                    os.dup2(null, fd)
                job.close_descriptors((read,))
                os.read(read, 1)  # ends with us, however we end
            finally:
                os._exit(0)
        os.close(read)
        self.starttime = procs.starttime_of(self.pid)

    def look(self, now):
        """As a command beside the job: whether it is over."""
        return self.status is not None

    @property
    def was_told(self):
        """Whether TERM came to it."""
        status = self.status
        return (
            status is not None and os.WIFSIGNALED(status) and os.WTERMSIG(status) == procs.SIGTERM
        )

    def release(self):
        """Let it end."""
        if self._write is not None:
            os.close(self._write)
            self._write = None


def say(text):
    """A line on our output, for whoever reads Slurm's."""
    try:
        wire.write_all(2, ("traindeck: %s\n" % text).encode("utf-8", "replace"))
    except OSError:
        pass
