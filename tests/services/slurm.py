"""A real Slurm cluster on the loopback: its own munged, a controller, nodes with fake GPUs, and a
slurmrestd and a slurmdbd if they are asked for.

Everything lies in one folder of its own with a short path (a socket's may have 108 bytes), open to
nobody but for what slurmrestd, which refuses to be root, must read. The daemons stay in the
foreground as our children and are told to end with us; the steps of jobs, which outlive a node's
daemon by design, are found by the configuration file that their environment names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.services import free_port, kill, marked, missing, need, slurmdbd

PACKAGES = "slurmctld slurmd slurm-client munge"
REST_PACKAGES = "slurmrestd slurm-wlm-jwt-plugin"
PATIENCE = 60.0
"""Seconds after which a condition that is waited for is taken for a failure."""
NOBODY = 65534

SETTINGS = {
    "ClusterName": "test",
    "SlurmUser": "root",
    "SlurmdUser": "root",
    "AuthType": "auth/munge",
    "ProctrackType": "proctrack/linuxproc",
    "TaskPlugin": "task/none",
    "SelectType": "select/cons_tres",
    "SelectTypeParameters": "CR_Core",
    "SchedulerParameters": "sched_interval=1,batch_sched_delay=0,bf_interval=1",
    "ReturnToService": "2",
    "SlurmdTimeout": "10",
    "KillWait": "5",
    "MinJobAge": "300",
    "GresTypes": "gpu",
    "MpiDefault": "none",
    "JobRequeue": "1",
    "AccountingStorageType": "accounting_storage/none",
    # The nodes claim more processors than the machine has.
    "SlurmdParameters": "config_overrides",
}
PARTITIONS = {
    "gpu": "Nodes=ALL Default=YES MaxTime=1-00:00:00 State=UP OverSubscribe=NO",
    "short": "Nodes=ALL MaxTime=00:10:00 State=UP",
}


class Cluster:
    """A running cluster.

    Args:
        nodes, gpus, cpus: How many nodes (`n0`, `n1`, …), and what each claims to have.
        rest: Whether slurmrestd is started too.
        accounting: Whether there is a slurmdbd, which knows the cluster and nobody's account yet.
        settings: Lines of slurm.conf that are other than usual (`{"KillWait": "30"}`); None leaves
            one out.
        partitions: Other partitions than `gpu` and `short`, by name.
        apart: Each node has a network of its own, as machines have: its loopback is not ours, and
            its address is not a loopback's.

    Attributes:
        conf: Its slurm.conf.
        env: An environment in which its commands find it.
        rest_url: Where slurmrestd answers, "" without it.
    """

    def __init__(
        self,
        *,
        nodes: int = 2,
        gpus: int = 4,
        cpus: int = 4,
        rest: bool = False,
        accounting: bool = False,
        settings: Mapping[str, str | None] | None = None,
        partitions: Mapping[str, str] | None = None,
        apart: bool = False,
    ) -> None:
        for program in ("slurmctld", "slurmd", "munged", "sbatch", "setpriv"):
            need(program, PACKAGES)
        if rest:
            need("slurmrestd", REST_PACKAGES)
        for program in slurmdbd.PROGRAMS if accounting else ():
            need(program, slurmdbd.PACKAGES)
        if os.geteuid() != 0:
            missing("only root can make the device nodes that stand in for GPUs")
        self.nodes = [f"n{number}" for number in range(nodes)]
        self.networks = Networks(self.nodes) if apart else None
        self.gpus = gpus
        self.cpus = cpus
        self.rest = rest
        self.accounting = accounting
        self.settings = {**SETTINGS, **(settings or {})}
        self.partitions = PARTITIONS if partitions is None else partitions
        self.folder = Path(tempfile.mkdtemp(prefix="td-slurm-"))
        self.conf = self.folder / "slurm.conf"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
        self.env["SLURM_CONF"] = str(self.conf)
        self.rest_url = ""
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    # -- starting and stopping

    def start(self) -> None:
        """Start everything and wait until all nodes are idle."""
        for name in ("state", "spool", "log", "run", "dev"):
            (self.folder / name).mkdir()
        if self.networks is not None:
            self.networks.make()
        _secret(self.folder / "munge.key", 128, 0o400)
        _secret(self.folder / "jwt.key", 32, 0o600)
        for number in range(self.gpus):
            # A plain file is refused; a device node that nothing opens is enough.
            path = str(self.folder / "dev" / f"gpu{number}")
            os.mknod(path, 0o600 | 0o020000, os.makedev(195, number))
        if self.rest:
            self.folder.chmod(0o711)
            (self.folder / "run").chmod(0o711)
        for attempt in range(3):
            self._configure()
            try:
                self._start_all()
                return
            except PortTaken:
                # Somebody was given a port between our looking and our taking.
                self._end_daemons()
                shutil.rmtree(self.folder / "state")
                (self.folder / "state").mkdir()
                shutil.rmtree(self.folder / "db", ignore_errors=True)
                if attempt == 2:
                    raise

    def _start_all(self) -> None:
        self._start_munge()
        if self.accounting:
            self.start_accounting()
        self.start_controller()
        for node in self.nodes:
            self.start_node(node)
        until(lambda: self.idle() == len(self.nodes), "all nodes to be idle", self._check)
        if self.rest:
            self._start_rest()

    def stop(self) -> None:
        """End all jobs, all daemons and what they left, and remove the folder."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self.run("scancel", "--signal=KILL", "--full", "--user=root", timeout=10)
        self._end_daemons()
        end = time.monotonic() + 10
        while left := self._steps():
            kill(left)
            assert time.monotonic() < end, f"processes {left} of the cluster cannot be ended"
            time.sleep(0.02)
        if self.networks is not None:
            self.networks.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start_controller(self) -> None:
        """Start slurmctld (again)."""
        self._spawn("slurmctld", "slurmctld", "-D")
        until(self._controller_answers, "slurmctld to answer", self._check)

    def stop_controller(self, number: int = signal.SIGTERM) -> None:
        """End slurmctld; jobs go on."""
        self._end("slurmctld", number)

    def start_accounting(self) -> None:
        """Start the database and slurmdbd (again)."""
        listens = slurmdbd.socket(self.folder)
        self._spawn("mariadbd", *slurmdbd.database(self.folder))
        until(listens.exists, "the database to listen", self._check)
        self._spawn("slurmdbd", "slurmdbd", "-D", more=slurmdbd.environment(self.folder))
        # A slurmctld whose cluster is not known there does not start.
        add = ("sacctmgr", "-i", "-Q", "add", "cluster", self.settings.get("ClusterName") or "test")

        def known() -> bool:
            done = self.run(*add, check=False, timeout=PATIENCE)
            return done.returncode == 0 or "already exists" in done.stdout + done.stderr

        until(known, "slurmdbd to answer", self._check)

    def sacctmgr(self, lines: str) -> None:
        """Do what each line says to the accounting."""
        self.run("sacctmgr", "-i", "-Q", input=lines)

    def stop_accounting(self) -> None:
        """End slurmdbd and its database; the rest goes on without."""
        self._end("slurmdbd")
        self._end("mariadbd")

    def start_node(self, node: str) -> None:
        """Start a node's slurmd (again)."""
        (self.folder / "spool" / node).mkdir(exist_ok=True)
        network = None if self.networks is None else self.networks.name(node)
        self._spawn(f"slurmd-{node}", "slurmd", "-D", "-N", node, network=network)

    def stop_node(self, node: str, number: int = signal.SIGTERM) -> None:
        """End a node's slurmd; its jobs go on until the controller calls the node down."""
        self._end(f"slurmd-{node}", number)

    def _start_munge(self) -> None:
        folder = self.folder
        self._spawn(
            "munged",
            "munged",
            "--foreground",
            "--force",
            f"--key-file={folder}/munge.key",
            f"--socket={folder}/run/munge.sock",
            f"--pid-file={folder}/run/munged.pid",
            f"--log-file={folder}/log/munged.log",
            f"--seed-file={folder}/munge.seed",
        )
        until((folder / "run" / "munge.sock").exists, "munged to listen", self._check)

    def _start_rest(self) -> None:
        port = _free_ports(1)[0]
        self._spawn(
            "slurmrestd",
            "slurmrestd",
            # Without this it dies for want of a database.
            *("-s", "openapi/v0.0.38", "-a", "rest_auth/jwt", f"127.0.0.1:{port}"),
            user=NOBODY,
            more={"SLURM_JWT": "daemon"},
        )
        until(lambda: _listens(port), "slurmrestd to listen", self._check)
        self.rest_url = f"http://127.0.0.1:{port}"
        (self.folder / "rest.url").write_text(self.rest_url)

    def _configure(self) -> None:
        folder = self.folder
        host = socket.gethostname().partition(".")[0]
        *ports, accounting = _free_ports(2 + len(self.nodes))
        settings: dict[str, str | None] = {
            "SlurmctldHost": f"{host}({self.address()})",
            "SlurmctldPort": str(ports[0]),
            "AuthInfo": f"socket={folder}/run/munge.sock",
            "SlurmctldPidFile": f"{folder}/run/slurmctld.pid",
            "SlurmdPidFile": f"{folder}/run/slurmd-%n.pid",
            "SlurmctldLogFile": f"{folder}/log/slurmctld.log",
            "SlurmdLogFile": f"{folder}/log/slurmd-%n.log",
            "StateSaveLocation": f"{folder}/state",
            "SlurmdSpoolDir": f"{folder}/spool/%n",
            "JobCompType": "jobcomp/filetxt",
            "JobCompLoc": f"{folder}/log/jobcomp.txt",
        }
        if self.rest:
            settings["AuthAltTypes"] = "auth/jwt"
            settings["AuthAltParameters"] = f"jwt_key={folder}/jwt.key"
        settings.update(self.settings)
        if self.accounting:
            settings.update(slurmdbd.settings(folder, accounting))
            slurmdbd.configure(folder, accounting)
        lines = [f"{name}={value}" for name, value in settings.items() if value is not None]
        gres = f" Gres=gpu:h100:{self.gpus}" if self.gpus else ""
        for node, port in zip(self.nodes, ports[1:], strict=True):
            lines.append(
                f"NodeName={node} NodeHostname={host} NodeAddr={self.address(node)} Port={port} "
                f"CPUs={self.cpus} RealMemory=2000{gres} State=UNKNOWN"
            )
        lines += [f"PartitionName={name} {words}" for name, words in self.partitions.items()]
        self.conf.write_text("\n".join(lines) + "\n")
        devices = f"{folder}/dev/gpu[0-{self.gpus - 1}]" if self.gpus > 1 else f"{folder}/dev/gpu0"
        gres_lines = [f"NodeName={node} Name=gpu Type=h100 File={devices}" for node in self.nodes]
        (folder / "gres.conf").write_text("\n".join(gres_lines if self.gpus else []) + "\n")

    def address(self, node: str = "") -> str:
        """Where a node is reached, or, without one, this machine from the nodes."""
        return "127.0.0.1" if self.networks is None else self.networks.address(node)

    def _spawn(
        self,
        name: str,
        *argv: str,
        user: int | None = None,
        more: Mapping[str, str] | None = None,
        network: str | None = None,
    ) -> None:
        become = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        within = ["nsenter", f"--net=/run/netns/{network}"] if network else []
        with (self.folder / "log" / f"{name}.out").open("ab") as out:
            self._running[name] = subprocess.Popen(
                # Should we be killed, it ends too.
                [
                    *("setpriv", *become, "--pdeathsig=TERM", *within),
                    *(need(argv[0], PACKAGES), *argv[1:]),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**self.env, **(more or {})},
                cwd="/",
                start_new_session=True,
            )

    def _end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _end_daemons(self) -> None:
        for name in reversed(list(self._running)):
            self._end(name)

    def _check(self) -> None:
        """Fail with its own words if a daemon has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                text = (self.folder / "log" / f"{name}.out").read_text("utf-8", "replace")
                if "already in use" in text:
                    raise PortTaken(f"{name}: its port was taken")
                pytest.fail(f"{name} ended with {process.returncode}: {text[-2000:]}")

    def _steps(self) -> set[int]:
        """Processes that carry our configuration file in their environment."""
        return marked(f"SLURM_CONF={self.conf}")

    def _controller_answers(self) -> bool:
        done = self.run("scontrol", "ping", check=False)
        return "UP" in done.stdout

    # -- using it

    def run(
        self, *argv: str, check: bool = True, timeout: float = PATIENCE, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """One of Slurm's commands."""
        env = {**self.env, **more.pop("env", {})}
        done = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=timeout, env=env, **more
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(argv)}: {done.returncode}: {done.stderr or done.stdout}")
        return done

    def sbatch(self, script: str | Sequence[str], *options: str) -> str:
        """Submit a script (its text, or an argv to run) by hand; returns the job's id."""
        import shlex

        text = script if isinstance(script, str) else shlex.join(script)
        if not text.startswith("#!"):
            text = f"#!/bin/sh\n{text}\n"
        output = f"--output={self.folder}/log/job-%A.out"
        done = self.run("sbatch", "--parsable", output, *options, input=text)
        return done.stdout.strip().partition(";")[0]

    def output(self, job: str) -> str:
        """What a job submitted by `sbatch` printed."""
        try:
            return (self.folder / "log" / f"job-{job}.out").read_text("utf-8", "replace")
        except FileNotFoundError:
            return ""

    def show(self, job: str) -> dict[str, str]:
        """`scontrol show job` of one job, field by field; empty if it is not known (any more)."""
        done = self.run("scontrol", "-o", "show", "job", job, check=False)
        words = [word.partition("=") for word in done.stdout.split()]
        return {name: value for name, sign, value in words if sign}

    def state(self, job: str) -> str:
        """The job's state in Slurm's word, "" if it is not known."""
        return self.show(job).get("JobState", "")

    def reaches(self, job: str, *states: str) -> dict[str, str]:
        """Wait for a job to be in one of the states; returns what `show` says then."""
        seen: dict[str, str] = {}

        def there() -> bool:
            seen.clear()
            seen.update(self.show(job))
            return seen.get("JobState") in states

        until(there, f"job {job} to be {' or '.join(states)}", self._check, lambda: str(seen))
        return seen

    def hurry(self, job: str) -> None:
        """Let a requeued job start now: Slurm holds it back for two minutes, from when the last
        process of its last start has gone. Returns when it has started."""
        ask_at = 0.0

        def started() -> bool:
            nonlocal ask_at
            seen = self.show(job)
            now = time.monotonic()
            if seen.get("JobState") == "PENDING" and now >= ask_at and not self._minders(job):
                # Not in the second in which its last start was revoked: a node would refuse it.
                self.run("scontrol", "update", f"JobId={job}", "StartTime=now+2", check=False)
                ask_at = now + 5.0
            return seen.get("JobState") not in ("PENDING", "COMPLETING", "CONFIGURING")

        until(started, f"job {job} to start again", self._check, lambda: str(self.show(job)))

    def steps_of(self, job: str) -> set[int]:
        """The processes of a job, and Slurm's own for its steps."""
        return self._steps() & marked(f"SLURM_JOB_ID={job}") | self._minders(job)

    def _minders(self, job: str) -> set[int]:
        """The processes of Slurm's own that a node still has for the steps of a job."""
        found = set()
        title = f"[{job}.".encode()
        for pid in self._steps():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if line.startswith(b"slurmstepd") and title in line:
                    found.add(pid)
        return found

    def idle(self) -> int:
        """How many nodes are idle."""
        done = self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False)
        return len(set(done.stdout.split()))

    def token(self, user: str = "root", seconds: int = 600) -> str:
        """A JSON web token for slurmrestd."""
        done = self.run("scontrol", "token", f"lifespan={seconds}", f"username={user}")
        return done.stdout.strip().partition("=")[2]


class Networks:
    """A network of its own for each of some nodes, joined to this machine's by a cable each."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self._ip = need("ip", "iproute2")
        self._nodes = list(nodes)
        self._tag = os.urandom(3).hex()
        # Of the addresses that are set aside for trying out networks.
        self._net = f"198.{18 + os.urandom(1)[0] % 2}.{os.urandom(1)[0]}"

    def name(self, node: str) -> str:
        """The name of a node's."""
        return f"td{self._tag}{node}"

    def address(self, node: str = "") -> str:
        """Of a node; without one, of this machine."""
        return f"{self._net}.{4 * self._nodes.index(node) + 2 if node else 1}"

    def make(self) -> None:
        """Make all of them. Skips where that is not allowed."""
        for place, node in enumerate(self._nodes):
            name = self.name(node)
            ours = f"{self._net}.{4 * place + 1}"
            cable = ("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            for words in (
                ("netns", "add", name),
                cable,
                ("addr", "add", f"{ours}/30", "dev", name),
                ("link", "set", name, "up"),
                ("-n", name, "addr", "add", f"{self.address(node)}/30", "dev", "eth0"),
                ("-n", name, "link", "set", "lo", "up"),
                ("-n", name, "link", "set", "eth0", "up"),
                ("-n", name, "route", "add", "default", "via", ours),
            ):
                done = subprocess.run(
                    [self._ip, *words], capture_output=True, text=True, check=False
                )
                if done.returncode:
                    self.remove()
                    missing(f"no network can be made here (ip {words[0]}: {done.stderr.strip()})")

    def remove(self) -> None:
        """Remove them, and the cables with them."""
        for node in self._nodes:
            subprocess.run(
                [self._ip, "netns", "del", self.name(node)], stderr=subprocess.DEVNULL, check=False
            )


class PortTaken(Exception):
    """A daemon found its port in use."""


def until(
    condition: Callable[[], Any],
    what: str,
    check: Callable[[], None] = lambda: None,
    more: Callable[[], str] = lambda: "",
    patience: float = PATIENCE,
) -> None:
    """Wait for a condition."""
    start = time.monotonic()
    while not condition():
        check()
        waited = time.monotonic() - start
        assert waited < patience, f"waited in vain for {what} {more()}"
        time.sleep(min(0.02 + waited / 10, 0.2))


def _secret(path: Path, size: int, mode: int) -> None:
    path.touch(mode=0o600)
    path.write_bytes(os.urandom(size))
    path.chmod(mode)


def _free_ports(count: int) -> list[int]:
    ports: dict[int, None] = {}
    while len(ports) < count:
        ports[free_port()] = None
    return list(ports)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def cluster(**options: Any) -> Iterator[Cluster]:
    """A cluster for as long as a test or a session lasts; the options are those of Cluster."""
    made = Cluster(**options)
    try:
        made.start()
        yield made
    finally:
        made.stop()


_shared: Cluster | None = None


def shared(note: Path, **options: Any) -> tuple[dict[str, str], Callable[[], list[int]]]:
    """One cluster for all tests of a session, and for the processes that they start, which find it
    by the file `note`: (variables by which its commands find it, what gives the pids of its
    daemons)."""
    global _shared
    if _shared is None and not note.exists():
        made = Cluster(**options)
        try:
            made.start()
        except BaseException:
            made.stop()
            raise
        _shared = made
    if _shared is not None:
        note.write_text(str(_shared.conf))

    def daemons() -> list[int]:
        return [] if _shared is None else [one.pid for one in _shared._running.values()]

    return {"SLURM_CONF": note.read_text()}, daemons


def end_shared() -> None:
    """End that cluster, if this process has started it."""
    global _shared
    if _shared is not None:
        made, _shared = _shared, None
        made.stop()
