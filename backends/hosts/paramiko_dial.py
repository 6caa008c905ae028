"""Making a connection with paramiko: the way there, and whose machine it is.

Everything here blocks and runs on the worker thread of a host. Nothing is ever tried again by
itself, and a password is asked for once.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from traindeck.backends.asking import Stranger, asker
from traindeck.backends.base import TraindeckError, Unreachable
from traindeck.backends.hosts import knownhosts
from traindeck.backends.hosts.link import THROTTLING, NeedsPerson, NotLetIn, last_words
from traindeck.backends.hosts.paramiko_link import PACKET, WINDOW, said
from traindeck.backends.hosts.paramiko_login import CONNECT_TIMEOUT, authenticate
from traindeck.backends.hosts.proxied import Proxied
from traindeck.backends.hosts.sshconfig import unresolved, where_is

if TYPE_CHECKING:
    import paramiko

    from traindeck.backends.hosts.sshconfig import Target

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
            asked |= authenticate(hop, transport, alone)
    except BaseException as error:
        for transport in reversed(made):
            with suppress(Exception):
                transport.close()
        if isinstance(error, Exception) and not isinstance(error, TraindeckError):
            raise Unreachable(
                f"{where_is(target)} cannot be connected to: {said(error)}."
            ) from None
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
    timeout = target.connect_timeout or CONNECT_TIMEOUT
    where = where_is(target)
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
            return Proxied(target.proxy_command)
        except OSError as error:
            why = error.strerror or str(error)
            raise Unreachable(f"The ProxyCommand of {target.alias} fails: {why}.") from None
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
        self._ahead = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        if self._at == len(self._ahead):
            # It says itself how long a packet is: room is made for what comes, not for what is
            # said. Once its key is known, what comes is taken at once: a packet is asked for in two
            # parts, and each time a thread asks the system, another one holds it up.
            most = MOST_AT_ONCE if self.left is None else min(size, MOST_AT_ONCE)
            self._ahead = self._inner.recv(most)
            self._at = 0
        data: bytes = self._ahead[self._at : self._at + size]
        self._at += len(data)
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
    where = where_is(target)
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
        if isinstance(way, Proxied) and guarded.left == BEFORE_KEYS:
            words = last_words(way.said()) or "it says nothing"
            raise Unreachable(
                f"The ProxyCommand of {target.alias} does not lead to an SSH server: {words}."
            ) from None
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
            address=where_is(target),
            key_type=kind,
            fingerprint=verdict.fingerprint,
            file=target.user_known_hosts[0],
        )
        if target.strict_host_key_checking in ("no", "accept-new") or asker().trusts(stranger):
            knownhosts.remember(target, kind, data)
            return
    refused = knownhosts.refusal(target, verdict)
    raise NeedsPerson(refused.what, refused.fix)
