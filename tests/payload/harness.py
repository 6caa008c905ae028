"""The agent as its tests use it: built once, installed in a root of the test's own, spoken to in
both ways it knows, and everything that it left running ended afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from traindeck.backends.payload.build import agent_name, agent_source

LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
PATIENCE = 30.0
"""Seconds after which a condition that a test waits for is taken for a failure."""


class Refusal(Exception):
    """The agent refused; the message is its sentence."""


def new_id() -> str:
    """A run id."""
    return "".join(random.choice(LETTERS) for _ in range(12))


def pause(waited: float) -> float:
    """Seconds to the next look of one who has waited so long: what comes at once is seen at once,
    and looking takes little of the time of what is looked at."""
    return min(0.01 + waited / 10, 0.1)


def until(condition: Callable[[], Any], what: str = "", seconds: float = PATIENCE) -> Any:
    """Wait for a condition and return what it gave."""
    start = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - start
        assert waited < seconds, f"waited in vain for {what or condition}"
        time.sleep(pause(waited))


def interpreters() -> dict[str, str]:
    """Every Python from 3.6 up on PATH and below ~/.pyenv: version -> path, oldest first."""
    candidates = [sys.executable, *map(str, Path.home().glob(".pyenv/versions/*/bin/python"))]
    for minor in range(6, 20):
        found = shutil.which(f"python3.{minor}")
        if found:
            candidates.append(found)
    versions: dict[tuple[int, int], str] = {}
    for path in candidates:
        asked = subprocess.run(
            [path, "-c", "import sys; print('%d %d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if asked.returncode == 0:
            major, minor = map(int, asked.stdout.split())
            if (major, minor) >= (3, 6):
                versions.setdefault((major, minor), path)
    return {f"{major}.{minor}": versions[major, minor] for major, minor in sorted(versions)}


def stat_of(pid: int) -> tuple[str, int] | None:
    """(state, starttime) of a process, or None."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("latin-1").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return fields[0], int(fields[19])


def runs(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    found = stat_of(pid)
    return found is not None and found[0] not in "ZX"


def members(run: str, attempt: int | None = None) -> list[int]:
    """The living processes that carry a run in their environment."""
    tag = f"TRAINDECK_RUN={run}/{'' if attempt is None else attempt}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                block = Path(f"/proc/{name}/environ").read_bytes()
                if any(v.startswith(tag) for v in block.split(b"\0")) and runs(int(name)):
                    found.append(int(name))
    return found


class Agent:
    """The agent, installed below `root`, run by `python`."""

    def __init__(self, root: Path, python: str = sys.executable) -> None:
        self.root = root
        self.python = os.path.realpath(python)
        self.prefix: Sequence[str] = ()
        (root / "bin").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.file = root / "bin" / agent_name()
        if not self.file.exists():
            self.file.write_bytes(agent_source())
            self.file.chmod(0o600)
        self.ids: list[str] = []
        self._served: Served | None = None

    # -- speaking to it

    @property
    def argv(self) -> list[str]:
        return [*self.prefix, self.python, "-I", "-S", str(self.file)]

    def obey_modes(self) -> None:
        """From now on the agent is run as one to whom a file's mode means something, as it does to
        every user but root."""
        if os.geteuid() == 0:
            if shutil.which("setpriv") is None:
                pytest.skip("root can do anything here: there is no setpriv")
            self.prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
            self._hang_up()

    def once(
        self,
        verb: str,
        request: Mapping[str, Any] | None = None,
        body: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], bytes]:
        """One verb in a process of its own: (answer, body)."""
        done = subprocess.run(
            [*self.argv, verb],
            input=json.dumps(request or {}).encode() + b"\n" + body,
            capture_output=True,
            env=env,
            check=False,
            timeout=120,
        )
        assert done.stderr == b"", done.stderr.decode()
        head, _, rest = done.stdout.partition(b"\n")
        answer = json.loads(head)
        if "error" in answer:
            assert done.returncode == 1
            raise Refusal(answer["error"])
        assert done.returncode == 0
        assert len(rest) == answer.get("body", 0)
        return answer, rest

    def call(self, verb: str, body: bytes = b"", **request: Any) -> dict[str, Any]:
        """One verb through `serve`; the answer."""
        return self.call_body(verb, body, **request)[0]

    def call_body(
        self, verb: str, body: bytes = b"", **request: Any
    ) -> tuple[dict[str, Any], bytes]:
        """One verb through `serve`: (answer, body)."""
        if self._served is None:
            self._served = Served(self)
        return self._served.call(verb, request, body)

    # -- what tests do all the time

    def record(self, run: str, argv: Sequence[str], **spec: Any) -> dict[str, Any]:
        """A run.json."""
        spec = {"argv": list(argv), "cwd": "/tmp", "env": {}, "name": f"run {run}", **spec}
        return {
            "format": 1,
            "id": run,
            "name": spec["name"],
            "created": 0.0,
            "plan_digest": "d" * 64,
            "agent": "",
            "spec": spec,
            "secrets": list(spec.get("secrets", [])),
        }

    def request(
        self,
        argv: Sequence[str],
        *,
        run: str | None = None,
        attempt: int = 0,
        secrets: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """What `start` is asked with."""
        run = run or self.mint()
        spec.setdefault("secrets", sorted(secrets or {}))
        return {
            "run_id": run,
            "attempt": attempt,
            "run": self.record(run, argv, **spec),
            "files": [],
            "secrets": dict(secrets or {}),
            "environ": None if environ is None else dict(environ),
        }

    def batch(
        self, run: str, attempt: int = 0, *, kill_wait: float | None = None, **variables: str
    ) -> subprocess.Popen[bytes]:
        """A batch step as Slurm would start it: in an environment of Slurm's, its output going to
        `batch.out` beside the root."""
        env = {"PATH": os.environ["PATH"], "SLURM_JOB_ID": "12", **variables}
        more = [] if kill_wait is None else [str(kill_wait)]
        with (self.root.parent / "batch.out").open("ab") as out:
            return subprocess.Popen(
                [*self.argv, "batch", run, str(attempt), *more],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=env,
                start_new_session=True,
            )

    def batch_said(self) -> str:
        """What the batch steps have printed themselves."""
        return (self.root.parent / "batch.out").read_text()

    def mint(self) -> str:
        """A run id that is cleaned up after the test."""
        self.ids.append(new_id())
        return self.ids[-1]

    def start(self, *argv: str, **options: Any) -> str:
        """Start a run and return its id."""
        request = self.request(argv, **options)
        self.call("start", **request)
        return str(request["run_id"])

    def shell(self, script: str, **options: Any) -> str:
        """Start a shell script."""
        return self.start("sh", "-c", script, **options)

    def script(self, source: str, **options: Any) -> str:
        """Start a Python program."""
        return self.start(sys.executable, "-c", source, **options)

    def evidence(self, run: str) -> dict[str, Any]:
        """What `poll` says of one run."""
        found: dict[str, Any] = self.call("poll", runs=[run])["runs"][run]
        return found

    def ended(self, run: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Wait for the last exit record of a run, and for its supervisor to be gone."""

        def over() -> Any:
            seen = self.evidence(run)
            done = seen["exit"] is not None and seen["exit"]["next"] is None
            return seen["exit"] if done and not seen["supervised"] else None

        record: dict[str, Any] = until(over, f"the end of {run}", seconds)
        return record

    def phase(self, run: str, phase: str) -> dict[str, Any]:
        """Wait for a phase."""

        def there() -> Any:
            seen = self.evidence(run)
            return seen if seen["phase"] == phase else None

        seen: dict[str, Any] = until(there, f"{run} to be {phase}")
        return seen

    def running(self, run: str) -> int:
        """Wait until the job itself runs (its supervisor has let it go). Returns the leader."""
        until(lambda: self.happened(run, "started"), f"{run} to run")
        return self.leader(run)

    def said(self, run: str, text: bytes, attempt: int = 0) -> bytes:
        """Wait for a text in the log."""

        def there() -> Any:
            log = self.log(run, attempt)
            return log if text in log else None

        log: bytes = until(there, f"{text!r} in the log of {run}")
        return log

    def directory(self, run: str, attempt: int | None = 0) -> Path:
        """A run's directory, or one attempt's."""
        path = self.root / "runs" / run
        return path if attempt is None else path / "attempts" / str(attempt)

    def log(self, run: str, attempt: int = 0) -> bytes:
        """The log as it lies on the disk."""
        try:
            return (self.directory(run, attempt) / "logs" / "0.log").read_bytes()
        except FileNotFoundError:
            return b""

    def events(self, run: str, attempt: int = 0) -> list[dict[str, Any]]:
        """events.jsonl."""
        try:
            text = (self.directory(run, attempt) / "events.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines()]

    def happened(self, run: str, name: str, attempt: int = 0) -> list[dict[str, Any]]:
        """The events of one name."""
        return [event for event in self.events(run, attempt) if event["event"] == name]

    def supervisor(self, run: str, attempt: int = 0) -> int:
        """Pid of the supervisor, from agent.json."""
        words = json.loads((self.directory(run, attempt) / "agent.json").read_text())
        return int(words["pid"])

    def leader(self, run: str) -> int:
        """Pid of the leader, once it is known."""
        return int(until(lambda: self.evidence(run)["pid"], f"the leader of {run}"))

    # -- cleaning up

    def close(self) -> None:
        """End what is left of the test's runs, by the names they carry, and forget their locks."""
        self._hang_up()
        for run in self.ids:
            for pid in [*self._supervisors(run), *members(run)]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for lock in Path(f"/var/tmp/traindeck-{os.getuid()}").glob(f"{run}.*"):
                lock.unlink(missing_ok=True)

    def _hang_up(self) -> None:
        if self._served is not None:
            self._served.close()
            self._served = None

    def _supervisors(self, run: str) -> list[int]:
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
                    if run.encode() in words and os.fsencode(self.file) in words:
                        found.append(int(name))
        return found


class Served:
    """A `serve` on two pipes."""

    def __init__(self, agent: Agent, marker: str = "marker") -> None:
        self.process = subprocess.Popen(
            [*agent.argv, "serve", marker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self.process.stdin and self.process.stdout
        self.stdin = self.process.stdin
        self.stdout = self.process.stdout
        self.number = 0
        self.heard = b""
        assert self.stdout.readline() == b"\n"
        assert self.stdout.readline() == marker.encode() + b"\n"

    def send(self, words: Mapping[str, Any], body: bytes = b"") -> None:
        """One frame."""
        text = json.dumps(words).encode()
        self.stdin.write(struct.pack(">II", len(text), len(body)) + text + body)
        self.stdin.flush()

    def receive(self, seconds: float = PATIENCE) -> tuple[dict[str, Any], bytes]:
        """The next frame."""
        until = time.monotonic() + seconds
        head, body = struct.unpack(">II", self._exactly(8, until))
        return json.loads(self._exactly(head, until)), self._exactly(body, until)

    def _exactly(self, size: int, until: float) -> bytes:
        while len(self.heard) < size:
            ready, _, _ = select.select([self.stdout], [], [], max(0.0, until - time.monotonic()))
            assert ready, "no answer from serve"
            data = os.read(self.stdout.fileno(), 1 << 16)
            assert data, "serve has ended"
            self.heard += data
        data, self.heard = self.heard[:size], self.heard[size:]
        return data

    def ask(self, verb: str, request: Mapping[str, Any], body: bytes = b"") -> int:
        """Send a request; returns its id."""
        self.number += 1
        self.send({**request, "id": self.number, "verb": verb}, body)
        return self.number

    def call(
        self, verb: str, request: Mapping[str, Any], body: bytes = b""
    ) -> tuple[dict[str, Any], bytes]:
        """One request and its answer, when nothing else is on its way."""
        number = self.ask(verb, request, body)
        answer, rest = self.receive()
        assert answer.pop("id") == number
        if "error" in answer:
            raise Refusal(answer["error"])
        return answer, rest

    def close(self) -> int:
        """Close its stdin and wait for its end."""
        self.stdin.close()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.stdout.close()


@contextlib.contextmanager
def installed(root: Path, python: str = sys.executable) -> Iterator[Agent]:
    """An agent for as long as a test lasts."""
    agent = Agent(root, python)
    try:
        yield agent
    finally:
        agent.close()
