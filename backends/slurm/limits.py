"""What a cluster can never do for a run, in words, before anything is sent.

Only what the survey really showed refuses anything: where the cluster keeps a list to itself, Slurm
is left to judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from traindeck.backends.base import RunSpec, UsageError, read_indices
from traindeck.backends.slurm import rights, text
from traindeck.backends.slurm.cluster import Cluster, Partition
from traindeck.backends.slurm.rights import Bound, there_are
from traindeck.backends.slurm.text import written
from traindeck.backends.slurm.words import span


def check(spec: RunSpec, options: Mapping[str, Any], cluster: Cluster, name: str) -> list[str]:
    """Refuse what cannot be; returns warnings.

    Raises:
        UsageError: A partition, account, QOS or reservation that does not exist or is not this
            user's, a kind of GPU for a run with none, more GPUs a node than any node has, more
            nodes than there are, more time or GPUs than the partition, the QOS or the account
            allow, or an array that is larger than the cluster takes.
    """
    warnings: list[str] = []
    # Of the settings it holds for runs with GPUs only.
    if (kind := spec.options.get("gpu_kind")) and not spec.resources.gpus:
        raise UsageError(
            f"--option gpu_kind={kind}: the run asks for no GPU.", "Say how many, as --gpus 1."
        )
    if spec.array is not None:
        _check_array(spec.array.indices, cluster, name)
    partitions = _partitions(options, cluster, name)
    rights.check(spec, options, cluster, partitions, name)
    if partitions:
        _check_nodes(spec, options, cluster, partitions, name)
        _check_time(spec, options, cluster, partitions, warnings)
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
                f"Choose one with --option partition=NAME. {there_are('partitions', known)}",
            )
        return [default]
    found = []
    for one in asked.split(","):
        partition = cluster.partition(one) if one else None
        if partition is None:
            raise UsageError(f"`{name}` has no partition {one!r}.", there_are("partitions", known))
        found.append(partition)
    return found


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
            raise UsageError(f"{where} has no GPUs of kind {kind!r}.", there_are("kinds", kinds))

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
                there_are("partitions with GPUs", elsewhere)
                if elsewhere
                else "Leave --gpus out to run on the CPU.",
            )
        have = {host for group in groups if of(group.gpus) == most for host in group.hosts}
        wanted = -(-gpus // most)
        raise UsageError(
            f"--gpus {gpus}: the nodes of {where} have {most} {what}{'s' * (most != 1)} at most.",
            f"Use several nodes, as --nodes {wanted} --gpus {most}."
            if wanted <= len(have)
            else f"All that it has is --nodes {len(have)} --gpus {most}.",
        )
    memory = text.megabytes(str(options.get("memory", "")))
    most_memory = max(group.memory or 0 for group in groups)
    # A cluster that does not say what its nodes have says 1.
    if memory and memory > most_memory > 1 and all(group.memory for group in groups):
        raise UsageError(
            f"--option memory={options['memory']}: the nodes of {where} have {most_memory}M at "
            "most.",
            "Ask for less, or choose another partition with --option partition=NAME.",
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


def _check_time(
    spec: RunSpec,
    options: Mapping[str, Any],
    cluster: Cluster,
    partitions: list[Partition],
    warnings: list[str],
) -> None:
    names = " or ".join(one.name for one in partitions)
    bound = _longest(options, cluster, partitions)
    if spec.limits.time is not None and bound is not None and spec.limits.time > bound.most:
        other = "partition" if bound.whose.startswith("partition") else "qos"
        raise UsageError(
            f"--time {_human(spec.limits.time)}: {bound.whose} allows {_human(bound.most)} at "
            "most.",
            f"Ask for less, or choose another {other} with --option {other}=NAME.",
        )
    down = [one for one in partitions if not one.up]
    if down and len(down) == len(partitions):
        warnings.append(f"partition {names} is {down[0].state.lower()}: nothing starts there now")
    if spec.limits.time is None:
        usual = partitions[0].default_time if len(partitions) == 1 else None
        if usual is not None and (bound is None or usual <= bound.most):
            bound = Bound(most=usual, whose=f"partition {names}")
        if bound is not None:
            warnings.append(
                f"without --time the limit of {bound.whose} holds: {_human(bound.most)}"
            )


def _longest(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition]
) -> Bound | None:
    """How long a run may take, in seconds."""
    bounds = [one.max_time for one in partitions]
    known = [bound for bound in bounds if bound is not None]
    found = rights.longest(options, cluster, partitions)
    if known and len(known) == len(bounds) and (found is None or max(known) <= found.most):
        names = " or ".join(one.name for one in partitions)
        found = Bound(most=max(known), whose=f"partition {names}")
    return found


def time_asked(spec: RunSpec, cluster: Cluster, options: Mapping[str, Any]) -> str | None:
    """What `--time` says: the run's own limit, which its supervisor holds it to, and the grace, so
    that the end is its own; never more than the partition and the QOS allow. None without a
    limit."""
    if spec.limits.time is None:
        return None
    asked = spec.limits.time + spec.limits.grace
    names = str(options.get("partition", "")).split(",")
    partitions = [one for one in map(cluster.partition, names) if one is not None]
    bound = _longest(options, cluster, partitions)
    if bound is not None and asked >= bound.most >= spec.limits.time:
        return written(bound.most, up=False)
    return written(asked)


EARLY = 30.0
"""Seconds by which Slurm may warn too early: it looks every 30 s (seen of 22.05), and warns at
the last look that is early enough. A job whose batch step has not begun by then is never told."""
SMALLEST = 40.0
"""Seconds of a time limit below which no warning is asked for."""


def warning(spec: RunSpec, options: Mapping[str, Any], time: str | None) -> int:
    """How many seconds before its limit, which is `time`, Slurm is to warn a job; 0 for not at all.
    It is the run's own limit that is warned of, which comes before: by the seconds of the option
    `warn`, and of a short run at the earliest half of what is left before Slurm may be early."""
    asked, own = int(options.get("warn") or 0), spec.limits.time
    if own is None or not asked or (limit := text.duration(time or "")) is None:
        return asked
    return 0 if own < SMALLEST else round(min(asked, (own - EARLY) / 2) + limit - own)


def _human(seconds: float) -> str:
    return span(seconds) if seconds >= 60 else f"{seconds:g} s"
