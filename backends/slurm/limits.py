"""What a cluster can never do for a run, in words, before anything is sent.

Only what the survey really showed refuses anything: where the cluster keeps a list to itself, Slurm
is left to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from traindeck.backends.base import RunSpec, UsageError, read_indices
from traindeck.backends.slurm.cluster import Cluster, Partition
from traindeck.backends.slurm.text import written
from traindeck.backends.slurm.words import span

NAMED = 12


def check(spec: RunSpec, options: Mapping[str, Any], cluster: Cluster, name: str) -> list[str]:
    """Refuse what cannot be; returns warnings.

    Raises:
        UsageError: A partition, account, QOS or reservation that does not exist, more GPUs a node
            than any node has, more nodes than there are, more time than the partition allows, or an
            array that is larger than the cluster takes.
    """
    warnings: list[str] = []
    if spec.array is not None:
        _check_array(spec.array.indices, cluster, name)
    partitions = _partitions(options, cluster, name)
    _check_account(options, cluster, partitions, name)
    if (reservation := options.get("reservation")) and "reservations" not in cluster.unknown:
        known = [one.name for one in cluster.reservations]
        missing = sorted(set(str(reservation).split(",")) - set(known))
        if missing:
            raise UsageError(
                f"`{name}` has no reservation {missing[0]!r}.", _there_are("reservations", known)
            )
    if partitions:
        _check_nodes(spec, options, cluster, partitions, name)
        _check_time(spec, partitions, warnings)
    return warnings


def _check_array(indices: str, cluster: Cluster, name: str) -> None:
    if cluster.rest:
        raise UsageError(
            f"`{name}` is asked by slurmrestd, by which arrays are not submitted.",
            "Add it without --rest, or start the runs one by one.",
        )
    most, largest = cluster.config.max_array, read_indices(indices).numbers[-1]
    if most is not None and largest >= most:
        if most < 2:
            raise UsageError(f"`{name}` takes no job arrays: its MaxArraySize is {most}.")
        raise UsageError(
            f"--array {indices}: `{name}` takes indices up to {most - 1:,} (its MaxArraySize is "
            f"{most:,})."
        )


def _partitions(options: Mapping[str, Any], cluster: Cluster, name: str) -> list[Partition]:
    """The partitions it may run in; empty if they are not known."""
    if not cluster.partitions:
        return []
    asked = str(options.get("partition", ""))
    known = [one.name for one in cluster.partitions]
    if not asked:
        default = cluster.partition("")
        if default is None and "the default partition" in cluster.untold:
            return []
        if default is None:
            raise UsageError(
                f"`{name}` has no default partition.",
                f"Choose one with --option partition=NAME. {_there_are('partitions', known)}",
            )
        return [default]
    found = []
    for one in asked.split(","):
        partition = cluster.partition(one) if one else None
        if partition is None:
            raise UsageError(f"`{name}` has no partition {one!r}.", _there_are("partitions", known))
        found.append(partition)
    return found


def _check_account(
    options: Mapping[str, Any], cluster: Cluster, partitions: list[Partition], name: str
) -> None:
    account, qos = options.get("account"), options.get("qos")
    known = sorted({one.account for one in cluster.associations})
    if account and known and account not in known:
        raise UsageError(
            f"The account {account!r} is none of yours on `{name}`.", _there_are("accounts", known)
        )
    mine = [one for one in cluster.associations if not account or one.account == account]
    allowed = sorted({one for association in mine for one in association.qos})
    if qos and allowed and qos not in allowed:
        raise UsageError(
            f"You may not use the QOS {qos!r} on `{name}`"
            f"{f' with the account {account}' if account else ''}.",
            _there_are("QOS", allowed),
        )
    for partition in partitions[:1] if len(partitions) == 1 else []:
        if account and partition.accounts and account not in partition.accounts:
            raise UsageError(
                f"The account {account!r} may not use partition {partition.name}.",
                _there_are("accounts", partition.accounts),
            )
        if account and account in partition.denied_accounts:
            raise UsageError(f"The account {account!r} may not use partition {partition.name}.")
        if qos and partition.qos and qos not in partition.qos:
            raise UsageError(
                f"The QOS {qos!r} may not be used in partition {partition.name}.",
                _there_are("QOS", partition.qos),
            )


def _check_nodes(
    spec: RunSpec,
    options: Mapping[str, Any],
    cluster: Cluster,
    partitions: list[Partition],
    name: str,
) -> None:
    kind, gpus, nodes = str(options.get("gpu_kind", "")), spec.resources.gpus, spec.resources.nodes
    groups = [group for one in partitions for group in cluster.groups_of(one.name)]
    if not groups:
        return
    where = "partition " + " or ".join(one.name for one in partitions)
    if kind and gpus:
        kinds = sorted({known for group in groups for known in group.gpus if known})
        if kinds and kind not in kinds:
            raise UsageError(f"{where} has no GPUs of kind {kind!r}.", _there_are("kinds", kinds))

    def of(group_gpus: Mapping[str, int]) -> int:
        return group_gpus.get(kind, 0) if kind else sum(group_gpus.values())

    what = f"{kind} GPU" if kind else "GPU"
    most = max(of(group.gpus) for group in groups)
    if gpus > most:
        if not most:
            elsewhere = [
                one.name for one in cluster.partitions if any(cluster.gpus_of(one.name).values())
            ]
            raise UsageError(
                f"--gpus {gpus}: no node of {where} has a {what}.",
                _there_are("partitions with GPUs", elsewhere)
                if elsewhere
                else "Leave --gpus out to run on the CPU.",
            )
        raise UsageError(
            f"--gpus {gpus}: the nodes of {where} have {most} {what}{'s' * (most != 1)} at most.",
            f"Use several nodes, as --nodes {-(-gpus // most)} --gpus {most}.",
        )
    cpus = options.get("cpus")
    able: set[str] = set()
    for group in groups:
        enough = not cpus or group.cpus is None or group.cpus >= cpus
        if of(group.gpus) >= gpus and enough:
            able.update(group.hosts)
    if not able:
        most_cpus = max(group.cpus or 0 for group in groups)
        raise UsageError(
            f"--option cpus={cpus}: no node of {where} with {gpus} {what}s has so many; "
            f"the most is {most_cpus}."
        )
    if nodes > len(able):
        such = f" with {gpus} {what}{'s' * (gpus != 1)}" if gpus else ""
        raise UsageError(f"--nodes {nodes}: {where} has {len(able)} nodes{such}.")
    bounds = [one.max_nodes for one in partitions]
    limit = max((bound for bound in bounds if bound is not None), default=None)
    if limit is not None and None not in bounds and nodes > limit:
        raise UsageError(f"--nodes {nodes}: {where} allows {limit} a job.")


def _check_time(spec: RunSpec, partitions: list[Partition], warnings: list[str]) -> None:
    names = " or ".join(one.name for one in partitions)
    bounds = [one.max_time for one in partitions]
    known = [bound for bound in bounds if bound is not None]
    bounded = bool(known) and len(known) == len(bounds)
    if spec.limits.time is not None and bounded and spec.limits.time > max(known):
        raise UsageError(
            f"--time {_human(spec.limits.time)}: partition {names} allows "
            f"{_human(max(known))} at most.",
            "Ask for less, or choose another partition with --option partition=NAME.",
        )
    down = [one for one in partitions if not one.up]
    if down and len(down) == len(partitions):
        warnings.append(f"partition {names} is {down[0].state.lower()}: nothing starts there now")
    if spec.limits.time is None:
        usual = [one.default_time or one.max_time for one in partitions]
        if len(usual) == 1 and usual[0] is not None:
            warnings.append(
                f"without --time the limit of partition {names} holds: {_human(usual[0])}"
            )


def time_asked(spec: RunSpec, cluster: Cluster, options: Mapping[str, Any]) -> str | None:
    """What `--time` says: the run's own limit, which its supervisor holds it to, and the grace, so
    that the end is its own; never more than the partition allows. None without a limit."""
    if spec.limits.time is None:
        return None
    asked = spec.limits.time + spec.limits.grace
    names = str(options.get("partition", "")).split(",")
    bounds = [p.max_time for p in (cluster.partition(one) for one in names) if p is not None]
    known = [bound for bound in bounds if bound is not None]
    if known and len(known) == len(bounds):
        asked = min(asked, max(spec.limits.time, max(known)))
        if asked >= max(known):
            return written(max(known))
    return written(asked)


def _human(seconds: float) -> str:
    return span(seconds) if seconds >= 60 else f"{seconds:g} s"


def _there_are(what: str, names: Iterable[str]) -> str:
    listed = list(names)
    if not listed:
        return f"There are no {what}."
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return f"There are: {', '.join(listed[:NAMED])}{more}."
