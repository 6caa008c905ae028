"""Where the console's own files lie, and the folders made for them.

Follows the XDG rules (an unset or relative variable means the default), which is what platformdirs
answers on Linux too: a test compares them. Nothing is created by looking; `make_folder` does that
when something is about to be written.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from traindeck.backends.data import dataclass

_NETWORK = """
9p acfs afs beegfs ceph cifs coda fhgfs gfs gfs2 glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs
panfs prl_fs pvfs2 smb2 smb3 smbfs vboxsf virtiofs wekafs
"""
NETWORK = frozenset(_NETWORK.split())
"""File systems on which the shared memory of SQLite's WAL mode is not safe."""

_LOCAL_FUSE = frozenset({"fuseblk", "fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.gocryptfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The console's folders.

    Attributes:
        config: What the user writes: settings, themes, recipes.
        state: What must last: the journal, the annotations, what archived runs measured.
        index: The index's file; it can be deleted.
        note: A sentence to show if the index lies elsewhere than in `state`, else empty.
    """

    config: Path
    state: Path
    index: Path
    note: str = ""

    @property
    def settings(self) -> Path:
        return self.config / "settings.yaml"

    @property
    def themes(self) -> Path:
        return self.config / "themes"

    @property
    def recipes(self) -> Path:
        return self.config / "recipes"

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    @property
    def annotations(self) -> Path:
        return self.state / "annotations.jsonl"

    @property
    def archived(self) -> Path:
        return self.state / "archived"

    @property
    def mirror(self) -> Path:
        """Copies of what runs elsewhere write; they can be deleted."""
        return self.state / "mirror"

    @property
    def offers(self) -> Path:
        """What places said that their options can be; it can be deleted."""
        return self.state / "offers"

    @property
    def snapshots(self) -> Path:
        """What is remembered of code that was read and sent; it can be deleted."""
        return self.state / "snapshots"


def find_places(
    environ: Mapping[str, str] | None = None,
    *,
    mounts: str | None = None,
    node_local: str | None = None,
) -> Places:
    """Where things lie for this environment.

    Args:
        environ: Instead of the process's own.
        mounts: Text of /proc/self/mountinfo, instead of this machine's.
        node_local: Folder on a local disk for the index of a state folder that is not on one.
    """
    env = os.environ if environ is None else environ
    config = _folder(env, "TRAINDECK_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")
    state = _folder(env, "TRAINDECK_STATE_DIR", "XDG_STATE_HOME", ".local/state")
    kind = file_system(state, mounts)
    if not is_network(kind):
        return Places(config=config, state=state, index=state / "index.db")
    from zlib import crc32

    local = Path(node_local or f"/var/tmp/traindeck-{os.getuid()}")  # noqa: S108  (0700, checked)
    index = local / f"index-{crc32(os.fsencode(os.path.realpath(state))):08x}.db"
    note = f"{state} is on {kind}; the index is kept on this machine, in {local}."
    return Places(config=config, state=state, index=index, note=note)


def make_folder(path: Path) -> Path:
    """Create a folder of ours with mode 0700, its parents as the umask says. Returns it.

    Raises:
        StoreError: It cannot be made, is no folder, or belongs to somebody else.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        try:
            os.makedirs(path.parent, exist_ok=True)
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass  # another process was faster; what it made is checked below
        except OSError as error:
            from traindeck.console.store.errors import os_error

            raise os_error("create the folder", path, error) from None
        found = os.lstat(path)
    except OSError as error:
        from traindeck.console.store.errors import os_error

        raise os_error("look at the folder", path, error) from None
    # A link is followed in the user's own tree, never in a folder that everybody may write to.
    if stat.S_ISLNK(found.st_mode) and not _shared(path.parent):
        found = os.stat(path) if path.exists() else found
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (os.getuid(), 0):
        from traindeck.console.store.errors import StoreError

        what = "is not a folder" if not stat.S_ISDIR(found.st_mode) else "belongs to someone else"
        raise StoreError(f"{path} {what}.", "Move it away, or point TRAINDECK_STATE_DIR elsewhere.")
    return path


def file_system(path: Path, mounts: str | None = None) -> str:
    """Type of the file system that holds `path` (which need not exist), "" if it is not known."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape")
        except OSError:
            return ""
    real = os.path.realpath(path)
    best, kind = -1, ""
    for line in mounts.splitlines():
        left, dash, right = line.partition(" - ")
        words = left.split(" ")
        if not dash or len(words) < 5:
            continue
        point = words[4]
        if "\\" in point:
            for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
                point = point.replace(code, char)
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        # A later line with the same point hides the earlier one (autofs, then nfs).
        if inside and len(point) >= best:
            best, kind = len(point), right.split(" ", 1)[0]
    return kind


def is_network(kind: str) -> bool:
    """Whether a file system type may be shared by several machines. FUSE counts as shared unless
    it is known not to be."""
    return kind in NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def _folder(env: Mapping[str, str], own: str, xdg: str, default: str) -> Path:
    if value := env.get(own):
        return Path(os.path.abspath(os.path.expanduser(value)))
    base = env.get(xdg, "")
    if not os.path.isabs(base):
        home = env.get("HOME") or os.path.expanduser("~")
        base = os.path.join(home, default)
    return Path(base) / "traindeck"


def _shared(folder: Path) -> bool:
    try:
        return bool(os.stat(folder).st_mode & stat.S_IWOTH)
    except OSError:
        return False
