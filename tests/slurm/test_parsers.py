"""What Slurm prints, read: the same from 22.05 to 26.05, and nothing of it breaks a reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.backends.base import State, decode, encode
from traindeck.backends.slurm import accounts, cluster, listing, reading, text, words
from traindeck.backends.slurm.cluster import Cluster
from traindeck.backends.slurm.listing import Job
from traindeck.backends.slurm.words import Around

DATA = Path(__file__).parent / "data"
VERSIONS = ("22.05", "24.11", "26.05")


@pytest.fixture(params=VERSIONS)
def said(request: pytest.FixtureRequest) -> dict[str, str]:
    """What each command of one version printed."""
    return {path.stem: path.read_text() for path in (DATA / request.param).glob("*.txt")}


def test_jobs_are_listed_with_all_that_is_said_of_them(said: dict[str, str]) -> None:
    jobs = {job.id: job for job in listing.squeue(said["squeue"])}
    assert len(jobs) == len(said["squeue"].splitlines()) == 15
    ours = jobs["1"]
    assert ours.key == ("0123456789ab", 0)
    assert (ours.state, ours.hosts, ours.gpus, ours.nodes) == (State.RUNNING, ("n0",), 3, 1)
    assert (ours.limit, ours.left, ours.partition) == (3600, 3599, "gpu")
    assert ours.start is not None and ours.submitted is not None
    assert ours.start - ours.submitted == 1
    assert ours.ended is None  # what it says of a job that runs is when its time is over
    big = jobs["8"]
    assert (big.name, big.key, big.nodes, big.gpus) == ("big | job", None, 2, 8)
    assert (big.state, big.hosts, big.start) == (State.QUEUED, (), None)
    assert (jobs["4"].state, jobs["2"].state) == (State.FAILED, State.CANCELLED)
    assert jobs["3_0"].array and jobs["11_[1-4%1]"].array and not jobs["4"].array
    assert jobs["9"].dependency == "afterok:1(unfulfilled)"


def test_what_accounting_says_of_a_job_is_its_last_line(said: dict[str, str]) -> None:
    jobs = {job.number: job for job in listing.sacct(said["sacct"])}
    assert (jobs["2"].state, jobs["2"].signal) == (State.CANCELLED, 15)
    assert (jobs["4"].exit_code, jobs["4"].name) == (7, "a | b")
    assert (jobs["5"].exit_code, jobs["5"].signal) == (None, 11)
    assert (jobs["20"].state, jobs["20"].signal) == (State.FAILED, None)
    assert (jobs["21"].state, jobs["22"].hosts) == (State.TIMEOUT, ("n0", "n1"))
    assert jobs["23"].state is State.QUEUED
    assert jobs["1"].ended is None


@pytest.fixture
def accounted() -> dict[str, str]:
    """What each command of a cluster with accounting printed."""
    return {path.stem: path.read_text() for path in (DATA / "22.05-accounting").glob("*.txt")}


def test_what_a_real_accounting_says_of_ends(accounted: dict[str, str]) -> None:
    jobs = {job.id: job for job in listing.sacct(accounted["sacct"])}
    ends = {
        "1": ("COMPLETED", 0, None), "2": ("FAILED", 7, None), "3": ("FAILED", None, 11),
        "4": ("CANCELLED", None, None), "5": ("TIMEOUT", None, None), "6_1": ("FAILED", 1, None),
        "9": ("NODE_FAIL", None, None),
    }  # fmt: skip
    for number, end in ends.items():
        job = jobs[number]
        assert (job.word, job.exit_code, job.signal) == end and job.over
    assert words.now(jobs["9"], Around()) == "its node failed on n0"
    assert words.now(jobs["19"], Around()) == "cancelled in Slurm before it started"
    assert jobs["8"].waits  # it was requeued: its first start has a line before
    assert jobs["11"].reason == "QOSMaxJobsPerUserLimit"


def test_what_a_job_waited_for_is_not_why_it_ended() -> None:
    """sacct keeps the last reason to wait of a job that has run."""
    line = "5|5|FAILED|1:0|2026-11-30T10:29:59|2026-11-30T10:29:59|2026-11-30T10:30:39"
    (job,) = listing.sacct(f"{line}|n0|gpu|AssocGrpGRES|train")
    assert words.now(job, Around()) == ""


def test_accounts_qos_and_their_limits_are_read(accounted: dict[str, str]) -> None:
    mine = accounts.associations(accounted["associations"])
    assert [(one.account, one.qos) for one in mine] == [
        ("vision", ("normal",)), ("ml", ("high", "normal", "strict")), ("root", ("normal",)),
    ]  # fmt: skip
    everybody = {one.name: one for one in accounts.accounts(accounted["accounts"])}
    assert (everybody["ml"].parent, everybody["ml"].gpus) == ("root", 2)
    qualities = {one.name: one for one in accounts.qualities(accounted["qos"])}
    assert {name: one.max_time for name, one in qualities.items()} == {
        "normal": None, "high": 3600, "strict": 1800, "theirs": None,
    }  # fmt: skip
    assert accounts.default_account(accounted["user"]) == "vision"
    config = cluster.config(accounted["config"])
    assert (config.accounting, config.enforced) == (True, ("associations", "limits", "qos"))
    reserved = {one.name: one for one in cluster.reservations(accounted["reservations"])}
    assert (reserved["theirs"].users, reserved["theirs"].accounts) == (("nobody",), ())
    assert (reserved["later"].users, reserved["later"].accounts) == ((), ("ml",))
    assert reserved["open"].accounts == ("-other",)


def test_who_waits_for_a_limit_or_a_reservation_is_told_so(accounted: dict[str, str]) -> None:
    jobs = {job.id: job for job in listing.squeue(accounted["squeue"])}
    said = {number: words.now(job, Around()) for number, job in jobs.items()}
    assert "limit of its QOS for jobs at once a user is reached" in said["11"]
    assert "limit of its account for GPUs together with others is reached" in said["13"]
    assert said["15"].startswith("waits for its reservation to begin")
    assert said["16"] == "waits: a node that it needs may be kept by a reservation"
    assert said["18"] == "is held by an administrator of the cluster: ask them"
    assert (jobs["13"].account, jobs["11"].qos) == ("ml", "high")


def test_one_job_is_read_in_full(said: dict[str, str]) -> None:
    job = listing.shown(said["job"])
    assert job is not None
    assert (job.number, job.state, job.limit, job.hosts) == ("1", State.RUNNING, 3600, ("n0",))
    assert listing.output_of(said["job"]) == "/srv/slurm/log/job-1.out"


def test_partitions_and_free_gpus_and_nodes_out_of_service(said: dict[str, str]) -> None:
    found = Cluster(
        config=cluster.config(said["config"]),
        partitions=cluster.partitions(said["partitions"]),
        groups=cluster.groups(said["nodes"]),
        reservations=cluster.reservations(said["reservations"]),
        associations=accounts.associations(said["associations"]),
    )
    assert [one.name for one in found.partitions] == ["gpu", "short"]
    default = found.partition("")
    assert default is not None and (default.name, default.max_time) == ("gpu", 86400)
    short = found.partition("short")
    assert short is not None and (short.max_time, short.max_nodes) == (600, None)
    assert found.gpus_of("gpu") == {"h100": (1, 8)}
    assert found.out_of_service == {"bad fan | on GPU 2": ["n1"]}
    assert [one.name for one in found.reservations] == ["weekend"]
    assert (found.config.min_job_age, found.config.kill_wait) == (300, 5)
    assert found.config.version.startswith(("22.05", "24.11", "26.05"))
    assert cluster.unproven(found.config.version) == ""
    assert [one.account for one in found.associations] == ["ml", "ml", "vision"]
    assert found.associations[1].qos == ("high", "normal")
    assert decode(Cluster, encode(found)) == found


def test_who_waits_is_told_why_in_words(said: dict[str, str]) -> None:
    jobs = {job.id: job for job in listing.squeue(said["squeue"])}
    waiting = reading.priorities(said["waiting"])
    around = Around(runs={"1": "0123456789ab"}, now=jobs["1"].submitted or 0.0)

    def why(job: str) -> str:
        one = jobs[job]
        more = Around(before=reading.before(waiting, one), runs=around.runs, now=around.now)
        return words.now(one, more)

    assert why("9") == "waits for run 0123456789ab"
    assert "will never start: stop it" in why("10") and "job 4" in why("10")
    assert why("14") == "waits: a node that it needs is not available (n1)"
    assert why("15") == "waits for priority: 5 jobs before it"
    assert "scontrol release" in why("12")
    assert "partition short does not have" in why("13") or "allows" in why("13")
    assert why("1") == ""


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("Resources", "waits for resources: it is next, once 8 GPUs on 2 nodes are free"),
        ("QOSMaxGRESPerUser", "the limit of its QOS for GPUs a user is reached"),
        ("AssocGrpGRES", "the limit of its account for GPUs together with others is reached"),
        ("AssocGrpCPUMinutesLimit", "the limit of its account for CPUs"),
        ("QOSMaxWallDurationPerJobLimit", "asks for more time than its QOS allows a job"),
        ("AssocMaxGRESPerJob", "it will never start: stop it"),
        ("QOSMinGRES", "asks for less GPUs than its QOS wants"),
        ("BeginTime", "waits for its time to begin, in 1.0 h"),
        ("PartitionTimeLimit", "it will never start"),
        ("SomethingNew", "Slurm says SomethingNew"),
        ("Brace{0}", "Slurm says Brace{0}"),
    ],
)
def test_a_reason_is_a_sentence_with_the_facts_in_it(reason: str, sentence: str) -> None:
    job = Job(
        word="PENDING", state=State.QUEUED, reason=reason, nodes=2, gpus=8, partition="gpu",
        start=5000.0 if reason == "BeginTime" else None,
    )  # fmt: skip
    assert sentence in words.waiting(job, Around(now=1400.0))


def test_one_node_is_free_and_two_are() -> None:
    job = Job(word="PENDING", state=State.QUEUED, reason="Resources", nodes=1)
    assert words.waiting(job, Around()).endswith("once 1 node is free")


def test_only_what_did_not_succeed_is_said_not_to_have() -> None:
    """Slurm gives up at the first, while the others go on."""
    after = "afterok:11_2(failed),afterok:11_3(unfulfilled)"
    around = Around(runs={"11_2": "0123456789ab", "11_3": "0123456789ac"})
    job = Job(word="CANCELLED", reason="DependencyNeverSatisfied", dependency=after)
    assert words.ended(job, around) == "run 0123456789ab, which it waited for, did not succeed"
    waits = Job(word="PENDING", reason="DependencyNeverSatisfied", dependency=after)
    assert "waits for run 0123456789ab, which did not succeed" in words.waiting(waits, around)
    going = Job(word="PENDING", reason="Dependency", dependency=after)
    assert words.waiting(going, around).endswith("run 0123456789ab, run 0123456789ac")


def test_slurms_own_estimate_of_the_start_is_told() -> None:
    job = Job(word="PENDING", state=State.QUEUED, reason="Priority", start=10_000.0)
    said = words.waiting(job, Around(now=2800.0, before=14))
    assert said == "waits for priority: 14 jobs before it; Slurm expects it in 2.0 h"


def test_a_word_that_is_not_known_is_a_job_that_goes_on() -> None:
    line = "7|7|7|HIBERNATING|gpu|1|N/A|1:00|1:00|N/A|N/A|N/A|1|a|b|u|(null)|n1|None|x"
    (job,) = listing.squeue(line)
    assert (job.state, job.over, words.state(job)) == (None, False, State.RUNNING)
    assert "HIBERNATING" in words.now(job, Around())


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("1-00:00:00", 86400), ("59:55", 3595), ("20:00", 1200), ("2:00:00", 7200),
        ("00:10:00", 600), ("1-12", 129600), ("90", 5400), ("UNLIMITED", None), ("", None),
        ("INVALID", None), ("-1", None), ("Partition_Limit", None),
    ],
)  # fmt: skip
def test_durations(written: str, seconds: float | None) -> None:
    assert text.duration(written) == seconds


@given(st.integers(1, 10**8))
def test_a_duration_that_is_written_is_read_and_never_shorter(seconds: int) -> None:
    read = text.duration(text.written(seconds))
    assert read is not None and seconds <= read < seconds + 60


@pytest.mark.parametrize(
    ("written", "gpus"),
    [
        ("gpu:h100:4(S:0-1)", {"h100": 4}),
        ("gres:gpu:2", {"": 2}),
        ("gres/gpu:h100=3,gres/gpu=3", {"h100": 3}),
        ("gpu:a100:1(IDX:0,2-3),gpu:h100:2(IDX:1-2),shard:8", {"a100": 1, "h100": 2}),
        ("gpu", {"": 1}),
        ("cpu=4,mem=8G,gres/gpu=2", {"": 2}),
        ("(null)", {}),
        ("gpumem:40G", {}),
    ],
)
def test_gpus_by_kind(written: str, gpus: dict[str, int]) -> None:
    assert text.gpus(written) == gpus


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("n[0-1]", ("n0", "n1")),
        ("n[08-10,12],login", ("n08", "n09", "n10", "n12", "login")),
        ("r[1-2]n[0-1]", ("r1n0", "r1n1", "r2n0", "r2n1")),
        ("(null)", ()),
        ("n[", ("n[",)),
    ],
)
def test_lists_of_nodes(written: str, names: tuple[str, ...]) -> None:
    assert text.nodes(written) == names


def test_a_list_of_absurdly_many_nodes_is_cut() -> None:
    assert len(text.nodes("n[0-999999999]")) == text.MAX_NODES
    assert len(text.nodes("a[0-99999]b[0-99999]c[0-99999]")) == text.MAX_NODES


@pytest.mark.parametrize(
    ("version", "word"),
    [("19.05.2", "older"), ("27.05.0", "newer"), ("banana", "no version"), ("", "")],
)
def test_an_ancient_or_future_slurm_is_named(version: str, word: str) -> None:
    said = cluster.unproven(version)
    assert word in said and bool(said) == bool(word)


EVERYTHING = "\n".join(path.read_text() for path in sorted(DATA.glob("*/*.txt")))


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """A real output with pieces cut out, doubled, or replaced by anything."""
    path = draw(st.sampled_from(sorted(DATA.glob("*/*.txt"))))
    data = path.read_text()
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 200)))
        data = data[:start] + draw(st.text(max_size=30)) + data[end:]
    return data


@given(mangled() | st.text())
@settings(max_examples=300, deadline=None)
def test_nothing_that_is_printed_breaks_a_reader(out: str) -> None:
    around = Around(now=1.0)
    for job in [*listing.squeue(out), *listing.sacct(out)]:
        assert isinstance(words.now(job, around), str)
        encode(reading.foreign(job, reading.Heard(jobs=listing.Listing()), around, 1.0))
    for line in out.splitlines():
        listing.shown(line)
        listing.output_of(line)
    found = Cluster(
        config=cluster.config(out),
        partitions=cluster.partitions(out),
        groups=cluster.groups(out),
        reservations=cluster.reservations(out),
        associations=accounts.associations(out),
        accounts=accounts.accounts(out),
        qos=accounts.qualities(out),
        default_account=accounts.default_account(out),
    )
    assert decode(Cluster, encode(found)) == found
    found.gpus_of("gpu")
    cluster.unproven(found.config.version)
    reading.priorities(out)
    text.one_line(out)
