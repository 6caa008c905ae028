"""Plans for Slurm, and what a place is said to be: pure, from what a survey brought."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from traindeck.backends import environments
from traindeck.backends.base import (
    Blob,
    Facts,
    Health,
    Plan,
    Resources,
    RunSpec,
    UsageError,
    decode,
    plan_digest,
)
from traindeck.backends.placed import placed
from traindeck.backends.slurm import depends, limits, rights, script, words
from traindeck.backends.slurm.cluster import Cluster, unproven
from traindeck.backends.slurm.listing import Job

NAMED = 12
"""Names in one line of `backends check`."""

OFFERED = 100
"""Values that are offered of an option, at the most."""


def without_devices(spec: RunSpec) -> RunSpec:
    """For the survey of the login host, whose GPUs are not the cluster's."""
    return replace(spec, resources=Resources(gpus=0, nodes=spec.resources.nodes))


def plan(
    name: str,
    spec: RunSpec,
    facts: Facts,
    options: Mapping[str, Any],
    prelude: str | None = None,
) -> Plan:
    """See `Backend.plan`."""
    if spec.adopted:
        raise UsageError(f"`{name}` runs jobs in allocations and cannot adopt a process.")
    if spec.resources.nodes < 1:
        raise UsageError(f"--nodes {spec.resources.nodes}: expected 1 or more.")
    cluster = decode(Cluster, facts.detail.get("cluster") or {})
    asked = spec.argv
    spec = depends.placed(name, spec)
    options = {**options, **{k: v for k, v in spec.options.items() if k == depends.OPTION}}
    if not cluster.rest:
        found = facts.detail.get("jobs") or {}
        depends.check(options, {n: decode(Job, job) for n, job in found.items()}, name)
    lacking = facts.program is None and not environments.stands_in(spec, facts)
    spec, brought, warnings = placed(name, spec, facts, prelude)
    warnings += limits.check(spec, options, cluster, name)
    late: dict[str, str] = {}
    env = dict(spec.env)
    if lacking:
        why = facts.program_note or f"was not found on {facts.host}"
        warnings.append(f"{asked[0]} {why}; the run will fail")
    if spec.resources.gpus:
        late["CUDA_VISIBLE_DEVICES"] = "the GPUs that Slurm gives it"
    if spec.secrets:
        late["secrets"] = (
            "values of "
            + ", ".join(spec.secrets)
            + ", kept in a file (0600) in the run directory until the run has ended"
        )
    if spec.after:
        runs = " and ".join(f"run {run}" for run in spec.after)
        late["start"] = f"when {runs} {'has' if len(spec.after) == 1 else 'have'} ended"
    late["node"] = "where Slurm starts it"
    if spec.array is not None:
        if not spec.run_id.endswith(f"{spec.array.index:04d}"):
            raise ValueError(f"run {spec.run_id} cannot be task {spec.array.index} of an array")
        # Also for a task that is tried again by itself.
        index = str(spec.array.index)
        env |= {"TRAINDECK_ARRAY_INDEX": index, "SLURM_ARRAY_TASK_ID": index}
    env.setdefault("PYTHONUNBUFFERED", "1")
    files = {**spec.files, **brought}
    if spec.attempt == 0 and not cluster.rest:
        files[script.PATH] = _blob(script.TEXT)
    spec = replace(
        spec,
        env=env,
        env_names=(),
        python_version=spec.python_version or facts.run_python_version,
        host=cluster.config.name or facts.host,
    )
    handed, unsaid = sent(spec, facts, options, cluster)
    warnings += unsaid
    made = Plan(
        backend=name,
        spec=spec,
        files=dict(sorted(files.items())),
        argv=spec.argv,
        body={
            "agent": facts.agent,
            "python": facts.python,
            "root": facts.home,
            **handed,
        },
        env=env,
        bound_late=late,
        place=facts.place,
        warnings=tuple(warnings),
    )
    return replace(made, digest=plan_digest(made))


def sent(
    spec: RunSpec, facts: Facts, options: Mapping[str, Any], cluster: Cluster
) -> tuple[dict[str, Any], list[str]]:
    """(What Slurm is sent, by who takes it; what that cannot say of the run).

    Raises:
        UsageError: A run that is waited for did not succeed; slurmrestd has no word for an option.
    """
    dependency = depends.word(spec, options, facts.detail.get("after") or {})
    time = limits.time_asked(spec, cluster, options)
    options = {**options, "warn": limits.warning(spec, options, time)}
    program = script.program(
        spec,
        home=facts.home,
        python=facts.python,
        agent=facts.agent,
        kill_wait=cluster.config.kill_wait,
    )
    if cluster.rest:
        from traindeck.backends.slurm import rest_job

        request, unsaid = rest_job.request(
            spec,
            options,
            cluster.rest,
            home=facts.home,
            program=program,
            time=time,
            dependency=dependency,
        )
        return {"slurmrestd": {"version": cluster.rest, "request": request}}, unsaid
    sbatch = script.argv(
        *(spec, options), home=facts.home, program=program, time=time, dependency=dependency
    )
    return {"sbatch": list(sbatch)}, []


def _blob(data: bytes) -> Blob:
    import hashlib

    return Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)


def health(found: Health, cluster: Cluster) -> Health:
    """What `probe` says of a cluster, over what the host said."""
    version = cluster.config.version
    called = f" ({cluster.config.name})" if cluster.config.name else ""
    checks = [*found.checks, (True, f"Slurm {version or 'of an unknown version'}{called}")]
    if note := unproven(version):
        checks.append((False, note))
    checks += [
        (False, f"the {what} cannot be asked for: {why}") for what, why in cluster.unknown.items()
    ]
    checks += [(True, note) for note in cluster.notes]
    checks += [(partition.up, line) for partition, line in offers(cluster)]
    for reason, hosts in list(cluster.out_of_service.items())[:8]:
        names = ", ".join(hosts[:6]) + (f" and {len(hosts) - 6} more" if len(hosts) > 6 else "")
        are = "are" if len(hosts) > 1 else "is"
        checks.append((True, f"{names} {are} out of service: {reason}"))
    checks += accounting(cluster)
    return replace(
        found,
        version=f"Slurm {version}" if version else found.version,
        checks=tuple(checks),
        offers=choices(cluster),
    )


def accounting(cluster: Cluster) -> list[tuple[bool, str]]:
    """What `probe` says of accounts and QOS. That they cannot be asked for is said elsewhere."""
    config = cluster.config
    if cluster.associations:
        accounts = sorted({one.account for one in cluster.associations})
        usual = f" (usually {cluster.default_account})" if cluster.default_account else ""
        found = [(True, f"your accounts: {rights.listed(accounts)}{usual}")]
        if qos := rights.usable_qos({}, replace(cluster, default_account="")):
            found.append((True, f"your QOS: {', '.join(map(_limited(cluster), qos[:NAMED]))}"))
        return found
    if config.accounting and "accounts and QOS" not in cluster.unknown:
        must = "associations" in config.enforced
        who = cluster.user or "this user"
        return [(not must, f"the accounting knows no account of {who}")]
    if not config.accounting and cluster.untold:
        told_not = " and ".join(cluster.untold)
        return [(True, f"slurmrestd does not tell {told_not}: Slurm judges at the submission")]
    if not config.accounting and config.version:
        return [(True, "no accounting: accounts and QOS are not used")]
    return []


def _limited(cluster: Cluster) -> Callable[[str], str]:
    """The name of a QOS with its limit of time."""
    longest = {one.name: one.max_time for one in cluster.qos}

    def of(name: str) -> str:
        most = longest.get(name)
        return name if most is None else f"{name} (up to {words.span(most)})"

    return of


def choices(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """What options can be here, by option, to be offered."""
    whoever = replace(cluster, default_account="")
    found = {
        "partition": [one.name for one in cluster.partitions],
        "account": sorted({one.account for one in cluster.associations}),
        "qos": rights.usable_qos({}, whoever),
        "reservation": rights.usable_reservations({}, whoever),
        "gpu_kind": sorted({kind for group in cluster.groups for kind in group.gpus if kind}),
    }
    return {name: tuple(values[:OFFERED]) for name, values in found.items() if values}


def offers(cluster: Cluster) -> list[tuple[Any, str]]:
    """Each partition with what is free in it, in one line."""
    found = []
    for partition in cluster.partitions:
        groups = cluster.groups_of(partition.name)
        usable = sum(len(group.hosts) for group in groups if group.usable)
        total = sum(len(group.hosts) for group in groups)
        parts = [
            f"{free} of {number} {kind or 'GPU'}{'' if kind else 's'} free"
            for kind, (free, number) in sorted(cluster.gpus_of(partition.name).items())
        ]
        parts.append(f"{usable} of {total} nodes up" if groups else "nodes not known")
        if partition.max_time is not None:
            parts.append(f"up to {words.span(partition.max_time)}")
        if not partition.up:
            parts.append(partition.state.lower())
        mark = ", the default" if partition.default else ""
        found.append((partition, f"partition {partition.name}{mark}: {', '.join(parts)}"))
    return found


def starts_in(spec: RunSpec, cluster: Cluster, options: Mapping[str, Any]) -> float | None:
    """0 if the nodes that a run asks for have free GPUs enough, None if that cannot be known. (That
    nobody waits before it is not looked at.)"""
    kind = str(options.get("gpu_kind", ""))
    able = 0
    for name in str(options.get("partition", "")).split(","):
        partition = cluster.partition(name)
        for group in cluster.groups_of(partition.name) if partition is not None else ():
            free = group.free.get(kind, 0) if kind else sum(group.free.values())
            busy = not group.usable or "alloc" in group.state.lower()
            able += 0 if busy or free < spec.resources.gpus else len(group.hosts)
    return 0.0 if able >= spec.resources.nodes else None


def offer(cluster: Cluster, options: Mapping[str, Any]) -> str:
    """What the partitions of a run have free, in a few words."""
    names = str(options.get("partition", "")).split(",")
    found = {one.name for name in names if (one := cluster.partition(name)) is not None}
    return ", ".join(line for partition, line in offers(cluster) if partition.name in found)
