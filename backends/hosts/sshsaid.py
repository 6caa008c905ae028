"""What the user's `ssh` says when it does not connect, as a sentence of ours."""

from __future__ import annotations

import re

from traindeck.backends.asking import Nobody, asker, how_to_connect
from traindeck.backends.errors import Unreachable
from traindeck.backends.hosts import knownhosts, sshkeys
from traindeck.backends.hosts.link import THROTTLING, NeedsPerson, NotLetIn, last_words
from traindeck.backends.hosts.sshconfig import Target

_BAD_CERTIFICATE = re.compile(r"^Certificate (?:invalid: )?(.*\S)\s*$", re.MULTILINE)
_REVOKED = re.compile(r"^The (\S+) host key for \S+ is marked as revoked", re.MULTILINE)
_CHANGED = re.compile(
    r"fingerprint for the (\S+) key sent by the remote host is\s+(SHA256:\S+?)\.?\s"
    r"(?:.*?\nOffending \S+ key in (\S.*):(\d+)\s*\n)?",
    re.DOTALL,
)
_DENIED = re.compile(r"Permission denied \(([\w,@.-]+)\)")
_UNUSED = re.compile(
    r'^sign_and_send_pubkey: signing failed for \S+ "(.*)".*: (.*\S)', re.MULTILINE
)
"""A key that its agent, its card or its security key does not give a signature of."""
_WRONG_PIN = re.compile(r"^PKCS#11 login failed: (.*\S)", re.MULTILINE)
_NO_CARD = re.compile(r"^(?:C_\w+ for )?provider (\S+) (?!returned)(.*\S)", re.MULTILINE)
_FOR_A_PERSON = re.compile(
    r"permission denied|host key verification failed|too many authentication|no such identity|"
    r"revoked",
    re.IGNORECASE,
)
"""What ssh says of a connection that would fail again."""
_CUT_OFF = re.compile(r"kex_exchange_identification: (read: )?Connection")
"""What it says of a server that breaks off before it has said who it is."""

_REASONS = {
    "expired": "it has expired",
    "not yet valid": "it is not valid yet",
    "lacks principal list": "it names no machine",
    "not a host certificate": "it is not one of a host",
}
_NO_TICKET = "Is there a Kerberos ticket that is still good? `klist` shows it, `kinit` gets one."


def bad_certificate(said: str) -> str:
    """What ssh says is wrong with the certificate that a host has shown; empty for nothing. It goes
    on with the bare key then, as if there were no certificate."""
    found = _BAD_CERTIFICATE.search(said)
    return found[1] if found else ""


def failure(target: Target, said: str, through: str, *, typed: bool = False) -> Unreachable:
    """Why a connection was not made, or ended.

    Args:
        said: What ssh itself has said.
        through: What was said through it, if it has nothing to say.
        typed: Whether somebody was asked for a secret and gave one.
    """
    alias = target.alias
    said = "".join(x for x in said.splitlines(keepends=True) if not x.startswith("Warning: "))
    words = last_words(said or through)
    if not words:
        return Unreachable(f"The connection to {alias} ended.")
    if (refused := _host_key(target, said)) is not None:
        return refused
    if found := _DENIED.search(said):
        if (refused := _card(target, said)) is not None:
            return refused
        allowed = found[1].split(",")
        if unused := _UNUSED.search(said):
            no = denied(target, allowed, f"its key {unused[1]!r} was not used ({unused[2]})")
            fix = "Is its agent unlocked, or its device plugged in, touched and not locked?"
            return NotLetIn(no.what, f"{fix} Then try `ssh {alias}`.")
        tried = "not with what was typed, which is not tried again" if typed else ""
        return denied(target, allowed, tried)
    if _FOR_A_PERSON.search(said):
        return NeedsPerson(f"{alias}: {words}.", f"Try `ssh {alias}`.")
    return Unreachable(f"{alias}: {words}.", THROTTLING if _CUT_OFF.search(said) else "")


def denied(target: Target, allowed: list[str], tried: str = "") -> NotLetIn:
    """A machine that does not let us in.

    Args:
        allowed: The ways of logging in that it would take.
        tried: What was tried, for the sentence.
    """
    who = f"{target.alias} does not let {target.user} in: "
    tried = f"{tried}; " if tried else ""
    fix = f"Try `ssh {target.alias}`"
    if why := sshkeys.why_not(target):
        fix = f"{why} Then try `ssh {target.alias}`."
    elif "gssapi-with-mic" in allowed and target.gssapi_authentication:
        fix = f"{_NO_TICKET} Then try `ssh {target.alias}`."
    elif "publickey" in allowed:
        fix += "; load a key with ssh-add, or name one with IdentityFile."
    elif isinstance(asker(), Nobody):  # a password or a code
        fix = how_to_connect()
    else:
        fix += "."
    return NotLetIn(f"{who}{tried}it takes {', '.join(allowed)}.", fix)


def _card(target: Target, said: str) -> NeedsPerson | None:
    """What is wrong with the smart card that the configuration names."""
    provider = target.get("pkcs11provider")
    card = f"The smart card for {target.alias} ({provider})"
    if found := _WRONG_PIN.search(said):
        return NeedsPerson(
            f"{card} does not take that: {found[1]}; not tried again.",
            "Most cards lock themselves after three wrong PINs.",
        )
    if re.search("^pin required", said, re.MULTILINE):
        return NeedsPerson(
            f"{card} wants its PIN, and nobody can be asked for it.",
            how_to_connect(),
        )
    if (found := _NO_CARD.search(said)) and found[1] == provider:
        return NeedsPerson(
            f"{card} cannot be used: {found[2]}.",
            f"Is it plugged in? Try `ssh {target.alias}`.",
        )
    return None


def _host_key(target: Target, said: str) -> NeedsPerson | None:
    """What is wrong with whose machine it is."""
    alias = target.alias
    if found := _REVOKED.search(said):
        entry = knownhosts.marked(target, "revoked")
        where = f" ({entry.file}, line {entry.line})" if entry else ""
        kind = "certificate whose key or signer is" if "CERT" in found[1] else "key that is"
        return NeedsPerson(
            f"{alias} shows a host {kind} marked as revoked{where}.", "Ask who runs the host."
        )
    if "ost key verification failed" not in said:
        return None
    if reason := bad_certificate(said):
        if "principal" in reason and reason not in _REASONS:
            why = f"it is not for the name {target.host_key_alias or target.hostname}"
        else:
            why = _REASONS.get(reason, reason)
        return NeedsPerson(
            f"{alias} shows a host certificate that is no good: {why}.",
            "Ask who runs the host for a new one.",
        )
    if found := _CHANGED.search(said):
        verdict = knownhosts.Verdict(
            known=knownhosts.Known.CHANGED,
            key_type=found[1],
            fingerprint=found[2],
            file=found[3] or "known_hosts",
            line=int(found[4] or 0),
        )
        refused = knownhosts.refusal(target, verdict)
        return NeedsPerson(refused.what, refused.fix)
    return NeedsPerson(
        f"{alias} is not known yet: its host key is not in your known_hosts.",
        "Have it shown, and accept it: `traindeck backends check PLACE --accept-new`.",
    )
