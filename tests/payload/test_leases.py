"""Leases of devices: of all users of a machine, whatever is killed, removed or inherited, one
device has one holder."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.payload.agent import Refused, leases, procs, survey

A, B, C = "GPU-aaaa", "GPU-bbbb", "MIG-cccc"
OTHER, THIRD = 41_001, 41_002
WORDS = {"run": "01jabcdefgh2", "attempt": 0, "name": "sft"}

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be several users")


@pytest.fixture
def folder() -> Iterator[str]:
    """One that other users can reach, as pytest's own cannot be."""
    above = Path(tempfile.mkdtemp(prefix="td-leases-"))
    above.chmod(0o755)
    above.chmod(0o1777)
    yield str(above / "leases")
    shutil.rmtree(above)


def take(*uuids: str, folder: str, **words: Any) -> list[leases.Lease] | str:
    found: list[leases.Lease] | str = leases.take(uuids, {**WORDS, **words}, folder)
    return found


def got(found: list[leases.Lease] | str) -> list[leases.Lease]:
    assert isinstance(found, list), found
    return found


class Someone:
    """A process of some user, that takes and lets go when it is told."""

    def __init__(self, folder: str, uid: int = 0, umask: int = 0o022) -> None:
        self.children: list[int] = []
        down, self._tell = os.pipe()
        self._hear, up = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._tell)
                os.close(self._hear)
                if uid:
                    os.setgroups([])
                    os.setgid(uid)
                    os.setuid(uid)
                os.umask(umask)
                self._obey(folder, down, up)
            finally:
                os._exit(1)
        os.close(down)
        os.close(up)

    @staticmethod
    def _obey(folder: str, down: int, up: int) -> None:
        mine: list[leases.Lease] = []
        while line := _line(down):
            verb, *uuids = line.split()
            said = "ok"
            try:
                if verb == "take":
                    found = leases.take(uuids, WORDS, folder)
                    if isinstance(found, str):
                        said = found
                    else:
                        mine += found
                elif verb == "want":
                    wanted = leases.Wanted({"devices": uuids, "count": 1, "folder": folder})
                    said = wanted.try_to_take(WORDS)
                    mine += wanted.leases
                elif verb == "release":
                    for lease in mine:
                        lease.release()
                    mine.clear()
                elif verb == "child":  # who inherits it, as a job does
                    pid = os.fork()
                    if not pid:
                        os.close(down)
                        os.close(up)
                        signal.pause()
                    said = str(pid)
            except Refused as refused:
                said = str(refused)
            os.write(up, said.encode() + b"\n")

    def __call__(self, *words: str) -> str:
        os.write(self._tell, " ".join(words).encode() + b"\n")
        return _line(self._hear)

    def child(self) -> int:
        """Have a child inherit what it holds. Returns its pid."""
        self.children.append(int(self("child")))
        return self.children[-1]

    def kill(self, number: int = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            os.waitpid(self.pid, 0)
        for fd in (self._tell, self._hear):
            os.close(fd)


def _line(fd: int) -> str:
    said = b""
    while not said.endswith(b"\n"):
        more = os.read(fd, 1)
        if not more:
            return ""
        said += more
    return said.decode().rstrip("\n")


@pytest.fixture
def someone(folder: str) -> Iterator[Callable[..., Someone]]:
    made: list[Someone] = []

    def make(uid: int = 0, umask: int = 0o022) -> Someone:
        made.append(Someone(folder, uid, umask))
        return made[-1]

    yield make
    for one in made:
        with suppress(OSError):
            one.kill()
    for one in made:
        for pid in one.children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_device_has_one_holder_and_is_free_again_afterwards(folder: str) -> None:
    (lease,) = got(take(A, folder=folder))
    assert take(A, folder=folder) == A
    assert leases.held([A, B], folder).keys() == {A}
    lease.release()
    assert leases.held([A, B], folder) == {}
    got(take(A, folder=folder))[0].release()


def test_of_several_all_are_taken_or_none(folder: str) -> None:
    (b,) = got(take(B, folder=folder))
    assert take(A, B, C, folder=folder) == B
    assert leases.held([A, B, C], folder).keys() == {B}
    b.release()
    found = got(take(C, A, B, folder=folder))
    assert [lease.uuid for lease in found] == [C, A, B]
    for lease in found:
        lease.release()


def test_who_holds_it_is_said(folder: str) -> None:
    (lease,) = got(take(A, folder=folder, name="x\x1b[2J"))
    said = leases.held([A], folder)[A]
    assert said["user"] == survey.user()
    assert (said["run"], said["attempt"]) == ("01jabcdefgh2", 0)
    assert abs(said["since"] - time.time()) < 60
    lease.release()
    assert not [name for name in os.listdir(folder) if name.endswith(".json")]


def test_looking_makes_nothing_and_takes_nothing(folder: str) -> None:
    assert leases.held([A, B], folder) == {}
    assert not os.path.exists(folder)


def test_what_a_job_inherited_is_held_until_its_last_process_is_gone(
    folder: str, someone: Callable[..., Someone]
) -> None:
    supervisor = someone()
    assert supervisor("take", A) == "ok"
    child = supervisor.child()
    supervisor.kill()
    assert take(A, folder=folder) == A, "its supervisor was killed, the job goes on"
    assert leases.held([A], folder)[A]["run"] == WORDS["run"]
    os.kill(child, signal.SIGKILL)
    until(lambda: leases.held([A], folder) == {})
    got(take(A, folder=folder))[0].release()


def test_a_holder_that_let_go_is_still_named_while_a_daemon_of_its_job_holds_on(
    folder: str, someone: Callable[..., Someone]
) -> None:
    supervisor = someone()
    supervisor("take", A)
    supervisor.child()
    supervisor("release")
    assert leases.held([A], folder)[A]["name"] == "sft"


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_the_leases_of_one_user_are_those_of_another(
    folder: str, someone: Callable[..., Someone], umask: int
) -> None:
    first, second = someone(OTHER, umask), someone(THIRD, umask)
    assert first("take", A) == "ok"
    assert second("take", A) == A
    assert second("take", B) == "ok"
    assert take(A, B, folder=folder) == A
    said = leases.held([A, B], folder)
    assert (said[A]["user"], said[B]["user"]) == (f"user {OTHER}", f"user {THIRD}")
    first("release")
    assert second("take", A) == "ok", "a file that another user made can be locked"
    assert leases.held([A], folder)[A]["user"] == f"user {THIRD}"


@needs_root
def test_nobody_can_remove_what_another_user_made(
    folder: str, someone: Callable[..., Someone]
) -> None:
    someone(OTHER)("take", A)
    mode = stat.S_IMODE(os.lstat(folder).st_mode)
    assert mode & 0o1777 == 0o1777
    assert os.lstat(f"{folder}/{A}.lease").st_uid == OTHER


def test_a_file_that_was_removed_does_not_make_two_holders_for_long(folder: str) -> None:
    (lease,) = got(take(A, folder=folder))
    os.unlink(lease.path)
    assert not lease.is_ours()
    assert lease.care(), "it holds the new one as well"
    assert take(A, folder=folder) == A
    os.unlink(lease.path)
    (other,) = got(take(A, folder=folder))
    assert not lease.care(), "that two hold it now is known"
    assert not lease.care()
    other.release()
    assert lease.care()
    lease.release()


def test_a_file_that_is_removed_between_opening_and_locking_is_not_the_lease(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    got(take(A, folder=folder))[0].release()
    real, calls = leases._open, []

    def opened(path: str, until: float) -> Any:
        fd = real(path, until)
        calls.append(fd)
        if len(calls) == 1:
            os.unlink(path)
        return fd

    monkeypatch.setattr(leases, "_open", opened)
    (lease,) = got(take(A, folder=folder))
    assert len(calls) == 2
    assert lease.is_ours()
    lease.release()


def test_what_another_boot_left_means_nothing(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    leases.folder(folder)
    record = Path(folder) / f"{A}.{os.getuid()}.json"
    record.write_text(json.dumps({**WORDS, "since": time.time() + 9, "boot_id": "another"}))
    (Path(folder) / f"{A}.lease").write_bytes(b"")
    assert leases.held([A], folder) == {}
    (lease,) = got(take(A, folder=folder))
    assert leases.held([A], folder)[A]["run"] == WORDS["run"]
    lease.release()


@needs_root
def test_what_a_user_says_of_another_is_not_believed(
    folder: str, someone: Callable[..., Someone]
) -> None:
    someone(OTHER)("take", A)
    forged = Path(folder) / f"{A}.{THIRD}.json"
    said = {"user": "root", "run": ["x"], "name": "y" * 3000, "since": time.time() + 60}
    forged.write_text(json.dumps({**said, "boot_id": procs.boot_id()}))
    os.chown(forged, THIRD, THIRD)
    held = leases.held([A], folder)[A]
    assert held["user"] == f"user {THIRD}"
    assert "run" not in held and len(held["name"]) <= 200
    forged.unlink()
    os.symlink("/etc/passwd", forged)
    assert leases.held([A], folder)[A]["user"] == f"user {OTHER}"


@needs_root
def test_a_file_that_its_owner_keeps_from_others_is_held_for_them(
    folder: str, someone: Callable[..., Someone]
) -> None:
    leases.folder(folder)
    for uuid, mode in ((A, 0o644), (B, 0o600)):
        path = Path(folder) / f"{uuid}.lease"
        path.write_bytes(b"")
        path.chmod(mode)
    taker = someone(OTHER)
    said = taker("want", A, B)
    assert said == "waits for a GPU, none is free: the others are held by another program of root"
    assert taker("want", A, B, C) == "", "there was one more"


def test_a_folder_that_is_not_everybodys_is_refused_with_its_owner(folder: str) -> None:
    os.mkdir(folder, 0o755)
    with pytest.raises(Refused) as refused:
        take(A, folder=folder)
    assert survey.user() in str(refused.value) and "chmod 1777" in str(refused.value)


def test_a_link_or_a_file_in_the_folders_place_is_refused(folder: str, tmp_path: Path) -> None:
    os.symlink(tmp_path, folder)
    with pytest.raises(Refused, match="is none"):
        take(A, folder=folder)
    os.unlink(folder)
    Path(folder).write_bytes(b"")
    with pytest.raises(Refused, match="is none"):
        take(A, folder=folder)


def test_a_network_file_system_is_refused_by_its_kind(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases.folder(folder)
    real = procs.read_proc
    line = b"99 1 0:9 / %s rw - nfs4 server:/export rw\n" % os.path.realpath(folder).encode()

    def mounts(path: str, once: int = 0) -> bytes | None:
        return line if path == "/proc/self/mountinfo" else real(path, once)

    monkeypatch.setattr(procs, "read_proc", mounts)
    with pytest.raises(Refused, match=r"network file system \(nfs4\)"):
        take(A, folder=folder)


def test_a_lease_that_is_a_link_or_a_pipe_is_not_followed(folder: str, tmp_path: Path) -> None:
    leases.folder(folder)
    target = tmp_path / "precious"
    target.write_bytes(b"x")
    os.symlink(target, f"{folder}/{A}.lease")
    with pytest.raises(Refused):
        take(A, folder=folder)
    os.mkfifo(f"{folder}/{B}.lease")
    with pytest.raises(Refused):
        take(B, folder=folder)
    assert stat.S_IMODE(target.stat().st_mode) & 0o066 == target.stat().st_mode & 0o066
    assert target.read_bytes() == b"x"


@pytest.mark.parametrize("uuid", ["", "../x", "a/b", "GPU.1", "x" * 200, "a\0b"])
def test_a_name_that_is_none_is_refused(folder: str, uuid: str) -> None:
    with pytest.raises(Refused):
        take(uuid, folder=folder)


@needs_root
def test_whatever_is_killed_no_device_has_two_holders_and_none_is_lost(
    folder: str, someone: Callable[..., Someone]
) -> None:
    """Takers of two users, killed at random; each marks what it holds where all see it."""
    devices = [f"GPU-{n}" for n in range(4)]
    rounds = 300 if not os.environ.get("SOAK") else 20 * int(os.environ["SOAK"])
    chance = random.Random(7)
    takers: list[tuple[Someone, list[str]]] = []
    marked: dict[str, Someone] = {}
    for _ in range(rounds):
        if len(takers) < 6:
            takers.append(
                (someone(chance.choice((OTHER, THIRD)), chance.choice((0o022, 0o077))), [])
            )
        at = chance.randrange(len(takers))
        taker, mine = takers[at]
        if mine and chance.random() < 0.5:
            if chance.random() < 0.5:
                taker.kill()
                takers.pop(at)
            else:
                assert taker("release") == "ok"
            for uuid in mine:
                del marked[uuid]
            mine.clear()
        elif not mine:
            wanted = chance.sample(devices, chance.choice((1, 1, 2, 4)))
            said = taker("take", *wanted)
            if said == "ok":
                assert not marked.keys() & set(wanted), "two holders"
                mine += wanted
                marked |= dict.fromkeys(wanted, taker)
            else:
                assert said in marked, "refused though it is free"
        assert leases.held(devices, folder).keys() == marked.keys()
    for taker, _ in takers:
        taker.kill()
    assert leases.held(devices, folder) == {}
