"""What a launch finds out about the code: real git work trees."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traindeck.backends.base import Blob, Plan, RunSpec, UsageError
from traindeck.backends.trees import files_of
from traindeck.console.present.plan_view import plan_lines
from traindeck.console.runs.capture import FILE_CAP, Captured, capture, recorded_environ
from traindeck.console.runs.withheld import holds_private_key


def commit(top: Path) -> None:
    """Commit `src/train.py` as it was at first, and all else as it is."""
    train = top / "src" / "train.py"
    now = train.read_text()
    train.write_text("print(1)\n")
    git = ["git", "-C", str(top), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    train.write_text(now)


@pytest.fixture
def tree(home: Path) -> Path:
    """A work tree with one commit, one changed file, one untracked, one ignored, and secrets."""
    top = home / "project"
    (top / "src").mkdir(parents=True)
    (top / "src" / "train.py").write_text("print(1)\n")
    (top / ".gitignore").write_text("*.ckpt\n")
    (top / ".env").write_text("TOKEN=committed-by-mistake\n")
    subprocess.run(["git", "init", "-q", "-b", "main", str(top)], check=True)
    commit(top)
    (top / "src" / "train.py").write_text("print(2)\n")
    (top / ".env").write_text("TOKEN=changed-secret\n")
    (top / "new.py").write_text("x = 1\n")
    (top / "big.ckpt").write_bytes(b"x")
    (top / "id_ed25519").write_text("PRIVATE KEY\n")
    return top


def copied(found: Captured) -> dict[str, Blob]:
    """The files of a snapshot with what was captured beside it, by path in the run directory; and
    its empty folders, with a `/` behind."""
    files = dict(found.files)
    if (tree := found.code.tree) is not None and tree.content is not None:
        for path, listed in files_of(tree):
            blob = tree.content.blob(listed.digest)
            assert path == "" or path.endswith("/") or blob.size == listed.size
            files[f"code/{path}"] = replace(blob, mode=listed.mode)
    return files


def test_in_place_records_commit_branch_diff_and_untracked_names(tree: Path) -> None:
    found = capture(str(tree / "src"), "here", None)
    assert found.code.root == str(tree)
    assert found.code.branch == "main"
    assert found.code.commit is not None
    assert len(found.code.commit) == 40
    assert found.code.dirty
    assert found.code.untracked == ("new.py",)
    diff = found.files["code/.traindeck/diff.patch"].data
    assert diff is not None
    assert b"+print(2)" in diff
    assert not any(path.startswith("code/src") for path in copied(found))


def test_a_snapshot_copies_what_git_would_and_nothing_ignored(tree: Path) -> None:
    found = capture(str(tree), "snapshot", None)
    names = {p for p in copied(found) if not p.startswith("code/.traindeck")}
    assert names == {"code/.gitignore", "code/src/train.py", "code/new.py"}
    assert copied(found)["code/src/train.py"].read() == b"print(2)\n"


def test_a_file_that_is_being_written_is_sent_as_it_was_in_the_plan(tree: Path) -> None:
    """The metrics of another run that works here, which grow between plan and launch."""
    growing = tree / "metrics.jsonl"
    growing.write_text('{"step": 1}\n')
    blob = copied(capture(str(tree), "snapshot", None))["code/metrics.jsonl"]
    growing.write_text('{"step": 1}\n{"step": 2}\n')
    assert blob.read() == b'{"step": 1}\n'


@pytest.mark.parametrize("mode", ["here", "snapshot"])
def test_secret_files_are_never_captured_tracked_or_not(tree: Path, mode: str) -> None:
    found = capture(str(tree), mode, None)
    everything = b"".join(blob.read() for path, blob in copied(found).items() if path[-1] != "/")
    assert b"changed-secret" not in everything
    assert b"committed-by-mistake" not in everything
    assert b"PRIVATE KEY" not in everything
    if mode == "snapshot":
        assert found.code.omitted[".env"] == "may hold secrets"


def test_a_private_key_stays_behind_whatever_it_is_called(tree: Path) -> None:
    for kind in ("", "OPENSSH ", "RSA "):
        (tree / f"mykey{kind.strip()}").write_text(f"-----BEGIN {kind}PRIVATE KEY-----\nc2VjcmV0\n")
    (tree / "about.md").write_text("It begins with -----BEGIN PRIVATE KEY-----.\n")
    found = capture(str(tree), "snapshot", None)
    kept = {path for path, why in found.code.omitted.items() if why == "holds a private key"}
    assert kept == {"mykey", "mykeyOPENSSH", "mykeyRSA"}
    assert "code/about.md" in copied(found)
    assert not kept & {path.removeprefix("code/") for path in copied(found)}


BODY = f"{'MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQD'.ljust(64, 'x')}\n" * 3
PEM = f"-----BEGIN PRIVATE KEY-----\n{BODY}-----END PRIVATE KEY-----\n"
HEADERS = "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0A1B\n\n"
KEYS = {
    "account.json": json.dumps({"type": "service_account", "private_key": PEM}),
    "twice.json": json.dumps({"config": json.dumps({"private_key": PEM})}),
    "values.yaml": "tls:\n  key: |\n" + "".join(f"    {line}\n" for line in PEM.splitlines()),
    "baked_in.py": "KEY = (\n" + "".join(f"    {line!r}\n" for line in PEM.splitlines(True)) + ")",
    "one_line.txt": "KEY=" + PEM.replace("\n", ""),
    "windows.txt": ("# mine\n" + PEM).replace("\n", "\r\n"),
    "legacy": "# mine\n" + PEM.replace(BODY, HEADERS + BODY),
    "deploy": "x" * (1 << 20) + "\n" + PEM.replace("PRIVATE", "OPENSSH PRIVATE"),
    "ssh2": "mine\n---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: rsa\n" + BODY,
    "pgp": "mine\n-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\n" + BODY,
    "putty.txt": "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nComment: me\n"
    "Public-Lines: 2\nAAAAC3NzaC1lZDI1NTE5AAAA\nabc=\nPrivate-Lines: 1\nAAAAIF8=\n",
}
NO_KEYS = {
    "scan.py": r"""
PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s]+-----END")
if text.startswith("-----BEGIN PRIVATE KEY-----"): refuse_a_key_that_somebody_has_pasted_here()
ARMOUR = "-----BEGIN RSA PRIVATE KEY-----\n" + base64.b64encode(der) + "-----END"
""",
    "README.md": "Put it here:\n\n    -----BEGIN PRIVATE KEY-----\n    MIIEv...\n"
    "    -----END PRIVATE KEY-----\n\nA `PuTTY-User-Key-File-3: ` begins a PuTTY key.\n",
    "heading.rst": "So:\n-----BEGIN PRIVATE KEY-----\n" + "=" * 70 + "\n" + "/" * 70,
    "cert.txt": PEM.replace("PRIVATE KEY", "CERTIFICATE"),
    "public.txt": PEM.replace("PRIVATE", "PUBLIC"),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("mode", ["here", "snapshot"])
def test_a_private_key_is_found_anywhere_in_a_file(tree: Path, mode: str, name: str) -> None:
    """Of a tracked file that was changed, so that it would be in the diff as in a snapshot."""
    (tree / name).write_text("placeholder\n")
    commit(tree)
    (tree / name).write_text(KEYS[name], newline="")
    found = capture(str(tree), mode, None)
    assert found.code.omitted[name] == "holds a private key"
    assert f"code/{name}" not in copied(found)
    diff = found.files["code/.traindeck/diff.patch"].data or b""
    assert b"+print(2)" in diff and name.encode() not in diff


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_only_speaks_of_private_keys_is_captured(tree: Path, name: str) -> None:
    (tree / name).write_text("placeholder\n")
    commit(tree)
    (tree / name).write_text(NO_KEYS[name])
    found = capture(str(tree), "snapshot", None)
    assert name not in found.code.omitted and f"code/{name}" in copied(found)
    assert name.encode() in (found.files["code/.traindeck/diff.patch"].data or b"")


@pytest.mark.parametrize("mode", ["here", "snapshot"])
def test_a_key_that_was_taken_out_of_a_file_is_not_in_the_diff(tree: Path, mode: str) -> None:
    for name in ("emptied.py", "removed"):
        (tree / name).write_text(f"a = 1\nKEY = '''{PEM}'''\nb = 2\n")
    commit(tree)
    (tree / "emptied.py").write_text("a = 1\nKEY = os.environ['KEY']\nb = 2\n")
    (tree / "removed").unlink()
    found = capture(str(tree), mode, None)
    diff = found.files["code/.traindeck/diff.patch"].data or b""
    assert b"+print(2)" in diff and BODY[:60].encode() not in diff
    assert {"emptied.py", "removed"} <= set(found.code.omitted)
    assert ("code/emptied.py" in copied(found)) == (mode == "snapshot")


def test_a_key_of_which_another_line_changed_is_not_in_the_diff(tree: Path) -> None:
    (tree / "rotated").write_text("x\n" + PEM.replace(BODY, BODY * 5))
    commit(tree)
    (tree / "rotated").write_text("x\n" + PEM.replace(BODY, BODY * 4 + BODY[:-9] + "\n"))
    found = capture(str(tree), "here", None)
    assert BODY[:50].encode() not in (found.files["code/.traindeck/diff.patch"].data or b"")


def test_a_renamed_file_is_counted_once_and_looked_into(tree: Path) -> None:
    (tree / "old name").write_text("a\n" * 50)
    commit(tree)
    (tree / "old name").rename(tree / "new name")
    subprocess.run(["git", "-C", str(tree), "add", "-A", "--", "old name", "new name"], check=True)
    (tree / "new name").write_text("a\n" * 50 + PEM)
    found = capture(str(tree), "here", None)
    assert found.code.omitted["new name"] == "holds a private key"
    assert b"BEGIN" not in (found.files["code/.traindeck/diff.patch"].data or b"")


def test_the_plan_names_what_is_left_out_of_the_diff(tree: Path) -> None:
    code = capture(str(tree), "here", None).code
    shown = plan_lines(Plan(spec=RunSpec(argv=("x",), code=code)))
    assert ("left out", ".env: may hold secrets") in shown


@given(st.lists(st.sampled_from([*b"-BEGIN PRIVATE KEY\\n\r\n/+\"' A:x0"]), max_size=2000))
def test_the_search_for_keys_ends_whatever_a_file_holds(letters: list[int]) -> None:
    begin = b"-----BEGIN PRIVATE KEY-----"
    holds_private_key(begin + bytes(letters) + begin * 200 + b"A: " * 2000 + b"/\\\\n" * 2000)


def test_links_out_of_the_tree_and_large_files_stay_behind_with_the_reason(tree: Path) -> None:
    (tree / "outside").symlink_to("/etc/hostname")
    with (tree / "large.bin").open("wb") as file:
        file.truncate(FILE_CAP + 1)
    omitted = capture(str(tree), "snapshot", None).code.omitted
    assert "leads out" in omitted["outside"]
    assert "larger than" in omitted["large.bin"]


def test_looking_does_not_change_the_work_tree(tree: Path) -> None:
    index = tree / ".git" / "index"
    before = index.stat().st_mtime_ns
    capture(str(tree), "here", None)
    assert index.stat().st_mtime_ns == before


def test_outside_of_git_a_snapshot_walks_and_skips_environments(home: Path) -> None:
    (home / "w" / ".venv").mkdir(parents=True)
    (home / "w" / ".venv" / "x.py").write_text("")
    (home / "w" / "a.py").write_text("")
    found = capture(str(home / "w"), "snapshot", None)
    assert set(copied(found)) == {"code/a.py"}
    assert found.code.commit is None
    assert found.code.omitted == {}


def test_a_script_that_can_be_executed_can_be_in_the_snapshot(home: Path) -> None:
    for name, mode in (("go.sh", 0o755), ("a.py", 0o644)):
        (home / name).write_text("")
        (home / name).chmod(mode)
    found = capture(str(home), "snapshot", None)
    assert copied(found)["code/go.sh"].mode == 0o700
    assert copied(found)["code/a.py"].mode == 0o600


def test_outside_of_git_folders_that_a_snapshot_skips_are_named(home: Path) -> None:
    for path in (
        ".hydra/c.yaml",
        "sub/.conf/x",
        "venv/x.py",
        "sub/__pycache__/x.pyc",
        "a.py",
        "dev.env",
    ):
        (home / "w" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "w" / path).write_text("")
    (home / "w" / "data").symlink_to(home)
    found = capture(str(home / "w"), "snapshot", None)
    assert set(copied(found)) == {"code/a.py", "code/sub/"}
    assert set(found.code.omitted) == {".hydra/", "sub/.conf/", "venv/", "dev.env", "data"}


def test_outside_of_git_a_gitignore_is_obeyed_as_git_would(home: Path) -> None:
    top = home / "w"
    for path in (
        "data/deep/x",
        "sub/a.ckpt",
        "sub/keep.ckpt",
        "sub/b.py",
        "a.py",
        ".venv/lib/c.py",
    ):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text("")
    (top / ".gitignore").write_text("data/\n*.ckpt\n!keep.ckpt\n/odd \\*name\n")
    (top / "odd *name").write_text("")
    (top / "sub/.gitignore").write_text("b.*\n")
    before = sorted(top.rglob("*"))
    found = capture(str(top), "snapshot", None)
    assert set(copied(found)) == {
        *("code/.gitignore", "code/a.py", "code/sub/keep.ckpt", "code/sub/.gitignore"),
    }
    assert found.code.commit is None and found.notes == ()
    assert sorted(top.rglob("*")) == before


def test_a_gitignore_that_git_cannot_read_is_said(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "w").mkdir()
    (home / "w/.gitignore").write_text("data\n")
    (home / "w/data").write_text("")
    monkeypatch.setenv("PATH", str(home))
    found = capture(str(home / "w"), "snapshot", None)
    assert "code/data" in copied(found) and ".gitignore" in found.notes[0]


def test_a_cwd_that_cannot_be_read_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="--cwd"):
        capture(str(home / "nowhere"), "here", None)


def test_only_a_fixed_list_of_variables_is_recorded_with_values() -> None:
    environ = {
        "PATH": "/bin",
        "HF_TOKEN": "hf_x",
        "CUDA_HOME": "/c",
        "PYTHONPATH": "/p",
        "HOME": "/",
    }
    values, names = recorded_environ(environ)
    assert set(values) == {"PATH", "CUDA_HOME", "PYTHONPATH"}
    assert names == ("HF_TOKEN", "HOME")


def test_a_snapshot_of_an_empty_directory_can_still_be_entered(tree: Path) -> None:
    (tree / "empty").mkdir()
    found = capture(str(tree / "empty"), "snapshot", None)
    assert "code/empty/" in copied(found)
    (tree.parent / "bare").mkdir()
    assert set(copied(capture(str(tree.parent / "bare"), "snapshot", None))) == {"code/"}


def folders(files: Mapping[str, Blob]) -> set[str]:
    return {path for path in files if path.endswith("/")}


@pytest.mark.parametrize("git", [True, False])
def test_empty_folders_are_in_the_snapshot_but_ignored_ones(home: Path, git: bool) -> None:
    """A program may list one, or save into it."""
    top = home / "w"
    for path in ("out", "a/b/c", "logs", "full", "weights", "cache/x", "__pycache__", "inner/.git"):
        (top / path).mkdir(parents=True)
    for path in ("logs/1.log", "full/a.py", "inner/x.py"):
        (top / path).write_text("")
    with (top / "weights/large.bin").open("wb") as file:
        file.truncate(FILE_CAP + 1)
    (top / ".gitignore").write_text("cache/\n*.log\n")
    if git:
        subprocess.run(["git", "init", "-q", str(top)], check=True)
    found = capture(str(top), "snapshot", None)
    assert folders(copied(found)) == {"code/out/", "code/a/b/c/", "code/logs/", "code/weights/"}
    assert ("files", "code/out/ · empty folder") in plan_lines(
        Plan(spec=RunSpec(argv=("x",)), files={"code/out/": copied(found)["code/out/"]})
    )


def test_folders_count_as_files_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("traindeck.console.runs.capture.SNAPSHOT_FILES", 3)
    for name in "abcd":
        (home / "w" / name).mkdir(parents=True)
    with pytest.raises(UsageError, match="files"):
        capture(str(home / "w"), "snapshot", None)


def test_a_link_to_what_stays_behind_stays_behind(tree: Path) -> None:
    (tree / "config.txt").symlink_to(".env")
    (tree / "weights.bin").symlink_to("big.ckpt")  # ignored by git
    (tree / "same.py").symlink_to("new.py")
    found = capture(str(tree), "snapshot", None)
    assert "code/config.txt" not in copied(found) and "code/weights.bin" not in copied(found)
    assert "code/same.py" in copied(found)
    assert "stays behind" in found.code.omitted["config.txt"]
    assert "stays behind" in found.code.omitted["weights.bin"]


def test_a_folder_that_git_only_names_is_said_to_stay_behind(tree: Path) -> None:
    inner = tree / "vendor"
    subprocess.run(["git", "init", "-q", str(inner)], check=True)
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "-C", str(inner), "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, "-C", str(tree), "add", "vendor"], check=True, capture_output=True)
    assert "submodule" in capture(str(tree), "snapshot", None).code.omitted["vendor"]
