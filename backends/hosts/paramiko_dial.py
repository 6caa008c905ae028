"""Making a connection with paramiko: the way there, whose machine it is, and who we are.

Everything here blocks and runs on the worker thread of a host. Nothing is ever tried again by
itself, and a password is asked for once.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from traindeck.backends.asking import Stranger, asker
from traindeck.backends.base import TraindeckError, Unreachable
from traindeck.backends.hosts import knownhosts, sshkeys
from traindeck.backends.hosts.link import THROTTLING, NeedsPerson, NotLetIn
from traindeck.backends.hosts.paramiko_link import PACKET, WINDOW, said
from traindeck.backends.hosts.sshconfig import unresolved
from traindeck.backends.hosts.sshneeds import has_ticket
from traindeck.backends.hosts.sshsaid import denied

if TYPE_CHECKING:
    import paramiko

    from traindeck.backends.hosts.sshconfig import Target

CONNECT_TIMEOUT = 15.0

AGENT_PATIENCE = 60.0
"""Seconds that an agent may take for a signature: somebody may have to touch or to confirm."""

LOOK = 2.0
"""Seconds after which a connection's thread looks whether it has been closed."""

BEFORE_KEYS = 1 << 18
"""Bytes that a server may send before it has shown its key."""
MOST_AT_ONCE = 1 << 18
"""Bytes that are taken from a socket at a time."""
BEGINNING = 64

TURNED_AWAY = (b"Exceeded MaxStartups", b"Not allowed at this time")
"""What an sshd says instead of its version when too many log in, or some did so too often."""


class Dialled:
    """A connection that was made.

    Attributes:
        transport: The one to the machine itself.
        beneath: Those to the jump hosts, the nearest to the machine first.
        asked: Whether a person had to give a secret for it.
    """

    def __init__(
        self, transport: paramiko.Transport, beneath: tuple[paramiko.Transport, ...], asked: bool
    ) -> None:
        self.transport = transport
        self.beneath = beneath
        self.asked = asked


def dial(target: Target, config_file: str | None = None, *, alone: bool = True) -> Dialled:
    """Connect and authenticate.

    Args:
        target: The machine.
        config_file: The configuration it was found in, to name the hosts that are there.
        alone: Whether nobody else would try it after us. Else nothing is asked for as long as there
            is something left that the user's `ssh` could try before it asks.

    Raises:
        Unreachable: It does not answer.
        NeedsPerson: Its key is unknown or not the one that is known, or it does not let us in.
    """
    _be_quiet()
    made: list[paramiko.Transport] = []
    asked = False
    try:
        for hop in (*target.jumps, target):
            through = made[-1] if made else None
            transport = _handshake(hop, _socket(hop, through, config_file))
            made.append(transport)
            _check_key(hop, transport)
            asked |= _authenticate(hop, transport, alone)
    except BaseException as error:
        for transport in reversed(made):
            with suppress(Exception):
                transport.close()
        if isinstance(error, Exception) and not isinstance(error, TraindeckError):
            raise Unreachable(f"{_where(target)} cannot be connected to: {said(error)}.") from None
        raise
    *beneath, last = made
    return Dialled(last, tuple(reversed(beneath)), asked)


def _be_quiet() -> None:
    """What paramiko logs of a connection that breaks would be printed on the user's terminal: what
    there is to say of it is in our errors."""
    import logging

    logger = logging.getLogger("paramiko")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


# -------------------------------------------------------------------------------------- the way


def _socket(target: Target, through: paramiko.Transport | None, config_file: str | None) -> Any:
    import paramiko

    timeout = target.connect_timeout or CONNECT_TIMEOUT
    where = _where(target)
    if through is not None:
        try:
            return through.open_channel(
                "direct-tcpip",
                (target.hostname, target.port),
                ("127.0.0.1", 0),
                window_size=WINDOW,
                timeout=timeout,
            )
        except Exception as error:
            raise Unreachable(
                f"{where} cannot be reached from its jump host: {said(error)}."
            ) from None
    if target.proxy_command:
        try:
            return paramiko.ProxyCommand(target.proxy_command)
        except Exception as error:
            raise Unreachable(f"The ProxyCommand of {target.alias} fails: {said(error)}.") from None
    try:
        return socket.create_connection((target.hostname, target.port), timeout)
    except socket.gaierror:
        raise unresolved(target, config_file=config_file) from None
    except TimeoutError:
        raise Unreachable(f"{where} did not answer within {timeout:.0f} s.") from None
    except ConnectionRefusedError:
        raise Unreachable(f"{where} refuses the connection: no sshd listens there.") from None
    except OSError as error:
        raise Unreachable(f"{where} cannot be reached: {error.strerror or error}.") from None


class _Guarded:
    """A socket that gives up on a server that talks too much before it has shown its key, and that
    wakes nobody ten times a second to see whether it is still wanted, as paramiko has it: with
    fifty machines that costs more than asking all of them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.left: int | None = BEFORE_KEYS
        self.first = b""
        """The beginning of what it said before its key."""

    def recv(self, size: int) -> bytes:
        # It says itself how long a packet is: room is made for what comes, not for what is said.
        data: bytes = self._inner.recv(min(size, MOST_AT_ONCE))
        if self.left is not None:
            self.left -= len(data)
            self.first += data[: BEGINNING - len(self.first)]
            if self.left < 0:
                # With a number: without one paramiko's thread dies of it, with a traceback.
                raise OSError(errno.EPROTO, "it sends too much that is not SSH")
        return data

    def settimeout(self, seconds: float | None) -> None:
        self._inner.settimeout(None if seconds is None else max(seconds, LOOK))

    def close(self) -> None:
        # Of a channel through a jump host that is gone already neither goes well, and who closes is
        # a thread of paramiko's, which lets it through.
        with suppress(Exception):
            self._inner.shutdown(socket.SHUT_RDWR)  # wakes who waits for bytes
        with suppress(Exception):
            self._inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def _handshake(target: Target, way: Any) -> paramiko.Transport:
    import paramiko

    guarded = _Guarded(way)
    where = _where(target)
    try:
        transport = paramiko.Transport(
            guarded,  # type: ignore[arg-type]
            default_window_size=WINDOW,
            default_max_packet_size=PACKET,
        )
        transport.daemon = True
        options = transport.get_security_options()
        # One pass over the bytes instead of two: twice as fast.
        options.ciphers = sorted(options.ciphers, key=lambda name: "-gcm" not in name)
        timeout = target.connect_timeout or CONNECT_TIMEOUT
        transport.banner_timeout = timeout
        transport.auth_timeout = CONNECT_TIMEOUT
        if target.server_alive_interval:
            transport.set_keepalive(max(1, int(target.server_alive_interval)))
        transport.use_compression(target.compression)
        if known := knownhosts.preferred_key_types(target):
            usable = _with_rsa_names(known)
            first = [kind for kind in options.key_types if kind in usable]
            options.key_types = (*first, *(k for k in options.key_types if k not in first))
        transport.start_client(timeout=timeout)
        if not transport.initial_kex_done:  # it ends so when the time is over
            raise TimeoutError(f"in {timeout:.0f} s")
    except Exception as error:
        with suppress(Exception):
            way.close()
        text = said(error)
        if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
            raise NotLetIn(f"{where} has no algorithm in common with us: {text}.") from None
        if guarded.left is not None and guarded.left == BEFORE_KEYS:
            raise Unreachable(
                f"{where} takes the connection and says nothing ({text}).",
                f"{THROTTLING[:-1]}, or be no SSH server.",
            ) from None
        if guarded.first.startswith(TURNED_AWAY):
            word = guarded.first.splitlines()[0].decode("ascii", "replace")
            raise Unreachable(f"{where} turns us away ({word}).", THROTTLING) from None
        raise Unreachable(f"{where} is not understood as an SSH server: {text}.") from None
    guarded.left = None
    return transport


def _with_rsa_names(kinds: Any) -> set[str]:
    """Key types with the names that an RSA key signs under."""
    found = set(kinds)
    if "ssh-rsa" in found:
        found |= {"rsa-sha2-512", "rsa-sha2-256"}
    return found


def _where(target: Target) -> str:
    port = "" if target.port == 22 else f", port {target.port}"
    named = f" ({target.hostname}{port})" if target.hostname != target.alias or port else ""
    return f"{target.alias}{named}"


# ------------------------------------------------------------------------------------- whose it is


def _check_key(target: Target, transport: paramiko.Transport) -> None:
    key = transport.get_remote_server_key()
    kind, data = key.get_name(), key.asbytes()
    verdict = knownhosts.verify(target, kind, data)
    if verdict.known is knownhosts.Known.KNOWN:
        return
    if verdict.known is knownhosts.Known.UNKNOWN and target.user_known_hosts:
        stranger = Stranger(
            host=target.alias,
            address=_where(target),
            key_type=kind,
            fingerprint=verdict.fingerprint,
            file=target.user_known_hosts[0],
        )
        if target.strict_host_key_checking in ("no", "accept-new") or asker().trusts(stranger):
            knownhosts.remember(target, kind, data)
            return
    refused = knownhosts.refusal(target, verdict)
    raise NeedsPerson(refused.what, refused.fix)


# -------------------------------------------------------------------------------------- who we are


def _authenticate(target: Target, transport: paramiko.Transport, alone: bool) -> bool:
    """Log in. Whether a secret was asked for."""
    import paramiko

    asked = types = False
    tried: list[str] = []
    refused: list[str] = []
    farewell = _farewell(transport)

    def link_broke(error: Exception) -> bool:
        """Whether it is not the machine that has turned us away. paramiko says of a link that was
        lost, or stood still, that authentication failed."""
        late = isinstance(error, paramiko.AuthenticationException) and "timeout" in str(error)
        return not types and (late or not (transport.is_active() or farewell))

    try:
        transport.auth_none(target.user)
        return asked
    except paramiko.BadAuthenticationType as error:
        allowed = list(error.allowed_types)
    except Exception as error:
        raise Unreachable(
            f"{_where(target)} broke off while we logged in: {said(error)}."
        ) from None
    try:
        if "publickey" in allowed and target.pubkey_authentication:
            for label, key in _keys(target):
                tried.append(label)
                _guard(key, label, refused)
                transport.auth_timeout = AGENT_PATIENCE if "agent" in label else CONNECT_TIMEOUT
                try:
                    further = transport.auth_publickey(target.user, key)
                except paramiko.BadAuthenticationType as error:
                    allowed = list(error.allowed_types)
                    break
                except paramiko.AuthenticationException as error:
                    if link_broke(error):
                        raise
                    continue
                if not further:
                    return asked
                allowed = list(further)  # that was one of several steps
                break
        transport.auth_timeout = CONNECT_TIMEOUT
        if not alone and (reason := _left(target, allowed, refused)):
            raise NotLetIn(f"{target.alias} does not let {target.user} in yet: {reason}.")
        for method in ("keyboard-interactive", "password"):
            if method not in allowed or method not in _by_typing(target):
                continue
            types = True
            further, answered = _by_secret(target, transport, method)
            asked |= answered
            if answered:
                if not further:
                    return True
                allowed = list(further)
    except Unreachable:
        raise
    except Exception as error:
        why = said(error)
        if link_broke(error):
            raise Unreachable(f"{_where(target)} broke off while we logged in: {why}.") from None
        if isinstance(error, paramiko.AuthenticationException) and types:
            raise NeedsPerson(
                f"{target.alias} does not accept that ({why}); not tried again."
            ) from None
        why = farewell[0] if farewell else why
        fix = ""
        if "Too many" in why or len(tried) >= 5:
            fix = "It allows few tries: name one key with IdentityFile and IdentitiesOnly yes."
        raise NeedsPerson(
            f"{_where(target)} broke off after {len(tried)} keys were tried: {why}.", fix
        ) from None
    keys = f"none of {len(tried)} keys ({', '.join(tried[:4])})" if tried else "no key was found"
    raise denied(target, allowed, keys)


def _left(target: Target, allowed: Sequence[str], refused: Sequence[str]) -> str:
    """What of that which nobody has to type the user's `ssh` could still try."""
    if "publickey" in allowed and target.pubkey_authentication:
        if refused:
            return f"the agent does not use its key for us ({refused[0]})"
        if any(sshkeys.public_part(path)[4:7] == b"sk-" for path in target.identity_files):
            return "a security key (FIDO) is left to try"
    if "gssapi-with-mic" in allowed and target.gssapi_authentication and has_ticket():
        return "a Kerberos ticket is left to try (GSSAPI)"
    return ""


def _guard(key: Any, name: str, refused: list[str]) -> None:
    """Have a key that is not used for us (its agent wants to know for which machine, or a person
    says no) be one that does not open: paramiko would break off, and other keys go untried."""
    from paramiko import Message

    sign = key.sign_ssh_data

    def signed(data: bytes, algorithm: str | None = None) -> Any:
        try:
            return sign(data, algorithm)
        except Exception:
            refused.append(name)
            nothing = Message()
            nothing.add_string(algorithm or key.get_name())
            nothing.add_string(bytes(64))
            return nothing.asbytes()

    key.sign_ssh_data = signed


def _farewell(transport: paramiko.Transport) -> list[str]:
    """Gets what the machine says when it ends the connection, which paramiko only logs."""
    heard: list[str] = []

    def parse(message: paramiko.Message) -> None:
        message.get_int()
        heard.append(" ".join(message.get_text().split())[:200].rstrip("."))

    transport._parse_disconnect = parse  # type: ignore[attr-defined]
    return heard


def _by_typing(target: Target) -> tuple[str, ...]:
    """The ways of giving a secret that the user's configuration allows, in the order to try."""
    found = []
    if target.kbdint_authentication:
        found.append("keyboard-interactive")
    if target.password_authentication:
        found.append("password")
    wanted = target.preferred_authentications
    return tuple(method for method in found if not wanted or method in wanted)


def _by_secret(
    target: Target, transport: paramiko.Transport, method: str
) -> tuple[list[str], bool]:
    """One try with a password or a one-time code: (further methods, whether one was given)."""
    answered = False
    who = f"{target.user}@{target.alias}"

    def ask(prompt: str) -> str:
        nonlocal answered
        given = asker().secret(target.alias, prompt)
        answered |= given is not None
        return given or ""

    if method == "password":
        given = asker().secret(target.alias, f"Password of {who}:")
        return (list(transport.auth_password(target.user, given)), True) if given else ([], False)

    class Declined(Exception):
        pass

    def answers(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        found = []
        for prompt, _ in prompts:
            words = " ".join(f"{title} {instructions} {prompt}".split())[:200]
            found.append(ask(f"{who}: {words}"))
            if not answered:
                raise Declined
        return found

    try:
        return list(transport.auth_interactive(target.user, answers)), answered
    except Declined:
        return [], False


def _keys(target: Target) -> Iterator[tuple[str, Any]]:
    """The keys to try, in OpenSSH's order: those of the agent that the user's files name, those
    files, then the rest of the agent's."""
    import paramiko

    held = _agent_keys(target)
    # Their files may have gone from here, and only the public parts be left.
    named = {path: sshkeys.public_part(path) for path in target.identity_files}
    certificates = list(sshkeys.given(target))
    first = [key for key in held if key.asbytes() in named.values()]
    for key in first:
        yield from _certified(key, f"{key.get_name()} of the agent", certificates)
    from_agent = {key.asbytes() for key in first}
    for path, public in named.items():
        if public in from_agent or not os.path.isfile(path):
            continue
        key = _load(target, path)
        if key is not None:
            yield from _certified(key, os.path.basename(path), certificates)
    for key in held:
        if key in first or not isinstance(key, paramiko.AgentKey):
            continue
        if target.identities_only and not any(c.key == key.asbytes() for c in certificates):
            continue
        yield from _certified(key, f"{key.get_name()} of the agent", certificates)


def _certified(
    key: Any, name: str, certificates: Sequence[sshkeys.Certificate]
) -> Iterator[tuple[str, Any]]:
    """A key with each certificate that is for it, then by itself."""
    for certificate in certificates:
        if certificate.key == key.asbytes():
            with suppress(Exception):
                key.load_certificate(certificate.path)
                yield os.path.basename(certificate.path), key
    key.public_blob = None
    yield name, key


def _load(target: Target, path: str) -> Any:
    """The key in a file; None for one of a kind that paramiko does not know, or whose passphrase
    nobody gives."""
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        given = asker().secret(target.alias, f"Passphrase of {path}:")
        if not given:
            return None
        try:
            return paramiko.PKey.from_path(path, given.encode())  # type: ignore[arg-type]
        except Exception:
            raise NeedsPerson(f"The passphrase of {path} is wrong; not tried again.") from None
    except (OSError, ValueError, paramiko.SSHException, UnsupportedAlgorithm):
        return None


def _agent_keys(target: Target) -> list[Any]:
    from paramiko.agent import AgentSSH

    path = target.identity_agent
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return []
        way = socket.socket(socket.AF_UNIX)
        way.settimeout(5.0)
        way.connect(path)
        held = AgentSSH()
        held._connect(way)  # type: ignore[attr-defined]
        way.settimeout(AGENT_PATIENCE)
        return list(held.get_keys())
    except Exception:
        return []
