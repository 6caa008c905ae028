"""A real index with one run in it, and files that grow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.base import State
from traindeck.console.metrics.capture import Source, Times, ingest
from traindeck.console.store.index import Index
from traindeck.console.store.records import RunRecord
from traindeck.console.store.series import Points

NOW = 1_750_000_000.0
RUN = "0123456789ab"


@dataclass
class Desk:
    """An index, a run, and ways to feed it."""

    index: Index
    started: float = NOW - 100
    now: float = NOW
    identities: dict[str, int] = field(default_factory=dict)

    def put(self, **changes: Any) -> RunRecord:
        run = RunRecord(
            id=RUN,
            name="calm-fox",
            state=State.RUNNING,
            created=self.started - 1,
            started=self.started,
            observed_at=NOW,
            **changes,
        )
        self.index.put(run)
        return run

    @property
    def run(self) -> RunRecord:
        found = self.index.get(RUN)
        assert found is not None
        return found

    def feed(
        self,
        kind: str,
        data: bytes,
        *,
        path: str = "",
        attempt: int = 0,
        final: bool = False,
        times: Times | None = None,
        most: int | None = None,
        checkpoints: Sequence[tuple[int, float]] = (),
        of: str = "",
    ) -> None:
        """Enter all of a source, in the pieces that capture takes."""
        path = path or f"attempts/{attempt}/{kind}"
        source = Source(
            path=path,
            kind=kind,
            size=len(data),
            identity=self.identities.get(path, 1),
            checkpoints=tuple(checkpoints),
            of=of,
        )

        async def read(offset: int, size: int) -> bytes:
            return data[offset : offset + size]

        extra: dict[str, Any] = {} if most is None else {"most": most}

        async def work() -> None:
            more = True
            while more:
                more = await ingest(
                    self.index, self.run, source, read, attempt=attempt, now=self.now,
                    final=final, times=times, **extra,
                )  # fmt: skip

        asyncio.run(work())

    def points(self, key: str) -> Points:
        return self.index.points(RUN, key)

    def pairs(self, key: str) -> list[tuple[int, float]]:
        found = self.points(key)
        return list(zip(found.steps, found.values, strict=True))

    def retry(self, attempt: int) -> None:
        self.started = self.now
        self.index.delete([])
        self.index.put(replace(self.run, attempt=attempt, started=self.started))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    index = Index.open(tmp_path / "index.db")
    made = Desk(index)
    made.put()
    yield made
    index.close()
