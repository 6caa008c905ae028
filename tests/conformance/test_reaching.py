"""Getting at a run where it is: all its files in a stream, a terminal, its ports."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace

import pytest
from tests.conformance.conftest import Suite

from traindeck.backends.base import (
    Backend,
    BackendError,
    Blob,
    Capability,
    Fetch,
    FilePiece,
    Forward,
    JobRef,
    Outcome,
    Shell,
    Terminal,
    TerminalSize,
    Unreachable,
    Wanted,
)


def blob(data: bytes) -> Blob:
    return Blob(digest=hashlib.sha256(data).hexdigest(), size=len(data), data=data)


def files_of(suite: Suite) -> Fetch:
    if not isinstance(suite.backend, Fetch):
        pytest.skip("no Fetch")
    return suite.backend


async def with_files(suite: Suite, **files: bytes) -> JobRef:
    """A run that is over, with files; `__` in a name stands for a slash."""
    blobs = {name.replace("__", "/"): blob(data) for name, data in files.items()}
    ref = await suite.submit(await suite.plan(suite.spec("out:x", files=blobs)))
    await suite.until(ref)
    return ref


async def fetched(files: Fetch, ref: JobRef, *wanted: Wanted) -> list[FilePiece]:
    async with files.fetch(ref, wanted) as pieces:
        return [piece async for piece in pieces]


def test_the_flags_say_what_the_backend_has(suite: Suite) -> None:
    backend: Backend = suite.backend
    for flag, protocol in ((Capability.SHELL, Shell), (Capability.FORWARD, Forward)):
        assert bool(backend.capabilities & flag) == isinstance(backend, protocol), flag


async def test_one_question_lists_all_that_lies_below_a_folder(suite: Suite) -> None:
    files = files_of(suite)
    ref = await with_files(suite, artifacts__a__b__c=b"12345", artifacts__top=b"1")
    found = {entry.path: entry for entry in await files.list_below(ref, "artifacts")}
    assert list(found) == sorted(found) or "artifacts/a" in found
    assert {path for path, entry in found.items() if entry.is_dir} == {
        "artifacts/a",
        "artifacts/a/b",
    }
    assert found["artifacts/a/b/c"].size == 5
    assert list(found).index("artifacts/a") < list(found).index("artifacts/a/b/c")
    everything = {entry.path for entry in await files.list_below(ref)}
    assert {"run.json", "artifacts/top", "attempts/0/logs/0.log"} <= everything
    (alone,) = await files.list_below(ref, "artifacts/top")
    assert (alone.path, alone.size, alone.is_dir) == ("artifacts/top", 1, False)


async def test_one_question_brings_many_files_of_any_size(suite: Suite) -> None:
    files = files_of(suite)
    content = {f"artifacts__{n}": os.urandom(n * 1000) for n in (0, 1, 17, 3000)}
    ref = await with_files(suite, **content)
    wanted = [Wanted(path=name.replace("__", "/")) for name in content]
    pieces = await fetched(files, ref, *wanted)
    for name, data in content.items():
        of = [piece for piece in pieces if piece.path == name.replace("__", "/")]
        assert b"".join(piece.data for piece in of) == data
        assert [piece.end for piece in of] == [False] * (len(of) - 1) + [True]
        assert {piece.size for piece in of} == {len(data)}
        assert of[0].offset == 0


async def test_a_file_goes_on_at_the_byte_while_it_is_the_same(suite: Suite) -> None:
    files = files_of(suite)
    data = os.urandom(100_000)
    ref = await with_files(suite, artifacts__x=data)
    (entry,) = await files.list_below(ref, "artifacts/x")

    def wanted(offset: int, modified: float | None) -> Wanted:
        return Wanted(path="artifacts/x", offset=offset, modified=modified)

    for modified in (None, entry.modified):
        first, *_ = pieces = await fetched(files, ref, wanted(70_000, modified))
        assert first.offset == 70_000
        assert b"".join(piece.data for piece in pieces) == data[70_000:]
    for other in (wanted(70_000, entry.modified + 1), wanted(200_000, None)):
        first, *_ = pieces = await fetched(files, ref, other)
        assert first.offset == 0 and b"".join(piece.data for piece in pieces) == data
    (nothing,) = await fetched(files, ref, wanted(100_000, None))
    assert (nothing.data, nothing.end, nothing.offset) == (b"", True, 100_000)


async def test_a_file_that_cannot_be_read_keeps_none_from_coming(suite: Suite) -> None:
    files = files_of(suite)
    ref = await with_files(suite, artifacts__x=b"here")
    pieces = await fetched(files, ref, Wanted(path="artifacts/gone"), Wanted(path="artifacts/x"))
    gone, here = pieces
    assert gone.end and len(gone.error) > 5 and not gone.data
    assert here.data == b"here" and not here.error


async def test_a_stream_of_files_that_is_left_leaves_nothing_behind(suite: Suite) -> None:
    files = files_of(suite)
    ref = await with_files(suite, artifacts__x=os.urandom(5_000_000))
    for _ in range(20):
        async with files.fetch(ref, [Wanted(path="artifacts/x")]) as pieces:
            async for _piece in pieces:
                break
    pieces_of = await fetched(files, ref, Wanted(path="artifacts/x"))
    assert sum(len(piece.data) for piece in pieces_of) == 5_000_000


async def test_files_of_no_run_and_paths_that_lead_out_are_refused(suite: Suite) -> None:
    files = files_of(suite)
    ref = await with_files(suite, artifacts__x=b"here")
    unknown = replace(ref, run_id="0" * 12)
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await files.list_below(unknown)
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await fetched(files, unknown, Wanted(path="run.json"))
    for path in ("../x", "a/../../x", "no-such-file"):
        with pytest.raises(BackendError, match=r"\w+ \w+"):
            await files.list_below(ref, path)


async def test_a_stream_that_is_cut_says_so(suite: Suite) -> None:
    files = files_of(suite)
    cut = suite.need("cut")
    ref = await with_files(suite, artifacts__x=os.urandom(20_000_000))
    with pytest.raises(Unreachable):
        async with files.fetch(ref, [Wanted(path="artifacts/x")]) as pieces:
            async for _piece in pieces:
                cut()


# ------------------------------------------------------------------------------------------ shell


def shell_of(suite: Suite) -> Shell:
    if not isinstance(suite.backend, Shell):
        pytest.skip("no Shell")
    return suite.backend


async def all_of(terminal: Terminal) -> dict[int, bytes]:
    found = {1: b"", 2: b""}
    while True:
        number, data = await terminal.read()
        if not data:
            return found
        found[number] += data


async def test_a_command_runs_where_the_run_is_and_its_end_comes_back(suite: Suite) -> None:
    shell = shell_of(suite)
    ref = await with_files(suite, artifacts__x=b"here")
    words = "cat artifacts/x; echo err >&2; echo $TRAINDECK_RUN_ID; cat; exit 9"
    terminal = await shell.shell(ref, ["sh", "-c", words])
    await terminal.write(b"typed")
    await terminal.write_eof()
    found = await all_of(terminal)
    assert found == {1: b"here" + ref.run_id.encode() + b"\ntyped", 2: b"err\n"}
    done = await terminal.wait()
    assert (done.outcome, done.code) == (Outcome.EXITED, 9)
    await terminal.aclose()


async def test_a_terminal_has_a_size_and_echoes(suite: Suite) -> None:
    shell = shell_of(suite)
    ref = await with_files(suite)
    size = TerminalSize(columns=91, rows=17)
    words = (
        "test -t 0 && stty size && read line && "
        'until [ "$(stty size)" != "17 91" ]; do sleep 0.05; done && stty size'
    )
    terminal = await shell.shell(ref, ["sh", "-c", words], size=size)
    seen = b""
    while b"17 91" not in seen:
        number, data = await terminal.read()
        assert number == 1 and data
        seen += data
    await terminal.resize(TerminalSize(columns=120, rows=50))
    await terminal.write(b"go\r")
    seen += (await all_of(terminal))[1]
    assert b"go" in seen and b"50 120" in seen
    assert (await terminal.wait()).code == 0
    await terminal.aclose()


async def test_what_is_hung_up_on_ends_and_is_no_part_of_the_run(suite: Suite) -> None:
    shell = shell_of(suite)
    ref = await suite.launch("out:up", "hold")
    await suite.said(ref, "up")
    terminal = await shell.shell(ref, ["sleep", "600"], size=TerminalSize())
    await suite.backend.cancel(ref, grace=0.1)
    await suite.until(ref)  # it does not wait for the shell
    await terminal.aclose()
    assert (await terminal.wait()).outcome is not Outcome.EXITED
    await terminal.aclose()


async def test_a_shell_of_a_run_that_is_gone_is_refused(suite: Suite) -> None:
    shell = shell_of(suite)
    ref = await with_files(suite)
    with pytest.raises(BackendError, match=r"\w+ \w+"):
        await shell.shell(replace(ref, run_id="0" * 12), ["true"])


# ---------------------------------------------------------------------------------------- forward

SERVES = (
    "import socket, os, sys\n"
    "s = socket.create_server(('127.0.0.1', 0))\n"
    "print('port', s.getsockname()[1], 'end', flush=True)\n"
    "while True:\n"
    "    c, _ = s.accept()\n"
    "    data = b''\n"
    "    while piece := c.recv(65536): data += piece\n"
    "    c.sendall(data[::-1]); c.close()\n"
)


async def test_what_a_run_listens_on_is_found_and_reached(suite: Suite) -> None:
    forward = suite.backend
    if not isinstance(forward, Forward):
        pytest.skip("no Forward")
    ref = await suite.launch(argv=(suite.subject.python, "-c", SERVES))
    log = b"".join(chunk.data for chunk in await suite.read(ref, until=b"end"))
    port = int(log.split()[1])
    (listener,) = await forward.listeners(ref)
    assert listener.port == port
    data = os.urandom(300_000)
    for _ in range(3):
        reader, writer = await forward.connect(ref, port)
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(suite.subject.patience):
            assert await reader.read() == data[::-1]
        writer.close()
    await suite.backend.cancel(ref, grace=0.0)
    await suite.until(ref)
    assert await forward.listeners(ref) == []
    with pytest.raises(BackendError, match=str(port)):
        await forward.connect(ref, port)
