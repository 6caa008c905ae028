"""A process that submits one plan and may be killed while it does.

    python crash.py MODULE:FACTORY FOLDER PLAN ROOT

PLAN is a pickled (plan, secrets). It prints `ready`, waits for a byte on stdin, submits, prints
`submitted`, and waits to be killed. ROOT is put on sys.path so that the suite can be imported.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path


async def main(target: str, folder: str, plan: str) -> None:
    from tests.conformance.conftest import load
    from tests.conformance.subject import subject_from

    backend = subject_from(load(target), Path(folder)).make()
    made, secrets = pickle.loads(Path(plan).read_bytes())
    await backend.survey(made.spec)
    print("ready", flush=True)
    sys.stdin.read(1)
    await backend.submit(made, secrets)
    print("submitted", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    sys.path.insert(0, sys.argv[4])
    asyncio.run(main(*sys.argv[1:4]))
