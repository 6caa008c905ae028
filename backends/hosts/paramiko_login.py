"""Logging in with paramiko: keys of files and of the agent, certificates, what a person types.

Everything here blocks and runs on the worker thread of a host. Nothing is ever tried again by
itself, and a secret is asked for once.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from traindeck.backends.asking import Nobody, asker, how_to_connect
from traindeck.backends.base import Unreachable
from traindeck.backends.hosts import sshkeys
from traindeck.backends.hosts.link import NeedsPerson
from traindeck.backends.hosts.paramiko_link import said
from traindeck.backends.hosts.sshconfig import where_is
from traindeck.backends.hosts.sshneeds import has_ticket
from traindeck.backends.hosts.sshsaid import denied

if TYPE_CHECKING:
    import paramiko

    from traindeck.backends.hosts.sshconfig import Target

CONNECT_TIMEOUT = 15.0

AGENT_PATIENCE = 60.0
"""Seconds that an agent may take for a signature: somebody may have to touch or to confirm."""

PERSON_PATIENCE = 300.0
"""The same for who has to look up a code or take up a telephone. The server waits less long."""


def authenticate(target: Target, transport: paramiko.Transport, alone: bool) -> bool:
    """Log in. Whether a secret was asked for."""
    import paramiko

    asked = types = False
    tried: list[str] = []
    refused: list[str] = []
    passed: list[str] = []
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
        takes = left = list(error.allowed_types)
    except Exception as error:
        raise Unreachable(
            f"{where_is(target)} broke off while we logged in: {said(error)}."
        ) from None
    try:
        found = _keys(target)
        while method := next((way for way in _ways(target) if way in left), ""):
            if method == "publickey":
                further = None
                for label, key in found:
                    tried.append(label)
                    _guard(key, label, refused)
                    agent = key.__class__.__name__ == "AgentKey"
                    transport.auth_timeout = AGENT_PATIENCE if agent else CONNECT_TIMEOUT
                    try:
                        further = transport.auth_publickey(target.user, key)
                        break
                    except paramiko.BadAuthenticationType as error:
                        takes = left = list(error.allowed_types)
                        break
                    except paramiko.AuthenticationException as error:
                        if link_broke(error):
                            raise
            else:
                if not (alone or asked) and _left(target, takes, refused):
                    break
                types = True
                transport.auth_timeout = PERSON_PATIENCE
                further, answered = _by_secret(target, transport, method)
                asked |= answered
            if further is None:  # nothing was accepted: by this way not any more
                left = [way for way in left if way != method]
            elif further:  # that was one of several steps
                passed.append(method)
                takes = left = list(further)
            else:
                return asked
    except Unreachable:
        raise
    except Exception as error:
        why = said(error)
        if link_broke(error):
            raise Unreachable(f"{where_is(target)} broke off while we logged in: {why}.") from None
        if isinstance(error, paramiko.AuthenticationException) and types:
            raise NeedsPerson(
                f"{target.alias} does not accept that ({why}); not tried again."
            ) from None
        why = farewell[0] if farewell else why
        fix = ""
        if "Too many" in why or len(tried) >= 5:
            fix = "It allows few tries: name one key with IdentityFile and IdentitiesOnly yes."
        raise NeedsPerson(
            f"{where_is(target)} broke off after {len(tried)} keys were tried: {why}.", fix
        ) from None
    if not asked and (reason := _left(target, takes, refused)):
        what = reason
    elif passed:
        what = f"{' and '.join(passed)} is not enough"
    elif tried:
        what = f"none of {len(tried)} keys ({', '.join(tried[:4])})"
    else:
        what = "no key was found"
    no = denied(target, takes, what)
    # Whoever has given a secret is not to be asked for it by another program.
    raise NeedsPerson(no.what, no.fix) if asked else no


def _left(target: Target, takes: Sequence[str], refused: Sequence[str]) -> str:
    """What of that which nobody has to type the user's `ssh` could still try."""
    if "publickey" in takes and "publickey" in _ways(target):
        if refused:
            return f"the agent does not use its key for us ({refused[0]})"
        if any(sshkeys.public_part(path)[4:7] == b"sk-" for path in target.identity_files):
            return "a security key (FIDO) is left to try"
    if "gssapi-with-mic" in takes and target.gssapi_authentication and has_ticket():
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


def _ways(target: Target) -> tuple[str, ...]:
    """The ways to log in that the user's configuration allows, in the order to try."""
    allowed = {
        "publickey": target.pubkey_authentication,
        "keyboard-interactive": target.kbdint_authentication,
        "password": target.password_authentication,
    }
    wanted = target.preferred_authentications
    return tuple(way for way, yes in allowed.items() if yes and (not wanted or way in wanted))


def _by_secret(
    target: Target, transport: paramiko.Transport, method: str
) -> tuple[list[str] | None, bool]:
    """One try with a password or a one-time code: (further methods, whether one was given).

    Raises:
        NeedsPerson: The person who was asked gives none.
    """
    answered = False
    who = f"{target.user}@{target.alias}"

    class Declined(Exception):
        pass

    def ask(prompt: str) -> str:
        nonlocal answered
        given = asker().secret(target.alias, prompt)
        if given is None:
            raise Declined
        answered = True
        return given

    def answers(title: str, instructions: str, prompts: list[tuple[str, bool]]) -> list[str]:
        words = (f"{title} {instructions} {prompt}".split() for prompt, _ in prompts)
        return [ask(f"{who}: {' '.join(said)[:200]}") for said in words]

    try:
        if method == "password":
            return list(transport.auth_password(target.user, ask(f"Password of {who}:"))), True
        # Without a question it may still go well: there is nothing to type on a telephone.
        return list(transport.auth_interactive(target.user, answers)), answered
    except Declined:
        if not isinstance(asker(), Nobody):
            raise NeedsPerson(
                f"{target.alias} wants to know something that it was not told.", how_to_connect()
            ) from None
        return None, False


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
