"""Where the console's files lie."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from traindeck.console.store.errors import StoreError
from traindeck.console.store.places import file_system, find_places, make_folder

LOCAL = "25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
HOME_ON_NFS = LOCAL + "40 25 0:50 / /home rw,relatime - nfs4 server:/home rw\n"


def test_folders_follow_xdg_and_the_home_folder() -> None:
    places = find_places({"HOME": "/home/u"}, mounts=LOCAL)
    assert places.config == Path("/home/u/.config/traindeck")
    assert places.index == Path("/home/u/.local/state/traindeck/index.db")
    places = find_places({"HOME": "/home/u", "XDG_STATE_HOME": "/data/state"}, mounts=LOCAL)
    assert places.annotations == Path("/data/state/traindeck/annotations.jsonl")


def test_a_relative_xdg_variable_is_ignored_as_the_rules_say() -> None:
    places = find_places({"HOME": "/home/u", "XDG_CONFIG_HOME": "config"}, mounts=LOCAL)
    assert places.settings == Path("/home/u/.config/traindeck/settings.yaml")


def test_our_own_variables_win_and_may_use_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    env = {"HOME": "/home/u", "XDG_STATE_HOME": "/x", "TRAINDECK_STATE_DIR": "~/td"}
    places = find_places(env | {"TRAINDECK_CONFIG_DIR": "/etc/td"}, mounts=LOCAL)
    assert (places.state, places.config) == (Path("/home/u/td"), Path("/etc/td"))


@pytest.mark.parametrize("extra", [{}, {"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"}])
def test_places_are_those_of_platformdirs(extra: dict[str, str]) -> None:
    code = (
        "import platformdirs; print(platformdirs.user_config_path('traindeck')); "
        "print(platformdirs.user_state_path('traindeck'))"
    )
    env = {"HOME": "/home/u", "PATH": os.environ["PATH"], **extra}
    told = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    places = find_places(env, mounts=LOCAL)
    assert told.stdout.split() == [str(places.config), str(places.state)]


def test_a_state_folder_on_nfs_keeps_its_index_on_this_machine_and_says_so() -> None:
    places = find_places({"HOME": "/home/u"}, mounts=HOME_ON_NFS, node_local="/var/tmp/td")
    assert places.state == Path("/home/u/.local/state/traindeck")
    assert places.index.parent == Path("/var/tmp/td")
    assert "nfs4" in places.note
    assert "/var/tmp/td" in places.note
    other = find_places({"HOME": "/home/u", "TRAINDECK_STATE_DIR": "/home/u/b"}, mounts=HOME_ON_NFS)
    assert other.index.name != places.index.name, "two state folders share no index"


def test_a_local_disk_below_a_network_mount_is_local() -> None:
    mounts = HOME_ON_NFS + "50 40 8:2 / /home/u/scratch rw - xfs /dev/sdb1 rw\n"
    assert file_system(Path("/home/u/scratch/td"), mounts) == "xfs"
    assert file_system(Path("/home/user/td"), mounts) == "nfs4"


def test_a_mount_hides_the_automounter_at_the_same_point() -> None:
    mounts = LOCAL + "39 25 0:49 / /home rw - autofs systemd-1 rw\n" + HOME_ON_NFS
    assert file_system(Path("/home/u"), mounts) == "nfs4"


def test_mount_points_with_spaces_are_understood() -> None:
    mounts = LOCAL + "41 25 0:51 / /mnt/my\\040disk rw - cifs //server/x rw\n"
    assert file_system(Path("/mnt/my disk/td"), mounts) == "cifs"


def test_an_unknown_fuse_file_system_counts_as_shared() -> None:
    sshfs = LOCAL + "41 25 0:51 / /home rw - fuse.sshfs host: rw\n"
    assert find_places({"HOME": "/home/u"}, mounts=sshfs).note
    overlay = sshfs.replace("fuse.sshfs", "fuse.fuse-overlayfs")
    assert not find_places({"HOME": "/home/u"}, mounts=overlay).note


def test_folders_are_made_for_the_user_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "a" / "b")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert make_folder(folder) == folder


def test_a_file_in_the_place_of_a_folder_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StoreError, match=r"state is not a folder\. Move it away"):
        make_folder(tmp_path / "state")
    with pytest.raises(StoreError, match=r"Cannot (create|look at) the folder .*not a directory"):
        make_folder(tmp_path / "state" / "journal")


def test_a_link_is_followed_at_home_but_not_where_everybody_may_write(tmp_path: Path) -> None:
    real = make_folder(tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    make_folder(tmp_path / "link")
    shared = tmp_path / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "traindeck-0").symlink_to(real)
    with pytest.raises(StoreError, match="is not a folder"):
        make_folder(shared / "traindeck-0")


def test_looking_creates_nothing(tmp_path: Path) -> None:
    find_places({"HOME": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
