"""What the accounting lets a run do: whose account and QOS it may use, in which reservations, and
within which limits. Pure, from what a survey brought.

Slurm enforces of it what its settings say (AccountingStorageEnforce); only that is judged here. A
job beyond a limit of time or GPUs is not refused by Slurm (unless its QOS says DenyOnLimit): it
waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from traindeck.backends.base import RunSpec, UsageError
from traindeck.backends.data import dataclass
from traindeck.backends.slurm.accounts import Account, Association, Qos
from traindeck.backends.slurm.cluster import Cluster, Partition, Reservation

NAMED = 12
DEEP = 32
"""Accounts above one another that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much of something a run may have, and by whose word (`the QOS high`)."""

    most: float = 0.0
    whose: str = ""


def check(
    spec: RunSpec,
    options: Mapping[str, Any],
    cluster: Cluster,
    partitions: Sequence[Partition],
    name: str,
) -> None:
    """Refuse what this user may not use.

    Raises:
        UsageError: An account, QOS or reservation that does not exist or is not theirs, or more
            GPUs than these may ever have.
    """
    _check_account(options, cluster, partitions, name)
    _check_qos(options, cluster, partitions, name)
    _check_reservation(options, cluster, name)
    asked = spec.resources.gpus * spec.resources.nodes
    for bound in _gpus(options, cluster, partitions):
        if asked > bound.most:
            each = f" on each of {spec.resources.nodes} nodes" if spec.resources.nodes > 1 else ""
            raise UsageError(
                f"--gpus {spec.resources.gpus}{each}: {bound.whose} may have {bound.most:g} "
                f"GPU{'s' * (bound.most != 1)} at most.",
                "It would wait for ever: ask for fewer, or choose another with --option "
                f"{'qos' if 'QOS' in bound.whose else 'account'}=NAME.",
            )


def _check_account(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition], name: str
) -> None:
    account = options.get("account")
    if not account:
        return
    mine = sorted({one.account for one in cluster.associations})
    if mine and account not in mine and "associations" in cluster.config.enforced:
        known = {one.name for one in cluster.accounts}
        if known and account not in known:
            raise UsageError(f"`{name}` has no account {account!r}.", yours(mine))
        raise UsageError(f"The account {account!r} is none of yours on `{name}`.", yours(mine))
    if len(partitions) != 1:
        return
    (partition,) = partitions
    only = {one.partition for one in cluster.associations if one.account == account}
    if only and "" not in only and partition.name not in only:
        raise UsageError(
            f"With the account {account!r} you may not use partition {partition.name}.",
            there_are("partitions for it", sorted(only)),
        )
    if partition.accounts and not set(_above(account, cluster)) & set(partition.accounts):
        raise UsageError(
            f"The account {account!r} may not use partition {partition.name}.",
            there_are("accounts that may", partition.accounts),
        )
    if account in partition.denied_accounts:
        raise UsageError(f"The account {account!r} may not use partition {partition.name}.")


def _check_qos(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition], name: str
) -> None:
    qos = options.get("qos")
    if not qos:
        return
    if "qos" in cluster.config.enforced:
        allowed = usable_qos(options, cluster, partitions)
        if allowed and qos not in allowed:
            known = [one.name for one in cluster.qos]
            if known and qos not in known:
                raise UsageError(f"`{name}` has no QOS {qos!r}.", f"You may use {listed(allowed)}.")
            account = _account(options, cluster)
            with_account = f" with the account {account}" if account else ""
            raise UsageError(
                f"You may not use the QOS {qos!r} on `{name}`{with_account}.",
                f"You may use {listed(allowed)}.",
            )
    for partition in partitions if len(partitions) == 1 else ():
        if partition.qos and qos not in partition.qos:
            raise UsageError(
                f"The QOS {qos!r} may not be used in partition {partition.name}.",
                there_are("QOS that may", partition.qos),
            )


def _check_reservation(options: Mapping[str, Any], cluster: Cluster, name: str) -> None:
    asked = options.get("reservation")
    if not asked or "reservations" in cluster.unknown:
        return
    known = {one.name: one for one in cluster.reservations}
    for one in str(asked).split(","):
        if one not in known:
            raise UsageError(
                f"`{name}` has no reservation {one!r}.", there_are("reservations", known)
            )
        if not admits(known[one], options, cluster):
            for_whom = ", ".join((*known[one].users, *known[one].accounts)[:NAMED])
            may = usable_reservations(options, cluster)
            if admits(known[one], {}, replace(cluster, default_account="")):
                raise UsageError(
                    f"The reservation {one!r} is not for the account "
                    f"{_account(options, cluster)}: it is for {for_whom}.",
                    "Charge the run to another with --option account=NAME.",
                )
            raise UsageError(
                f"The reservation {one!r} is not for you: it is for {for_whom}.",
                there_are("reservations that you may use", may),
            )


def admits(one: Reservation, options: Mapping[str, Any], cluster: Cluster) -> bool:
    """Whether this user may run in a reservation, as far as that can be told: groups cannot."""
    if one.groups or not cluster.user or not (one.users or one.accounts):
        return True
    account = _account(options, cluster)
    mine = [account] if account else [each.account for each in cluster.associations]
    accounts = {above for each in mine for above in _above(each, cluster)}
    return _listed(one.users, {cluster.user}) or (
        bool(one.accounts) and (not accounts or _listed(one.accounts, accounts))
    )


def _listed(names: Sequence[str], mine: set[str]) -> bool:
    """Whether a list is for one of these; `-name` keeps somebody out."""
    if not names:
        return False
    out = {name[1:] for name in names if name.startswith("-")}
    return not mine & out if out else bool(mine & set(names))


def usable_qos(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition] = ()
) -> list[str]:
    """The QOS that this user may use, with the account asked for; empty if that is not known."""
    counting = _counting(options, cluster, partitions)
    return sorted({one for association in counting for one in association.qos})


def usable_reservations(options: Mapping[str, Any], cluster: Cluster) -> list[str]:
    """The reservations that this user may use."""
    return sorted(one.name for one in cluster.reservations if admits(one, options, cluster))


# ----------------------------------------------------------------------------------------- limits


def longest(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition]
) -> Bound | None:
    """How long a run may take by the accounting, in seconds."""
    if "limits" not in cluster.config.enforced:
        return None
    for qos in _qualities(options, cluster, partitions):
        if qos.max_time is not None:
            return Bound(most=qos.max_time, whose=f"the QOS {qos.name}")
    counting = _counting(options, cluster, partitions)
    known = [one.max_time for one in counting if one.max_time is not None]
    if known and len(known) == len(counting):
        return Bound(most=max(known), whose=f"your account {counting[0].account}")
    return None


def _gpus(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition]
) -> Iterable[Bound]:
    """What bounds the GPUs of a job. What a QOS says counts, else what the account says."""
    if "limits" not in cluster.config.enforced:
        return
    qualities = _qualities(options, cluster, partitions)
    counting = _counting(options, cluster, partitions)
    account = counting[0] if len({one.account for one in counting}) == 1 else Association()
    for kind in ("job_gpus", "user_gpus", "gpus"):
        said = [(getattr(qos, kind), qos.name) for qos in qualities]
        first = next(((most, whose) for most, whose in said if most is not None), None)
        if first is not None:
            yield Bound(most=first[0], whose=f"the QOS {first[1]}")
        elif kind == "job_gpus" and account.job_gpus is not None:
            yield Bound(most=account.job_gpus, whose=f"a job of the account {account.account}")
        elif kind == "gpus":
            if account.gpus is not None:
                yield Bound(most=account.gpus, whose=f"your jobs of the account {account.account}")
            for one in _chain(account.account, cluster):
                if one.gpus is not None:
                    yield Bound(most=one.gpus, whose=f"the account {one.name}")


def _qualities(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition]
) -> list[Qos]:
    """The QOS whose limits hold for a run, those that count first before."""
    known = {one.name: one for one in cluster.qos}
    found = []
    if len(partitions) == 1 and partitions[0].own_qos in known:
        found.append(known[partitions[0].own_qos])
    name = str(options.get("qos") or _usual_qos(_counting(options, cluster, partitions)))
    if (qos := known.get(name)) is not None:
        found.insert(0 if qos.before_partition else len(found), qos)
    return found


def _usual_qos(counting: Sequence[Association]) -> str:
    """The QOS of a job that names none, "" if that cannot be told."""
    usual = set()
    for one in counting:
        only = one.qos[0] if len(one.qos) == 1 else ""
        usual.add(one.default_qos or only or ("normal" if "normal" in one.qos else ""))
    return usual.pop() if len(usual) == 1 else ""


def _account(options: Mapping[str, Any], cluster: Cluster) -> str:
    """The account that will be charged, "" if that cannot be told."""
    mine = {one.account for one in cluster.associations}
    only = next(iter(mine)) if len(mine) == 1 else ""
    return str(options.get("account") or cluster.default_account or only)


def _counting(
    options: Mapping[str, Any], cluster: Cluster, partitions: Sequence[Partition]
) -> list[Association]:
    """The associations that a job may be charged to: for its partition, if there is one."""
    account = _account(options, cluster)
    mine = [one for one in cluster.associations if not account or one.account == account]
    if len(partitions) == 1:
        here = [one for one in mine if one.partition == partitions[0].name]
        return here or [one for one in mine if not one.partition]
    return mine


def _chain(account: str, cluster: Cluster) -> list[Account]:
    """An account and those above it."""
    known = {one.name: one for one in cluster.accounts}
    found: list[Account] = []
    while (one := known.get(account)) is not None and len(found) < DEEP:
        found.append(one)
        account = one.parent
    return found


def _above(account: str, cluster: Cluster) -> list[str]:
    """The names of an account and of those above it."""
    return [account, *(one.name for one in _chain(account, cluster)[1:])]


# ------------------------------------------------------------------------------------------ words


def yours(accounts: Sequence[str]) -> str:
    return f"Yours are: {listed(accounts)}."


def listed(names: Iterable[str]) -> str:
    """Names, those that are too many as a number."""
    some = list(names)
    more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
    return f"{', '.join(some[:NAMED])}{more}"


def there_are(what: str, names: Iterable[str]) -> str:
    """What there is to choose from, in a sentence."""
    some = list(names)
    return f"There are: {listed(some)}." if some else f"There are no {what}."
