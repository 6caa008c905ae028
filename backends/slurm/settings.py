"""A Slurm backend from what the user's settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traindeck.backends.base import Backend, Host, UsageError
from traindeck.backends.slurm import options as given
from traindeck.backends.slurm.backend import SlurmBackend

OWN = ("bin", "rest", "token")
HOST = ("root", "python")
SSH = ("ssh_config", "transport")


def make(name: str, options: Mapping[str, Any]) -> Backend:
    """See `backend.make`.

    Raises:
        UsageError: An option that does not exist, or a value that cannot be.
    """
    from traindeck.backends.files import folder_named
    from traindeck.backends.process import environment_of

    known = {"via", "environment", "prelude", *OWN, *HOST, *SSH, *given.SCHEMA}
    unknown = sorted(set(options) - known)
    if unknown:
        raise UsageError(
            f"backends.{name}: a Slurm backend has no option {unknown[0]!r}.",
            f"It takes {', '.join(sorted(known))}.",
        )
    for key in ("root", "bin"):
        value = options.get(key)
        if value and folder_named(value) is None:
            raise UsageError(
                f"backends.{name}.{key} is {str(value)[:60]!r}: expected a folder from / or ~ on."
            )
    defaults = {key: options[key] for key in given.SCHEMA if options.get(key) not in (None, "")}
    for key, value in defaults.items():
        if problem := given.wrong(key, value):
            raise UsageError(f"backends.{name}.{key} is {str(value)[:60]!r}: {problem}.")
    binaries = options.get("bin")
    paths = [binaries] if binaries else []
    how = environment_of(name, options)
    if options.get("rest"):
        return _by_rest(name, options, defaults, how)
    if options.get("token"):
        raise UsageError(f"backends.{name}.token is only for a cluster with `rest`.")
    # Not that of the same machine's own processes: from files alone nothing could tell them apart.
    host = _host(name, {"root": f"~/.traindeck/slurm/{name}", **options})
    return SlurmBackend(name, host, options=defaults, paths=paths, **how)


def _by_rest(
    name: str, options: Mapping[str, Any], defaults: Mapping[str, Any], how: Mapping[str, Any]
) -> Backend:
    """With slurmrestd: the runs lie where `via` leads, else in `root`, a folder of the cluster's
    file system that this machine has too; without both there is nowhere for them to lie."""
    from traindeck.backends.slurm.by_rest import ByRest
    from traindeck.backends.slurm.rest import Slurmrestd, place_of
    from traindeck.backends.slurm.rest_only import RestOnlyBackend
    from traindeck.backends.slurm.rest_token import Tokens, command_of

    if options.get("bin"):
        raise UsageError(
            f"backends.{name}.bin says where Slurm's commands are, and `rest` that they are not "
            "used.",
            "Leave one out.",
        )
    place = place_of(name, options["rest"])
    command = command_of(name, options.get("token"))
    tokens = Tokens(name, command, needed=not place.socket)
    server = Slurmrestd(name, place, tokens)
    if options.get("via") or options.get("root"):
        host = _host(name, options)
        return SlurmBackend(name, host, options=defaults, scheduler=ByRest(server), **how)
    return RestOnlyBackend(name, server, options=defaults)


def _host(name: str, options: Mapping[str, Any]) -> Host:
    """The host that Slurm's commands are on: the one that `via` names, else this machine."""
    via = options.get("via")
    if via is None:
        from traindeck.backends.process import local_host

        given_for_ssh = sorted(set(SSH) & set(options))
        if given_for_ssh:
            raise UsageError(f"backends.{name}.{given_for_ssh[0]} is only for a host with `via`.")
        return local_host(name, options)
    from traindeck.backends.hosts.ssh import host_from

    for_host = {key: options[key] for key in (*HOST, *SSH) if key in options}
    return host_from(name, {"host": via, **for_host})
