"""What a run's directory says of its end."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest

from traindeck.backends.base import BackendError, JobRef, State, Unreachable
from traindeck.console.present.cells import plain
from traindeck.console.present.sentences import ended, fitted
from traindeck.console.runs.reading import attempts_of, log_tail, ranks_of, reason_in
from traindeck.console.store.records import Progress, RunRecord, failed_rank

EPOCHS = b"""\
epoch 3: 10%|#         | 9/90 [00:01<00:09]
Traceback (most recent call last):
  File "train.py", line 7, in <module>
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""


def test_where_nothing_better_is_known_the_last_line_of_the_log_is_said() -> None:
    log = b"loading\n\x1b[31mno data found in /data\x1b[0m\n\n"
    assert (
        reason_in(log, 1, None, "exit code 1") == "exit code 1 · last line: no data found in /data"
    )
    assert reason_in(b"\n", 1, None, "exit code 1") is None
    assert reason_in(log, 126, None, "./a.py: cannot be executed") is None
    long = reason_in(b"x" * 3000, 1, None, "exit code 1")
    assert long is not None and len(long) < 150 and long.endswith("…")
    run = RunRecord(state=State.FAILED, exit_code=1, reason=reason_in(log, 1, None, "exit code 1"))
    assert plain(fitted(ended(run, "failed"), 80)).endswith("no data found in /data")
    assert plain(fitted(ended(run, "failed"), 30)) == "exit code 1"


def test_the_step_of_a_failure_is_the_runs_own_and_not_one_of_an_epoch() -> None:
    reason = reason_in(EPOCHS, 1, None)
    assert reason == "CUDA out of memory · 2.0 GiB more wanted · train.py:7"
    run = RunRecord(state=State.FAILED, exit_code=1, reason=reason, progress=Progress(step=279))
    said = plain(fitted(ended(run, "failed"), 110))
    assert said.startswith("CUDA out of memory at step 279 · 2.0 GiB more wanted")
    nowhere = RunRecord(state=State.FAILED, exit_code=1, reason=reason)
    assert "step" not in plain(fitted(ended(nowhere, "failed"), 110))


@pytest.mark.parametrize(
    ("log", "size", "said"),
    [
        (b"loss=1.5\nloss=12.5\nlast\n", 99, b"loss=1.5\nloss=12.5\nlast\n"),
        (b"loss=1.5\nloss=12.5\nlast\n", 10, b"last\n"),
        (b"9%|\r10%|\r11%|\ndone\n", 12, b"11%|\ndone\n"),
        (b"no line ends here", 4, "…here".encode()),
        (b"this line is long\n", 5, "…long\n".encode()),
    ],
)
async def test_the_end_of_a_log_has_no_line_without_its_beginning(
    log: bytes, size: int, said: bytes
) -> None:
    async def read_at(ref: JobRef, rank: int, offset: int, size: int) -> bytes:
        return log[offset : offset + size]

    ws = Mock()
    ws.reader.return_value = Mock(
        log_stat=AsyncMock(return_value=Mock(size=len(log))), read_at=read_at
    )
    assert await log_tail(ws, RunRecord(id="a", state=State.RUNNING), size) == said


async def test_a_place_that_does_not_answer_has_lost_no_attempt() -> None:
    ws = Mock()
    ws.index.annotation.return_value = None
    ws.reader.return_value = AsyncMock(read_file=AsyncMock(side_effect=Unreachable("No answer.")))
    with pytest.raises(Unreachable):
        await attempts_of(ws, RunRecord(id="a", state=State.FAILED, attempt=1))


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("rank 1 on n1: ended with exit code 1", "rank 1 on n1: exit code 1 · last line: no rows"),
        ("rank 1 left no record: its node or its supervisor was lost", None),
        ("rank 1 could not begin: it is full", None),
        ("exit code 1", "exit code 1 · last line: no rows"),
    ],
)
def test_the_rank_that_failed_stays_named_with_what_its_log_says(
    known: str, said: str | None
) -> None:
    assert reason_in(b"step 1\nno rows\n", 1, None, known) == said


def test_what_a_program_says_of_a_rank_names_no_log() -> None:
    reason = reason_in(b"error: rank 5: no rows\n", 1, None)
    assert reason == "rank 5: no rows"
    assert failed_rank(reason) == (0, "")
    assert failed_rank("rank 1 could not begin: it is full")[0] == 1


async def test_an_attempt_that_waits_has_one_log_to_come_and_a_silent_place_says_so() -> None:
    files = Mock(list_files=AsyncMock(side_effect=BackendError("attempts/1/logs: no such file.")))
    assert await ranks_of(files, JobRef()) == [0]
    files.list_files.side_effect = Unreachable("gpu1 does not answer.")
    with pytest.raises(Unreachable):
        await ranks_of(files, JobRef())
