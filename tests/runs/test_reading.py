"""What a run's directory says of its end."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest

from traindeck.backends.base import State, Unreachable
from traindeck.console.present.cells import plain
from traindeck.console.present.sentences import ended, fitted
from traindeck.console.runs.reading import attempts_of, reason_in
from traindeck.console.store.records import Progress, RunRecord

EPOCHS = b"""\
epoch 3: 10%|#         | 9/90 [00:01<00:09]
Traceback (most recent call last):
  File "train.py", line 7, in <module>
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.
"""


def test_the_step_of_a_failure_is_the_runs_own_and_not_one_of_an_epoch() -> None:
    reason = reason_in(EPOCHS, 1, None)
    assert reason == "CUDA out of memory · 2.0 GiB more wanted · train.py:7"
    run = RunRecord(state=State.FAILED, exit_code=1, reason=reason, progress=Progress(step=279))
    said = plain(fitted(ended(run, "failed"), 110))
    assert said.startswith("CUDA out of memory at step 279 · 2.0 GiB more wanted")
    nowhere = RunRecord(state=State.FAILED, exit_code=1, reason=reason)
    assert "step" not in plain(fitted(ended(nowhere, "failed"), 110))


async def test_a_place_that_does_not_answer_has_lost_no_attempt() -> None:
    ws = Mock()
    ws.index.annotation.return_value = None
    ws.backend.return_value = AsyncMock(read_file=AsyncMock(side_effect=Unreachable("No answer.")))
    with pytest.raises(Unreachable):
        await attempts_of(ws, RunRecord(id="a", state=State.FAILED, attempt=1))
