"""Looking into a run directory, removing it, and putting files: never outside."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest
from tests.payload.harness import Agent, Refusal, until


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
