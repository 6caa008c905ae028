"""Code on its way to a machine over SSH: large files, and a link that is cut in the middle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.fakes.content import MemoryContent
from tests.hosts.test_ssh import TRANSPORTS, host
from tests.services.proxy import Proxy
from tests.services.sshd import Box, Sshd

from traindeck.backends.base import Code, RunSpec, Unreachable
from traindeck.backends.process import ProcessBackend
from traindeck.backends.sending import AHEAD, PIECE
from traindeck.console.store.ids import mint_id

MIB = 1 << 20


def of(content: MemoryContent) -> Code:
    """As if it were the code of the folder that the job starts in."""
    return Code(mode="snapshot", root="/", tree=content.tree)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_cut_link_costs_no_more_than_what_was_under_way(
    tmp_path: Path, transport: str
) -> None:
    large = os.urandom(24 * MIB)
    small = {f"pkg{n % 20}/m{n}.py": b"x = %d\n" % n for n in range(2_000)}
    code = MemoryContent({"weights.bin": large, **small}, ["out"])
    with Sshd(tmp_path, Box()) as sshd, Proxy(sshd[0].port) as proxy:
        sshd.write_configuration(ports={"box0": proxy.port})
        async with host(sshd, transport=transport) as made:
            backend = ProcessBackend("box0", made, kind="ssh")
            spec = RunSpec(
                run_id=mint_id(), argv=("/bin/cat", "pkg3/m3.py"), cwd="/", code=of(code)
            )
            plan = backend.plan(spec, await backend.survey(spec))
            proxy.cut_after(12 * MIB, "up")
            with pytest.raises(Unreachable):
                await backend.submit(plan)
            before = proxy.counts().up
            ref = await backend.submit(plan)
            again = proxy.counts().up - before
            sent = await backend.read_file(ref, "code/weights.bin", 23 * MIB, MIB)
            assert sent == large[23 * MIB :]
            entries = await backend.list_files(ref, "code")
            assert len(entries) == 22
            assert 12 * MIB < again < (12 + AHEAD + 2) * PIECE
            # Another run of it, with one file changed, is a few kilobytes.
            later = MemoryContent({"weights.bin": large, **small, "pkg3/m3.py": b"new\n"}, ["out"])
            later.places = code.places
            spec = RunSpec(run_id=mint_id(), argv=("/bin/true",), cwd="/", code=of(later))
            before = proxy.counts().up
            ref = await backend.submit(backend.plan(spec, await backend.survey(spec)))
            assert proxy.counts().up - before < 64 << 10
            assert await backend.read_file(ref, "code/pkg3/m3.py", 0, 10) == b"new\n"
