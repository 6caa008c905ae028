"""A Slurm backend from what the user's settings say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traindeck.backends.base import Host, UsageError
from traindeck.backends.slurm import options as given
from traindeck.backends.slurm.backend import SlurmBackend

OWN = ("bin",)
HOST = ("root", "python")
SSH = ("ssh_config", "transport")


def make(name: str, options: Mapping[str, Any]) -> SlurmBackend:
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
    # Not that of the same machine's own processes: from files alone nothing could tell them apart.
    host = _host(name, {"root": f"~/.traindeck/slurm/{name}", **options})
    paths = [binaries] if binaries else []
    how = environment_of(name, options)
    return SlurmBackend(name, host, options=defaults, paths=paths, **how)


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
