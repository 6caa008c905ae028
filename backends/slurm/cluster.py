"""What a cluster offers: partitions, nodes and their GPUs, reservations, accounts, its settings.

Read from `scontrol -o show partition`, `sinfo`, `scontrol -o show reservation`, `scontrol show
config` and `sacctmgr`. A cluster that keeps some of it to itself leaves that empty, which refuses
nothing: what is not known is left to Slurm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from traindeck.backends.data import dataclass
from traindeck.backends.slurm import text
from traindeck.backends.slurm.accounts import Account, Association, Qos

SINFO = "NodeList:|,Partition:|,StateComplete:|,CPUs:|,Memory:|,Gres:|,GresUsed:|,Reason:|"
"""The format of `sinfo -h -O`: nodes that are alike share a line."""

UNUSABLE = ("DOWN", "DRAIN", "FAIL", "MAINT", "NOT_RESPONDING", "POWER", "INVAL", "UNKNOWN")
"""What a node's state may contain that keeps jobs from starting on it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes that are alike, in one partition.

    Attributes:
        hosts: Their names.
        gpus: GPUs a node by kind ("" where none is named), and how many of them are in use.
        state: Slurm's words, `idle+drain`.
        reason: Why they are out of service, "" if they are not.
    """

    hosts: tuple[str, ...] = ()
    partition: str = ""
    state: str = ""
    reason: str = ""
    cpus: int | None = None
    memory: int | None = None
    gpus: Mapping[str, int] = field(default_factory=dict)
    used: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """Whether jobs may start there now."""
        word = self.state.upper()
        return not any(bad in word for bad in UNUSABLE) and not word.endswith(("*", "~", "#", "%"))

    @property
    def free(self) -> dict[str, int]:
        """GPUs of a node that are in nobody's use, by kind; none where no job may start."""
        if not self.usable:
            return {}
        return {kind: max(0, n - self.used.get(kind, 0)) for kind, n in self.gpus.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition. Times are seconds, None without a limit."""

    name: str = ""
    default: bool = False
    up: bool = True
    state: str = ""
    max_time: float | None = None
    default_time: float | None = None
    max_nodes: int | None = None
    total_nodes: int | None = None
    accounts: tuple[str, ...] = ()
    """Those that may use it; empty for all."""
    denied_accounts: tuple[str, ...] = ()
    qos: tuple[str, ...] = ()
    """Those that may be used in it; empty for all."""
    own_qos: str = ""
    """The one whose limits hold for all that runs in it, "" for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Nodes kept for somebody, by the cluster's clock. Who may use it: `users` and `accounts` (a
    name behind `-` may not) and the users of `groups`."""

    name: str = ""
    start: float | None = None
    end: float | None = None
    state: str = ""
    hosts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The cluster's own settings, as far as they matter. Times are seconds.

    Attributes:
        accounting: Whether there is a slurmdbd, so that accounts and QOS exist.
        enforced: Words of AccountingStorageEnforce.
        min_job_age: How long a job that is over stays listed.
        kill_wait: From TERM to KILL at a time limit.
    """

    version: str = ""
    name: str = ""
    accounting: bool = False
    enforced: tuple[str, ...] = ()
    min_job_age: float | None = None
    kill_wait: float | None = None
    max_array: int | None = None
    requeues: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """All of it, as one survey saw it. `unknown` names what could not be asked for, with why;
    `untold` what the way it was asked never tells; `rest` the version of slurmrestd that was asked,
    0 for none; `notes` what else a launch should be told."""

    config: Config = field(default_factory=Config)
    partitions: tuple[Partition, ...] = ()
    groups: tuple[Group, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    associations: tuple[Association, ...] = ()
    """What the accounting allows this user."""
    accounts: tuple[Account, ...] = ()
    """Everybody's."""
    qos: tuple[Qos, ...] = ()
    default_account: str = ""
    user: str = ""
    unknown: Mapping[str, str] = field(default_factory=dict)
    untold: tuple[str, ...] = ()
    rest: int = 0
    notes: tuple[str, ...] = ()

    def partition(self, name: str) -> Partition | None:
        """The partition of that name; of "" the default one."""
        for one in self.partitions:
            if one.name == name or (not name and one.default):
                return one
        return None

    def groups_of(self, partition: str) -> list[Group]:
        """The nodes of a partition."""
        return [group for group in self.groups if group.partition == partition]

    def gpus_of(self, partition: str) -> dict[str, tuple[int, int]]:
        """(free, total) GPUs of a partition by kind."""
        found: dict[str, tuple[int, int]] = {}
        for group in self.groups_of(partition):
            free = group.free
            for kind, number in group.gpus.items():
                before = found.get(kind, (0, 0))
                times = len(group.hosts)
                found[kind] = (
                    before[0] + free.get(kind, 0) * times,
                    before[1] + number * times,
                )
        return found

    @property
    def out_of_service(self) -> dict[str, list[str]]:
        """Names of nodes that an operator took out, by the reason that was given."""
        found: dict[str, list[str]] = {}
        seen = set()
        for group in self.groups:
            if group.usable or not group.reason:
                continue
            for host in group.hosts:
                if host not in seen:
                    seen.add(host)
                    found.setdefault(group.reason, []).append(host)
        return found


def partitions(output: str) -> tuple[Partition, ...]:
    """Of `scontrol -o show partition`."""
    found = []
    for line in output.splitlines():
        fields = text.record(line)
        if not (name := fields.get("PartitionName", "").strip()):
            continue
        state = fields.get("State", "").upper()
        found.append(
            Partition(
                name=name,
                default=fields.get("Default") == "YES",
                up=state in ("UP", ""),
                state=state,
                max_time=text.duration(fields.get("MaxTime", "")),
                default_time=text.duration(fields.get("DefaultTime", "")),
                max_nodes=text.count(fields.get("MaxNodes", "")),
                total_nodes=text.count(fields.get("TotalNodes", "")),
                accounts=_names(fields.get("AllowAccounts", "")),
                denied_accounts=_names(fields.get("DenyAccounts", "")),
                qos=_names(fields.get("AllowQos", fields.get("AllowQOS", ""))),
                own_qos=text.known(fields.get("QoS", fields.get("QOS", ""))),
            )
        )
    return tuple(found)


def _names(value: str) -> tuple[str, ...]:
    value = text.known(value)
    return () if value == "ALL" else tuple(part for part in value.split(",") if part)


def groups(output: str) -> tuple[Group, ...]:
    """Of `sinfo -h -O SINFO`."""
    found = []
    columns = SINFO.count(",")
    for line in output.splitlines():
        parts = line.split("|", columns)
        if len(parts) <= columns:
            continue
        hosts, partition, state, cpus, memory, gres, used, reason = parts
        names = text.nodes(hosts)
        if not names:
            continue
        found.append(
            Group(
                hosts=names,
                partition=partition.strip().rstrip("*"),
                state=state.strip(),
                reason=text.known(reason.strip().removesuffix("|")),
                cpus=text.count(cpus),
                memory=text.megabytes(memory),
                gpus=text.gpus(gres),
                used=text.gpus(used),
            )
        )
    return tuple(found)


def reservations(output: str) -> tuple[Reservation, ...]:
    """Of `scontrol -o show reservation`."""
    found = []
    for line in output.splitlines():
        fields = text.record(line)
        if name := fields.get("ReservationName", "").strip():
            found.append(
                Reservation(
                    name=name,
                    start=text.moment(fields.get("StartTime", "")),
                    end=text.moment(fields.get("EndTime", "")),
                    state=fields.get("State", ""),
                    hosts=text.nodes(fields.get("Nodes", "")),
                    users=_names(fields.get("Users", "")),
                    accounts=_names(fields.get("Accounts", "")),
                    groups=_names(fields.get("Groups", "")),
                )
            )
    return tuple(found)


def config(output: str) -> Config:
    """Of `scontrol show config`."""
    fields: dict[str, str] = {}
    for line in output.splitlines():
        name, sign, value = line.partition("=")
        if sign:
            fields.setdefault(name.strip(), value.strip())
    kind = fields.get("AccountingStorageType", "")
    requeue = fields.get("JobRequeue", "")
    return Config(
        version=text.known(fields.get("SLURM_VERSION", "")),
        name=text.known(fields.get("ClusterName", "")),
        accounting=kind.endswith("slurmdbd"),
        enforced=tuple(
            word
            for word in text.known(fields.get("AccountingStorageEnforce", "")).split(",")
            if word
        ),
        min_job_age=_seconds(fields.get("MinJobAge", "")),
        kill_wait=_seconds(fields.get("KillWait", "")),
        max_array=text.count(fields.get("MaxArraySize", "")),
        requeues=None if requeue not in ("0", "1") else requeue == "1",
    )


def _seconds(value: str) -> float | None:
    """Seconds of `300 sec`."""
    number, _, unit = value.partition(" ")
    seconds = text.count(number)
    return None if seconds is None or unit.strip() not in ("sec", "") else float(seconds)


def version(text_version: str) -> tuple[int, int] | None:
    """(22, 5) of `22.05.8` or of `slurm 22.05.8`, None for what is no version."""
    parts = text_version.split()[-1].split(".") if text_version.split() else []
    if len(parts) < 2 or not (text.is_number(parts[0]) and text.is_number(parts[1])):
        return None
    return int(parts[0]), int(parts[1])


OLDEST, NEWEST = (20, 11), (26, 11)
"""Versions outside of which a survey says that it has not been tried."""


def unproven(said: str) -> str:
    """A sentence if this version of Slurm is older or newer than any that was tried, else ""."""
    found = version(said)
    if found is None:
        return "" if not said else f"Slurm calls itself {said[:40]!r}, which is no version"
    if OLDEST <= found <= NEWEST:
        return ""
    age = "older" if found < OLDEST else "newer"
    return (
        f"Slurm {said.split()[-1][:20]} is {age} than what Traindeck was tried on "
        "(22.05 to 26.05): what it prints in another way is left out"
    )
