"""What a launch on Slurm can be told beyond what every place understands, and what that becomes.

Values go to `sbatch` as one word of its argv each (`--partition=VALUE`): never into a script, and
never where they could be taken for an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from traindeck.backends.base import Option, UsageError
from traindeck.backends.slurm import depends

SCHEMA: Mapping[str, Option] = {
    "partition": Option(help="the partition to run in; the cluster's default without it"),
    "account": Option(help="the account that is charged"),
    "qos": Option(help="the quality of service"),
    "reservation": Option(help="the reservation to run in"),
    "gpu_kind": Option(help="the kind of GPU, as the cluster calls it (h100)"),
    "cpus": Option(type="int", help="CPUs a node"),
    "memory": Option(help="memory a node, as 64G"),
    "constraint": Option(help="features that the nodes must have"),
    "exclude": Option(help="nodes not to run on"),
    "dependency": Option(
        help="what it waits for, in Slurm's words (afterok:123); --after names runs"
    ),
    "exclusive": Option(type="bool", help="share the nodes with nobody"),
    "requeue": Option(
        type="bool",
        default=True,
        help="let Slurm start it again after a preemption or a failed node, as the next attempt",
    ),
    "warn": Option(
        type="int",
        default=90,
        help="seconds before the time limit, at most half of it, at which the job is sent USR2; "
        "0 for not at all",
    ),
}

_PLAIN = {
    "partition": "--partition",
    "account": "--account",
    "qos": "--qos",
    "reservation": "--reservation",
    "constraint": "--constraint",
    "exclude": "--exclude",
    "memory": "--mem",
}
LONGEST = 1000


def checked(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """All options that count: those given, over those of the settings, over our own.

    Raises:
        UsageError: One that there is not, or a value that cannot be.
    """
    unknown = sorted(set(given) - set(SCHEMA))
    if unknown:
        raise UsageError(
            f"`{name}` has no option {unknown[0]!r}.", f"It has {', '.join(sorted(SCHEMA))}."
        )
    found = {key: option.default for key, option in SCHEMA.items() if option.default is not None}
    found |= {key: value for key, value in defaults.items() if value not in (None, "")}
    found |= {key: value for key, value in given.items() if value not in (None, "")}
    for key, value in found.items():
        if problem := wrong(key, value):
            raise UsageError(f"--option {key}={str(value)[:60]!r}: {problem}.")
    return found


def wrong(key: str, value: object) -> str:
    """What is wrong with a value, "" if nothing."""
    kind = SCHEMA[key].type
    if kind == "bool":
        return "" if isinstance(value, bool) else "expected yes or no"
    if kind == "int":
        if isinstance(value, bool) or not isinstance(value, int):
            return "expected a whole number"
        least = 0 if key == "warn" else 1
        return "" if least <= value <= 65_535 else f"expected {least} to 65535"
    if not isinstance(value, str):
        return "expected a text"
    if len(value) > LONGEST or not value.isprintable():
        return "expected a word on one line"
    if key != "constraint" and any(letter.isspace() for letter in value):
        return "expected one word without spaces"
    return depends.wrong(value) if key == depends.OPTION else ""


def words(options: Mapping[str, Any]) -> list[str]:
    """What `sbatch` is told of them."""
    found = [f"{flag}={options[key]}" for key, flag in _PLAIN.items() if key in options]
    if "cpus" in options:
        found.append(f"--cpus-per-task={options['cpus']}")
    if options.get("exclusive"):
        found.append("--exclusive")
    return found
