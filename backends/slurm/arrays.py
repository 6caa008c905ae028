"""What is sent for a job array: the first task whole, and of the others what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from traindeck.backends.base import BackendError, Plan
from traindeck.backends.process import to_send

LARGEST = 256 << 20
"""Bytes that the run directories of an array may hold together, its code apart."""


def index(plan: Plan) -> int:
    """Which task a plan is of."""
    return plan.spec.array.index if plan.spec.array is not None else -1


def to_send_all(
    plans: Sequence[Plan], secrets: Mapping[str, str] | None
) -> tuple[dict[str, Any], bytes]:
    """The header and the bytes for `enqueue` (FORMAT.md §7).

    Raises:
        UsageError: A secret has no value (named).
        BackendError: The plans are not those of one array, or one was changed; they are too large.
    """
    first, *others = sorted(plans, key=index)
    alike = all(
        (plan.body, dict(plan.files), plan.spec.array and plan.spec.array.indices)
        == (first.body, dict(first.files), first.spec.array and first.spec.array.indices)
        and plan.spec.run_id[:8] == first.spec.run_id[:8]
        for plan in others
    )
    numbers = [index(plan) for plan in plans]
    if not alike or first.spec.attempt or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise BackendError("These plans are not those of one array; they were not sent.")
    size = sum(blob.size for blob in first.files.values()) * len(plans)
    if size > LARGEST:
        raise BackendError(
            f"The files of {len(plans):,} tasks have {size >> 20:,} MiB together, more than the "
            f"{LARGEST >> 20} MiB that an array may have; it was not sent.",
            "Keep large files out of the recipe, or commit the code: its changes go with each.",
        )
    header, body = to_send(first, secrets)
    parts = [body]
    tasks = []
    for plan in others:
        mine, data = to_send(plan, secrets)
        shown = next(one for one in mine["files"] if one["path"] == "plan/plan.json")
        tasks.append(
            {
                "run_id": plan.spec.run_id,
                "index": index(plan),
                "run": mine["run"],
                "files": [shown],
            }
        )
        parts.append(data[len(data) - int(shown["size"]) :])  # it comes last
    header["array"] = {"index": index(first), "others": tasks}
    return header, b"".join(parts)
