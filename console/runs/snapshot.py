"""A snapshot of code on this side: which files it has, where their bytes are, and what of it is
known to be where."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from traindeck.backends import files as on_disk
from traindeck.backends.base import Blob, Tree
from traindeck.backends.trees import Leaf, objects
from traindeck.console.runs.hashed import key_of

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 8 << 20


class Snapshot:
    """The content of a tree (`backends.base.Content`).

    Args:
        root: The folder it was taken of.
        files: Its files, by path below that.
        folders: Folders that are to be there though no file is in them.
        kept: Bytes of files that may have others by the time they are sent, by digest.
        memory: Where it is remembered what was sent to a place; None remembers nothing.
    """

    def __init__(
        self,
        root: str,
        files: Mapping[str, Leaf],
        folders: Iterable[str] = (),
        kept: Mapping[str, bytes] | None = None,
        memory: Path | None = None,
    ) -> None:
        self.files = files
        self._root = root
        self._kept = kept or {}
        self._memory = memory
        self._objects = objects(files, folders)
        self._paths = {leaf.digest: path for path, leaf in files.items()}
        self.sizes = {digest: len(data) for digest, data in self._objects.folders.items()}
        self.sizes.update((leaf.digest, leaf.size) for leaf in files.values())
        self.on_progress: Callable[[int, int], None] | None = None
        """Told of a sending: bytes that arrived, bytes in all."""

    @property
    def tree(self) -> Tree:
        """What names it in a spec."""
        return Tree(
            digest=self._objects.top,
            files=len(self.files),
            size=sum(leaf.size for leaf in self.files.values()),
            content=self,
        )

    def listed(self) -> Iterator[tuple[str, Leaf]]:
        """Its files in the order of their paths."""
        return iter(sorted(self.files.items()))

    def blob(self, digest: str) -> Blob:
        """See `Content.blob`."""
        if (data := self._objects.folders.get(digest, self._kept.get(digest))) is not None:
            return Blob(digest=digest, size=len(data), data=data)
        path = os.path.join(self._root, self._paths[digest])
        return Blob(digest=digest, size=self.sizes[digest], path=path)

    def known(self, place: str) -> Collection[str]:
        """See `Content.known`."""
        if self._memory is None:
            return ()
        try:
            with on_disk.open_regular(self._sent(place)) as file:
                text = file.read(_MOST).hex()
        except OSError:
            return ()
        return {text[at : at + 64] for at in range(0, len(text), 64)}

    def sent(self, place: str) -> None:
        """See `Content.sent`."""
        if self._memory is not None:
            digests = bytes.fromhex("".join(self.sizes))
            with suppress(OSError):
                on_disk.replace(self._sent(place), digests, sync=False)

    def progress(self, done: int, total: int) -> None:
        """See `Content.progress`."""
        if self.on_progress is not None:
            self.on_progress(done, total)

    def _sent(self, place: str) -> Path:
        assert self._memory is not None
        return self._memory / f"sent-{key_of(place, self._root)}"
