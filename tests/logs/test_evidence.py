"""From an open log to its first error and to what ended it, however long it is."""

from __future__ import annotations

from pathlib import Path

from traindeck.console.logs.evidence import error_at, what_ended
from traindeck.console.logs.failures import Kind
from traindeck.console.logs.source import FileSource, Pages
from traindeck.console.logs.survey import Survey

OOM = (Path(__file__).parent / "evidence" / "oom-two-ranks.log").read_bytes()


async def test_the_first_error_is_one_step_away_and_the_end_another(log: Path) -> None:
    early = (
        b'Traceback (most recent call last):\n  File "/home/ada/data.py", line 3, in read\n'
        b"    row['text']\nKeyError: 'text'\n"
    )
    steps = b"".join(b"step %d | loss 1.0\n" % n for n in range(150_000))
    log.write_bytes(steps[:1_000_008] + b"\n" + early + steps + OOM)
    pages = Pages(FileSource(log))
    await pages.refresh()
    survey = Survey(pages.source)
    await survey.read(pages.size)
    assert survey.first_error is not None
    first = await error_at(pages, survey.first_error)
    assert first is not None
    assert (first.kind, first.offset) == (Kind.DATA, 1_000_009)
    assert [frame.function for frame in first.frames] == ["read"]
    end = await what_ended(pages, exit_code=1)
    assert end is not None
    assert end.kind is Kind.DEVICE_MEMORY
    assert end.reason(45) == "CUDA out of memory at step 412"
    assert await error_at(pages, 0) is None, "the nearest is a megabyte away"
    await survey.aclose()
    await pages.source.aclose()


async def test_a_line_that_only_looks_grave_is_no_finding(log: Path) -> None:
    log.write_bytes(b"step 1\nERROR rate is fine\nstep 2\n")
    pages = Pages(FileSource(log))
    await pages.refresh()
    assert await error_at(pages, 7) is None
    assert await what_ended(pages, exit_code=1) is None
    await pages.source.aclose()
