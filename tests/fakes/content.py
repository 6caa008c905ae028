"""The content of a tree in memory, for tests that send one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping

from traindeck.backends.base import Blob, Code, Tree
from traindeck.backends.trees import Leaf, objects


class MemoryContent:
    """Files by path; those in `executable` can be executed. What is remembered of places is in
    `places`, what was told of a sending in `told`."""

    def __init__(
        self,
        files: Mapping[str, bytes],
        folders: Iterable[str] = (),
        executable: Collection[str] = (),
    ) -> None:
        leaves = {
            path: Leaf(hashlib.sha256(data).hexdigest(), len(data), path in executable)
            for path, data in files.items()
        }
        made = objects(leaves, folders)
        self.data = {**made.folders, **{leaves[path].digest: files[path] for path in files}}
        self.sizes = {digest: len(data) for digest, data in self.data.items()}
        self.places: dict[str, set[str]] = {}
        self.told: list[tuple[int, int]] = []
        size = sum(map(len, files.values()))
        self.tree = Tree(digest=made.top, files=len(files), size=size, content=self)

    @property
    def code(self) -> Code:
        """As a launch captures it."""
        return Code(mode="snapshot", root="/somewhere", tree=self.tree)

    def blob(self, digest: str) -> Blob:
        data = self.data[digest]
        return Blob(digest=digest, size=len(data), data=data)

    def known(self, place: str) -> Collection[str]:
        return self.places.get(place, ())

    def sent(self, place: str) -> None:
        self.places[place] = set(self.sizes)

    def progress(self, done: int, total: int) -> None:
        self.told.append((done, total))
