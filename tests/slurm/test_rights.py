"""What the accounting lets a run do, judged before anything is sent: pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from traindeck.backends.base import Limits, Resources, RunSpec, UsageError
from traindeck.backends.slurm import limits, planning, rights
from traindeck.backends.slurm.accounts import Account, Association, Qos
from traindeck.backends.slurm.cluster import Cluster, Config, Group, Partition, Reservation

CLUSTER = Cluster(
    config=Config(accounting=True, enforced=("associations", "limits", "qos")),
    user="ada",
    partitions=(
        Partition(name="gpu", default=True, max_time=86_400.0),
        Partition(name="debug", max_time=86_400.0, own_qos="debugging"),
    ),
    groups=tuple(
        Group(hosts=("n0", "n1"), partition=name, state="idle", cpus=64, gpus={"h100": 8})
        for name in ("gpu", "debug")
    ),
    associations=(
        Association(account="nlp", qos=("normal", "high", "long"), job_gpus=6),
        Association(account="nlp", partition="debug", qos=("normal",), max_time=600.0),
        Association(account="bio", partition="debug", qos=("normal",)),
    ),
    accounts=(
        Account(name="root"),
        Account(name="lab", parent="root", gpus=12),
        Account(name="nlp", parent="lab"),
        Account(name="bio", parent="root"),
    ),
    qos=(
        Qos(name="normal"),
        Qos(name="high", max_time=3600.0, user_gpus=4),
        Qos(name="long", max_time=50_000.0, before_partition=True),
        Qos(name="debugging", max_time=900.0),
    ),
    default_account="nlp",
)


def refused(cluster: Cluster = CLUSTER, hours: float | None = None, gpus: int = 0,
            nodes: int = 1, **options: Any) -> str:  # fmt: skip
    """Why a run is refused, "" if it is not."""
    seconds = None if hours is None else hours * 3600
    spec = RunSpec(resources=Resources(gpus=gpus, nodes=nodes), limits=Limits(time=seconds))
    try:
        limits.check(spec, options, cluster, "lab")
    except UsageError as error:
        return str(error)
    return ""


def asked(minutes: float, cluster: Cluster = CLUSTER, **options: Any) -> str | None:
    """The time that Slurm is asked for."""
    return limits.time_asked(RunSpec(limits=Limits(time=minutes * 60)), cluster, options)


def test_the_limits_of_the_qos_that_counts_hold() -> None:
    assert "the QOS high allows 1.0 h" in refused(hours=2, qos="high")
    assert refused(hours=2) == ""
    # That of the partition before that of the job, unless this says otherwise.
    assert "the QOS debugging allows 15 min" in refused(hours=1, partition="debug")
    assert refused(hours=1, partition="gpu", qos="long") == ""
    assert "the QOS long allows 14 h" in refused(hours=20, qos="long")


def test_the_grace_is_not_asked_for_beyond_what_is_allowed() -> None:
    assert asked(60, qos="high") == "01:00:00"
    assert asked(30, qos="high") == "00:31:00"
    assert asked(15, partition="debug") == "00:15:00"
    assert asked(24 * 60) == "1-00:00:00"


@pytest.mark.parametrize(
    ("minutes", "options", "before"),
    [
        (60, {"warn": 90}, 150),  # Slurm's own limit is a minute later than the run's: the grace
        (60, {"warn": 90, "qos": "high"}, 90),  # no more is allowed than the hour itself
        (60.5, {"warn": 60}, 90),
        (1, {"warn": 90}, 75),  # a quarter of a minute before the end, not at the start
        (0.5, {"warn": 90}, 0),
        (60, {"warn": 0}, 0),
        (None, {"warn": 90}, 90),  # Slurm's limit is the one there is
    ],
)
def test_a_job_is_warned_before_the_limit_that_ends_it(
    minutes: float | None, options: dict[str, Any], before: int
) -> None:
    spec = RunSpec(limits=Limits(time=None if minutes is None else minutes * 60))
    time = limits.time_asked(spec, CLUSTER, options)
    assert limits.warning(spec, options, time) == before


def test_gpus_that_an_account_or_one_above_it_can_never_have_are_refused() -> None:
    assert "a job of the account nlp may have 6 GPUs" in refused(gpus=7)
    more = replace(CLUSTER, associations=(Association(account="nlp", qos=("normal", "high")),))
    assert refused(more, gpus=6, nodes=2) == ""
    assert "--gpus 7 on each of 2 nodes: the account lab may have 12" in refused(
        more, gpus=7, nodes=2
    )
    assert "the QOS high may have 4 GPUs" in refused(more, gpus=5, qos="high")


def test_an_account_for_one_partition_is_none_for_another() -> None:
    said = refused(account="bio")
    assert said.endswith("may not use partition gpu. There are: debug.")
    assert refused(account="bio", partition="debug") == ""


def test_an_account_or_a_qos_that_there_is_not_is_answered_with_those_that_there_are() -> None:
    assert refused(account="nosuch") == "`lab` has no account 'nosuch'. Yours are: bio, nlp."
    assert refused(qos="nosuch") == "`lab` has no QOS 'nosuch'. You may use high, long, normal."


def test_what_is_not_enforced_is_left_to_slurm() -> None:
    """Without AccountingStorageEnforce a job runs with whatever account it names."""
    loose = replace(CLUSTER, config=Config(accounting=True))
    assert refused(loose, hours=2, gpus=7, account="x", qos="y") == ""
    assert asked(60, loose, qos="high") == "01:01:00"


def test_what_is_not_known_refuses_nothing() -> None:
    blind = replace(CLUSTER, associations=(), accounts=(), qos=(), default_account="")
    assert refused(blind, hours=2, gpus=7, account="x", qos="y") == ""


@pytest.mark.parametrize(
    ("who", "may"),
    [
        ({}, True),
        ({"users": ("ada",)}, True),
        ({"users": ("bob",)}, False),
        ({"users": ("-ada",)}, False),
        ({"users": ("-bob",)}, True),
        ({"accounts": ("bio",)}, False),
        ({"accounts": ("lab",)}, True),
        ({"accounts": ("-lab",)}, False),
        ({"users": ("bob",), "accounts": ("nlp",)}, True),
        ({"users": ("bob",), "groups": ("staff",)}, True),
    ],
)
def test_a_reservation_is_for_those_that_it_names(who: dict[str, Any], may: bool) -> None:
    one = Reservation(name="night", **who)
    cluster = replace(CLUSTER, reservations=(one,))
    assert rights.admits(one, {}, cluster) is may
    assert bool(refused(cluster, reservation="night")) is not may
    offered = may or who == {"accounts": ("bio",)}  # with that account, which is mine too
    assert planning.choices(cluster).get("reservation", ()) == (("night",) if offered else ())


def test_a_reservation_for_another_account_of_mine_says_so() -> None:
    cluster = replace(CLUSTER, reservations=(Reservation(name="night", accounts=("bio",)),))
    assert refused(cluster, reservation="night") == (
        "The reservation 'night' is not for the account nlp: it is for bio. "
        "Charge the run to another with --option account=NAME."
    )


def test_check_names_what_is_mine_and_never_calls_an_accounting_that_is_away_none() -> None:
    lines = [line for _, line in planning.accounting(CLUSTER)]
    assert lines == [
        "your accounts: bio, nlp (usually nlp)",
        "your QOS: high (up to 1.0 h), long (up to 14 h), normal",
    ]
    blind = replace(CLUSTER, associations=(), unknown={"accounts and QOS": "Connection refused"})
    assert planning.accounting(blind) == []
    nobody = replace(CLUSTER, associations=())
    assert planning.accounting(nobody) == [(False, "the accounting knows no account of ada")]
    none = Cluster(config=Config(version="22.05.8"))
    assert planning.accounting(none) == [(True, "no accounting: accounts and QOS are not used")]
