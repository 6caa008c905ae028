"""What an agent is sent for a plan: run.json, the files, and the bytes behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from traindeck.backends.base import (
    BackendError,
    Blob,
    Plan,
    RunSpec,
    UsageError,
    encode,
    plan_digest,
)


def run_file(
    spec: RunSpec, agent: str, plan_digest: str, lease: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of run.json (FORMAT.md §3)."""
    return {
        **({} if lease is None else {"lease": dict(lease)}),
        "format": 1,
        "id": spec.run_id,
        "name": spec.name,
        "created": spec.created,
        "plan_digest": plan_digest,
        "agent": agent,
        "spec": encode(replace(spec, attempt=0)),
        "secrets": list(spec.secrets),
    }


def plan_file(plan: Plan) -> bytes:
    """The content of plan/plan.json: the plan as it was shown, without the files' bytes."""
    return json.dumps(encode(plan), indent=1, sort_keys=True).encode() + b"\n"


def to_send(plan: Plan, secrets: Mapping[str, str] | None) -> tuple[dict[str, Any], bytes]:
    """What `submit` sends for a plan: the header with the secrets' values, and the bytes after it.

    Raises:
        UsageError: A secret has no value (named).
        BackendError: The plan was changed, or a file of it (named).
    """
    if plan.digest != plan_digest(plan):
        raise BackendError("This plan was changed after it was made; it was not sent.")
    given = secrets or {}
    missing = sorted(set(plan.spec.secrets) - set(given))
    if missing:
        raise UsageError(
            f"The secret {missing[0]} has no value here.", f"Set {missing[0]} and try again."
        )
    header, body = request(plan)
    header["secrets"] = {name: given[name] for name in plan.spec.secrets}
    return header, body


def request(plan: Plan) -> tuple[dict[str, Any], bytes]:
    """What `submit` sends for a plan, secrets apart: the header and the bytes after it. The files
    travel with attempt 0 only: a later one runs what is there. Of the code only the tree is named
    here (backends/sending.py brings what it is made of)."""
    agent = str((plan.body or {}).get("agent", ""))
    blobs: dict[str, Blob] = {}
    listed: list[dict[str, Any]] = []
    parts = []
    if plan.spec.attempt == 0:
        shown = plan_file(plan)
        blobs = {**plan.files, "plan/plan.json": Blob(size=len(shown), data=shown)}
        if (tree := plan.spec.code.tree) is not None:
            # Without a size: an agent that knows no trees refuses it, and starts nothing.
            listed.append({"path": "code/", "tree": tree.digest})
    for path, blob in blobs.items():
        data = blob.read()
        if path in plan.files and hashlib.sha256(data).hexdigest() != blob.digest:
            raise BackendError(f"{path} changed after the plan was made; it was not sent.")
        listed.append({"path": path, "size": len(data), "mode": blob.mode})
        parts.append(data)
    header = {
        "run_id": plan.spec.run_id,
        "attempt": plan.spec.attempt,
        "run": run_file(plan.spec, agent, plan.digest, (plan.body or {}).get("lease")),
        "files": listed,
        "environ": None,
    }
    return header, b"".join(parts)
