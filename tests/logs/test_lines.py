"""Lines: the end of any log at once, folded progress bars, huge lines in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from traindeck.backends.base import LogStat
from traindeck.console.logs.lines import Line, Lines, make_line
from traindeck.console.logs.neutral import neutral
from traindeck.console.logs.source import FileSource, Pages
from traindeck.console.logs.units import REACH, SEGMENT


class Memory:
    """A source in memory that counts the bytes it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked = 0

    async def stat(self) -> LogStat:
        return LogStat(size=len(self.data), identity="m")

    async def read_at(self, offset: int, size: int) -> bytes:
        self.asked += size
        return self.data[offset : offset + size]

    async def local_fd(self) -> int | None:
        return None

    async def find(self, needle: bytes, offset: int, *, backward: bool = False) -> int | None:
        raise NotImplementedError

    async def aclose(self) -> None: ...


async def lines_of(data: bytes) -> Lines:
    pages = Pages(Memory(data), page=1024)
    await pages.refresh()
    return Lines(pages)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.binary(max_size=60).filter(lambda b: b"\n" not in b), max_size=30), st.booleans()
)
async def test_walking_back_from_the_end_sees_the_lines_of_the_log(
    content: list[bytes], finished: bool
) -> None:
    data = b"\n".join(content) + (b"\n" if finished else b"")
    lines = await lines_of(data)
    last = await lines.last(1000)
    assert b"".join(data[line.start : line.end] for line in last) == data
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert len(last) == len(expected)
    for line, text in zip(last, expected, strict=True):
        if b"\r" not in text:
            assert line.data == text
        assert data[line.start + line.skip :].startswith(line.data)


@pytest.mark.parametrize(
    ("data", "shown", "updates"),
    [
        (b"plain\n", b"plain", 1),
        (b"windows\r\n", b"windows", 1),
        (b"\r  0%|  |\r 50%|# |\r100%|##|\n", b"100%|##|", 3),
        (b"a\rb\rc", b"c", 3),
        (b"Loading\r\r\r\n", b"Loading", 1),
        (b" 10%\r 20%\r      \r\n", b" 20%", 2),
        (b" 10%\r 20%\r      \n", b" 20%", 2),
        (b"\r 1%\r 2%\r      \rstep 3 loss\n", b"step 3 loss", 1),
        (b"\r      \r 1%\r      \r 2%\n", b" 2%", 2),
        (b"\r      \r 1%\n", b" 1%", 1),
        (b"\r\r\n", b"", 1),
        (b"", b"", 1),
        (b"nul\x00bytes\x00\n", b"nul\x00bytes\x00", 1),
    ],
)
def test_carriage_returns_fold_to_the_last_state_and_are_counted(
    data: bytes, shown: bytes, updates: int
) -> None:
    line = make_line(100, data)
    assert (line.data, max(1, line.updates)) == (shown, updates)
    assert (line.start, line.end) == (100, 100 + len(data))
    assert data[line.skip :].startswith(shown)


async def test_the_end_of_ten_gigabytes_is_read_and_nothing_else(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(10 << 30)
        file.seek(0, 2)
        file.write(b"\n" + b"".join(b"line %d\n" % n for n in range(1000)))

    class Counting(FileSource):
        asked = 0

        async def read_at(self, offset: int, size: int) -> bytes:
            Counting.asked += size
            return await super().read_at(offset, size)

    pages = Pages(Counting(log))
    await pages.refresh()
    last = await Lines(pages).last(40)
    assert [line.data for line in last] == [b"line %d" % n for n in range(960, 1000)]
    assert Counting.asked < 300_000
    middle = await Lines(pages).start_of(5 << 30)
    assert (5 << 30) - middle < 2 * SEGMENT, "a hole is a line too; it falls into pieces"
    assert Counting.asked < 500_000
    await pages.source.aclose()


async def test_a_line_of_200_megabytes_is_never_held(log: Path) -> None:
    size = 200 << 20
    with log.open("wb") as file:
        file.write(b"before\n")
        for _ in range(size >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b"\nafter\n")
    pages = Pages(FileSource(log))
    await pages.refresh()
    lines = Lines(pages)
    after, *_ = (await lines.last(1))[-1:]
    assert after.data == b"after"
    piece = (await lines.last(2))[0]
    assert len(piece.data) < 2 * SEGMENT and not piece.head
    start = await lines.start_of(size // 2)
    there = await lines.load(await lines.forward(start, 3))
    assert all(line.data == b"x" * SEGMENT and not line.head and not line.tail for line in there)
    assert len(pages._kept) * 65536 <= 8 << 20
    await pages.source.aclose()


async def test_a_running_progress_bar_is_one_line_that_moves() -> None:
    bar = b"".join(b"\r%3d%%|%s" % (n // 30, b"#" * 30) for n in range(3000))
    lines = await lines_of(b"start\n" + bar)
    last = await lines.last(2)
    assert [line.data[:4] for line in last] == [b"star", b" 99%"]
    assert last[1].updates == 3000
    assert len(bar) < REACH


async def test_no_character_is_cut_where_a_long_line_is() -> None:
    text = "日本語🫨é" * (SEGMENT // 4)
    for shift in range(4):
        data = b"a" * shift + text.encode() + b"\n"
        lines = await lines_of(data)
        last = await lines.last(1000)
        assert len(last) > 3
        assert "\ufffd" not in "".join(neutral(line.data).text for line in last)
        assert b"".join(line.data for line in last) + b"\n" == data


async def test_bytes_that_are_no_text_are_cut_anywhere_without_harm() -> None:
    data = b"\x80" * (3 * SEGMENT) + b"\n"
    lines = await lines_of(data)
    last = await lines.last(10)
    assert last[0].start == 0 and last[-1].end == len(data)
    assert all(isinstance(line, Line) for line in last)
