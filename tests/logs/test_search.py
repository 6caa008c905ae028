"""Search: grep's counts, hits in both directions, a filter's lines, and an end at any time."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traindeck.backends.base import LogStat, UsageError
from traindeck.console.logs.scanner import CHUNK, Expression, Literal, hits
from traindeck.console.logs.search import Hit, Pattern, Progress, Search
from traindeck.console.logs.source import FileSource
from traindeck.console.logs.units import SEGMENT, forward, walk
from traindeck.console.logs.worker import ScanEnded

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


def lines(count: int) -> bytes:
    rng = random.Random(7)
    out = []
    for step in range(count):
        out.append(f"step {step:>7} | loss {rng.random() * 3:.4f} | mem 74.2 GB\n".encode())
        if step % 997 == 0:
            out.append(b"WARNING activation memory grows with its length\n")
    return b"".join(out)


def units_of(data: bytes) -> list[tuple[int, int]]:
    units: list[tuple[int, int]] = []
    while more := walk(
        forward(units[-1][1] if units else 0, len(data) + 1), lambda at, n: data[at : at + n]
    ):
        units += more
    return units


def everywhere(text: bytes, data: bytes, *, fold: bool = False) -> list[Hit]:
    flags = re.IGNORECASE if fold else 0
    return [Hit(*m.span()) for m in re.finditer(re.escape(text), data, flags)]


# ---------------------------------------------------------------------- the scanner's own answers


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([b"ab", b"b", b"abc", b"\n", b"zz", b"\xff", b"A"]), max_size=300),
    st.sampled_from([b"ab", b"b", b"abc", b"zz", b"cab", b"\xff"]),
    st.booleans(),
)
def test_a_fixed_string_is_found_wherever_it_is(
    parts: list[bytes], needle: bytes, lower: bool
) -> None:
    data = b"".join(parts)
    what = Literal(needle, lower=lower)
    found = list(hits(what, lambda at, size: data[at : at + size], 0, len(data)))
    assert [Hit(*span) for span in found] == everywhere(needle, data, fold=lower)
    counts: dict[int, int] = {}
    Literal(needle, lower=lower).count(data, 0, len(data), 16, counts)
    if needle not in (b"b", b"zz"):  # those that can overlap themselves may differ at block ends
        assert sum(counts.values()) == len(found)


@pytest.mark.parametrize("filler", [b".", b"M", b"memor"])
def test_a_hit_across_any_boundary_is_found_once(filler: bytes) -> None:
    """Rare bytes, frequent bytes and near misses take different ways through the same data."""
    needle = b"memory"
    for edge in (1024, SEGMENT, CHUNK):
        for shift in range(-7, 2):
            data = bytearray(filler * (2 * edge // len(filler)))
            data[edge + shift : edge + shift + 6] = needle
            found = list(
                hits(Literal(needle), lambda at, n, d=data: bytes(d[at : at + n]), 0, len(data))
            )
            assert found == [(edge + shift, edge + shift + 6)]
            counts: dict[int, int] = {}
            Literal(needle).count(bytes(data), 0, len(data), 1024, counts)
            assert counts == {(edge + shift) // 1024: 1}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(alphabet="abß日 \r", max_size=12).map(str.encode),
            st.binary(max_size=6),
            st.just(b"x" * (SEGMENT + 5)),
        ),
        max_size=12,
    ),
    st.sampled_from(
        ["a", "a+", "^a", "b$", "[^a]b", r"\s", "ß", ".", "日?a", "^$", "x*", "(?<=a)b"]
    ),
    st.integers(0, 200),
    st.integers(0, 40_000),
)
def test_an_expression_matches_unit_by_unit(
    parts: list[bytes], pattern: str, low: int, size: int
) -> None:
    data = b"\n".join(parts)

    def read(at: int, n: int) -> bytes:
        return data[at : at + n]

    expected = []
    for start, end in units_of(data):
        text = data[start:end].rstrip(b"\r\n").decode("utf-8", "surrogateescape")
        spans = [m.span() for m in re.finditer(pattern, text)]
        spans = [s for s in spans if s[0] < s[1]] or spans[:1]
        for first, last in spans:
            at = start + len(text[:first].encode("utf-8", "surrogateescape"))
            length = len(text[first:last].encode("utf-8", "surrogateescape"))
            if low <= at < low + size:
                expected.append((at, at + length))
    what = Expression(pattern, ignore_case=False)
    assert list(what.hits(read, low, low + size)) == expected


# ------------------------------------------------------------------------------- whole searches


async def test_the_count_is_that_of_grep(log: Path) -> None:
    log.write_bytes(lines(40_000))
    source = FileSource(log)
    size = log.stat().st_size
    for text in ("memory", "WARNING", "step   39999", "loss", "absent"):
        search = Search(source, Pattern(text))
        await search.count(size)
        grep = subprocess.run(["grep", "-oF", text, log], stdout=subprocess.PIPE, check=False)
        assert search.total == len(grep.stdout.splitlines())
        assert search.progress is Progress.DONE
        assert search.census.covered == search.done == size
        await search.aclose()
    await source.aclose()


async def test_two_processes_share_a_large_log_and_count_every_byte_once(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traindeck.console.logs.search.SHARED", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    data = lines(200_000) + b"needle"
    log.write_bytes(data)
    source = FileSource(log)
    for pattern in (
        Pattern("loss"),
        Pattern("needle"),
        Pattern("LOSS 2", ignore_case=True),
        Pattern(r"loss 2\.\d*9 ", regex=True),
    ):
        search = Search(source, pattern)
        await search.count(len(data))
        flags = re.IGNORECASE if pattern.ignore_case else 0
        text = pattern.text if pattern.regex else re.escape(pattern.text)
        assert search.total == len(re.findall(text.encode(), data, flags))
        await search.aclose()
    await source.aclose()


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize(
    "pattern", [Pattern("memory"), Pattern("MEMory", ignore_case=True), Pattern("mem[a-z]+y", True)]
)
async def test_next_and_previous_visit_every_hit_with_its_number(
    log: Path, pattern: Pattern, counted: bool
) -> None:
    data = lines(5_000)
    log.write_bytes(data)
    expected = everywhere(b"memory", data)
    source = FileSource(log)
    search = Search(source, pattern)
    if counted:
        await search.count(len(data))
    at, seen = 0, []
    while (hit := await search.next(at, len(data))) is not None:
        seen.append(hit)
        assert await search.rank(hit) == (len(seen) if counted or hit.start == 0 else None)
        at = hit.start + 1
    assert seen == expected
    at, seen = len(data), []
    while (hit := await search.next(at, len(data), backward=True)) is not None:
        seen.append(hit)
        at = hit.start
    assert seen[::-1] == expected
    await search.aclose()
    await source.aclose()


@pytest.mark.parametrize("counted", [True, False])
async def test_a_filter_walks_its_lines_in_both_directions(log: Path, counted: bool) -> None:
    data = lines(6_000) + b"memory memory memory\nlast memory"
    log.write_bytes(data)
    source = FileSource(log)
    search = Search(source, Pattern("memory"))
    if counted:
        await search.count(len(data))
    expected = [unit for unit in units_of(data) if b"memory" in data[slice(*unit)]]
    seen: list[tuple[int, int]] = []
    while some := await search.units(seen[-1][1] if seen else 0, len(data), 3):
        seen += some
    assert seen == expected
    seen = []
    while some := await search.units(
        seen[0][0] if seen else len(data), len(data), 3, backward=True
    ):
        seen = some + seen
    assert seen == expected
    await search.aclose()
    await source.aclose()


async def test_a_filtered_line_whose_hit_lies_in_another_block_is_found_from_its_start(
    log: Path,
) -> None:
    data = b"".join(b"x" * (n * 37 % 700) + b" foo" * (n % 3) + b"\n" for n in range(200))
    log.write_bytes(data)
    kept = [unit for unit in units_of(data) if b"foo" in data[unit[0] : unit[1]]]
    search = Search(FileSource(log), Pattern("foo"))
    await search.count(len(data))
    for number, (start, end) in enumerate(kept):
        assert await search.units(start, len(data), 3) == kept[number : number + 3]
        before = await search.units(end, len(data), 3, backward=True)
        assert before == kept[max(0, number - 2) : number + 1]
    await search.aclose()


async def test_a_count_goes_on_when_the_log_has_grown(log: Path) -> None:
    source = FileSource(log)
    search = Search(source, Pattern("needle"))
    data = b"one needle and a nee"
    log.write_bytes(data)
    await search.count(len(data))
    assert search.total == 1
    for more in (b"dle\n", b"x" * 5000 + b"needle", b"y" * 3_000_000 + b"needle\n", b"end"):
        data += more
        log.write_bytes(data)
        await search.count(len(data))
        assert search.total == data.count(b"needle")
        assert search.census.covered == len(data)
    await search.aclose()
    await source.aclose()


async def test_an_expression_starts_no_process_whenever_the_log_has_grown(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = 0
    start = asyncio.create_subprocess_exec

    async def counted(*words: str, **options: Any) -> asyncio.subprocess.Process:
        nonlocal started
        started += 1
        return await start(*words, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", counted)
    log.write_bytes(lines(1000))
    source = FileSource(log)
    search = Search(source, Pattern("loss 1[.]", regex=True))
    for _ in range(6):
        await search.count(log.stat().st_size)
        data = log.read_bytes()
        assert search.progress is Progress.DONE and search.total == data.count(b"loss 1.")
        log.write_bytes(data + b"step 1 | loss 1.5\n")
    assert started == 1
    await search.aclose()
    await source.aclose()


@pytest.mark.parametrize("text", ["loss", "LOSS 2", "memory grows"])
async def test_what_a_log_grows_by_in_a_moment_is_counted_at_once(log: Path, text: str) -> None:
    data = lines(40_000)
    source = FileSource(log)
    search = Search(source, Pattern(text, ignore_case=text.isupper()))
    for end in (10, 60, 61, 400_000, 400_003, 1_400_000, len(data)):
        log.write_bytes(data[:end])
        await search.catch_up(end)
        flags = re.IGNORECASE if text.isupper() else 0
        assert search.total == len(re.findall(text.encode(), data[:end], flags))
        assert search.progress is Progress.DONE and search.census.covered == end
    await search.aclose()
    await source.aclose()


@pytest.mark.parametrize("pattern", [Pattern("loss"), Pattern("loss", regex=True)])
async def test_a_count_only_grows_while_it_goes_on(log: Path, pattern: Pattern) -> None:
    data = lines(80_000)
    log.write_bytes(data[:400_000])
    source = FileSource(log)
    search = Search(source, pattern)
    await search.count(400_000)
    log.write_bytes(data)
    totals = [search.total]
    await search.count(len(data), lambda: totals.append(search.total))
    assert totals == sorted(totals) and totals[-1] == data.count(b"loss")
    await search.aclose()
    await source.aclose()


async def test_case_beyond_ascii_is_folded(log: Path) -> None:
    log.write_bytes("Größe GRÖSSE größe GRÖßE\n".encode())
    source = FileSource(log)
    search = Search(source, Pattern("größe", ignore_case=True))
    await search.count(log.stat().st_size)
    assert search.total == 3
    await search.aclose()
    await source.aclose()


# ------------------------------------------------------------------------ stopping and refusing


async def test_an_expression_that_never_ends_is_stopped_and_the_next_request_works(
    log: Path, eventually: Eventually
) -> None:
    log.write_bytes(b"fine aaab\n" + b"a" * 60 + b"!\n")
    source = FileSource(log)
    size = log.stat().st_size
    search = Search(source, Pattern("(a+)+b", regex=True))
    counting = asyncio.create_task(search.count(size))
    await eventually(lambda: any(worker._process for worker in search._counters))
    running = next(worker._process for worker in search._counters if worker._process)
    seeking = asyncio.create_task(search.next(20, size))
    await eventually(lambda: search._finder._process is not None)
    search.stop()
    await counting
    assert search.progress is Progress.STOPPED
    with pytest.raises(ScanEnded):
        await seeking
    assert running.returncode is not None
    assert await search.next(0, 10) == Hit(5, 9), "what can be found still is"
    await search.aclose()
    await source.aclose()


async def test_a_search_that_is_closed_while_it_is_asked_ends_for_both(
    log: Path, eventually: Eventually
) -> None:
    log.write_bytes(b"a" * 60 + b"!\n")
    source = FileSource(log)
    search = Search(source, Pattern("(a+)+b", regex=True))
    seeking = asyncio.create_task(search.next(0, log.stat().st_size))
    await eventually(lambda: search._finder._process is not None)
    running = search._finder._process
    await asyncio.sleep(0)  # it waits for the answer by now
    await search.aclose()
    with pytest.raises(ScanEnded):
        await seeking
    assert running is not None and running.returncode is not None
    await source.aclose()


async def test_a_cancelled_count_leaves_no_process_and_keeps_what_it_has(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(40 << 30)  # sparse: far more than can be read before the cancellation
    source = FileSource(log)
    search = Search(source, Pattern("needle"))
    more = asyncio.Event()
    counting = asyncio.create_task(search.count(40 << 30, on_progress=more.set))
    await more.wait()
    processes = [worker._process for worker in search._counters]
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    assert search.progress is Progress.STOPPED
    assert 0 < search.done < 40 << 30
    assert all(process is not None and process.returncode is not None for process in processes)
    await search.aclose()
    await source.aclose()


async def test_a_scanner_dies_with_its_console_even_inside_an_endless_match(
    log: Path, tmp_path: Path, eventually: Eventually
) -> None:
    log.write_bytes(b"a" * 60 + b"!\n")
    program = tmp_path / "console.py"
    program.write_text(
        "import asyncio, sys\n"
        "from traindeck.console.logs.search import Pattern, Search\n"
        "from traindeck.console.logs.source import FileSource\n"
        "async def main():\n"
        "    search = Search(FileSource(sys.argv[1]), Pattern('(a+)+b', regex=True))\n"
        "    task = asyncio.create_task(search.count(62))\n"
        "    while not (search._counters and search._counters[0]._process):\n"
        "        await asyncio.sleep(0.01)\n"
        "    print(search._counters[0]._process.pid, flush=True)\n"
        "    await task\n"
        "asyncio.run(main())\n"
    )
    console = await asyncio.create_subprocess_exec(
        os.sys.executable, program, log, stdout=asyncio.subprocess.PIPE
    )
    assert console.stdout is not None
    pid = int(await console.stdout.readline())

    def burning() -> bool:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) > 20  # 0.2 s of CPU: it is inside the match

    await eventually(burning)
    console.kill()
    await console.wait()

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    await eventually(gone)


async def test_searches_leave_no_process_and_no_descriptor_behind(log: Path) -> None:
    log.write_bytes(lines(2_000))
    source = FileSource(log)
    size = log.stat().st_size
    await source.stat()
    before = len(os.listdir("/proc/self/fd"))
    for turn in range(15):
        search = Search(source, Pattern("mem[a-z]+y", regex=True))
        counting = asyncio.create_task(search.count(size))
        assert await search.next(0, size) is not None
        await search.within([(0, size)])
        if turn % 2:
            search.stop()
        await counting
        await search.aclose()
    assert len(os.listdir("/proc/self/fd")) == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [pid for pid in children if "logs.scanner" in _argv(pid)]
    await source.aclose()


def _argv(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("pattern", ["(", "a{9999999999}", "(?P<x>a)(?P<x>b)", "[z-a]", "(?<=a+)b"])
async def test_a_wrong_expression_is_refused_in_words(log: Path, pattern: str) -> None:
    log.write_bytes(b"text\n")
    source = FileSource(log)
    search = Search(source, Pattern(pattern, regex=True))
    await search.count(5)
    assert search.progress is Progress.FAILED
    assert search.error.startswith("not a regular expression: ")
    with pytest.raises(UsageError, match="not a regular expression"):
        await search.next(0, 5)
    await search.aclose()
    await source.aclose()


@pytest.mark.parametrize("text", ["", "two\nlines"])
def test_a_search_for_nothing_or_for_two_lines_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Search(FileSource("/nowhere"), Pattern(text))


async def test_the_event_loop_goes_on_while_a_log_is_counted(log: Path) -> None:
    log.write_bytes(lines(300_000))
    source = FileSource(log)
    search = Search(source, Pattern("[0-9]+ GB", regex=True))
    counting = asyncio.create_task(search.count(log.stat().st_size))
    turns = 0
    cpu = time.thread_time()
    while not counting.done():
        await asyncio.sleep(0)
        turns += 1
    # The CPU of this thread is spent in turns of the loop: hardly any single one can be long.
    assert turns > 100 * (time.thread_time() - cpu)
    assert search.total == 300_000
    await search.aclose()
    await source.aclose()


# ------------------------------------------------------------------------------- far away


class Far:
    """A log on another machine: bytes by request, and a search over there for fixed strings."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.finds = 0
        self.reads: list[tuple[int, int]] = []

    async def stat(self) -> LogStat:
        return LogStat(size=len(self.data), identity="far")

    async def read_at(self, offset: int, size: int) -> bytes:
        self.reads.append((offset, size))
        return self.data[offset : offset + size]

    async def local_fd(self) -> int | None:
        return None

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        self.finds += 1
        at = self.data.rfind(needle, 0, offset) if backward else self.data.find(needle, offset)
        return None if at < 0 else at

    async def aclose(self) -> None: ...


async def test_a_log_far_away_is_counted_by_reading_and_searched_over_there() -> None:
    far = Far(lines(100_000))
    search = Search(far, Pattern("memory"))
    expected = everywhere(b"memory", far.data)
    assert await search.next(0, len(far.data)) == expected[0]
    assert await search.next(len(far.data), len(far.data), backward=True) == expected[-1]
    assert (far.finds, far.reads) == (2, [])
    await search.count(len(far.data))
    assert search.total == len(expected)
    assert sum(size for _, size in far.reads) < 1.2 * len(far.data)
    await search.aclose()
    other = Search(far, Pattern("mem[a-z]*y", regex=True))
    await other.count(len(far.data))
    assert other.total == len(expected)
    assert await other.next(expected[3].start, len(far.data)) == expected[3]
    await other.aclose()


async def test_a_place_that_stops_answering_fails_the_count_with_its_reason() -> None:
    class Gone(Far):
        async def read_at(self, offset: int, size: int) -> bytes:
            from traindeck.backends.base import Unreachable

            raise Unreachable("gpu1 did not answer.")

    search = Search(Gone(b"x" * 1000), Pattern("y"))
    await search.count(1000)
    assert (search.progress, search.error) == (Progress.FAILED, "gpu1 did not answer.")
    await search.aclose()
