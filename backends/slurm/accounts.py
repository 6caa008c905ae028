"""What the accounting (slurmdbd) knows of this user and of this cluster: accounts, QOS and their
limits, as `sacctmgr -n -P` prints them.

Of limits only those are read that can make a job wait for ever: its time, and how many GPUs it may
have, alone or together with others (`gres/gpu`; a limit for one kind of GPU is left to Slurm).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from traindeck.backends.data import dataclass
from traindeck.backends.slurm import text

ASSOC = "Account,Partition,QOS,DefaultQOS,GrpTRES,MaxTRESPerJob,MaxWall"
"""The fields of `sacctmgr -n -P show assoc` of a user."""

ACCOUNTS = "Account,ParentName,GrpTRES"
"""Those of accounts themselves."""

QOS = "Name,Flags,GrpTRES,MaxTRESPerJob,MaxTRESPerUser,MaxWall"
"""Those of `show qos`."""

_GPUS = re.compile(r"(?:^|,)gres/gpu=(\d{1,9})(?=,|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """An account that this user may charge, and the QOS that go with it. Limits are None where
    there is none.

    Attributes:
        partition: The only one that it is for, "" for all.
        gpus: How many all its jobs may have at once.
        job_gpus, max_time: How many GPUs one job may have, and how long (seconds).
    """

    account: str = ""
    partition: str = ""
    qos: tuple[str, ...] = ()
    default_qos: str = ""
    gpus: int | None = None
    job_gpus: int | None = None
    max_time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account of the cluster, whoever's. `gpus`: how many all its jobs may have at once."""

    name: str = ""
    parent: str = ""
    gpus: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Qos:
    """A quality of service. Its limits count before those of an association.

    Attributes:
        gpus: How many all its jobs may have at once, `user_gpus` those of one user, `job_gpus` one.
        max_time: Seconds.
        before_partition: Its limits count before those of the QOS of a partition, too.
    """

    name: str = ""
    gpus: int | None = None
    user_gpus: int | None = None
    job_gpus: int | None = None
    max_time: float | None = None
    before_partition: bool = False


def associations(output: str) -> tuple[Association, ...]:
    """Of `show assoc format=ASSOC`."""
    return tuple(
        Association(
            account=account,
            partition=partition,
            qos=tuple(name for name in qos.split(",") if name),
            default_qos=default_qos,
            gpus=_gpus(group),
            job_gpus=_gpus(job),
            max_time=text.duration(wall),
        )
        for account, partition, qos, default_qos, group, job, wall in _lines(output, ASSOC)
    )


def accounts(output: str) -> tuple[Account, ...]:
    """Of `show assoc format=ACCOUNTS`."""
    return tuple(
        Account(name=name, parent=parent, gpus=_gpus(group))
        for name, parent, group in _lines(output, ACCOUNTS)
    )


def qualities(output: str) -> tuple[Qos, ...]:
    """Of `show qos format=QOS`."""
    return tuple(
        Qos(
            name=name,
            gpus=_gpus(group),
            user_gpus=_gpus(user),
            job_gpus=_gpus(job),
            max_time=text.duration(wall),
            before_partition="OverPartQOS" in flags.split(","),
        )
        for name, flags, group, job, user, wall in _lines(output, QOS)
    )


def default_account(output: str) -> str:
    """Of `show user format=DefaultAccount`."""
    return text.known(output.partition("\n")[0].rstrip("|"))


def _lines(output: str, fields: str) -> Iterator[list[str]]:
    """The lines of a list that have so many fields, and a first one."""
    columns = fields.count(",") + 1
    for line in output.splitlines():
        parts = [part.strip() for part in line.split("|")]
        if parts[-1] == "" and len(parts) == columns + 1:
            parts.pop()  # -P ends a line without a bar, -p with one
        if len(parts) == columns and parts[0]:
            yield parts


def _gpus(tres: str) -> int | None:
    found = _GPUS.search(tres)
    return None if found is None else int(found[1])
