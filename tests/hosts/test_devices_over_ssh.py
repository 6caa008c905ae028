"""The devices of another machine, over a real sshd, are told as those of this one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.services.nvml import GB, Nvml, Proc, h100
from tests.services.sshd import Box, Sshd

from traindeck.backends.hosts.ssh import SSHHost
from traindeck.backends.process import ProcessBackend

PATIENCE = 60.0


@pytest.mark.parametrize("transport", ["paramiko", "openssh"])
async def test_devices_elsewhere_are_told_as_those_here(tmp_path: Path, transport: str) -> None:
    (tmp_path / "nvml").mkdir()
    nvml = Nvml(tmp_path / "nvml", h100(2))
    with Sshd(tmp_path / "ssh", Box(env=nvml.environ())) as sshd:
        host = SSHHost("box0", "box0", config_file=str(sshd.config), transport=transport)
        backend = ProcessBackend("box0", host, kind="ssh")
        mine = Proc(pid=sshd[0].pid, memory=3 * GB)
        try:
            async with asyncio.timeout(PATIENCE), backend.devices(0.1) as reports:
                report = await anext(reports)
                assert [one.uuid for one in report.devices] == [c.uuid for c in nvml.state.cards]
                nvml.show(nvml.state.card(1, utilization_gpu=64, processes=(mine,)))
                async for report in reports:
                    if report.devices[1].utilization_pct == 64:
                        break
                (process,) = report.devices[1].processes
                assert (process.pid, process.memory_bytes) == (mine.pid, 3 * GB)
                assert "sshd" in (process.command or "")
            # The bindings went along, once, and nothing of ours is left there but the agent.
            (library,) = (sshd[0].home / ".traindeck/bin").glob("pynvml-*/pynvml.py")
            assert library.stat().st_mode & 0o077 == 0
            assert (sshd[0].home / ".traindeck/devices").stat().st_mode & 0o077 == 0
        finally:
            await backend.aclose()
