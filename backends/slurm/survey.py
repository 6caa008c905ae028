"""Asking a cluster what it is: one request for all of it, a second for its accounting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from traindeck.backends.base import AgentChannel
from traindeck.backends.slurm import accounts, commands
from traindeck.backends.slurm import cluster as known
from traindeck.backends.slurm.cluster import Cluster


async def ask(channel: AgentChannel, paths: Sequence[str], user: str) -> Cluster:
    """The cluster as it is now. What could not be asked for is in `unknown`; nothing but a host
    that does not answer raises."""
    lists = {
        "configuration": commands.CONFIG,
        "partitions": commands.PARTITIONS,
        "nodes": commands.NODES,
        "reservations": commands.RESERVATIONS,
    }
    heard = await run(channel, list(lists.values()), paths)
    said = dict(zip(lists, heard, strict=True))
    unknown = {name: answer.why for name, answer in said.items() if not answer.ok}
    out = {name: answer.out for name, answer in said.items()}
    found = Cluster(
        config=known.config(out["configuration"]),
        partitions=known.partitions(out["partitions"]),
        groups=known.groups(out["nodes"]),
        reservations=known.reservations(out["reservations"]),
        user=user,
    )
    if found.config.accounting and user:
        asked = commands.accounting_of(user, found.config.name)
        heard = await run(channel, list(asked.values()), paths)
        said = dict(zip(asked, heard, strict=True))
        if not said["accounts"].ok:
            unknown["accounts and QOS"] = said["accounts"].why
        out = {name: answer.out if answer.ok else "" for name, answer in said.items()}
        found = replace(
            found,
            associations=accounts.associations(out["accounts"]),
            accounts=accounts.accounts(out["all accounts"]),
            qos=accounts.qualities(out["QOS"]),
            default_account=accounts.default_account(out["default account"]),
        )
    return replace(found, unknown=unknown)


async def run(
    channel: AgentChannel,
    argvs: Sequence[Sequence[str]],
    paths: Sequence[str],
    *,
    within: float = commands.TIMEOUT,
) -> list[commands.Said]:
    """Run commands at the same time, in one request, within so many seconds."""
    request = {
        "commands": [commands.command(*argv, paths=paths) for argv in argvs],
        "timeout": within,
    }
    answer, body = await channel.call("run", request, timeout=within + 20)
    return commands.heard(answer, body, [argv[0] for argv in argvs])
