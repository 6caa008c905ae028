"""What code and environment a run starts from, found out at launch.

Reads the user's work tree and never changes it. Git's own rules decide what is ignored; what
withheld.py names is never captured, tracked or not. Everything found is part of the plan, so a
person sees it before anything starts.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path

from traindeck.backends.base import Blob, Code
from traindeck.backends.data import dataclass
from traindeck.backends.errors import UsageError
from traindeck.backends.trees import Leaf
from traindeck.console.runs.captured import CAPTURED, PACKAGES, PATCH, UNTRACKED
from traindeck.console.runs.hashed import Hashed
from traindeck.console.runs.interpreter import editable_inside, packages, site_packages
from traindeck.console.runs.snapshot import Snapshot
from traindeck.console.runs.withheld import (
    BY_CONTENT,
    BY_NAME,
    SECRET_FILES,
    holds_private_key,
    is_secret_file,
)

SKIPPED_FOLDERS = frozenset(
    {".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".mypy_cache"}
    | {".ruff_cache", ".pytest_cache", ".ipynb_checkpoints", ".tox", "wandb", "lightning_logs"}
)
"""Folders that a snapshot outside of git leaves out, beside all whose name begins with a dot. Where
git knows what is left out, they only are not looked into for empty folders."""

FILE_CAP = 10 << 20
SNAPSHOT_CAP = 200 << 20
SNAPSHOT_FILES = 20_000
DIFF_CAP = 5 << 20
UNTRACKED_CAP = 500

STILL_WRITTEN = 60.0
"""Seconds since its last change within which a file may be one that is being written: another run
works here. A snapshot keeps its bytes, for it will have others when it is sent."""

CODE = (
    ".py", ".pyx", ".ipynb", ".sh", ".bash", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp",
    ".yaml", ".yml", ".toml", ".cfg", ".ini", ".jinja",
)  # fmt: skip
"""Ends of the names of files that say what a run does."""

RECORDED = re.compile(r"PATH|VIRTUAL_ENV|LD_LIBRARY_PATH|CONDA_\w+|CUDA_\w+|PYTHON\w*")
"""Variables whose values are recorded. Of all others only the names are."""

_GIT_SECONDS = 20.0

_TOO_LARGE = "List what is not code in .gitignore, choose a smaller --cwd, or use --code here."


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """`files` go into the run directory as they are, beside the tree of `code`; `notes` are said in
    the plan; `packages` are as many as are installed, None if that cannot be seen."""

    code: Code = field(default_factory=Code)
    packages: int | None = None
    files: Mapping[str, Blob] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def capture(cwd: str, mode: str, python: str | None, memory: Path | None = None) -> Captured:
    """Look at the code below (or around) `cwd`.

    Args:
        cwd: Absolute directory the run starts in.
        mode: `here` records commit, diff and untracked names; `snapshot` copies the files too.
        python: The interpreter whose packages are listed.
        memory: A folder for what is remembered of the files of a snapshot, so that the next is
            quick; it can be deleted. None remembers nothing.

    Raises:
        UsageError: `cwd` cannot be read, or a snapshot would be absurdly large.
    """
    if not os.access(cwd, os.R_OK | os.X_OK):
        raise UsageError(f"{cwd} is not a directory that can be read.", "Check --cwd.")
    notes: list[str] = []
    files: dict[str, Blob] = {}
    top = _git_top(cwd)
    looked = _Looked()
    copied = mode == "snapshot"
    # Git looks at the files while we read what we know of them.
    status = _started(top, *_STATUS, "--branch", *(_IGNORED,) * copied) if top else None
    index = _started(top, "ls-files", "-z", "--cached") if top and copied else None
    hashed = Hashed(memory if copied else None, top or cwd)
    code = Code(mode=mode, root=top or cwd)
    if top:
        code = _git_code(code, _answer(status), files, notes, looked)
    folders = site_packages(python) if python else []
    installed = packages(folders)
    if installed:
        files[PACKAGES] = _text("\n".join(installed))
    if code.untracked:
        files[UNTRACKED] = _text("\n".join(code.untracked))
    if mode == "snapshot":
        omitted: dict[str, str] = {}
        # The run starts in this directory of the copy, so it must be there, empty or not.
        below = os.path.relpath(cwd, code.root)
        folders_kept = [] if below == "." else [below]
        if top is None:
            ignored = _ignored(cwd, notes)
            listed = dict.fromkeys(_walk(code.root, ignored, omitted, folders_kept))
        else:
            tracked = _answer(index)
            if tracked is None or not looked.answered:
                raise UsageError(f"git cannot list the files of {top}.", "Use --code here.")
            names = {*tracked.decode("utf-8", "surrogateescape").split("\0"), *looked.untracked}
            listed = dict.fromkeys(sorted(names - {""}))
            folders_kept += _folders(code.root, looked.ignored)
        code = _snapshot(code, listed, folders_kept, omitted, hashed, memory)
        editable = editable_inside(folders, code.root)
        if editable:
            notes.append(
                f"{editable} is installed as editable from {code.root}: "
                "an import may find the original, not the snapshot"
            )
    return Captured(
        code=code,
        packages=len(installed) if folders else None,
        files=files,
        notes=tuple(notes),
    )


def code_files(paths: Iterable[str]) -> int:
    """How many of these are code, by their names: what runs write is not tracked either, and
    nobody has to be told of that."""
    return sum(path.endswith(CODE) for path in paths)


def recorded_environ(environ: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Split an environment into (values that are recorded, names of the rest)."""
    values = {k: v for k, v in sorted(environ.items()) if RECORDED.fullmatch(k)}
    return values, tuple(sorted(set(environ) - set(values)))


def _text(text: str) -> Blob:
    data = text.encode("utf-8", "surrogateescape") + b"\n"
    return Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)


# -------------------------------------------------------------------------------------------- git


def _git_top(cwd: str) -> str | None:
    """The top of the work tree around `cwd`, without starting git where there is none."""
    for folder in (Path(cwd), *Path(cwd).parents):
        if (folder / ".git").exists():
            return str(folder)
    return None


def _git(top: str, *args: str, limit: int = 64 << 20) -> bytes | None:
    """Output of a git command, None if git is missing, fails or takes too long. No hooks, pagers,
    external diffs or lock files: looking must not change a work tree."""
    answer = _answer(_started(top, *args))
    return None if answer is None else answer[:limit]


def _started(top: str, *args: str) -> subprocess.Popen[bytes] | None:
    """A git command that goes on while we do something else; None if there is no git."""
    argv = ["git", "-C", top, "--no-optional-locks", "-c", "core.fsmonitor=false", *args]
    try:
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except OSError:
        return None


def _answer(git: subprocess.Popen[bytes] | None) -> bytes | None:
    """The output of a git command that was started, None if it fails or takes too long."""
    if git is None:
        return None
    with git:
        try:
            out, _ = git.communicate(timeout=_GIT_SECONDS)
        except subprocess.TimeoutExpired:
            git.kill()
            return None
    return out if git.returncode == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Looked:
    """What git's status says of a work tree beside its changes: the paths that it does not track
    and those (folders with a `/` behind) that it ignores."""

    untracked: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    heard: list[bool] = field(default_factory=list)

    @property
    def answered(self) -> bool:
        return bool(self.heard)


def _git_code(
    code: Code, status: bytes | None, files: dict[str, Blob], notes: list[str], looked: _Looked
) -> Code:
    """The code with what git's status says of it."""
    top = code.root
    if status is None:
        notes.append(f"git does not answer in {top}: neither commit nor changes are recorded")
        return code
    looked.heard.append(True)
    commit = branch = None
    changed: list[str] = []
    untracked: list[str] = []
    entries = iter(status.decode("utf-8", "surrogateescape").split("\0"))
    for entry in entries:
        if entry.startswith("# branch.oid ") and not entry.endswith("(initial)"):
            commit = entry[13:]
        elif entry.startswith("# branch.head ") and not entry.endswith("(detached)"):
            branch = entry[14:]
        elif (before := _FIELDS_BEFORE_PATH.get(entry[:2])) is not None:
            changed.append(entry.split(" ", before)[before])
            if entry[0] == "2":
                next(entries, None)  # its former name
        elif entry.startswith("? "):
            looked.untracked.append(entry[2:])
            if not is_secret_file(entry[2:]):
                untracked.append(entry[2:])
        elif entry.startswith("! "):
            looked.ignored.add(entry[2:])
    withheld: dict[str, str] = {}
    if changed and commit:
        diff, withheld = _diff(top, changed)
        if diff is None or len(diff) > DIFF_CAP:
            notes.append("the uncommitted changes are too large to record")
        elif diff:
            files[PATCH] = Blob(digest=hashlib.sha256(diff).hexdigest(), size=len(diff), data=diff)
            notes.append(f"{_files(len(changed))} not committed; the diff is kept")
    if len(untracked) > UNTRACKED_CAP:
        notes.append(f"{_files(len(untracked))} not tracked; the first {UNTRACKED_CAP} are listed")
    return replace(
        code,
        commit=commit,
        branch=branch,
        dirty=bool(changed),
        untracked=tuple(sorted(untracked)[:UNTRACKED_CAP]),
        omitted=withheld,
    )


_STATUS = ("status", "--porcelain=v2", "-z", "--untracked-files=all")
_IGNORED = "--ignored=matching"
"""What is ignored by its own name; not a folder for holding nothing else."""

_FIELDS_BEFORE_PATH = {"1 ": 8, "2 ": 9, "u ": 10}
"""Kind of a changed file in git's status -> fields before its path."""


def _diff(top: str, changed: list[str]) -> tuple[bytes | None, dict[str, str]]:
    """The uncommitted changes, None if git does not give them; and the files left out of them."""
    withheld = {}
    for path in changed:
        if is_secret_file(path):
            withheld[path] = BY_NAME
        elif holds_private_key(_content(os.path.join(top, path))):
            withheld[path] = BY_CONTENT
    exclude = [f":(exclude,glob,icase)**/{pattern}" for pattern in SECRET_FILES]
    exclude += [f":(exclude,literal){path}" for path, why in withheld.items() if why == BY_CONTENT]
    diff = _git(top, "diff", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".", *exclude)
    if diff is None:
        return None, withheld
    kept = []
    for part in re.split(rb"^(?=diff --git )", diff, flags=re.MULTILINE):
        # The file holds a key no more, but what was taken away is in the diff.
        lines = re.split(rb"^(?:[-+ ]|@@.*)", part, flags=re.MULTILINE)
        if holds_private_key(b"".join(lines[1:])):
            withheld[_name_in(part)] = "held a private key before"
        else:
            kept.append(part)
    return b"".join(kept), withheld


def _name_in(part: bytes) -> str:
    """The name of the file that a part of a diff is about, as git writes it."""
    found = re.search(rb"^--- \"?a/(.+?)\"?$", part, re.MULTILINE)
    return found[1].decode("utf-8", "surrogateescape") if found else "a file"


def _content(path: str) -> bytes:
    """The first bytes of a regular file, as many as are ever captured of one; none of any other."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as file:
            return file.read(FILE_CAP)
    except OSError:
        return b""


def _files(count: int) -> str:
    return "1 changed file is" if count == 1 else f"{count:,} files are"


# --------------------------------------------------------------------------------------- snapshot


def _snapshot(
    code: Code,
    listed: Collection[str],
    folders: Collection[str],
    omitted: dict[str, str],
    hashed: Hashed,
    memory: Path | None,
) -> Code:
    """The code with the tree of what travels of it. Of 10,000 files that did not change none is
    read, and each is looked at once."""
    root = code.root
    real = os.path.realpath(root)
    straight = {"": True}
    found: dict[str, Leaf] = {}
    kept: dict[str, bytes] = {}
    total = 0
    now = hashed.now()
    for path in listed:
        full = f"{root}/{path}"
        try:
            info = os.lstat(full)
            whole = straight.get(path[: max(path.rfind("/"), 0)])
            if whole is None:
                whole = _straight(path.rpartition("/")[0], root, straight)
            written = info.st_mtime > now - STILL_WRITTEN
            if whole and not written and (digest := hashed.digest(path, info)) is not None:
                total += info.st_size
                found[path] = Leaf(digest, info.st_size, info.st_mode & 0o100 != 0)
                continue
            if is_secret_file(path):
                omitted[path] = BY_NAME
                continue
            if path in CAPTURED:
                continue
            target, inside = path, True
            if stat.S_ISLNK(info.st_mode) or not whole:
                info = os.stat(full)
                target = os.path.relpath(os.path.realpath(full), real)
                inside = target != ".." and not target.startswith("../")
        except OSError as error:
            # What is named by a word that may hold secrets is so called, be it there or not.
            omitted[path] = BY_NAME if is_secret_file(path) else error.strerror or "cannot be read"
            continue
        if not stat.S_ISREG(info.st_mode):
            omitted[path] = "a folder of its own: a submodule, or behind a link"
        elif not inside:
            omitted[path] = "a link that leads out of the tree"
        elif target != path and (is_secret_file(target) or target not in listed):
            omitted[path] = "a link to a file that stays behind"
        elif info.st_size > FILE_CAP:
            omitted[path] = f"larger than {FILE_CAP >> 20} MiB"
        else:
            total += info.st_size
            if total > SNAPSHOT_CAP or len(found) > SNAPSHOT_FILES:
                raise _too_large(root)
            written = info.st_mtime > now - STILL_WRITTEN
            began = hashed.now()
            try:
                with open(full, "rb") as file:
                    data = file.read(FILE_CAP + 1)
            except OSError as error:
                omitted[path] = error.strerror or "cannot be read"
                continue
            if holds_private_key(data):
                omitted[path] = BY_CONTENT
                continue
            digest = hashlib.sha256(data).hexdigest()
            if target == path:
                hashed.remember(path, info, digest, began)
            found[path] = Leaf(digest, len(data), info.st_mode & 0o100 != 0)
            if written:
                kept[digest] = data
    empty = _without_files({path.rpartition("/")[0] for path in found}, folders)
    if total > SNAPSHOT_CAP or len(found) + len(empty) > SNAPSHOT_FILES:
        raise _too_large(root)
    hashed.save()
    omitted = {**code.omitted, **omitted}
    snapshot = Snapshot(root, found, empty, kept, memory)
    return replace(code, omitted=dict(sorted(omitted.items())[:UNTRACKED_CAP]), tree=snapshot.tree)


def _straight(folder: str, root: str, known: dict[str, bool]) -> bool:
    """Whether a folder of the tree is reached through no link. Git may list what it had there
    before one was put in its place."""
    found = known.get(folder)
    if found is None:
        above = folder.rpartition("/")[0]
        found = _straight(above, root, known) and not os.path.islink(f"{root}/{folder}")
        known[folder] = found
    return found


def _too_large(root: str) -> UsageError:
    return UsageError(
        f"A snapshot of {root} would be more than {SNAPSHOT_CAP >> 20} MiB or "
        f"{SNAPSHOT_FILES:,} files.",
        _TOO_LARGE,
    )


def _without_files(full: Iterable[str], folders: Iterable[str]) -> list[str]:
    """Those of the folders in which no file is (as in `full`), nor another of them: a program may
    list one or save into it."""
    made = {""}

    def make(folder: str) -> None:
        while folder not in made:
            made.add(folder)
            folder = folder.rpartition("/")[0]

    for folder in full:
        make(folder)
    empty = []
    # The deepest first: those above come with it.
    for folder in sorted(folders, reverse=True):
        if folder not in made:
            empty.append(folder)
            make(folder)
    return empty


def _folders(top: str, ignored: set[str]) -> Iterator[str]:
    """The folders of a work tree, but what git ignores and other work trees in it."""
    todo = [""]
    while todo:
        prefix = todo.pop()
        below = []
        try:
            with os.scandir(f"{top}/{prefix}") as entries:
                for entry in entries:
                    if entry.name == ".git" and prefix:
                        break
                    if entry.is_dir(follow_symlinks=False) and entry.name not in SKIPPED_FOLDERS:
                        below.append(f"{prefix}{entry.name}/")
                else:
                    todo += [folder for folder in below if folder not in ignored]
                    if prefix:
                        yield prefix[:-1]
        except OSError:
            continue  # one that cannot be looked into is not copied


def _ignored(root: str, notes: list[str]) -> set[str]:
    """Files and folders (with a `/` behind) that a .gitignore at the top of a folder without git
    names. Git itself reads it, by way of an empty repository elsewhere."""
    import tempfile  # 5 ms, for this only

    if not os.path.isfile(os.path.join(root, ".gitignore")):
        return set()
    skipped = [f"{folder}/\n" for folder in (*sorted(SKIPPED_FOLDERS), ".*")]
    with tempfile.TemporaryDirectory(prefix="traindeck-") as empty:
        for folder in ("objects", "refs", "info"):
            os.mkdir(f"{empty}/{folder}")
        Path(empty, "info/exclude").write_text("".join(skipped))
        Path(empty, "HEAD").write_text("ref: refs/heads/none\n")
        where = (f"--git-dir={empty}", f"--work-tree={root}")
        answer = _git(root, *where, *_STATUS, _IGNORED)
    if answer is None:
        notes.append(f"git is needed to read {root}/.gitignore: nothing that it names is left out")
        return set()
    entries = answer.decode("utf-8", "surrogateescape").split("\0")
    return {entry[2:] for entry in entries if entry.startswith("! ")}


def _walk(
    root: str, ignored: set[str], omitted: dict[str, str], folders: list[str]
) -> Iterator[str]:
    """The files of a folder without git (and links to folders); its `folders` are put down beside.
    Those that are skipped are named in `omitted`, but for those that hold no more than caches: a
    program might read its settings there."""
    seen = 0
    for folder, below, names in os.walk(root):
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == "." else f"{inside}/"
        if prefix:
            folders.append(inside)
        below[:] = sorted(name for name in below if f"{prefix}{name}/" not in ignored)
        for name in below:
            if name not in SKIPPED_FOLDERS and name.startswith("."):
                omitted[f"{prefix}{name}/"] = "a hidden folder, outside of git"
            elif name in SKIPPED_FOLDERS and not name.startswith((".", "_")):
                omitted[f"{prefix}{name}/"] = "is called as what holds no code"
        below[:] = [n for n in below if n not in SKIPPED_FOLDERS and not n.startswith(".")]
        names += [name for name in below if os.path.islink(os.path.join(folder, name))]
        for name in sorted(names):
            seen += 1
            if seen > 10 * SNAPSHOT_FILES:
                raise UsageError(
                    f"{root} holds more than {10 * SNAPSHOT_FILES:,} files.", _TOO_LARGE
                )
            if f"{prefix}{name}" not in ignored:
                yield f"{prefix}{name}"
