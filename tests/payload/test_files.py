"""Looking into a run directory, removing it, and putting files: never outside."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.payload.harness import Agent, Refusal, Served, until


@pytest.fixture
def done(agent: Agent) -> str:
    run = agent.shell(
        "mkdir -p $TRAINDECK_ARTIFACTS/deep; echo m > $TRAINDECK_ARTIFACTS/deep/model"
    )
    agent.ended(run)
    return run


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.mkdir()
    (path / "file").write_text("secret")
    return path


def test_a_directory_is_listed(agent: Agent, done: str) -> None:
    entries = agent.call("ls", run_id=done, path="")["entries"]
    assert [e["path"] for e in entries] == ["artifacts", "attempts", "run.json"]
    (deep,) = agent.call("ls", run_id=done, path="artifacts")["entries"]
    assert (deep["path"], deep["is_dir"]) == ("artifacts/deep", True)
    (model,) = agent.call("ls", run_id=done, path="artifacts/deep")["entries"]
    assert (model["path"], model["size"], model["is_dir"]) == ("artifacts/deep/model", 2, False)


def test_a_file_is_read_in_pieces(agent: Agent, done: str) -> None:
    path = agent.directory(done, None) / "artifacts/big"
    data = os.urandom(10_000)
    path.write_bytes(data)
    answer, body = agent.call_body("read", run_id=done, path="artifacts/big", offset=500, size=100)
    assert (answer["total"], body) == (10_000, data[500:600])
    assert agent.call_body("read", run_id=done, path="artifacts/big", offset=10_000)[1] == b""


def test_a_name_that_is_no_text_comes_back_the_same(agent: Agent, done: str) -> None:
    folder = os.fsencode(agent.directory(done, None) / "artifacts" / "deep")
    with open(folder + b"/\xff\xfe \n", "wb") as file:
        file.write(b"odd")
    odd = agent.call("ls", run_id=done, path="artifacts/deep")["entries"][1]["path"]
    assert os.fsencode(odd) == b"artifacts/deep/\xff\xfe \n"
    assert agent.call_body("read", run_id=done, path=odd)[1] == b"odd"


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../other/run.json",
        "artifacts/../../x",
        "/etc/passwd",
        "./run.json",
        "artifacts//deep",
        "a\0b",
        "no/such/file",
        "run.json/x",
    ],
)
def test_no_path_leads_out_of_the_run(agent: Agent, done: str, path: str) -> None:
    for verb in ("ls", "read"):
        with pytest.raises(Refusal):
            agent.call(verb, run_id=done, path=path)


def test_no_link_leads_out_of_the_run(agent: Agent, done: str, secret: Path) -> None:
    artifacts = agent.directory(done, None) / "artifacts"
    (artifacts / "folder").symlink_to(secret)
    (artifacts / "file").symlink_to(secret / "file")
    (artifacts / "up").symlink_to("../../..")
    for path in ("folder/file", "file", "up/bin", "folder"):
        with pytest.raises(Refusal):
            agent.call("read", run_id=done, path=f"artifacts/{path}")
    for path in ("folder", "up"):
        with pytest.raises(Refusal):
            agent.call("ls", run_id=done, path=f"artifacts/{path}")
    listed = {e["path"]: e for e in agent.call("ls", run_id=done, path="artifacts")["entries"]}
    assert listed["artifacts/folder"]["is_dir"] is False


def test_what_is_no_file_is_not_read(agent: Agent, done: str) -> None:
    artifacts = agent.directory(done, None) / "artifacts"
    os.mkfifo(artifacts / "fifo")
    for path in ("fifo", "deep"):
        with pytest.raises(Refusal, match="not a regular file"):
            agent.call("read", run_id=done, path=f"artifacts/{path}")


def test_a_run_directory_that_is_a_link_is_not_entered(
    agent: Agent, done: str, secret: Path
) -> None:
    (agent.root / "runs" / ("0" * 12)).symlink_to(secret)
    with pytest.raises(Refusal):
        agent.call("read", run_id="0" * 12, path="file")
    with pytest.raises(Refusal):
        agent.call("ls", run_id="0" * 12, path="")


def test_a_run_that_is_over_is_removed_and_what_it_frees_is_said(
    agent: Agent, done: str, secret: Path
) -> None:
    artifacts = agent.directory(done, None) / "artifacts"
    (artifacts / "big").write_bytes(b"x" * 1_000_000)
    (artifacts / "link").symlink_to(secret)
    os.link(secret / "file", artifacts / "shared")
    answer = agent.call("rm", run_id=done, keep=[])
    assert answer["freed"] >= 1_000_000
    assert not agent.directory(done, None).exists()
    assert (secret / "file").read_text() == "secret"
    assert list((agent.root / "runs").glob(".rm-*")) == []
    assert list(Path(f"/var/tmp/traindeck-{os.getuid()}").glob(f"{done}.*")) == []
    assert agent.evidence(done)["found"] is False


def test_a_running_run_is_not_removed(agent: Agent) -> None:
    run = agent.start("sleep", "300")
    with pytest.raises(Refusal, match="not over"):
        agent.call("rm", run_id=run, keep=[])
    agent.running(run)
    # Nor one that runs on without its supervisor.
    os.kill(agent.supervisor(run), signal.SIGKILL)
    until(lambda: not agent.evidence(run)["supervised"])
    with pytest.raises(Refusal, match="not over"):
        agent.call("rm", run_id=run, keep=["artifacts"])
    assert agent.directory(run, None).exists()
    assert not (agent.directory(run, None) / "removed.json").exists()


def test_a_run_that_was_lost_can_be_removed(agent: Agent) -> None:
    run = agent.start("sleep", "300")
    agent.running(run)
    leader = agent.leader(run)
    os.kill(agent.supervisor(run), signal.SIGKILL)
    os.kill(leader, signal.SIGKILL)
    until(lambda: agent.evidence(run)["alive"] is False)
    agent.call("rm", run_id=run, keep=[])


def test_a_start_on_its_way_is_not_removed(agent: Agent) -> None:
    run = agent.mint()
    (agent.directory(run, None) / "attempts").mkdir(parents=True)
    with pytest.raises(Refusal, match="being started"):
        agent.call("rm", run_id=run, keep=[])


def test_some_of_a_run_can_be_kept(agent: Agent, done: str) -> None:
    agent.call("rm", run_id=done, keep=["artifacts"])
    directory = agent.directory(done, None)
    assert sorted(os.listdir(directory)) == ["artifacts", "attempts", "removed.json", "run.json"]
    end = sorted(path.relative_to(directory) for path in directory.glob("attempts/*/*"))
    assert list(map(str, end)) == [f"attempts/0/{n}" for n in ("agent.json", "claim", "exit.slot")]
    seen = agent.evidence(done)
    assert (seen["found"], seen["removed"]) == (True, True)
    assert seen["exit"]["exit_code"] == 0, "how it ended is known for ever"
    assert agent.call("find", runs=None)["runs"] == []
    with pytest.raises(Refusal, match="removed"):
        agent.call("start", **agent.request(["true"], run=done))
    agent.call("rm", run_id=done, keep=[])
    assert not directory.exists()


def test_a_removal_that_was_cut_short_is_finished_by_the_next(agent: Agent, done: str) -> None:
    directory = agent.directory(done, None)
    (directory / "removed.json").write_text('{"time": 1.0}')
    (directory / "attempts/0/claim").unlink()
    left = agent.root / "runs" / ".rm-somebody-1"
    (left / "attempts/0").mkdir(parents=True)
    agent.call("rm", run_id=done, keep=["artifacts"])
    assert not (directory / "attempts").exists()
    assert not left.exists()


@pytest.mark.parametrize("mode", [0o555, 0o000], ids=oct)
@pytest.mark.parametrize("keep", [[], ["plan"]], ids=str)
def test_what_a_job_made_read_only_is_removed(
    agent: Agent, done: str, mode: int, keep: list[str]
) -> None:
    agent.obey_modes()
    directory = agent.directory(done, None)
    (directory / "artifacts/deep").chmod(mode)
    directory.chmod(0o555)
    assert agent.call("rm", run_id=done, keep=keep)["freed"] > 2
    assert not (directory / "artifacts").exists()
    assert directory.exists() is bool(keep)
    assert list((agent.root / "runs").glob(".rm-*")) == []


@pytest.mark.parametrize("place", ["", "attempts", "attempts/0"])
def test_a_run_that_may_not_be_read_is_refused_in_words(agent: Agent, place: str) -> None:
    run = agent.start("sleep", "300")
    agent.phase(run, "running")
    agent.obey_modes()
    folder = agent.directory(run, None) / place
    folder.chmod(0)
    served = Served(agent)
    try:
        for verb in ("cancel", "log_stat", "read_at"):
            with pytest.raises(Refusal) as refused:
                agent.call(verb, run_id=run, attempt=0)
            words = str(refused.value)
            assert f"{folder.absolute()} cannot be read" in words and "chmod" in words
            served.ask(verb, {"run_id": run, "attempt": 0})
            assert served.receive()[0]["error"] == words
    finally:
        served.close()
        folder.chmod(0o700)


@pytest.mark.parametrize("keep", [[], ["artifacts"]], ids=str)
def test_an_attempt_that_comes_after_a_removal_says_so(
    agent: Agent, done: str, keep: list[str], tmp_path: Path
) -> None:
    """`start` had found the run, and started its supervisor: that finds it no more."""
    agent.call("rm", run_id=done, keep=keep)
    (tmp_path / "request").write_text('{"environ": {}}')
    command = shlex.join([*agent.argv, "supervise", done, "1"])
    command += f" 3<{tmp_path}/request 4>{tmp_path}/report"
    subprocess.run(["sh", "-c", command], check=True)
    said = json.loads((tmp_path / "report").read_text())
    assert said == {"error": f"Run {done} was removed meanwhile."}
    assert not agent.directory(done, 1).exists()


def test_a_run_that_is_being_removed_is_gone(agent: Agent, done: str) -> None:
    for number in range(1000):
        (agent.directory(done, None) / "artifacts" / str(number)).touch()
    served = Served(agent)
    removal = served.ask("rm", {"run_id": done, "keep": []})
    answers = []
    while removal not in [answer["id"] for answer in answers]:
        served.ask("poll", {"runs": [done]})
        answers.append(served.receive()[0])
    polls = [answer["runs"][done] for answer in answers if "runs" in answer]
    assert [seen["alive"] for seen in polls if not seen["found"]].count(True) == 0
    served.close()


@pytest.fixture
def immovable(agent: Agent, done: str) -> Path:
    """A file of the run that nobody can delete: a disk is mounted on it."""
    path = agent.directory(done, None) / "artifacts/mounted"
    path.touch()
    command = ["mount", "--bind", "/dev/null", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    return path


def test_what_cannot_be_removed_keeps_nothing_else(
    agent: Agent, done: str, immovable: Path
) -> None:
    runs = agent.root / "runs"
    other = agent.shell("echo x")
    agent.ended(other)
    try:
        (immovable.parent / "big").write_bytes(b"x" * 1_000_000)
        # It is away, and what could be freed is.
        assert agent.call("rm", run_id=done, keep=[])["freed"] >= 1_000_000
        assert agent.evidence(done)["found"] is False
        (left,) = runs.glob(".rm-*")
        assert [p.name for p in left.rglob("*")] == ["artifacts", "mounted"]
        assert agent.call("rm", run_id=other, keep=[])["freed"] > 0
        assert not agent.directory(other, None).exists()
    finally:
        for path in runs.glob("**/mounted"):
            subprocess.run(["umount", str(path)], check=True)
    assert agent.call("rm", run_id=done, keep=[])["freed"] == 0
    assert list(runs.glob(".rm-*")) == []


def test_what_cannot_be_removed_is_named_if_something_is_to_be_kept(
    agent: Agent, done: str, immovable: Path
) -> None:
    try:
        with pytest.raises(Refusal, match="mounted cannot be removed"):
            agent.call("rm", run_id=done, keep=["plan"])
        assert not (immovable.parent / "deep").exists()
    finally:
        subprocess.run(["umount", str(immovable)], check=True)
    agent.call("rm", run_id=done, keep=["plan"])
    assert not immovable.parent.exists()


def test_a_run_that_was_deleted_by_hand_is_removed_already(agent: Agent, done: str) -> None:
    shutil.rmtree(agent.directory(done, None))
    left = agent.root / "runs" / f".rm-{done}-1"
    left.mkdir()
    (left / "big").write_bytes(b"x" * 1000)
    assert agent.call("rm", run_id=done, keep=[]) == {"freed": 1000}
    assert not left.exists()
    assert agent.call("rm", run_id=done, keep=["artifacts"]) == {"freed": 0}
    assert list(Path(f"/var/tmp/traindeck-{os.getuid()}").glob(f"{done}.*")) == []


def test_a_run_that_lives_is_not_removed_though_its_directory_is_gone(agent: Agent) -> None:
    run = agent.start("sleep", "300")
    agent.running(run)
    agent.directory(run, None).rename(agent.root / "deleted")
    with pytest.raises(Refusal, match="not over"):
        agent.call("rm", run_id=run, keep=[])
    (agent.root / "deleted").rename(agent.directory(run, None))
    agent.call("cancel", run_id=run, attempt=0)
    agent.ended(run)
    agent.call("rm", run_id=run, keep=[])


def test_a_disk_that_is_not_mounted_has_lost_no_run(agent: Agent, done: str) -> None:
    (agent.root / "runs").rename(agent.root / "away")
    with pytest.raises(Refusal, match="mounted"):
        agent.call("rm", run_id=done, keep=[])
    (agent.root / "away").rename(agent.root / "runs")
    assert agent.call("rm", run_id=done, keep=[])["freed"] > 0


def test_runs_may_lie_on_another_disk(agent: Agent, done: str, tmp_path: Path) -> None:
    (agent.root / "runs").rename(tmp_path / "disk")
    (agent.root / "runs").symlink_to(tmp_path / "disk")
    assert agent.call("rm", run_id=done, keep=["artifacts"])["freed"] > 0
    assert agent.call("rm", run_id=done, keep=[])["freed"] > 0
    assert [p for p in (tmp_path / "disk").iterdir() if p.name != ".swept"] == []


@pytest.mark.parametrize("keep", [[], ["plan"]], ids=str)
def test_no_depth_of_folders_ends_a_removal(agent: Agent, done: str, keep: list[str]) -> None:
    artifacts = agent.directory(done, None) / "artifacts"
    fd = os.open(artifacts, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deeper", 0o700, dir_fd=fd)
        inner = os.open("deeper", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    with open(os.open("big", os.O_WRONLY | os.O_CREAT, dir_fd=fd), "wb") as file:
        file.write(b"x" * 1_000_000)
    os.close(fd)
    try:
        assert agent.call("rm", run_id=done, keep=keep)["freed"] >= 1_000_000
        assert not artifacts.exists()
        assert list((agent.root / "runs").glob("**/.rm-*")) == []
    finally:
        # What is left would end pytest's own cleaning of its folders as well.
        subprocess.run(["rm", "-rf", str(agent.root / "runs")], check=True)


def test_a_hundred_thousand_bytes_arrive_whole(agent: Agent) -> None:
    data = os.urandom(100_000)
    digest = hashlib.sha256(data).hexdigest()
    answer = agent.call("put", data, path=f"blobs/ab/{digest}", mode=0o600)
    assert answer == {"size": 100_000, "sha256": digest}
    path = agent.root / "blobs/ab" / digest
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    answer, _ = agent.once("put", {"path": "blobs/once", "mode": 0o700}, b"\n{}\n")
    assert (agent.root / "blobs/once").read_bytes() == b"\n{}\n"


@pytest.mark.parametrize("path", ["../x", "/tmp/x", "runs/0123456789ab/x", "a/../b", ""])
def test_nothing_is_put_outside_the_root_or_into_a_run(agent: Agent, path: str) -> None:
    with pytest.raises(Refusal):
        agent.call("put", b"x", path=path)


def test_nothing_is_put_through_a_link(agent: Agent, secret: Path) -> None:
    (agent.root / "blobs").symlink_to(secret)
    with pytest.raises(Refusal):
        agent.call("put", b"x", path="blobs/file")
    assert (secret / "file").read_text() == "secret"
    (agent.root / "blobs").unlink()
    (agent.root / "blobs").mkdir()
    (agent.root / "blobs/file").symlink_to(secret / "file")
    agent.call("put", b"x", path="blobs/file")
    assert (secret / "file").read_text() == "secret"
    assert (agent.root / "blobs/file").read_bytes() == b"x"
