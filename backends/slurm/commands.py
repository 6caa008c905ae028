"""Slurm's commands as argv, and with what environment they run.

The agent runs them, without a shell, several in one request. Of its own environment they get only
what is named here: a variable of an allocation that we may be in, or one that changes how a command
prints (`SQUEUE_FORMAT`), must reach none of them, and what `sbatch` has is what the job inherits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from traindeck.backends.data import dataclass
from traindeck.backends.slurm import accounts, cluster, listing, text

KEEP = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TMPDIR", "SLURM_CONF")
"""What Slurm's commands keep of the environment, and so what a job finds of it."""

PATHS = (
    "/usr/bin",
    "/usr/local/bin",
    "/opt/slurm/bin",
    "/opt/slurm/current/bin",
    "/usr/local/slurm/bin",
    "/cm/shared/apps/slurm/current/bin",
)
"""Where Slurm's commands are looked for after PATH: an SSH session that runs a command has often
not read the profile that would name the folder."""

ENVIRONMENT: Mapping[str, str] = {
    "TZ": "UTC0",
    "SLURM_TIME_FORMAT": "standard",
    "LC_ALL": "C",
    "SLURM_BITSTR_LEN": "0",
}
"""How commands that print are to print: times in UTC, messages in English, and of an array all the
tasks that wait, however many."""

TIMEOUT = 20.0
"""Seconds for a command that asks: it gives up on slurmctld by itself after 10 (MessageTimeout)."""


PATIENT = 120.0
"""The same for a list that nobody waits for: a site may have set a longer MessageTimeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed. `ok`: it ended with 0; else `why` is one line that says why not."""

    ok: bool = False
    out: str = ""
    data: bytes = b""
    """Its output as it came."""
    why: str = ""
    late: bool = False
    """It was ended, for it took too long."""
    missing: bool = False
    """It is not installed there, or not found."""


def command(*argv: str, paths: Sequence[str] = (), asks: bool = True) -> dict[str, Any]:
    """A command for the agent. `asks`: what it prints is read here."""
    return {
        "argv": list(argv),
        "keep": list(KEEP),
        "paths": [*paths, *PATHS],
        "env": dict(ENVIRONMENT) if asks else {},
    }


def heard(answer: Mapping[str, Any], body: bytes, programs: Sequence[str]) -> list[Said]:
    """What the agent's answer says of some commands, whose programs are named for errors."""
    done = answer.get("done")
    listed = done if isinstance(done, list) else []
    found = []
    for place, program in enumerate(programs):
        one = listed[place] if place < len(listed) else None
        if not isinstance(one, Mapping):
            found.append(Said(why=f"{program} was not asked"))
            continue
        out, body = _taken(body, one.get("out"))
        err, body = _taken(body, one.get("err"))
        found.append(_said(one, program, out, err))
    return found


def _taken(body: bytes, size: object) -> tuple[bytes, bytes]:
    length = size if isinstance(size, int) and size > 0 else 0
    return body[:length], body[length:]


def _said(done: Mapping[str, Any], program: str, data: bytes, err: bytes) -> Said:
    out = data.decode("utf-8", "replace")
    outcome, code = done.get("outcome"), done.get("code")
    if outcome == "timeout":
        return Said(out=out, data=data, why=f"{program} did not answer in time", late=True)
    if done.get("out_cut"):
        # What is left out is not known: of a list of jobs it must not mean that they are gone.
        return Said(out=out, data=data, why=f"{program} printed more than is read of it")
    if outcome == "exited" and code == 0:
        return Said(ok=True, out=out, data=data)
    why = text.one_line(err.decode("utf-8", "replace") or out)
    if code == 127 and "no such program" in why:
        return Said(why=f"{program} was not found there", missing=True)
    return Said(out=out, data=data, why=why or f"{program} ended with {code}")


def my_jobs() -> tuple[str, ...]:
    """All jobs of this user that are listed, arrays as they are."""
    return ("squeue", "--me", "-h", "-t", "all", "-o", listing.SQUEUE)


def waiting_jobs() -> tuple[str, ...]:
    """Partition and priority of everybody's jobs that wait."""
    return ("squeue", "-h", "-t", "PENDING", "-o", "%P|%Q")


def named(name: str, states: str) -> tuple[str, ...]:
    """The numbers of this user's jobs of one name; of tasks of an array that of the array."""
    return ("squeue", "--me", "-h", "-t", states, f"--name={name}", "-o", "%F")


def show_job(number: str) -> tuple[str, ...]:
    return ("scontrol", "-o", "show", "job", number)


def show_node(name: str) -> tuple[str, ...]:
    return ("scontrol", "-o", "show", "node", name)


def accounting(numbers: Sequence[str]) -> tuple[str, ...]:
    return (
        *("sacct", "-X", "-n", "-P", "-D", "-j", ",".join(numbers)),
        *("-o", listing.SACCT),
    )


CONFIG = ("scontrol", "show", "config")
PARTITIONS = ("scontrol", "-o", "show", "partition")
RESERVATIONS = ("scontrol", "-o", "show", "reservation")
NODES = ("sinfo", "-h", "-O", cluster.SINFO)


def step(job: str, node: str, *, pty: bool) -> tuple[str, ...]:
    """What starts one more program on a node of a job, beside those that run there. Without `pty`
    its stdout is passed on at once only if it is told to (`--unbuffered`): else by lines."""
    return (
        *("srun", "--overlap", "--quiet", f"--jobid={job}", f"--nodelist={node}"),
        *("--nodes=1", "--ntasks=1", "--mpi=none", "--cpu-bind=none", "--export=ALL", "--chdir=/"),
        # Not for ever, should a cluster give no step beside another.
        "--immediate=30",
        "--pty" if pty else "--unbuffered",
    )


def accounting_of(user: str, name: str) -> dict[str, tuple[str, ...]]:
    """What the accounting says of a user on the cluster of a name: one database may have many."""
    show = ("sacctmgr", "-n", "-P", "show")
    here = (f"cluster={name}",) if name else ()
    return {
        "accounts": (*show, "assoc", "where", f"user={user}", *here, f"format={accounts.ASSOC}"),
        "all accounts": (*show, "assoc", "where", "user=", *here, f"format={accounts.ACCOUNTS}"),
        "QOS": (*show, "qos", f"format={accounts.QOS}"),
        "default account": (
            *(*show, "user", "where", f"user={user}", *here),
            "format=DefaultAccount",
        ),
    }
