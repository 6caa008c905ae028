"""From an open log to what ended its run, however long it is."""

from __future__ import annotations

from pathlib import Path

from traindeck.console.logs.evidence import what_ended
from traindeck.console.logs.failures import Kind
from traindeck.console.logs.source import FileSource, Pages

OOM = (Path(__file__).parent / "evidence" / "oom-two-ranks.log").read_bytes()


async def test_the_end_of_a_long_log_says_what_ended_the_run_not_what_went_wrong_before(
    log: Path,
) -> None:
    early = (
        b'Traceback (most recent call last):\n  File "/home/ada/data.py", line 3, in read\n'
        b"    row['text']\nKeyError: 'text'\n"
    )
    steps = b"".join(b"step %d | loss 1.0\n" % n for n in range(150_000))
    log.write_bytes(steps[:1_000_008] + b"\n" + early + steps + OOM)
    pages = Pages(FileSource(log))
    await pages.refresh()
    end = await what_ended(pages, exit_code=1)
    assert end is not None
    assert end.kind is Kind.DEVICE_MEMORY
    assert end.reason(45) == "CUDA out of memory at step 412"
    await pages.source.aclose()


async def test_a_line_that_only_looks_grave_is_no_finding(log: Path) -> None:
    log.write_bytes(b"step 1\nERROR rate is fine\nstep 2\n")
    pages = Pages(FileSource(log))
    await pages.refresh()
    assert await what_ended(pages, exit_code=1) is None
    await pages.source.aclose()
