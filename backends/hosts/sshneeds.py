"""What of a host only the user's own `ssh` program can do, so that it is asked to."""

from __future__ import annotations

import shutil
import socket

from traindeck.backends.hosts import knownhosts, sshkeys
from traindeck.backends.hosts.sshconfig import Target

_OURS = ("publickey", "password", "keyboard-interactive")
"""Ways to log in that paramiko has too."""


def why_openssh(target: Target) -> str:
    """The reason why a host, or one on the way to it, needs OpenSSH, as what may follow "because";
    empty if paramiko can do it. Reads the user's key and known_hosts files, and touches the socket
    of a connection that is shared."""
    for hop in target.jumps:
        if reason := _reason(hop):
            return f"on the way, at {hop.alias}, {reason}"
    return _reason(target)


def has_ticket() -> bool:
    """Whether the user has a Kerberos ticket that is still good, as far as `klist` knows."""
    import subprocess

    if (program := shutil.which("klist")) is None:
        return False
    try:
        asked = subprocess.run(
            [program, "-s"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


def _reason(target: Target) -> str:
    if "proxyjump" not in target.settings and "identityfile" not in target.settings:
        return ""  # OpenSSH was not there to ask
    if provider := _given(target, "pkcs11provider"):
        return f"its keys are on a smart card ({provider})"
    if reason := _login(target):
        return reason
    if _given(target, "knownhostscommand"):
        return "its host key is looked up by a KnownHostsCommand"
    if _given(target, "revokedhostkeys"):
        return "RevokedHostKeys has to be consulted"
    if target.get("verifyhostkeydns", "no") not in ("no", "false"):
        return "its host key may be verified by DNS"
    if entry := knownhosts.authority(target):
        return f"its host certificate has to be verified ({entry.file}, line {entry.line})"
    if target.get("proxyusefdpass", "no") == "yes":
        return "its ProxyCommand hands over a socket (ProxyUseFdpass)"
    if _given(target, "bindinterface"):
        return "its connections have to leave by one interface (BindInterface)"
    if _is_shared(target.control_path):
        return "a connection that can be shared is open already (ControlPath)"
    return ""


def _given(target: Target, option: str) -> str:
    value = target.get(option)
    return "" if value.lower() == "none" else value


def _login(target: Target) -> str:
    """What of the ways to log in is left for OpenSSH alone."""
    allowed = {
        "publickey": target.pubkey_authentication,
        "password": target.password_authentication,
        "keyboard-interactive": target.kbdint_authentication,
    }
    wanted = target.preferred_authentications or _OURS
    left = [way for way in wanted if allowed.get(way)]
    if not left:
        gssapi = target.gssapi_authentication and (
            not target.preferred_authentications or "gssapi-with-mic" in wanted
        )
        if gssapi:
            return "it takes Kerberos tickets only (GSSAPI)"
        if target.get("hostbasedauthentication") == "yes":
            return "it trusts this machine instead of a key (HostbasedAuthentication)"
    if left[:1] == ["publickey"]:
        kinds = [kind for path in target.identity_files if (kind := _key_type(path))]
        if kinds and all(kind.startswith("sk-") for kind in kinds):
            return "its key is on a security key (FIDO)"
    return ""


def _key_type(path: str) -> str:
    """The type of the key in a file; empty if there is none, or it does not say."""
    for name in (f"{path}.pub", path):
        data = sshkeys.content(name)
        if public := sshkeys.in_private(data):
            return public[4 : 4 + int.from_bytes(public[:4], "big")].decode("ascii", "replace")
        word = data.lstrip().partition(b" ")[0]
        if word and len(word) < 64 and word.isascii() and not word.startswith(b"-"):
            return word.decode()
        if word:
            return "other"  # PEM, which no security key is kept in
    return ""


def _is_shared(path: str) -> bool:
    """Whether somebody listens where OpenSSH shares a connection."""
    if not path:
        return False
    with socket.socket(socket.AF_UNIX) as master:
        master.settimeout(1)
        try:
            master.connect(path)
        except (OSError, ValueError):
            return False
    return True
