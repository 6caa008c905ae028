"""What slurmrestd answers, read in all its versions; what it is sent, held against its own
specifications; and where its tokens come from."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.backends.base import BackendError, Resources, RunSpec, State, UsageError
from traindeck.backends.slurm import listing, rest_job, rest_token
from traindeck.backends.slurm import rest_answers as answers
from traindeck.backends.slurm.cluster import Config
from traindeck.backends.slurm.rest import place_of
from traindeck.backends.slurm.rest_token import Tokens, claims, command_of

DATA = Path(__file__).parent / "data"
VERSIONS = ("22.05", "24.11", "26.05")
RELEASES = {"22.05": "22.05.8", "24.11": "24.11.5", "26.05": "26.05.5"}
DESCRIPTIONS = json.loads((DATA / "rest-job-descriptions.json").read_text())


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def said(version: str) -> dict[str, Any]:
    """What one version answered to each question."""
    paths = (DATA / version).glob("rest-*.json")
    return {path.stem.removeprefix("rest-"): json.loads(path.read_text()) for path in paths}


def test_jobs_are_read_as_squeue_lists_them(said: dict[str, Any]) -> None:
    found = {job.id: job for job in answers.jobs(said["jobs"], "root")}
    assert len(found) == 15
    listed = {job.id: job for job in listing.squeue((DATA / "22.05" / "squeue.txt").read_text())}
    assert found.keys() == listed.keys()
    for name, job in found.items():
        other = listed[name]
        for what in ("number", "name", "word", "state", "key", "nodes", "gpus", "limit", "array"):
            assert getattr(job, what) == getattr(other, what), (name, what)
        assert (job.dependency, job.partition, job.user) == (
            *(other.dependency, other.partition, "root"),
        )
        assert bool(job.hosts) == bool(other.hosts)


def test_a_job_that_is_over_tells_its_exit_code_or_signal(said: dict[str, Any]) -> None:
    found = {job.id: job for job in answers.jobs(said["jobs"])}
    ended = {(job.exit_code, job.signal) for job in found.values() if job.over}
    assert {(None, 11), (7, None), (0, None)} <= ended
    assert {job.state for job in found.values() if job.exit_code == 7} == {State.FAILED}
    assert all(job.ended for job in found.values() if job.over)
    running = found["1"]
    assert (running.exit_code, running.ended, running.limit) == (None, None, 3600)


def test_a_listing_of_them_answers_as_that_of_squeue_does(said: dict[str, Any]) -> None:
    jobs = answers.Jobs(answers.jobs(said["jobs"], "root"))
    assert jobs.runs() == ["0123456789ab"]
    assert [job.number for job in jobs.of_run("0123456789ab")] == ["1"]
    assert jobs.run_of() == {"1": "0123456789ab"}
    assert jobs.of_run("zzzzzzzzzzzz") == []
    assert len(list(jobs.foreign())) == 14
    left = jobs.foreign_job("11_[*]")
    assert left is not None and left.id == "11_[1-4%1]"
    assert jobs.lists("11_[*]") and not jobs.lists("1") and not jobs.lists("999")
    assert not jobs.waits_by_priority()
    alone = answers.Jobs(list(jobs.everything()), ours=False)
    assert alone.foreign_job("1") is not None and alone.runs() == []


def test_only_the_users_own_jobs_are_taken(said: dict[str, Any]) -> None:
    assert answers.jobs(said["jobs"], "somebody") == []


def test_where_a_job_writes_is_read_in_full(said: dict[str, Any]) -> None:
    (one,) = said["job"]["jobs"]
    assert answers.output_of(one) == "/srv/slurm/log/job-1.out"
    assert answers.output_of({**one, "standard_output": "", "stdout_expanded": ""}) == (
        "/home/u/slurm-1.out"
    )
    assert answers.output_of({**one, "standard_output": "%N.out", "stdout_expanded": ""}) == ""


def test_a_cluster_is_read_as_its_commands_tell(said: dict[str, Any], version: str) -> None:
    release, name = answers.release(said["jobs"])
    assert release == RELEASES[version]
    found = answers.cluster(Config(version=release, name=name), said, "root")
    gpu = found.partition("gpu")
    short = found.partition("short")
    assert gpu is not None and gpu.max_time == 86_400 and gpu.up and gpu.max_nodes is None
    assert short is not None and short.max_time == 600 and short.total_nodes == 2
    told = version != "24.11"
    assert (found.partition("") is gpu) is told
    assert ("the default partition" in found.untold) is not told
    assert found.gpus_of("gpu") == {"h100": (1, 8)}
    assert found.out_of_service == {"bad fan | on GPU 2": ["n1"]}
    (weekend,) = found.reservations
    assert weekend.name == "weekend" and weekend.hosts == ("n0",)
    assert weekend.start is not None and weekend.end == weekend.start + 7200


def test_what_went_wrong_is_said_in_slurms_words(said: dict[str, Any]) -> None:
    assert "Invalid job id specified" in answers.said(said["unknown"])
    assert 2017 in answers.error_numbers(said["unknown"])
    assert answers.said(said["jobs"]) == ""


def test_the_highest_version_that_both_speak_is_chosen() -> None:
    def offered(*versions: int) -> list[int]:
        paths = {f"/slurm/v0.0.{one}/jobs{'/' * (one > 38)}": {} for one in versions}
        return answers.versions({"paths": {**paths, "/slurmdb/v0.0.99/jobs": {}, "/openapi": {}}})

    assert answers.best(offered(36, 37, 38)) == 38
    assert answers.best(offered(40, 41, 42)) == 42
    assert answers.best(offered(42, 43, 44, 45)) == 45
    assert answers.best(offered(44, 45, 46, 47)) == 45
    assert answers.best(offered(36, 37)) is None
    assert offered(47, 46) == [46, 47]
    assert answers.versions({"paths": ["x"]}) == answers.versions(None) == []


def test_a_state_with_several_words_is_the_one_that_squeue_prints() -> None:
    assert answers.state_word(["COMPLETED", "COMPLETING"]) == "COMPLETING"
    assert answers.state_word(["RUNNING", "CONFIGURING"]) == "CONFIGURING"
    assert answers.state_word(["PENDING", "REQUEUED"]) == "REQUEUED"
    assert answers.state_word(["NEW_WORD"]) == "NEW_WORD"
    assert answers.state_word([]) == answers.state_word(None) == ""


# -------------------------------------------------------------------------------- nothing breaks it

WORDS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["set", "infinite", "number", "id", "error"]), inner)
    ),
    max_leaves=8,
)
KEYS = (
    *("job_id", "array_job_id", "array_task_id", "array_task_string", "job_state", "exit_code"),
    *("time_limit", "nodes", "node_count", "tres_per_node", "name", "standard_output", "user_name"),
    *("start_time", "end_time", "priority", "partition", "partitions", "state", "gres", "flags"),
    *("maximums", "accounts", "errors", "return_code", "signal", "state_flags", "reason"),
)
THINGS = st.dictionaries(st.sampled_from(KEYS), WORDS, max_size=10)


@settings(max_examples=300, deadline=None)
@given(things=st.lists(THINGS | WORDS, max_size=4) | WORDS)
def test_no_answer_breaks_a_reader(things: Any) -> None:
    whole = dict.fromkeys(("jobs", "partitions", "nodes", "reservations", "errors", "meta"), things)
    for answer in (whole, things):
        for job in answers.jobs(answer, "root"):
            assert job.number.isdigit()
        answers.priorities(answer)
        answers.Jobs(answers.jobs(answer))
        answers.cluster(Config(), dict.fromkeys(whole, answer), "")
        assert "\n" not in answers.said(answer)
        answers.error_numbers(answer)
        answers.versions(answer)
        answers.release(answer)
        answers.submitted(answer)
    for thing in things if isinstance(things, list) else [things]:
        answers.output_of(thing)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.binary(max_size=40).map(
    lambda data: "e." + base64.urlsafe_b64encode(data).decode() + ".s"))  # fmt: skip
def test_no_token_breaks_its_reader(token: str) -> None:
    claims(token)


# ------------------------------------------------------------------------------- what it is sent


def body(version: int, **options: Any) -> tuple[dict[str, Any], list[str]]:
    spec = RunSpec(
        run_id="0123456789ab", attempt=2, argv=("x",), resources=Resources(gpus=4, nodes=2)
    )
    given = {"requeue": True, "warn": 90, **options}
    return rest_job.request(
        spec,
        given,
        version,
        home="/home/u/a b/.traindeck",
        program=("/usr/bin/python3", "/home/u/a b/.traindeck/bin/agent-1.py", "batch"),
        time="00:10:30",
        dependency="afterok:17",
    )


def fits(value: object, schema: dict[str, Any]) -> bool:
    """Whether a value is of a type of OpenAPI."""
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    kind = kinds[schema["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return False
    if isinstance(value, list):
        return all(fits(one, schema["items"]) for one in value)
    if isinstance(value, dict) and "properties" in schema:
        inner = schema["properties"]
        return all(key in inner and fits(one, inner[key]) for key, one in value.items())
    return value in schema.get("enum", [value])


@pytest.mark.parametrize("number", answers.VERSIONS)
def test_what_a_job_is_told_is_what_its_version_knows(number: int) -> None:
    options = {key: key[0] for key in ("partition", "account", "qos", "reservation", "constraint")}
    options |= {"cpus": 8, "memory": "64G", "exclude": "n[1-2]", "gpu_kind": "h100"}
    if number >= 40:
        options["exclusive"] = True
    sent, unsaid = body(number, **options)
    job = sent["job"]
    known = dict(DESCRIPTIONS[str(number)])
    if number == 38:
        # Tried on 22.05, whose specification is wrong: of the list [2, 2] it makes one node, and it
        # does not name `exclude_nodes`, which works.
        known |= {"nodes": {"type": "string"}, "exclude_nodes": {"type": "string"}}
    for key, value in job.items():
        assert fits(value, known[key]), (key, value)
    assert job["name"] == "td-0123456789ab-2"
    assert job["nodes"] == "2-2"
    script = sent.get("script") or job["script"]
    assert script == (
        "#!/bin/sh\nexec /usr/bin/python3 '/home/u/a b/.traindeck/bin/agent-1.py' batch\n"
    )
    assert "#SBATCH" not in script
    if number == 38:
        assert (job["time_limit"], job["memory_per_node"], job["gres"]) == (11, 65536, "gpu:h100:4")
        assert unsaid and "no USR2 is sent" in unsaid[0]
    else:
        assert job["time_limit"] == {"set": True, "infinite": False, "number": 11}
        assert job["tres_per_node"] == "gres/gpu:h100:4"
        assert job["kill_warning_flags"] == ["BATCH_JOB"] and not unsaid
        assert job["excluded_nodes"] == ["n1", "n2"] and job["shared"] == ["none"]
    assert "argv" not in job  # 0.0.38 dies of it


def test_what_a_version_cannot_be_told_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"v0\.0\.38 cannot be told that"):
        body(38, exclusive=True)
    with pytest.raises(UsageError, match="expected an amount"):
        body(42, memory="lots")
    with pytest.raises(UsageError, match="no batch script can hold"):
        rest_job.script(("/bin/x", "/a\nrm -rf ~"))


# ----------------------------------------------------------------------------- where it is, tokens


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://slurm.example.org:6820", "https://slurm.example.org:6820"),
        ("https://slurm.example.org/api/", "https://slurm.example.org/api"),
        ("http://127.0.0.1:6820", "http://127.0.0.1:6820"),
        ("http://localhost:6820", "http://localhost:6820"),
        ("http://[::1]:6820", "http://[::1]:6820"),
        ("unix:///run/slurmrestd.socket", "unix:///run/slurmrestd.socket"),
    ],
)
def test_a_place_that_keeps_the_token_safe_is_taken(given: str, shown: str) -> None:
    assert place_of("lab", given).shown == shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("http://slurm.example.org:6820", "unencrypted"),
        ("http://127.0.0.1.example.org", "unencrypted"),
        ("http://10.0.0.1:6820", "unencrypted"),
        ("https://me:secret@slurm.example.org", "no user"),
        ("https://slurm.example.org/?x=1", "no user, query"),
        ("slurm.example.org:6820", "expected an address"),
        ("ftp://slurm.example.org", "expected an address"),
        ("https://slurm.example.org:port", "expected an address"),
        ("https://", "names no machine"),
        ("unix://run/slurmrestd", "is named as"),
        ("https://a\nb", "expected an address"),
        (7, "expected an address"),
    ],
)
def test_a_place_that_does_not_is_refused(given: object, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        place_of("lab", given)
    assert "secret" not in str(refused.value)


def token(**says: Any) -> str:
    inner = base64.urlsafe_b64encode(json.dumps(says).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJIUzI1NiJ9.{inner}.c2lnbmVk"


async def test_a_token_is_read_from_the_environment_and_says_for_whom_and_how_long() -> None:
    one = token(exp=2000, sun="ada")
    tokens = Tokens("lab", environ={"SLURM_JWT": f"SLURM_JWT={one}"}, clock=lambda: 1000.0)
    assert await tokens.token() == one
    assert tokens.user(one) == "ada"
    assert tokens.left(one) == "the token in SLURM_JWT holds for 17 min more"
    late = Tokens("lab", environ={"SLURM_JWT": one}, clock=lambda: 9200.0)
    with pytest.raises(BackendError, match=r"expired 2\.0 h ago\. .*scontrol token") as refused:
        await late.token()
    assert one not in str(refused.value)


async def test_no_token_is_refused_with_how_to_get_one_but_where_none_is_needed() -> None:
    with pytest.raises(BackendError, match=r"SLURM_JWT is not set.*backends\.lab\.token"):
        await Tokens("lab", environ={}).token()
    assert await Tokens("lab", environ={}, needed=False).token() == ""
    for wrong in ("two words", "a\r\nX-Header: b", "x" * 9000, "é"):
        with pytest.raises(BackendError, match="is no token") as refused:
            await Tokens("lab", environ={"SLURM_JWT": wrong}).token()
        assert wrong not in str(refused.value)


async def test_a_command_is_asked_once_for_as_long_as_its_token_holds(tmp_path: Path) -> None:
    now = [1000.0]
    counted = tmp_path / "asked"
    one = token(exp=2000)
    argv = ["sh", "-c", 'echo x >> "$0"; echo "Welcome"; echo "SLURM_JWT=$1"', str(counted), one]
    tokens = Tokens("lab", argv, clock=lambda: now[0])
    assert await tokens.token() == await tokens.token() == one
    assert counted.read_text() == "x\n"
    assert tokens.forget() and not tokens.forget()
    await tokens.token()
    assert counted.read_text() == "x\nx\n"
    now[0] = 1990.0
    assert await tokens.token() == one  # another was asked for
    assert counted.read_text() == "x\nx\nx\n"
    now[0] = 3000.0
    with pytest.raises(BackendError, match="has expired"):
        await tokens.token()


async def test_a_command_that_prints_no_token_is_quoted_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = token(exp=2000)
    for argv, words in (
        (["sh", "-c", f"echo Permission denied {one} >&2; exit 255"], ": Permission denied …"),
        (["true"], "printed nothing"),
        (["/nonexistent/x"], "cannot be started: No such file"),
        (["echo", "not a token"], "is no token"),
    ):
        with pytest.raises(BackendError, match=words):
            await Tokens("lab", argv).token()
    monkeypatch.setattr(rest_token, "WITHIN", 0.2)
    with pytest.raises(BackendError, match=r"within 0\.2 s"):
        await Tokens("lab", ["sleep", "60"]).token()


def test_a_command_is_a_list_or_a_line_and_never_a_token() -> None:
    words = ("ssh", "login1", "scontrol", "token", "lifespan=3600")
    assert command_of("lab", list(words)) == words
    assert command_of("lab", " ".join(words)) == words
    assert command_of("lab", None) == ()
    with pytest.raises(UsageError, match="holds a token itself") as refused:
        command_of("lab", token(exp=5))
    assert token(exp=5) not in str(refused.value)
    for wrong in (7, [7], "'", ["a\nb"]):
        with pytest.raises(UsageError, match=r"backends\.lab\.token"):
            command_of("lab", wrong)
