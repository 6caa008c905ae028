"""Real OpenSSH servers on loopback, each a machine of its own as far as a client can tell.

Every server has its own port, host keys, account, home and login shell, and all that without
making a user: sshd reads its list of accounts through libnss-wrapper from a file of ours. The
account is `deck` with our own uid. Inside a session only what asks the system for the name or home
of a uid still sees the real account; `$HOME`, `~`, `$SHELL` and the folder one starts in are those
of the box.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from tests.services import below, free_port, kill, marked, missing, need

USER = "deck"
"""The account on every box."""

_PACKAGES = "openssh-server libnss-wrapper"
_WRAPPER = "/usr/lib/*-linux-gnu*/libnss_wrapper.so"
_WAIT = 20.0
"""Seconds that a server may take to say that it listens, on a machine that is very busy."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """How one server differs from a plain one.

    Attributes:
        lines: More lines of sshd_config, such as `MaxSessions 2`. They stand before ours and so
            win.
        shell: Login shell, by name or path.
        password: If given, the account has it and the server takes passwords as well as the key.
        env: Variables of every session, `TZ` or a `LD_PRELOAD` of libfaketime.
        keys: Types of its host keys, as ssh-keygen names them.
        known: Whether known_hosts has its host keys already.
        config: More lines for its Host block in the client's configuration.
        mounts: What `mount` is told, each time it starts, in a view of the files that it and its
            sessions have to themselves; `{box}` is its folder.
    """

    lines: Sequence[str] = ()
    shell: str = "bash"
    password: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    keys: Sequence[str] = ("ed25519",)
    known: bool = True
    config: Sequence[str] = ()
    mounts: Sequence[Sequence[str]] = ()


class Server:
    """One running sshd. `box.home` is the home of its account, `box.port` where it listens."""

    def __init__(self, folder: Path, name: str, box: Box, authorized: Path) -> None:
        self.folder = folder
        self.name = name
        self.box = box
        self.user = USER
        self.home = folder / "home"
        self.log = folder / "log"
        self.port = 0
        self._authorized = authorized
        # A supervisor keeps little of its environment: its home is of the box too.
        self._mark = f"TESTBOX={folder}"
        self._marks = (self._mark, f"HOME={folder / 'home'}")
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._shell = need(box.shell, Path(box.shell).name)
        self.home.mkdir(parents=True, mode=0o700)
        self.keys = [self._make_key(kind) for kind in box.keys]
        self._write_accounts()

    @property
    def public_keys(self) -> list[str]:
        """Its host keys as `TYPE BASE64`."""
        return [" ".join(Path(f"{key}.pub").read_text().split()[:2]) for key in self.keys]

    @property
    def pid(self) -> int:
        """Of the sshd that listens."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def start(self) -> None:
        """Listen; on the same port as before, if there was one. Returns when it does."""
        again = self.port
        for _ in range(10):
            self.launch()
            if self.is_up():
                return
            self.port = again  # somebody took another one in between
        raise RuntimeError(f"{self.name} does not start: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """The machine goes down: no process of it is left, neither sshd nor what was started
        through it. `start` brings it up again."""
        _down([self])

    def drop(self) -> None:
        """Every open connection breaks. What runs on the box stays, new connections are taken."""
        kill(self._connections())

    def freeze(self) -> None:
        """It keeps every connection and says nothing more; new ones are accepted by the kernel and
        hear nothing."""
        for pid in {self.pid, *self._connections()}:
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        for pid in {self.pid, *self._connections()}:
            os.kill(pid, signal.SIGCONT)

    def processes(self) -> set[int]:
        """All processes of the box: sshd, and what was started through it, detached or not."""
        return _processes([self])

    def jobs(self) -> set[int]:
        """The processes that were started through it."""
        return marked(*self._marks)

    def greet(self, text: str) -> None:
        """Have every login shell print this first, as a talkative `.bashrc` does."""
        said = self.home / ".greeting"
        said.write_text(text)
        (self.home / ".config/fish").mkdir(parents=True, exist_ok=True)
        for name in (".bashrc", ".profile", ".tcshrc", ".config/fish/config.fish"):
            (self.home / name).write_text(f"cat {said}\n")

    def _connections(self) -> set[int]:
        """The sshd processes of open connections."""
        found = set()
        for pid in below(self.pid) - {self.pid} - marked(*self._marks):
            try:
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    found.add(pid)
            except OSError:
                pass
        return found

    def launch(self) -> None:
        """The first half of `start`, which does not wait."""
        self.port = self.port or free_port()
        configuration = self.folder / "sshd_config"
        configuration.write_text(self._configuration())
        environ = dict(os.environ)
        environ["LD_PRELOAD"] = need(_WRAPPER, _PACKAGES)
        environ["NSS_WRAPPER_PASSWD"] = str(self.folder / "passwd")
        environ["NSS_WRAPPER_GROUP"] = str(self.folder / "group")
        sshd = need("sshd", _PACKAGES)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True, mode=0o755)  # it insists
        argv = [*self._mounting(), sshd, "-D", "-e", "-f", str(configuration)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                argv,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_up(self) -> bool:
        """The other half of `start`: wait until it listens. False if its port was taken."""
        assert self._process is not None
        until = time.monotonic() + _WAIT
        while b"Server listening" not in self.log.read_bytes():
            if self._process.poll() is not None:
                self._process = None
                if b"already in use" in self.log.read_bytes():
                    return False
                raise RuntimeError(f"{self.name}: sshd says {self.log.read_text()[-2000:]}")
            if time.monotonic() > until:
                self.stop()
                raise RuntimeError(f"{self.name}: sshd does not listen after {_WAIT:.0f} s")
            time.sleep(0.002)
        self._post_guard()
        return True

    def _mounting(self) -> list[str]:
        """What becomes its sshd once its mounts are made; they go with its last process."""
        if not self.box.mounts:
            return []
        if os.getuid() != 0:
            missing("only root can mount")
        lines = [
            shlex.join(["mount", *(word.format(box=self.folder) for word in words)])
            for words in self.box.mounts
        ]
        script = " && ".join([*lines, 'exec "$@"'])
        return [need("unshare", "util-linux"), "--mount", "sh", "-c", script, "sh"]

    def _post_guard(self) -> None:
        """If the tests are killed, their end of a pipe closes, and sshd goes too."""
        self._guard = subprocess.Popen(
            ["sh", "-c", 'cat >/dev/null; kill -9 "$0"', str(self.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.communicate()
            self._guard = None

    def _configuration(self) -> str:
        name, _, value = self._mark.partition("=")
        variables = {name: value, **self.box.env}
        lines = [
            *self.box.lines,
            f"ListenAddress 127.0.0.1:{self.port}",
            *(f"HostKey {key}" for key in self.keys),
            "PidFile none",
            f"AuthorizedKeysFile {self._authorized}",
            "StrictModes no",
            f"PasswordAuthentication {'yes' if self.box.password is not None else 'no'}",
            "KbdInteractiveAuthentication no",
            "UsePAM no",
            "PermitRootLogin yes",
            *([] if "MaxStartups" in "".join(self.box.lines) else ["MaxStartups 500"]),
            "PrintMotd no",
            "Subsystem sftp internal-sftp",
            "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items()),
        ]
        return "\n".join(lines) + "\n"

    def _make_key(self, kind: str) -> Path:
        key = self.folder / f"host_{kind}"
        make_key(key, kind)
        return key

    def _write_accounts(self) -> None:
        secret = "*"
        if self.box.password is not None:
            # perl is on every Debian; Python's own crypt is gone since 3.13.
            script = "chomp(my $word = <STDIN>); print crypt($word, q($6$saltsaltsalt$))"
            secret = subprocess.run(
                [need("perl", "perl"), "-e", script],
                input=self.box.password,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        uid, gid = os.getuid(), os.getgid()
        (self.folder / "passwd").write_text(
            f"{USER}:{secret}:{uid}:{gid}:{self.name}:{self.home}:{self._shell}\n"
            "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
        )
        (self.folder / "group").write_text(f"{USER}:x:{gid}:\n")


class Sshd:
    """Some servers, and a client's configuration that leads to them.

    Args:
        folder: Everything lies here. Not to be shared.
        boxes: One a server. `box0`, `box1`, … lead to them; `hop1`, `hop2`, … lead to the same ones
            through box0 by ProxyJump.
        start: Whether `with` starts them; else each by its own `start`.

    Attributes:
        config: An ssh_config file for `ssh -F`.
        key: The client's private key, accepted by every server.
        known_hosts: The file that `config` names.
    """

    def __init__(self, folder: Path, *boxes: Box, start: bool = True) -> None:
        need("sshd", _PACKAGES)
        need(_WRAPPER, _PACKAGES)
        need("ssh", "openssh-client")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.config = folder / "config"
        self.key = folder / "id"
        self.known_hosts = folder / "known_hosts"
        self._starts = start
        make_key(self.key, "ed25519")
        public = Path(f"{self.key}.pub")
        self.boxes = [
            Server(folder / f"box{number}", f"box{number}", box, public)
            for number, box in enumerate(boxes or (Box(),))
        ]

    def __enter__(self) -> Sshd:
        try:
            starting = self.boxes if self._starts else ()
            for box in starting:
                box.launch()
            for box in starting:
                if not box.is_up():
                    box.port = 0
                    box.start()
            self.write_configuration()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __getitem__(self, number: int) -> Server:
        return self.boxes[number]

    def stop(self) -> None:
        """Stop every server, and all that was started through them."""
        _down(self.boxes)

    def ssh(self, host: str, *words: str, options: Sequence[str] = ()) -> list[str]:
        """The argv of OpenSSH's own client to a host of ours."""
        return ["ssh", "-F", str(self.config), "-o", "BatchMode=yes", *options, host, *words]

    def write_configuration(self, *, ports: Mapping[str, int] | None = None) -> None:
        """(Re)write `config` and `known_hosts`.

        Args:
            ports: Where a box is to be reached instead, by its name: a proxy before it.
        """
        known, blocks = [], []
        for number, box in enumerate(self.boxes):
            port = (ports or {}).get(box.name, box.port)
            if box.box.known:
                known += [f"[127.0.0.1]:{port} {key}" for key in box.public_keys]
            for name in (f"box{number}", *([f"hop{number}"] if number else [])):
                block = [
                    f"Host {name}",
                    "HostName 127.0.0.1",
                    f"Port {port}",
                    f"User {box.user}",
                    f"IdentityFile {self.key}",
                    "IdentitiesOnly yes",
                    f"UserKnownHostsFile {self.known_hosts}",
                    "GlobalKnownHostsFile /dev/null",
                    *(["ProxyJump box0"] if name.startswith("hop") else []),
                    *box.box.config,
                ]
                blocks.append("\n  ".join(block))
        self.known_hosts.write_text("".join(f"{line}\n" for line in known))
        self.config.write_text("\n\n".join(blocks) + "\n")


def _processes(servers: Sequence[Server]) -> set[int]:
    ours = marked(*(mark for server in servers for mark in server._marks))
    return below(*ours, *(s._process.pid for s in servers if s._process)) - {os.getpid()}


def _down(servers: Sequence[Server]) -> None:
    up = [server for server in servers if server._process]
    for server in up:
        # Stopped, it takes no further connection while we count those that there are.
        os.kill(server.pid, signal.SIGSTOP)
    stopped: set[int] = set()
    while more := _processes(up) - stopped:
        # All at once: who sees another one die must not write that down any more.
        for pid in more:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= more
    while found := _processes(up):
        kill(found)
        for server in up:
            assert server._process
            server._process.poll()
    for server in up:
        assert server._process
        server._process.wait()
        server._process = None
        server._dismiss_guard()


def make_key(path: Path, kind: str, *, passphrase: str = "", comment: str = "test") -> None:
    """A key pair: `path` and `path.pub`. The smallest that OpenSSH takes."""
    bits = {"rsa": ["-b", "2048"]}.get(kind, [])
    command = [need("ssh-keygen", "openssh-client"), "-q", "-t", kind, *bits]
    command += ["-N", passphrase, "-C", comment, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
