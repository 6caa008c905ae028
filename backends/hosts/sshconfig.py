"""What the user's OpenSSH configuration says of a host.

Asked of OpenSSH itself (`ssh -G`, some milliseconds), which knows Include, Match, canonical names
and whatever its next version adds; what it leaves unexpanded is expanded here as it does it. Where
there is no `ssh`, paramiko's parser stands in, and its gaps are named in `Target.warnings`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import field, replace

from traindeck.backends.data import dataclass
from traindeck.backends.errors import BackendError, Unreachable, UsageError, excerpt
from traindeck.backends.hosts import sshwords as words

_PATIENCE = 20.0
"""Seconds that `ssh -G` may take: a `Match exec` or the name service may be slow."""
_MAX_JUMPS = 8
_UNSAFE = frozenset("'`\"$\\;&<>|(){}")
"""What OpenSSH refuses in the name of a host, because a ProxyCommand may hand it to a shell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A host as OpenSSH would reach it. Paths are absolute or relative to the working directory;
    nothing is left to expand.

    Attributes:
        alias: What the user calls it, and what `ssh` is to be given.
        ssh: The beginning of every `ssh` command to it: the program, and `-F FILE` if the
            configuration is not the account's own. Jumps inherit it.
        hostname: The name or address to connect to.
        identity_files: Private keys to try, in order, whether they exist or not.
        identity_agent: Socket of the agent; empty for none.
        jumps: Hosts to go through, the one to dial first coming first.
        proxy_command: A line for the user's shell; empty if there is none or `jumps` are used.
        strict_host_key_checking: `yes`, `ask`, `accept-new` or `no`.
        server_alive_interval: Seconds; 0 for never.
        connect_timeout: Seconds; None for what the system has.
        preferred_authentications: Methods in order; empty for the usual ones.
        address_family: `any`, `inet` or `inet6`.
        remote_command: What would run there instead of a shell. To be switched off.
        settings: All that OpenSSH said, by option in lower case.
        warnings: Sentences about what could not be found out.
    """

    alias: str = ""
    ssh: tuple[str, ...] = ("ssh",)
    hostname: str = ""
    port: int = 22
    user: str = ""
    identity_files: tuple[str, ...] = ()
    certificate_files: tuple[str, ...] = ()
    identities_only: bool = False
    identity_agent: str = ""
    jumps: tuple[Target, ...] = ()
    proxy_command: str = ""
    host_key_alias: str = ""
    user_known_hosts: tuple[str, ...] = ()
    global_known_hosts: tuple[str, ...] = ()
    hash_known_hosts: bool = False
    strict_host_key_checking: str = "ask"
    server_alive_interval: float = 0.0
    server_alive_count: int = 3
    connect_timeout: float | None = None
    preferred_authentications: tuple[str, ...] = ()
    pubkey_authentication: bool = True
    password_authentication: bool = True
    kbdint_authentication: bool = True
    gssapi_authentication: bool = False
    forward_agent: bool = False
    compression: bool = False
    address_family: str = "any"
    bind_address: str = ""
    control_path: str = ""
    remote_command: str = ""
    settings: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False, compare=False)
    warnings: tuple[str, ...] = ()

    def get(self, option: str, default: str = "") -> str:
        """What OpenSSH said of an option, the first value if there are several."""
        return self.settings.get(option, (default,))[0]


def resolve(
    alias: str, *, config_file: str | None = None, environ: Mapping[str, str] | None = None
) -> Target:
    """Find out how a host is reached, jump hosts included. Starts `ssh -G` once for each, which may
    run the user's `Match exec` commands and ask the name service: not for an event loop.

    Args:
        alias: What `ssh` would be given: a name from the configuration, `user@host`, an address.
        config_file: Configuration to use instead of the account's own, as `ssh -F`.
        environ: Environment to look at and to hand to `ssh`; this process's by default.

    Raises:
        UsageError: The alias is none, or the configuration is wrong.
        BackendError: `ssh -G` does not come to an end.
    """
    environ = os.environ if environ is None else environ
    return _Resolver(configuration(config_file, environ), environ).target(checked(alias))


def configuration(config_file: str | None, environ: Mapping[str, str]) -> str | None:
    """The file for `ssh -F`, None for the account's own. OpenSSH looks for that in the home of the
    account whatever $HOME says; where $HOME is another one that has a configuration, that is meant.

    Raises:
        UsageError: A file was given that cannot be read.
    """
    if config_file:
        path = os.path.abspath(words.expand_home(config_file, environ.get("HOME")))
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            raise UsageError(
                f"The SSH configuration {path} cannot be read.", "Name a file that is there."
            )
        return path
    home = environ.get("HOME", "")
    path = os.path.join(home, ".ssh", "config")
    elsewhere = os.path.isabs(home) and os.path.realpath(home) != os.path.realpath(
        words.account().home
    )
    return path if elsewhere and os.path.isfile(path) else None


def checked(alias: str) -> str:
    """An alias that is safe to hand to `ssh`.

    Raises:
        UsageError: It is empty, an option, or holds what no name of a host holds.
    """
    wrong = ""
    if not alias:
        wrong = "is empty"
    elif alias.startswith("-"):
        wrong = "looks like an option"
    elif len(alias) > 1024:
        wrong = "is too long"
    elif any(c.isspace() or not c.isprintable() for c in alias):
        wrong = "holds a space or a control character"
    elif unsafe := sorted(_UNSAFE.intersection(alias)):
        wrong = f"holds {unsafe[0]}"
    if wrong:
        raise UsageError(
            f"{excerpt(alias)!r} is no name of an SSH host: it {wrong}.",
            "Give a Host of your SSH configuration, or user@machine.",
        )
    return alias


def where_is(target: Target) -> str:
    """A machine as sentences name it: what the user calls it, and where it is if that differs."""
    port = "" if target.port == 22 else f", port {target.port}"
    named = f" ({target.hostname}{port})" if target.hostname != target.alias or port else ""
    return f"{target.alias}{named}"


def unresolved(
    target: Target,
    *,
    config_file: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Unreachable:
    """What to say when the name service does not know a host: `ssh -G` has an answer for any name,
    so this is where a misspelt alias is found out."""
    from traindeck.backends.hosts.sshhosts import hosts_in_config

    environ = os.environ if environ is None else environ
    names = hosts_in_config(config_file=config_file, environ=environ)
    path = configuration(config_file, environ) or "~/.ssh/config"
    if target.alias in names:
        return Unreachable(
            f"No machine is called {target.hostname}, which is the HostName of {target.alias} in "
            f"{path}.",
            "Is the name right, and is the network it belongs to (a VPN?) up?",
        )
    listed = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return Unreachable(
        f"{excerpt(target.alias)} is no host of {path}, and no machine is called "
        f"{excerpt(target.hostname)}.",
        f"The hosts there: {listed}." if listed else "No hosts are named there.",
    )


# ------------------------------------------------------------------------------ asking OpenSSH


class _Resolver:
    def __init__(self, config_file: str | None, environ: Mapping[str, str]) -> None:
        self.config_file = config_file
        self.environ = environ
        program = shutil.which("ssh", path=environ.get("PATH"))
        self.ssh = (program, *(("-F", config_file) if config_file else ())) if program else ()

    def target(
        self,
        alias: str,
        *,
        user: str = "",
        port: str = "",
        above: tuple[str, ...] = (),
        via: tuple[Target, ...] | None = None,
    ) -> Target:
        """
        Args:
            user, port: Instead of those in the configuration, as a ProxyJump may say.
            above: The jumps that led here, to notice a ring.
            via: The jumps to it, if ProxyJump names them; else it may have some of its own.
        """
        if len(above) >= _MAX_JUMPS or alias in above:
            raise UsageError(
                f"{above[0]} cannot be reached: its jump hosts lead in a ring "
                f"({' through '.join((*above, alias)[:4])}).",
                "Look at ProxyJump in your SSH configuration.",
            )
        settings, warnings = self.ask(alias, user, port)
        target = self.made(alias, settings, warnings)
        if via is not None:
            return replace(target, jumps=via, proxy_command="")
        jump = target.get("proxyjump", "none")
        if jump.lower() in ("none", ""):
            return target
        through: list[Target] = []
        for part in self.with_tokens(jump, target).split(","):
            to_user, host, to_port = words.hop(part)
            given = tuple(through) if through else None
            found = self.target(
                checked(host), user=to_user, port=to_port, above=(*above, alias), via=given
            )
            through += [*(found.jumps if not through else ()), found]
        return replace(target, jumps=tuple(through), proxy_command="")

    def ask(
        self, alias: str, user: str, port: str, *options: str
    ) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        if not self.ssh:
            return self.ask_paramiko(alias, user, port)
        command = [*self.ssh, *options, *(["-l", user] if user else [])]
        command += [*(["-p", port] if port else []), "-G", "--", alias]
        code, out, err = _run(command, self.environ)
        if code is None:
            raise BackendError(
                f"ssh does not say how {alias} is reached within {_PATIENCE:.0f} s.",
                "Look for `Match exec` and CanonicalizeHostname in your SSH configuration.",
            )
        if code != 0:
            raise UsageError(
                f"ssh cannot use its configuration for {excerpt(alias)}: {_reason(err)}.",
                f"Try `ssh -G {excerpt(alias)}`.",
            )
        settings: dict[str, tuple[str, ...]] = {}
        for line in out.decode("utf-8", "surrogateescape").splitlines():
            option, _, value = line.partition(" ")
            settings[option.lower()] = (*settings.get(option.lower(), ()), value)
        return settings, ()

    def ask_paramiko(
        self, alias: str, user: str, port: str
    ) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
        import paramiko

        path = self.config_file or os.path.join(words.account().home, ".ssh", "config")
        warning = f"There is no ssh program here: {path} is read without Include"
        settings: dict[str, tuple[str, ...]] = {}
        name = alias.rpartition("@")[2]
        if os.path.isfile(path):
            try:
                for option, value in paramiko.SSHConfig.from_path(path).lookup(name).items():
                    several = isinstance(value, list)
                    settings[option] = tuple(value) if several else (str(value),)
            except Exception as error:
                # Whatever it stumbles over, it stumbles over the user's file.
                raise UsageError(
                    f"{path} cannot be understood: {excerpt(str(error), 200)}.",
                    "Install OpenSSH's ssh, which understands more.",
                ) from None
        settings.setdefault("hostname", (name,))
        if user or "@" in alias:
            settings["user"] = (user or alias.rpartition("@")[0],)
        if port:
            settings["port"] = (port,)
        return settings, (f"{warning} and Match is not understood in full.",)

    # ------------------------------------------------------------- from words to a target

    def made(
        self, alias: str, settings: dict[str, tuple[str, ...]], warnings: tuple[str, ...]
    ) -> Target:
        def get(option: str, default: str = "") -> str:
            return settings.get(option, (default,))[0]

        def text(option: str) -> str:
            return "" if get(option).lower() == "none" else get(option)

        def yes(option: str, default: bool) -> bool:
            return get(option, "yes" if default else "no").lower() in ("yes", "true", "ask")

        def number(option: str, default: int) -> int:
            return int(get(option)) if get(option).isdecimal() else default

        target = Target(
            alias=alias,
            ssh=self.ssh or ("ssh",),
            hostname=get("hostname", alias),
            port=number("port", 22),
            user=get("user", words.account().name),
            identities_only=yes("identitiesonly", False),
            identity_agent=self.agent(get("identityagent", "SSH_AUTH_SOCK")),
            host_key_alias=text("hostkeyalias"),
            hash_known_hosts=yes("hashknownhosts", False),
            strict_host_key_checking=_STRICT.get(get("stricthostkeychecking").lower(), "ask"),
            server_alive_interval=float(number("serveraliveinterval", 0)),
            server_alive_count=number("serveralivecountmax", 3),
            connect_timeout=float(number("connecttimeout", 0)) or None,
            preferred_authentications=tuple(
                filter(None, get("preferredauthentications").split(","))
            ),
            pubkey_authentication=yes("pubkeyauthentication", True),
            password_authentication=yes("passwordauthentication", True),
            kbdint_authentication=yes("kbdinteractiveauthentication", True),
            gssapi_authentication=yes("gssapiauthentication", False),
            forward_agent=get("forwardagent", "no").lower() not in ("no", "false"),
            compression=yes("compression", False),
            address_family=get("addressfamily", "any").lower(),
            bind_address=text("bindaddress"),
            control_path=text("controlpath"),
            remote_command=text("remotecommand"),
            settings=settings,
            warnings=warnings,
        )

        def paths(option: str, default: Sequence[str] = ()) -> tuple[str, ...]:
            given = settings.get(option, tuple(default))
            return tuple(self.path(path, target) for path in given if path.lower() != "none")

        def lists(option: str, default: str) -> tuple[str, ...]:
            return tuple(
                self.path(path, target)
                for path in words.paths(get(option, default))
                if path != "none"
            )

        return replace(
            target,
            identity_files=paths("identityfile", _IDENTITIES),
            certificate_files=paths("certificatefile"),
            user_known_hosts=lists("userknownhostsfile", "~/.ssh/known_hosts"),
            global_known_hosts=lists("globalknownhostsfile", "/etc/ssh/ssh_known_hosts"),
            proxy_command=self.with_tokens(text("proxycommand"), target),
        )

    def agent(self, word: str) -> str:
        if word.lower() == "none":
            return ""
        if word == "SSH_AUTH_SOCK" or (word.startswith("$") and not word.startswith("${")):
            return self.environ.get(word.removeprefix("$"), "")
        return words.expand_home(word)

    def with_tokens(self, text: str, target: Target) -> str:
        """A ProxyCommand or ProxyJump, which know a few tokens only."""
        values = {"%": "%", "h": target.hostname, "n": words.bare(target.alias)}
        values |= {"p": str(target.port), "r": target.user}
        return re.sub(r"%([%hnpr])", lambda found: values[found[1]], text)

    def path(self, text: str, target: Target) -> str:
        """A path with nothing left to expand.

        Raises:
            UsageError: A variable has no value, or there is no such token.
        """
        try:
            return words.expand(text, lambda letter: self.token(letter, target), self.environ)
        except LookupError as error:
            raise UsageError(
                f"{text} in your SSH configuration of {target.alias} has {error.args[0]}, which "
                "has no value."
            ) from None

    def token(self, letter: str, target: Target) -> str | None:
        import socket

        match letter:
            case "%":
                return "%"
            case "d":
                return words.account().home
            case "h":
                return target.hostname
            case "i":
                return str(os.getuid())
            case "j":
                return target.get("proxyjump")
            case "k":
                return target.host_key_alias or words.bare(target.alias)
            case "L":
                return socket.gethostname().partition(".")[0]
            case "l":
                return socket.gethostname()
            case "n":
                return words.bare(target.alias)
            case "p":
                return str(target.port)
            case "r":
                return target.user
            case "u":
                return words.account().name
            case "C" if self.ssh:
                # What goes into that hash differs between versions.
                asked, _ = self.ask(
                    target.alias, target.user, str(target.port), "-oControlPath=/%C"
                )
                return asked.get("controlpath", ("/",))[0].removeprefix("/")
        return None


_STRICT = {
    "yes": "yes",
    "true": "yes",
    "no": "no",
    "off": "no",
    "false": "no",
    "accept-new": "accept-new",
}
_IDENTITIES = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
"""Where no `ssh` says which."""


def _reason(stderr: bytes) -> str:
    """The first line of what ssh says that says something, without what a terminal would obey."""
    lines = stderr[:8192].decode("utf-8", "replace").splitlines()
    told = [line.strip() for line in lines if ": terminating" not in line]
    line = next(filter(None, told), "it does not say why")
    return excerpt("".join(c if c.isprintable() else "?" for c in line), 300).rstrip(".")


def _run(command: Sequence[str], environ: Mapping[str, str]) -> tuple[int | None, bytes, bytes]:
    """Exit code (None if it took too long), output and errors of `ssh`, with no terminal to ask on.

    Raises:
        BackendError: It cannot be started.
    """
    import signal
    import subprocess

    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,
        )
    except OSError as error:
        raise BackendError(f"{command[0]} cannot be started: {error.strerror}.") from None
    with process:
        try:
            out, err = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what a `Match exec` has started
            return None, b"", b""
    return process.returncode, out, err
